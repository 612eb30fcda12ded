// The memory limit: before a batch takes its locks, keys go until what is left fits `maxmemory`.
//
// Sessions make room before each batch, for as long as the tenacity allows; what is left of it is done by the tickers
// (server and library) in slices. Nobody holds a stripe meanwhile: the store locks one victim's stripe at a time.
// Threads: any; several may make room at once. Cost: nothing without a limit; with one, a look at the stripes' counts
// for each batch. Source of the policies and of the tenacity: the pages on eviction and `redis.conf` of Redis 7.0.

import KedisStore
import KedisUtilities
package import Synchronization

/// What became of the wish to make room.
enum RoomOutcome {
    /// Used memory is within the limit.
    case fits
    /// The time was up: commands go on, and so does the eviction in the background.
    case unfinished
    /// No key may go.
    case impossible
}

/// What is known of memory beyond the store's own counts: peak, how long it was too much, background work.
package final class MemoryGauge: Sendable {
    /// The most that was used, as far as anyone looked: the tickers do, and every reader of the figures.
    package let peakByteCount = Atomic<Int>(0)
    /// Nanoseconds above the limit up to the last time that room was made; and since when it has been too much, or 0.
    private let exceededNanoseconds = Atomic<UInt64>(0)
    private let exceededSinceNanoseconds = Atomic<UInt64>(0)
    /// Time spent in maintenance, in all and since there was last nothing to do, and whether work is left.
    fileprivate let maintenanceNanoseconds = Atomic<UInt64>(0)
    fileprivate let currentMaintenanceNanoseconds = Atomic<UInt64>(0)
    package let isMaintaining = Atomic<Bool>(false)
    /// Set at first: what was loaded may be too much.
    package let isEvictionRequested = Atomic<Bool>(true)
    /// For evictions that no session makes.
    fileprivate let backgroundGenerator: Locked<RandomGenerator>

    init(seed: UInt64) {
        backgroundGenerator = Locked(RandomGenerator(seed: ~seed))
    }

    /// Asks the tickers to see whether keys must go.
    package func requestEviction() { isEvictionRequested.store(true, ordering: .relaxed) }

    /// Notes a look at used memory; returns the peak.
    @discardableResult
    package func note(usedByteCount: Int) -> Int {
        guard usedByteCount > peakByteCount.load(ordering: .relaxed) else {
            return peakByteCount.load(ordering: .relaxed)
        }
        return peakByteCount.max(usedByteCount, ordering: .relaxed).newValue
    }

    fileprivate func noteExceeded(nowNanoseconds: UInt64) {
        _ = exceededSinceNanoseconds.compareExchange(expected: 0, desired: max(1, nowNanoseconds), ordering: .relaxed)
    }

    fileprivate func noteFits(nowNanoseconds: UInt64) {
        let since = exceededSinceNanoseconds.exchange(0, ordering: .relaxed)
        // Another thread may have looked at the clock later than this one.
        guard since > 0, nowNanoseconds > since else { return }
        exceededNanoseconds.wrappingAdd(nowNanoseconds - since, ordering: .relaxed)
    }

    fileprivate var isExceeded: Bool { exceededSinceNanoseconds.load(ordering: .relaxed) != 0 }

    /// Milliseconds that used memory has been above the limit: in all, and this time.
    func exceededMilliseconds(nowNanoseconds: UInt64) -> (total: UInt64, current: UInt64) {
        let since = exceededSinceNanoseconds.load(ordering: .relaxed)
        let current = since > 0 && nowNanoseconds > since ? nowNanoseconds - since : 0
        return ((exceededNanoseconds.load(ordering: .relaxed) &+ current) / 1_000_000, current / 1_000_000)
    }

    /// Milliseconds spent in maintenance: in all, and on the work that goes on now.
    var maintenanceMilliseconds: (total: UInt64, current: UInt64) {
        (
            maintenanceNanoseconds.load(ordering: .relaxed) / 1_000_000,
            currentMaintenanceNanoseconds.load(ordering: .relaxed) / 1_000_000
        )
    }

    /// CONFIG RESETSTAT
    func resetStatistics() {
        exceededNanoseconds.store(0, ordering: .relaxed)
        exceededSinceNanoseconds.store(0, ordering: .relaxed)
        maintenanceNanoseconds.store(0, ordering: .relaxed)
    }
}

extension Engine {
    /// Removes keys until used memory fits the limit, for as long as `maxmemory-eviction-tenacity` allows. The caller
    /// holds no stripe.
    func makeRoom(using generator: inout RandomGenerator) -> RoomOutcome {
        makeRoom(
            using: &generator, nanosecondsMax: configuration.evictionNanosecondsMax.load(ordering: .relaxed))
    }

