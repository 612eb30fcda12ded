// Batches of which somebody else holds a stripe: each command locks for itself.
//
// 16 keys lie in 14 of the 64 stripes, so two threads that lock for whole batches nearly always meet, and then take
// turns. Nobody was promised that neighbours of a pipeline are executed at one instant. So a session that finds a
// stripe held goes on for some hundred batches like this:
//
//      whole   ├ lock 14 stripes ┼ prefetch ┼ SET GET … ┼ unlock ┤
//      split   ├ load buckets, cells of free stripes ┼ lock SET unlock ┼ lock GET unlock ┼ … ┤
//
// and then tries the whole again. What another thread may have asked for meanwhile (waiting for keys, a journal, a
// monitor) is looked at under each lock; from there on, the batch is executed as a whole. Cost: two more locks that
// nobody holds for each command.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

extension Session {
    private static let splitCountMax: UInt16 = 256

    /// Several short commands in several stripes, and nobody wants to know what they do.
    @inline(__always)
    var mayBeSplit: Bool {
        batch.count > 1 && batch.stripes.count > 2 && !batch.hasLongCommand && !batch.hasElements
            && engine.interest.current.isEmpty
    }

    /// Executes the batch, whose stripes are not held, or a part of it: then the rest is left, to be executed with all
    /// its stripes.
    @inline(never)
    mutating func executeSplitSlowly() {
        batch.splitCount = batch.splitCount > 0 ? batch.splitCount - 1 : Session.splitCountMax
        let copyCount = store.snapshotCopyCount
        beginLoading()
        batch.nowMilliseconds = engine.clock.wallMilliseconds
        let count = executeOneLocked()
        if copyCount != store.snapshotCopyCount { noteCopiesSlowly() }
        guard count == batch.count else { return keepRest(from: count) }
        let interval = observabilitySwitches.pointee.keyInterval.load(ordering: .relaxed)
        if keySampler.takesAny(of: keys.count, interval: interval) {
            store.lock(batch.stripes)
            sampleKeysSlowly(held: batch.stripes)
            store.unlock(batch.stripes)
        }
        emptyBatch()
    }

    private func beginLoading() {
        let databaseIndex = client.pointee.databaseIndex
        let count = min(keys.count, Batch.prefetchCountMax)
        for index in 0..<count { store.prefetchBuckets(ofHash: keys.base[index].hash, databaseIndex: databaseIndex) }
        for index in 0..<count { store.prefetchCell(ofHash: keys.base[index].hash, databaseIndex: databaseIndex) }
    }

    /// Returns how many commands were executed. Times are taken as in Session+Timing.swift.
    private mutating func executeOneLocked() -> Int {
        let slow = observabilitySwitches.pointee.slowNanoseconds.load(ordering: .relaxed)
        let weight = timing.weight(commandCount: batch.count, mustBeExact: false, slowNanoseconds: slow)
        let replyStart = output.count
        var before = ticks
        var first = 0
        for index in 0..<batch.count {
            let item = batch.items[index]
            if !store.tryLock(item.stripes) {
                // What another one does under a lock is no time of this command.
                let began = ticks
                store.lock(item.stripes)
                before &+= ticks &- began
                // Waiting may have taken longer than a key had to live.
                batch.nowMilliseconds = engine.clock.wallMilliseconds
            }
            guard engine.interest.current.isEmpty else {
                store.unlock(item.stripes)
                if first < index { noteRun(first...index - 1, nanoseconds(from: before, to: ticks), weight: weight) }
                return index
            }
            var call = makeCall(held: item.stripes, index: index)
            execute(item, &call, held: item.stripes)
            store.unlock(item.stripes)
            guard weight > 0 || isLastOfRun(index) else { continue }
            let now = ticks
            noteRun(first...index, nanoseconds(from: before, to: now), weight: weight)
            before = now
            first = index + 1
        }
        if output.count &- replyStart > TimingChoice.oddReplyByteCount { timing.noteOddity() }
        return batch.count
    }

    @inline(__always)
    private mutating func noteRun(_ run: ClosedRange<Int>, _ nanoseconds: UInt64, weight: UInt64) {
        let item = batch.items[run.upperBound]
        let identifier = item.entry.pointee.identifier
        counters.noteCalls(identifier, count: run.count, nanoseconds: nanoseconds)
        guard weight > 0 else {
            if nanoseconds >= TimingChoice.oddRunNanoseconds { noteOddRunSlowly(run, nanoseconds: nanoseconds) }
            return
        }
        if observabilitySwitches.pointee.tracksLatency.load(ordering: .relaxed) {
            counters.noteDuration(identifier, nanoseconds: nanoseconds, weight: weight)
        }
        if nanoseconds >= observabilitySwitches.pointee.slowNanoseconds.load(ordering: .relaxed) {
            noteSlowly(item.entry, arguments(of: item), nanoseconds: nanoseconds)
        }
    }

    /// The batch's keys and stripes stay as they are: more than the rest needs.
    private mutating func keepRest(from first: Int) {
        for index in first..<batch.count { batch.items[index - first] = batch.items[index] }
        batch.count -= first
    }
}
