// Sorted sets that are changed: members that come, go, or get another score.
//
// A set of few short members lies in its cell; it becomes a tree where Redis goes from listpack to skip list, or where
// it no longer fits a cell, and stays one. An empty sorted set is none: its key goes with the last member.

package import KedisUtilities

/// When a sorted set is too large for its cell: `zset-max-listpack-entries` and `zset-max-listpack-value`.
package struct SortedSetLimits: Equatable, Sendable {
    package var countMax: Int
    package var memberByteCountMax: Int

    package init(countMax: Int = 128, memberByteCountMax: Int = 64) {
        self.countMax = countMax
        self.memberByteCountMax = memberByteCountMax
    }

    func allows(count: Int, memberByteCount: Int) -> Bool {
        count <= min(countMax, PackedSortedSet.countMax) && memberByteCount <= memberByteCountMax
    }
}

/// A sorted set that is being changed: valid while its stripe is locked, and until the keyspace is changed otherwise.
package struct SortedSetEditor {
    private var target: CellBytes
    private let limits: SortedSetLimits
    private let nowMilliseconds: Int64
    /// The last member was removed, and the key with it: the editor must not be used any more.
    package private(set) var isGone = false

    @inline(__always)
    fileprivate init(_ target: CellBytes, _ limits: SortedSetLimits, nowMilliseconds: Int64) {
        self.target = target
        self.limits = limits
        self.nowMilliseconds = nowMilliseconds
    }

    package var value: SortedSetValue { SortedSetValue(target.cell) }

    package var count: Int { tree?.count ?? PackedSortedSet(target.bytes).count }

    private var tree: SortedTree? {
        @inline(__always) get { target.cell.collection.map { SortedTree($0.address) } }
    }

    // MARK: Scores

    /// Gives a member the score that `decide` answers to the one that it has (nil: it is not there); nil leaves it as
    /// it is. The answer is no NaN. Another score takes its deadline away, unless it is kept. Returns both. O(log n).
    @discardableResult
    package mutating func update(
        _ member: ByteView, keepsDeadline: Bool = false, _ decide: (Double?) -> Double?
    ) throws(StoreError) -> (old: Double?, new: Double?) {
        guard let tree else { return try updateInCell(member, decide) }
        let before = tree.allocatedByteCount
        defer { noteChange(of: tree, from: before) }
        let hash = tree.hash(member)
        guard let found = tree.find(member, hash) else {
            guard let score = decide(nil) else { return (nil, nil) }
            guard tree.insert(member, hash, score: score) else { throw .outOfMemory }
            return (nil, score)
        }
        let old = found.leaf.score(found.index)
        guard let score = decide(old) else { return (old, old) }
        guard score != old else { return (old, old) }
        guard tree.setScore(found, member, hash, score) else { throw .outOfMemory }
        if !keepsDeadline { tree.forgetDeadline(of: member) }
        return (old, score)
    }

    /// Sets the score of a member, which is made if need be; the score is no NaN. O(log n).
    package mutating func set(_ member: ByteView, score: Double) throws(StoreError) {
        try update(member) { _ in score }
    }

    /// Sets or clears (``noDeadline``) the deadline of a member that is there. O(1), unless the set has to leave its
    /// cell.
    package mutating func setDeadline(_ member: ByteView, _ deadlineMilliseconds: Int64) throws(StoreError) {
        if tree == nil {
            guard deadlineMilliseconds != noDeadline else { return }
            try moveToTree()
        }
        guard let tree else { return }
        let (before, earliest) = (tree.allocatedByteCount, tree.earliestDeadline)
        defer { noteChange(of: tree, from: before) }
        guard tree.setDeadline(member, deadlineMilliseconds) else { throw .outOfMemory }
        guard deadlineMilliseconds != noDeadline else { return }
        target.noteMemberDeadline(deadlineMilliseconds, before: earliest, nowMilliseconds: nowMilliseconds)
    }

    @inline(__always)
    private func noteChange(of tree: SortedTree, from before: Int) {
        target.noteGrowth(tree.allocatedByteCount - before)
        while let blob = Collection(tree.address).takeRetired() { target.reclaim(blob) }
    }

    // MARK: Removal

    /// Removes a member, the key with the last one; false when it is not there. O(log n).
    package mutating func remove(_ member: ByteView) throws(StoreError) -> Bool {
        guard let tree else {
            guard let element = PackedSortedSet(target.bytes).find(member) else { return false }
            try remove(element.index..<element.index + 1)
            return true
        }
        let hash = tree.hash(member)
        guard let found = tree.find(member, hash) else { return false }
        if tree.count == 1 {
            removeKey()
        } else {
            let before = tree.allocatedByteCount
            tree.remove(found, hash)
            noteChange(of: tree, from: before)
        }
        return true
    }

    /// Removes the elements of a range of ranks, the key with the last of them. O(log n + elements).
    package mutating func remove(_ range: Range<Int>) throws(StoreError) {
        guard !range.isEmpty else { return }
        guard range.count < count else { return removeKey() }
        if let tree {
            let before = tree.allocatedByteCount
            tree.remove(range)
            noteChange(of: tree, from: before)
        } else {
            let set = PackedSortedSet(target.bytes)
            let start = set.element(ofRank: range.lowerBound).offset
            let end = set.element(ofRank: range.upperBound).offset
            _ = try target.splice(at: start, removing: end - start, inserting: 0, countChange: -range.count)
        }
    }

    /// Removes the key of a set that was made and got no member.
    package mutating func removeIfEmpty() {
        if count == 0 { removeKey() }
    }

    private mutating func removeKey() {
        target.removeKey()
        isGone = true
    }

    // MARK: In the cell

    private mutating func updateInCell(
        _ member: ByteView, _ decide: (Double?) -> Double?
    ) throws(StoreError) -> (old: Double?, new: Double?) {
        let set = PackedSortedSet(target.bytes)
        guard let element = set.find(member) else {
            guard let score = decide(nil) else { return (nil, nil) }
            try insertInCell(member, score)
            return (nil, score)
        }
        let old = set.score(element)
        guard let score = decide(old), score != old else { return (old, old) }
        let byteCount = withPackedScore(score) { PackedEntry.byteCount(of: $0) }
        guard set.bytes.count + byteCount <= CellHeader.inlineByteCountMax else {
            try moveToTree()
            try update(member) { _ in score }
            return (old, score)
        }
        let gap = try target.splice(
            at: element.scoreOffset, removing: element.end - element.scoreOffset, inserting: byteCount, countChange: 0)
        withPackedScore(score) { PackedEntry.write($0, at: gap) }
        moveElement(
            element.offset..<element.scoreOffset + byteCount, index: element.index, member, score, isUp: score > old)
        return (old, score)
    }

    /// Moves an element whose score has changed, at the bytes `range`, to where it belongs.
    private func moveElement(_ range: Range<Int>, index: Int, _ member: ByteView, _ score: Double, isUp: Bool) {
        let set = PackedSortedSet(target.bytes)
        var element = set.element(at: range.lowerBound, index: index)
        func precedes(_ other: PackedSortedSet.Element) -> Bool {
            let own = set.score(other)
            return score < own || (score == own && set.member(other).withBytes { member < $0 })
        }
        var target = isUp ? range.upperBound : range.lowerBound
        if isUp {
            element = set.element(after: element)
            while element.offset < set.bytes.count, !precedes(element) {
                target = element.end
                element = set.element(after: element)
            }
        } else {
            while element.offset > PackedSortedSet.countByteCount {
                element = set.element(before: element)
                guard precedes(element) else { break }
                target = element.offset
            }
        }
        let base = self.target.cell.valueAddress
        withUnsafeTemporaryAllocation(byteCount: range.count, alignment: 1) { moved in
            guard let copy = moved.baseAddress else { return }
            copy.copyMemory(from: base + range.lowerBound, byteCount: range.count)
            if isUp {
                let between = target - range.upperBound
                (base + range.lowerBound).copyMemory(from: base + range.upperBound, byteCount: between)
                (base + range.lowerBound + between).copyMemory(from: copy, byteCount: range.count)
            } else {
                let between = range.lowerBound - target
                (base + target + range.count).copyMemory(from: base + target, byteCount: between)
                (base + target).copyMemory(from: copy, byteCount: range.count)
            }
        }
    }

    private mutating func insertInCell(_ member: ByteView, _ score: Double) throws(StoreError) {
        let set = PackedSortedSet(target.bytes)
        let value = packedValue(member)
        let memberByteCount = PackedEntry.byteCount(of: value)
        let byteCount = memberByteCount + withPackedScore(score) { PackedEntry.byteCount(of: $0) }
        guard limits.allows(count: set.count + 1, memberByteCount: member.count),
            set.bytes.count + byteCount <= CellHeader.inlineByteCountMax
        else {
            try moveToTree()
            try update(member) { _ in score }
            return
        }
        let offset = set.firstElement(after: score, member).offset
        let gap = try target.splice(at: offset, removing: 0, inserting: byteCount, countChange: 1)
        PackedEntry.write(value, at: gap)
        withPackedScore(score) { PackedEntry.write($0, at: gap + memberByteCount) }
    }

    // MARK: To a tree

    private mutating func moveToTree() throws(StoreError) {
        guard let tree = SortedTree.make(seed: target.seed, from: target.source) else { throw .outOfMemory }
        guard fill(tree), target.moveOutside(Collection(tree.address), .skipList) else {
            tree.release()
            throw .outOfMemory
        }
    }

    private func fill(_ tree: SortedTree) -> Bool {
        var isDone = true
        value.forEach(in: 0..<count) { member, score in
            isDone = member.withBytes { tree.insert($0, tree.hash($0), score: score) }
            return isDone
        }
        return isDone
    }
}

