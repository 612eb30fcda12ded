// What SCAN, SSCAN, HSCAN and ZSCAN have in common: the cursor, the options, the shape of the reply.

import KedisProtocol
import KedisStore
import KedisUtilities

/// A cursor as C's `strtoul` reads it, which Redis uses: digits with an optional sign; no bytes at all are 0.
func scanCursor(_ argument: ByteView) throws(CommandError) -> UInt64 {
    var digits = argument[0..<(argument.firstIndex(of: 0) ?? argument.count)]
    if digits.isEmpty { return 0 }
    let isNegative = digits[0] == 0x2D
    if isNegative || digits[0] == 0x2B { digits = digits[1..<digits.count] }
    guard let magnitude = parseUnsignedInteger(digits) else { throw .literal("ERR invalid cursor") }
    return isNegative ? 0 &- magnitude : magnitude
}

/// MATCH, COUNT and, for keys, TYPE.
struct ScanOptions {
    private(set) var count = 10
    private var pattern: ByteView?
    private var type: ByteView?

    /// - Parameter start: the first argument behind the cursor.
    init(_ call: borrowing CommandCall, from start: Int, takesType: Bool) throws(CommandError) {
        let arguments = call.arguments
        var index = start
        while index < arguments.count {
            guard index + 1 < arguments.count else { throw .syntax }
            let value = arguments[index + 1]
            if arguments[index].equalsIgnoringCase("COUNT") {
                let number = try call.integer(at: index + 1)
                guard number >= 1 else { throw .syntax }
                count = Int(number)
            } else if arguments[index].equalsIgnoringCase("MATCH") {
                pattern = value == "*" ? nil : value
            } else if takesType, arguments[index].equalsIgnoringCase("TYPE") {
                type = value
            } else {
                throw .syntax
            }
            index += 2
        }
    }

    /// Whether MATCH lets a key or an element pass.
    func accepts(_ element: ByteView) -> Bool {
        guard let pattern else { return true }
        return matchGlob(pattern: pattern, text: element, ignoringCase: false)
    }

    func accepts(_ valueType: ValueType) -> Bool {
        guard let type else { return true }
        return ByteView(valueType.name).equalsIgnoringCase(type)
    }
}

extension ReplyWriter {
    /// A step of a scan: the next cursor (0 at the end) and replies that are written already.
    mutating func scanStep(_ cursor: UInt64, elementCount: Int, elements: ByteView) {
        array(2)
        // Cursors of the store have at most 63 bits.
        bulk(integer: Int64(clamping: cursor))
        array(elementCount)
        raw(elements)
    }
}
