// The journal: records appended by any thread, put on disk by one.
//
//     append ──▶ JournalQueue (memory) ──▶ JournalWriter, its own thread ──▶ segment ──▶ disk
//     appendedSequence                     writtenSequence: with the system    durableSequence: on disk
//
// `append` is called under stripe locks, never waits for the disk, and decides the order: the sequence is that of the
// calls. A record stays in memory until it is on disk, so that a disk that fails loses nothing: all that was not on
// disk goes to a new segment, and only when that one is on disk do sequences count as durable again. Whoever appends
// looks at `isOverloaded` before it takes work that would append more.
//
// Ownership: the composition root owns it and closes it. Threads: any. Cost: see JournalQueue.

package import KedisUtilities
import KedisStore
import Synchronization

/// When records go to disk (`appendfsync`).
package enum JournalPolicy: UInt8, Sendable {
    /// As soon as somebody asks: one sync serves all that wait.
    case always
    /// Handed to the system within 20 ms, on disk within a second.
    case everySecond
    /// Handed to the system within 20 ms, on disk when the system likes, 30 s later at the latest.
    case system

    /// How old a record gets before it is synced.
    var intervalNanoseconds: UInt64 {
        switch self {
        case .always: 0
        case .everySecond: 1_000_000_000
        case .system: 30_000_000_000
        }
    }

    /// How many bytes wait for that at most.
    var unsyncedByteCountMax: Int { self == .system ? 32 << 20 : 16 << 20 }
}

package struct JournalOptions: Sendable {
    package var policy = JournalPolicy.everySecond
    /// A segment that has so many bytes gets a successor.
    package var segmentByteCount = 64 << 20
    /// More bytes than this that are not on disk are an overload.
    package var pendingByteCountMax = 64 << 20
    /// With `always`, zeros are written behind the records when the last ones are used up, and new ones would serve
    /// several syncs: as many bytes as the segment has, and not more than these. Records that take the place of zeros
    /// need no new room on disk, so that a sync has only them to write.
    package var roomByteCountMax = JournalOptions.usualRoomByteCountMax
    package var retention = JournalRetention()
    /// Called by the journal's thread when `durableSequence` has advanced, with its new value. Must not wait.
    package var onDurable: (@Sendable (UInt64) -> Void)?
    /// A clock that never goes back.
    package var nanoseconds: @Sendable () -> UInt64 = { monotonicNanoseconds() }
    /// Milliseconds since 1970.
    package var milliseconds: @Sendable () -> Int64 = { wallClockMilliseconds() }
    /// For tests: small blocks, and no thread, so that steps are taken by ``Journal/step()``.
    package var blockByteCount = JournalQueue.usualBlockByteCount
    package var hasThread = true

    package init() {}

    #if os(Linux)
    private static let usualRoomByteCountMax = 256 << 10
    #else
    /// There a sync takes what it takes, and what is written again gets another place.
    private static let usualRoomByteCountMax = 0
    #endif
}

/// What INFO says of a journal.
package struct JournalStatus: Sendable {
    package var segmentCount = 0
    /// Of all segments.
    package var byteCount = 0
    /// Of what a start would replay behind the base.
    package var byteCountSinceBase = 0
    package var segmentCountSinceBase = 0
    /// What is not known to be on disk.
    package var pendingByteCount = 0
    package var lastWriteSucceeded = true
    package var syncCount = 0
    /// Syncs that took longer than a second.
    package var delayedSyncCount = 0
    package var baseSequence: UInt64 = 0
    package var appendedSequence: UInt64 = 0
    package var writtenSequence: UInt64 = 0
    package var durableSequence: UInt64 = 0
}

