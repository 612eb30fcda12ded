// Members and scores that are gathered before they are stored or replied: the results of set operations.
//
// Ownership: owns memory whose refusal is an error; members are views of the keyspace, but for numbers, which are
// spelled in blocks of its own. Cost: 24 bytes an element, as many again while it sorts.

import KedisProtocol
import KedisStore
import KedisUtilities

struct ScoredMembers: ~Copyable {
    private var members = FallibleArray<ScoredMember>()
    /// Whether memory was refused: then what came later is missing.
    private(set) var isExhausted = false
    /// The last block of spelled numbers, which begins with the address of the one before.
    private var block: UnsafeMutableRawPointer?
    private var blockOffset = ScoredMembers.blockByteCount
    private static let blockByteCount = 4096

    init() {}

    deinit {
        var next = block
        while let block = next {
            next = block.load(as: UnsafeMutableRawPointer?.self)
            deallocateBuffer(block)
        }
    }

    /// False when memory was refused.
    @discardableResult
    mutating func append(_ member: StringValue, _ score: Double) -> Bool {
        guard !isExhausted, let view = spelled(member), members.append(ScoredMember(view, score)) else {
            isExhausted = true
            return false
        }
        return true
    }

    private mutating func spelled(_ member: StringValue) -> ByteView? {
        guard case .integer(let integer) = member else {
            guard case .bytes(let view) = member else { return nil }
            return view
        }
        if blockOffset + 20 > ScoredMembers.blockByteCount {
            guard let made = allocateBuffer(byteCount: ScoredMembers.blockByteCount) else { return nil }
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

    var count: Int { members.count }

    var elements: UnsafeBufferPointer<ScoredMember> { UnsafeBufferPointer(members.elements) }

    /// Sorts stably; false when memory is refused. O(n log n), O(n) where the elements are in order already.
    mutating func sort(by precedes: (ScoredMember, ScoredMember) -> Bool) -> Bool {
        if !members.sort(by: precedes) { isExhausted = true }
        return !isExhausted
    }

    /// Makes one element of those with the same member, which stand side by side: `combine` joins their scores in
    /// their order.
    mutating func joinEqualMembers(_ combine: (Double, Double) -> Double) {
        guard count > 1 else { return }
        let elements = members.elements
        var kept = 0
        for index in 1..<elements.count {
            if elements[index].member == elements[kept].member {
                elements[kept].score = combine(elements[kept].score, elements[index].score)
            } else {
                kept &+= 1
                elements[kept] = elements[index]
            }
        }
        members.truncate(to: kept + 1)
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
