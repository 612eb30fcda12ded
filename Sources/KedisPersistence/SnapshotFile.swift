// Snapshots: the whole store in an RDB file.
//
// A snapshot is the state at one instant. `saveSnapshot` keeps all stripes locked until the file is there (SAVE,
// shutdown); `saveSnapshotInBackground` locks them for the instant only (BGSAVE, bases of the journal), and writers go
// on. In both, the file appears whole or not at all (ReplacementFile). Threads: any, one at a time for one path
// (SnapshotKeeper sees to it).

package import KedisFormats
package import KedisStore
import KedisUtilities
import Synchronization

package struct SnapshotOptions: Sendable, Equatable {
    /// `rdbcompression` and `rdbchecksum`.
    package var format: RDBOptions
    /// The code of function libraries that the loaded snapshot had: they are written back.
    package var functions: [[UInt8]]

    /// The journal that has what the snapshot has.
    package var journal: JournalMark?

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
    /// What was changed meanwhile could not be written in time.
    case overrun(path: String)

    package var description: String {
        switch self {
        case .system(let error): error.description
        case .unreadable(let path, let error): "\(path) cannot be loaded, \(error)"
        case .outOfMemory(let path): "no memory is left for \(path)"
        case .overrun(let path): "the disk is too slow for \(path): what was changed meanwhile waited for over a second"
        }
    }
}

/// Writes the store to `path` as it is now; all stripes are locked meanwhile (by the caller, who then gives `held` as
/// `.all`, or here). Keys that are due are left out. On failure the old file is as it was. What `journal` gives has on
/// disk what the snapshot has before that gets its name. O(n).
package func saveSnapshot(
    of store: Store, held: StripeSet = StripeSet(), to path: String, options: SnapshotOptions = SnapshotOptions(),
    nowMilliseconds: Int64, fileSystem: FileSystem = .system, journal: SnapshotJournal? = nil
) throws(SnapshotError) -> SnapshotSummary {
    let start = monotonicNanoseconds()
    do throws(SystemError) {
        let file = try ReplacementFile(
            replacing: path, fileSystem: fileSystem, syncsWhileWriting: options.syncsWhileWriting)
        var (summary, instant) = withAllStripes(of: store, held: held) {
            let instant = SnapshotJournalInstant(journal)
            var options = options
            options.journal = instant.mark
            return (
                encodeSnapshot(of: store, options: options, nowMilliseconds: nowMilliseconds) { file.write($0) },
                instant
            )
        }
        do throws(SystemError) {
            if file.failure == nil { try instant.prepareCommit() }
        } catch {
            file.discard()
            throw error
        }
        try file.commit()
        summary.durationMilliseconds = millisecondsSince(start)
        return summary
    } catch {
        throw .system(error)
    }
}

/// How far a save is; read by any thread.
package final class SnapshotProgress: Sendable {
    private let processed = Atomic<Int>(0)
    private let total = Atomic<Int>(0)

    package init() {}

    package var processedKeyCount: Int { processed.load(ordering: .relaxed) }

    package var totalKeyCount: Int { total.load(ordering: .relaxed) }

    func begin(totalKeyCount: Int) {
        processed.store(0, ordering: .relaxed)
        total.store(totalKeyCount, ordering: .relaxed)
    }

    func note(processedKeyCount: Int) { processed.store(processedKeyCount, ordering: .relaxed) }
}

/// As ``saveSnapshot(of:held:to:options:nowMilliseconds:fileSystem:)``, while others go on: all stripes are locked for
/// the instant whose state it is, and then one at a time, for a slice of it (StoreSnapshot). No stripe may be held by
/// the caller. Waits for its turn while another one is taken. `atInstant` is called at that instant and may give the
/// file another path in the same directory; `betweenSlices` is called before each step, with nothing locked; once
/// `isWanted` says no the rest is not written; `mayCommit` is asked before the file gets its name, and has to refuse it
/// then. All are called on the caller's thread; a part of the work that needs none of them is not (BackgroundThread).
package func saveSnapshotInBackground(
    of store: Store, to path: String, options: SnapshotOptions = SnapshotOptions(), nowMilliseconds: Int64,
    fileSystem: FileSystem = .system, journal: SnapshotJournal? = nil, progress: SnapshotProgress? = nil,
    atInstant: () -> String? = { nil }, betweenSlices: () -> Void = {}, isWanted: @escaping () -> Bool = { true },
    mayCommit: () -> SystemError? = { nil }
) throws(SnapshotError) -> SnapshotSummary {
    let start = monotonicNanoseconds()
    let file: ReplacementFile
    do {
        // First the file: when it cannot be made, nothing is begun.
        file = try ReplacementFile(
            replacing: path, fileSystem: fileSystem, syncsWhileWriting: options.syncsWhileWriting)
    } catch {
        throw .system(error)
    }
    var instant = SnapshotJournalInstant(nil)
    let snapshot = beginSnapshot(of: store, nowMilliseconds: nowMilliseconds) {
        instant = SnapshotJournalInstant(journal)
        if let other = atInstant() { file.targetPath = other }
    }
    var options = options
    options.journal = instant.mark
    progress?.begin(totalKeyCount: snapshot.databases.reduce(0) { $0 + $1.keyCount })
    var summary = BackgroundThread.with { thread in
        snapshot.begin(by: thread)
        var rest = SnapshotRest(of: thread, snapshot)
        return encode(
            snapshot, usedByteCount: store.usedByteCount, options: options, nowMilliseconds: nowMilliseconds,
            progress: progress, betweenSlices: betweenSlices
        ) { chunk in
            // Encoded by who yields to others, or not.
            let isYielding = !thread.isInForeground
            var isWritten = false
            thread.inForeground {
                isWritten = isWanted() && file.write(chunk)
                if isWritten { rest.take(isYielding: isYielding) }
            }
            return isWritten
        }
    }
    if let problem = problem(of: snapshot, path, file) ?? mayCommit().map({ .system($0) }) {
        file.discard()
        throw problem
    }
    do throws(SystemError) {
        try instant.prepareCommit()
    } catch {
        file.discard()
        throw .system(error)
    }
    do {
        try file.commit()
    } catch {
        throw .system(error)
    }
    summary.durationMilliseconds = millisecondsSince(start)
    return summary
}

