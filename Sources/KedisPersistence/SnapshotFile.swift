// Snapshots: the whole store in an RDB file.
//
// A snapshot is the state at one instant, so all stripes are locked while it is encoded. `saveSnapshot` writes to the
// file meanwhile (SAVE, shutdown); `saveSnapshotInBackground` encodes into memory, lets go of the locks, then writes
// (BGSAVE): it needs memory for the encoded snapshot. In both, the file appears whole or not at all
// (ReplacementFile). Threads: any, one at a time for one path (SnapshotKeeper sees to it).

package import KedisFormats
package import KedisStore
import KedisUtilities

package struct SnapshotOptions: Sendable, Equatable {
    /// `rdbcompression` and `rdbchecksum`.
    package var format: RDBOptions
    /// The code of function libraries that the loaded snapshot had: they are written back.
    package var functions: [[UInt8]]

    /// The file goes to disk while it is written, instead of all at once at its end (`rdb-save-incremental-fsync`).
    package var syncsWhileWriting: Bool

    package init(
        compress: Bool = true, checksum: Bool = true, functions: [[UInt8]] = [], syncsWhileWriting: Bool = true
    ) {
        format = RDBOptions(compressesStrings: compress, hasChecksum: checksum)
        self.functions = functions
        self.syncsWhileWriting = syncsWhileWriting
    }
}

/// What a save did.
package struct SnapshotSummary: Sendable, Equatable {
    package var keyCount = 0
    package var byteCount = 0
    package var durationMilliseconds: Int64 = 0
    /// The store's count of changes at the instant of the snapshot: what comes later is unsaved.
    package var changes: UInt64 = 0
}

/// Why a snapshot could not be saved or loaded.
package enum SnapshotError: Error, Equatable, Sendable, CustomStringConvertible {
    case system(SystemError)
    /// The file cannot be loaded: damaged, newer, or with something in it that Kedis does not know.
    case unreadable(path: String, RDBError)
    case outOfMemory(path: String)

    package var description: String {
        switch self {
        case .system(let error): error.description
        case .unreadable(let path, let error): "\(path) cannot be loaded, \(error)"
        case .outOfMemory(let path): "no memory is left for \(path)"
        }
    }
}

/// Writes the store to `path` as it is now; all stripes are locked meanwhile (by the caller, who then gives `held` as
/// `.all`, or here). Keys that are due are left out. On failure the old file is as it was. O(n).
package func saveSnapshot(
    of store: Store, held: StripeSet = StripeSet(), to path: String, options: SnapshotOptions = SnapshotOptions(),
    nowMilliseconds: Int64, fileSystem: FileSystem = .system
) throws(SnapshotError) -> SnapshotSummary {
    let start = monotonicNanoseconds()
    do {
        let file = try ReplacementFile(
            replacing: path, fileSystem: fileSystem, syncsWhileWriting: options.syncsWhileWriting)
        var summary = withAllStripes(of: store, held: held) {
            encodeSnapshot(of: store, options: options, nowMilliseconds: nowMilliseconds) { file.write($0) }
        }
        try file.commit()
        summary.durationMilliseconds = millisecondsSince(start)
        return summary
    } catch {
        throw .system(error)
    }
}

/// As ``saveSnapshot(of:held:to:options:nowMilliseconds:fileSystem:)``, but the locks are held only while the
/// snapshot is encoded into memory: no stripe may be held by the caller. `atInstant` is called at the moment whose
/// state it is, all stripes being locked, and may give the file another path in the same directory; `mayCommit` is
/// asked before the file gets that.
package func saveSnapshotInBackground(
    of store: Store, to path: String, options: SnapshotOptions = SnapshotOptions(), nowMilliseconds: Int64,
    fileSystem: FileSystem = .system, atInstant: () -> String? = { nil },
    mayCommit: () -> SystemError? = { nil }
) throws(SnapshotError) -> SnapshotSummary {
    let start = monotonicNanoseconds()
    let chunks = MemoryChunks()
    do throws(SystemError) {
        // First the file: when it cannot be made, no lock is taken for nothing.
        let file = try ReplacementFile(
            replacing: path, fileSystem: fileSystem, syncsWhileWriting: options.syncsWhileWriting)
        var summary = withAllStripes(of: store, held: StripeSet()) {
            if let other = atInstant() { file.targetPath = other }
            return encodeSnapshot(of: store, options: options, nowMilliseconds: nowMilliseconds) { chunks.append($0) }
        }
        if chunks.isExhausted {
            file.discard()
        } else {
            chunks.drain { file.write($0) }
            if let problem = mayCommit() {
                file.discard()
                throw problem
            }
            try file.commit()
            summary.durationMilliseconds = millisecondsSince(start)
            return summary
        }
    } catch {
        throw .system(error)
    }
    throw .outOfMemory(path: path)
}

private func withAllStripes<Result>(of store: Store, held: StripeSet, _ body: () -> Result) -> Result {
    let missing = StripeSet(mask: ~held.mask)
    assert(held.isEmpty || missing.isEmpty, "a caller who holds some stripes must hold all, or the lock order breaks")
    store.lock(missing)
    defer { store.unlock(missing) }
    return body()
}

/// Encodes all databases; all stripes are locked. A sink that fails is remembered by its owner.
private func encodeSnapshot(
    of store: Store, options: SnapshotOptions, nowMilliseconds: Int64, sink: @escaping (ByteView) -> Bool
) -> SnapshotSummary {
    var writer = RDBWriter(options: options.format, sink: sink)
    var summary = SnapshotSummary()
    summary.changes = store.statistics(held: .all).changes
    writer.writeHeader(
        createdSeconds: nowMilliseconds / 1000, usedMemoryByteCount: store.usedByteCount
    )
    for code in options.functions {
        code.withUnsafeBytes { writer.writeFunction(code: ByteView($0)) }
    }
    for index in 0..<store.databaseCount {
        let keyspace = store.keyspace(index, nowMilliseconds: nowMilliseconds, held: .all)
        let keyCount = keyspace.count
        guard keyCount > 0, !writer.isFailed else { continue }
        writer.beginDatabase(index, keyCount: keyCount, deadlineCount: keyspace.deadlineCount)
        keyspace.forEachEntry { entry in
            writer.writeEntry(entry)
            summary.keyCount += 1
        }
    }
    _ = writer.finish()
    summary.byteCount = writer.byteCount
    return summary
}

package func millisecondsSince(_ startNanoseconds: UInt64) -> Int64 {
    Int64(truncatingIfNeeded: (monotonicNanoseconds() &- startNanoseconds) / 1_000_000)
}
