// Things with names, sorted by name: the groups of a stream, and the consumers of a group.
//
//      slots ─▶ ┌──────┬──────┬─ … ─┐     item  ┌────────────────────────────┬───────┬──────┐
//               │ item │ item │     │ ─▶        │ where the name is, how long │ facts │ name │
//               └──────┴──────┴─ … ─┘           └────────────────────────────┴───────┴──────┘
//
// Ownership: a part of a stream or a group, which frees the items. An item keeps its address while it lives.
// Cost: a search O(log n); a new one moves 8 bytes for each one behind it.

import KedisUtilities

/// What every item begins with.
struct StreamItem {
    var nameOffset: UInt32
    var nameByteCount: UInt32

    static func name(of item: UnsafeMutableRawPointer) -> ByteView {
        let own = item.load(as: StreamItem.self)
        let base = (item + Int(own.nameOffset)).assumingMemoryBound(to: UInt8.self)
        return ByteView(base: base, count: Int(own.nameByteCount))
    }

    static func byteCount(of item: UnsafeMutableRawPointer) -> Int {
        let own = item.load(as: StreamItem.self)
        return Int(own.nameOffset) + Int(own.nameByteCount)
    }

    /// Memory for an item of `factByteCount` bytes and its name, both written but for the facts; nil when exhausted.
    static func make(_ name: ByteView, factByteCount: Int, _ memory: StreamMemory) -> UnsafeMutableRawPointer? {
        guard let item = memory.allocate(factByteCount + name.count) else { return nil }
        (item + factByteCount).copyMemory(from: name.base, byteCount: name.count)
        return item
    }
}

struct StreamTable {
    private var slots: UnsafeMutablePointer<UnsafeMutableRawPointer>?
    private var capacity = 0
    private(set) var count = 0

    func item(_ index: Int) -> UnsafeMutableRawPointer {
        assert(index >= 0 && index < count)
        return slots.unsafelyUnwrapped[index]
    }

    /// Where the name is, or would be.
    private func lowerBound(_ name: ByteView) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if StreamItem.name(of: item(middle)).raw.lexicographicallyPrecedes(name.raw) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }

    func index(of name: ByteView) -> Int? {
        let index = lowerBound(name)
        return index < count && StreamItem.name(of: item(index)) == name ? index : nil
    }

    func find(_ name: ByteView) -> UnsafeMutableRawPointer? { index(of: name).map { item($0) } }

    /// Enters an item whose name is not there; false, nothing being taken over, when memory is exhausted.
    mutating func insert(_ item: UnsafeMutableRawPointer, _ memory: StreamMemory) -> Bool {
        if count == capacity, !grow(memory) { return false }
        let index = lowerBound(StreamItem.name(of: item))
        let place = slots.unsafelyUnwrapped + index
        (place + 1).update(from: place, count: count - index)
        place.pointee = item
        count += 1
        return true
    }

    private mutating func grow(_ memory: StreamMemory) -> Bool {
        let slotByteCount = MemoryLayout<UnsafeMutableRawPointer>.stride
        let grown = max(1, 2 * capacity)
        guard let made = memory.allocate(grown * slotByteCount) else { return false }
        let target = made.bindMemory(to: UnsafeMutableRawPointer.self, capacity: grown)
        if let slots {
            target.update(from: slots, count: count)
            memory.deallocate(slots, capacity * slotByteCount)
        }
        (slots, capacity) = (target, grown)
        return true
    }

    /// Takes an item out; freeing it is the caller's.
    mutating func remove(at index: Int, _ memory: StreamMemory) {
        guard let slots else { return }
        let place = slots + index
        place.update(from: place + 1, count: count - index - 1)
        count -= 1
        guard count == 0 else { return }
        memory.deallocate(slots, capacity * MemoryLayout<UnsafeMutableRawPointer>.stride)
        (self.slots, capacity) = (nil, 0)
    }

    func checkInvariants() {
        precondition(count <= capacity && (slots == nil) == (capacity == 0))
        for index in 1..<max(1, count) {
            let (before, own) = (StreamItem.name(of: item(index - 1)), StreamItem.name(of: item(index)))
            precondition(before.raw.lexicographicallyPrecedes(own.raw), "names are sorted")
        }
    }
}
