// Sets that fit their cells: of integers (IntegerSet.swift), or packed entries in the order in which they came.
//
//      packed    ┌─────────┬────────────────┐
//                │ count   │ packed entries │    (PackedEntry.swift)
//                │ 2 bytes │                │
//                └─────────┴────────────────┘
//
// A set begins as the one or the other by its first member; the first member that is no integer makes integers entries.
// Whatever passes a limit is `full`: the caller moves it to a table. Functions on memory of others; O(bytes).

import CKedis
import KedisUtilities

/// When a set is small: `set-max-intset-entries`, `set-max-listpack-entries`, `set-max-listpack-value`.
package struct SetLimits: Equatable, Sendable {
    package var integerCountMax: Int
    package var packedCountMax: Int
    package var packedByteCountMax: Int

    package init(integerCountMax: Int = 512, packedCountMax: Int = 128, packedByteCountMax: Int = 64) {
        self.integerCountMax = integerCountMax
        self.packedCountMax = packedCountMax
        self.packedByteCountMax = packedByteCountMax
    }
}

enum SmallSetChange {
    case done, unchanged
    /// It needs a table; nothing was changed.
    case full
    case outOfMemory
}

/// Where a member lies.
struct SmallSetMember {
    var offset: Int
    var byteCount: Int
}

enum SmallSet {
    // MARK: Reading

    static func count(_ bytes: ByteView, _ encoding: ValueEncoding) -> Int {
        encoding == .integerSet ? IntegerSet(bytes).count : PackedList(bytes).count
    }

    static func find(_ value: StringValue, in bytes: ByteView, _ encoding: ValueEncoding) -> SmallSetMember? {
        guard encoding == .integerSet else { return findPacked(value, in: bytes) }
        let set = IntegerSet(bytes)
        guard case .integer(let integer) = value, let position = set.position(of: integer) else { return nil }
        return SmallSetMember(offset: IntegerSet.offset(ofPosition: position, width: set.width), byteCount: set.width)
    }

    /// The member at a position.
    static func member(at position: Int, of bytes: ByteView, _ encoding: ValueEncoding) -> SmallSetMember {
        guard encoding == .integerSet else {
            let address = PackedList(bytes).chunk.address(ofEntry: position)
            let offset = UnsafeRawPointer(address) - UnsafeRawPointer(bytes.base)
            return SmallSetMember(offset: offset, byteCount: PackedEntry.byteCount(at: address))
        }
        let width = IntegerSet(bytes).width
        return SmallSetMember(offset: IntegerSet.offset(ofPosition: position, width: width), byteCount: width)
    }

    static func value(of member: SmallSetMember, in bytes: ByteView, _ encoding: ValueEncoding) -> StringValue {
        let address = UnsafeRawPointer(bytes.base) + member.offset
        guard encoding == .integerSet else { return PackedEntry.value(at: address) }
        return .integer(IntegerSet.load(address, width: member.byteCount))
    }

    /// The entry that is `value`, by a walk over all of them.
    private static func findPacked(_ value: StringValue, in bytes: ByteView) -> SmallSetMember? {
        let start = UnsafeRawPointer(bytes.base)
        let end = start + bytes.count
        var address = start + PackedList.countByteCount
        switch value {
        case .bytes(let wanted) where wanted.count < 64:
            // Short strings have a header of one byte, so most entries are passed over by looking at it.
            let form = 0x80 | UInt8(truncatingIfNeeded: wanted.count)
            while address < end {
                let first = address.load(as: UInt8.self)
                if first == form, kedis_equal(address + 1, wanted.base, wanted.count) != 0 {
                    return SmallSetMember(offset: address - start, byteCount: wanted.count &+ 2)
                }
                address += first & 0xC0 == 0x80 ? Int(first & 0x3F) &+ 2 : PackedEntry.byteCount(at: address)
            }
        case .bytes(let wanted):
            while address < end {
                let byteCount = PackedEntry.byteCount(at: address)
                if case .bytes(let own) = PackedEntry.value(at: address), own == wanted {
                    return SmallSetMember(offset: address - start, byteCount: byteCount)
                }
                address += byteCount
            }
        case .integer(let wanted):
            while address < end {
                let byteCount = PackedEntry.byteCount(at: address)
                if case .integer(let own) = PackedEntry.value(at: address), own == wanted {
                    return SmallSetMember(offset: address - start, byteCount: byteCount)
                }
                address += byteCount
            }
        }
        return nil
    }

    // MARK: Beginning

    /// What a set of `value` alone is, and its bytes; nil when it is not small.
    static func beginning(_ value: StringValue, _ limits: SetLimits) -> (encoding: ValueEncoding, byteCount: Int)? {
        if case .integer(let integer) = value, limits.integerCountMax >= 1 {
            return (.integerSet, IntegerSet.byteCount(count: 1, width: IntegerSet.width(of: integer)))
        }
        let byteCount = PackedList.countByteCount + PackedEntry.byteCount(of: value)
        guard limits.packedCountMax >= 1, value.byteCount <= limits.packedByteCountMax,
            byteCount <= CellHeader.inlineByteCountMax
        else { return nil }
        return (.listpack, byteCount)
    }

