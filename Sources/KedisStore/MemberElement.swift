// One element of a large hash or set, as it lies in its block (MemberBlock.swift).
//
//      ┌────────────┬──────────┬────────────┬──────────────┬───────────────┐
//      │ member     │ value    │ deadline   │ member       │ value         │
//      │ length     │ length   │ 8, if any  │ bytes, or 8  │ bytes, or 8   │
//      └────────────┴──────────┴────────────┴──────────────┴───────────────┘
//
//      member length   1 byte: its top bit says that there is a deadline, the rest is 0 to 123, or 124: two bytes of
//                      length follow, or 125: outside, the bytes are those of a `Blob`, whose address is there
//      value length    the same with 0 to 252, 253 and 254; a set has none of it
//
// Ownership: none, a view of the block; blobs are the table's. Cost: 1 byte for a set's member, 2 for a hash's pair.

import KedisUtilities

/// A borrowed element: valid until its table is changed.
struct MemberElement {
    fileprivate static let deadlineBit: UInt8 = 0x80
    fileprivate static let memberCountMax = 123
    fileprivate static let memberWide: UInt8 = 124
    fileprivate static let memberOutside: UInt8 = 125
    fileprivate static let valueCountMax = 252
    fileprivate static let valueWide: UInt8 = 253
    fileprivate static let valueOutside: UInt8 = 254

    /// What is longer lies outside of the block, a member or a value.
    static let inlineByteCountMax = 512

    let address: UnsafeMutableRawPointer
    private let contentOffset: Int
    private let memberFieldByteCount: Int
    private let valueFieldByteCount: Int
    private let isMemberOutside: Bool
    private let isValueOutside: Bool
    let hasDeadline: Bool

    @inline(__always)
    init(at address: UnsafeMutableRawPointer, isValued: Bool) {
        self.address = address
        let first = address.load(as: UInt8.self)
        let code = first & ~MemberElement.deadlineBit
        var offset = 1
        var memberCount = Int(code)
        if code > MemberElement.memberCountMax {
            memberCount = code == MemberElement.memberOutside ? 8 : MemberElement.wide(address, 1)
            if code == MemberElement.memberWide { offset = 3 }
        }
        var valueCount = 0
        var valueCode: UInt8 = 0
        if isValued {
            valueCode = address.load(fromByteOffset: offset, as: UInt8.self)
            offset &+= 1
            valueCount = Int(valueCode)
            if valueCode > MemberElement.valueCountMax {
                valueCount = valueCode == MemberElement.valueOutside ? 8 : MemberElement.wide(address, offset)
                if valueCode == MemberElement.valueWide { offset &+= 2 }
            }
        }
        hasDeadline = first & MemberElement.deadlineBit != 0
        contentOffset = hasDeadline ? offset &+ 8 : offset
        memberFieldByteCount = memberCount
        valueFieldByteCount = valueCount
        isMemberOutside = code == MemberElement.memberOutside
        isValueOutside = valueCode == MemberElement.valueOutside
    }

    @inline(__always)
    private static func wide(_ address: UnsafeMutableRawPointer, _ offset: Int) -> Int {
        Int(address.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }

    /// What it takes in its block.
    @inline(__always)
    var byteCount: Int { contentOffset &+ memberFieldByteCount &+ valueFieldByteCount }

    /// As it lies there.
    @inline(__always)
    var bytes: ByteView { view(address, byteCount) }

    @inline(__always)
    var member: ByteView { isMemberOutside ? Cell.blob(at: memberField).view : view(memberField, memberFieldByteCount) }

    /// Empty in sets.
    @inline(__always)
    var value: ByteView { isValueOutside ? Cell.blob(at: valueField).view : view(valueField, valueFieldByteCount) }

    /// In milliseconds since 1970, or ``noDeadline``.
    var deadlineMilliseconds: Int64 {
        hasDeadline ? address.loadUnaligned(fromByteOffset: contentOffset - 8, as: Int64.self) : noDeadline
    }

    func isDue(_ nowMilliseconds: Int64) -> Bool { hasDeadline && deadlineMilliseconds <= nowMilliseconds }

    var memberBlob: Blob? { isMemberOutside ? Cell.blob(at: memberField) : nil }

    var valueBlob: Blob? { isValueOutside ? Cell.blob(at: valueField) : nil }

    var isAnyOutside: Bool { isMemberOutside || isValueOutside }

    /// Nothing but its bytes.
    var isPlain: Bool { !isAnyOutside && !hasDeadline }

    private var memberField: UnsafeMutableRawPointer { address + contentOffset }

    private var valueField: UnsafeMutableRawPointer { address + contentOffset + memberFieldByteCount }

    @inline(__always)
    private func view(_ field: UnsafeMutableRawPointer, _ count: Int) -> ByteView {
        ByteView(base: UnsafePointer(field.assumingMemoryBound(to: UInt8.self)), count: count)
    }
}

/// An element that is about to be written.
struct MemberDraft {
    let member: ByteView
    let value: ByteView
    let isValued: Bool
    let deadlineMilliseconds: Int64
    /// Where the bytes lie when they are too long for a block.
    var memberBlob: Blob?
    var valueBlob: Blob?

