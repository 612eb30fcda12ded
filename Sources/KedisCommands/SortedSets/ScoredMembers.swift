// Members and scores that are gathered before they are stored or replied: the results of set operations.
//
// Ownership: owns flat buffers whose refusal is an error; members are views of the keyspace, but for numbers, which are
// spelled in blocks of its own. Cost: 24 bytes an element, as many again while it sorts.

import KedisProtocol
import KedisStore
import KedisUtilities

struct ScoredMembers: ~Copyable {
    private var memory: UnsafeMutablePointer<ScoredMember>?
    private var capacity = 0
    private(set) var count = 0
    /// Whether memory was refused: then what came later is missing.
    private(set) var isExhausted = false
    /// The last block of spelled numbers, which begins with the address of the one before.
    private var block: UnsafeMutableRawPointer?
    private var blockOffset = ScoredMembers.blockByteCount
    private static let blockByteCount = 4096

    init() {}

    deinit {
        deallocateBuffer(memory)
        var next = block
        while let block = next {
            next = block.load(as: UnsafeMutableRawPointer?.self)
            deallocateBuffer(block)
        }
    }

    /// False when memory was refused.
    @discardableResult
    mutating func append(_ member: StringValue, _ score: Double) -> Bool {
        if count == capacity, !grow() { return false }
        guard let view = spelled(member), let memory else { return false }
        memory[count] = ScoredMember(view, score)
        count &+= 1
        return true
    }

    private mutating func grow() -> Bool {
        let wanted = max(64, 2 * capacity)
        guard !isExhausted, let grown = resizeBuffer(memory, capacity: wanted) else {
            isExhausted = true
            return false
        }
        (memory, capacity) = (grown, wanted)
        return true
    }

    private mutating func spelled(_ member: StringValue) -> ByteView? {
        guard case .integer(let integer) = member else {
            guard case .bytes(let view) = member else { return nil }
            return view
        }
        if blockOffset + 20 > ScoredMembers.blockByteCount {
            guard let made = allocateBuffer(byteCount: ScoredMembers.blockByteCount) else {
                isExhausted = true
                return nil
            }
            made.storeBytes(of: block, as: UnsafeMutableRawPointer?.self)
            block = made
            blockOffset = MemoryLayout<UnsafeMutableRawPointer>.size
        }
        guard let block else { return nil }
        let digits = (block + blockOffset).assumingMemoryBound(to: UInt8.self)
        let digitCount = formatInteger(integer, into: digits)
        blockOffset += digitCount
        return ByteView(base: digits, count: digitCount)
    }

    var elements: UnsafeBufferPointer<ScoredMember> { UnsafeBufferPointer(start: memory, count: count) }

    /// Sorts stably; false when memory is refused. O(n log n), O(n) where the elements are in order already.
    mutating func sort(by precedes: (ScoredMember, ScoredMember) -> Bool) -> Bool {
        guard count > 1, let memory else { return true }
        guard let spare: UnsafeMutablePointer<ScoredMember> = resizeBuffer(nil, capacity: count / 2) else {
            isExhausted = true
            return false
        }
        defer { deallocateBuffer(spare) }
        ScoredMembers.mergeSort(memory, count, spare, precedes)
        return true
    }

    private static func mergeSort(
        _ items: UnsafeMutablePointer<ScoredMember>, _ count: Int, _ spare: UnsafeMutablePointer<ScoredMember>,
        _ precedes: (ScoredMember, ScoredMember) -> Bool
    ) {
        guard count > 1 else { return }
        let middle = count / 2
        mergeSort(items, middle, spare, precedes)
        mergeSort(items + middle, count - middle, spare, precedes)
        guard precedes(items[middle], items[middle - 1]) else { return }
        spare.update(from: items, count: middle)
        var (left, right, target) = (0, middle, 0)
        while left < middle {
            if right < count, precedes(items[right], spare[left]) {
                items[target] = items[right]
                right &+= 1
            } else {
                items[target] = spare[left]
                left &+= 1
            }
            target &+= 1
        }
    }

    /// Makes one element of those with the same member, which stand side by side: `combine` joins their scores in
    /// their order.
    mutating func joinEqualMembers(_ combine: (Double, Double) -> Double) {
        guard count > 1, let memory else { return }
        var kept = 0
        for index in 1..<count {
            if memory[index].member == memory[kept].member {
                memory[kept].score = combine(memory[kept].score, memory[index].score)
            } else {
                kept &+= 1
                memory[kept] = memory[index]
            }
        }
        count = kept + 1
    }
}

extension CommandCall {
    /// Makes `key` a sorted set of elements that are in order, or removes it when there are none. One change.
    mutating func store(
        _ elements: inout ScoredMembers, at key: Key, event: StaticString
    ) throws(CommandError) {
        if elements.isExhausted { throw .outOfMemory }
        guard elements.count > 0 else { return removeInsteadOfStoring(key) }
        let (keyspace, limits, view) = (keyspace, sortedSetLimits, elements.elements)
        // What is due there expires first.
        _ = keyspace.write(key)
        try storing { () throws(StoreError) in try keyspace.replaceSortedSet(key, with: view, limits: limits) }
        changed(key, event)
    }
}
