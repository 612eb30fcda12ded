// A binary heap whose members know their places, the earliest first: what timers and waiting clients are kept in.
//
// Ownership: whoever has the heap; it keeps its members. Threads: the owner's. Cost: O(log n) to add and to remove.

/// Something that is in at most one heap.
protocol DeadlineHeapMember: AnyObject {
    /// Its place, -1 while it is in none. The heap's alone.
    var heapIndex: Int { get set }

    /// Whether it comes first.
    func precedes(_ other: Self) -> Bool
}

struct DeadlineHeap<Member: DeadlineHeapMember> {
    private var members: [Member] = []

    /// The earliest.
    var first: Member? { members.first }

    /// Enters a member that is in no heap.
    mutating func add(_ member: Member) {
        assert(member.heapIndex < 0)
        members.append(member)
        rise(member, from: members.count - 1)
    }

    /// Takes a member out; false when it is not there.
    @discardableResult
    mutating func remove(_ member: Member) -> Bool {
        let index = member.heapIndex
        guard index >= 0 else { return false }
        member.heapIndex = -1
        let last = members.removeLast()
        guard last !== member else { return true }
        sink(last, from: index)
        rise(last, from: last.heapIndex)
        return true
    }

    mutating func removeAll() {
        for member in members { member.heapIndex = -1 }
        members = []
    }

    private mutating func place(_ member: Member, at index: Int) {
        members[index] = member
        member.heapIndex = index
    }

    private mutating func rise(_ member: Member, from start: Int) {
        var index = start
        while index > 0 {
            let parent = (index - 1) / 2
            guard member.precedes(members[parent]) else { break }
            place(members[parent], at: index)
            index = parent
        }
        place(member, at: index)
    }

    private mutating func sink(_ member: Member, from start: Int) {
        var index = start
        while true {
            var child = 2 * index + 1
            guard child < members.count else { break }
            if child + 1 < members.count, members[child + 1].precedes(members[child]) { child += 1 }
            guard members[child].precedes(member) else { break }
            place(members[child], at: index)
            index = child
        }
        place(member, at: index)
    }
}
