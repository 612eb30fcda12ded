// Elements of one block of a hash or set as they were at the instant of a snapshot: what those leave who change a few.
//
//      ┌────────┬─────────────┬──────────────────────┬──────────────────────┬─ … ─┐
//      │ header │ tags        │ was there, element   │ was there, element   │free │
//      │ 24     │ 32, 1 each  │ 1      as in blocks  │ 1                    │     │
//      └────────┴─────────────┴──────────────────────┴──────────────────────┴─ … ─┘
//
// An element that was not there has its member and an empty value. None of them lies outside of its block or has a
// deadline: who changes such a one copies the block, as who changes more than 32. A tag is a part of the hash, so that
// a search for what is not there ends with the tags.
//
// Ownership: the pieces of the collection (CollectionPieces.swift). Memory: at most half of the block's, or so much as
// the smallest has. Cost: an element's bytes and 1.

import CKedis
import KedisUtilities

/// A handle: trivially copied, owns nothing.
struct KeptElements {
    private struct Header {
        var capacity: UInt32
        /// With the header.
        var byteCount: UInt32
        var count: UInt32
        /// The next piece that waits, or -1.
        var nextPiece: Int
    }

    private static let tagOffset = MemoryLayout<Header>.stride
    private static let elementCountMax = 32
    private static let headerByteCount = tagOffset + elementCountMax
    private static let byteCountMin = 120

    let address: UnsafeMutableRawPointer

    init(_ address: UnsafeMutableRawPointer) { self.address = address }

    private var header: UnsafeMutablePointer<Header> { address.assumingMemoryBound(to: Header.self) }

    private var tags: UnsafeMutablePointer<UInt8> {
        (address + Self.tagOffset).assumingMemoryBound(to: UInt8.self)
    }

    private static func tag(of hash: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: hash) }

    var allocatedByteCount: Int { Int(header.pointee.capacity) }

    var nextPiece: Int { header.pointee.nextPiece }

    /// The log of a piece with one element more: `log`, or a longer one in its place, or a first one, which `nextPiece`
    /// belongs to. Nil when it is full, would take more than `byteCountMax`, or memory is exhausted: then `log` is as
    /// it was.
    static func adding(
        _ element: MemberDraft, hash: UInt64, wasThere: Bool, to log: KeptElements?, nextPiece: Int, byteCountMax: Int,
        _ backlog: SnapshotBacklog
    ) -> KeptElements? {
        let used = log.map { Int($0.header.pointee.byteCount) } ?? headerByteCount
        let needed = used + 1 + element.byteCount
        let index = log.map { Int($0.header.pointee.count) } ?? 0
        guard needed <= max(byteCountMax, byteCountMin), index < elementCountMax else { return nil }
        var made = log
        if needed > log?.allocatedByteCount ?? 0 {
            let byteCount = max(byteCountMin, min(needed + needed / 2, byteCountMax))
            made = longer(log, byteCount: byteCount, nextPiece: nextPiece, backlog)
        }
        guard let made else { return nil }
        (made.address + used).storeBytes(of: wasThere ? 1 : 0, as: UInt8.self)
        element.write(at: made.address + used + 1)
        made.tags[index] = tag(of: hash)
        made.header.pointee.byteCount = UInt32(needed)
        made.header.pointee.count += 1
        return made
    }

    private static func longer(
        _ log: KeptElements?, byteCount: Int, nextPiece: Int, _ backlog: SnapshotBacklog
    ) -> KeptElements? {
        guard let address = backlog.allocate(byteCount: byteCount) else { return nil }
        let made = KeptElements(address)
        made.header.initialize(
            to: Header(
                capacity: UInt32(byteCount), byteCount: UInt32(headerByteCount), count: 0, nextPiece: nextPiece))
        if let log {
            address.copyMemory(from: log.address, byteCount: Int(log.header.pointee.byteCount))
            made.header.pointee.capacity = UInt32(byteCount)
            log.release(backlog)
        }
        backlog.notePieces(byteCount: byteCount)
        return made
    }

    func release(_ backlog: SnapshotBacklog) {
        backlog.notePieces(byteCount: -allocatedByteCount)
        deallocateBuffer(address)
    }

    func contains(_ member: ByteView, hash: UInt64, isValued: Bool) -> Bool {
        guard kedis_contains_tag(tags, header.pointee.count, Self.tag(of: hash)) != 0 else { return false }
        var isFound = false
        forEach(isValued: isValued) { element, _ in
            isFound = element.member == member
            return !isFound
        }
        return isFound
    }

    /// Calls `body` with each element, and whether it was there, until it answers false.
    @inline(__always)
    func forEach(isValued: Bool, _ body: (MemberElement, Bool) -> Bool) {
        var position = address + Self.headerByteCount
        let end = address + Int(header.pointee.byteCount)
        while position < end {
            let wasThere = position.load(as: UInt8.self) != 0
            let element = MemberElement(at: position + 1, isValued: isValued)
            guard body(element, wasThere) else { return }
            position += 1 + element.byteCount
        }
    }

    // MARK: The snapshot

    /// What a block of those that were there takes at most.
    var blockByteCount: Int {
        MemberBlock.headerByteCount + MemberBlock.slotByteCount * Int(header.pointee.count)
            + Int(header.pointee.byteCount)
    }

    /// Writes them as a block of ``blockByteCount`` bytes for walks, not for searches: its tags mean nothing.
    func write(to memory: UnsafeMutableRawPointer, isValued: Bool) -> MemberBlock {
        let block = MemberBlock.initialize(memory, capacity: blockByteCount, depth: 0)
        forEach(isValued: isValued) { element, wasThere in
            guard wasThere else { return true }
            let place = block.insert(at: block.count, tag: 0, byteCount: element.byteCount)
            place.copyMemory(from: element.address, byteCount: element.byteCount)
            return true
        }
        return block
    }

    /// Takes these members out of a copy of their block; those that are there refer to nothing outside.
    func remove(from block: MemberBlock, seed: HashSeed, isValued: Bool) {
        forEach(isValued: isValued) { kept, _ in
            let tag = MemberBlock.tag(of: hashBytes(kept.member, seed: seed), depth: block.depth)
            var index = block.lowerBound(tag)
            while index < block.count, block.tags[index] == tag {
                let element = MemberElement(at: block.elementAddress(index), isValued: isValued)
                if element.member == kept.member {
                    assert(element.isPlain)
                    block.remove(at: index, byteCount: element.byteCount)
                    break
                }
                index += 1
            }
            return true
        }
    }
}
