// Parses requests in place: RESP arrays of bulk strings, and inline commands.
//
// The parser owns no input. It looks at the unconsumed bytes of a connection, remembers how far it came in an
// incomplete request (relative to that request's first byte, so the bytes may move) and yields ranges. A request that
// is all there is parsed in one go; what is not is looked at once more, and then nothing is looked at twice, except the
// header line that is still incomplete. Arguments of inline commands are unescaped into the parser's own buffer.
//
// Source: the RESP specification; limits and error texts as redis-server 7.0.15 has them.

package import KedisUtilities

/// What the parser found at the start of the unconsumed bytes.
package enum ParseOutcome: Equatable, Sendable {
    /// The request is not complete. At least this many more bytes are needed.
    case incomplete(missingByteCount: Int)
    /// A request of `byteCount` bytes; its arguments were appended.
    case request(byteCount: Int, argumentCount: Int)
    /// `byteCount` bytes that ask for nothing: an empty line, `*0`, a negative count.
    case nothing(byteCount: Int)
    /// The connection cannot go on; `ProtocolError` has the text.
    case failure(ProtocolError)
}

/// Why a request cannot be understood. The connection is closed after the error.
package enum ProtocolError: Error, Equatable, Sendable {
    case inlineTooBig
    case unbalancedQuotes
    case multibulkHeaderTooBig
    case invalidMultibulkLength
    case unauthenticatedMultibulkLength
    case bulkHeaderTooBig
    case expectedDollar(got: UInt8)
    case invalidBulkLength
    case unauthenticatedBulkLength
    /// The first message of TLS, on a port without it.
    case encrypted
    /// There is no memory for so many arguments: not the client's mistake, but the end of its request.
    case memoryExhausted

    /// The text after `-ERR `.
    package var text: [UInt8] {
        switch self {
        case .inlineTooBig: ByteView("Protocol error: too big inline request").bytes
        case .unbalancedQuotes: ByteView("Protocol error: unbalanced quotes in request").bytes
        case .multibulkHeaderTooBig: ByteView("Protocol error: too big mbulk count string").bytes
        case .invalidMultibulkLength: ByteView("Protocol error: invalid multibulk length").bytes
        case .unauthenticatedMultibulkLength: ByteView("Protocol error: unauthenticated multibulk length").bytes
        case .bulkHeaderTooBig: ByteView("Protocol error: too big bulk count string").bytes
        case .expectedDollar(let byte): ByteView("Protocol error: expected '$', got '").bytes + [byte, 0x27]
        case .invalidBulkLength: ByteView("Protocol error: invalid bulk length").bytes
        case .unauthenticatedBulkLength: ByteView("Protocol error: unauthenticated bulk length").bytes
        case .encrypted: ByteView("Protocol error: TLS on a port without it").bytes
        case .memoryExhausted: ByteView("out of memory").bytes
        }
    }
}

/// What a client may send.
package struct ParserLimits: Sendable {
    /// The most arguments of a request.
    package var argumentCountMax = 1_048_576
    /// The longest argument, in bytes (`proto-max-bulk-len`).
    package var bulkByteCountMax = 512 << 20
    /// The longest inline command or header line, in bytes.
    package static let lineByteCountMax = 64 << 10

    package init() {}

    /// What a client may send that must authenticate first.
    package static var unauthenticated: ParserLimits {
        var limits = ParserLimits()
        limits.argumentCountMax = 10
        limits.bulkByteCountMax = 16384
        return limits
    }
}

