// The two sides of the speed benchmark: the store, and a dictionary under a lock.

import KedisStore
import KedisUtilities
import Synchronization

/// Keys and values in the order of use: side by side as bytes, and as arrays allocated one after another.
struct Items: Sendable {
    let keys: ItemBuffer
    let values: ItemBuffer
    let keyArrays: [[UInt8]]
    let valueArrays: [[UInt8]]

    init(_ prefix: Prefix, _ indices: [Int]) {
        keys = ItemBuffer(prefix, indices)
        values = ItemBuffer(.value, indices)
        keyArrays = indices.map { itemArray(prefix, $0) }
        valueArrays = indices.map { itemArray(.value, $0) }
    }

    var count: Int { keys.count }
}

/// What one thread does in a round.
struct ThreadWork: Sendable {
    let present: Items
    let missing: Items
    /// Keys that are new, and the same in another order: arrays of their own, so that the dictionary must compare.
    let new: Items
    let removed: Items
    /// New keys are made and removed in groups of so many, so that a small table stays small.
    let groupCount: Int

    init(thread: Int, keyCount: Int, operationCount: Int) {
        var random = RandomGenerator(seed: UInt64(1000 + thread))
        present = Items(.key, (0..<operationCount).map { _ in random.next(below: keyCount) })
        missing = Items(.missing, (0..<operationCount).map { _ in random.next(below: keyCount) })
        let group = min(operationCount, max(64, keyCount / 8))
        groupCount = group
        let first = (thread + 1) * 100_000_000
        new = Items(.new, (0..<operationCount).map { first + $0 })
        removed = Items(
            .new,
            stride(from: 0, to: operationCount, by: group).flatMap { start in
                (start..<min(start + group, operationCount)).shuffled(using: &random).map { first + $0 }
            })
    }

    /// The ranges of the groups.
    var groups: [Range<Int>] {
        stride(from: 0, to: new.count, by: groupCount).map { $0..<min($0 + groupCount, new.count) }
    }
}

/// A side: performs one thread's work and tells how long it took, for each measured part.
protocol SpeedSubject: AnyObject, Sendable {
    var keyCount: Int { get }
    func get(_ items: Items) -> UInt64
    func set(_ items: Items, _ range: Range<Int>) -> UInt64
    func remove(_ items: Items, _ range: Range<Int>) -> UInt64
    func rest()
}

extension SpeedSubject {
    /// For each measured part, nanoseconds for an operation of all threads together.
    func nanoseconds(_ operation: Operation, _ work: [ThreadWork], threads count: Int) -> [Double] {
        // A small table would be in the cache if the other side had not just been measured.
        if keyCount <= 250_000 { _ = get(work[0].present) }
        let times = onThreads(count) { [self] in durations(operation, work[$0]) }
        rest()
        return operation.measured.indices.map { part in
            1 / times.reduce(0.0) { $0 + Double(work[0].new.count) / Double(max(1, $1[part])) }
        }
    }

    private func durations(_ operation: Operation, _ work: ThreadWork) -> [UInt64] {
        switch operation {
        case .getHit: [get(work.present)]
        case .getMiss: [get(work.missing)]
        case .setOverwrite: [set(work.present, 0..<work.present.count)]
        case .setNewThenDelete:
            work.groups.reduce(into: [0, 0]) { sums, group in
                sums[0] += set(work.new, group)
                sums[1] += remove(work.removed, group)
            }
        }
    }
}

final class EngineSubject: SpeedSubject {
    let store = makeStore()
    let keyCount: Int

    init(keyCount: Int) {
        self.keyCount = keyCount
        let scratch = ItemScratch()
        let now = wallClockMilliseconds()
        for index in 0..<keyCount {
            let isStored = store.handle.set(scratch.key(index), scratch.value(index), now: now)
            precondition(isStored, "no memory for \(keyCount) keys")
        }
        settle(store)
    }

    /// Between rounds: the background does not run beside this benchmark.
    func rest() { settle(store, seconds: 5) }

