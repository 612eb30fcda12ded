// LCS: the longest common subsequence of two strings.
//
// The table of dynamic programming is reduced to what the way back needs: one bit for each pair of positions, which
// says whether the way goes up, beside one row of lengths. That is a 32nd of the memory that Redis takes, but what
// Redis refuses is refused here too, by the size of its table. Time: O(N·M), under the locks of both keys, as in Redis.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

enum LongestCommonSubsequenceCommand {
    static let spec = CommandSpec(
        "LCS", summary: "Returns the longest common subsequence of the strings at two keys.", since: "7.0.0",
        group: .string, complexity: "O(N*M), N and M being the lengths of the strings", arity: -3, flags: [.readOnly],
        keys: [KeySpec([.readOnly, .access], begin: .index(1), find: .range(last: 1, step: 1, limit: 0))],
        arguments: [
            .key("key1"), .key("key2"), .token("LEN", optional: true), .token("IDX", optional: true),
            ArgumentSpec("len", .integer, token: "MINMATCHLEN", isOptional: true),
            .token("WITHMATCHLEN", optional: true),
        ],
        replies: [
            .bulk("the subsequence"), .integer("with LEN: its length"),
            .map("with IDX: `matches`, the ranges in both strings from the last to the first, and `len`, the length"),
        ],
        handler: run
    )

    private struct Options {
        var wantsLength = false
        var wantsRanges = false
        var withLengths = false
        var rangeByteCountMin: Int64 = 0
    }

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        // Both are looked up before either is refused.
        let (firstEntry, secondEntry) = (call.keyspace.read(call.key(0)), call.keyspace.read(call.key(1)))
        let first = try value(of: firstEntry)
        let second = try value(of: secondEntry)
        let options = try parse(call)
        let byteCountMax = call.engine.configuration.bulkByteCountMax.load(ordering: .relaxed)
        let failure = first.withBytes { first in
            second.withBytes { second in
                compare(first, second, options, tableByteCountMax: byteCountMax, &reply)
            }
        }
        if let failure { throw failure }
    }

    private static func value(of entry: Entry?) throws(CommandError) -> StringValue {
        guard let entry else { return .bytes(.empty) }
        guard entry.type == .string else { throw .literal("ERR The specified keys must contain string values") }
        return entry.string
    }

    private static func parse(_ call: borrowing CommandCall) throws(CommandError) -> Options {
        var options = Options()
        var index = 3
        while index < call.arguments.count {
            let option = call.arguments[index]
            if option.equalsIgnoringCase("IDX") {
                options.wantsRanges = true
            } else if option.equalsIgnoringCase("LEN") {
                options.wantsLength = true
            } else if option.equalsIgnoringCase("WITHMATCHLEN") {
                options.withLengths = true
            } else if option.equalsIgnoringCase("MINMATCHLEN"), index + 1 < call.arguments.count {
                options.rangeByteCountMin = try call.integer(at: index + 1)
                index += 1
            } else {
                throw .syntax
            }
            index += 1
        }
        if options.wantsRanges, options.wantsLength {
            throw .literal("ERR If you want both the length and indexes, please just use IDX.")
        }
        return options
    }

    private static var insufficientMemory: CommandError {
        .literal("ERR Insufficient memory, failed allocating transient memory for LCS")
    }

    /// Compares two strings and writes the reply; returns the error if that cannot be done.
    private static func compare(
        _ first: ByteView, _ second: ByteView, _ options: Options, tableByteCountMax: Int, _ reply: inout ReplyWriter
    ) -> CommandError? {
        if let refusal = refusal(first.count, second.count, tableByteCountMax: tableByteCountMax) { return refusal }
        guard let table = SubsequenceTable(first, second, keepsWay: !options.wantsLength) else {
            return insufficientMemory
        }
        if options.wantsRanges {
            replyRanges(table, options, &reply)
        } else if options.wantsLength {
            reply.integer(table.byteCount)
        } else {
            guard let bytes = table.subsequence() else { return insufficientMemory }
            defer { deallocateBuffer(bytes) }
            reply.bulk(ByteView(base: bytes, count: table.byteCount))
        }
        return nil
    }

    /// The error of strings for which Redis's table of 32-bit numbers would be too large.
    private static func refusal(_ first: Int, _ second: Int, tableByteCountMax: Int) -> CommandError? {
        guard max(first, second) < Int(UInt32.max) - 1 else { return .literal("ERR String too long for LCS") }
        let (cellCount, cellOverflow) = (first + 1).multipliedReportingOverflow(by: second + 1)
        let (byteCount, byteOverflow) = cellCount.multipliedReportingOverflow(by: 4)
        guard !cellOverflow, !byteOverflow, byteCount <= tableByteCountMax else {
            return .literal("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
        }
        return nil
    }

    private static func replyRanges(
        _ table: borrowing SubsequenceTable, _ options: Options, _ reply: inout ReplyWriter
    ) {
        reply.map(2)
        reply.bulk("matches")
        let start = reply.count
        var rangeCount = 0
        table.forEachRange { firstRange, secondRange in
            guard Int64(firstRange.count) >= options.rangeByteCountMin else { return }
            rangeCount += 1
            reply.array(options.withLengths ? 3 : 2)
            for range in [firstRange, secondRange] {
                reply.array(2)
                reply.integer(range.lowerBound)
                reply.integer(range.upperBound - 1)
            }
            if options.withLengths { reply.integer(firstRange.count) }
        }
        reply.insertArrayHeader(at: start, elementCount: rangeCount)
        reply.bulk("len")
        reply.integer(table.byteCount)
    }
}

