// Hashes in RDB files: written as Redis 7.0 does, read as every version up to 7.4 wrote them. In files, deadlines of
// fields follow the value (RDBMemberDeadlines.swift).
//
//      type 4     so many fields and values as strings               (written when the hash is no run)
//      type 9     a zipmap: see ZipmapReader                         (Redis up to 2.4)
//      type 13    one ziplist, field and value in turn               (2.6 to 6.2)
//      type 16    one listpack, field and value in turn              (7.0; written)
//      type 24    the earliest deadline, 8 bytes; so many times a deadline, a field and a value, the deadline being a
//                 length: 0 for none, else what it is later than the earliest plus 1   (7.4; written in payloads)
//      type 25    the earliest deadline, one listpack: field, value and deadline in turn, 0 for none   (7.4)
//
// Deadlines are milliseconds since 1970. A hash is read in parts, so that one of any size takes the memory of its
// largest part.

package import KedisStore
package import KedisUtilities

enum RDBHashType {
    static let strings: UInt8 = 4
    static let zipmap: UInt8 = 9
    static let ziplist: UInt8 = 13
    static let listpack: UInt8 = 16
    static let deadlines: UInt8 = 24
    static let listpackWithDeadlines: UInt8 = 25

    /// What Redis can say as a field's deadline.
    static let deadlineRange: Range<Int64> = 0..<1 << 48

    static func isHash(_ type: UInt8) -> Bool {
        switch type {
        case strings, zipmap, ziplist, listpack, deadlines, listpackWithDeadlines: true
        default: false
        }
    }

    static func isPacked(_ type: UInt8) -> Bool {
        type == ziplist || type == listpack || type == listpackWithDeadlines
    }
}

/// How the hash is stored that comes next.
struct RDBHashCursor {
    var type: UInt8
    /// Parts that are still to be read.
    var partCount: UInt64
    var earliestDeadline: Int64
}

/// A part of a hash.
package enum RDBHashPart {
    case field(ByteView, value: StringValue, deadlineMilliseconds: Int64)
    /// Well-formed packed entries, field and value in turn, and their number.
    case run(ByteView, count: Int)
    /// All of a hash in an older form.
    case fields([(field: StringValue, value: StringValue, deadlineMilliseconds: Int64)])
}

extension RDBReader {
    /// Begins a hash, whose parts ``nextHashPart()`` gives.
    mutating func beginHash(type: UInt8) throws(RDBError) {
        var earliest = noDeadline
        if type == RDBHashType.deadlines || type == RDBHashType.listpackWithDeadlines {
            earliest = Int64(bitPattern: try input.readLittleEndian(byteCount: 8))
        }
        let isCounted = type == RDBHashType.strings || type == RDBHashType.deadlines
        hash = RDBHashCursor(
            type: type, partCount: isCounted ? try input.readLength() : 1, earliestDeadline: earliest)
        // Redis writes no empty hash, and neither do we; what it means for a key would be unclear.
        guard let hash, hash.partCount > 0 else { throw input.error(.badCollection) }
    }

    /// The next part of the hash that was begun by the last item; nil at its end. Views are valid until the next call.
    package mutating func nextHashPart() throws(RDBError) -> RDBHashPart? {
        guard var cursor = hash, cursor.partCount > 0 else {
            hash = nil
            return nil
        }
        cursor.partCount -= 1
        hash = cursor
        switch cursor.type {
        case RDBHashType.strings:
            let field = try readMember()
            return .field(field, value: try readValue(), deadlineMilliseconds: noDeadline)
        case RDBHashType.deadlines:
            let deadline = try readDeadline(after: cursor.earliestDeadline)
            let field = try readMember()
            return .field(field, value: try readValue(), deadlineMilliseconds: deadline)
        case RDBHashType.listpack, RDBHashType.listpackWithDeadlines:
            guard let (run, count) = ListpackFrame.run(in: try readBytes()), count > 0 else {
                throw input.error(.badCollection)
            }
            guard cursor.type == RDBHashType.listpack else { return .fields(try triples(in: run, count: count)) }
            guard count % 2 == 0 else { throw input.error(.badCollection) }
            return .run(run, count: count)
        case RDBHashType.ziplist: return .fields(try pairsOfZiplist())
        default:
            guard let pairs = zipmapPairs(try readBytes()) else { throw input.error(.badCollection) }
            return .fields(pairs.map { (.bytes($0.field), .bytes($0.value), noDeadline) })
        }
    }

