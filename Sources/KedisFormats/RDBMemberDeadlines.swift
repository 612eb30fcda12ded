// Deadlines of members, which no value of RDB version 10 can say: they follow their value as facts that other readers
// pass over.
//
//      in a file       FA "kedis-member-deadlines" part      behind the key, in its database
//      in a payload    FA "kedis-member-deadlines" part …    behind the value, before the footer, which Redis ignores
//
//      part      ┌───────────┬─────┬──────────┬───────────┬────────┬──────────┬─ … ─┐    numbers are little-endian;
//                │ key bytes │ key │ deadline │ member    │ member │ deadline │     │    deadlines are milliseconds
//                │ 8         │     │ 8        │ bytes 8   │        │ 8        │     │    since 1970; a payload's key
//                └───────────┴─────┴──────────┴───────────┴────────┴──────────┴─ … ─┘    is empty
//
// A collection with many has several parts, each of about 32 KiB, or of one member. Redis 7.4 says deadlines of fields
// in a value of its own (RDBHashes.swift): payloads have that, files do not, because Redis 7.0 loads them.
//
// A member or key that is not there is passed over: it was due when the file was loaded.

package import KedisStore
package import KedisUtilities

enum RDBMemberDeadlines {
    static let name: StaticString = "kedis-member-deadlines"
    static let partByteCount = 32 << 10

    static func append(_ number: Int64, to part: inout [UInt8]) {
        withUnsafeBytes(of: number.littleEndian) { part.append(contentsOf: $0) }
    }

    static func append(_ bytes: ByteView, to part: inout [UInt8]) {
        append(Int64(bytes.count), to: &part)
        part.append(contentsOf: bytes.buffer)
    }

    /// Takes a number from the front.
    static func takeNumber(_ rest: inout ByteView) -> Int64? {
        guard rest.count >= 8 else { return nil }
        defer { rest = rest[8..<rest.count] }
        return Int64(littleEndian: UnsafeRawPointer(rest.base).loadUnaligned(as: Int64.self))
    }

    /// Takes bytes with their count from the front.
    static func takeBytes(_ rest: inout ByteView) -> ByteView? {
        guard let count = takeNumber(&rest), count >= 0, count <= Int64(rest.count) else { return nil }
        defer { rest = rest[Int(count)..<rest.count] }
        return rest[0..<Int(count)]
    }
}

extension Entry {
    /// Calls `body` with the members that have a deadline, due ones too, until it answers false. O(n).
    func forEachMemberDeadline(_ body: (ByteView, Int64) -> Bool) {
        switch type {
        case .hash: fields(nowMilliseconds: .min).forEachDeadline(body)
        case .set: storedSet.forEachDeadline(body)
        case .sortedSet: sortedSet.forEachDeadline(body)
        case .string, .list, .stream: break
        }
    }
}

extension RDBWriter {
    /// Writes the deadlines of an entry's members, if there are any; `key` is empty in a payload.
    mutating func writeMemberDeadlines(of entry: Entry, key: ByteView) {
        guard entry.memberDeadlineCount > 0 else { return }
        var head: [UInt8] = []
        RDBMemberDeadlines.append(key, to: &head)
        var part = head
        entry.forEachMemberDeadline { member, deadline in
            RDBMemberDeadlines.append(deadline, to: &part)
            RDBMemberDeadlines.append(member, to: &part)
            if part.count >= RDBMemberDeadlines.partByteCount {
                writePart(part)
                part = head
            }
            return !isFailed
        }
        if part.count > head.count { writePart(part) }
    }

    private mutating func writePart(_ part: [UInt8]) {
        part.withUnsafeBytes { writeAuxiliary(RDBMemberDeadlines.name, .bytes(ByteView($0))) }
    }
}

extension RDBReader {
    /// Whether a fact of this name says deadlines of members: see ``loadMemberDeadlines(_:as:in:limits:)``.
    package static func isMemberDeadlines(_ name: ByteView) -> Bool { name == ByteView(RDBMemberDeadlines.name) }

    /// The key that a part is of; nil when it is damaged.
    package static func keyOfMemberDeadlines(_ part: ByteView) -> ByteView? {
        var rest = part
        return RDBMemberDeadlines.takeBytes(&rest)
    }

    /// Gives members of `key`, if they are there, the deadlines of a part. Its stripe is locked. O(part).
    package func loadMemberDeadlines(
        _ part: ByteView, as key: Key, in keyspace: Keyspace, limits: LoadLimits
    ) throws(RDBError) {
        var rest = part
        guard RDBMemberDeadlines.takeBytes(&rest) != nil else { throw input.error(.badCollection) }
        while !rest.isEmpty {
            guard let deadline = RDBMemberDeadlines.takeNumber(&rest), deadline >= 0,
                let member = RDBMemberDeadlines.takeBytes(&rest)
            else { throw input.error(.badCollection) }
            try storing(byteCount: member.count) { () throws(StoreError) in
                try keyspace.setMemberDeadline(key, member, deadline, limits)
            }
        }
    }

    /// Loads the deadlines that follow the value of a payload.
    package mutating func loadPayloadMemberDeadlines(
        as key: Key, in keyspace: Keyspace, limits: LoadLimits
    ) throws(RDBError) {
        while let part = try nextPayloadFact(RDBMemberDeadlines.name) {
            hasMemberDeadlines = true
            try loadMemberDeadlines(part, as: key, in: keyspace, limits: limits)
        }
    }
}

extension Keyspace {
    /// Gives a member of a key, whatever its type, a deadline, if both are there.
    fileprivate func setMemberDeadline(
        _ key: Key, _ member: ByteView, _ deadline: Int64, _ limits: LoadLimits
    ) throws(StoreError) {
        switch peek(key)?.type {
        case .hash:
            var editor: HashEditor?
            guard editHash(key, limits: limits.hash, &editor), editor?.value.contains(member) == true else { return }
            try editor?.setDeadline(member, deadline)
        case .set:
            var editor: SetEditor?
            guard editSet(key, limits: limits.set, &editor), editor?.value.contains(member) == true else { return }
            try editor?.setDeadline(member, deadline)
        case .sortedSet:
            guard var editor = editSortedSet(key, limits: limits.sortedSet), editor.value.score(of: member) != nil
            else { return }
            try editor.setDeadline(member, deadline)
        default: break
        }
    }
}
