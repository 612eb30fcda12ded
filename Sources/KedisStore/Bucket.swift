// A bucket: one cache line of up to 12 keys. A segment: one page of 64 buckets.
//
//      bucket    0                      12            16                                            64
//                ┌──────────────────────┬─────────────┬──────────────────────────────────────────────┐
//                │ 12 tags, 1 byte each │ meta        │ 12 references, 4 bytes each                  │
//                └──────────────────────┴─────────────┴──────────────────────────────────────────────┘
//
//      meta      bits 0–11   the slot is taken
//      (32 bits) bits 12–23  the slot's key has its home in the bucket before (home buckets only)
//                bits 24–30  keys of this home that are in the stash (home buckets only)
//                bit 31      keys of this home are in the next bucket (home buckets only)
//
//      segment   60 home buckets, then 4 buckets of stash; 768 slots
//
// A key lies in its home bucket, else in the next one (after 59 comes 0), else in the stash. A tag is 8 bits of the
// hash that nothing else uses: of the slots that a lookup passes, one in 256 is looked at in vain.

import CKedis

struct Bucket {
    static let byteCount = 64
    static let slotCount = 12
    private static let metaOffset = 12
    private static let referenceOffset = 16
    private static let displacedShift: UInt32 = 12
    private static let overflowShift: UInt32 = 24
    private static let overflowMask: UInt32 = 0x7F << overflowShift
    private static let overhangBit: UInt32 = 1 << 31
    static let slotMask: UInt32 = 0xFFF

    let address: UnsafeMutableRawPointer

    @inline(__always)
    init(_ address: UnsafeMutableRawPointer) { self.address = address }

    /// Its number in its segment, which is a page.
    @inline(__always)
    var index: Int { Int(truncatingIfNeeded: UInt(bitPattern: address) & 0xFFF) / Bucket.byteCount }

    var meta: UInt32 {
        @inline(__always) get { address.load(fromByteOffset: Bucket.metaOffset, as: UInt32.self) }
        @inline(__always) nonmutating set {
            address.storeBytes(of: newValue, toByteOffset: Bucket.metaOffset, as: UInt32.self)
        }
    }

    /// The taken slots, as bits.
    @inline(__always)
    var taken: UInt32 { meta & Bucket.slotMask }

    /// The taken slots whose keys have their home here.
    @inline(__always)
    var own: UInt32 { meta & ~(meta >> Bucket.displacedShift) & Bucket.slotMask }

    /// The taken slots whose keys have their home in the bucket before.
    @inline(__always)
    var displaced: UInt32 { meta >> Bucket.displacedShift & Bucket.slotMask }

    @inline(__always)
    var count: Int { taken.nonzeroBitCount }

    @inline(__always)
    var overflowCount: Int { Int(truncatingIfNeeded: (meta & Bucket.overflowMask) >> Bucket.overflowShift) }

    func addOverflow(_ change: Int) {
        let count = UInt32(truncatingIfNeeded: overflowCount &+ change)
        meta = meta & ~Bucket.overflowMask | count << Bucket.overflowShift
    }

    /// Whether the next bucket holds keys of this home: if not, a lookup saves its cache line.
    var hasOverhang: Bool {
        @inline(__always) get { meta & Bucket.overhangBit != 0 }
        nonmutating set { meta = newValue ? meta | Bucket.overhangBit : meta & ~Bucket.overhangBit }
    }

    /// The slots with this tag, taken or not.
    @inline(__always)
    func match(_ tag: UInt8) -> UInt32 { kedis_match_tags(address, tag) }

    func tag(_ slot: Int) -> UInt8 { address.load(fromByteOffset: slot, as: UInt8.self) }

    @inline(__always)
    func reference(_ slot: Int) -> UInt32 {
        address.load(fromByteOffset: Bucket.referenceOffset &+ slot &* 4, as: UInt32.self)
    }

    @inline(__always)
    func setReference(_ slot: Int, _ reference: UInt32) {
        address.storeBytes(of: reference, toByteOffset: Bucket.referenceOffset &+ slot &* 4, as: UInt32.self)
    }

    /// Puts a key into a free slot; there is one.
    @inline(__always)
    func put(tag: UInt8, reference: UInt32, isDisplaced: Bool) {
        let slot = (~taken).trailingZeroBitCount
        assert(slot < Bucket.slotCount)
        address.storeBytes(of: tag, toByteOffset: slot, as: UInt8.self)
        setReference(slot, reference)
        let bit: UInt32 = 1 &<< UInt32(truncatingIfNeeded: slot)
        meta |= bit | (isDisplaced ? bit &<< Bucket.displacedShift : 0)
    }

