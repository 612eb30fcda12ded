// Sets in RDB files: written as Redis 7.0 does, read as every version up to 7.2 wrote them.
//
//      type 2     the members as strings                   (written, unless all are integers and few)
//      type 11    one set of integers                      (written)
//      type 20    one listpack                             (7.2; ListpackFrame)
//
//      integers  ┌────────────┬─────────┬─────────────────────────┐
//                │ width      │ count   │ members in order        │
//                │ 4          │ 4       │ 2, 4 or 8 bytes each    │
//                └────────────┴─────────┴─────────────────────────┘
//
// A set is read in parts, so that one of any size takes the memory of its largest part. It appears under its key when
// all of it was read.

package import KedisStore
package import KedisUtilities

enum RDBSetType {
    static let strings: UInt8 = 2
    static let integers: UInt8 = 11
    static let listpack: UInt8 = 20

    static func isSet(_ type: UInt8) -> Bool { type == strings || type == integers || type == listpack }
}

/// A part of a set.
package enum RDBSetPart {
    case member(StringValue)
    /// Integers of this width, one or more.
    case integers(width: Int, ByteView)
    /// Well-formed packed entries.
    case run(ByteView)

    package var byteCount: Int {
        switch self {
        case .member(let value): value.byteCount
        case .integers(_, let bytes), .run(let bytes): bytes.count
        }
    }

    /// Calls `body` with each member until it answers false.
    package func forEach(_ body: (StringValue) -> Bool) {
        switch self {
        case .member(let value): _ = body(value)
        case .integers(let width, let bytes):
            let base = UnsafeRawPointer(bytes.base)
            for offset in stride(from: 0, to: bytes.count, by: width) {
                guard body(.integer(RDBSetPart.integer(at: base + offset, width: width))) else { return }
            }
        case .run(let run):
            var goesOn = true
            forEachPackedEntry(run) { if goesOn { goesOn = body($0) } }
        }
    }

    private static func integer(at address: UnsafeRawPointer, width: Int) -> Int64 {
        switch width {
        case 2: Int64(Int16(littleEndian: address.loadUnaligned(as: Int16.self)))
        case 4: Int64(Int32(littleEndian: address.loadUnaligned(as: Int32.self)))
        default: Int64(littleEndian: address.loadUnaligned(as: Int64.self))
        }
    }
}

private let integersHeaderByteCount = 8

extension RDBReader {
    /// Begins a set, whose parts ``nextSetPart()`` gives.
    mutating func beginSet(type: UInt8) throws(RDBError) {
        set = RDBListCursor(type: type, partCount: type == RDBSetType.strings ? try input.readLength() : 1)
        guard let set, set.partCount > 0 else { throw input.error(.badCollection) }
    }

    /// The next part of the set that was begun by the last item; nil at its end. Views are valid until the next call.
    package mutating func nextSetPart() throws(RDBError) -> RDBSetPart? {
        guard var cursor = set, cursor.partCount > 0 else {
            set = nil
            return nil
        }
        cursor.partCount -= 1
        set = cursor
        switch cursor.type {
        case RDBSetType.strings: return .member(try readValue())
        case RDBSetType.integers: return try integers(in: try readBytes())
        default:
            guard let (run, count) = ListpackFrame.run(in: try readBytes()), count > 0 else {
                throw input.error(.badCollection)
            }
            return .run(run)
        }
    }

    private func integers(in bytes: ByteView) throws(RDBError) -> RDBSetPart {
        guard bytes.count > integersHeaderByteCount else { throw input.error(.badCollection) }
        let base = UnsafeRawPointer(bytes.base)
        let width = Int(UInt32(littleEndian: base.loadUnaligned(as: UInt32.self)))
        let count = Int(UInt32(littleEndian: base.loadUnaligned(fromByteOffset: 4, as: UInt32.self)))
        guard width == 2 || width == 4 || width == 8, bytes.count - integersHeaderByteCount == count * width else {
            throw input.error(.badCollection)
        }
        return .integers(width: width, bytes[integersHeaderByteCount..<bytes.count])
    }

    /// Puts the set that was begun under `key`, where nothing is. A member that is there twice is damage.
    mutating func loadSet(as key: Key, in keyspace: Keyspace, limits: SetLimits) throws(RDBError) {
        var limits = limits
        // What is packed stays so, however long its members are, as in Redis.
        if set?.type == RDBSetType.listpack { limits.packedByteCountMax = .max }
        guard var built = SetBuilder(for: keyspace, limits: limits) else {
            throw input.error(.outOfMemory(byteCount: 0))
        }
        while let part = try nextSetPart() {
            var isNew = true
            try storing(byteCount: part.byteCount) { () throws(StoreError) in
                isNew = try built.add(allOf: part)
            }
            guard isNew else { throw input.error(.badCollection) }
        }
        do throws(StoreError) {
            try keyspace.setSet(key, to: built, deadline: .clear)
        } catch {
            throw input.error(.outOfMemory(byteCount: 0))
        }
    }
}

extension SetBuilder {
    /// False when one of the members was there already.
    fileprivate mutating func add(allOf part: RDBSetPart) throws(StoreError) -> Bool {
        var failure: StoreError?
        var isNew = true
        part.forEach { member in
            do throws(StoreError) {
                isNew = try add(member)
            } catch {
                failure = error
            }
            return isNew && failure == nil
        }
        if let failure { throw failure }
        return isNew
    }
}

extension RDBWriter {
    /// The type that ``writeSet(_:)`` writes.
    static func type(of set: SetValue) -> UInt8 { set.integers == nil ? RDBSetType.strings : RDBSetType.integers }

    /// Writes a set without its type.
    mutating func writeSet(_ set: SetValue) {
        guard let (width, members) = set.integers else {
            writeLength(set.count)
            return set.forEach { member in
                writeValue(member)
                return !isFailed
            }
        }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(integersHeaderByteCount + members.count)
        for number in [width, members.count / width] {
            withUnsafeBytes(of: UInt32(truncatingIfNeeded: number).littleEndian) { bytes += $0 }
        }
        bytes += members.buffer
        bytes.withUnsafeBytes { writeString(ByteView($0)) }
    }
}

extension Entry {
    /// The set with the members that are due, as files have it: they know no time.
    var storedSet: SetValue { self.set(nowMilliseconds: .min) }
}
