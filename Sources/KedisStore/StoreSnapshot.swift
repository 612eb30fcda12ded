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
// Memory: a step, and copies that wait, which SnapshotBacklog.swift keeps few. Large collections are read piece by
// piece (CollectionPieces.swift).

import CKedis
package import KedisUtilities

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
    private let store: Store
    /// Any database at the instant: what was due then it says.
    private let instant: Keyspace

    /// Copies that wait are taken at once from here on, before the walk goes on.
    private static let waitingByteCountSoftMax = 4 << 20
    /// A store of 512 MiB or more may let half of its size wait, and is pressed from a sixteenth on.
    fileprivate static let waitingByteCountMin = 256 << 20
    /// Up to this size the copy of a collection takes less than reading it piece by piece: some tens of microseconds.
    package static let copiedByteCountMax = 64 << 10
    /// A slice ends behind the home that exceeds one of these: it is copied under a lock, in about 2 microseconds
    /// unless there are large collections.
    private static let sliceKeyCount = 32
    private static let sliceByteCount = 16 << 10

    /// A step of the walk ends behind the slice that exceeds one of these; the first are of one slice.
    private static let stepByteCount = 128 << 10
    private static let stepSliceCountMax = 64

    /// Homes with about as many keys as a slice.
    private static let prefetchedHomeCount = 4

    private let lock = StripeLock()
    /// Guarded by the lock: what was copied before it was changed.
    private let waiting: CellBatch
    /// What `waiting` takes, and pieces of large collections.
    private let backlog: SnapshotBacklog
    private let copiedByteCountMax: Int
    /// Guarded by the lock: tables that left their databases.
    private var detachedTables = DetachedTableQueue()
    /// Of each stripe, how many of these share their arena with tables that are still there, or were then.
    private var sharingCounts = [Int](repeating: 0, count: Store.stripeCount)

    // The walker's.
    private let spare: CellBatch
    private var stepCount = 0
    private var position = 0
    private var stripeIndex = 0
    private var isEnded = false

    fileprivate init(
        store: Store, databases: [DatabaseCounts], nowMilliseconds: Int64, waitingByteCountMax: Int,
        copiedByteCountMax: Int, room: PieceRoom?
    ) {
        self.store = store
        self.copiedByteCountMax = copiedByteCountMax
        backlog = SnapshotBacklog(
            byteCountMax: waitingByteCountMax, storeByteCount: store.usedByteCount, shared: store.shared, room: room)
        (waiting, spare) = (CellBatch(backlog), CellBatch(backlog))
        self.databases = databases
        instant = store.keyspace(0, nowMilliseconds: nowMilliseconds)
        changes = store.statistics(held: .all).changes
    }

    deinit { assert(isEnded, "a snapshot is walked to its end") }

    /// There was no memory for a copy: a key is missing.
    package var isIncomplete: Bool { backlog.isIncomplete }

    /// It was given up, as what was changed meanwhile was not taken in time: the disk is too slow for it.
    package var isOverrun: Bool { backlog.isOverrun }

    /// Nobody wants the rest: nothing is copied any more. ``next(_:)`` is called on to the end nevertheless, which
    /// takes the marks away.
    package func abandon() { backlog.abandon() }

    /// Whether so much waits to be taken that a walk does not rest that yields to others in any case, or does not.
    package func hasMuchWaiting(isYielding: Bool) -> Bool { isYielding ? backlog.isFilling : backlog.isHurrying }

    private var isAbandoned: Bool { backlog.isAbandoned }

    // MARK: Those who change keys

    /// Copies an entry that is about to be changed and was not taken yet, but for a collection that is handed over as
    /// the entry goes. Its stripe is locked. False when the snapshot did not take it.
    fileprivate func preserve(_ cell: Cell, databaseIndex: Int, handsOverCollection: Bool) -> Bool {
        backlog.waitForRoom()
        guard !isAbandoned else { return false }
        // A copy is made before the lock is taken.
        let isTaken =
            handsOverCollection
            ? wait(cell, databaseIndex, cell.collection, countsCollection: false)
            : withCopiedCollection(of: cell) { wait(cell, databaseIndex, $0, countsCollection: true) }
        if !isTaken { backlog.noteIncomplete() }
        return isTaken
    }

    private func wait(
        _ cell: Cell, _ databaseIndex: Int, _ collection: Collection?, countsCollection: Bool
    ) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        let isTaken = waiting.append(
            cell, databaseIndex: databaseIndex, collection: collection, countsCollection: countsCollection)
        backlog.setCells(byteCount: waiting.byteCount)
        return isTaken
    }

    /// Gives a copy of the collection of a cell, or what stands for it, nil when it has none, to `append`, which takes
    /// it over unless it answers false. False when memory is exhausted.
    private func withCopiedCollection(of cell: Cell, _ append: (Collection?) -> Bool) -> Bool {
        guard let original = cell.collection else { return append(nil) }
        let made = original.frozen(copiedByteCountMax: copiedByteCountMax, backlog: backlog)
        guard let copy = made else { return false }
        if append(copy) { return true }
        copy.release()
        return false
    }

    /// Takes over a table that has left its database, if the snapshot has yet to take keys of it, or one that must go
    /// before it; else it is the caller's. All stripes are locked.
    func adopt(_ detached: DetachedTable) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        // A table without an arena of its own is to be freed before the one that owns it.
        let mustWait = sharingCounts[detached.stripeIndex] > 0
        guard detached.table.pointee.snapshot != nil || mustWait else { return false }
        if detached.ownedArena == nil { sharingCounts[detached.stripeIndex] += 1 }
        detachedTables.append(detached)
        return true
    }

    // MARK: The walk

    /// Calls `body` with the next entries of the snapshot, in no order, each valid during the call; false when there
    /// are no more. No stripe may be held. `before` is called in the foreground, with nothing locked.
    package func next(before: () -> Void = {}, _ body: (_ databaseIndex: Int, Entry) -> Void) -> Bool {
        guard !isEnded else { return false }
        return backlog.step(
            take: {
                before()
                return takeStep()
            },
            use: {
                spare.forEach { databaseIndex, entry in
                    if !isAbandoned, instant.isLive(entry.cell) { body(databaseIndex, entry) }
                }
                return true
            })
    }

    /// Who walks from now on: its thread calls ``next(_:)``. None of it has been called.
    package func begin(by walker: BackgroundThread) { backlog.walker = walker }

    /// Calls ``next(before:_:)`` by `step` until that answers false.
    package func walk(_ step: () -> Bool) { backlog.walk(step) }

    /// Frees what was given, and takes the next; false at the end.
    private func takeStep() -> Bool {
        spare.removeAll(to: store.shared.pointee.reclaimer)
        takeWaiting()
        guard spare.isEmpty else { return true }
        stepCount += 1
        for _ in 0..<min(1 + stepCount / 4, Self.stepSliceCountMax) {
            if let item = firstOfDetached() {
                walk(item)
            } else if position < databases.count {
                walkLive()
            } else {
                return !spare.isEmpty || !end()
            }
            if spare.byteCount >= Self.stepByteCount || backlog.byteCount >= Self.waitingByteCountSoftMax { break }
        }
        return true
    }

    private func takeWaiting() {
        lock.lock()
        waiting.moveFirst(to: spare)
        backlog.setCells(byteCount: waiting.byteCount)
        lock.unlock()
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
        var count = 0
        while !stripe.pointee.lock.tryLock() {
            guard backlog.byteCount < Self.waitingByteCountSoftMax else { return false }
            count += 1
            // Who holds it for longer may need the processor.
            if count < 200 { kedis_spin_hint() } else { usleep(20) }
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
                } else if isNeeded {
                    let isTaken = withCopiedCollection(of: cell) {
                        spare.append(cell, databaseIndex: databaseIndex, collection: $0)
                    }
                    if !isTaken { backlog.noteIncomplete() }
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

    private func firstOfDetached() -> DetachedTable? {
        lock.lock()
        defer { lock.unlock() }
        return detachedTables.first
    }

    /// A slice of a table that was flushed; its cells may lie among those of others in its stripe.
    private func walk(_ item: DetachedTable) {
        let table = item.table
        let stripe = store.stripes + item.stripeIndex
        guard lockUnlessMuchWaits(stripe) else { return }
        let isDone = table.pointee.snapshot == nil || walkSlice(table)
        stripe.pointee.lock.unlock()
        guard isDone else { return }
        lock.lock()
        _ = detachedTables.takeFirst()
        if item.ownedArena == nil { sharingCounts[item.stripeIndex] -= 1 }
        lock.unlock()
        store.shared.pointee.reclaimer.add(.table(item))
    }

    /// Leaves the store, unless a table has come meanwhile.
    private func end() -> Bool {
        store.lock(.all)
        defer { store.unlock(.all) }
        guard detachedTables.first == nil, waiting.isEmpty else { return false }
        store.shared.pointee.snapshot = nil
        backlog.end()
        isEnded = true
        return true
    }
}

extension Store {
    /// Whether a snapshot is being taken. Locks a stripe.
    package var isTakingSnapshot: Bool {
        var isTaking = false
        withStripe(0, held: StripeSet()) { _ in isTaking = shared.pointee.snapshot != nil }
        return isTaking
    }

    /// Begins a snapshot of this instant; nil while there is another one. All stripes are locked.
    /// O(stripes · databases).
    ///
    /// - Parameters:
    ///   - nowMilliseconds: what is due then is not in the snapshot.
    ///   - waitingByteCountMax: how much that was changed meanwhile may wait to be taken.
    ///   - copiedByteCountMax: collections that are larger are read piece by piece.
    ///   - room: what was made ready for them.
    package func beginSnapshot(
        nowMilliseconds: Int64, waitingByteCountMax: Int? = nil,
        copiedByteCountMax: Int = StoreSnapshot.copiedByteCountMax, room: PieceRoom? = nil
    ) -> StoreSnapshot? {
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
        let snapshot = StoreSnapshot(
            store: self, databases: databases, nowMilliseconds: nowMilliseconds,
            waitingByteCountMax: waitingByteCountMax ?? max(StoreSnapshot.waitingByteCountMin, usedByteCount / 2),
            copiedByteCountMax: copiedByteCountMax, room: room)
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
        if hash >= unsavedFrom { _ = preserveSlowly(cell, handsOverCollection: false) }
    }

    /// True when the snapshot has taken it now.
    @inline(never)
    private func preserveSlowly(_ cell: Cell, handsOverCollection: Bool) -> Bool {
        guard let snapshot, !cell.header.isPreserved else { return false }
        cell.header.isPreserved = true
        return snapshot._withUnsafeGuaranteedRef {
            $0.preserve(cell, databaseIndex: snapshotDatabaseIndex, handsOverCollection: handsOverCollection)
        }
    }

    /// The same of an entry that goes at once: a collection outside of its cell is handed over. O(1).
    @inline(__always)
    mutating func preserveRemoved(_ cell: Cell, hash: UInt64) {
        if hash >= unsavedFrom { preserveRemovedSlowly(cell) }
    }

    @inline(never)
    private mutating func preserveRemovedSlowly(_ cell: Cell) {
        guard preserveSlowly(cell, handsOverCollection: true), let collection = cell.collection else { return }
        noteOutside(-1, byteCount: -collection.allocatedByteCount)
        cell.header.isValueOutside = false
    }

    /// To be called when a slot gets a cell that was not there: no snapshot is to have it.
    @inline(__always)
    func noteBirth(_ cell: Cell, hash: UInt64) {
        if hash >= unsavedFrom, snapshot != nil { cell.header.isPreserved = true }
    }
}
