// How much a snapshot has yet to take of what was changed meanwhile, and what those who add to it do.
//
// Ownership: the snapshot (StoreSnapshot.swift) and the pieces of large collections that it is to take
// (CollectionPieces.swift), which may live longer. Threads: any.
// Limits: from `slowByteCount` on who adds a copy is slowed down, beyond the maximum nobody adds one.

import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

final class SnapshotBacklog: Sendable {
    /// Who adds more waits a millisecond first.
    private static let slowByteCount = 32 << 20
    private static let waitNanosecondsMax: UInt64 = 1_000_000_000
    /// Who would add more waits until some were taken, but not for ever.
    private let byteCountMax: Int
    private let cellByteCount = Atomic<Int>(0)
    private let pieceByteCount = Atomic<Int>(0)
    private let abandoned = Atomic<Bool>(false)
    private let incomplete = Atomic<Bool>(false)
    private let overrun = Atomic<Bool>(false)

    init(byteCountMax: Int) { self.byteCountMax = byteCountMax }

    /// Copies that wait, in bytes.
    var byteCount: Int { cellByteCount.load(ordering: .relaxed) &+ pieceByteCount.load(ordering: .relaxed) }

    /// The copies of cells that wait take so much now.
    func setCells(byteCount: Int) { cellByteCount.store(byteCount, ordering: .relaxed) }

    func notePieces(byteCount change: Int) { pieceByteCount.wrappingAdd(change, ordering: .relaxed) }

    // MARK: Its end

    /// There was no memory for a copy: something is missing.
    var isIncomplete: Bool { incomplete.load(ordering: .acquiring) }

    func noteIncomplete() { incomplete.store(true, ordering: .releasing) }

    /// What was changed meanwhile was not taken in time.
    var isOverrun: Bool { overrun.load(ordering: .acquiring) }

    /// Nobody wants the rest.
    var isAbandoned: Bool { abandoned.load(ordering: .acquiring) }

    func abandon() { abandoned.store(true, ordering: .releasing) }

    // MARK: Room

    /// Slows down those who change more than is taken: the walk never waits for a stripe then, but perhaps for the
    /// disk. A snapshot that takes nothing for a second while as much waits as may is given up, for nobody is to stand
    /// still behind it.
    func waitForRoom() {
        let before = byteCount
        guard before > min(Self.slowByteCount, byteCountMax), !isAbandoned else { return }
        guard before > byteCountMax else {
            usleep(1000)
            return
        }
        let start = monotonicNanoseconds()
        while byteCount > byteCountMax, !isAbandoned {
            guard monotonicNanoseconds() &- start < Self.waitNanosecondsMax else {
                overrun.store(true, ordering: .releasing)
                return abandon()
            }
            usleep(50)
        }
    }
}