package struct RequestParser: ~Copyable {
    package var limits = ParserLimits()
    /// A tighter set of limits applies, and its errors say so.
    package var isUnauthenticated = false

    /// Arguments that are still to come in the request that is being parsed; 0 between requests.
    private var missingArgumentCount = 0
    /// The length of the argument whose header was read, or nil when a header is next.
    private var bulkByteCount: Int?
    /// How far the current request was parsed, in bytes from its start.
    private var position = 0
    private var argumentCount = 0

    package init() {}

    /// True between requests: nothing of the next one was seen.
    package var isIdle: Bool { position == 0 }

    /// Forgets what it has seen of an incomplete request: the next call is with other bytes.
    package mutating func forget() {
        missingArgumentCount = 0
        bulkByteCount = nil
        position = 0
        argumentCount = 0
    }

    /// Parses the request at the start of `input` and appends its arguments to `arguments`.
    ///
    /// When the outcome is `.incomplete`, call again with the same bytes and more behind them, and with the same
    /// `arguments`. O(bytes not seen before).
    package mutating func next(_ input: ByteView, into arguments: inout ArgumentBuffer) -> ParseOutcome {
        guard input.count > 0 else { return .incomplete(missingByteCount: 1) }
        if position == 0 {
            if let outcome = parseWhole(input, into: &arguments) { return outcome }
            guard input[0] == 0x2A else { return parseInline(input, into: &arguments) }
            if let outcome = parseHeader(input, into: &arguments) { return outcome }
        }
        return parseArguments(input, into: &arguments)
    }

    // MARK: Whole requests

    /// A request that is all there and like nearly all requests, parsed without a trace in the parser's state. Nil for
    /// any other, of which nothing was appended: the way from line to line has the limits, errors and rests.
    @inline(__always)
    private func parseWhole(_ input: ByteView, into arguments: inout ArgumentBuffer) -> ParseOutcome? {
        guard input[0] == 0x2A, let header = plainNumber(input, 1), header.value > 0,
            header.value <= min(Self.plainArgumentCountMax, limits.argumentCountMax)
        else { return nil }
        guard arguments.reserve(header.value) else { return nil }
        let ranges = arguments.free
        let bulkByteCountMax = limits.bulkByteCountMax
        var position = header.end
        for index in 0..<header.value {
            guard let bulk = plainBulk(input, position), bulk.value <= bulkByteCountMax,
                input.count &- bulk.end >= bulk.value &+ 2
            else { return nil }
            ranges[index] = ArgumentRange(offset: bulk.end, count: bulk.value)
            position = bulk.end &+ bulk.value &+ 2
        }
        arguments.noteAppended(header.value)
        return .request(byteCount: position, argumentCount: header.value)
    }

    /// The line `$count` as ``plainNumber(_:_:)`` reads it. One digit, by far the most frequent, is one word.
    @inline(__always)
    private func plainBulk(_ input: ByteView, _ position: Int) -> (value: Int, end: Int)? {
        // The shortest argument has as many bytes.
        guard position &+ 5 < input.count else { return nil }
        let word = UInt32(littleEndian: UnsafeRawPointer(input.base + position).loadUnaligned(as: UInt32.self))
        let digit = Int(word >> 8 & 0xFF) &- 0x30
        if word & 0xFF_00FF == 0x0D_0024, digit >= 0, digit <= 9 { return (digit, position &+ 4) }
        return word & 0xFF == 0x24 ? plainNumber(input, position &+ 1) : nil
    }

    /// More arguments are worth the other way.
    private static let plainArgumentCountMax = 999

    /// A number of one to three digits, the first no zero unless it is the only one, and where the line behind it
    /// begins: behind CR and the byte that follows. Nil for anything else.
    @inline(__always)
    private func plainNumber(_ input: ByteView, _ start: Int) -> (value: Int, end: Int)? {
        // The shortest argument is longer than what is read here in vain.
        guard start &+ 4 < input.count else { return nil }
        let first = Int(input[start]) &- 0x30
        guard first >= 0, first <= 9 else { return nil }
        let second = input[start &+ 1]
        if second == 0x0D { return (first, start &+ 3) }
        guard first > 0, isASCIIDigit(second) else { return nil }
        let two = first &* 10 &+ Int(second & 15)
        let third = input[start &+ 2]
        if third == 0x0D { return (two, start &+ 4) }
        guard isASCIIDigit(third), input[start &+ 3] == 0x0D else { return nil }
        return (two &* 10 &+ Int(third & 15), start &+ 5)
    }

    // MARK: From line to line

    /// The line `*count`; nil when arguments follow.
    private mutating func parseHeader(_ input: ByteView, into arguments: inout ArgumentBuffer) -> ParseOutcome? {
        guard let line = headerLine(input, from: 1) else {
            if input.count > ParserLimits.lineByteCountMax { return .failure(.multibulkHeaderTooBig) }
            return .incomplete(missingByteCount: 2)
        }
        guard let count = line.value, count <= Int64(Self.absoluteArgumentCountMax) else {
            return .failure(.invalidMultibulkLength)
        }
        if count > Int64(limits.argumentCountMax) {
            return .failure(isUnauthenticated ? .unauthenticatedMultibulkLength : .invalidMultibulkLength)
        }
        if count <= 0 { return .nothing(byteCount: line.end) }
        missingArgumentCount = Int(count)
        argumentCount = 0
        position = line.end
        return nil
    }

    private static let absoluteArgumentCountMax = 1_048_576

    private mutating func parseArguments(_ input: ByteView, into arguments: inout ArgumentBuffer) -> ParseOutcome {
        while missingArgumentCount > 0 {
            if bulkByteCount == nil, let outcome = parseBulkHeader(input) { return outcome }
            let count = bulkByteCount ?? 0
            // The bytes and the CR LF behind them, which is not looked at, as in Redis.
            let missing = position + count + 2 - input.count
            if missing > 0 { return .incomplete(missingByteCount: missing) }
            let range = ArgumentRange(offset: position, count: count)
            guard arguments.append(range) else { return .failure(.memoryExhausted) }
            position += count + 2
            bulkByteCount = nil
            missingArgumentCount -= 1
            argumentCount += 1
        }
        let byteCount = position
        position = 0
        return .request(byteCount: byteCount, argumentCount: argumentCount)
    }

    /// The line `$count`; nil when its bytes are next.
    private mutating func parseBulkHeader(_ input: ByteView) -> ParseOutcome? {
        guard position < input.count else { return .incomplete(missingByteCount: 4) }
        guard let line = headerLine(input, from: position + 1) else {
            // An empty line is complete as it is.
            if input[position] == 0x0D, position + 1 < input.count { return .failure(.expectedDollar(got: 0x0D)) }
            if input.count - position > ParserLimits.lineByteCountMax { return .failure(.bulkHeaderTooBig) }
            return .incomplete(missingByteCount: 2)
        }
        guard input[position] == 0x24 else { return .failure(.expectedDollar(got: input[position])) }
        guard let count = line.value, count >= 0 else { return .failure(.invalidBulkLength) }
        if count > Int64(limits.bulkByteCountMax) {
            return .failure(isUnauthenticated ? .unauthenticatedBulkLength : .invalidBulkLength)
        }
        position = line.end
        bulkByteCount = Int(count)
        return nil
    }

    /// The number up to the next CR and where the line behind it starts; nil when CR and the byte behind it are not
    /// there yet.
    private func headerLine(_ input: ByteView, from start: Int) -> (value: Int64?, end: Int)? {
        guard start < input.count, let length = input[start..<input.count].firstIndex(of: 0x0D),
            start + length + 1 < input.count
        else { return nil }
        return (parseInteger(input[start..<start + length]), start + length + 2)
    }

    @inline(never)
    private mutating func parseInline(_ input: ByteView, into arguments: inout ArgumentBuffer) -> ParseOutcome {
        // Its peer waits for an answer, and would for ever: a line that ends may never come.
        if input.count > 1, input[0] == 0x16, input[1] == 0x03 { return .failure(.encrypted) }
        guard let newline = input.firstIndex(of: 0x0A) else {
            if input.count > ParserLimits.lineByteCountMax { return .failure(.inlineTooBig) }
            return .incomplete(missingByteCount: 1)
        }
        if newline > ParserLimits.lineByteCountMax { return .failure(.inlineTooBig) }
        let end = newline > 0 && input[newline - 1] == 0x0D ? newline - 1 : newline
        do throws(ProtocolError) {
            let count = try arguments.appendInline(input[0..<end])
            if count == 0 { return .nothing(byteCount: newline + 1) }
            return .request(byteCount: newline + 1, argumentCount: count)
        } catch {
            return .failure(error)
        }
    }
}
