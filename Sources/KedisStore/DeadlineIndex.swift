// Where in a large hash or set deadlines are near: for parts of the hash space a time before which none comes.
//
//      1            the whole            a binary tree in an array: entry n is the earlier of 2n and 2n + 1,
//      2   3        halves               the last half of it are the parts
//      4 5 6 7      parts (depth 2)
//
// Times are lower bounds: an element that is removed or lives longer leaves its time behind until somebody looks at the
// part. So what is due is found by going down where times have come, and a part is looked at once too often at most.
//
// Ownership: a part of the header of its table (MemberTable.swift), whose memory it takes. Guarded by the stripe's
// lock. A small table has one part, and no memory. Without memory for more parts they stay as large as they are.
// Cost: 16 bytes a part, at most 64 KiB; O(depth) a change, and a search.

import KedisUtilities

struct DeadlineIndex {
    /// Parts beyond this only grow.
    static let depthMax = 12

    /// 2^(depth + 1) entries, the first of which is not used; nil while the depth is 0.
    private var minima: UnsafeMutablePointer<Int64>?
    private(set) var depth = 0
    private var only = Int64.max

    /// No deadline is earlier; `Int64.max` when there is none.
    @inline(__always)
    var earliest: Int64 { minima?[1] ?? only }

    var byteCount: Int { depth == 0 ? 0 : DeadlineIndex.byteCount(depth: depth) }

    private static func byteCount(depth: Int) -> Int { MemoryLayout<Int64>.stride << (depth + 1) }

    /// The hashes of a part: from the first on, as many as the second says, 0 for all.
    func hashes(ofPart part: Int) -> (first: UInt64, count: UInt64) {
        guard depth > 0 else { return (0, 0) }
        let count = UInt64(1) << UInt64(64 - depth)
        return (UInt64(part) * count, count)
    }

    // MARK: Changes

    /// Notes a deadline of an element. O(depth).
    mutating func note(_ hash: UInt64, _ deadlineMilliseconds: Int64) {
        guard let minima else {
            only = min(only, deadlineMilliseconds)
            return
        }
        var index = 1 << depth | Int(truncatingIfNeeded: hash >> UInt64(64 - depth))
        while index > 0, minima[index] > deadlineMilliseconds {
            minima[index] = deadlineMilliseconds
            index >>= 1
        }
    }

    /// A part was looked at: sets its time. O(depth).
    mutating func set(part: Int, to deadlineMilliseconds: Int64) {
        guard let minima else {
            only = deadlineMilliseconds
            return
        }
        var index = 1 << depth | part
        minima[index] = deadlineMilliseconds
        while index > 1 {
            index >>= 1
            minima[index] = min(minima[2 * index], minima[2 * index + 1])
        }
    }

    /// The first part whose time has come. O(depth).
    func firstPart(dueAt nowMilliseconds: Int64) -> Int? {
        guard earliest <= nowMilliseconds else { return nil }
        guard let minima else { return 0 }
        var index = 1
        while index < 1 << depth {
            index *= 2
            if minima[index] > nowMilliseconds { index += 1 }
        }
        return index - 1 << depth
    }

    // MARK: Size

    /// Makes it 2^depth parts, if there is memory for them. O(parts).
    mutating func resize(depth wanted: Int, source: UnsafeMutablePointer<MemorySource>) {
        guard wanted != depth, wanted <= DeadlineIndex.depthMax else { return }
        guard wanted > 0 else {
            let earliest = earliest
            release(to: source)
            only = earliest
            return
        }
        guard let memory = MemberTable.allocateBytes(DeadlineIndex.byteCount(depth: wanted), from: source) else {
            return
        }
        let made = memory.bindMemory(to: Int64.self, capacity: 2 << wanted)
        made[0] = .max
        for part in 0..<1 << wanted { made[1 << wanted | part] = bound(ofPart: part, depth: wanted) }
        for index in stride(from: (1 << wanted) - 1, to: 0, by: -1) {
            made[index] = min(made[2 * index], made[2 * index + 1])
        }
        release(to: source)
        (minima, depth) = (made, wanted)
    }

    /// What is known of a part of an index of another depth.
    private func bound(ofPart part: Int, depth other: Int) -> Int64 {
        guard let minima else { return only }
        // Either a part here that holds it, or the entry that stands for all parts in it.
        return other >= depth ? minima[1 << depth | part >> (other - depth)] : minima[1 << other | part]
    }

    /// The same in memory of its own; as one part when there is none.
    func copy(source: UnsafeMutablePointer<MemorySource>) -> DeadlineIndex {
        var copy = DeadlineIndex()
        copy.only = earliest
        guard let minima, let memory = MemberTable.allocateBytes(byteCount, from: source) else { return copy }
        copy.minima = memory.bindMemory(to: Int64.self, capacity: 2 << depth)
        copy.minima?.initialize(from: minima, count: 2 << depth)
        copy.depth = depth
        return copy
    }

    /// Frees the memory; there is no deadline then.
    mutating func release(to source: UnsafeMutablePointer<MemorySource>) {
        if let minima { MemberTable.freeBytes(minima, byteCount, to: source) }
        (minima, depth, only) = (nil, 0, .max)
    }

    /// Traps when something does not hold.
    func checkInvariants() {
        guard let minima else { return precondition(depth == 0) }
        for index in 1..<1 << depth {
            precondition(minima[index] == min(minima[2 * index], minima[2 * index + 1]), "an entry is the earlier one")
        }
    }

    /// The time that is known of a hash's part.
    func bound(of hash: UInt64) -> Int64 {
        guard let minima else { return only }
        return minima[1 << depth | Int(truncatingIfNeeded: hash >> UInt64(64 - depth))]
    }
}
