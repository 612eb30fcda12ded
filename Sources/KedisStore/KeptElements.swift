// Elements of one block of a hash or set as they were at the instant of a snapshot: what those leave who change a few.
//
//      a run     ┌──────────────┬─────────────────────┬─────────────────────┬─ … ─┐
//      128, or   │ header       │ mark, element       │ mark, element       │free │
//      longer    │ 16           │ 1     as in blocks  │ 1                   │     │
//                └──────┬───────┴─────────────────────┴─────────────────────┴─ … ─┘
//                       └──▶ the run before, if any
//
//      mark      1 bit: the element was there; 7 bits that tell most members apart
//
// Who leaves one only adds it at the end, with one cache line that has been fetched: nobody looks whether the member is
// there already, until there is no room. So it may be there more than once, and the first counts. An element that was
// not there has its member and an empty value. None of them lies outside of its block or has a deadline: who changes
// such a one copies the block, as who changes too many.
//
// Ownership: the pieces of the collection (CollectionPieces.swift), whose lock guards it. Memory: at most half of the
// block's, or one run. Cost: an element's bytes and 1, and 16 for each run.

import CKedis
import KedisUtilities

/// A handle: trivially copied, owns nothing. Its word has all that who adds something needs to know.
struct KeptElements {
    private struct Header {
        /// The word of the run before, or 0.
        var previous: UInt
        /// The next piece that waits, or -1.
        var nextPiece: Int32
        /// Of this run and those before, in units of 16.
        var unitCount: UInt16
        var totalUnitCount: UInt16
    }

    private static let headerByteCount = MemoryLayout<Header>.stride
    /// Of all runs of a block: beyond that its copy is found sooner.
    static let byteCountMax = 8 << 10
    private static let unit = 16

    /// The address of the newest run, how many of its bytes are used (the upper 16 bits), 1 in the lowest two bits, and
    /// in the next one whether it is longer than others.
    let word: UInt

    private static let tagMask: UInt = 3
    private static let tag: UInt = 1
    private static let longBit: UInt = 4
    static let addressBitCount = 48
    private static let addressMask: UInt = (1 << addressBitCount) - 16

    /// Nil when it is the word of something else.
    @inline(__always)
    init?(word: UInt) {
        guard word & Self.tagMask == Self.tag else { return nil }
        self.word = word
    }

    private init(_ run: UnsafeMutableRawPointer, isLong: Bool, used: Int) {
        word = UInt(bitPattern: run) | Self.tag | (isLong ? Self.longBit : 0) | UInt(used) << Self.addressBitCount
    }

    private var run: UnsafeMutableRawPointer {
        // A word is made of an address, which is not nil.
        UnsafeMutableRawPointer(bitPattern: word & Self.addressMask).unsafelyUnwrapped
    }

    private var used: Int { Int(word >> Self.addressBitCount) }

    private var isLong: Bool { word & Self.longBit != 0 }

    private var header: UnsafeMutablePointer<Header> { run.assumingMemoryBound(to: Header.self) }

    private var runByteCount: Int {
        isLong ? Int(header.pointee.unitCount) * Self.unit : KeptRuns.runByteCount
    }

    private var previous: KeptElements? { KeptElements(word: header.pointee.previous) }

    var allocatedByteCount: Int { Int(header.pointee.totalUnitCount) * Self.unit }

    var nextPiece: Int { Int(header.pointee.nextPiece) }

    /// Starts to load where the next element goes.
    @inline(__always)
    func prefetch() {
        kedis_prefetch(run + used)
        kedis_prefetch(run + used + 32)
    }

    @inline(__always)
    private static func mark(_ member: ByteView, _ wasThere: Bool) -> UInt8 {
        let count = member.count
        guard count > 1 else { return wasThere ? 1 : 0 }
        // Members of a block differ most often at their ends.
        let bits = member[count &- 1] &* 2 ^ member[count &- 2] &* 16 ^ UInt8(truncatingIfNeeded: count &* 64)
        return bits & ~1 | (wasThere ? 1 : 0)
    }

    // MARK: Adding

    /// Those of a piece with one element more: `old`, or the member of one that is not there yet. `log` is what there
    /// was, nil before the first, which `nextPiece` belongs to. Nil when all would take more than `byteCountMax`, or
    /// memory is exhausted: then `log` is as it was.
    @inline(__always)
    static func adding(
        _ member: ByteView, old: MemberElement?, isValued: Bool, to log: KeptElements?, nextPiece: Int,
        byteCountMax: Int, _ runs: inout KeptRuns
    ) -> KeptElements? {
        let draft = MemberDraft(member, .empty, isValued: isValued, deadlineMilliseconds: noDeadline)
        let byteCount = 1 &+ (old?.byteCount ?? draft.byteCount)
        var made = log
        if log.map({ $0.used &+ byteCount > $0.runByteCount }) ?? true {
            made = longer(log, by: byteCount, nextPiece: nextPiece, byteCountMax: byteCountMax, &runs)
        }
        guard let made else { return nil }
        let place = made.run + made.used
        place.storeBytes(of: mark(member, old != nil), as: UInt8.self)
        if let old {
            copyBytes(from: old.bytes, to: (place + 1).assumingMemoryBound(to: UInt8.self))
        } else {
            draft.write(at: place + 1)
        }
        return KeptElements(made.run, isLong: made.isLong, used: made.used &+ byteCount)
    }

