// The journal's thread (and, with `always` on a fast disk, whoever wants a sync): takes records from the queue, writes
// them to the segment, syncs, begins segments, and goes on after failures.
//
// State machine, one step at a time (``step()``), so that tests run it without a thread and with a clock of their own.
//
//   · `durable` is the place in the queue up to which all is on disk, `cursor` the one up to which all was written to
//     the open segment. What lies behind `durable` is in memory.
//   · A segment is begun by writing it whole beside its name: header, and everything behind `durable`; then it is
//     synced and renamed, and the directory synced. So one that has its name is whole, and all before its first record
//     is on disk, whether its predecessor was full, a compaction wants a boundary, or the disk has failed.
//   · After any failure the open segment is given up: the system may have dropped what it could not write, and say
//     nothing the next time. `cursor` goes back to `durable`, and a new segment is tried, with growing pauses. It
//     begins with the first record that is not durable and so takes the place of what the failed one has from there
//     on; if that one has no durable record at all, it has the same name and is replaced.

import KedisStore
import KedisUtilities
import Synchronization

final class JournalWriter: @unchecked Sendable {
    // Sendable: used by whoever has `turn`: the journal's thread, or an event loop that syncs for itself; where there
    // is no thread, by the one test that takes its steps.

    /// How long records are gathered before they are handed to the system.
    static let gatherNanoseconds: UInt64 = 20_000_000
    /// An idle thread looks again after so long, whatever happens.
    static let idleNanoseconds: UInt64 = 1_000_000_000
    static let pauseMin: UInt64 = 50_000_000
    static let pauseMax: UInt64 = 2_000_000_000
    /// Slices that are written in one step, so that a close is seen.
    private static let sliceMax = 64
    private static let closeAttempts = 3

    let core: JournalCore
    let directory: String
    var fileSystem: FileSystem { core.fileSystem }

    /// The open segment; nil after a failure.
    var file: FileHandle?
    var segmentFirst: UInt64 = 0
    var segmentCreated: Int64 = 0
    /// Where its records end; behind them are zeros up to `roomEnd`, unless that is passed.
    var segmentByteCount = 0
    var roomEnd = 0
    /// Not behind a failure until a segment is full: space may be what was refused.
    var makesRoom = true
    var durable: JournalPosition
    var cursor: JournalPosition
    /// From `durable` to `cursor`.
    var unsyncedByteCount = 0

    private var stepNanoseconds: UInt64 = 0
    private var lastSyncNanoseconds: UInt64 = 0
    private var retryNanoseconds: UInt64 = 0
    private var pause: UInt64 = 0
    private var wasIdle = false
    private var group = CommitGroup()
    /// Somebody uses what is here.
    private let turn = Atomic<Bool>(false)

    /// Begins the first segment.
    init(core: JournalCore, recovered: RecoveredJournal) throws(JournalError) {
        self.core = core
        directory = recovered.directory
        durable = core.queue.start(sequence: recovered.lastSequence)
        cursor = durable
        stepNanoseconds = core.options.nanoseconds()
        lastSyncNanoseconds = stepNanoseconds
        try open(recovered)
    }

    func run() {
        while true {
            // Whoever has the turn is syncing, which is what there is to do.
            while !takeTurn() { sleepBriefly() }
            gatherGroup()
            let rest = step()
            giveTurn()
            guard let nanoseconds = rest else { return }
            if nanoseconds > 0 { core.wake.wait(nanosecondsMax: nanoseconds) }
        }
    }

    /// With `always`, while syncs are short: takes a step on the caller's thread, which saves waking two threads.
    func syncHere() {
        guard takeTurn() else { return }
        defer { giveTurn() }
        guard core.policy.load(ordering: .relaxed) == JournalPolicy.always.rawValue, pause == 0, file != nil,
            group.areSyncsShort, core.ending.load(ordering: .acquiring) == JournalCore.Ending.open.rawValue
        else { return }
        _ = step()
        // What is left, and what has failed, is the thread's.
        if core.isFailed.load(ordering: .relaxed) || pause > 0 { core.wake.signal() }
    }

    private func takeTurn() -> Bool {
        turn.compareExchange(expected: false, desired: true, ordering: .acquiringAndReleasing).exchanged
    }

    private func giveTurn() { turn.store(false, ordering: .releasing) }