/// The rests of a walk, taken in the foreground, where all that is not the walk's waits for nothing.
private struct SnapshotRest {
    private let thread: BackgroundThread
    private let snapshot: StoreSnapshot
    private var pace: SnapshotPace

    init(of thread: BackgroundThread, _ snapshot: StoreSnapshot) {
        (self.thread, self.snapshot) = (thread, snapshot)
        pace = SnapshotPace(
            nowNanoseconds: monotonicNanoseconds(), othersNanoseconds: SnapshotRest.othersNanoseconds(thread))
    }

    /// What all threads ever worked that are not the walk's two.
    private static func othersNanoseconds(_ thread: BackgroundThread) -> UInt64 {
        let own = processorNanosecondsOfThread() + thread.processorNanoseconds
        let all = processorNanosecondsOfProcess()
        return all > own ? all - own : 0
    }

    /// Behind a chunk. Ends when much waits to be taken.
    mutating func take(isYielding: Bool) {
        let rest = pace.rest(
            nowNanoseconds: monotonicNanoseconds(), othersNanoseconds: SnapshotRest.othersNanoseconds(thread),
            isPressed: snapshot.hasMuchWaiting(isYielding: isYielding), isYielding: isYielding)
        thread.isAlone = !pace.areOthersBusy
        let end = monotonicNanoseconds() &+ rest
        while !snapshot.hasMuchWaiting(isYielding: isYielding) {
            let now = monotonicNanoseconds()
            guard end > now else { break }
            sleep(nanoseconds: min(end - now, 2_000_000))
        }
    }
}

/// Why what was written of a snapshot is not to be kept.
private func problem(of snapshot: StoreSnapshot, _ path: String, _ file: ReplacementFile) -> SnapshotError? {
    if let failure = file.failure { return .system(failure) }
    if snapshot.isOverrun { return .overrun(path: path) }
    return snapshot.isIncomplete ? .outOfMemory(path: path) : nil
}

private func beginSnapshot(of store: Store, nowMilliseconds: Int64, atInstant: () -> Void) -> StoreSnapshot {
    while true {
        while store.isTakingSnapshot { sleepBriefly() }
        let room = PieceRoom(outsideByteCount: store.memoryStatistics().blobByteCount)
        let snapshot = withAllStripes(of: store, held: StripeSet()) {
            let snapshot = store.beginSnapshot(nowMilliseconds: nowMilliseconds, room: room)
            if snapshot != nil { atInstant() }
            return snapshot
        }
        if let snapshot { return snapshot }
    }
}

/// Encodes what the snapshot has, database by database except for what was changed meanwhile. A sink that fails, and a
/// snapshot without memory, end it early.
private func encode(
    _ snapshot: StoreSnapshot, usedByteCount: Int, options: SnapshotOptions, nowMilliseconds: Int64,
    progress: SnapshotProgress?, betweenSlices: () -> Void, sink: @escaping (ByteView) -> Bool
) -> SnapshotSummary {
    var writer = RDBWriter(options: options.format, sink: sink)
    var summary = SnapshotSummary()
    summary.changes = snapshot.changes
    writer.writeBeginning(options, nowMilliseconds: nowMilliseconds, usedByteCount: usedByteCount)
    var unbegun = Dictionary(uniqueKeysWithValues: snapshot.databases.map { ($0.index, $0) })
    var current: Int?
    let step = {
        let goesOn = snapshot.next(before: betweenSlices) { databaseIndex, entry in
            if databaseIndex != current {
                current = databaseIndex
                if let new = unbegun.removeValue(forKey: databaseIndex) {
                    writer.beginDatabase(databaseIndex, keyCount: new.keyCount, deadlineCount: new.deadlineCount)
                } else {
                    writer.resumeDatabase(databaseIndex)
                }
            }
            writer.writeEntry(entry)
            summary.keyCount += 1
        }
        progress?.note(processedKeyCount: summary.keyCount)
        if writer.isFailed || snapshot.isIncomplete { snapshot.abandon() }
        return goesOn
    }
    snapshot.walk(step)
    _ = writer.finish()
    summary.byteCount = writer.byteCount
    return summary
}

extension RDBWriter {
    fileprivate mutating func writeBeginning(
        _ options: SnapshotOptions, nowMilliseconds: Int64, usedByteCount: Int
    ) {
        writeHeader(createdSeconds: nowMilliseconds / 1000, usedMemoryByteCount: usedByteCount)
        if let journal = options.journal {
            Array(journal.identifierText.utf8).withUnsafeBytes { identifier in
                Array(journal.placeText.utf8).withUnsafeBytes { place in
                    writeJournal(ByteView(identifier), place: ByteView(place))
                }
            }
        }
        for code in options.functions {
            code.withUnsafeBytes { writeFunction(code: ByteView($0)) }
        }
    }
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
    writer.writeBeginning(options, nowMilliseconds: nowMilliseconds, usedByteCount: store.usedByteCount)
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