/// What a lookup for a change of a sorted set finds.
package enum SortedSetLookup {
    case none
    case wrongType
    case sortedSet(SortedSetEditor)
}

extension Keyspace {
    /// The sorted set at `key` for a change: sets the access clock. O(1).
    @inline(__always)
    package func lookUpSortedSet(_ key: Key, limits: SortedSetLimits) -> SortedSetLookup {
        switch editCell(key, .sortedSet) {
        case .none: .none
        case .wrongType: .wrongType
        case .cell(let target): .sortedSet(SortedSetEditor(target, limits, nowMilliseconds: nowMilliseconds))
        }
    }

    /// The sorted set at `key` for a change; nil when there is none. The caller has made sure that it is no other type.
    package func editSortedSet(_ key: Key, limits: SortedSetLimits) -> SortedSetEditor? {
        cellToEdit(key, .sortedSet).map { SortedSetEditor($0, limits, nowMilliseconds: nowMilliseconds) }
    }

    /// An empty sorted set; there is no such key. It gets a member, or goes with ``SortedSetEditor/removeIfEmpty()``.
    package func makeSortedSet(_ key: Key, limits: SortedSetLimits) throws(StoreError) -> SortedSetEditor {
        let cell = try put(
            key, type: .sortedSet, valueFieldByteCount: PackedSortedSet.countByteCount, encoding: .listpack,
            deadline: .clear)
        cell.valueAddress.storeBytes(of: 0, as: UInt16.self)
        guard let editor = editSortedSet(key, limits: limits) else { throw .outOfMemory }
        return editor
    }

