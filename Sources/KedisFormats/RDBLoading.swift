// Values from RDB files and payloads into the store: the one way for snapshots, RESTORE and DEBUG RELOAD. Its
// counterpart, an entry into a file or a payload, is below.
//
// A type has one line in each function here, and its parts in a file of its own (RDBLists.swift). A value whose parts
// are damaged may have been put into the store up to there: callers remove the key, or throw the store away. Nothing in
// the bytes is believed: a count takes no memory before what it counts was read.

package import KedisStore
import KedisUtilities

/// Which collections are stored packed: what the directives say, for each type.
package struct LoadLimits: Sendable {
    package var list: PackLimit
    package var set: SetLimits
    package var sortedSet: SortedSetLimits
    package var hash: HashLimits

    package init(
        list: PackLimit = PackLimit(setting: -2), set: SetLimits = SetLimits(),
        sortedSet: SortedSetLimits = SortedSetLimits(), hash: HashLimits = HashLimits()
    ) {
        self.list = list
        self.set = set
        self.sortedSet = sortedSet
        self.hash = hash
    }
}

extension RDBReader {
    /// Reads what a type is followed by: a string, or what begins a value whose parts come next.
    mutating func beginValue(_ kind: RDBValueKind, type: UInt8) throws(RDBError) -> RDBValue {
        switch kind {
        case .string:
            return .string(try readValue())
        case .list:
            try beginList(type: type)
            return .list
        case .sortedSet:
            try beginSortedSet(type: type)
            return .sortedSet
        case .set:
            try beginSet(type: type)
            return .set
        case .hash:
            try beginHash(type: type)
            return .hash
        case .stream:
            try beginStream(type: type)
            return .stream
        }
    }

    /// Reads on to the end of a value that nobody wanted.
    mutating func skipValue() throws(RDBError) {
        while try nextListPart() != nil {}
        while try nextSortedSetPart() != nil {}
        while try nextSetPart() != nil {}
        while try nextHashPart() != nil {}
        while try nextStreamPart() != nil {}
    }

    /// Puts the value that was read last under `key`, where nothing is. Its stripe is locked. O(value).
    package mutating func load(
        _ value: RDBValue, as key: Key, deadlineMilliseconds: Int64? = nil, in keyspace: Keyspace, limits: LoadLimits
    ) throws(RDBError) {
        switch value {
        case .string(let string):
            return try load(string, as: key, deadlineMilliseconds, in: keyspace)
        case .list:
            try loadList(as: key, in: keyspace, limit: limits.list)
        case .sortedSet:
            try loadSortedSet(as: key, in: keyspace, limits: limits.sortedSet)
        case .set:
            try loadSet(as: key, in: keyspace, limits: limits.set)
        case .hash:
            try loadHash(as: key, in: keyspace, limits: limits.hash)
        case .stream:
            try loadStream(as: key, in: keyspace)
        }
        guard let deadlineMilliseconds, let made = keyspace.peek(key) else { return }
        try storing(byteCount: MemoryLayout<Int64>.size) { () throws(StoreError) in
            try keyspace.setDeadline(made, deadlineMilliseconds)
        }
    }

    private func load(
        _ value: StringValue, as key: Key, _ deadlineMilliseconds: Int64?, in keyspace: Keyspace
    ) throws(RDBError) {
        let deadline: DeadlineUpdate = deadlineMilliseconds.map { .set($0) } ?? .clear
        try storing(byteCount: value.byteCount) { () throws(StoreError) in
            switch value {
            case .integer(let integer): try keyspace.setInteger(key, integer, deadline: deadline)
            case .bytes(let bytes): try keyspace.setString(key, bytes, deadline: deadline)
            }
        }
    }

    /// What the store refuses, as an error of the file at this place.
    func storing(byteCount: Int, _ body: () throws(StoreError) -> Void) throws(RDBError) {
        do {
            try body()
        } catch {
            throw input.error(.outOfMemory(byteCount: byteCount))
        }
    }
}

extension RDBWriter {
    /// The type under which the value of an entry is written; `withDeadlines`, one that Redis 7.0 does not know where
    /// that one says deadlines of members.
    static func valueType(of entry: Entry, withDeadlines: Bool) -> UInt8 {
        switch entry.type {
        case .string: rdbStringType
        case .list: RDBListType.listpacks
        case .sortedSet:
            entry.sortedSet.packedRun == nil ? RDBSortedSetType.binary : RDBSortedSetType.listpack
        case .set: type(of: entry.storedSet)
        case .hash: hashType(of: entry.fields(nowMilliseconds: .min), withDeadlines: withDeadlines)
        case .stream: RDBStreamType.written
        }
    }

    /// Writes the value of an entry as files have it, without its type: how long that is.
    package mutating func writeContent(of entry: Entry) {
        writeContent(of: entry, as: RDBWriter.valueType(of: entry, withDeadlines: false))
    }

    /// Writes the value of an entry without its type, which ``valueType(of:withDeadlines:)`` said.
    mutating func writeContent(of entry: Entry, as type: UInt8) {
        switch entry.type {
        case .string: writeValue(entry.string)
        case .list: writeList(entry.list)
        case .sortedSet: writeSortedSet(entry.sortedSet)
        case .set: writeSet(entry.storedSet)
        // Fields that are due as well, as long as they are there.
        case .hash: writeHash(entry.fields(nowMilliseconds: .min), as: type)
        case .stream: writeStream(entry.stream)
        }
    }
}