    func get(_ items: Items) -> UInt64 {
        let handle = store.handle, keys = items.keys, now = wallClockMilliseconds()
        var sum: UInt64 = 0
        let watch = Stopwatch()
        for position in 0..<keys.count {
            sum &+= handle.withKey(keys[position], now: now) { keyspace, key in firstByte(keyspace.read(key)) }
        }
        let duration = watch.nanoseconds
        use(sum)
        return duration
    }

    func set(_ items: Items, _ range: Range<Int>) -> UInt64 {
        let handle = store.handle, now = wallClockMilliseconds()
        let keys = items.keys, values = items.values
        var isStored = true
        let watch = Stopwatch()
        for position in range {
            isStored = handle.set(keys[position], values[position], now: now) && isStored
        }
        let duration = watch.nanoseconds
        precondition(isStored, "no memory")
        return duration
    }

    func remove(_ items: Items, _ range: Range<Int>) -> UInt64 {
        let handle = store.handle, keys = items.keys, now = wallClockMilliseconds()
        var removedCount = 0
        let watch = Stopwatch()
        for position in range {
            if handle.withKey(keys[position], now: now, { keyspace, key in keyspace.remove(key) }) { removedCount += 1 }
        }
        let duration = watch.nanoseconds
        precondition(removedCount == range.count, "a key was lost")
        return duration
    }

    /// The same work in batches: all keys are hashed, their stripes locked, their cells prefetched, then used.
    func batched(_ work: ThreadWork, size: Int, isWrite: Bool) -> UInt64 {
        guard size > 1 else {
            return isWrite ? set(work.present, 0..<work.present.count) : get(work.present)
        }
        let handle = store.handle, now = wallClockMilliseconds()
        let items = work.present, bytes = items.keys, values = items.values
        let keys = UnsafeMutableBufferPointer<Key>.allocate(capacity: size)
        defer { keys.deallocate() }
        keys.initialize(repeating: Key(bytes[0], seed: handle.seed))
        var sum: UInt64 = 0
        let watch = Stopwatch()
        for first in stride(from: 0, to: bytes.count, by: size) {
            let count = min(size, bytes.count - first)
            var stripes = StripeSet()
            for index in 0..<count {
                keys[index] = Key(bytes[first + index], seed: handle.seed)
                stripes.insert(keys[index].stripeIndex)
            }
            handle.lock(stripes)
            handle.prefetch(UnsafeBufferPointer(rebasing: keys[0..<count]), databaseIndex: 0)
            let keyspace = handle.keyspace(0, nowMilliseconds: now, held: stripes)
            if isWrite {
                for index in 0..<count { try? keyspace.setString(keys[index], values[first + index]) }
            } else {
                for index in 0..<count { sum &+= firstByte(keyspace.read(keys[index])) }
            }
            handle.unlock(stripes)
        }
        let duration = watch.nanoseconds
        use(sum)
        return duration
    }
}

final class DictionarySubject: SpeedSubject {
    private let dictionary = Mutex<[[UInt8]: [UInt8]]>([:])
    let keyCount: Int

    init(keyCount: Int) {
        self.keyCount = keyCount
        dictionary.withLock { dictionary in
            for index in 0..<keyCount { dictionary[itemArray(.key, index)] = itemArray(.value, index) }
        }
    }

    func rest() {}

    func get(_ items: Items) -> UInt64 {
        var sum: UInt64 = 0
        let watch = Stopwatch()
        for key in items.keyArrays {
            if let value = dictionary.withLock({ $0[key] }) { sum &+= UInt64(value[0]) }
        }
        let duration = watch.nanoseconds
        use(sum)
        return duration
    }

    func set(_ items: Items, _ range: Range<Int>) -> UInt64 {
        let watch = Stopwatch()
        for position in range {
            let key = items.keyArrays[position], value = items.valueArrays[position]
            dictionary.withLock { $0[key] = value }
        }
        return watch.nanoseconds
    }

    func remove(_ items: Items, _ range: Range<Int>) -> UInt64 {
        var removedCount = 0
        let watch = Stopwatch()
        for position in range {
            let key = items.keyArrays[position]
            if dictionary.withLock({ $0.removeValue(forKey: key) }) != nil { removedCount += 1 }
        }
        let duration = watch.nanoseconds
        precondition(removedCount == range.count)
        return duration
    }
}
