// The biggest keys of those that were used: found while serving, not by a scan.
//
// Looked at are the keys of accesses in the sample (KeySampler.swift), and all keys of commands that may take long or
// bring much. So a key that grows by many small commands is found after some of them, a large value at once, and what
// nobody has used since the start is not known.
//
// Ownership: the engine's. Threads: any; a lock, taken for keys that belong to the biggest. A lower bound in an atomic
// says so of most without it. Bounds: 64 keys, each of 4 KiB at most. Cost: measuring an entry, which is in the cache;
// a stale place is put right 20 times a second, one at a time.

package import KedisStore
import KedisUtilities
import Synchronization

package final class BigKeys: Sendable {
    package struct Entry: Sendable {
        package let key: [UInt8]
        package let databaseIndex: Int
        package fileprivate(set) var measure: EntryMeasure
        fileprivate let hash: UInt64
    }

    private struct State {
        var entries: [Entry] = []
        var countMax = 0
        /// The next one that is put right.
        var cursor = 0
    }

    private let state = Locked(State())
    /// Smaller keys do not belong to the biggest; `.max` while nobody looks for any.
    private let byteCountMin = Atomic<Int>(.max)
    private static let keyByteCountMax = 4096

    /// Follows the directive.
    func limit(count: Int) {
        state.withLock { state in
            state.countMax = count
            while state.entries.count > count { state.entries.removeSmallest() }
            updateBound(state)
        }
    }

    private func updateBound(_ state: borrowing State) {
        let isFull = state.entries.count >= state.countMax
        let smallest = state.entries.map(\.measure.byteCount).min() ?? 0
        byteCountMin.store(state.countMax == 0 ? .max : isFull ? smallest + 1 : 0, ordering: .relaxed)
    }

    // MARK: Writing

    /// Looks at a key, whose stripe is locked.
    @inline(__always)
    func note(_ key: Key, _ keyspace: Keyspace) {
        let bound = byteCountMin.load(ordering: .relaxed)
        guard bound != .max, let measure = keyspace.measure(key), measure.byteCount >= bound else { return }
        noteSlowly(key, keyspace.databaseIndex, measure)
    }

    @inline(never)
    private func noteSlowly(_ key: Key, _ databaseIndex: Int, _ measure: EntryMeasure) {
        guard key.bytes.count <= Self.keyByteCountMax else { return }
        state.withLock { state in
            guard state.countMax > 0 else { return }
            if let index = state.entries.firstIndex(where: {
                $0.hash == key.hash && $0.databaseIndex == databaseIndex
            }) {
                state.entries[index].measure = measure
            } else {
                if state.entries.count >= state.countMax { state.entries.removeSmallest() }
                state.entries.append(
                    Entry(key: key.bytes.bytes, databaseIndex: databaseIndex, measure: measure, hash: key.hash))
            }
            updateBound(state)
        }
    }

    /// Looks again at one of the keys, so that those that have shrunk or gone make room. Nothing is locked.
    func refreshOne(_ store: Store, nowMilliseconds: Int64) {
        let entry = state.withLock { state -> Entry? in
            guard !state.entries.isEmpty else { return nil }
            state.cursor = (state.cursor + 1) % state.entries.count
            return state.entries[state.cursor]
        }
        guard let entry else { return }
        let measure = Self.measure(entry, store, nowMilliseconds, held: StripeSet())
        state.withLock { state in
            Self.put(measure, for: entry, &state.entries)
            updateBound(state)
        }
    }

    private static func measure(
        _ entry: Entry, _ store: Store, _ nowMilliseconds: Int64, held: StripeSet
    ) -> EntryMeasure? {
        entry.key.withUnsafeBytes { bytes in
            store.measure(
                Key(ByteView(bytes), hash: entry.hash), databaseIndex: entry.databaseIndex,
                nowMilliseconds: nowMilliseconds, held: held)
        }
    }

    private static func put(_ measure: EntryMeasure?, for entry: Entry, _ entries: inout [Entry]) {
        guard
            let index = entries.firstIndex(where: {
                $0.hash == entry.hash && $0.databaseIndex == entry.databaseIndex
            })
        else { return }
        if let measure { entries[index].measure = measure } else { entries.remove(at: index) }
    }

    // MARK: Reading

    /// The keys as they are now, the biggest first. Locks the stripe of one after the other, but for those in `held`.
    package func current(_ store: Store, nowMilliseconds: Int64, held: StripeSet) -> [Entry] {
        let known = state.withLock { $0.entries }
        let measured = known.map { ($0, Self.measure($0, store, nowMilliseconds, held: held)) }
        return state.withLock { state in
            for (entry, measure) in measured { Self.put(measure, for: entry, &state.entries) }
            updateBound(state)
            return state.entries.sorted {
                $0.measure.byteCount != $1.measure.byteCount
                    ? $0.measure.byteCount > $1.measure.byteCount : $0.key.lexicographicallyPrecedes($1.key)
            }
        }
    }

    /// BIGKEYS RESET
    package func reset() {
        state.withLock { state in
            state.entries = []
            updateBound(state)
        }
    }
}

extension [BigKeys.Entry] {
    fileprivate mutating func removeSmallest() {
        guard let index = indices.min(by: { self[$0].measure.byteCount < self[$1].measure.byteCount }) else { return }
        remove(at: index)
    }
}
