// The family of bit commands, and what they share. Bit 0 of a string is the highest of its first byte.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

let bitmapCommands: [CommandSpec] = [
    BitCountCommand.spec,
    BitFieldCommand.spec,
    BitFieldReadOnlyCommand.spec,
    BitOperationCommand.spec,
    BitPositionCommand.spec,
    GetBitCommand.spec,
    SetBitCommand.spec,
]

/// What a range of positions counts in.
enum BitUnit {
    case bytes, bits

    init(_ word: ByteView) throws(CommandError) {
        if word.equalsIgnoringCase("BIT") {
            self = .bits
        } else if word.equalsIgnoringCase("BYTE") {
            self = .bytes
        } else {
            throw .syntax
        }
    }

    /// The choice as COMMAND DOCS lists it.
    static var argument: ArgumentSpec {
        .oneOf("index_unit", optional: true, since: "7.0.0", [.token("BYTE"), .token("BIT")])
    }

    /// The bits that the positions `start` and `end`, which is included, mean in a string: negative ones count from the
    /// end, those beyond the ends are clamped. Nil when there are none.
    func bits(from start: Int64, through end: Int64, ofByteCount byteCount: Int) -> (first: Int, last: Int)? {
        let count = Int64(byteCount) * (self == .bits ? 8 : 1)
        // A sum of numbers of different signs does not overflow.
        let first = max(0, start < 0 ? start + count : start)
        let last = min(count - 1, max(0, end < 0 ? end + count : end))
        guard first <= last else { return nil }
        return self == .bits ? (Int(first), Int(last)) : (Int(first) * 8, Int(last) * 8 + 7)
    }
}

extension CommandCall {
    /// The bit that `argument` names, by the limit of a bulk string's length. With a `multiplier` of more than 0 the
    /// form `#n` is allowed, and means n times it.
    func bitOffset(_ argument: ByteView, multiplier: Int = 0) throws(CommandError) -> Int {
        let isMultiplied = multiplier > 0 && argument.count > 0 && argument[0] == UInt8(ascii: "#")
        guard let number = parseInteger(isMultiplied ? argument[1..<argument.count] : argument) else {
            throw .invalidBitOffset
        }
        let factor = isMultiplied ? Int64(multiplier) : 1
        let (offset, overflow) = number.multipliedReportingOverflow(by: factor)
        guard !overflow, offset >= 0, offset >> 3 < engine.configuration.bulkByteCountMax.load(ordering: .relaxed)
        else { throw .invalidBitOffset }
        return Int(offset)
    }

    /// The string at the key with room for bit `lastBit` at least, for writing, and whether it was made or grew for it.
    /// It is kept as plain bytes from now on.
    func growBits(
        through lastBit: Int
    ) throws(CommandError) -> (bytes: UnsafeMutableRawBufferPointer, isChanged: Bool) {
        let before = try keyspace.peek(key)?.stringValue().byteCount
        let byteCount = max(before ?? 0, lastBit >> 3 + 1)
        // A field may end some bytes behind the last offset that is allowed.
        guard byteCount <= Configuration.stringByteCountMax else { throw .stringTooLong }
        let keyspace = keyspace
        let key = key
        let bytes = try storing { () throws(StoreError) in try keyspace.resizeString(key, to: byteCount) }
        return (bytes, byteCount != before)
    }
}

extension CommandError {
    static var invalidBitOffset: CommandError { .literal("ERR bit offset is not an integer or out of range") }
}