package final class Journal: Sendable {
    /// A record that has waited for the disk for longer is an overload, unless the policy leaves it to the system.
    package static let overloadNanoseconds: UInt64 = 2_000_000_000

    let core: JournalCore
    private let writer: JournalWriter

    private init(core: JournalCore, writer: JournalWriter) {
        self.core = core
        self.writer = writer
    }

    /// Opens the journal behind what was recovered, whole: begins a segment, into which goes what was read but may not
    /// be on disk, and which takes the place of a torn tail. Nothing else may write to the directory.
    package static func open(
        after recovered: RecoveredJournal, options: JournalOptions = JournalOptions(), fileSystem: FileSystem = .system
    ) throws(JournalError) -> Journal {
        guard recovered.isComplete else { throw .notReadToItsEnd(directory: recovered.directory) }
        let core = try JournalCore(recovered, options, fileSystem)
        let writer = try JournalWriter(core: core, recovered: recovered)
        guard options.hasThread else { return Journal(core: core, writer: writer) }
        guard startThread({ writer.run() }) else {
            core.end(.abandon)
            _ = writer.step()
            throw .outOfMemory(path: recovered.directory)
        }
        return Journal(core: core, writer: writer)
    }

    deinit { core.end(.abandon) }

    // MARK: Appending

    /// Appends a record and returns its sequence. Never waits for the disk. `milliseconds` since 1970 is its time.
    package func append(_ payload: ByteView, databaseIndex: Int, milliseconds: Int64) -> UInt64 {
        withUnsafePointer(to: payload) { payload in
            append(
                UnsafeBufferPointer(start: payload, count: 1), databaseIndex: databaseIndex, milliseconds: milliseconds)
        }
    }

    /// The same for a payload in several pieces.
    package func append(
        _ pieces: UnsafeBufferPointer<ByteView>, databaseIndex: Int, milliseconds: Int64
    ) -> UInt64 {
        let wakes = core.policy.load(ordering: .relaxed) != JournalPolicy.always.rawValue
        let appended = core.queue.append(
            pieces, databaseIndex: databaseIndex, milliseconds: milliseconds, durable: core.durableSequence,
            takesIdleness: wakes)
        if appended.wasIdle { core.wake.signal() }
        return appended.sequence
    }

    /// With the policy `always`: has what was appended put on disk now. Called once for a round of commands, after its
    /// appends. A system call only when the journal's thread sleeps.
    package func requestSync() {
        guard core.policy.load(ordering: .relaxed) == JournalPolicy.always.rawValue,
            durableSequence < appendedSequence
        else { return }
        core.wake.signal()
    }

    /// With the policy `always`, while syncs are short: puts what was appended on disk before it returns, unless
    /// another thread does so now; ``durableSequence`` tells. For event loops, before they send a round's replies.
    package func syncHere() {
        guard core.options.hasThread, durableSequence < appendedSequence else { return }
        writer.syncHere()
    }

    /// Has what was appended until now put on disk soon, whatever the policy.
    package func requestSyncNow() {
        let wanted = appendedSequence
        guard durableSequence < wanted else { return }
        var known = core.wantedSequence.load(ordering: .relaxed)
        while known < wanted {
            let (exchanged, original) = core.wantedSequence.compareExchange(
                expected: known, desired: wanted, ordering: .relaxed)
            if exchanged { break }
            known = original
        }
        core.wake.signal()
    }

    /// The last record that was appended, 0 for none.
    package var appendedSequence: UInt64 { core.queue.appendedSequence.load(ordering: .acquiring) }
    /// Records up to this one were handed to the system: they outlive the process.
    package var writtenSequence: UInt64 { core.writtenSequence.load(ordering: .acquiring) }
    /// Records up to this one are on disk.
    package var durableSequence: UInt64 { core.durableSequence.load(ordering: .acquiring) }

    /// More data is not on disk than should be, or for longer: no more work that appends should be taken. One clock
    /// reading where anything is not on disk.
    package var isOverloaded: Bool { core.isOverloaded }

    /// Whether the last write failed, so that nothing becomes durable at the moment.
    package var isFailed: Bool { core.isFailed.load(ordering: .relaxed) }
    /// Why.
    package var failure: String? { isFailed ? core.failure.withLock { $0 } : nil }

    /// It was closed, and nothing more goes to disk.
    package var hasEnded: Bool { core.hasEnded.load(ordering: .acquiring) }

    package var policy: JournalPolicy { JournalPolicy(rawValue: core.policy.load(ordering: .relaxed)) ?? .everySecond }

    package func setPolicy(_ policy: JournalPolicy) {
        core.policy.store(policy.rawValue, ordering: .relaxed)
        core.wake.signal()
    }

    /// What snapshots name it by.
    package var identifierText: String { core.identifier.text }

    // MARK: Segments

    /// Has the next record begin a segment, and returns its sequence. Where nobody can append meanwhile, a snapshot of
    /// that moment is the base of what follows: ``journalBasePath(directory:sequence:)`` with the sequence before.
    package func rotate() -> UInt64 {
        let sequence = core.queue.beginSegment()
        core.wake.signal()
        return sequence
    }

    /// Tells that the base snapshot of `sequence` is on disk.
    package func noteBase(_ sequence: UInt64) { core.baseSequence.store(sequence, ordering: .relaxed) }

    /// Removes the segments whose records all come before `sequence`, unless the retention keeps them. To be called
    /// when the base of the record before `sequence` is on disk. Returns how many are gone.
    package func removeSegments(before sequence: UInt64) throws(JournalError) -> Int {
        let retention = core.retention.withLock { $0 }
        let removable = core.segments.removable(
            before: sequence, retention, nowMilliseconds: core.options.milliseconds())
        for segment in removable {
            do {
                try core.fileSystem.retrying { () throws(SystemError) in try core.fileSystem.unlink(segment.path) }
            } catch {
                if !error.isMissingFile { throw .system(error) }
            }
            // One after the other, or a loss of power may bring an older one back and leave a gap behind it.
            do {
                try core.fileSystem.retrying { () throws(SystemError) in
                    try core.fileSystem.synchronizeDirectory(directoryPath(of: segment.path))
                }
            } catch {
                throw .system(error)
            }
            core.segments.remove(segment)
        }
        return removable.count
    }

    /// The first record that is still in a segment: going back to a moment needs a base not older than the one before.
    package var firstSequence: UInt64 { core.segments.firstSequence ?? appendedSequence &+ 1 }

    package func setRetention(_ retention: JournalRetention) { core.retention.withLock { $0 = retention } }

    package var status: JournalStatus {
        let base = core.baseSequence.load(ordering: .relaxed)
        return JournalStatus(
            segmentCount: core.segments.count, byteCount: core.segments.byteCount,
            byteCountSinceBase: core.segments.byteCount(behind: base),
            segmentCountSinceBase: core.segments.count(behind: base), pendingByteCount: core.pendingByteCount,
            lastWriteSucceeded: !isFailed, syncCount: core.syncCount.load(ordering: .relaxed),
            delayedSyncCount: core.delayedSyncCount.load(ordering: .relaxed), baseSequence: base,
            appendedSequence: appendedSequence, writtenSequence: writtenSequence, durableSequence: durableSequence)
    }

    // MARK: Closing

    /// Puts everything on disk, marks the journal as closed, and ends its thread. Nothing may be appended from here on.
    /// Throws when the disk does not take it: then what ``durableSequence`` says is on disk, and the rest is lost.
    package func close() throws(JournalError) {
        core.end(.close)
        while !core.hasEnded.load(ordering: .acquiring) {
            if core.options.hasThread { sleepBriefly() } else { _ = step() }
        }
        guard durableSequence == appendedSequence else {
            throw .notWritten(reason: core.failure.withLock { $0 } ?? "it was closed before")
        }
    }

    /// Without a thread: does what there is to do now, and returns for how many nanoseconds there is nothing; nil when
    /// the journal has ended.
    package func step() -> UInt64? {
        assert(!core.options.hasThread)
        return writer.step()
    }
}

