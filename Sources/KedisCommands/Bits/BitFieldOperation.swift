// The operations of BITFIELD: read from the arguments one by one, and their arithmetic.

import KedisProtocol
import KedisUtilities

/// What happens to a number that does not fit its field.
enum BitFieldOverflow {
    case wrap, saturate, fail

    init(_ word: ByteView) throws(CommandError) {
        if word.equalsIgnoringCase("WRAP") {
            self = .wrap
        } else if word.equalsIgnoringCase("SAT") {
            self = .saturate
        } else if word.equalsIgnoringCase("FAIL") {
            self = .fail
        } else {
            throw .literal("ERR Invalid OVERFLOW type specified")
        }
    }
}

/// The type of a field: i1 to i64, u1 to u63, so that every value is an Int64.
struct BitFieldType {
    var isSigned: Bool
    var bitCount: Int

    init(_ word: ByteView) throws(CommandError) {
        // Redis reads the width up to a zero byte.
        let end = word.firstIndex(of: 0) ?? word.count
        guard end > 1, word[0] == UInt8(ascii: "i") || word[0] == UInt8(ascii: "u") else { throw .invalidBitFieldType }
        isSigned = word[0] == UInt8(ascii: "i")
        guard let width = parseInteger(word[1..<end]), width >= 1, width <= (isSigned ? 64 : 63) else {
            throw .invalidBitFieldType
        }
        bitCount = Int(width)
    }

    var lowest: Int64 { isSigned ? Int64.min >> Int64(64 - bitCount) : 0 }

    var highest: Int64 { Int64.max >> Int64(isSigned ? 64 - bitCount : 63 - bitCount) }

    /// The value of the field at bit `offset` of `bytes`, which go on with zeroes.
    func value(in bytes: ByteView, at offset: Int) -> Int64 {
        extended(bytes.bits(at: offset, bitCount: bitCount))
    }

    /// The value that the low bits of `bits` are.
    func extended(_ bits: UInt64) -> Int64 {
        let unused = UInt64(64 - bitCount)
        let shifted = bits << unused
        return isSigned ? Int64(bitPattern: shifted) >> Int64(unused) : Int64(bitPattern: shifted >> unused)
    }
}

struct BitFieldOperation {
    enum Kind {
        case get, set, increment
    }

    var kind: Kind
    var field: BitFieldType
    /// In bits.
    var offset: Int
    /// What to set or to add.
    var number: Int64
    var overflow: BitFieldOverflow

    /// What a SET or INCRBY makes of a field that holds `before`; nil when it does not fit and shall fail.
    func result(before: Int64) -> Int64? {
        // For an unsigned field the number of a SET is one of 64 unsigned bits, so the negative ones are too high.
        let isUnsignedAndHuge = kind == .set && !field.isSigned && number < 0
        let base = kind == .set ? 0 : before
        let (sum, isBeyond) = base.addingReportingOverflow(number)
        if !isBeyond, !isUnsignedAndHuge, sum >= field.lowest, sum <= field.highest { return sum }
        switch overflow {
        case .fail: return nil
        case .saturate: return number > 0 || isUnsignedAndHuge ? field.highest : field.lowest
        case .wrap: return field.extended(UInt64(bitPattern: sum))
        }
    }
}

/// Reads the operations from the arguments of a call, from the third on.
struct BitFieldReader {
    private var index = 2
    /// The last OVERFLOW.
    private var overflow = BitFieldOverflow.wrap

    mutating func next(_ call: borrowing CommandCall) throws(CommandError) -> BitFieldOperation? {
        let arguments = call.arguments
        while index < arguments.count {
            let word = arguments[index]
            let left = arguments.count - index - 1
            if word.equalsIgnoringCase("GET"), left >= 2 { return try operation(.get, call) }
            if word.equalsIgnoringCase("SET"), left >= 3 { return try operation(.set, call) }
            if word.equalsIgnoringCase("INCRBY"), left >= 3 { return try operation(.increment, call) }
            guard word.equalsIgnoringCase("OVERFLOW"), left >= 1 else { throw .syntax }
            overflow = try BitFieldOverflow(arguments[index + 1])
            index += 2
        }
        return nil
    }

    private mutating func operation(
        _ kind: BitFieldOperation.Kind, _ call: borrowing CommandCall
    ) throws(CommandError) -> BitFieldOperation {
        let field = try BitFieldType(call.arguments[index + 1])
        let offset = try call.bitOffset(call.arguments[index + 2], multiplier: field.bitCount)
        let number = kind == .get ? 0 : try call.integer(at: index + 3)
        index += kind == .get ? 3 : 4
        return BitFieldOperation(kind: kind, field: field, offset: offset, number: number, overflow: overflow)
    }
}

extension CommandError {
    fileprivate static var invalidBitFieldType: CommandError {
        .literal(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.")
    }
}