/// What is known of the common subsequences of all prefixes of two strings. Owns its memory; borrows the strings.
private struct SubsequenceTable: ~Copyable {
    private let first: ByteView
    private let second: ByteView
    /// Bit `i * second.count + j`: the way back from byte `i` and byte `j`, which differ, drops byte `i`.
    private let way: UnsafeMutablePointer<UInt64>?
    /// The length of the longest common subsequence.
    let byteCount: Int

    /// Nil when there is no memory for it. O(N·M).
    init?(_ first: ByteView, _ second: ByteView, keepsWay: Bool) {
        guard let row = allocateBuffer(byteCount: 4 * (second.count + 1), isZeroed: true)?
            .assumingMemoryBound(to: UInt32.self)
        else { return nil }
        defer { deallocateBuffer(row) }
        var way: UnsafeMutablePointer<UInt64>?
        if keepsWay {
            way = allocateBuffer(byteCount: 8 * (first.count * second.count / 64 + 1), isZeroed: true)?
                .assumingMemoryBound(to: UInt64.self)
            if way == nil { return nil }
        }
        for index in 0..<first.count {
            Self.extend(row, by: first[index], second, way, firstBit: index * second.count)
        }
        self.first = first
        self.second = second
        self.way = way
        byteCount = Int(row[second.count])
    }

    deinit { deallocateBuffer(way) }

    /// Turns the row of lengths for a prefix of the first string into the one for the prefix with one `byte` more.
    private static func extend(
        _ row: UnsafeMutablePointer<UInt32>, by byte: UInt8, _ second: ByteView, _ way: UnsafeMutablePointer<UInt64>?,
        firstBit: Int
    ) {
        var diagonal = row[0]
        var left = row[0]
        for column in 0..<second.count {
            let above = row[column + 1]
            if second[column] == byte {
                left = diagonal + 1
            } else if above > left {
                left = above
                if let way {
                    let bit = firstBit + column
                    way[bit >> 6] |= 1 << UInt64(truncatingIfNeeded: bit & 63)
                }
            }
            row[column + 1] = left
            diagonal = above
        }
    }

    /// Calls `body` with the ranges of the subsequence in both strings, from the last to the first.
    func forEachRange(_ body: (Range<Int>, Range<Int>) -> Void) {
        guard let way else { return }
        var i = first.count
        var j = second.count
        while i > 0, j > 0 {
            if first[i - 1] == second[j - 1] {
                let (firstEnd, secondEnd) = (i, j)
                while i > 0, j > 0, first[i - 1] == second[j - 1] {
                    i -= 1
                    j -= 1
                }
                body(i..<firstEnd, j..<secondEnd)
            } else {
                let bit = (i - 1) * second.count + j - 1
                if way[bit >> 6] >> UInt64(truncatingIfNeeded: bit & 63) & 1 == 1 { i -= 1 } else { j -= 1 }
            }
        }
    }

    /// The subsequence itself, `byteCount` bytes that the caller frees; nil when there is no memory for it.
    func subsequence() -> UnsafeMutablePointer<UInt8>? {
        guard let bytes: UnsafeMutablePointer<UInt8> = resizeBuffer(nil, capacity: byteCount) else { return nil }
        var end = byteCount
        forEachRange { range, _ in
            end -= range.count
            (bytes + end).update(from: first.base + range.lowerBound, count: range.count)
        }
        return bytes
    }
}