/// What a journal's threads share.
final class JournalCore: Sendable {
    enum Ending: UInt8 {
        case open, close, abandon
    }

    let options: JournalOptions
    let fileSystem: FileSystem
    let identifier: JournalIdentifier
    let queue: JournalQueue
    let segments: JournalSegments
    let retention: Locked<JournalRetention>
    let wake = WakeSignal()

    let policy: Atomic<UInt8>
    let writtenSequence: Atomic<UInt64>
    let durableSequence: Atomic<UInt64>
    let baseSequence: Atomic<UInt64>
    /// Up to this record somebody wants them on disk now.
    let wantedSequence = Atomic<UInt64>(0)
    /// Of all bytes appended, those known to be on disk.
    let durableByteCount = Atomic<Int>(0)
    /// Not later than this the oldest record was taken that is not on disk; 0 for none.
    let oldestNanoseconds = Atomic<UInt64>(0)
    let syncCount = Atomic<Int>(0)
    let delayedSyncCount = Atomic<Int>(0)

    let isFailed = Atomic<Bool>(false)
    let failure = Locked<String?>(nil)
    let ending = Atomic<UInt8>(Ending.open.rawValue)
    let hasEnded = Atomic<Bool>(false)

    init(_ recovered: RecoveredJournal, _ options: JournalOptions, _ fileSystem: FileSystem) throws(JournalError) {
        self.options = options
        self.fileSystem = fileSystem
        let identifier = recovered.identifier ?? .random()
        self.identifier = identifier
        guard
            let queue = JournalQueue(
                identifier: identifier, firstSequence: recovered.nextSequence, blockByteCount: options.blockByteCount)
        else { throw .outOfMemory(path: recovered.directory) }
        self.queue = queue
        segments = JournalSegments(recovered.segments)
        retention = Locked(options.retention)
        policy = Atomic(options.policy.rawValue)
        writtenSequence = Atomic(recovered.lastSequence)
        durableSequence = Atomic(recovered.lastSequence)
        baseSequence = Atomic(recovered.baseSequence)
    }

    var pendingByteCount: Int {
        // The first is read first: it never passes the second then.
        let durable = durableByteCount.load(ordering: .acquiring)
        return queue.appendedByteCount.load(ordering: .relaxed) - durable
    }

    var isOverloaded: Bool {
        let pending = pendingByteCount
        if pending > options.pendingByteCountMax { return true }
        let oldest = oldestNanoseconds.load(ordering: .relaxed)
        if pending == 0 || oldest == 0 { return false }
        // With a failed disk the policy that waits for the system has nothing to wait for.
        guard policy.load(ordering: .relaxed) != JournalPolicy.system.rawValue || isFailed.load(ordering: .relaxed)
        else {
            return false
        }
        let now = options.nanoseconds()
        return now > oldest && now - oldest > Journal.overloadNanoseconds
    }

    func end(_ how: Ending) {
        let (isFirst, _) = ending.compareExchange(
            expected: Ending.open.rawValue, desired: how.rawValue, ordering: .acquiringAndReleasing)
        if isFirst { wake.signal() }
    }
}