    /// With `always`: waits a moment for those who will write soon, so that one sync serves them as well.
    private func gatherGroup() {
        guard core.policy.load(ordering: .relaxed) == JournalPolicy.always.rawValue, pause == 0, file != nil else {
            return
        }
        let start = core.options.nanoseconds()
        var waited: UInt64 = 0
        while core.ending.load(ordering: .relaxed) == JournalCore.Ending.open.rawValue {
            let waiting = core.queue.appendedSequence.load(ordering: .relaxed) &- durable.sequence
            let left = group.nanosecondsToWait(waitingCount: waiting, waited: waited)
            guard left > 0 else { return }
            core.wake.wait(nanosecondsMax: left)
            waited = core.options.nanoseconds() &- start
        }
    }

    /// One step; returns for how many nanoseconds there is nothing to do unless a signal comes, nil at the end.
    func step() -> UInt64? {
        // An event loop that synced for itself may have taken the last step.
        guard !core.hasEnded.load(ordering: .acquiring) else { return nil }
        let now = core.options.nanoseconds()
        stepNanoseconds = now
        switch JournalCore.Ending(rawValue: core.ending.load(ordering: .acquiring)) ?? .open {
        case .open: break
        case .close: return close()
        case .abandon: return end()
        }
        let policy = JournalPolicy(rawValue: core.policy.load(ordering: .relaxed)) ?? .everySecond
        if wasIdle {
            wasIdle = false
            core.queue.endIdleness()
            // The first append after a pause has woken us; what follows it is gathered.
            if policy != .always, !isWantedNow { return Self.gatherNanoseconds }
        }
        if pause > 0, now < retryNanoseconds { return retryNanoseconds - now }
        do throws(SystemError) {
            let isAll = try work(policy)
            return rest(policy, isAll: isAll)
        } catch {
            return fail(error)
        }
    }

    /// Somebody waits for a sync, whatever the policy.
    private var isWantedNow: Bool { core.wantedSequence.load(ordering: .relaxed) > durable.sequence }

    /// Writes what there is and syncs when it is time; false when there was more than one step's worth.
    private func work(_ policy: JournalPolicy) throws(SystemError) -> Bool {
        if file == nil { try beginSegment(from: durable) }
        core.queue.prepareSpare()
        let isAll = try write(unsyncedByteCountMax: policy.unsyncedByteCountMax)
        if unsyncedByteCount > 0 {
            let interval = isWantedNow ? 0 : policy.intervalNanoseconds
            if interval == 0 || stepNanoseconds &- lastSyncNanoseconds >= interval {
                if policy == .always, segmentByteCount > roomEnd { makeRoom() }
                try synchronize()
            }
        }
        if segmentByteCount >= core.options.segmentByteCount { try continueInNewSegment() }
        return isAll
    }

    /// Writes records until there are none, at most one step's worth.
    private func write(unsyncedByteCountMax: Int) throws(SystemError) -> Bool {
        for _ in 0..<Self.sliceMax {
            switch core.queue.take(from: cursor) {
            case .nothing: return true
            case .segment(let place):
                try continueInNewSegment(from: place)
            case .slice(let slice):
                noteUnsynced()
                try append(slice)
                if unsyncedByteCount >= unsyncedByteCountMax { try synchronize() }
                if segmentByteCount >= core.options.segmentByteCount { try continueInNewSegment() }
            }
        }
        return false
    }

    private func append(_ slice: JournalSlice) throws(SystemError) {
        guard let file else { throw SystemError.closed(directory) }
        try fileSystem.writeAll(file, slice.bytes)
        cursor = slice.end
        unsyncedByteCount += slice.bytes.count
        segmentByteCount += slice.bytes.count
        core.segments.grow(byteCount: slice.bytes.count)
        core.writtenSequence.store(cursor.sequence, ordering: .releasing)
    }

    /// The next sync puts the zeros on disk, too; nothing depends on them, and without them all goes on as well. Not
    /// where they would serve a few syncs only: what these write is more than what they save.
    private func makeRoom() {
        let byteCount = min(segmentByteCount, core.options.roomByteCountMax)
        guard let file, makesRoom, 4 * unsyncedByteCount <= byteCount,
            segmentByteCount + byteCount <= core.options.segmentByteCount
        else { return }
        let range = segmentByteCount..<segmentByteCount + byteCount
        let written = try? fileSystem.retrying { () throws(SystemError) in try fileSystem.writeZeros(file, range) }
        roomEnd = segmentByteCount + (written ?? 0)
        makesRoom = written != nil
    }

