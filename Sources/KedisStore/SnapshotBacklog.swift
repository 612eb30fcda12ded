// How much a snapshot has yet to take of what was changed meanwhile, and what those who add to it do.
//
// Who adds a copy never waits for the snapshot, unless as much waits as may. From an eighth of that on the store says
// that it is pressed (`SnapshotPressure`): whoever has sent a command that left a copy is then given no more time until
// some were taken, and nobody else notices. What was not changed but removed is given, not copied: it presses nobody,
// and only lets the walk rest less.
//
// Ownership: the snapshot (StoreSnapshot.swift) and the pieces of large collections that it is to take
// (CollectionPieces.swift), which may live longer but do not use it then. Threads: any.

import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What sessions look at, in cache lines of its own.
struct SnapshotPressure: ~Copyable {
    private let padding: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0, 0)
    /// Copies and single elements that were ever left for snapshots.
    let copyCount = Atomic<UInt64>(0)
    let isOn = Atomic<Bool>(false)
    private let morePadding: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0, 0)
}

final class SnapshotBacklog: @unchecked Sendable {
    // Sendable: what is pointed at is atomic, and there as long as the snapshot is taken.

    private static let waitNanosecondsMax: UInt64 = 1_000_000_000
    private static let fillingByteCountMin = 4 << 20
    /// Who would add more waits until some were taken, but not for ever.
    private let byteCountMax: Int
    /// From here on who adds more is to be slowed down.
    private let pressingByteCount: Int
    /// From here on the walk rests less.
    private let fillingByteCount: Int
    /// Since when as much waits as may, or nearly; 0 while it does not.
    private let fullNanoseconds = Atomic<UInt64>(0)
    let shared: UnsafeMutablePointer<StoreShared>
    /// For the addresses of pieces. Changed only with all stripes locked, read with one of them.
    private(set) var room: PieceRoom?
    /// Who walks: it does in the foreground what has to do with locks. The walker's; set before the walk.
    var walker: BackgroundThread?
    private let cellByteCount = Atomic<Int>(0)
    /// Copies of pieces, and single elements.
    private let pieceByteCount = Atomic<Int>(0)
    private let keptByteCount = Atomic<Int>(0)
    /// What was removed from the store and is given to the snapshot.
    private let givenByteCount = Atomic<Int>(0)
    private let abandoned = Atomic<Bool>(false)
    private let incomplete = Atomic<Bool>(false)
    private let overrun = Atomic<Bool>(false)

    init(byteCountMax: Int, storeByteCount: Int, shared: UnsafeMutablePointer<StoreShared>, room: PieceRoom?) {
        self.room = room
        self.byteCountMax = byteCountMax
        pressingByteCount = byteCountMax / 8
        fillingByteCount = min(max(storeByteCount / 32, SnapshotBacklog.fillingByteCountMin), pressingByteCount)
        self.shared = shared
    }

    /// Whether so much waits that a walk that yields to others does not rest besides.
    var isFilling: Bool { allByteCount > fillingByteCount }

    /// Whether so much waits that the walk yields to nobody. Copies of pieces come the faster the more of them are
    /// left to take.
    var isBehind: Bool {
        allByteCount > fillingByteCount / 4 * 5 || pieceByteCount.load(ordering: .relaxed) > fillingByteCount / 8
    }

    /// Whether so much waits that who adds more is slowed down.
    var isPressing: Bool { byteCount > pressingByteCount }

    /// Whether nearly so much waits, or much of what nobody is slowed down for: single elements, which are found one by
    /// one, and what was removed.
    var isHurrying: Bool {
        let kept = keptByteCount.load(ordering: .relaxed)
        return byteCount > pressingByteCount / 4 * 3
            || kept + givenByteCount.load(ordering: .relaxed) > fillingByteCount
    }

    private var allByteCount: Int { byteCount + givenByteCount.load(ordering: .relaxed) }

    /// Copies that wait, in bytes.
    var byteCount: Int {
        cellByteCount.load(ordering: .relaxed) &+ pieceByteCount.load(ordering: .relaxed)
            &+ keptByteCount.load(ordering: .relaxed)
    }

    /// The copies of cells that wait take so much now.
    func setCells(byteCount: Int) {
        cellByteCount.store(byteCount, ordering: .relaxed)
        followPressure()
    }

    func notePieces(byteCount change: Int) {
        pieceByteCount.wrappingAdd(change, ordering: .relaxed)
        followPressure()
    }

    func noteKept(byteCount change: Int) {
        keptByteCount.wrappingAdd(change, ordering: .relaxed)
        followPressure()
    }

    func noteGiven(byteCount change: Int) { givenByteCount.wrappingAdd(change, ordering: .relaxed) }

