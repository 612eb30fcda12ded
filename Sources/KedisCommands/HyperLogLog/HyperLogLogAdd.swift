// PFADD: notes elements in a HyperLogLog.

import KedisProtocol
import KedisStore
import KedisUtilities

enum HyperLogLogAddCommand {
    static let spec = CommandSpec(
        "PFADD", summary: "Adds elements to a HyperLogLog, which is created if need be.", since: "2.8.9",
        group: .hyperLogLog, complexity: "O(1) for each element", arity: -2, flags: [.write, .denyOutOfMemory, .fast],
        keys: [.one([.readWrite, .insert])],
        arguments: [.key(), ArgumentSpec("element", .string, isOptional: true, isMultiple: true)],
        replies: [.integer("1 when the estimate may have changed or the key was created, 0 when not")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let key = call.key
        let bytes = try call.hyperLogLogForWriting(key)
        let changeCount: Int
        if let bytes, HyperLogLog.format(of: bytes) == .dense {
            changeCount = try addDense(call, bytes)
        } else {
            changeCount = try addSparse(call, bytes)
        }
        if changeCount > 0 {
            call.changed(key, "pfadd")
            // Each element that changed something is a change, the creation too.
            call.effects.noteChanges(changeCount - 1)
        }
        reply.integer(changeCount > 0 ? 1 : 0)
    }

    /// Dense registers are changed where they are, once the first one has to.
    private static func addDense(_ call: borrowing CommandCall, _ bytes: ByteView) throws(CommandError) -> Int {
        var own: UnsafeMutablePointer<UInt8>?
        var changeCount = 0
        for index in 2..<max(2, call.arguments.count) {
            let observation = HyperLogLog.Observation(call.arguments[index])
            guard HyperLogLog.denseRegister(observation.index, in: own.map { UnsafePointer($0) } ?? bytes.base)
                < observation.rank
            else { continue }
            let registers: UnsafeMutablePointer<UInt8>
            if let own { registers = own } else { registers = try call.ownRegisters(of: call.key, bytes.count) }
            own = registers
            if HyperLogLog.raiseDense(observation, in: registers) { changeCount += 1 }
        }
        if let own { HyperLogLog.markStale(own) }
        return changeCount
    }

    /// Sparse registers are changed in a copy, from the first element on that changes any.
    private static func addSparse(_ call: borrowing CommandCall, _ bytes: ByteView?) throws(CommandError) -> Int {
        var changeCount = bytes == nil ? 1 : 0
        let arguments = call.arguments
        let first = try bytes.map { (bytes) throws(CommandError) in try firstChange(arguments, bytes) } ?? 2
        if bytes != nil, first >= arguments.count { return 0 }
        try call.editing(bytes, at: call.key) { editor throws(CommandError) in
            for index in first..<max(first, arguments.count) {
                switch editor.raise(HyperLogLog.Observation(arguments[index])) {
                case .changed: changeCount += 1
                case .unchanged: break
                case .damaged: throw .damagedHyperLogLog
                }
            }
            if changeCount > 0 { editor.markStale() }
            return changeCount > 0
        }
        return changeCount
    }

    /// The first argument whose element changes a sparse one; their number when none does.
    private static func firstChange(_ arguments: ArgumentList, _ bytes: ByteView) throws(CommandError) -> Int {
        for index in 2..<max(2, arguments.count) {
            let observation = HyperLogLog.Observation(arguments[index])
            guard let value = HyperLogLog.sparseRegister(observation.index, in: bytes) else {
                throw .damagedHyperLogLog
            }
            if value < observation.rank { return index }
        }
        return arguments.count
    }
}