    /// Writes the set of `value` alone into the bytes that ``beginning(_:_:)`` asked for.
    static func begin(_ value: StringValue, _ encoding: ValueEncoding, at base: UnsafeMutableRawPointer) {
        guard encoding == .integerSet, case .integer(let integer) = value else {
            base.storeBytes(of: 1, as: UInt16.self)
            return PackedEntry.write(value, at: base + PackedList.countByteCount)
        }
        let width = IntegerSet.width(of: integer)
        base.storeBytes(of: UInt8(truncatingIfNeeded: width), as: UInt8.self)
        IntegerSet.store(integer, at: base + IntegerSet.headerByteCount, width: width)
    }

    // MARK: Changes

    /// Adds `value`, whose bytes must not lie in the set, to a set that is not empty.
    static func add<Target: EditableBytes & ~Copyable>(
        _ value: StringValue, to target: inout Target, _ limits: SetLimits
    ) -> SmallSetChange {
        guard target.encoding == .integerSet else { return addPacked(value, to: &target, limits) }
        if case .integer(let integer) = value { return addInteger(integer, to: &target, limits) }
        let outcome = pack(&target, adding: value, limits)
        return outcome == .done ? addPacked(value, to: &target, limits) : outcome
    }

    private static func addInteger<Target: EditableBytes & ~Copyable>(
        _ value: Int64, to target: inout Target, _ limits: SetLimits
    ) -> SmallSetChange {
        let set = IntegerSet(target.bytes)
        let (count, old) = (set.count, set.width)
        let position = set.lowerBound(of: value)
        if position < count, set.member(at: position) == value { return .unchanged }
        let width = max(old, IntegerSet.width(of: value))
        guard count < limits.integerCountMax,
            IntegerSet.byteCount(count: count + 1, width: width) <= CellHeader.inlineByteCountMax
        else { return .full }
        guard width > old else {
            let offset = IntegerSet.offset(ofPosition: position, width: width)
            guard let gap = target.splice(at: offset, removing: 0, inserting: width) else { return .outOfMemory }
            IntegerSet.store(value, at: gap, width: width)
            return .done
        }
        // The new one is below or above all others, or it would not need the width.
        let end = IntegerSet.byteCount(count: count, width: old)
        let growth = IntegerSet.byteCount(count: count + 1, width: width) - end
        guard let gap = target.splice(at: end, removing: 0, inserting: growth) else { return .outOfMemory }
        let base = gap - end
        IntegerSet.widen(base, count: count, from: old, to: width)
        let slot = base + IntegerSet.offset(ofPosition: position, width: width)
        (slot + width).copyMemory(from: slot, byteCount: (count - position) * width)
        IntegerSet.store(value, at: slot, width: width)
        return .done
    }

    private static func addPacked<Target: EditableBytes & ~Copyable>(
        _ value: StringValue, to target: inout Target, _ limits: SetLimits
    ) -> SmallSetChange {
        let bytes = target.bytes
        if findPacked(value, in: bytes) != nil { return .unchanged }
        let count = PackedList(bytes).count
        let byteCount = PackedEntry.byteCount(of: value)
        guard count < min(limits.packedCountMax, Int(UInt16.max)), value.byteCount <= limits.packedByteCountMax,
            bytes.count + byteCount <= CellHeader.inlineByteCountMax
        else { return .full }
        guard let gap = target.splice(at: bytes.count, removing: 0, inserting: byteCount) else { return .outOfMemory }
        PackedEntry.write(value, at: gap)
        (gap - bytes.count).storeBytes(of: UInt16(truncatingIfNeeded: count + 1), as: UInt16.self)
        return .done
    }

    /// Makes the integers of a set packed entries, which `value` can then be added to.
    private static func pack<Target: EditableBytes & ~Copyable>(
        _ target: inout Target, adding value: StringValue, _ limits: SetLimits
    ) -> SmallSetChange {
        let set = IntegerSet(target.bytes)
        let count = set.count
        let longest = max(decimalDigitCount(set.member(at: 0)), decimalDigitCount(set.member(at: count - 1)))
        guard count < min(limits.packedCountMax, Int(UInt16.max)),
            max(longest, value.byteCount) <= limits.packedByteCountMax
        else { return .full }
        var byteCount = PackedList.countByteCount
        for position in 0..<count { byteCount += PackedEntry.byteCount(of: .integer(set.member(at: position))) }
        guard byteCount + PackedEntry.byteCount(of: value) <= CellHeader.inlineByteCountMax else { return .full }
        return withUnsafeTemporaryAllocation(byteCount: byteCount, alignment: 2) { run in
            guard let base = run.baseAddress else { return .outOfMemory }
            base.storeBytes(of: UInt16(truncatingIfNeeded: count), as: UInt16.self)
            var address = base + PackedList.countByteCount
            for position in 0..<count {
                PackedEntry.write(.integer(set.member(at: position)), at: address)
                address += PackedEntry.byteCount(at: address)
            }
            let old = target.bytes.count
            guard let gap = target.splice(at: 0, removing: old, inserting: byteCount) else { return .outOfMemory }
            gap.copyMemory(from: base, byteCount: byteCount)
            target.encoding = .listpack
            return .done
        }
    }

    /// Removes a member that is not the last one; false when memory is exhausted.
    static func remove<Target: EditableBytes & ~Copyable>(
        _ member: SmallSetMember, from target: inout Target
    ) -> Bool {
        let count = PackedList(target.bytes).count
        guard let gap = target.splice(at: member.offset, removing: member.byteCount, inserting: 0) else { return false }
        guard target.encoding != .integerSet else { return true }
        (gap - member.offset).storeBytes(of: UInt16(truncatingIfNeeded: count - 1), as: UInt16.self)
        return true
    }
}
