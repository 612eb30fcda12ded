// `--pipe`: sends requests from a descriptor, as many as fit at a time, and counts replies and errors.
//
// The requests are told apart by the server's own parser, so it is known how many replies are to come, and a request
// that was cut off at the end of the input is never sent. One batch is on its way at a time: neither side can wait for
// the other with full buffers, however long the replies are. One thread. Memory: the input that is not yet sent.

import KedisProtocol
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

package struct MassInsertion: ~Copyable {
    private static let batchByteCount = 64 << 10

    private let client: WireClient
    private var parser = RequestParser()
    private var input: [UInt8] = []
    package private(set) var replyCount = 0
    package private(set) var errorCount = 0

    package init(_ client: WireClient) {
        self.client = client
        // The server has limits of its own.
        parser.limits.bulkByteCountMax = 1 << 40
    }

    /// The server has stopped answering, which counts as an error.
    package mutating func noteSilence() { errorCount += 1 }

    /// Sends all of `source`, tells `complain` each error of the server, and counts.
    package mutating func run(from source: Int32, complain: (String) -> Void) throws(WireError) {
        var chunk = [UInt8](repeating: 0, count: Self.batchByteCount)
        while true {
            let count = chunk.withUnsafeMutableBytes { read(source, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            input += chunk[0..<count]
            try sendWhatIsWhole(complain)
        }
        guard input.isEmpty else { throw WireError(message: "the input ends within a request, which was not sent") }
    }

    private mutating func sendWhatIsWhole(_ complain: (String) -> Void) throws(WireError) {
        let (byteCount, requestCount) = try wholeRequests()
        guard byteCount > 0 else { return }
        let replies = try client.exchange(Array(input[0..<byteCount]), replyCount: requestCount)
        input.removeFirst(byteCount)
        replyCount += replies.count
        for case .error(let text) in replies {
            errorCount += 1
            complain(String(decoding: text, as: UTF8.self))
        }
    }

    /// How many bytes of the input are whole requests, and how many.
    private mutating func wholeRequests() throws(WireError) -> (byteCount: Int, requestCount: Int) {
        var (position, requestCount) = (0, 0)
        var problem: WireError?
        input.withUnsafeBytes { bytes in
            var arguments = ArgumentBuffer()
            while position < bytes.count, problem == nil {
                let rest = ByteView(UnsafeRawBufferPointer(rebasing: bytes[position...]))
                switch parser.next(rest, into: &arguments) {
                case .request(let byteCount, _):
                    position += byteCount
                    requestCount += 1
                case .nothing(let byteCount): position += byteCount
                case .incomplete:
                    // The next call has other bytes before it.
                    parser.forget()
                    return
                case .failure(let error):
                    problem = WireError(message: String(decoding: error.text, as: UTF8.self))
                }
                arguments.removeAll()
            }
        }
        if let problem { throw problem }
        return (position, requestCount)
    }
}
