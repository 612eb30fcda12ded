// What is to be known of a frozen collection, and memory for its walk: parts of CollectionPieces.swift, whose
// lock guards the pieces.

import KedisUtilities

extension CollectionPieces {
    /// What is to be known of a hash or set.
    struct MemberFigures {
        /// Whether elements refer to blobs.
        var haveBlobs = false
        var isValued = false
        var seed = HashSeed(0, 0)
    }

    /// Memory that is used again for each piece.
    struct Scratch {
        private var address: UnsafeMutableRawPointer?
        private(set) var byteCount = 0
        /// A larger one is freed after use.
        private static let keptByteCountMax = 256 << 10

        /// Nil when memory is exhausted.
        mutating func memory(_ wanted: Int, _ backlog: SnapshotBacklog) -> UnsafeMutableRawPointer? {
            if wanted > byteCount {
                free()
                address = backlog.allocate(byteCount: wanted)
                byteCount = address == nil ? 0 : wanted
            }
            return address
        }

        mutating func freeIfLarge() { if byteCount > Scratch.keptByteCountMax { free() } }

        mutating func free() {
            deallocateBuffer(address)
            (address, byteCount) = (nil, 0)
        }
    }
}
