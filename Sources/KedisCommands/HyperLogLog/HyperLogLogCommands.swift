// The family of HyperLogLog commands, and what they share: their values are strings (KedisUtilities/HyperLogLog.swift).

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

let hyperLogLogCommands: [CommandSpec] = [
    HyperLogLogAddCommand.spec,
    HyperLogLogCountCommand.spec,
    HyperLogLogDebugCommand.spec,
    HyperLogLogMergeCommand.spec,
    HyperLogLogSelfTestCommand.spec,
]

extension CommandError {
    static var notAHyperLogLog: CommandError {
        .literal("WRONGTYPE Key is not a valid HyperLogLog string value.")
    }
    static var damagedHyperLogLog: CommandError { .literal("INVALIDOBJ Corrupted HLL object detected") }
}

extension Entry {
    /// The bytes of a HyperLogLog, whose format is known then; valid until the keyspace is changed.
    func hyperLogLog() throws(CommandError) -> ByteView {
        guard case .bytes(let bytes) = try stringValue(), HyperLogLog.format(of: bytes) != nil else {
            throw .notAHyperLogLog
        }
        return bytes
    }
}

extension CommandCall {
    /// The HyperLogLog at a key that a command may change; its string is of the raw encoding from then on, as in Redis.
    func hyperLogLogForWriting(_ key: Key) throws(CommandError) -> ByteView? {
        guard let entry = keyspace.write(key) else { return nil }
        let bytes = try entry.hyperLogLog()
        return entry.encoding == .raw ? bytes : ByteView(UnsafeRawBufferPointer(try ownBytes(of: key, bytes.count)))
    }

    /// The string at `key`, `byteCount` bytes long from now on, for writing.
    func ownBytes(of key: Key, _ byteCount: Int) throws(CommandError) -> UnsafeMutableRawBufferPointer {
        let keyspace = keyspace
        return try storing { () throws(StoreError) in try keyspace.resizeString(key, to: byteCount) }
    }

    /// The string at `key` for writing, its length unchanged, where a HyperLogLog of `byteCount` bytes was found.
    func ownRegisters(of key: Key, _ byteCount: Int) throws(CommandError) -> UnsafeMutablePointer<UInt8> {
        guard let base = try ownBytes(of: key, byteCount).baseAddress else { throw .damagedHyperLogLog }
        return base.assumingMemoryBound(to: UInt8.self)
    }

    /// Calls `body` with an editor of a copy of `bytes`, or of a new HyperLogLog, and writes the copy to `key` when
    /// `body` says so: sparse registers move when they change, and a refused change must leave nothing.
    func editing(
        _ bytes: ByteView?, at key: Key, _ body: (inout HyperLogLogEditor) throws(CommandError) -> Bool
    ) throws(CommandError) {
        // What is longer than any sound one is not copied.
        guard (bytes?.count ?? 0) <= HyperLogLog.sparseByteCountMax else { throw .damagedHyperLogLog }
        let sparseByteCountMax = engine.configuration.hyperLogLogSparseByteCountMax.load(ordering: .relaxed)
        let capacity = HyperLogLogEditor.capacity(for: bytes?.count ?? 0, sparseByteCountMax: sparseByteCountMax)
        try withScratch(capacity) { memory throws(CommandError) in
            var editor = HyperLogLogEditor(bytes, in: memory, sparseByteCountMax: sparseByteCountMax)
            guard try body(&editor) else { return }
            try ownBytes(of: key, editor.byteCount).copyMemory(from: editor.view.raw)
        }
    }
}

/// Calls `body` with uninitialised memory, which is gone afterwards.
func withScratch<Result>(
    _ byteCount: Int, _ body: (UnsafeMutableBufferPointer<UInt8>) throws(CommandError) -> Result
) throws(CommandError) -> Result {
    let result = withUnsafeTemporaryAllocation(of: UInt8.self, capacity: byteCount) {
        memory -> Swift.Result<Result, CommandError> in
        do throws(CommandError) { return .success(try body(memory)) } catch { return .failure(error) }
    }
    return try result.get()
}
