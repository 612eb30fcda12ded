// PFDEBUG and PFSELFTEST: a HyperLogLog's registers and form, and a test of the algorithm where it runs.

import KedisProtocol
import KedisStore
import KedisUtilities

enum HyperLogLogDebugCommand {
    static let spec = CommandSpec(
        "PFDEBUG", summary: "Shows the registers or the form of a HyperLogLog, or makes it dense.", since: "2.8.9",
        group: .hyperLogLog, complexity: "N/A", arity: 3, flags: [.write, .denyOutOfMemory, .admin],
        keys: [.one([.readWrite, .access], at: 2)],
        arguments: [ArgumentSpec("subcommand", .string), .key()],
        replies: [
            .array("GETREG: all registers; the HyperLogLog becomes dense"),
            .bulk("DECODE: the runs of a sparse one: `z:` or `Z:` zeros, `v:value,length`"),
            .simple("ENCODING: `sparse` or `dense`"),
            .integer("TODENSE: 1 when it became dense, 0 when it was"),
        ],
        handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let bytes = try call.hyperLogLogForWriting(call.key) else {
            throw .literal("ERR The specified key does not exist")
        }
        let subcommand = call.arguments[1]
        if subcommand.equalsIgnoringCase("GETREG") {
            try registers(&call, bytes, &reply)
        } else if subcommand.equalsIgnoringCase("DECODE") {
            try decode(bytes, &reply)
        } else if subcommand.equalsIgnoringCase("ENCODING") {
            reply.simple(HyperLogLog.format(of: bytes) == .dense ? "dense" : "sparse")
        } else if subcommand.equalsIgnoringCase("TODENSE") {
            reply.integer(try makeDense(&call, bytes) ? 1 : 0)
        } else {
            let name = subcommand[0..<(subcommand.firstIndex(of: 0) ?? subcommand.count)]
            throw .joined("ERR Unknown PFDEBUG subcommand '", name, "'")
        }
    }

    private static func registers(
        _ call: inout CommandCall, _ bytes: ByteView, _ reply: inout ReplyWriter
    ) throws(CommandError) {
        var bytes = bytes
        if try makeDense(&call, bytes) {
            guard let entry = call.keyspace.peek(call.key) else { return }
            bytes = try entry.hyperLogLog()
        }
        reply.array(HyperLogLog.registerCount)
        for index in 0..<HyperLogLog.registerCount {
            reply.integer(Int(HyperLogLog.denseRegister(index, in: bytes.base)))
        }
    }

    private static func decode(_ bytes: ByteView, _ reply: inout ReplyWriter) throws(CommandError) {
        guard HyperLogLog.format(of: bytes) == .sparse else { throw .literal("ERR HLL encoding is not sparse") }
        guard let text = HyperLogLog.decodedRuns(of: bytes) else { throw .damagedHyperLogLog }
        text.withUnsafeBytes { reply.bulk(ByteView($0)) }
    }

    /// False when it is dense already.
    private static func makeDense(_ call: inout CommandCall, _ bytes: ByteView) throws(CommandError) -> Bool {
        guard HyperLogLog.format(of: bytes) == .sparse else { return false }
        try call.editing(bytes, at: call.key) { editor throws(CommandError) in
            guard editor.convertToDense() else { throw .damagedHyperLogLog }
            return true
        }
        call.effects.noteChanges(1)
        return true
    }
}

enum HyperLogLogSelfTestCommand {
    static let spec = CommandSpec(
        "PFSELFTEST", summary: "Tests the HyperLogLog algorithm on this machine.", since: "2.8.9", group: .hyperLogLog,
        complexity: "N/A", arity: 1, flags: .admin, locks: .none, replies: [.ok], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        if let failure = HyperLogLog.selfTest() { throw .joined("TESTFAILED ", ByteView(failure)) }
        reply.ok()
    }
}
