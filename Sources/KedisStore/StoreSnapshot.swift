// The state of the whole store at one instant, read while others go on changing it.
//
//      hash order ─▶      behind the threshold          ahead of it
//      a table    ┌─────────────────────────────┬──────────────────────────────────────┐
//                 │ was taken: anybody's to     │ not yet: who changes a key first     │
//                 │ change                      │ leaves a copy here, and a mark on it │
//                 └─────────────────────────────┴──────────────────────────────────────┘
//                                  threshold ─▶ moves on with each slice
//
// `beginSnapshot`, under all locks, gives each table the threshold 0: an instant, whatever the size. From then on a
// key ahead of its table's threshold is copied before its first change (`Table.preserve`) and marked, and a key that
// is made there is born marked. The walk takes slices in hash order under one stripe's lock: it copies what has no
// mark, takes the marks away, and moves the threshold. So every key of that instant comes once, and as it was. Tables
// that are flushed meanwhile come here, and on to the reclaimer once they were walked.
//
// Ownership: who began it, until `next` has answered false; the store knows it meanwhile. Threads: `next` is called by
// one; `preserve` and `adopt` by any that holds the stripe. One snapshot at a time.
// Memory: a slice, and copies that wait; beyond `waitingByteCountMax` who adds one waits until some were taken.

import CKedis
import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

