// PFMERGE: a HyperLogLog that has seen what several have seen.

import KedisProtocol
import KedisStore
import KedisUtilities

enum HyperLogLogMergeCommand {
    static let spec = CommandSpec(
        "PFMERGE", summary: "Adds what HyperLogLogs have seen to another one, which is created if need be.",
        since: "2.8.9", group: .hyperLogLog, complexity: "O(N) in the number of keys", arity: -2,
        flags: [.write, .denyOutOfMemory],
        keys: [.one([.readWrite, .access, .insert]), .rest([.readOnly, .access], from: 2)],
        arguments: [.key("destkey"), .key("sourcekey", spec: 1, multiple: true)], replies: [.ok], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let key = call.key
        try withScratch(HyperLogLog.registerCount) { memory throws(CommandError) in
            guard let registers = memory.baseAddress else { return }
            registers.initialize(repeating: 0, count: HyperLogLog.registerCount)
            // The target is the first key, so that its own registers are among the merged ones.
            let isDense = try merge(call, into: registers)
            try call.editing(try call.hyperLogLogForWriting(key), at: key) { editor throws(CommandError) in
                if isDense { editor.setDense(registers) } else { try raise(&editor, to: registers) }
                editor.markStale()
                return true
            }
        }
        call.changed(key, "pfadd")
        reply.ok()
    }

    /// Raises `registers` to those of every key; true when one of them is dense.
    static func merge(
        _ call: borrowing CommandCall, into registers: UnsafeMutablePointer<UInt8>
    ) throws(CommandError) -> Bool {
        var isDense = false
        for index in 0..<call.keyCount {
            guard let entry = call.keyspace.read(call.keyInLoop(index)) else { continue }
            let bytes = try entry.hyperLogLog()
            if HyperLogLog.format(of: bytes) == .dense { isDense = true }
            guard HyperLogLog.merge(bytes, into: registers) else { throw .damagedHyperLogLog }
        }
        return isDense
    }

    /// Register for register, so that the runs become those of Redis; once they are too long, all at once.
    private static func raise(
        _ editor: inout HyperLogLogEditor, to registers: UnsafeMutablePointer<UInt8>
    ) throws(CommandError) {
        for index in 0..<HyperLogLog.registerCount where registers[index] > 0 {
            let change = editor.raise(HyperLogLog.Observation(index: index, rank: registers[index]))
            guard change != .damaged else { throw .damagedHyperLogLog }
            if editor.isDense { return editor.setDense(registers) }
        }
    }
}
