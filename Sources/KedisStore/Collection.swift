// Collections outside of their cells: what cells, tables and the reclaimer know of them.
//
// A collection that is too large for its cell owns its memory, so that it goes to another key, database or stripe, or
// to the reclaimer, as one address. Each structure begins with the same header, which says its form.
//
// Ownership: the cell that holds the address, or the reclaimer that frees it in slices; never shared. Guarded by the
// stripe's lock. Memory is counted by the `MemorySource`.
// While a snapshot is taken a large one may be read by another thread: who changes a piece of it says so before
// (`willChange`), so that a copy can be kept (CollectionPieces.swift).
// To add a structure: a form, and its line in each `switch` here and in Collection+Freezing.swift.

import KedisUtilities

/// The structures that hold collections.
enum CollectionForm: UInt8 {
    /// A list: PackedDeque.swift.
    case deque
    /// A hash or a set: MemberTable.swift.
    case members
    /// A sorted set: SortedTree.swift.
    case sortedTree
    /// A stream: Stream.swift.
    case stream
}

/// What the memory of every structure begins with.
struct CollectionHeader {
    var source: UnsafeMutablePointer<MemorySource>
    /// The one that is freed after it, while it waits for that.
    var nextWaiting: UnsafeMutableRawPointer?
    /// What a snapshot reads of it, or of the one that this stands for; the reference is owned.
    var pieces: Unmanaged<CollectionPieces>?
    let form: CollectionForm
    /// It stands for another one at an instant: it has that one's figures and walks over all of it, and nothing else.
    var isFrozen = false
    /// How often snapshots came to it: a piece with the same number was kept already, or came later.
    var instant: UInt32 = 0

    init(source: UnsafeMutablePointer<MemorySource>, form: CollectionForm) {
        self.source = source
        self.form = form
    }
}

/// A handle on a collection: trivially copied, owns nothing.
struct Collection {
    let address: UnsafeMutableRawPointer

    init(_ address: UnsafeMutableRawPointer) { self.address = address }

    var header: UnsafeMutablePointer<CollectionHeader> {
        address.assumingMemoryBound(to: CollectionHeader.self)
    }

    var form: CollectionForm { header.pointee.form }

    var nextWaiting: Collection? {
        get { header.pointee.nextWaiting.map { Collection($0) } }
        nonmutating set { header.pointee.nextWaiting = newValue?.address }
    }

    /// What it takes from the allocator, in bytes. O(1).
    var allocatedByteCount: Int {
        switch form {
        case .deque: PackedDeque(address).allocatedByteCount
        case .members: MemberTable(address).allocatedByteCount
        case .sortedTree: SortedTree(address).allocatedByteCount
        case .stream: Stream(address).allocatedByteCount
        }
    }

    /// Frees about `byteLimit` bytes; true when the collection itself is gone.
    func releaseSome(byteLimit: Int) -> Bool {
        if hasPieces, leavePieces() { return true }
        return switch form {
        case .deque: PackedDeque(address).releaseSome(byteLimit: byteLimit)
        case .members: MemberTable(address).releaseSome(byteLimit: byteLimit)
        case .sortedTree: SortedTree(address).releaseSome(byteLimit: byteLimit)
        case .stream: Stream(address).releaseSome(byteLimit: byteLimit)
        }
    }

    func release() { _ = releaseSome(byteLimit: .max) }

    /// A copy; nil when memory is exhausted. O(bytes).
    func copy() -> Collection? {
        switch form {
        case .deque: PackedDeque(address).copy().map { Collection($0.address) }
        case .members: MemberTable(address).copy().map { Collection($0.address) }
        case .sortedTree: SortedTree(address).copy().map { Collection($0.address) }
        case .stream: Stream(address).copy().map { Collection($0.address) }
        }
    }

    // MARK: Deadlines of members

    /// No member is due before; `Int64.max` when none has a deadline. O(1).
    var earliestMemberDeadline: Int64 {
        switch form {
        case .members: MemberTable(address).earliestDeadline
        case .sortedTree: SortedTree(address).earliestDeadline
        case .deque, .stream: .max
        }
    }

    /// Whether a member is there that is not due. O(1), or O(n) while all may be.
    func hasLiveMember(_ nowMilliseconds: Int64) -> Bool {
        switch form {
        case .members: MemberTable(address).hasLive(nowMilliseconds)
        case .sortedTree: SortedTree(address).hasLive(nowMilliseconds)
        case .deque, .stream: true
        }
    }

    /// Removes due members, at most about `limit`; returns how many it removed. One may be left that is not due, or
    /// none at all. O(limit · log n).
    func removeDueMembers(_ nowMilliseconds: Int64, limit: Int) -> Int {
        switch form {
        case .members:
            let table = MemberTable(address)
            let before = table.count
            _ = table.removeDue(nowMilliseconds, limit: limit)
            return before - table.count
        case .sortedTree: return SortedTree(address).removeDue(nowMilliseconds, limit: limit)
        case .deque, .stream: return 0
        }
    }

    /// Whether there is no member, due or not. O(1).
    var isEmptied: Bool {
        switch form {
        case .members: MemberTable(address).count == 0
        case .sortedTree: SortedTree(address).count == 0
        case .deque, .stream: false
        }
    }

    /// A large blob that the collection no longer refers to, now the caller's, who gives it to the reclaimer.
    func takeRetired() -> Blob? {
        switch form {
        case .members: MemberTable(address).takeRetired()
        case .sortedTree: SortedTree(address).deadlines?.takeRetired()
        case .deque, .stream: nil
        }
    }

    /// Walks the collection and traps when something does not hold. O(n).
    func checkInvariants() {
        switch form {
        case .deque: PackedDeque(address).checkInvariants()
        case .members: MemberTable(address).checkInvariants()
        case .sortedTree: SortedTree(address).checkInvariants()
        case .stream: Stream(address).checkInvariants()
        }
    }
}