    /// Makes `key` a sorted set of these elements, whatever was there; without a deadline. They are in order, 1 or
    /// more, no member twice and no score NaN, and may be views of what is replaced. O(n).
    package func replaceSortedSet(
        _ key: Key, with elements: UnsafeBufferPointer<ScoredMember>, limits: SortedSetLimits
    ) throws(StoreError) {
        var (byteCount, memberByteCountMax) = (PackedSortedSet.countByteCount, 0)
        for element in elements where byteCount <= CellHeader.inlineByteCountMax {
            memberByteCountMax = max(memberByteCountMax, element.member.count)
            byteCount += PackedEntry.byteCount(of: packedValue(element.member))
            byteCount += withPackedScore(element.score) { PackedEntry.byteCount(of: $0) }
        }
        if byteCount <= CellHeader.inlineByteCountMax,
            limits.allows(count: elements.count, memberByteCount: memberByteCountMax)
        {
            try putPacked(key, elements, byteCount: byteCount)
        } else {
            try putTree(key, elements)
        }
    }

    private func putPacked(
        _ key: Key, _ elements: UnsafeBufferPointer<ScoredMember>, byteCount: Int
    ) throws(StoreError) {
        // Beside the value that is there, whose views the elements may be.
        guard let packed = allocateBuffer(byteCount: byteCount) else { throw .outOfMemory }
        defer { deallocateBuffer(packed) }
        packed.storeBytes(of: UInt16(truncatingIfNeeded: elements.count), as: UInt16.self)
        var address = packed + PackedSortedSet.countByteCount
        for element in elements {
            PackedEntry.write(packedValue(element.member), at: address)
            address += PackedEntry.byteCount(at: address)
            withPackedScore(element.score) { PackedEntry.write($0, at: address) }
            address += PackedEntry.byteCount(at: address)
        }
        let cell = try put(
            key, type: .sortedSet, valueFieldByteCount: byteCount, encoding: .listpack, deadline: .clear)
        cell.valueAddress.copyMemory(from: packed, byteCount: byteCount)
    }

    private func putTree(_ key: Key, _ elements: UnsafeBufferPointer<ScoredMember>) throws(StoreError) {
        guard let tree = SortedTree.make(seed: handle.seed, from: shared.pointee.source) else { throw .outOfMemory }
        do throws(StoreError) {
            for element in elements {
                guard tree.insert(element.member, tree.hash(element.member), score: element.score) else {
                    throw .outOfMemory
                }
            }
            let cell = try put(
                key, type: .sortedSet, valueFieldByteCount: MemoryLayout<UInt>.size, encoding: .skipList,
                deadline: .clear)
            cell.setCollection(Collection(tree.address))
            stripe(of: key).pointee.table(databaseIndex)?.pointee
                .noteOutside(1, byteCount: tree.allocatedByteCount)
        } catch {
            tree.release()
            throw error
        }
    }
}
