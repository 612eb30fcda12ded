// What stream commands have in common in their arguments: IDs, intervals, trimming.
//
// IDs are read as Redis reads them: an argument ends at its first zero byte, and a number may have what C's strtoull
// lets stand before it. Every input is an ID or an error; nothing overflows.

import KedisProtocol
import KedisStore
import KedisUtilities

extension CommandError {
    static var invalidStreamID: CommandError { .literal("ERR Invalid stream ID specified as stream command argument") }
}

/// The argument up to its first zero byte.
func streamText(_ argument: ByteView) -> ByteView { argument[0..<(argument.firstIndex(of: 0) ?? argument.count)] }

/// What an argument names as an ID.
struct StreamIDArgument {
    var id: StreamID
    /// False for `milliseconds-*`.
    var hasSequence = true

    private static let byteCountMax = 127

    /// - Parameters:
    ///   - missingSequence: the sequence of an ID that has none.
    ///   - isStrict: `-` and `+` are no IDs.
    init(
        _ argument: ByteView, missingSequence: UInt64 = 0, isStrict: Bool = true, allowsAutomatic: Bool = false
    ) throws(CommandError) {
        guard argument.count <= StreamIDArgument.byteCountMax else { throw .invalidStreamID }
        let text = streamText(argument)
        if !isStrict, text == "-" || text == "+" {
            id = text == "-" ? .zero : .last
            return
        }
        guard let dash = text.firstIndex(of: 0x2D) else {
            id = StreamID(try StreamIDArgument.number(text), missingSequence)
            return
        }
        let milliseconds = try StreamIDArgument.number(text[0..<dash])
        let sequence = text[dash + 1..<text.count]
        if allowsAutomatic, sequence == "*" {
            id = StreamID(milliseconds, 0)
            hasSequence = false
        } else {
            id = StreamID(milliseconds, try StreamIDArgument.number(sequence))
        }
    }

    private static func number(_ text: ByteView) throws(CommandError) -> UInt64 {
        if let integer = parseInteger(text) {
            guard integer >= 0 else { throw .invalidStreamID }
            return UInt64(integer)
        }
        var start = 0
        while start < text.count, isASCIISpace(text[start]) { start += 1 }
        var isNegative = false
        if start < text.count, text[start] == 0x2D || text[start] == 0x2B {
            isNegative = text[start] == 0x2D
            start += 1
        }
        guard let magnitude = parseUnsignedInteger(text[start..<text.count]) else { throw .invalidStreamID }
        return isNegative ? 0 &- magnitude : magnitude
    }

    private static func isASCIISpace(_ byte: UInt8) -> Bool { byte == 0x20 || (byte >= 0x09 && byte <= 0x0D) }
}

extension CommandCall {
    /// The argument at `index` as an ID that is neither `-` nor `+`.
    func streamID(at index: Int) throws(CommandError) -> StreamID { try StreamIDArgument(arguments[index]).id }

    /// The argument as where an interval begins, which it excludes after `(`.
    func streamStart(at index: Int) throws(CommandError) -> StreamID {
        let (id, isExclusive) = try streamBound(at: index, missingSequence: 0)
        guard isExclusive else { return id }
        guard let next = id.next else { throw .literal("ERR invalid start ID for the interval") }
        return next
    }

    /// The argument as where an interval ends.
    func streamEnd(at index: Int) throws(CommandError) -> StreamID {
        let (id, isExclusive) = try streamBound(at: index, missingSequence: .max)
        guard isExclusive else { return id }
        guard let previous = id.previous else { throw .literal("ERR invalid end ID for the interval") }
        return previous
    }

    private func streamBound(
        at index: Int, missingSequence: UInt64
    ) throws(CommandError) -> (id: StreamID, isExclusive: Bool) {
        let argument = arguments[index]
        let isExclusive = argument.count > 1 && argument[0] == 0x28
        let id = try StreamIDArgument(
            isExclusive ? argument[1..<argument.count] : argument, missingSequence: missingSequence,
            isStrict: isExclusive
        ).id
        return (id, isExclusive)
    }
}

/// The options of XADD and XTRIM.
struct StreamAddOptions {
    var trim: StreamTrim?
    var isApproximate = false
    /// What is trimmed at most; nil for no limit.
    var trimCountMax: Int?
    var makesStream = true
    /// Nil for `*`.
    var id: StreamIDArgument?
    /// Where the ID is, or the end of the arguments.
    var idIndex: Int

    /// Reads the arguments from the one behind the key on, up to the ID of XADD.
    init(_ call: borrowing CommandCall, isAdd: Bool) throws(CommandError) {
        idIndex = 2
        var limit: Int64?
        let arguments = call.arguments
        while idIndex < arguments.count {
            let hasMore = idIndex + 1 < arguments.count
            let word = arguments[idIndex]
            if isAdd, streamText(word) == "*" { break }
            if word.equalsIgnoringCase("MAXLEN"), hasMore {
                try readTrim(call) { index throws(CommandError) in
                    let count = try call.integer(at: index)
                    guard count >= 0 else { throw .literal("ERR The MAXLEN argument must be >= 0.") }
                    return .count(Int(count))
                }
            } else if word.equalsIgnoringCase("MINID"), hasMore {
                try readTrim(call) { index throws(CommandError) in .id(try call.streamID(at: index)) }
            } else if word.equalsIgnoringCase("LIMIT"), hasMore {
                idIndex += 1
                let count = try call.integer(at: idIndex)
                guard count >= 0 else { throw .literal("ERR The LIMIT argument must be >= 0.") }
                limit = count
            } else if isAdd, word.equalsIgnoringCase("NOMKSTREAM") {
                makesStream = false
            } else if isAdd {
                id = try StreamIDArgument(word, allowsAutomatic: true)
                break
            } else {
                throw .syntax
            }
            idIndex += 1
        }
        try settle(limit, isAdd: isAdd, defaultLimit: call.streamLimit.defaultTrimCountMax)
    }

    /// Reads `[=|~] threshold`; the index is that of the threshold afterwards.
    private mutating func readTrim(
        _ call: borrowing CommandCall, _ threshold: (Int) throws(CommandError) -> StreamTrim
    ) throws(CommandError) {
        guard trim == nil else {
            throw .literal("ERR syntax error, MAXLEN and MINID options at the same time are not compatible")
        }
        isApproximate = false
        if idIndex + 2 < call.arguments.count {
            let next = streamText(call.arguments[idIndex + 1])
            isApproximate = next == "~"
            if isApproximate || next == "=" { idIndex += 1 }
        }
        idIndex += 1
        trim = try threshold(idIndex)
    }

    private mutating func settle(_ limit: Int64?, isAdd: Bool, defaultLimit: Int) throws(CommandError) {
        if trim == nil {
            if let limit, limit > 0 {
                throw .literal("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
            }
            if !isAdd { throw .literal("ERR syntax error, XTRIM must be called with a trimming strategy") }
        }
        guard let limit else {
            trimCountMax = isApproximate ? defaultLimit : nil
            return
        }
        guard isApproximate else {
            throw .literal("ERR syntax error, LIMIT cannot be used without the special ~ option")
        }
        trimCountMax = limit > 0 ? Int(limit) : nil
    }

    /// Trims as the options say, and returns how many entries went.
    func trim(_ stream: Stream) -> Int {
        guard let trim else { return 0 }
        return stream.trim(to: trim, isApproximate: isApproximate, countMax: trimCountMax)
    }
}