    private mutating func readDeadline(after earliest: Int64) throws(RDBError) -> Int64 {
        let distance = try input.readLength()
        guard distance > 0 else { return noDeadline }
        let (deadline, overflow) = earliest.addingReportingOverflow(Int64(clamping: distance - 1))
        guard !overflow, RDBHashType.deadlineRange.contains(deadline) else { throw input.error(.badCollection) }
        return deadline
    }

    private func triples(
        in run: ByteView, count: Int
    ) throws(RDBError) -> [(field: StringValue, value: StringValue, deadlineMilliseconds: Int64)] {
        guard count % 3 == 0 else { throw input.error(.badCollection) }
        var values: [StringValue] = []
        forEachPackedEntry(run) { values.append($0) }
        var fields: [(field: StringValue, value: StringValue, deadlineMilliseconds: Int64)] = []
        for index in stride(from: 0, to: values.count, by: 3) {
            guard case .integer(let deadline) = values[index + 2], RDBHashType.deadlineRange.contains(deadline)
            else { throw input.error(.badCollection) }
            fields.append((values[index], values[index + 1], deadline == 0 ? noDeadline : deadline))
        }
        return fields
    }

    private mutating func pairsOfZiplist(
    ) throws(RDBError) -> [(field: StringValue, value: StringValue, deadlineMilliseconds: Int64)] {
        guard var ziplist = ZiplistReader(try readBytes()) else { throw input.error(.badCollection) }
        var fields: [(field: StringValue, value: StringValue, deadlineMilliseconds: Int64)] = []
        while let field = ziplist.next() {
            guard let value = ziplist.next() else { throw input.error(.badCollection) }
            fields.append((field, value, noDeadline))
        }
        guard ziplist.isWhole, !fields.isEmpty else { throw input.error(.badCollection) }
        return fields
    }
}

/// The fields and values of a zipmap, one or more; nil when it is damaged.
///
///     ┌─────────┬──────────────┬───────┬──────────────┬───────┬───────┬────────┬─ … ─┬─────┐
///     │ fields  │ length       │ field │ length       │ spare │ value │ spare  │     │ FF  │
///     │ 1, or FE│ 1, or FE, 4  │       │ 1, or FE, 4  │ 1     │       │ bytes  │     │     │
///     └─────────┴──────────────┴───────┴──────────────┴───────┴───────┴────────┴─ … ─┴─────┘
private func zipmapPairs(_ bytes: ByteView) -> [(field: ByteView, value: ByteView)]? {
    guard bytes.count >= 2, bytes[bytes.count - 1] == 0xFF else { return nil }
    let end = bytes.count - 1
    var offset = 1
    func take(_ count: Int) -> ByteView? {
        guard count <= end - offset else { return nil }
        defer { offset += count }
        return bytes[offset..<offset + count]
    }
    func length() -> Int? {
        guard let first = take(1)?[0], first != 0xFF else { return nil }
        guard first == 0xFE else { return Int(first) }
        return take(4).map { Int(UnsafeRawPointer($0.base).loadUnaligned(as: UInt32.self)) }
    }
    var pairs: [(field: ByteView, value: ByteView)] = []
    while offset < end {
        guard let field = length().flatMap({ take($0) }), let valueByteCount = length(), let spare = take(1)?[0],
            let value = take(valueByteCount), take(Int(spare)) != nil
        else { return nil }
        pairs.append((field, value))
    }
    return pairs.isEmpty ? nil : pairs
}

// MARK: Loading

