// The pieces of a frozen collection, found by their addresses and walked in their order where they have one: a part of
// CollectionPieces.swift, whose lock guards it.
//
//      of hashes,   ┌─────────┬─────────┬─────────┬─ … ─┐        in their order: all that is written while the
//      sets, sorted │ address │ address │ address │     │        collection is frozen
//      sets         └─────────┴─────────┴─────────┴─ … ─┘
//      places       ┌───────────┬──┬───────────┬──┬─ … ─┐        open addressing, filled by who asks for a piece, which
//                   │ piece     │  │ piece     │  │     │        finds all in one cache line. Nobody asks for one that
//                   └───────────┴──┴───────────┴──┴─ … ─┘        came later: blocks and leaves say that themselves
//
//      of lists     ┌───────────┬───────────┬───────────┬─ … ─┐  in their order, with details, and their numbers found
//      and streams  │ piece     │ piece     │ piece     │     │  by open addressing
//                   └─────▲─────┴───────────┴───────────┴─ … ─┘
//      numbers      ┌─────┴──┬────────┬─ … ─┐
//                   │ 1      │        │     │
//                   └────────┴────────┴─ … ─┘
//
// Ownership: the pieces own the memory, in one run. Cost: 32 bytes a piece, 56 of lists and streams.

import CKedis
import KedisUtilities

extension CollectionPieces {
    /// What the bytes of a piece are, where they do not say it themselves: in lists and streams.
    struct Detail {
        var offset: UInt32 = 0
        var byteCount: UInt32 = 0
        var entryCount: UInt32 = 0
        var id = StreamID.zero
    }

    struct Piece {
        /// Nil of an empty slot.
        let address: UnsafeMutableRawPointer?
        /// The address of a copy that waits, kept elements (KeptElements.swift), or one of the three below.
        private var state: UInt = Piece.untaken

        private static let untaken: UInt = 2
        private static let gone: UInt = 3
        private static let given: UInt = 7

        fileprivate init(_ address: UnsafeMutableRawPointer) { self.address = address }

        /// Whether it was copied, for the walk or for later, or is ours.
        var isTaken: Bool { state != Piece.untaken && kept == nil }

        /// What was changed of it.
        var kept: KeptElements? {
            get { KeptElements(word: state) }
            set { state = newValue?.word ?? Piece.gone }
        }

        /// Whether its memory is ours.
        var isGiven: Bool { state == Piece.given }

        mutating func give() { state = Piece.given }

        var copy: UnsafeMutableRawPointer? {
            get { state & 3 == 0 ? UnsafeMutableRawPointer(bitPattern: state) : nil }
            set { state = newValue.map { UInt(bitPattern: $0) } ?? Piece.gone }
        }
    }
}

/// A handle on memory that its owner allocates and frees.
struct PieceTable {
    typealias Piece = CollectionPieces.Piece
    typealias Detail = CollectionPieces.Detail

    /// How many pieces there will be.
    let count: Int
    private let places: UnsafeMutablePointer<Piece>
    private let details: UnsafeMutablePointer<Detail>?
    /// By address a piece's number, from 1 on, or 0; nil where places are found so themselves.
    private let numbers: UnsafeMutablePointer<UInt32>?
    /// The pieces in their order, whose places are filled later.
    private let listed: UnsafeMutablePointer<UnsafeMutableRawPointer>?
    private let slotCount: Int
    private var addedCount = 0

    /// Slots are fetched so many pieces ahead.
    private static let aheadCount = 16

    private static func slotCount(of count: Int, _ form: CollectionForm) -> Int {
        if !hasDetails(form) { return count + count / 2 + 1 }
        var slotCount = 16
        while slotCount < count + count / 3 { slotCount *= 2 }
        return slotCount
    }

    private static func hasDetails(_ form: CollectionForm) -> Bool { form == .deque || form == .stream }

    static func byteCount(of count: Int, _ form: CollectionForm) -> Int {
        let slotCount = slotCount(of: count, form)
        return hasDetails(form)
            ? count * (MemoryLayout<Piece>.stride + MemoryLayout<Detail>.stride)
                + slotCount * MemoryLayout<UInt32>.stride
            : slotCount * MemoryLayout<Piece>.stride + count * MemoryLayout<UnsafeMutableRawPointer>.stride
    }

    /// - Parameter memory: zeroed, ``byteCount(of:_:)`` bytes; fewer than 2^32 slots.
    init(count: Int, _ form: CollectionForm, in memory: UnsafeMutableRawPointer) {
        self.count = count
        slotCount = PieceTable.slotCount(of: count, form)
        let placeCount = PieceTable.hasDetails(form) ? count : slotCount
        places = memory.bindMemory(to: Piece.self, capacity: placeCount)
        let rest = UnsafeMutableRawPointer(places + placeCount)
        if PieceTable.hasDetails(form) {
            let details = rest.bindMemory(to: Detail.self, capacity: count)
            self.details = details
            numbers = UnsafeMutableRawPointer(details + count).bindMemory(to: UInt32.self, capacity: slotCount)
            listed = nil
        } else {
            (details, numbers) = (nil, nil)
            listed = rest.bindMemory(to: UnsafeMutableRawPointer.self, capacity: count)
        }
    }

