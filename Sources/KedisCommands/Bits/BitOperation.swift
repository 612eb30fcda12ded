// BITOP: AND, OR, XOR of strings, NOT of one, into a string.
//
// The result is made where it stays: block by block, so that it is in the cache while one source after the other is
// combined with it, and each source is read from memory once. The three operations do not care about the order of
// sources, so a destination that is a source too just begins as it is.

import KedisProtocol
import KedisStore
import KedisUtilities

enum BitOperationCommand {
    static let spec = CommandSpec(
        "BITOP", summary: "Combines strings bit by bit and stores the result at a key.", since: "2.6.0", group: .bitmap,
        complexity: "O(N), N being the bytes of all sources", arity: -4, flags: [.write, .denyOutOfMemory],
        keys: [.one([.overwrite, .update], at: 2), .rest([.readOnly, .access], from: 3)],
        arguments: [
            ArgumentSpec("operation", .string), .key("destkey"), .key("key", spec: 1, multiple: true),
        ],
        replies: [.integer("the length of the result: that of the longest source, shorter ones end in zeroes")],
        handler: run
    )

    /// What of the result is in work at a time, in bytes: with a piece of a source it fits the first cache.
    private static let blockByteCount = 8 << 10

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let plan = try Plan(call.arguments[1])
        guard !plan.inverts || call.keyCount == 2 else {
            throw .literal("ERR BITOP NOT must be called with a single source key.")
        }
        let destination = call.key
        let byteCount = try longestSource(call)
        guard byteCount > 0 else {
            if call.keyspace.remove(destination) { call.changed(destination, "del") }
            return reply.integer(0)
        }
        let result = try makeResult(byteCount, plan, call)
        combine(plan, call, into: result.bytes, isStarted: result.isStarted)
        call.changed(destination, "set")
        reply.integer(byteCount)
    }

    /// NOT is one source, XORed with nothing and inverted.
    private struct Plan {
        var operation = BitOperation.xor
        var inverts = false

        init(_ word: ByteView) throws(CommandError) {
            if word.equalsIgnoringCase("AND") {
                operation = .and
            } else if word.equalsIgnoringCase("OR") {
                operation = .or
            } else if word.equalsIgnoringCase("NOT") {
                inverts = true
            } else if !word.equalsIgnoringCase("XOR") {
                throw .syntax
            }
        }
    }

    private static func isDestination(_ index: Int, _ call: borrowing CommandCall) -> Bool {
        call.key(index).bytes == call.key.bytes
    }

    private static func longestSource(_ call: borrowing CommandCall) throws(CommandError) -> Int {
        var byteCount = 0
        for index in 1..<call.keyCount {
            guard let entry = call.keyspace.read(call.keyInLoop(index)) else { continue }
            byteCount = max(byteCount, try entry.stringValue().byteCount)
        }
        return byteCount
    }

    /// The bytes of the destination, and whether they already are its part as a source: then they end in zeroes. A
    /// source that is XORed with itself is as good as none.
    private static func makeResult(
        _ byteCount: Int, _ plan: Plan, _ call: borrowing CommandCall
    ) throws(CommandError) -> (bytes: UnsafeMutableRawBufferPointer, isStarted: Bool) {
        var count = 0
        for index in 1..<call.keyCount where isDestination(index, call) { count += 1 }
        let isStarted = plan.operation == .xor ? count & 1 == 1 : count > 0
        let (keyspace, destination) = (call.keyspace, call.key)
        let bytes = try storing { () throws(StoreError) in
            guard isStarted else { return try keyspace.makeString(destination, byteCount: byteCount) }
            let bytes = try keyspace.resizeString(destination, to: byteCount)
            guard let entry = keyspace.peek(destination), entry.deadlineMilliseconds != noDeadline else { return bytes }
            try keyspace.setDeadline(entry, noDeadline)
            // The same length again: the cell has moved.
            return try keyspace.resizeString(destination, to: byteCount)
        }
        return (bytes, isStarted)
    }

    /// Combines all sources but the destination into `result`. The keyspace is not changed any more, so views stay
    /// valid.
    private static func combine(
        _ plan: Plan, _ call: borrowing CommandCall, into result: UnsafeMutableRawBufferPointer, isStarted: Bool
    ) {
        withUnsafeTemporaryAllocation(of: ByteView.self, capacity: call.keyCount) { views in
            var count = 0
            for index in 1..<call.keyCount where !isDestination(index, call) {
                switch call.keyspace.peek(call.key(index))?.string {
                case nil: views.initializeElement(at: count, to: .empty)
                case .bytes(let bytes): views.initializeElement(at: count, to: bytes)
                case .integer: continue
                }
                count += 1
            }
            let sources = UnsafeBufferPointer(rebasing: views[..<count])
            combineBlocks(plan, sources, into: result, isStarted: isStarted)
        }
        // Integers have no bytes to view before they are written as digits. A result that is inverted already stays
        // right, as only XOR inverts.
        for index in 1..<call.keyCount where !isDestination(index, call) {
            guard let value = call.keyspace.peek(call.key(index))?.string, case .integer = value else { continue }
            value.withBytes { result.combine(plan.operation, with: $0) }
        }
    }

    private static func combineBlocks(
        _ plan: Plan, _ sources: UnsafeBufferPointer<ByteView>, into result: UnsafeMutableRawBufferPointer,
        isStarted: Bool
    ) {
        var start = 0
        while start < result.count {
            let end = min(result.count, start + blockByteCount)
            let block = UnsafeMutableRawBufferPointer(rebasing: result[start..<end])
            // Ones change nothing in an AND, zeroes nothing in the others.
            if !isStarted { block.initializeMemory(as: UInt8.self, repeating: plan.operation == .and ? 0xFF : 0) }
            for source in sources {
                let from = min(start, source.count)
                block.combine(plan.operation, with: source[from..<min(end, source.count)])
            }
            if plan.inverts { block.invertBits() }
            start = end
        }
    }
}
