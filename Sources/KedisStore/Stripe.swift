// A stripe: the share of the keyspace whose hashes start with the same 6 bits, in all databases, and what guards it.
//
// Everything but `lock`, `earliestDeadlineMilliseconds` and `usedByteCount` is touched only by the thread that holds
// the lock.

import KedisUtilities
import Synchronization

/// Counters of one stripe. Sums over all stripes are what INFO shows.
package struct StripeStatistics: Sendable {
    /// Lookups for reading that found a key, and that did not.
    package var hits: UInt64 = 0
    package var misses: UInt64 = 0
    /// Keys removed because their deadline had passed.
    package var expired: UInt64 = 0
    /// Changes to the data since the store was opened.
    package var changes: UInt64 = 0
}

/// Counters that are seldom touched, and so are not beside the lock.
package struct RareStripeStatistics: Sendable {
    /// Members of collections that went because their deadlines had passed.
    package var expiredMembers: UInt64 = 0
    /// Keys removed to make room.
    package var evicted: UInt64 = 0
}

/// Counters of tables and arenas that a stripe no longer has.
struct FormerWork {
    var slowPaths = SlowPathWork()
    var movedCellCount: UInt64 = 0
    var releasedSlabCount: UInt64 = 0
}

struct Stripe: ~Copyable {
    /// First: the thread sanitizer takes a change of any field for an access to the first bytes of the stripe, and
    /// those must not be what other threads use without the lock.
    /// With what follows up to `tables` it fills the first cache line: the only one of them that a lookup touches.
    var statistics = StripeStatistics()
    let lock = StripeLock()
    /// A hint for the expiry tick, read without the lock: no deadline in this stripe is earlier.
    let earliestDeadlineMilliseconds = Atomic<Int64>(.max)
    /// One table for each database, made when the database is first used here.
    private let tables: UnsafeMutablePointer<UnsafeMutablePointer<Table>?>
    /// The live bytes of all tables, read without the lock: in a line of its own.
    let usedByteCount: UnsafeMutablePointer<ByteCounter>
    /// The memory of the cells of all tables, made with the first one.
    private var arenaPointer: UnsafeMutablePointer<Arena>?
    let databaseCount: Int
    /// How many of them are there, and the number behind the last one that ever was.
    private var tableCount = 0
    private var tableEnd = 0
    let index: Int
    private let source: UnsafeMutablePointer<MemorySource>
    private let seed: HashSeed
    /// Draws for the access counters of LFU.
    var generator: RandomGenerator
    /// Candidates for eviction, best last.
    var evictionPool = EvictionPool()
    var maintenance = StripeMaintenance()
    var rareStatistics = RareStripeStatistics()
    /// What was counted in tables and arenas that are gone.
    private(set) var former = FormerWork()
    /// Fills the last cache line, so that no line belongs to two stripes (`Store.init` checks).
    private let padding: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0)

    init(index: Int, databaseCount: Int, seed: HashSeed, source: UnsafeMutablePointer<MemorySource>) {
        self.index = index
        self.databaseCount = databaseCount
        self.seed = seed
        self.source = source
        generator = RandomGenerator(seed: hashBytes("stripe", seed: seed) &+ UInt64(index))
        let line = UnsafeMutableRawPointer.allocate(
            byteCount: MemorySource.lineByteCount, alignment: MemorySource.lineByteCount)
        usedByteCount = line.bindMemory(to: ByteCounter.self, capacity: 1)
        usedByteCount.initialize(to: ByteCounter())
        tables = .allocate(capacity: databaseCount)
        tables.initialize(repeating: nil, count: databaseCount)
    }

    deinit {
        precondition(arenaPointer == nil, "a stripe is emptied before it goes")
        tables.deallocate()
        usedByteCount.deinitialize(count: 1)
        UnsafeMutableRawPointer(usedByteCount).deallocate()
    }

    /// The table of a database, or nil when the database was never used here.
    @inline(__always)
    func table(_ databaseIndex: Int) -> UnsafeMutablePointer<Table>? {
        assert(databaseIndex >= 0 && databaseIndex < databaseCount)
        return tables[databaseIndex]
    }

    /// The table of a database, made now when there is none; nil when memory is exhausted.
    @inline(__always)
    mutating func tableForWriting(_ databaseIndex: Int) -> UnsafeMutablePointer<Table>? {
        tables[databaseIndex] ?? makeTableSlowly(databaseIndex)
    }

    @inline(never)
    private mutating func makeTableSlowly(_ databaseIndex: Int) -> UnsafeMutablePointer<Table>? {
        if arenaPointer == nil { arenaPointer = Arena.make(source: source, seed: seed) }
        guard let arenaPointer,
            let table = Table.make(arena: arenaPointer, stripeIndex: index, stripeByteCount: usedByteCount)
        else { return nil }
        tables[databaseIndex] = table
        tableCount += 1
        tableEnd = max(tableEnd, databaseIndex + 1)
        return table
    }

    mutating func swapTables(_ first: Int, _ second: Int) {
        tableEnd = max(tableEnd, max(first, second) + 1)
        (tables[first], tables[second]) = (tables[second], tables[first])
    }

    /// Takes a database's table out, if it has one. Its bytes are no longer used from now on.
    mutating func detachTable(_ databaseIndex: Int) -> DetachedTable? {
        guard let table = tables[databaseIndex] else { return nil }
        tables[databaseIndex] = nil
        tableCount -= 1
        let byteCount = table.pointee.byteCount
        table.pointee.detach()
        former.slowPaths.add(table.pointee.work)
        maintenance = StripeMaintenance()
        var detached = DetachedTable(table: table, ownedArena: nil, stripeIndex: index, byteCount: byteCount)
        if tableCount == 0 {
            detached.ownedArena = arenaPointer
            former.movedCellCount &+= arenaPointer?.pointee.movedCellCount ?? 0
            former.releasedSlabCount &+= arenaPointer?.pointee.releasedSlabCount ?? 0
            arenaPointer = nil
        } else {
            // Slabs that were to be emptied take cells again: a walk begins anew when it is worth it.
            arenaPointer?.pointee.endEvacuation()
        }
        return detached
    }

    var arena: UnsafeMutablePointer<Arena>? { arenaPointer }

    func forEachTable(_ body: (Int, UnsafeMutablePointer<Table>) -> Void) {
        guard tableCount > 0 else { return }
        for index in 0..<tableEnd {
            if let table = tables[index] { body(index, table) }
        }
    }

    /// Frees all tables and the arena, at the end of the store.
    mutating func removeAll(to reclaimer: borrowing Reclaimer) {
        for index in 0..<databaseCount {
            guard let table = tables[index] else { continue }
            while !table.pointee.releaseSome(withCells: false, to: reclaimer) {}
            Table.release(table, to: source)
            tables[index] = nil
        }
        tableCount = 0
        if let arenaPointer { Arena.release(arenaPointer) }
        arenaPointer = nil
    }

    /// Lowers the expiry tick's hint to `deadlineMilliseconds`.
    @inline(__always)
    func noteDeadline(_ deadlineMilliseconds: Int64) {
        if deadlineMilliseconds < earliestDeadlineMilliseconds.load(ordering: .relaxed) {
            earliestDeadlineMilliseconds.store(deadlineMilliseconds, ordering: .relaxed)
        }
    }

    func checkInvariants() {
        var byteCount = 0
        var cellByteCount = 0
        var count = 0
        forEachTable { _, table in
            count += 1
            table.pointee.checkInvariants()
            byteCount += table.pointee.byteCount
            cellByteCount += table.pointee.cellByteCount
            precondition(
                table.pointee.expiry.nextDueMilliseconds >= earliestDeadlineMilliseconds.load(ordering: .relaxed))
        }
        precondition(count == tableCount)
        precondition(byteCount == usedByteCount.pointee.current, "the sum of bytes is that of the tables")
        guard let arena else { return }
        arena.pointee.checkInvariants()
        precondition(arena.pointee.liveUnitCount * SizeClass.unitByteCount >= cellByteCount)
    }
}