    /// With another run, which has room for so many bytes.
    @inline(never)
    private static func longer(
        _ log: KeptElements?, by byteCount: Int, nextPiece: Int, byteCountMax: Int, _ runs: inout KeptRuns
    ) -> KeptElements? {
        let (nextPiece, earlier) = (log?.nextPiece ?? nextPiece, log?.allocatedByteCount ?? 0)
        let needed = (headerByteCount + byteCount + unit - 1) / unit * unit
        let runByteCount = max(needed, KeptRuns.runByteCount)
        guard earlier + runByteCount <= max(byteCountMax, KeptRuns.runByteCount), nextPiece <= Int(Int32.max),
            let run = runs.take(byteCount: runByteCount)
        else { return nil }
        run.initializeMemory(
            as: Header.self,
            to: Header(
                previous: log?.word ?? 0, nextPiece: Int32(nextPiece), unitCount: UInt16(runByteCount / unit),
                totalUnitCount: UInt16((earlier + runByteCount) / unit)))
        return KeptElements(run, isLong: runByteCount > KeptRuns.runByteCount, used: headerByteCount)
    }

    func release(to runs: inout KeptRuns) {
        var next: KeptElements? = self
        while let log = next {
            next = log.previous
            runs.give(log.run, byteCount: log.runByteCount)
        }
    }

    // MARK: Reading

    func contains(_ member: ByteView, isValued: Bool) -> Bool {
        let wanted = Self.mark(member, true)
        var isFound = false
        forEach(isValued: isValued) { element, mark in
            isFound = mark | 1 == wanted && element.member == member
            return !isFound
        }
        return isFound
    }

    /// Calls `body` with each element and its mark, in the order in which they came, until it answers false.
    private func forEach(isValued: Bool, _ body: (MemberElement, UInt8) -> Bool) {
        var runCount = 0
        var next: KeptElements? = self
        while let log = next { (runCount, next) = (runCount + 1, log.previous) }
        withUnsafeTemporaryAllocation(of: UInt.self, capacity: runCount) { words in
            next = self
            for index in stride(from: runCount - 1, through: 0, by: -1) {
                words[index] = next?.word ?? 0
                next = next?.previous
            }
            for word in words {
                guard let log = KeptElements(word: word), log.forEachOfRun(isValued: isValued, body) else { return }
            }
        }
    }

    /// False when `body` answered so.
    private func forEachOfRun(isValued: Bool, _ body: (MemberElement, UInt8) -> Bool) -> Bool {
        var position = run + Self.headerByteCount
        let end = run + used
        while position < end {
            let element = MemberElement(at: position + 1, isValued: isValued)
            guard body(element, position.load(as: UInt8.self)) else { return false }
            position += 1 + element.byteCount
        }
        return true
    }

    // MARK: The snapshot

    /// How many elements there are, one that came twice counted twice.
    func count(isValued: Bool) -> Int {
        var count = 0
        forEach(isValued: isValued) { _, _ in
            count += 1
            return true
        }
        return count
    }

    /// What a block of them takes at most, without counting: the smallest takes 2 bytes, and 4 in the block.
    var blockByteCountMax: Int { MemberBlock.headerByteCount + 3 * allocatedByteCount }

    /// What a block of so many takes at most.
    func blockByteCount(count: Int) -> Int {
        MemberBlock.headerByteCount + MemberBlock.slotByteCount * count + allocatedByteCount
    }

    /// Takes these members out of a copy of their block, and writes those that were there as a block of
    /// ``blockByteCount(count:)`` bytes for walks, not for searches: its tags mean nothing.
    func putBack(
        count: Int, in changed: MemberBlock, to memory: UnsafeMutableRawPointer, seed: HashSeed, isValued: Bool
    ) -> MemberBlock {
        let block = MemberBlock.initialize(memory, capacity: blockByteCount(count: count), depth: 0, instant: 0)
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: count) { marks in
            withUnsafeTemporaryAllocation(of: UnsafeMutableRawPointer.self, capacity: count) { addresses in
                var distinctCount = 0
                forEach(isValued: isValued) { element, mark in
                    for index in 0..<distinctCount where (marks[index] ^ mark) & ~1 == 0 {
                        let earlier = MemberElement(at: addresses[index], isValued: isValued)
                        if earlier.member == element.member { return true }
                    }
                    (marks[distinctCount], addresses[distinctCount]) = (mark, element.address)
                    distinctCount += 1
                    Self.remove(element.member, from: changed, seed: seed, isValued: isValued)
                    if mark & 1 != 0 {
                        let place = block.insert(at: block.count, tag: 0, byteCount: element.byteCount)
                        place.copyMemory(from: element.address, byteCount: element.byteCount)
                    }
                    return true
                }
            }
        }
        return block
    }

    /// Those that are there refer to nothing outside.
    private static func remove(_ member: ByteView, from block: MemberBlock, seed: HashSeed, isValued: Bool) {
        let tag = MemberBlock.tag(of: hashBytes(member, seed: seed), depth: block.depth)
        var index = block.lowerBound(tag)
        while index < block.count, block.tags[index] == tag {
            let element = MemberElement(at: block.elementAddress(index), isValued: isValued)
            if element.member == member {
                assert(element.isPlain)
                return block.remove(at: index, byteCount: element.byteCount)
            }
            index += 1
        }
    }
}
