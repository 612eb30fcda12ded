// All keys of a target with their values and deadlines, read over its own commands: what must be the same before and
// after a restart.

package import KedisProtocol

package struct KeyspaceSnapshot: Equatable {
    package struct Entry: Equatable {
        package let value: Reply
        /// Unix time; -1 without one.
        package let deadlineMilliseconds: Int64
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
                let value = try Self.ask(peer, [Array("GET".utf8), key])
                guard case .integer(let deadline) = try Self.ask(peer, [Array("PEXPIRETIME".utf8), key]), deadline != -2
                else { continue }
                entries["\(database)/\(RespQuoting.quote(key))"] = Entry(value: value, deadlineMilliseconds: deadline)
            }
        }
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
        let event = peer.receive(10_000)
        guard case .reply(let reply) = event else { throw OracleError(description: RespRunner.describe(event)) }
        return reply
    }
}
