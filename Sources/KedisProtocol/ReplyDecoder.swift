// The client's side of the protocol: bytes from a server in, `Reply` values out; argument vectors in, requests out.
//
// A decoder owns the bytes that are not yet decoded and the aggregates that are not yet complete; one connection has
// one decoder, used by one thread. Invariants: bytes before `position` are consumed; `scanned` never lies before
// `position`; the open aggregates are a stack on the heap, so no nesting can exhaust the thread's stack. A declared
// count or length reserves nothing: memory grows only with bytes that arrived. Cost: every byte is looked at once and
// copied twice (into the buffer, into its reply), whatever the pieces that it arrives in.

/// Why the bytes of a server are not a reply. The connection is of no use afterwards.
package enum ReplyDecodeError: Error, Equatable {
    case unknownType(UInt8)
    case invalidNumber
    case invalidBoolean
    case invalidVerbatim
    case missingLineEnd
    case lineTooLong
    case lengthTooLarge
    case countTooLarge
    case nestingTooDeep

    package var message: String {
        switch self {
        case .unknownType(let byte): "unknown reply type, byte \(byte)"
        case .invalidNumber: "a length, count or integer is not a number"
        case .invalidBoolean: "a boolean is neither t nor f"
        case .invalidVerbatim: "a verbatim string has no three-byte format"
        case .missingLineEnd: "a string is not followed by CR LF"
        case .lineTooLong: "a line is too long"
        case .lengthTooLarge: "a string is too long"
        case .countTooLarge: "an aggregate has too many elements"
        case .nestingTooDeep: "aggregates are nested too deeply"
        }
    }
}