package final class StoreSnapshot: @unchecked Sendable {
    // Sendable: see the head of the file.

    package struct DatabaseCounts: Sendable {
        package var index: Int
        package var keyCount: Int
        package var deadlineCount: Int
    }

    /// Databases with keys at the instant, and how many, those that are due among them.
    package let databases: [DatabaseCounts]
    /// The store's count of changes at the instant.
    package let changes: UInt64
    private let nowMilliseconds: Int64
    private let store: Store

    /// Copies that wait are taken at once from here on, before the walk goes on.
    private static let waitingByteCountSoftMax = 4 << 20
    /// Who would add more waits.
    private static let waitingByteCountMax = 32 << 20
    /// A slice ends behind the home that exceeds one of these: it is copied under a lock, in about 2 microseconds.
    private static let sliceKeyCount = 32
    private static let sliceByteCount = 16 << 10

    /// Homes with about as many keys as a slice.
    private static let prefetchedHomeCount = 4

    private let lock = StripeLock()
    /// Guarded by the lock: what was copied before it was changed.
    private var waiting = CellBatch()
    /// What `waiting` takes, for those who look without the lock.
    private let waitingByteCount = Atomic<Int>(0)
    /// Guarded by the lock: tables that left their databases, first in, first out, linked through themselves.
    private var firstDetached: UnsafeMutablePointer<Table>?
    private var lastDetached: UnsafeMutablePointer<Table>?
    private let abandoned = Atomic<Bool>(false)
    private let incomplete = Atomic<Bool>(false)

    // The walker's.
    private var spare = CellBatch()
    private var position = 0
    private var stripeIndex = 0
    private var isEnded = false

    fileprivate init(store: Store, databases: [DatabaseCounts], nowMilliseconds: Int64) {
        self.store = store
        self.databases = databases
        self.nowMilliseconds = nowMilliseconds
        changes = store.statistics(held: .all).changes
    }

    deinit { assert(isEnded, "a snapshot is walked to its end") }

    /// There was no memory for a copy: a key is missing.
    package var isIncomplete: Bool { incomplete.load(ordering: .acquiring) }

    /// Nobody wants the rest: nothing is copied any more. ``next(_:)`` is called on to the end nevertheless, which
    /// takes the marks away.
    package func abandon() { abandoned.store(true, ordering: .releasing) }

    private var isAbandoned: Bool { abandoned.load(ordering: .acquiring) }

    // MARK: Those who change keys

    /// Copies an entry that is about to be changed and was not taken yet. Its stripe is locked.
    fileprivate func preserve(_ cell: Cell, databaseIndex: Int) {
        guard !isAbandoned else { return }
        while waitingByteCount.load(ordering: .relaxed) > Self.waitingByteCountMax, !isAbandoned {
            // The walk never waits for a stripe while so much waits for it.
            usleep(50)
        }
        lock.lock()
        if !waiting.append(cell, databaseIndex: databaseIndex) { incomplete.store(true, ordering: .releasing) }
        waitingByteCount.store(waiting.byteCount, ordering: .relaxed)
        lock.unlock()
    }

    /// Takes over a table that has left its database. All stripes are locked.
    func adopt(_ detached: DetachedTable) {
        lock.lock()
        detached.table.pointee.waiting = (detached, nil)
        if let lastDetached {
            lastDetached.pointee.waiting?.next = detached.table
        } else {
            firstDetached = detached.table
        }
        lastDetached = detached.table
        lock.unlock()
    }

    // MARK: The walk

    /// Calls `body` with the next entries of the snapshot, in no order, each valid during the call; false when there
    /// are no more. No stripe may be held.
    package func next(_ body: (_ databaseIndex: Int, Entry) -> Void) -> Bool {
        guard !isEnded else { return false }
        takeWaiting()
        if !spare.isEmpty {
            give(body)
            return true
        }
        if let table = firstOfDetached() {
            walk(detached: table)
        } else if position < databases.count {
            walkLive()
        } else if end() {
            return false
        }
        give(body)
        return true
    }

    private func takeWaiting() {
        lock.lock()
        swap(&waiting, &spare)
        waitingByteCount.store(0, ordering: .relaxed)
        lock.unlock()
    }

    private func give(_ body: (Int, Entry) -> Void) {
        spare.drain(to: store.shared.pointee.reclaimer) { databaseIndex, entry in
            if isThere(entry.cell) { body(databaseIndex, entry) }
        }
    }

    /// Whether an entry was there at the instant, not due.
    private func isThere(_ cell: Cell) -> Bool {
        guard !isAbandoned else { return false }
        let header = cell.header
        guard header.hasAnyDeadline else { return true }
        let deadline = cell.deadlineMilliseconds
        if deadline != noDeadline, deadline <= nowMilliseconds { return false }
        return !header.hasMemberDeadlines || cell.collection?.hasLiveMember(nowMilliseconds) ?? true
    }

    /// A slice of the databases, stripe by stripe.
    private func walkLive() {
        let databaseIndex = databases[position].index
        let stripe = store.stripes + stripeIndex
        guard lockUnlessMuchWaits(stripe) else { return }
        let table = table(of: databaseIndex, in: stripe)
        let isDone = table.map { walkSlice($0) } ?? true
        stripe.pointee.lock.unlock()
        guard isDone else { return }
        stripeIndex += 1
        guard stripeIndex == Store.stripeCount else { return }
        stripeIndex = 0
        position += 1
    }

    /// Locks a stripe; false when copies have come meanwhile that must be taken first, as their makers may hold it.
    private func lockUnlessMuchWaits(_ stripe: UnsafeMutablePointer<Stripe>) -> Bool {
        while !stripe.pointee.lock.tryLock() {
            guard waitingByteCount.load(ordering: .relaxed) < Self.waitingByteCountSoftMax else { return false }
            kedis_spin_hint()
        }
        return true
    }

    /// The table that was this database's at the instant, unless it was walked or flushed: SWAPDB takes it elsewhere.
    private func table(
        of databaseIndex: Int, in stripe: UnsafeMutablePointer<Stripe>
    ) -> UnsafeMutablePointer<Table>? {
        let isWanted = { (table: UnsafeMutablePointer<Table>) in
            table.pointee.snapshot != nil && table.pointee.snapshotDatabaseIndex == databaseIndex
        }
        if let table = stripe.pointee.table(databaseIndex), isWanted(table) { return table }
        var found: UnsafeMutablePointer<Table>?
        stripe.pointee.forEachTable { if isWanted($1) { found = $1 } }
        return found
    }

    /// A slice of a table, whose stripe is locked; true at its end.
    private func walkSlice(_ table: UnsafeMutablePointer<Table>) -> Bool {
        let databaseIndex = table.pointee.snapshotDatabaseIndex
        var threshold = table.pointee.unsavedFrom
        let isNeeded = !isAbandoned
        var budget = Table.ScanBudget(keyCount: Self.sliceKeyCount, homeCount: 8 * Self.sliceKeyCount)
        repeat {
            var home = Table.ScanBudget(keyCount: 1, homeCount: 16)
            let next = table.pointee.scan(from: threshold, budget: &home) { cell, _ in
                budget.keyCount -= 1
                if cell.header.isPreserved {
                    cell.header.isPreserved = false
                } else if isNeeded, !spare.append(cell, databaseIndex: databaseIndex) {
                    incomplete.store(true, ordering: .releasing)
                }
            }
            budget.homeCount -= 16 - home.homeCount
            guard let next else {
                table.pointee.leaveSnapshot()
                return true
            }
            threshold = next
        } while !budget.isSpent && spare.byteCount < Self.sliceByteCount
        table.pointee.unsavedFrom = threshold
        // Those of the next slice are on their way while this one is encoded.
        table.pointee.prefetchCells(from: threshold, homeCount: Self.prefetchedHomeCount)
        return false
    }

    private func firstOfDetached() -> UnsafeMutablePointer<Table>? {
        lock.lock()
        defer { lock.unlock() }
        return firstDetached
    }

    /// A slice of a table that was flushed; its cells may lie among those of others in its stripe.
    private func walk(detached table: UnsafeMutablePointer<Table>) {
        guard let (item, _) = table.pointee.waiting else { return }
        let stripe = store.stripes + item.stripeIndex
        guard lockUnlessMuchWaits(stripe) else { return }
        let isDone = table.pointee.snapshot == nil || walkSlice(table)
        stripe.pointee.lock.unlock()
        guard isDone else { return }
        lock.lock()
        firstDetached = table.pointee.waiting?.next
        if firstDetached == nil { lastDetached = nil }
        lock.unlock()
        store.shared.pointee.reclaimer.add(.table(item))
    }

    /// Leaves the store, unless a table has come meanwhile.
    private func end() -> Bool {
        store.lock(.all)
        defer { store.unlock(.all) }
        guard firstDetached == nil, waiting.isEmpty else { return false }
        store.shared.pointee.snapshot = nil
        isEnded = true
        return true
    }
}