extension RDBReader {
    /// Puts the hash that was begun under `key`, where nothing is.
    mutating func loadHash(as key: Key, in keyspace: Keyspace, limits: HashLimits) throws(RDBError) {
        var limits = limits
        // What is packed stays so, however long its parts are, as in Redis.
        if let hash, RDBHashType.isPacked(hash.type) { limits.byteCountMax = .max }
        while let part = try nextHashPart() {
            switch part {
            case .field(let field, let value, let deadline):
                try value.withBytes { (value) throws(RDBError) in
                    try add(field, value, deadline, to: key, in: keyspace, limits)
                }
            case .fields(let fields):
                for (field, value, deadline) in fields {
                    try add(field, value, deadline, to: key, in: keyspace, limits)
                }
            case .run(let run, let count):
                var isWhole = false
                try storing(byteCount: run.count) { () throws(StoreError) in
                    isWhole = try keyspace.makeHash(key, limits: limits, run: run, count: count)
                }
                if isWhole { continue }
                var values: [StringValue] = []
                forEachPackedEntry(run) { values.append($0) }
                for index in stride(from: 0, to: values.count, by: 2) {
                    try add(values[index], values[index + 1], noDeadline, to: key, in: keyspace, limits)
                }
            }
        }
    }

    private mutating func add(
        _ field: StringValue, _ value: StringValue, _ deadlineMilliseconds: Int64, to key: Key, in keyspace: Keyspace,
        _ limits: HashLimits
    ) throws(RDBError) {
        try field.withBytes { (field) throws(RDBError) in
            try value.withBytes { (value) throws(RDBError) in
                try add(field, value, deadlineMilliseconds, to: key, in: keyspace, limits)
            }
        }
    }

    /// Adds a field; one that is there already is damage.
    private mutating func add(
        _ field: ByteView, _ value: ByteView, _ deadlineMilliseconds: Int64, to key: Key, in keyspace: Keyspace,
        _ limits: HashLimits
    ) throws(RDBError) {
        let deadline: DeadlineUpdate = deadlineMilliseconds == noDeadline ? .clear : .set(deadlineMilliseconds)
        if case .set = deadline { hasMemberDeadlines = true }
        var isNew = true
        try storing(byteCount: field.count + value.count) { () throws(StoreError) in
            var editor: HashEditor?
            guard keyspace.editHash(key, limits: limits, &editor), editor != nil else {
                return try keyspace.makeHash(key, limits: limits, field, value, deadline: deadline)
            }
            isNew = editor?.value.contains(field) == false
            if isNew { _ = try editor?.set(field, value, deadline: deadline) }
        }
        guard isNew else { throw input.error(.badCollection) }
    }
}

// MARK: Writing

extension RDBWriter {
    /// The type under which a hash is written.
    static func hashType(of hash: HashValue, withDeadlines: Bool) -> UInt8 {
        if hash.packedRun != nil { return RDBHashType.listpack }
        return withDeadlines && hash.deadlineCount > 0 ? RDBHashType.deadlines : RDBHashType.strings
    }

    /// Writes a hash without its type, which ``hashType(of:withDeadlines:)`` said.
    mutating func writeHash(_ hash: HashValue, as type: UInt8) {
        if let (count, byteCount) = hash.packedRun {
            let run = [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, initializedCount in
                if let base = buffer.baseAddress { hash.writePackedRun(to: base) }
                initializedCount = byteCount
            }
            return run.withUnsafeBytes { writeListpack(ByteView($0), count: count) }
        }
        let hasDeadlines = type == RDBHashType.deadlines
        var earliest = Int64.max
        if hasDeadlines {
            hash.forEachWithDeadline { _, _, deadline in
                if deadline != noDeadline { earliest = min(earliest, deadline) }
                return true
            }
            appendLittleEndian(UInt64(bitPattern: earliest), byteCount: 8)
        }
        writeLength(hash.count)
        hash.forEachWithDeadline { field, value, deadline in
            if hasDeadlines { writeLength(deadline == noDeadline ? 0 : Int(deadline - earliest) + 1) }
            writeValue(field)
            writeValue(value)
            return !isFailed
        }
    }
}
