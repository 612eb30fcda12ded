// What executes commands, and from its replies to typed results: shared by databases and connections.

public import KedisProtocol

/// Something that executes commands: a ``KedisDatabase`` (any thread, database 0) or a ``KedisConnection`` (one thread,
/// the database that it has selected). The typed calls are the same on both.
public protocol KedisCommanding {
    /// Executes a command, its name first, and returns its reply, which is an error reply when it was refused.
    func execute(_ arguments: [[UInt8]]) -> Reply
}

extension KedisDatabase: KedisCommanding {}
extension KedisConnection: KedisCommanding {}

extension KedisCommanding {
    /// Executes `arguments` behind `name`; an error reply is thrown.
    func reply(to name: StaticString, _ arguments: [[UInt8]]) throws(KedisError) -> Reply {
        let reply = execute([name.withUTF8Buffer { Array($0) }] + arguments)
        if case .error(let text) = reply { throw .command(String(decoding: text, as: UTF8.self)) }
        return reply
    }

    func integer(_ name: StaticString, _ arguments: [[UInt8]]) throws(KedisError) -> Int64 {
        guard case .integer(let value) = try reply(to: name, arguments) else { throw unexpected(name) }
        return value
    }

    func elements(_ name: StaticString, _ arguments: [[UInt8]]) throws(KedisError) -> [Reply] {
        guard case .array(let replies) = try reply(to: name, arguments) else { throw unexpected(name) }
        return replies
    }

    /// The value in a reply that is a bulk string or null. `key` is for the error.
    func value<Value: KedisValue>(
        _ reply: Reply, of name: StaticString, key: [UInt8], as type: Value.Type
    ) throws(KedisError) -> Value? {
        switch reply {
        case .null: return nil
        case .bulk(let bytes):
            guard let value = Value(kedisBytes: bytes) else {
                throw .unexpectedReply("\(name) \(shown(key)) found bytes that are no \(Value.self)")
            }
            return value
        default: throw unexpected(name)
        }
    }

    /// A key as an error names it: quoted, and not all of a long one.
    private func shown(_ key: [UInt8]) -> String {
        key.count <= 80 ? quoted(key) : quoted(Array(key.prefix(80))) + "…"
    }

    func unexpected(_ name: StaticString) -> KedisError {
        .unexpectedReply("\(name) replied in a shape that it never has")
    }
}

extension KedisError {
    /// The first word of a refused command's text (`ERR`, `WRONGTYPE` …), or nil.
    public var code: String? {
        guard case .command(let text) = self else { return nil }
        return text.split(separator: " ", maxSplits: 1).first.map { String($0) }
    }
}
