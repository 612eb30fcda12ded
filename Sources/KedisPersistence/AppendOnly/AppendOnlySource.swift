// One append-only file, cut into runs of whole requests.
//
//      buffer  ┌───────────────┬───────────────────────────────┬──────────────────┐
//              │ given out     │ whole requests, being gathered │ not looked at    │
//              └───────────────┴───────────────────────────────┴──────────────────┘
//                              start                           scanned          end of what was read

import KedisUtilities

struct AppendOnlySource {
    enum Item {
        /// Whole requests, outside of any transaction at both ends, and the database that was selected last in them.
        case requests(Range<Int>, count: Int, databaseIndex: Int?)
        /// The end of the file, and how many bytes before it are no whole request, or of a transaction without an end.
        case end(torn: Int)
    }

    /// What a request says of itself.
    private enum Kind {
        case ordinary
        case multi
        case exec
        case select(Int)
    }

    private static let runByteCount = 32 << 10
    private static let readByteCount = 256 << 10
    private static let lineByteCountMax = 64 << 10
    private static let lineSign: UInt8 = 0x23

    let path: String
    let byteCount: Int
    private let file: FileHandle
    private let fileSystem: FileSystem
    private var buffer: [UInt8] = []
    /// Where the buffer begins in the file.
    private var bufferOffset = 0
    private var start = 0
    private var scanned = 0
    private var isAtEnd = false

    init(_ path: String, _ fileSystem: FileSystem) throws(SystemError) {
        self.path = path
        self.fileSystem = fileSystem
        (file, byteCount) = try fileSystem.openForReading(path)
    }

    func close() { try? fileSystem.close(file) }

    func offset(of range: Range<Int>) -> Int { bufferOffset + range.lowerBound }

    /// Where one of the requests begins that were given out last.
    func offset(ofRequest index: Int, in range: Range<Int>) -> Int {
        var source = self
        source.scanned = range.lowerBound
        for _ in 0..<index where source.scanned < range.upperBound { _ = try? source.scanOnce() }
        return bufferOffset + source.scanned
    }

