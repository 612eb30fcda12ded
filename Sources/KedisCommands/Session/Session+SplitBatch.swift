// Batches of which somebody else holds a stripe: executed in parts.
//
// 16 keys lie in 14 of the 64 stripes, so two threads that lock for whole batches nearly always meet, and then take
// turns. Nobody was promised that neighbours of a pipeline are executed at one instant. So a session that finds a
// stripe held locks as it goes, and executes first what it has the locks for:
//
//      whole      ├ lock 14 stripes ┼ prefetch ┼ SET GET … ┼ unlock ┤
//      in parts   ├ lock 9 stripes, the 10th is held ┼ prefetch ┼ SET GET … ┼ unlock ┼ wait for the 10th, lock 5 ┼ …
//
// It waits for a stripe only while it holds none, so nobody waits for another in a circle. What another thread may have
// asked for meanwhile (waiting for keys, a journal, a monitor) is looked at under the locks of each part; from there
// on, the batch is executed as a whole. Cost: as a whole batch; fewer cache misses overlap in a part.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

extension Session {
    /// Commands at the beginning of the batch, whose stripes are held.
    private struct BatchPart {
        var count = 0
        var stripes = StripeSet()
    }

    /// Several short commands in several stripes, and nobody wants to know what they do.
    @inline(__always)
    var mayBeSplit: Bool {
        batch.count > 1 && batch.stripes.count > 2 && !batch.hasLongCommand && !batch.hasElements
            && engine.interest.current.isEmpty
    }

    /// Locks for the commands up to the first of which somebody holds a stripe, behind those of `part`.
    private func lockFree(behind part: BatchPart = BatchPart()) -> BatchPart {
        var part = part
        while part.count < batch.count {
            let missing = batch.items[part.count].stripes.subtracting(part.stripes)
            guard missing.isEmpty || store.tryLock(missing) else { break }
            part.stripes.formUnion(missing)
            part.count &+= 1
        }
        return part
    }

    /// Executes the batch, whose stripes are not held, or a part of it: then the rest is left, to be executed with all
    /// its stripes.
    @inline(never)
    mutating func executeInPartsSlowly() {
        var part = lockFree()
        while batch.count > 0 {
            if part.count == 0 {
                // Nothing is held: here it may wait.
                let stripes = batch.items[0].stripes
                store.lock(stripes)
                part = lockFree(behind: BatchPart(count: 1, stripes: stripes))
            }
            defer {
                store.unlock(part.stripes)
                part = BatchPart()
            }
            guard engine.interest.current.isEmpty else { return }
            executePart(part)
        }
        emptyBatch()
    }

    private mutating func executePart(_ part: BatchPart) {
        let restCount = batch.count - part.count
        batch.count = part.count
        // Waiting, or the part before, may have taken longer than a key had to live.
        batch.nowMilliseconds = engine.clock.wallMilliseconds
        let last = batch.items[part.count - 1]
        let keyRange = batch.items[0].firstKey..<last.firstKey + last.keyCount
        store.prefetch(
            UnsafeBufferPointer(
                start: keys.base + keyRange.lowerBound, count: min(keyRange.count, Batch.prefetchCountMax)),
            databaseIndex: client.pointee.databaseIndex)
        _ = executePlanned(keyRange: keyRange, held: part.stripes, began: ticks)
        // The batch's stripes stay as they are, more than the rest needs, and its keys where they are.
        for index in 0..<restCount { batch.items[index] = batch.items[part.count + index] }
        batch.count = restCount
    }
}