    @inline(__always)
    func clear(_ slot: Int) {
        let bit: UInt32 = 1 &<< UInt32(truncatingIfNeeded: slot)
        meta &= ~(bit | bit &<< Bucket.displacedShift)
    }

    /// Calls `body` with each slot of a mask.
    @inline(__always)
    static func forEachSlot(_ mask: UInt32, _ body: (Int) -> Void) {
        var rest = mask
        while rest != 0 {
            body(rest.trailingZeroBitCount)
            rest &= rest &- 1
        }
    }
}

/// A page of buckets, with the number of hash bits below the stripe's that all its keys share.
struct Segment {
    static let homeCount = 60
    static let bucketCount = 64
    static let slotCount = bucketCount * Bucket.slotCount

    /// The page's address, and the depth in the bits that its alignment leaves free: a directory's entry.
    let word: UInt

    @inline(__always)
    init(word: UInt) { self.word = word }

    init(page: UnsafeMutableRawPointer, depth: Int) {
        word = UInt(bitPattern: page) | UInt(depth)
    }

    @inline(__always)
    var page: UnsafeMutableRawPointer {
        UnsafeMutableRawPointer(bitPattern: word & ~0xFFF).unsafelyUnwrapped
    }

    @inline(__always)
    var depth: Int { Int(truncatingIfNeeded: word & 0xFFF) }

    /// How many hashes it is for: those that begin with its bits.
    var hashCount: UInt64 { Table.hashCount >> UInt64(truncatingIfNeeded: depth) }

    @inline(__always)
    func bucket(_ index: Int) -> Bucket { Bucket(page + index &* Bucket.byteCount) }

    @inline(__always)
    func neighbour(ofHome home: Int) -> Bucket { bucket(home == Segment.homeCount &- 1 ? 0 : home &+ 1) }

    /// Takes a key out of its slot, wherever it lies.
    @inline(__always)
    func clear(_ bucket: Bucket, _ slot: Int, hash: UInt64) {
        let wasDisplaced = bucket.displaced & (1 &<< UInt32(truncatingIfNeeded: slot)) != 0
        bucket.clear(slot)
        if wasDisplaced {
            if bucket.displaced == 0 { self.bucket(home(of: hash)).hasOverhang = false }
        } else if bucket.index >= Segment.homeCount {
            self.bucket(home(of: hash)).addOverflow(-1)
        }
    }

    /// The home bucket of a hash: its 16 bits below the segment's, scaled to 60.
    @inline(__always)
    func home(of hash: UInt64) -> Int { Segment.home(of: hash, depth: depth) }

    @inline(__always)
    static func home(of hash: UInt64, depth: Int) -> Int {
        let bits = (hash &<< UInt64(truncatingIfNeeded: Table.stripeBitCount &+ depth)) &>> 48
        return Int(truncatingIfNeeded: (bits &* UInt64(homeCount)) &>> 16)
    }

    /// Taken slots. O(64 cache lines).
    var count: Int {
        var sum = 0
        for index in 0..<Segment.bucketCount { sum += bucket(index).count }
        return sum
    }

    /// Puts a key where it belongs; false when home, neighbour and stash are full.
    ///
    /// - Parameter isRebuilding: keys come in the order of their homes (splits, merges), so that the neighbour is still
    ///   empty: only a full home goes on to it. Else more than half of all keys would lie there.
    @inline(__always)
    func put(reference: UInt32, hash: UInt64, isRebuilding: Bool = false) -> Bool {
        let home = home(of: hash)
        let own = bucket(home)
        let neighbour = neighbour(ofHome: home)
        let tag = Table.tag(of: hash)
        let (ownCount, neighbourCount) = (own.count, neighbour.count)
        // Home is found with one miss, so the neighbour must be clearly emptier to be chosen.
        if ownCount < Bucket.slotCount, isRebuilding || ownCount <= neighbourCount &+ 2 {
            own.put(tag: tag, reference: reference, isDisplaced: false)
        } else if neighbourCount < Bucket.slotCount {
            neighbour.put(tag: tag, reference: reference, isDisplaced: true)
            own.hasOverhang = true
        } else {
            return stash(reference: reference, tag: tag, home: own)
        }
        return true
    }

    @inline(never)
    private func stash(reference: UInt32, tag: UInt8, home: Bucket) -> Bool {
        for index in Segment.homeCount..<Segment.bucketCount where bucket(index).count < Bucket.slotCount {
            bucket(index).put(tag: tag, reference: reference, isDisplaced: false)
            home.addOverflow(1)
            return true
        }
        return false
    }

    /// Calls `body` with every taken slot.
    func forEachSlot(_ body: (Bucket, Int) -> Void) {
        for index in 0..<Segment.bucketCount {
            let bucket = bucket(index)
            Bucket.forEachSlot(bucket.taken) { body(bucket, $0) }
        }
    }
}