extension Store {
    /// Begins a snapshot of this instant; nil while there is another one. All stripes are locked.
    /// O(stripes · databases).
    ///
    /// - Parameter nowMilliseconds: what is due then is not in the snapshot.
    package func beginSnapshot(nowMilliseconds: Int64) -> StoreSnapshot? {
        guard shared.pointee.snapshot == nil else { return nil }
        var databases: [StoreSnapshot.DatabaseCounts] = []
        for index in 0..<databaseCount {
            let keyspace = keyspace(index, nowMilliseconds: nowMilliseconds, held: .all)
            let keyCount = keyspace.count
            guard keyCount > 0 else { continue }
            databases.append(
                StoreSnapshot.DatabaseCounts(
                    index: index, keyCount: keyCount, deadlineCount: keyspace.deadlineCount))
        }
        let snapshot = StoreSnapshot(store: self, databases: databases, nowMilliseconds: nowMilliseconds)
        for index in 0..<Store.stripeCount {
            // What comes to an empty one is not of this instant.
            stripes[index].forEachTable { databaseIndex, table in
                guard table.pointee.count > 0 else { return }
                table.pointee.enter(Unmanaged.passUnretained(snapshot), databaseIndex: databaseIndex)
            }
        }
        shared.pointee.snapshot = Unmanaged.passUnretained(snapshot)
        return snapshot
    }
}

extension Table {
    fileprivate mutating func enter(_ snapshot: Unmanaged<StoreSnapshot>, databaseIndex: Int) {
        self.snapshot = snapshot
        snapshotDatabaseIndex = databaseIndex
        unsavedFrom = stripeBits
    }

    fileprivate mutating func leaveSnapshot() {
        snapshot = nil
        unsavedFrom = .max
    }

    /// To be called before an entry is changed or removed: a snapshot that has yet to take it gets a copy. O(1), or
    /// O(bytes) once.
    @inline(__always)
    func preserve(_ cell: Cell, hash: UInt64) {
        if hash >= unsavedFrom { preserveSlowly(cell) }
    }

    @inline(never)
    private func preserveSlowly(_ cell: Cell) {
        guard let snapshot, !cell.header.isPreserved else { return }
        snapshot._withUnsafeGuaranteedRef { $0.preserve(cell, databaseIndex: snapshotDatabaseIndex) }
        cell.header.isPreserved = true
    }

    /// To be called when a slot gets a cell that was not there: no snapshot is to have it.
    @inline(__always)
    func noteBirth(_ cell: Cell, hash: UInt64) {
        if hash >= unsavedFrom, snapshot != nil { cell.header.isPreserved = true }
    }
}