    @inline(__always)
    init(_ member: ByteView, _ value: ByteView, isValued: Bool, deadlineMilliseconds: Int64) {
        assert(isValued || value.isEmpty)
        self.member = member
        self.value = value
        self.isValued = isValued
        self.deadlineMilliseconds = deadlineMilliseconds
    }

    /// Nothing but its bytes.
    var isPlain: Bool { memberBlob == nil && valueBlob == nil && deadlineMilliseconds == noDeadline }

    /// What it takes in its block.
    @inline(__always)
    var byteCount: Int {
        var count = 1 &+ (deadlineMilliseconds == noDeadline ? 0 : 8)
        if memberBlob != nil {
            count &+= 8
        } else {
            count &+= member.count &+ (member.count > MemberElement.memberCountMax ? 2 : 0)
        }
        guard isValued else { return count }
        if valueBlob != nil { return count &+ 9 }
        return count &+ 1 &+ value.count &+ (value.count > MemberElement.valueCountMax ? 2 : 0)
    }

    /// Writes the element; `address` has room for ``byteCount``. Member and value may lie in the same memory when
    /// the element that they belong to begins there and is longer.
    @inline(__always)
    func write(at address: UnsafeMutableRawPointer) {
        var offset = 1
        var first = UInt8(truncatingIfNeeded: member.count)
        if memberBlob != nil {
            first = MemberElement.memberOutside
        } else if member.count > MemberElement.memberCountMax {
            first = MemberElement.memberWide
            address.storeBytes(of: UInt16(truncatingIfNeeded: member.count), toByteOffset: 1, as: UInt16.self)
            offset = 3
        }
        address.storeBytes(
            of: first | (deadlineMilliseconds == noDeadline ? 0 : MemberElement.deadlineBit), as: UInt8.self)
        if isValued { offset = writeValueLength(at: address, offset) }
        if deadlineMilliseconds != noDeadline {
            address.storeBytes(of: deadlineMilliseconds, toByteOffset: offset, as: Int64.self)
            offset &+= 8
        }
        offset = MemberDraft.write(member, memberBlob, at: address, offset)
        if isValued { _ = MemberDraft.write(value, valueBlob, at: address, offset) }
    }

    @inline(__always)
    private func writeValueLength(at address: UnsafeMutableRawPointer, _ offset: Int) -> Int {
        var code = UInt8(truncatingIfNeeded: value.count)
        var end = offset &+ 1
        if valueBlob != nil {
            code = MemberElement.valueOutside
        } else if value.count > MemberElement.valueCountMax {
            code = MemberElement.valueWide
            address.storeBytes(of: UInt16(truncatingIfNeeded: value.count), toByteOffset: end, as: UInt16.self)
            end &+= 2
        }
        address.storeBytes(of: code, toByteOffset: offset, as: UInt8.self)
        return end
    }

    @inline(__always)
    private static func write(
        _ bytes: ByteView, _ blob: Blob?, at address: UnsafeMutableRawPointer, _ offset: Int
    ) -> Int {
        if let blob {
            address.storeBytes(of: blob.address, toByteOffset: offset, as: UnsafeMutableRawPointer.self)
            return offset &+ 8
        }
        copyBytes(from: bytes, to: (address + offset).assumingMemoryBound(to: UInt8.self))
        return offset &+ bytes.count
    }
}