    /// Puts what was written on disk.
    func synchronize() throws(SystemError) {
        guard let file, unsyncedByteCount > 0 else { return }
        let start = core.options.nanoseconds()
        try fileSystem.retrying { () throws(SystemError) in try fileSystem.synchronizeData(file) }
        noteSync(since: start)
        group.note(
            syncedCount: cursor.sequence &- durable.sequence,
            waitingCount: core.queue.appendedSequence.load(ordering: .relaxed) &- cursor.sequence,
            nanoseconds: lastSyncNanoseconds &- start)
        let byteCount = unsyncedByteCount
        unsyncedByteCount = 0
        advance(to: cursor, byteCount: byteCount)
    }

    func noteSync(since start: UInt64) {
        lastSyncNanoseconds = core.options.nanoseconds()
        core.syncCount.wrappingAdd(1, ordering: .relaxed)
        if lastSyncNanoseconds &- start > 1_000_000_000 { core.delayedSyncCount.wrappingAdd(1, ordering: .relaxed) }
    }

    /// Everything before `position` is on disk: `byteCount` bytes more than before.
    func advance(to position: JournalPosition, byteCount: Int) {
        let isFurther = position.sequence > core.durableSequence.load(ordering: .relaxed)
        durable = core.queue.release(before: position)
        cursor = durable
        core.durableByteCount.wrappingAdd(byteCount, ordering: .releasing)
        core.durableSequence.store(position.sequence, ordering: .releasing)
        // What is left was appended after this step has begun to look.
        core.oldestNanoseconds.store(core.pendingByteCount > 0 ? stepNanoseconds : 0, ordering: .relaxed)
        if isFurther { core.options.onDurable?(position.sequence) }
    }

    private func noteUnsynced() {
        if core.oldestNanoseconds.load(ordering: .relaxed) == 0 {
            core.oldestNanoseconds.store(max(1, stepNanoseconds), ordering: .relaxed)
        }
    }

    /// After a step without failure: how long to wait.
    private func rest(_ policy: JournalPolicy, isAll: Bool) -> UInt64 {
        noteSuccess()
        guard isAll else { return 0 }
        guard core.queue.becomeIdle(at: cursor) else { return Self.gatherNanoseconds }
        wasIdle = true
        guard unsyncedByteCount > 0 else { return Self.idleNanoseconds }
        let elapsed = stepNanoseconds &- lastSyncNanoseconds
        let interval = policy.intervalNanoseconds
        return min(Self.idleNanoseconds, elapsed < interval ? interval - elapsed : 1)
    }

    // MARK: Failures

    /// Gives the open segment up; returns how long to wait before the next attempt.
    private func fail(_ error: SystemError) -> UInt64 {
        if let file { try? fileSystem.close(file) }
        file = nil
        cursor = durable
        unsyncedByteCount = 0
        makesRoom = false
        noteUnsynced()
        pause = min(max(2 * pause, Self.pauseMin), Self.pauseMax)
        retryNanoseconds = stepNanoseconds &+ pause
        noteFailure(error.description)
        return pause
    }

    private func noteFailure(_ text: String) {
        core.failure.withLock { $0 = text }
        core.isFailed.store(true, ordering: .releasing)
    }

    private func noteSuccess() {
        pause = 0
        // Records that were lost for want of memory do not come back.
        if let loss = core.queue.loss { return noteFailure(loss) }
        if core.isFailed.load(ordering: .relaxed) { core.isFailed.store(false, ordering: .releasing) }
    }

    // MARK: The end

    /// Everything on disk, and a mark that says so; or not, after a few attempts.
    private func close() -> UInt64? {
        for _ in 0..<Self.closeAttempts {
            do throws(SystemError) {
                if file == nil { try beginSegment(from: durable) }
                while try !write(unsyncedByteCountMax: .max) {}
                try synchronize()
                writeMark(RecordFlags.closing, isSynced: true)
                noteSuccess()
                break
            } catch {
                _ = fail(error)
            }
        }
        return end()
    }

    /// Ends the segment with a mark. Nothing depends on it but how much can be told of later damage, so that a failure
    /// is none.
    func writeMark(_ flags: UInt8, isSynced: Bool) {
        guard let file else { return }
        let mark = core.queue.markRecord(
            flags: flags, sequence: durable.sequence &+ 1, durable: durable.sequence,
            milliseconds: core.options.milliseconds())
        do {
            try mark.withUnsafeBytes { try fileSystem.writeAll(file, ByteView($0)) }
            if isSynced { try fileSystem.retrying { () throws(SystemError) in try fileSystem.synchronizeData(file) } }
            core.segments.grow(byteCount: mark.count)
        } catch {
            return
        }
    }

    private func end() -> UInt64? {
        if let file { try? fileSystem.close(file) }
        file = nil
        core.hasEnded.store(true, ordering: .releasing)
        return nil
    }
}
