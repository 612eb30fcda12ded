// Drives a RequestParser as a session does: unconsumed bytes stay in front of the next piece, in a new place each time.

import KedisProtocol
import KedisUtilities

/// What a stream of bytes asked for.
struct ParsedStream: Equatable {
    var requests: [[[UInt8]]] = []
    /// The error that ended it.
    var failure: ProtocolError?
    /// The bytes of the request at the end that is not complete.
    var pendingByteCount = 0
}

struct RequestParserHarness: ~Copyable {
    private var parser = RequestParser()
    private var arguments = ArgumentBuffer()
    private var pending: [UInt8] = []
    /// The earliest end of the incomplete request, in bytes of the stream, as the parser promised.
    private var promisedEnd = 0
    private var consumedByteCount = 0
    private(set) var result = ParsedStream()
    /// Requests that were complete before the parser said that they could be.
    private(set) var brokenPromiseCount = 0

    init(limits: ParserLimits = ParserLimits(), isUnauthenticated: Bool = false) {
        parser.limits = limits
        parser.isUnauthenticated = isUnauthenticated
    }

    mutating func feed(_ piece: [UInt8]) {
        guard result.failure == nil else { return }
        // A new array, so that anything that still points into the old one shows.
        let input = pending + piece
        var position = 0
        input.withUnsafeBytes { bytes in
            let view = ByteView(bytes)
            while position < input.count, result.failure == nil {
                let rest = view[position..<input.count]
                guard let byteCount = step(rest) else { break }
                position += byteCount
                consumedByteCount += byteCount
            }
        }
        pending = Array(input[position...])
        result.pendingByteCount = result.failure == nil ? pending.count : 0
    }

    /// One call of the parser; nil when the input is used up or of no use.
    private mutating func step(_ rest: ByteView) -> Int? {
        switch parser.next(rest, into: &arguments) {
        case .incomplete(let missing):
            promisedEnd = consumedByteCount + rest.count + max(1, missing)
            return nil
        case .nothing(let byteCount):
            promisedEnd = 0
            return byteCount
        case .request(let byteCount, let argumentCount):
            if consumedByteCount + rest.count < promisedEnd { brokenPromiseCount += 1 }
            promisedEnd = 0
            let base = rest[0] == 0x2A ? rest.base : arguments.withInlineBase { $0 }
            let list = arguments.list(from: 0, count: argumentCount, base: base)
            result.requests.append((0..<argumentCount).map { list[$0].bytes })
            arguments.removeAll()
            return byteCount
        case .failure(let error):
            result.failure = error
            return nil
        }
    }

    /// What the parser makes of `pieces`.
    static func parse(
        _ pieces: [[UInt8]], limits: ParserLimits = ParserLimits(), isUnauthenticated: Bool = false
    ) -> ParsedStream {
        var harness = RequestParserHarness(limits: limits, isUnauthenticated: isUnauthenticated)
        for piece in pieces { harness.feed(piece) }
        return harness.result
    }
}
