// A stripe: the share of the keyspace whose hashes start with the same 6 bits, in all databases, and what guards it.
//
// Everything but `lock` and `earliestDeadlineMilliseconds` is touched only by the thread that holds the lock.

import KedisUtilities
import Synchronization

/// Counters of one stripe. Sums over all stripes are what INFO shows.
package struct StripeStatistics: Sendable {
    /// Lookups for reading that found a key, and that did not.
    package var hits: UInt64 = 0
    package var misses: UInt64 = 0
    /// Keys removed because their deadline had passed.
    package var expired: UInt64 = 0
    /// Keys removed to make room.
    package var evicted: UInt64 = 0
    /// Changes to the data since the store was opened.
    package var changes: UInt64 = 0

    package init() {}

    package mutating func add(_ other: StripeStatistics) {
        hits &+= other.hits
        misses &+= other.misses
        expired &+= other.expired
        evicted &+= other.evicted
        changes &+= other.changes
    }
}

struct Stripe: ~Copyable {
    /// First: the thread sanitizer takes a change of any field for an access to the first bytes of the stripe, and
    /// those must not be what other threads use without the lock.
    var statistics = StripeStatistics()
    let lock = StripeLock()
    /// A hint for the expiry tick, read without the lock: no deadline in this stripe is earlier.
    let earliestDeadlineMilliseconds = Atomic<Int64>(.max)
    /// One table for each database, made when the database is first used here.
    private let tables: UnsafeMutablePointer<UnsafeMutablePointer<Table>?>
    private let databaseCount: Int

    init(databaseCount: Int) {
        self.databaseCount = databaseCount
        tables = .allocate(capacity: databaseCount)
        tables.initialize(repeating: nil, count: databaseCount)
    }

    deinit {
        for index in 0..<databaseCount {
            guard let table = tables[index] else { continue }
            table.deinitialize(count: 1)
            table.deallocate()
        }
        tables.deallocate()
    }

    /// The table of a database, or nil when the database was never used here.
    @inline(__always)
    func table(_ databaseIndex: Int) -> UnsafeMutablePointer<Table>? {
        assert(databaseIndex >= 0 && databaseIndex < databaseCount)
        return tables[databaseIndex]
    }

    /// The table of a database, made now when there is none.
    @inline(__always)
    func tableForWriting(_ databaseIndex: Int) -> UnsafeMutablePointer<Table> {
        tables[databaseIndex] ?? makeTableSlowly(databaseIndex)
    }

    @inline(never)
    private func makeTableSlowly(_ databaseIndex: Int) -> UnsafeMutablePointer<Table> {
        let table = UnsafeMutablePointer<Table>.allocate(capacity: 1)
        table.initialize(to: Table())
        tables[databaseIndex] = table
        return table
    }

    func swapTables(_ first: Int, _ second: Int) {
        (tables[first], tables[second]) = (tables[second], tables[first])
    }

    /// Takes a database's table out; the caller frees it, which can happen without the lock.
    func detachTable(_ databaseIndex: Int) -> DetachedTable? {
        guard let table = tables[databaseIndex] else { return nil }
        tables[databaseIndex] = nil
        return DetachedTable(table: table)
    }

    /// Lowers the expiry tick's hint to `deadlineMilliseconds`.
    @inline(__always)
    func noteDeadline(_ deadlineMilliseconds: Int64) {
        if deadlineMilliseconds < earliestDeadlineMilliseconds.load(ordering: .relaxed) {
            earliestDeadlineMilliseconds.store(deadlineMilliseconds, ordering: .relaxed)
        }
    }

    var allocatedByteCount: Int {
        (0..<databaseCount).reduce(0) { $0 + (tables[$1]?.pointee.allocatedByteCount ?? 0) }
    }

    func checkInvariants() {
        for index in 0..<databaseCount {
            guard let table = tables[index] else { continue }
            table.pointee.checkInvariants()
            precondition(
                table.pointee.expiryQueue.earliestMilliseconds >= earliestDeadlineMilliseconds.load(ordering: .relaxed))
        }
    }
}

/// A table that belongs to no stripe any more: freed when this value goes away.
struct DetachedTable: ~Copyable {
    let table: UnsafeMutablePointer<Table>

    deinit {
        table.deinitialize(count: 1)
        table.deallocate()
    }
}