    func withBytes<Failure: Error>(_ range: Range<Int>, _ body: (ByteView) throws(Failure) -> Void) throws(Failure) {
        var failure: Failure?
        buffer.withUnsafeBytes { bytes in
            do throws(Failure) {
                try body(ByteView(UnsafeRawBufferPointer(rebasing: bytes[range])))
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    /// Whether the file begins with a snapshot.
    mutating func hasSnapshot() throws(AppendOnlyError) -> Bool {
        let magic = Array("REDIS".utf8)
        while buffer.count < magic.count, try fill() {}
        return buffer.starts(with: magic)
    }

    /// Goes on at a place of the file.
    mutating func skip(to offset: Int) {
        buffer.removeAll(keepingCapacity: true)
        (bufferOffset, start, scanned) = (offset, 0, 0)
        isAtEnd = offset >= byteCount
    }

    /// Reads on; false at the end.
    private mutating func fill() throws(AppendOnlyError) -> Bool {
        guard !isAtEnd else { return false }
        let before = buffer.count
        // The longer a request is, the more at once: it is looked at from its beginning each time.
        let wanted = max(Self.readByteCount, min(before - start, byteCount - bufferOffset - before))
        buffer += [UInt8](repeating: 0, count: wanted)
        let offset = bufferOffset + before
        let result: Result<Int, SystemError> = buffer.withUnsafeMutableBytes { bytes in
            let room = UnsafeMutableRawBufferPointer(rebasing: bytes[before...])
            do throws(SystemError) {
                return .success(
                    try fileSystem.retrying { () throws(SystemError) in try fileSystem.readAt(file, offset, room) })
            } catch {
                return .failure(error)
            }
        }
        switch result {
        case .success(let count):
            buffer.removeLast(wanted - count)
            isAtEnd = count == 0
            return count > 0
        case .failure(let error):
            buffer.removeLast(wanted)
            throw AppendOnlyError(error.description)
        }
    }

    // MARK: Requests

    mutating func next() throws(AppendOnlyError) -> Item {
        try skipLines()
        if start > 0 {
            buffer.removeFirst(start)
            bufferOffset += start
            (start, scanned) = (0, 0)
        }
        var (count, databaseIndex) = (0, Int?.none)
        /// Behind the last request that ends no transaction in its middle.
        var whole = (end: scanned, count: 0, databaseIndex: Int?.none)
        var isInTransaction = false
        while true {
            guard let kind = try scan() else {
                guard whole.end == start else { break }
                return .end(torn: byteCount - bufferOffset - start)
            }
            count += 1
            switch kind {
            case .multi: isInTransaction = true
            case .exec: isInTransaction = false
            case .select(let index): databaseIndex = index
            case .ordinary: break
            }
            guard !isInTransaction else { continue }
            whole = (scanned, count, databaseIndex)
            // A line about time ends a run, so that nothing has to be taken out of it.
            if scanned - start >= Self.runByteCount || scanned < buffer.count && buffer[scanned] == Self.lineSign {
                break
            }
        }
        defer { (start, scanned) = (whole.end, whole.end) }
        return .requests(start..<whole.end, count: whole.count, databaseIndex: whole.databaseIndex)
    }

    /// Goes over lines about time, which stand between requests.
    private mutating func skipLines() throws(AppendOnlyError) {
        while true {
            if start == buffer.count, try !fill() { return }
            guard buffer[start] == Self.lineSign else { return }
            if let end = line(from: start) {
                (start, scanned) = (end, end)
            } else if buffer.count - start >= Self.lineByteCountMax {
                throw problem("a line that is too long")
            } else if try !fill() {
                return
            }
        }
    }

    /// Goes over the next request; nil when the file ends before it does.
    private mutating func scan() throws(AppendOnlyError) -> Kind? {
        while true {
            if let request = try scanOnce() { return request }
            guard try fill() else { return nil }
        }
    }

    /// The same with what was read; nil when that is not enough.
    private mutating func scanOnce() throws(AppendOnlyError) -> Kind? {
        var position = scanned
        guard let argumentCount = try number(behind: 0x2A, at: &position) else { return nil }
        guard argumentCount > 0 else { throw problem("a request without words") }
        var words: [Range<Int>] = []
        for index in 0..<argumentCount {
            guard let length = try number(behind: 0x24, at: &position) else { return nil }
            guard length <= byteCount - bufferOffset - position else {
                // Longer than the file: torn, and not to be waited for.
                isAtEnd = true
                return nil
            }
            guard position + length + 2 <= buffer.count else { return nil }
            guard buffer[position + length] == 0x0D, buffer[position + length + 1] == 0x0A else {
                throw problem("a word does not end where it should")
            }
            if index < 2 { words.append(position..<position + length) }
            position += length + 2
        }
        let kind = kind(words, argumentCount)
        scanned = position
        return kind
    }

    private func kind(_ words: [Range<Int>], _ argumentCount: Int) -> Kind {
        guard words[0].count <= 6 else { return .ordinary }
        switch String(decoding: buffer[words[0]], as: UTF8.self).uppercased() {
        case "MULTI" where argumentCount == 1: return .multi
        case "EXEC" where argumentCount == 1: return .exec
        case "SELECT" where argumentCount == 2:
            return Int(String(decoding: buffer[words[1]], as: UTF8.self)).map { .select($0) } ?? .ordinary
        default: return .ordinary
        }
    }

    /// The number of a line that begins with `sign`; nil when the line is not whole.
    private func number(behind sign: UInt8, at position: inout Int) throws(AppendOnlyError) -> Int? {
        guard position < buffer.count else { return nil }
        guard buffer[position] == sign else { throw problem("no request begins here") }
        guard let end = line(from: position) else {
            guard buffer.count - position <= 32 else { throw problem("a number that is too long") }
            return nil
        }
        guard end - position >= 4, buffer[end - 2] == 0x0D else { throw problem("a line without a number") }
        guard let number = Int(String(decoding: buffer[position + 1..<end - 2], as: UTF8.self)), number >= 0,
            number <= 1 << 40
        else { throw problem("what should be a number is none") }
        position = end
        return number
    }

    /// Behind the line that begins at `position`; nil when it is not whole.
    private func line(from position: Int) -> Int? {
        let limit = min(buffer.count, position + Self.lineByteCountMax)
        return buffer[position..<limit].firstIndex(of: 0x0A).map { $0 + 1 }
    }

    private func problem(_ reason: String) -> AppendOnlyError {
        AppendOnlyError(
            path: path, offset: bufferOffset + scanned,
            "\(reason). `redis-check-aof --fix` cuts the file here, and loses what is behind")
    }
}
