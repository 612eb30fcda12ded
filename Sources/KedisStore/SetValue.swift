// Sets as handlers read them: sorted integers or packed entries in the cell, or a table outside.

package import KedisUtilities

/// A borrowed set: valid while its stripe is locked and until the keyspace is changed.
package struct SetValue {
    enum Form {
        case integers(IntegerSet)
        case packed(PackedChunk)
        case table(SetTable)
    }

    let form: Form

    init(_ cell: Cell, nowMilliseconds: Int64) {
        if let collection = cell.collection {
            form = .table(SetTable(collection, nowMilliseconds: nowMilliseconds))
        } else {
            form = SetValue.form(of: cell.value, cell.header.encoding)
        }
    }

    init(_ form: Form) { self.form = form }

    static func form(of bytes: ByteView, _ encoding: ValueEncoding) -> Form {
        encoding == .integerSet ? .integers(IntegerSet(bytes)) : .packed(PackedList(bytes).chunk)
    }

    /// How many members there are, 1 or more. O(1); O(n) while members that were due lie there.
    package var count: Int {
        switch form {
        case .integers(let set): set.count
        case .packed(let chunk): Int(chunk.count)
        case .table(let table): table.count
        }
    }

    /// Whether it lies outside of its cell.
    package var isLarge: Bool {
        if case .table = form { return true }
        return false
    }

    /// Whether the set has a member. O(1); in the cell O(members), of integers O(log members).
    package func contains(_ member: ByteView) -> Bool {
        contains(.bytes(member))
    }

    @inline(__always)
    func contains(_ member: StringValue) -> Bool {
        guard case .table(let table) = form else { return containsInCell(packedValue(member)) }
        return member.withBytes { table.contains($0, hash: table.hash(of: $0)) }
    }

    private func containsInCell(_ member: StringValue) -> Bool {
        switch form {
        case .integers(let set):
            guard case .integer(let integer) = member else { return false }
            return set.position(of: integer) != nil
        case .packed(let chunk):
            let bytes = ByteView(base: chunk.base.assumingMemoryBound(to: UInt8.self), count: Int(chunk.end))
            return SmallSet.find(member, in: bytes, .listpack) != nil
        case .table: return false
        }
    }

    /// When a member goes, in milliseconds since 1970, or ``noDeadline``; nil when there is no such member. As
    /// ``contains(_:)``.
    package func deadlineMilliseconds(of member: ByteView) -> Int64? {
        guard case .table(let table) = form else { return contains(member) ? noDeadline : nil }
        return table.deadlineMilliseconds(of: member)
    }

    /// How many members have a deadline. O(1).
    package var deadlineCount: Int {
        guard case .table(let table) = form else { return 0 }
        return table.deadlineCount
    }

    /// Calls `body` with the members that have a deadline, and it, until it answers false. O(members).
    package func forEachDeadline(_ body: (ByteView, Int64) -> Bool) {
        if case .table(let table) = form { table.forEachDeadline(body) }
    }

    /// Calls `body` with all members until it answers false. O(members).
    @inline(__always)
    package func forEach(_ body: (StringValue) -> Bool) {
        switch form {
        case .integers(let set):
            for position in 0..<set.count {
                guard body(.integer(set.member(at: position))) else { return }
            }
        case .packed(let chunk):
            var address = UnsafeRawPointer(chunk.first)
            for _ in 0..<Int(chunk.count) {
                guard body(PackedEntry.value(at: address)) else { return }
                address += PackedEntry.byteCount(at: address)
            }
        case .table(let table):
            table.forEach { body(.bytes($0)) }
        }
    }

    /// The integers of a set that is stored as such, sorted, as files have them: their width and their bytes.
    package var integers: (width: Int, bytes: ByteView)? {
        guard case .integers(let set) = form else { return nil }
        return (set.width, set.content)
    }

    // MARK: Random members

    /// Any member, each as likely as the others. O(1); of packed entries O(members).
    package func random(using generator: inout RandomGenerator) -> StringValue {
        switch form {
        case .integers(let set): .integer(set.member(at: generator.next(below: set.count)))
        case .packed(let chunk):
            PackedEntry.value(at: chunk.address(ofEntry: generator.next(below: Int(chunk.count))))
        case .table(let table): .bytes(table.random(using: &generator))
        }
    }

    /// Calls `body` with `sampleCount` different members, all selections being as likely, until it answers false;
    /// `sampleCount` is less than ``count``. False when memory is exhausted. O(samples), or O(members) when that is
    /// less.
    package func sample(
        _ sampleCount: Int, using generator: inout RandomGenerator, _ body: (StringValue) -> Bool
    ) -> Bool {
        guard case .table(let table) = form, count / 3 > sampleCount else {
            sampleInPassing(sampleCount, using: &generator, body)
            return true
        }
        // Few of many: they are drawn until there are enough different ones.
        guard var drawn = AddressSet(capacity: sampleCount) else { return false }
        var left = sampleCount
        while left > 0 {
            let member = table.random(using: &generator)
            guard drawn.insert(UInt(bitPattern: member.base)) else { continue }
            left -= 1
            guard body(.bytes(member)) else { return true }
        }
        return true
    }

    /// One walk: each member is taken with the likelihood that as many as are still wanted are among those left.
    private func sampleInPassing(
        _ sampleCount: Int, using generator: inout RandomGenerator, _ body: (StringValue) -> Bool
    ) {
        var (wanted, left) = (sampleCount, count)
        guard wanted > 0 else { return }
        forEach { member in
            let isTaken = generator.next(below: left) < wanted
            left &-= 1
            guard isTaken else { return true }
            wanted &-= 1
            return body(member) && wanted > 0
        }
    }

    // MARK: Scanning

    /// Calls `body` with about `elementCount` members from `cursor` on and returns the cursor to go on with, 0 at the
    /// end. A set in its cell is given at once. A member that is there all the time is given at least once.
    package func scan(from cursor: UInt64, count elementCount: Int, _ body: (StringValue) -> Void) -> UInt64 {
        guard case .table(let table) = form else {
            forEach { member in
                body(member)
                return true
            }
            return 0
        }
        return table.scan(from: cursor, count: elementCount) { body(.bytes($0)) }
    }
}

/// Addresses that were met: open addressing at half load at most.
private struct AddressSet: ~Copyable {
    private let slots: UnsafeMutablePointer<UInt>
    private let mask: Int

    /// Nil when memory is exhausted.
    init?(capacity: Int) {
        var slotCount = 16
        while slotCount < 2 * capacity { slotCount *= 2 }
        guard let memory = allocateBuffer(byteCount: slotCount * MemoryLayout<UInt>.stride, isZeroed: true) else {
            return nil
        }
        slots = memory.bindMemory(to: UInt.self, capacity: slotCount)
        mask = slotCount - 1
    }

    deinit { deallocateBuffer(slots) }

    /// False when the address, which is not 0, was there already.
    mutating func insert(_ address: UInt) -> Bool {
        var index = Int(truncatingIfNeeded: (address &* 0x9E37_79B9_7F4A_7C15) >> 32) & mask
        while slots[index] != 0 {
            if slots[index] == address { return false }
            index = (index &+ 1) & mask
        }
        slots[index] = address
        return true
    }
}

extension Entry {
    /// The value of a set, whose members that are due at `nowMilliseconds` do not count any more.
    package func set(nowMilliseconds: Int64) -> SetValue { SetValue(cell, nowMilliseconds: nowMilliseconds) }
}
