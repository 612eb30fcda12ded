// One connection of the load generator, and the requests that it sends.
//
// Owns its socket, which never blocks, and its buffers. Replies come in the order of requests, so when each pipeline
// was due stands in a ring of 4,096. Replies are counted, not kept: simple strings, errors, integers and bulk strings.

#if os(Linux)
import CKedis
import KedisUtilities

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

final class LoadConnection {
    let descriptor: Int32
    private let pipeline: Int
    private let input = UnsafeMutablePointer<UInt8>.allocate(capacity: inputCapacity)
    private var inputCount = 0
    /// What the socket did not take.
    private var unsent: [UInt8] = []
    private let dues = UnsafeMutablePointer<UInt64>.allocate(capacity: ringCapacity)
    private var sentCount = 0
    private var answeredCount = 0
    /// Replies that have come and were not told yet, and those told of the oldest pipeline.
    private var replyCount = 0
    private var toldCount = 0
    private var errorCount = 0
    /// A reply of several lines came, which would be counted as several.
    private var hasArray = false

    private static let inputCapacity = 65_536
    private static let ringCapacity = 4096

    init(port: UInt16, pipeline: Int) throws {
        self.pipeline = pipeline
        descriptor = socket(AF_INET, Self.streamType, 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw LoadError(description: "nobody listens on port \(port)") }
        var isOn: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &isOn, socklen_t(MemoryLayout<Int32>.size))
        guard fcntl(descriptor, F_SETFL, O_NONBLOCK) == 0 else { throw LoadError(description: "a socket blocks") }
    }

    deinit {
        close(descriptor)
        input.deallocate()
        dues.deallocate()
    }

    #if canImport(Glibc)
    private static let streamType = Int32(SOCK_STREAM.rawValue)
    #else
    private static let streamType = SOCK_STREAM
    #endif

    /// Another pipeline can be sent.
    var hasRoom: Bool { unsent.isEmpty && sentCount - answeredCount < Self.ringCapacity }

    func send(_ bytes: UnsafeRawBufferPointer, due: UInt64) {
        dues[sentCount & (Self.ringCapacity - 1)] = due
        sentCount += 1
        let taken = max(0, kedis_send(descriptor, bytes.baseAddress, bytes.count))
        if taken < bytes.count { unsent.append(contentsOf: bytes[taken...]) }
    }

    /// Sends what the socket did not take before.
    func flush() {
        guard !unsent.isEmpty else { return }
        let taken = unsent.withUnsafeBytes { kedis_send(descriptor, $0.baseAddress, $0.count) }
        if taken > 0 { unsent.removeFirst(taken) }
    }

    // MARK: Replies

    /// Reads once; false when there is no more for now.
    func receive() throws -> Bool {
        let room = Self.inputCapacity - inputCount
        let count = kedis_receive(descriptor, input + inputCount, room)
        guard count > 0 else {
            if count < 0, errno == EAGAIN || errno == EINTR { return false }
            throw LoadError(description: "the server has closed a connection")
        }
        inputCount += count
        countReplies()
        guard !hasArray else { throw LoadError(description: "a reply is an array, which would be counted as several") }
        return count == room
    }

    func takeErrorCount() -> Int {
        defer { errorCount = 0 }
        return errorCount
    }

    /// Requests of the oldest pipeline that were answered by what was read, and whether those were its last.
    func takeAnswered() -> (due: UInt64, requestCount: Int, isWhole: Bool)? {
        guard replyCount > 0, answeredCount < sentCount else { return nil }
        let due = dues[answeredCount & (Self.ringCapacity - 1)]
        let count = min(replyCount, pipeline - toldCount)
        replyCount -= count
        toldCount += count
        guard toldCount == pipeline else { return (due, count, false) }
        toldCount = 0
        answeredCount += 1
        return (due, count, true)
    }

    private func countReplies() {
        var position = 0
        while let end = endOfReply(from: position) {
            if input[position] == UInt8(ascii: "-") { errorCount += 1 }
            replyCount += 1
            position = end
        }
        inputCount -= position
        if position > 0, inputCount > 0 { memmove(input, input + position, inputCount) }
    }

    /// Where the reply at `start` ends; nil when it is not there as a whole.
    private func endOfReply(from start: Int) -> Int? {
        guard let end = endOfLine(from: start) else { return nil }
        if UInt8(ascii: "*") == input[start] { hasArray = true }
        guard input[start] == UInt8(ascii: "$"), input[start + 1] != UInt8(ascii: "-") else { return end }
        var byteCount = 0
        for position in start + 1..<end - 2 { byteCount = byteCount &* 10 &+ Int(input[position] & 15) }
        let whole = end + byteCount + 2
        return whole <= inputCount ? whole : nil
    }

    private func endOfLine(from start: Int) -> Int? {
        var position = start
        while position < inputCount {
            if input[position] == UInt8(ascii: "\n") { return position + 1 }
            position += 1
        }
        return nil
    }
}

/// Makes pipelines: half GETs, half SETs, of random keys, or one command with random numbers, in memory that is used
/// again.
final class LoadRequests {
    private let shape: LoadShape
    private let buffer: UnsafeMutablePointer<UInt8>
    private let get = Array("*2\r\n$3\r\nGET\r\n$16\r\n".utf8)
    private let set = Array("*3\r\n$3\r\nSET\r\n$16\r\n".utf8)
    private let tail: [UInt8]
    private var random = RandomGenerator(seed: 7)

    init(_ shape: LoadShape) {
        self.shape = shape
        let value = String(repeating: "x", count: shape.valueByteCount)
        tail = Array("\r\n$\(shape.valueByteCount)\r\n\(value)\r\n".utf8)
        let requestByteCount = shape.command?.bytes.count ?? set.count + itemByteCount + tail.count
        buffer = .allocate(capacity: shape.pipeline * requestByteCount)
    }

    deinit { buffer.deallocate() }

    /// Valid until the next call.
    func next() -> UnsafeRawBufferPointer {
        var end = buffer
        if let command = shape.command {
            for _ in 0..<shape.pipeline {
                let start = end
                end = append(command.bytes, to: start)
                for offset in command.digitOffsets {
                    writeDigits(
                        random.next(below: shape.keyCount), to: start + offset, count: CommandTemplate.digitCount)
                }
            }
            return UnsafeRawBufferPointer(start: buffer, count: end - buffer)
        }
        for _ in 0..<shape.pipeline {
            let isRead = random.next() & 1 == 0
            end = append(isRead ? get : set, to: end)
            writeItem(.key, random.next(below: shape.keyCount), to: end)
            end += itemByteCount
            if isRead {
                (end[0], end[1]) = (UInt8(ascii: "\r"), UInt8(ascii: "\n"))
                end += 2
            } else {
                end = append(tail, to: end)
            }
        }
        return UnsafeRawBufferPointer(start: buffer, count: end - buffer)
    }

    private func append(_ bytes: [UInt8], to end: UnsafeMutablePointer<UInt8>) -> UnsafeMutablePointer<UInt8> {
        bytes.withUnsafeBufferPointer { bytes in
            if let base = bytes.baseAddress { end.update(from: base, count: bytes.count) }
        }
        return end + bytes.count
    }
}
#endif
