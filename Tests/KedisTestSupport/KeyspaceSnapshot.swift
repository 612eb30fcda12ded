// All keys with their values, types, encodings and deadlines: what must be the same before and after a restart. Read
// over the commands of a target, or straight from a store, which leaves no trace in its statistics and access times.

package import KedisProtocol
package import KedisStore
import KedisUtilities

package struct KeyspaceSnapshot: Equatable {
    package struct Entry: Equatable {
        package let value: Reply
        package let type: String
        package var encoding: String
        /// Unix time; -1 without one.
        package let deadlineMilliseconds: Int64
        /// Of members that have one, by their quoted names.
        package var memberDeadlines: [String: Int64] = [:]
    }

    /// By "database/key", the key quoted.
    package private(set) var entries: [String: Entry] = [:]

    package init(of target: RespTarget, databaseCount: Int = 16) throws {
        let peer = try target.connect()
        defer { peer.close() }
        for database in 0..<databaseCount {
            _ = try Self.ask(peer, "SELECT", "\(database)")
            guard case .array(let keys) = try Self.ask(peer, "KEYS", "*") else { continue }
            for case .bulk(let key) in keys {
                let type = Self.text(try Self.ask(peer, [Array("TYPE".utf8), key]))
                let readings = [
                    "list": ["LRANGE", "0", "-1"], "set": ["SMEMBERS"], "zset": ["ZRANGE", "0", "-1", "WITHSCORES"],
                    "hash": ["HGETALL"],
                ]
                var words = (readings[type] ?? ["GET"]).map { Array($0.utf8) }
                words.insert(key, at: 1)
                if type == "stream" { words = ["XINFO", "STREAM", "FULL", "COUNT", "0"].map { Array($0.utf8) } }
                if type == "stream" { words.insert(key, at: 2) }
                let value = Self.sorted(StreamSnapshot.withoutActivity(try Self.ask(peer, words)), type)
                guard case .integer(let deadline) = try Self.ask(peer, [Array("PEXPIRETIME".utf8), key]), deadline != -2
                else { continue }
                entries[Self.name(database, key)] = Entry(
                    value: value, type: type,
                    encoding: Self.text(try Self.ask(peer, [Array("OBJECT".utf8), Array("ENCODING".utf8), key])),
                    deadlineMilliseconds: deadline,
                    memberDeadlines: try Self.memberDeadlines(peer, key, type, value)
                )
            }
        }
    }

    /// Asked for, of the members that a value has.
    private static func memberDeadlines(
        _ peer: RespPeer, _ key: [UInt8], _ type: String, _ value: Reply
    ) throws -> [String: Int64] {
        let words = [
            "hash": ["HPEXPIRETIME", "FIELDS"], "set": ["SPEXPIRETIME", "MEMBERS"], "zset": ["ZPEXPIRETIME", "MEMBERS"],
        ]
        guard let (name, token) = words[type].map({ ($0[0], $0[1]) }), case .array(let replies) = value else { return [:] }
        let members = stride(from: 0, to: replies.count, by: type == "set" ? 1 : 2).map { bytes(replies[$0]) }
        let request = [Array(name.utf8), key, Array(token.utf8), Array("\(members.count)".utf8)] + members
        guard case .array(let deadlines) = try ask(peer, request) else { return [:] }
        var found: [String: Int64] = [:]
        for (member, deadline) in zip(members, deadlines) {
            if case .integer(let deadline) = deadline, deadline >= 0 { found[RespQuoting.quote(member)] = deadline }
        }
        return found
    }

    private static func memberDeadlines(_ entry: KedisStore.Entry, _ nowMilliseconds: Int64) -> [String: Int64] {
        var found: [String: Int64] = [:]
        let note: (ByteView, Int64) -> Bool = { member, deadline in
            found[RespQuoting.quote(member.bytes)] = deadline
            return true
        }
        switch entry.type {
        case .hash: entry.fields(nowMilliseconds: nowMilliseconds).forEachDeadline(note)
        case .set: entry.set(nowMilliseconds: nowMilliseconds).forEachDeadline(note)
        case .sortedSet: entry.sortedSet.forEachDeadline(note)
        case .string, .list, .stream: break
        }
        return found
    }

    /// What a store holds at `nowMilliseconds`.
    package init(of store: Store, nowMilliseconds: Int64) {
        store.lock(.all)
        defer { store.unlock(.all) }
        for database in 0..<store.databaseCount {
            store.keyspace(database, nowMilliseconds: nowMilliseconds, held: .all).forEachEntry {
                _ = add(database, $0, nowMilliseconds: nowMilliseconds)
            }
        }
    }

    /// Without values of a type.
    package func dropping(type: String) -> KeyspaceSnapshot {
        var kept = self
        kept.entries = entries.filter { $0.value.type != type }
        return kept
    }

    /// One that ``add(_:_:nowMilliseconds:)`` fills.
    package init() {}

    /// Adds an entry; false when there was one with its key.
    package mutating func add(_ database: Int, _ entry: KedisStore.Entry, nowMilliseconds: Int64) -> Bool {
        let value: Reply
        switch entry.type {
        case .string: value = .bulk(entry.string.withBytes { $0.bytes })
        case .list:
            var elements: [Reply] = []
            // As files are written: in one walk, which is all that a snapshot's entry can do.
            entry.list.forEachRun { run, _ in
                forEachPackedEntry(run) { elements.append(.bulk($0.withBytes { $0.bytes })) }
                return true
            }
            value = .array(elements)
        case .sortedSet:
            var elements: [(member: [UInt8], score: Double)] = []
            entry.sortedSet.forEachReversed(in: 0..<entry.sortedSet.count) { member, score in
                elements.append((member.withBytes { $0.bytes }, score))
                return true
            }
            elements.sort {
                $0.score == $1.score ? $0.member.lexicographicallyPrecedes($1.member) : $0.score < $1.score
            }
            value = .array(elements.flatMap { [.bulk($0.member), .bulk(formatDouble($0.score))] })
        case .set:
            var members: [Reply] = []
            entry.set(nowMilliseconds: nowMilliseconds).forEach {
                members.append(.bulk($0.withBytes { $0.bytes }))
                return true
            }
            value = Self.sorted(.array(members), "set")
        case .hash:
            var pairs: [Reply] = []
            entry.fields(nowMilliseconds: nowMilliseconds).forEach { field, content in
                pairs.append(.bulk(field.withBytes { $0.bytes }))
                pairs.append(.bulk(content.withBytes { $0.bytes }))
                return true
            }
            value = Self.sorted(.array(pairs), "hash")
        case .stream: value = StreamSnapshot.reply(entry.stream)
        }
        let deadline = entry.deadlineMilliseconds
        let described = Entry(
            value: value, type: "\(entry.type.name)", encoding: "\(entry.encoding.name)",
            deadlineMilliseconds: deadline == noDeadline ? -1 : deadline,
            memberDeadlines: Self.memberDeadlines(entry, nowMilliseconds))
        return entries.updateValue(described, forKey: Self.name(database, entry.key.bytes)) == nil
    }

    /// Fields and values in turn, in the order of the fields: a hash has none of its own.
    private static func sortedPairs(_ reply: Reply) -> Reply {
        guard case .array(let replies) = reply else { return reply }
        let pairs = stride(from: 0, to: replies.count - 1, by: 2).map { [replies[$0], replies[$0 + 1]] }
        return .array(pairs.sorted { "\($0[0])" < "\($1[0])" }.flatMap { $0 })
    }

    private static func name(_ database: Int, _ key: [UInt8]) -> String { "\(database)/\(RespQuoting.quote(key))" }

    /// The members of a set or the fields of a hash in an order of their own; other values as they are.
    private static func sorted(_ value: Reply, _ type: String) -> Reply {
        if type == "hash" { return sortedPairs(value) }
        guard type == "set" else { return value }
        switch value {
        case .array(let members), .set(let members):
            return .array(members.sorted { bytes($0).lexicographicallyPrecedes(bytes($1)) })
        default: return value
        }
    }

    private static func bytes(_ reply: Reply) -> [UInt8] {
        if case .bulk(let bytes) = reply { return bytes }
        return []
    }

    private static func text(_ reply: Reply) -> String {
        switch reply {
        case .simple(let bytes), .bulk(let bytes): String(decoding: bytes, as: UTF8.self)
        default: "\(reply)"
        }
    }

    /// The same as a restart must leave it. A snapshot has values only, so the encoding is chosen anew.
    ///
    /// That of a list depends on how it grew as well, that of a set or a hash on what it once held: they are left out,
    /// on both sides.
    /// Source: Redis 7.0 tries, for a string that it loads, the integer, then `embstr` up to 44 bytes, then `raw`.
    package var restarted: KeyspaceSnapshot {
        var restarted = self
        for (name, entry) in entries {
            if ["list", "set", "zset", "hash"].contains(entry.type) { restarted.entries[name]?.encoding = "any" }
            guard entry.type == "string", case .bulk(let bytes) = entry.value else { continue }
            let isInteger = Int64(String(decoding: bytes, as: UTF8.self)).map { Array("\($0)".utf8) == bytes } ?? false
            restarted.entries[name]?.encoding = isInteger ? "int" : bytes.count <= 44 ? "embstr" : "raw"
        }
        return restarted
    }

    /// With other values of strings.
    package func mappingStrings(_ change: ([UInt8]) -> [UInt8]) -> KeyspaceSnapshot {
        var mapped = self
        mapped.entries = entries.mapValues { entry in
            guard case .bulk(let bytes) = entry.value else { return entry }
            var result = Entry(
                value: .bulk(change(bytes)), type: entry.type, encoding: entry.encoding,
                deadlineMilliseconds: entry.deadlineMilliseconds)
            result.memberDeadlines = entry.memberDeadlines
            return result
        }
        return mapped
    }

    /// Without the keys that are due before `milliseconds`: where real time passes between two snapshots.
    package func droppingKeysDue(before milliseconds: Int64) -> KeyspaceSnapshot {
        var kept = self
        kept.entries = entries.filter {
            $0.value.deadlineMilliseconds == -1 || $0.value.deadlineMilliseconds >= milliseconds
        }
        return kept
    }

    /// What differs, one line for each key, for a test's message.
    package func differences(from other: KeyspaceSnapshot) -> [String] {
        Set(entries.keys).union(other.entries.keys).sorted().compactMap { name in
            let (own, others) = (entries[name], other.entries[name])
            return own == others ? nil : "\(name): \(String(describing: own)) and \(String(describing: others))"
        }
    }

    private static func ask(_ peer: RespPeer, _ words: String...) throws -> Reply {
        try ask(peer, words.map { Array($0.utf8) })
    }

    private static func ask(_ peer: RespPeer, _ arguments: [[UInt8]]) throws -> Reply {
        peer.send(RespRunner.encode(arguments))
        let event = peer.receive(60_000)
        guard case .reply(let reply) = event else { throw OracleError(description: RespRunner.describe(event)) }
        return reply
    }
}