    private func followPressure() {
        if byteCount < byteCountMax / 4 * 3 { fullNanoseconds.store(0, ordering: .relaxed) }
        let isPressing = isPressing && !isAbandoned
        if shared.pointee.snapshotPressure.isOn.load(ordering: .relaxed) != isPressing {
            shared.pointee.snapshotPressure.isOn.store(isPressing, ordering: .relaxed)
        }
    }

    /// Memory for copies, to be given to `deallocateBuffer`; nil when it is exhausted.
    func allocate(byteCount: Int, isZeroed: Bool = false) -> UnsafeMutableRawPointer? {
        guard shared.pointee.mayAllocateForSnapshot else { return nil }
        return allocateBuffer(byteCount: byteCount, isZeroed: isZeroed)
    }

    /// Zeroed memory of the room; nil when there is none, or not so much.
    func takeFromRoom(byteCount: Int) -> UnsafeMutableRawPointer? {
        guard let room, shared.pointee.mayAllocateForSnapshot else { return nil }
        return room.take(byteCount)
    }

    // MARK: The walk

    /// One step of the walk: `take` has to do with locks, and what `use` reads is the walk's own.
    func step(take: () -> Bool, use: () -> Bool) -> Bool {
        guard let walker else { return take() && use() }
        var goesOn = false
        walker.inForeground { goesOn = take() }
        return goesOn && use()
    }

    /// Whether who walks may free what others gave it.
    var isWalkInForeground: Bool { walker?.isInForeground ?? true }

    /// Steps until one answers false. It yields to nobody unless it may, while there is nobody else, while others wait
    /// for the walk, and once it gets no processor.
    func walk(mayYield: Bool = true, _ step: () -> Bool) {
        guard let walker else {
            while step() {}
            return
        }
        let yields = { mayYield && !walker.isAlone && !walker.isStarved && !self.isBehind }
        var goesOn = true
        while goesOn {
            if yields() {
                walker.inBackground { repeat { goesOn = step() } while goesOn && yields() }
            } else {
                walker.inForeground { repeat { goesOn = step() } while goesOn && !yields() }
            }
        }
    }

    // MARK: Its end

    /// There was no memory for a copy: something is missing.
    var isIncomplete: Bool { incomplete.load(ordering: .acquiring) }

    func noteIncomplete() { incomplete.store(true, ordering: .releasing) }

    /// What was changed meanwhile was not taken in time.
    var isOverrun: Bool { overrun.load(ordering: .acquiring) }

    /// Nobody wants the rest.
    var isAbandoned: Bool { abandoned.load(ordering: .acquiring) }

    func abandon() {
        abandoned.store(true, ordering: .releasing)
        followPressure()
    }

    /// Everything was taken. All stripes are locked.
    func end() {
        shared.pointee.snapshotPressure.isOn.store(false, ordering: .relaxed)
        room = nil
    }

    // MARK: Room

    /// Before a copy is made: waits while as much waits as may.
    func waitForRoom() {
        noteCopy()
        waitWhileFull()
    }

    /// Someone leaves something.
    @inline(__always)
    func noteCopy() {
        if !isAbandoned { shared.pointee.snapshotPressure.copyCount.wrappingAdd(1, ordering: .relaxed) }
    }

    /// As much waits as may.
    @inline(__always)
    var isFull: Bool { byteCount > byteCountMax && !isAbandoned }

    /// The walk never waits for a stripe then, but perhaps for the disk, or it has a large collection to write before.
    /// A snapshot that is full for a second, whoever waits for it, is given up, for nobody is to stand still behind it.
    func waitWhileFull() {
        while isFull {
            let now = monotonicNanoseconds()
            let (isFirst, since) = fullNanoseconds.compareExchange(expected: 0, desired: now, ordering: .relaxed)
            if !isFirst, now > since, now &- since >= Self.waitNanosecondsMax {
                overrun.store(true, ordering: .releasing)
                return abandon()
            }
            usleep(50)
        }
    }
}

extension StoreShared {
    /// Whether a copy gets memory, as far as a test decides.
    @inline(__always)
    var mayAllocateForSnapshot: Bool {
        guard snapshotAllocationCount.load(ordering: .relaxed) < .max else { return true }
        return snapshotAllocationCount.wrappingSubtract(1, ordering: .relaxed).newValue >= 0
    }
}

extension StoreHandle {
    /// Nobody is to wait longer for a snapshot: what is changed then has a limit of its own.
    package static let pressureNanosecondsMax: UInt64 = 1_000_000_000

    /// Copies and single elements that were ever left for snapshots: a caller whose changes left some finds another
    /// number behind them.
    @inline(__always)
    package var snapshotCopyCount: UInt64 { shared.pointee.snapshotPressure.copyCount.load(ordering: .relaxed) }

    /// Whether a snapshot has much to take that was changed meanwhile: who goes on changing what makes copies had
    /// better wait until this is over, holding nothing.
    package var isPressedBySnapshot: Bool { shared.pointee.snapshotPressure.isOn.load(ordering: .relaxed) }
}