    /// How many places there are for pieces, some of them empty but in lists and streams.
    var placeCount: Int { numbers == nil ? slotCount : count }

    /// Where it lies, for who frees it.
    var base: UnsafeMutableRawPointer { UnsafeMutableRawPointer(places) }

    /// Whether pieces are to come in their order, whatever became of them.
    var isOrdered: Bool { details != nil }

    // MARK: Filling

    /// Adds the next piece; it is found once ``endAdding()`` was called.
    mutating func add(_ address: UnsafeMutableRawPointer, _ detail: Detail) {
        assert(addedCount < count)
        if let listed {
            (listed + addedCount).initialize(to: address)
        } else {
            if let details { (details + addedCount).initialize(to: detail) }
            (places + addedCount).initialize(to: Piece(address))
        }
        addedCount += 1
    }

    /// Makes pieces known by their addresses: all have been added.
    func endAdding() {
        assert(addedCount == count)
        guard let numbers else { return }
        for index in 0..<addedCount {
            let ahead = index + PieceTable.aheadCount
            if ahead < addedCount, let address = places[ahead].address { kedis_prefetch(numbers + home(of: address)) }
            guard let address = places[index].address else { continue }
            var slot = home(of: address)
            while numbers[slot] != 0 { slot = next(slot) }
            numbers[slot] = UInt32(truncatingIfNeeded: index + 1)
        }
    }

    // MARK: Finding

    @inline(__always)
    private func home(of address: UnsafeMutableRawPointer) -> Int {
        if numbers != nil {
            // Pieces often lie at equal distances: so next to none comes upon another one.
            let mixed = UInt64(UInt(bitPattern: address)) &* 0x9E37_79B9_7F4A_7C15
            return Int(truncatingIfNeeded: mixed &>> 32) & (slotCount &- 1)
        }
        // One multiplication alone would leave those side by side where the count is no power of two.
        let spread = UInt64(UInt(bitPattern: address)) &* 0xFF51_AFD7_ED55_8CCD
        let mixed = (spread ^ spread &>> 33) &* 0x9E37_79B9_7F4A_7C15
        return Int(truncatingIfNeeded: ((mixed &>> 32) &* UInt64(truncatingIfNeeded: slotCount)) &>> 32)
    }

    @inline(__always)
    private func next(_ slot: Int) -> Int { slot &+ 1 == slotCount ? 0 : slot &+ 1 }

    /// Starts to load where the piece at an address is looked for; the memory may be gone.
    @inline(__always)
    func prefetch(_ address: UnsafeMutableRawPointer) {
        let slot = home(of: address)
        if let numbers { kedis_prefetch(numbers + slot) } else { kedis_prefetch(places + slot) }
    }

    /// The same by its place.
    func prefetch(_ index: Int) { kedis_prefetch(places + index) }

    /// The place of the piece at an address. O(1). Enters a block or leaf that nobody has asked for yet, which must
    /// have been added; of lists and streams nil for what was not.
    @inline(__always)
    func index(of address: UnsafeMutableRawPointer) -> Int? {
        var slot = home(of: address)
        if let numbers {
            while numbers[slot] != 0 {
                let index = Int(numbers[slot]) &- 1
                if places[index].address == address { return index }
                slot = next(slot)
            }
            return nil
        }
        while let found = places[slot].address {
            if found == address { return slot }
            slot = next(slot)
        }
        assert(isListed(address))
        (places + slot).initialize(to: Piece(address))
        return slot
    }

    /// As far as it can be told soon.
    private func isListed(_ address: UnsafeMutableRawPointer) -> Bool {
        count > 1000 || UnsafeBufferPointer(start: listed, count: count).contains(address)
    }

    @inline(__always)
    subscript(_ index: Int) -> Piece {
        get { places[index] }
        nonmutating set { places[index] = newValue }
    }

    /// Of a piece of a list or stream.
    func detail(_ index: Int) -> Detail { details?[index] ?? Detail() }

    // MARK: Walking

    /// The place of the piece at a position, below ``count``.
    func index(at position: Int) -> Int {
        guard let listed, let index = index(of: listed[position]) else { return position }
        return index
    }

    /// Starts to load the first lines of the piece at a position, if it is where it was, and its place.
    func prefetchPiece(at position: Int) {
        guard position < count else { return }
        if let listed { prefetch(listed[position]) }
        guard let address = listed?[position] ?? places[position].address else { return }
        let first = address + Int(detail(position).offset)
        for line in 0..<4 { kedis_prefetch(first + 64 * line) }
    }
}
