// The collections of the stall benchmark: how each grows by one element, and what a small one is.
//
// Elements are the items of Keys.swift: 16 bytes. A stream has one group, to whose consumer every entry is delivered.

import Kedis

enum CollectionKind: String, CaseIterable {
    case list, hash, set, zset, stream

    /// The command that adds element `index`.
    func adding(_ index: Int, to key: [UInt8]) -> [[UInt8]] {
        switch self {
        case .list: [Array("RPUSH".utf8), key, itemArray(.value, index)]
        case .hash: [Array("HSET".utf8), key, itemArray(.new, index), itemArray(.value, index)]
        case .set: [Array("SADD".utf8), key, itemArray(.new, index)]
        case .zset: [Array("ZADD".utf8), key, Array(String(Self.score(index)).utf8), itemArray(.new, index)]
        case .stream:
            [Array("XADD".utf8), key, Array("\(index + 1)".utf8), Array("field".utf8), itemArray(.value, index)]
        }
    }

    /// Spread over the whole set, so that elements come everywhere.
    private static func score(_ index: Int) -> UInt64 { (UInt64(index) &* 0x9e37_79b9_7f4a_7c15) >> 16 }

    /// Commands that come after element `index`: a stream's entry is delivered.
    func delivering(_ index: Int, of key: [UInt8]) -> [[UInt8]]? {
        guard self == .stream else { return nil }
        let words = ["XREADGROUP", "GROUP", "group", "consumer", "COUNT", "1", "STREAMS"].map { Array($0.utf8) }
        return words + [key, [UInt8(ascii: ">")]]
    }

    /// Makes the key with its first element.
    func begin(_ connection: KedisConnection, _ key: [UInt8]) {
        connection.run(adding(0, to: key))
        guard self == .stream else { return }
        connection.run([Array("XGROUP".utf8), Array("CREATE".utf8), key, Array("group".utf8), Array("0".utf8)])
    }

    /// The command that removes an element from a large collection, as a shrinking one sees it; nil when elements are
    /// not removed one by one.
    func removing(_ index: Int, from key: [UInt8]) -> [[UInt8]] {
        switch self {
        case .list: [Array("LPOP".utf8), key]
        case .hash: [Array("HDEL".utf8), key, itemArray(.new, index)]
        case .set: [Array("SREM".utf8), key, itemArray(.new, index)]
        case .zset: [Array("ZREM".utf8), key, itemArray(.new, index)]
        case .stream: [Array("XDEL".utf8), key, Array("\(index + 1)".utf8)]
        }
    }
}

extension KedisConnection {
    /// Executes a command that must not fail.
    func run(_ arguments: [[UInt8]]) {
        if case .error(let text) = execute(arguments) { preconditionFailure(String(decoding: text, as: UTF8.self)) }
    }

    func run(_ arguments: String...) { run(arguments.map { Array($0.utf8) }) }
}
