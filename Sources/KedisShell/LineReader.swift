// Lines of a pipe or file: read in blocks, cut at line ends, limited in length.

struct LineReader {
    enum Result: Equatable {
        /// A line without its end (LF or CR LF).
        case line([UInt8])
        case tooLong
        case end
    }

    /// Room for a command with a value of 512 MB, the most that a server takes.
    private static let lineByteLimit = 600 << 20

    private let descriptor: Int32
    private var buffer: [UInt8] = []
    private var position = 0
    private var scanned = 0
    private var isAtEnd = false

    init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    /// True if `next` need not wait.
    var hasLine: Bool { isAtEnd || buffer[scanned...].contains(10) }

    mutating func next() -> Result {
        while true {
            if let end = buffer[scanned...].firstIndex(of: 10) { return .line(take(upTo: end, skipping: 1)) }
            scanned = buffer.count
            if isAtEnd {
                return position < buffer.count ? .line(take(upTo: buffer.count, skipping: 0)) : .end
            }
            guard buffer.count - position <= LineReader.lineByteLimit else { return .tooLong }
            readMore()
        }
    }

    private mutating func take(upTo end: Int, skipping: Int) -> [UInt8] {
        var line = buffer[position..<end]
        if line.last == 13 { line = line.dropLast() }
        position = end + skipping
        scanned = position
        return Array(line)
    }

    private mutating func readMore() {
        buffer.removeFirst(position)
        scanned -= position
        position = 0
        if let bytes = readBytes(from: descriptor) { buffer += bytes } else { isAtEnd = true }
    }
}
