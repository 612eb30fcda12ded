// The family of string commands, and what they share.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

let stringCommands: [CommandSpec] = [
    AppendCommand.spec,
    DecrementCommand.spec,
    DecrementByCommand.spec,
    GetCommand.spec,
    GetDeleteCommand.spec,
    GetExpireCommand.spec,
    GetRangeCommand.spec,
    GetSetCommand.spec,
    IncrementCommand.spec,
    IncrementByCommand.spec,
    IncrementByFloatCommand.spec,
    LongestCommonSubsequenceCommand.spec,
    MultipleGetCommand.spec,
    MultipleSetCommand.spec,
    MultipleSetIfAbsentCommand.spec,
    SetMillisecondsCommand.spec,
    SetCommand.spec,
    SetSecondsCommand.spec,
    SetIfAbsentCommand.spec,
    SetRangeCommand.spec,
    StringLengthCommand.spec,
    SubstringCommand.spec,
]

extension Entry {
    /// The string of the entry, or WRONGTYPE.
    @inline(__always)
    func stringValue() throws(CommandError) -> StringValue {
        guard type == .string else { throw .wrongType }
        return string
    }
}

extension StringValue {
    /// True when the value's bytes are `bytes`.
    func equals(_ bytes: ByteView) -> Bool {
        switch self {
        case .bytes(let own): own == bytes
        // Integers are kept only in the one form that this accepts.
        case .integer(let integer): parseInteger(bytes) == integer
        }
    }
}

extension ReplyWriter {
    /// The value as a bulk string.
    @inline(__always)
    mutating func bulk(_ value: StringValue) {
        switch value {
        case .bytes(let bytes): bulk(bytes)
        case .integer(let integer): bulk(integer: integer)
        }
    }
}

extension CommandCall {
    /// Writes the string at the key, or null, as GET does; false when the key does not exist.
    func replyValue(_ reply: inout ReplyWriter) throws(CommandError) -> Bool {
        guard let entry = keyspace.read(key) else {
            reply.null()
            return false
        }
        reply.bulk(try entry.stringValue())
        return true
    }

    /// The sum of two lengths, or the error of a string that would be longer than a bulk string may be.
    func stringByteCount(_ byteCount: Int, adding added: Int) throws(CommandError) -> Int {
        let (sum, overflow) = byteCount.addingReportingOverflow(added)
        guard !overflow, sum <= engine.configuration.bulkByteCountMax.load(ordering: .relaxed) else {
            throw .stringTooLong
        }
        return sum
    }
}

/// How a client says when a key expires.
enum DeadlineForm {
    case seconds, milliseconds, unixSeconds, unixMilliseconds

    /// The form that an option of SET and GETEX names.
    init?(option: ByteView) {
        if option.equalsIgnoringCase("EX") {
            self = .seconds
        } else if option.equalsIgnoringCase("PX") {
            self = .milliseconds
        } else if option.equalsIgnoringCase("EXAT") {
            self = .unixSeconds
        } else if option.equalsIgnoringCase("PXAT") {
            self = .unixMilliseconds
        } else {
            return nil
        }
    }

    var isAbsolute: Bool { self == .unixSeconds || self == .unixMilliseconds }
    var isInSeconds: Bool { self == .seconds || self == .unixSeconds }

    /// The choices as COMMAND DOCS lists them.
    static func arguments(since: String? = nil, absoluteSince: String? = nil) -> [ArgumentSpec] {
        [
            ArgumentSpec("seconds", .integer, token: "EX", since: since),
            ArgumentSpec("milliseconds", .integer, token: "PX", since: since),
            ArgumentSpec("unix-time-seconds", .unixTime, token: "EXAT", since: absoluteSince),
            ArgumentSpec("unix-time-milliseconds", .unixTime, token: "PXAT", since: absoluteSince),
        ]
    }
}

extension CommandCall {
    /// The deadline that the argument at `index` asks for, in milliseconds since 1970. It may lie in the past.
    func deadlineMilliseconds(at index: Int, as form: DeadlineForm) throws(CommandError) -> Int64 {
        var deadline = try integer(at: index)
        guard deadline > 0 else { throw .invalidExpireTime(self) }
        var overflow = false
        if form.isInSeconds { (deadline, overflow) = deadline.multipliedReportingOverflow(by: 1000) }
        guard !overflow else { throw .invalidExpireTime(self) }
        if !form.isAbsolute { (deadline, overflow) = deadline.addingReportingOverflow(nowMilliseconds) }
        guard !overflow, deadline > 0 else { throw .invalidExpireTime(self) }
        return deadline
    }
}

/// Runs a change of the store, whose error ends the command.
@inline(__always)
func storing<Result>(_ body: () throws(StoreError) -> Result) throws(CommandError) -> Result {
    do { return try body() } catch { throw .outOfMemory }
}