/// An incremental decoder of RESP2 and RESP3 replies.
///
/// Attributes (`|`) are decoded and dropped. Streamed strings and aggregates (`$?`, `*?`), which no server sends, are
/// an `invalidNumber`.
package struct ReplyDecoder: Sendable {
    package struct Limits: Sendable {
        /// The most bytes of a line: of a simple string, an error, a number.
        package var lineByteCount = 1 << 20
        /// The most bytes of a bulk string. Redis allows values of 512 MB, and reports that are a little longer.
        package var bulkByteCount = 1 << 30
        /// The most elements of one aggregate (a map's entries count once).
        package var elementCount = 1 << 31 - 1
        /// The most aggregates around one value.
        package var depth = 128

        package init() {}
    }

    private struct Frame: Sendable {
        var kind: Kind
        /// Values that are still missing, keys and values of a map counted separately.
        var remaining: Int
        var elements: [Reply] = []
    }

    private enum Kind: Sendable { case array, map, set, push, attribute }

    /// What stands in the buffer at `position`.
    private enum Expectation: Sendable {
        case header
        case body(type: UInt8, byteCount: Int)
    }

    /// A value, an aggregate that was opened, or nothing yet.
    private enum Step {
        case value(Reply)
        case opened
        case starved
    }

    private let limits: Limits
    private var buffer: [UInt8] = []
    private var position = 0
    private var scanned = 0
    private var stack: [Frame] = []
    private var expectation = Expectation.header
    private var failure: ReplyDecodeError?

    package init(limits: Limits = Limits()) {
        self.limits = limits
    }

    /// The bytes that wait for the rest of their reply.
    package var pendingByteCount: Int { buffer.count - position }

    /// True between two replies: nothing is pending, no aggregate is open.
    package var isIdle: Bool {
        guard case .header = expectation else { return false }
        return pendingByteCount == 0 && stack.isEmpty
    }

    package mutating func append(_ bytes: UnsafeRawBufferPointer) {
        dropConsumed()
        buffer.append(contentsOf: bytes)
    }

    package mutating func append(_ bytes: [UInt8]) {
        dropConsumed()
        buffer.append(contentsOf: bytes)
    }

    /// The next whole reply, or nil if more bytes are needed. After an error every call throws the same error.
    package mutating func next() throws(ReplyDecodeError) -> Reply? {
        if let failure { throw failure }
        do {
            return try advance()
        } catch {
            failure = error
            throw error
        }
    }

    private mutating func advance() throws(ReplyDecodeError) -> Reply? {
        while true {
            switch try step() {
            case .starved: return nil
            case .opened: continue
            case .value(let reply):
                if let whole = deliver(reply) { return whole }
            }
        }
    }

    /// Moves what is left to the front once it is the smaller part, so that each byte moves once on average.
    private mutating func dropConsumed() {
        guard position > 0, position >= buffer.count - position else { return }
        buffer.removeFirst(position)
        scanned -= position
        position = 0
    }

    // MARK: Aggregates

    /// Puts a value into the innermost open aggregate, closes those that it completes, and returns a value that
    /// belongs to none.
    private mutating func deliver(_ reply: Reply) -> Reply? {
        var value = reply
        while let top = stack.indices.last {
            stack[top].elements.append(value)
            stack[top].remaining -= 1
            guard stack[top].remaining == 0 else { return nil }
            let frame = stack.removeLast()
            guard let aggregate = Self.assemble(frame.kind, frame.elements) else { return nil }
            value = aggregate
        }
        return value
    }

    /// The reply made of an aggregate's elements; nil for an attribute, which is dropped.
    private static func assemble(_ kind: Kind, _ elements: [Reply]) -> Reply? {
        switch kind {
        case .array: return .array(elements)
        case .set: return .set(elements)
        case .push: return .push(elements)
        case .attribute: return nil
        case .map:
            var entries: [Reply.Entry] = []
            entries.reserveCapacity(elements.count / 2)
            for index in stride(from: 0, to: elements.count - 1, by: 2) {
                entries.append(Reply.Entry(key: elements[index], value: elements[index + 1]))
            }
            return .map(entries)
        }
    }

    private mutating func open(_ kind: Kind, _ line: Range<Int>) throws(ReplyDecodeError) -> Step {
        let count = try number(line)
        if count == -1, kind == .array { return .value(.nullArray) }
        guard count >= 0 else { throw .invalidNumber }
        guard count <= Int64(limits.elementCount) else { throw .countTooLarge }
        if count == 0 {
            guard let empty = Self.assemble(kind, []) else { return .opened }
            return .value(empty)
        }
        guard stack.count < limits.depth else { throw .nestingTooDeep }
        let isPaired = kind == .map || kind == .attribute
        let (remaining, overflow) = Int(count).multipliedReportingOverflow(by: isPaired ? 2 : 1)
        guard !overflow else { throw .countTooLarge }
        stack.append(Frame(kind: kind, remaining: remaining))
        return .opened
    }

    // MARK: Single values

    private mutating func step() throws(ReplyDecodeError) -> Step {
        if case .body(let type, let byteCount) = expectation { return try body(type, byteCount) }
        guard let line = try takeLine() else { return .starved }
        let type = buffer[line.lowerBound]
        let rest = line.lowerBound + 1..<line.upperBound
        switch type {
        case UInt8(ascii: "+"): return .value(.simple(bytes(rest)))
        case UInt8(ascii: "-"): return .value(.error(bytes(rest)))
        case UInt8(ascii: ":"): return .value(.integer(try number(rest)))
        case UInt8(ascii: "$"), UInt8(ascii: "="), UInt8(ascii: "!"): return try openBody(type, rest)
        case UInt8(ascii: "*"): return try open(.array, rest)
        case UInt8(ascii: "%"): return try open(.map, rest)
        case UInt8(ascii: "~"): return try open(.set, rest)
        case UInt8(ascii: ">"): return try open(.push, rest)
        case UInt8(ascii: "|"): return try open(.attribute, rest)
        case UInt8(ascii: "_"): return .value(.null)
        case UInt8(ascii: "#"): return .value(.boolean(try boolean(rest)))
        case UInt8(ascii: ","): return .value(.double(bytes(rest)))
        case UInt8(ascii: "("): return .value(.bigNumber(bytes(rest)))
        default: throw .unknownType(type)
        }
    }

    private mutating func openBody(_ type: UInt8, _ line: Range<Int>) throws(ReplyDecodeError) -> Step {
        let count = try number(line)
        if count == -1, type == UInt8(ascii: "$") { return .value(.null) }
        guard count >= 0 else { throw .invalidNumber }
        guard count <= Int64(limits.bulkByteCount) else { throw .lengthTooLarge }
        expectation = .body(type: type, byteCount: Int(count))
        return .opened
    }

    private mutating func body(_ type: UInt8, _ byteCount: Int) throws(ReplyDecodeError) -> Step {
        guard pendingByteCount >= 2, pendingByteCount - 2 >= byteCount else { return .starved }
        let end = position + byteCount
        guard buffer[end] == 13, buffer[end + 1] == 10 else { throw .missingLineEnd }
        let range = position..<end
        let reply: Reply
        switch type {
        case UInt8(ascii: "!"): reply = .error(bytes(range))
        case UInt8(ascii: "="): reply = try verbatim(range)
        default: reply = .bulk(bytes(range))
        }
        position = end + 2
        scanned = position
        expectation = .header
        return .value(reply)
    }

    private func verbatim(_ range: Range<Int>) throws(ReplyDecodeError) -> Reply {
        guard range.count >= 4, buffer[range.lowerBound + 3] == UInt8(ascii: ":") else { throw .invalidVerbatim }
        let text = range.lowerBound + 4
        return .verbatim(format: bytes(range.lowerBound..<text - 1), text: bytes(text..<range.upperBound))
    }

    private func boolean(_ line: Range<Int>) throws(ReplyDecodeError) -> Bool {
        guard line.count == 1 else { throw .invalidBoolean }
        switch buffer[line.lowerBound] {
        case UInt8(ascii: "t"): return true
        case UInt8(ascii: "f"): return false
        default: throw .invalidBoolean
        }
    }

    /// A decimal number with an optional sign that fits 64 bits, and nothing else.
    private func number(_ line: Range<Int>) throws(ReplyDecodeError) -> Int64 {
        var index = line.lowerBound
        var isNegative = false
        if index < line.upperBound, buffer[index] == UInt8(ascii: "-") || buffer[index] == UInt8(ascii: "+") {
            isNegative = buffer[index] == UInt8(ascii: "-")
            index += 1
        }
        guard index < line.upperBound else { throw .invalidNumber }
        var value: Int64 = 0
        while index < line.upperBound {
            let digit = buffer[index] &- UInt8(ascii: "0")
            guard digit <= 9 else { throw .invalidNumber }
            let (shifted, overflow) = value.multipliedReportingOverflow(by: 10)
            // Counts downwards for negative numbers, so that the least one is reached without overflow.
            let (sum, carry) = isNegative
                ? shifted.subtractingReportingOverflow(Int64(digit)) : shifted.addingReportingOverflow(Int64(digit))
            guard !overflow, !carry else { throw .invalidNumber }
            value = sum
            index += 1
        }
        return value
    }

    private func bytes(_ range: Range<Int>) -> [UInt8] { Array(buffer[range]) }

    /// Consumes a line that ends in CR LF and returns where it lies, its end excluded; nil if it is not whole yet.
    private mutating func takeLine() throws(ReplyDecodeError) -> Range<Int>? {
        guard let end = findLineEnd() else {
            // One byte behind the end, as the line feed of a carriage return may come next.
            scanned = max(position, buffer.count - 1)
            guard pendingByteCount <= limits.lineByteCount else { throw .lineTooLong }
            if position < buffer.count { try checkType(buffer[position]) }
            return nil
        }
        guard end - position <= limits.lineByteCount else { throw .lineTooLong }
        guard end > position else { throw .unknownType(13) }
        let line = position..<end
        position = end + 2
        scanned = position
        return line
    }

    /// Refuses at its first byte what is no reply, instead of waiting for a line end that may never come.
    private func checkType(_ type: UInt8) throws(ReplyDecodeError) {
        switch type {
        case UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: ":"), UInt8(ascii: "$"), UInt8(ascii: "="),
            UInt8(ascii: "!"), UInt8(ascii: "*"), UInt8(ascii: "%"), UInt8(ascii: "~"), UInt8(ascii: ">"),
            UInt8(ascii: "|"), UInt8(ascii: "_"), UInt8(ascii: "#"), UInt8(ascii: ","), UInt8(ascii: "("):
            return
        default: throw .unknownType(type)
        }
    }

    private func findLineEnd() -> Int? {
        let start = scanned
        return buffer.withUnsafeBufferPointer { bytes in
            var index = start
            while index + 1 < bytes.count {
                if bytes[index] == 13, bytes[index + 1] == 10 { return index }
                index += 1
            }
            return nil
        }
    }
}

/// A request as every Redis-compatible server reads it: an array of bulk strings.
package func encodeRequest(_ arguments: [[UInt8]]) -> [UInt8] {
    var request: [UInt8] = []
    request.reserveCapacity(arguments.reduce(16) { $0 + $1.count + 16 })
    request.append(UInt8(ascii: "*"))
    request.append(contentsOf: String(arguments.count).utf8)
    request.append(contentsOf: [13, 10])
    for argument in arguments {
        request.append(UInt8(ascii: "$"))
        request.append(contentsOf: String(argument.count).utf8)
        request.append(contentsOf: [13, 10])
        request.append(contentsOf: argument)
        request.append(contentsOf: [13, 10])
    }
    return request
}
