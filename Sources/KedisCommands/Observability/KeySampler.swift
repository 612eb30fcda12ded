// Which accesses to keys are looked at, for hot and for big keys: on average one in so many, at random distances, so
// that no rhythm of a client hides a key.
//
// Owned by a session. Cost: a subtraction for each batch; a look walks over the counters of HotKeys.

import KedisStore
import KedisUtilities

/// Counts down the keys to the next one in the sample.
struct KeySampler {
    /// The mean distance that ``gap`` was drawn for.
    private var interval: UInt32 = 0
    /// Keys to let pass.
    private var gap = 0
    /// Its own, so that what commands draw does not depend on what is sampled.
    private var generator: RandomGenerator

    init(seed: UInt64) { generator = RandomGenerator(seed: seed) }

    /// Lets `count` keys pass; true when at least one of them is in the sample. `interval` is 0 while nothing is
    /// sampled.
    @inline(__always)
    mutating func takesAny(of count: Int, interval: UInt32) -> Bool {
        guard interval > 0 else { return false }
        if interval != self.interval { restart(interval) }
        gap &-= count
        return gap < 0
    }

    /// Draws the first gap too: sessions of one command each would all be in the sample otherwise.
    @inline(never)
    private mutating func restart(_ interval: UInt32) {
        self.interval = interval
        gap = generator.next(below: Int(interval))
    }

    /// The index, among the `count` keys that were let pass, of the next one in the sample; nil when there is no more.
    mutating func next(of count: Int) -> Int? {
        guard gap < 0 else { return nil }
        let index = gap &+ count
        // From 1 to twice the mean less 1: the mean is kept.
        gap += 1 + generator.next(below: 2 * Int(interval) - 1)
        return max(0, index)
    }
}

extension Session {
    /// Looks at those of the batch's keys in `range`, which were let pass, that are in the sample; their stripes are
    /// held.
    @inline(never)
    mutating func sampleKeysSlowly(_ range: Range<Int>, held: StripeSet) {
        let keyspace = store.keyspace(
            client.pointee.databaseIndex, nowMilliseconds: batch.nowMilliseconds, held: held)
        while let index = keySampler.next(of: range.count), index < range.count {
            let key = keys.base[range.lowerBound + index]
            // What is planned and not locked is no key: the channel of SPUBLISH.
            guard held.contains(key.stripeIndex) else { continue }
            engine.observability.hotKeys.note(
                key, databaseIndex: keyspace.databaseIndex, nowMilliseconds: batch.nowMilliseconds)
            engine.observability.bigKeys.note(key, keyspace)
        }
    }

    /// Looks at all keys of a batch with a long command: what is big is seen without luck.
    @inline(never)
    func measureKeysSlowly(held: StripeSet) {
        let keyspace = store.keyspace(
            client.pointee.databaseIndex, nowMilliseconds: batch.nowMilliseconds, held: held)
        for index in 0..<min(keys.count, Batch.prefetchCountMax) where held.contains(keys.base[index].stripeIndex) {
            engine.observability.bigKeys.note(keys.base[index], keyspace)
        }
    }
}
