// What the pieces of a frozen collection are made of, and memory for their walk: parts of CollectionPieces.swift, whose
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

    struct Piece {
        let address: UnsafeMutableRawPointer
        /// The address of a copy that waits, that of kept elements and 1, or one of the three below.
        private var state: UInt = Piece.untaken

        private static let untaken: UInt = 0
        private static let gone: UInt = 1
        private static let given: UInt = 2

        init(_ address: UnsafeMutableRawPointer) { self.address = address }

        /// Whether it was copied, for the walk or for later, or is ours.
        var isTaken: Bool { state != Piece.untaken && kept == nil }

        /// What was changed of it.
        var kept: KeptElements? {
            get {
                guard state & 1 != 0, state > Piece.given else { return nil }
                return UnsafeMutableRawPointer(bitPattern: state - 1).map { KeptElements($0) }
            }
            set { state = newValue.map { UInt(bitPattern: $0.address) | 1 } ?? Piece.untaken }
        }

        /// Whether its memory is ours.
        var isGiven: Bool { state == Piece.given }

        mutating func give() { state = Piece.given }

        var copy: UnsafeMutableRawPointer? {
            get { state <= Piece.given || state & 1 != 0 ? nil : UnsafeMutableRawPointer(bitPattern: state) }
            set { state = newValue.map { UInt(bitPattern: $0) } ?? Piece.gone }
        }
    }

    /// Memory that is used again for each piece.
    struct Scratch {
        private var address: UnsafeMutableRawPointer?
        private var byteCount = 0
        /// A larger one is freed after use.
        private static let keptByteCountMax = 64 << 10

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