    private func makeRoom(using generator: inout RandomGenerator, nanosecondsMax: UInt64) -> RoomOutcome {
        let limit = configuration.memoryByteCountMax.load(ordering: .relaxed)
        let used = store.usedByteCount
        memory.note(usedByteCount: used)
        if limit == 0 || used <= limit || conditions.contains(.loading) || interest.current.isPaused {
            if memory.isExceeded { memory.noteFits(nowNanoseconds: clock.monotonicNanoseconds()) }
            return .fits
        }
        let began = clock.monotonicNanoseconds()
        let outcome = evictSlowly(downTo: limit, using: &generator, nanosecondsMax: nanosecondsMax)
        observability.latency.note(
            .evictionCycle, nanoseconds: clock.monotonicNanoseconds() &- began,
            wallMilliseconds: clock.wallMilliseconds)
        switch outcome {
        case .fits: memory.noteFits(nowNanoseconds: clock.monotonicNanoseconds())
        case .unfinished, .impossible: memory.noteExceeded(nowNanoseconds: clock.monotonicNanoseconds())
        }
        if outcome == .unfinished { memory.requestEviction() }
        return outcome
    }

    @inline(never)
    private func evictSlowly(
        downTo limit: Int, using generator: inout RandomGenerator, nanosecondsMax: UInt64
    ) -> RoomOutcome {
        let policy = configuration.evictionPolicy
        guard policy != .noEviction else { return .impossible }
        let sampleCount = configuration.evictionSampleCount.load(ordering: .relaxed)
        let nowMilliseconds = clock.wallMilliseconds
        let began = clock.monotonicNanoseconds()
        while store.usedByteCount > limit {
            guard
                store.evictOne(
                    policy, sampleCount: sampleCount, nowMilliseconds: nowMilliseconds, using: &generator)
            else { return store.usedByteCount > limit ? .impossible : .fits }
            // After each key: one whose policy has few candidates can take long to find.
            if clock.monotonicNanoseconds() &- began >= nanosecondsMax {
                return store.usedByteCount > limit ? .unfinished : .fits
            }
        }
        return .fits
    }

    // MARK: Background

    /// Goes on with what sessions had no time for; true when there is more to do.
    package func evictInBackground(nanosecondsMax: UInt64) -> Bool {
        guard memory.isEvictionRequested.load(ordering: .relaxed) else { return false }
        memory.isEvictionRequested.store(false, ordering: .relaxed)
        return memory.backgroundGenerator.withLock { generator in
            makeRoom(using: &generator, nanosecondsMax: nanosecondsMax) == .unfinished
        }
    }

    /// Removes up to `limit` keys that are due, tells those who wait for them, and returns how many there were; none
    /// while clients are paused or DEBUG has switched that off.
    package func expireDue(limit: Int) -> Int {
        guard isActiveExpiryEnabled.load(ordering: .relaxed), !interest.current.isPaused else { return 0 }
        defer { serveRemovedKeys() }
        return store.expireDue(nowMilliseconds: clock.wallMilliseconds, limit: limit)
    }

    /// Gives back memory, defragments and shrinks tables; true when there is more to do.
    package func maintain(nanosecondsMax: UInt64) -> Bool {
        let began = clock.monotonicNanoseconds()
        var elapsed: UInt64 = 0
        var hasMore = false
        repeat {
            hasMore = store.maintain(nowMilliseconds: clock.wallMilliseconds)
            elapsed = clock.monotonicNanoseconds() &- began
        } while hasMore && elapsed < nanosecondsMax
        observability.bigKeys.refreshOne(store, nowMilliseconds: clock.wallMilliseconds)
        observability.latency.note(
            .activeDefragCycle, nanoseconds: elapsed, wallMilliseconds: clock.wallMilliseconds)
        memory.maintenanceNanoseconds.wrappingAdd(elapsed, ordering: .relaxed)
        if hasMore {
            memory.currentMaintenanceNanoseconds.wrappingAdd(elapsed, ordering: .relaxed)
        } else {
            memory.currentMaintenanceNanoseconds.store(0, ordering: .relaxed)
        }
        memory.isMaintaining.store(hasMore, ordering: .relaxed)
        tracking.forgetUnused(store)
        return hasMore
    }
}

/// The time for `maxmemory-eviction-tenacity`: steps of 50 microseconds up to 10, then 15 % more with each step, and
/// without end at 100.
func evictionNanoseconds(tenacity: Int) -> UInt64 {
    guard tenacity < 100 else { return .max }
    guard tenacity > 10 else { return UInt64(max(0, tenacity)) * 50_000 }
    return UInt64((10..<tenacity).reduce(500_000.0) { time, _ in time * 1.15 })
}
