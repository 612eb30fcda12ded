// LOLWUT: the version, and something to look at: a cellular automaton that grows from a few cells that are chosen anew
// each time.
//
// A row is a ring of 64 cells in one word; two rows make a line of half blocks. Cost: a few microseconds.

import KedisProtocol
import KedisUtilities

enum LolwutCommand {
    static let spec = CommandSpec(
        "LOLWUT", summary: "Draws something, and tells the version.", since: "5.0.0", group: .server, complexity: "",
        arity: -1,
        flags: [.readOnly, .fast], arguments: [ArgumentSpec("version", .integer, token: "VERSION", isOptional: true)],
        replies: [.verbatim("a picture and the version")],
        differences: ["The picture is our own, whatever the version asked for."],
        handler: run
    )

    /// Elementary rules whose pictures are worth a look.
    private static let rules: [UInt8] = [18, 22, 30, 45, 60, 90, 105, 110, 126, 150]
    private static let lineCount = 16

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        if call.arguments.count >= 3, call.arguments[1].equalsIgnoringCase("VERSION") { _ = try call.integer(at: 2) }
        let choice = call.client.pointee.random.next()
        let rule = rules[Int(choice % UInt64(rules.count))]
        // One cell in the middle, and about every other time a few more.
        var cells: UInt64 = 1 << 32
        if choice & 1 << 40 != 0 { cells |= 1 << ((choice >> 41) & 63) | 1 << ((choice >> 47) & 63) }
        var text = ""
        for _ in 0..<lineCount {
            let below = next(cells, rule)
            text += draw(cells, below) + "\n"
            cells = next(below, rule)
        }
        text += "\nRule \(rule)\nKedis ver. \(kedisVersion) (Redis ver. \(redisVersion))\n"
        text.withUTF8 { reply.verbatim("txt", ByteView(UnsafeRawBufferPointer($0))) }
    }

    /// The next row: bit n of the rule tells what becomes of a cell whose neighbourhood, read as a number, is n.
    static func next(_ cells: UInt64, _ rule: UInt8) -> UInt64 {
        let left = cells >> 1 | cells << 63
        let right = cells << 1 | cells >> 63
        var result: UInt64 = 0
        for pattern in 0..<UInt8(8) where rule & (1 << pattern) != 0 {
            result |= (pattern & 4 != 0 ? left : ~left) & (pattern & 2 != 0 ? cells : ~cells)
                & (pattern & 1 != 0 ? right : ~right)
        }
        return result
    }

    /// Two rows as one line of text, without blanks at the end.
    private static func draw(_ above: UInt64, _ below: UInt64) -> String {
        var line = ""
        for bit in 0..<(64 - (above | below).trailingZeroBitCount) {
            let mask = UInt64(1) << UInt64(63 - bit)
            line += above & mask != 0 ? (below & mask != 0 ? "█" : "▀") : (below & mask != 0 ? "▄" : " ")
        }
        return line
    }
}
