// Memory for the addresses of pieces (CollectionPieces.swift), made ready before the instant of a snapshot.
//
// Whoever changes a large collection first after the instant writes down where its pieces are, with its stripe locked.
// Fresh memory costs half of that time, as the system gives each page when it is touched. So the pages are taken
// before, by who saves and holds nothing then.
//
// Ownership: the snapshot's, and that of all pieces that lie in it. Threads: any; the stripes whose collections are
// frozen are many, and one word says how much is taken. Cost: 1/40 of what lies outside of the arenas, up to 16 MiB,
// until the last of the pieces is gone.

import CKedis
import KedisUtilities
import Synchronization

package final class PieceRoom: @unchecked Sendable {
    // Sendable: what is taken belongs to who took it, and `takenByteCount` is atomic.

    /// A stream's pieces take the largest share of their collection, 1/42 of one whose entries are small.
    private static let share = 40
    private static let byteCountMax = 16 << 20

    private let base: UnsafeMutableRawPointer
    private let byteCount: Int
    private let takenByteCount = Atomic<Int>(0)

    /// Room for the collections of a store that has `outsideByteCount` bytes outside of its arenas. Nil when there is
    /// nothing to make ready, or no memory. Touches every page.
    package init?(outsideByteCount: Int) {
        let page = MemorySource.pageByteCount
        byteCount = min(outsideByteCount / Self.share, Self.byteCountMax) & ~(page - 1)
        guard byteCount > 0, hasHeadroom(beside: byteCount), let memory = kedis_map(byteCount) else { return nil }
        base = memory
        kedis_populate(memory, byteCount)
    }

    deinit { kedis_unmap(base, byteCount) }

    /// Zeroed memory that is there as long as the room; nil when so much is not left.
    func take(_ byteCount: Int) -> UnsafeMutableRawPointer? {
        let wanted = (byteCount + MemorySource.lineByteCount - 1) & ~(MemorySource.lineByteCount - 1)
        guard self.byteCount - takenByteCount.load(ordering: .relaxed) >= wanted else { return nil }
        let start = takenByteCount.wrappingAdd(wanted, ordering: .relaxed).oldValue
        // Another one may have taken the rest meanwhile: then it is lost, and taken by nobody.
        return start + wanted <= self.byteCount ? base + start : nil
    }
}
