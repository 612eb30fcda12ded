// Typed calls on keys, whatever they hold. Source of their behaviour: the pages of the commands that they name.

import KedisProtocol

/// How long a key still has to live.
public enum KedisTimeToLive: Sendable, Equatable {
    /// There is no such key.
    case noKey
    /// The key has no deadline.
    case unlimited
    /// The key expires after this time, in whole milliseconds.
    case remaining(Duration)
}

extension KedisCommanding {
    /// Deletes keys and returns how many of them existed. (DEL)
    ///
    /// - Complexity: O(number of keys)
    @discardableResult
    public func delete<Key: KedisValue>(_ keys: Key...) throws(KedisError) -> Int { try delete(keys: keys) }

    /// Deletes keys and returns how many of them existed. (DEL)
    ///
    /// - Complexity: O(number of keys)
    @discardableResult
    public func delete(keys: [some KedisValue]) throws(KedisError) -> Int {
        keys.isEmpty ? 0 : Int(try integer("DEL", keys.map { $0.kedisBytes }))
    }

    /// Whether `key` exists. (EXISTS)
    ///
    /// - Complexity: O(1)
    public func exists(_ key: some KedisValue) throws(KedisError) -> Bool {
        try integer("EXISTS", [key.kedisBytes]) == 1
    }

    /// Lets `key` expire after `duration`, counted in whole milliseconds; a duration that is not positive deletes it.
    /// (PEXPIRE)
    ///
    /// - Returns: false when there is no such key.
    /// - Throws: ``KedisError/command(_:)`` when the deadline does not fit 64 bits.
    /// - Complexity: O(log number of deadlines)
    @discardableResult
    public func expire(_ key: some KedisValue, after duration: Duration) throws(KedisError) -> Bool {
        try integer("PEXPIRE", [key.kedisBytes, duration.wholeMilliseconds.kedisBytes]) == 1
    }

    /// Lets `key` expire at a time, in milliseconds since 1970; one in the past deletes it. (PEXPIREAT)
    ///
    /// - Returns: false when there is no such key.
    /// - Complexity: O(log number of deadlines)
    @discardableResult
    public func expire(_ key: some KedisValue, atMillisecondsSince1970 milliseconds: Int64) throws(KedisError) -> Bool {
        try integer("PEXPIREAT", [key.kedisBytes, milliseconds.kedisBytes]) == 1
    }

    /// Takes the deadline of `key` away. (PERSIST)
    ///
    /// - Returns: false when there is no such key or it has no deadline.
    /// - Complexity: O(1)
    @discardableResult
    public func persist(_ key: some KedisValue) throws(KedisError) -> Bool {
        try integer("PERSIST", [key.kedisBytes]) == 1
    }

    /// Returns how long `key` still has to live. (PTTL)
    ///
    /// - Complexity: O(1)
    public func timeToLive(of key: some KedisValue) throws(KedisError) -> KedisTimeToLive {
        switch try integer("PTTL", [key.kedisBytes]) {
        case -2: .noKey
        case -1: .unlimited
        case let milliseconds: .remaining(.milliseconds(milliseconds))
        }
    }

    /// Returns the number of keys, those that are due but not yet removed among them. (DBSIZE)
    ///
    /// - Complexity: O(1)
    public func count() throws(KedisError) -> Int { Int(try integer("DBSIZE", [])) }

    /// Deletes all keys of the database. (FLUSHDB)
    ///
    /// - Complexity: O(n)
    public func deleteAll() throws(KedisError) { _ = try reply(to: "FLUSHDB", []) }

    /// Returns all keys that match `pattern`, in no order: `*` any bytes, `?` one, `[a-z]` one of these, `\` takes the
    /// next byte as it is. (KEYS)
    ///
    /// - Throws: ``KedisError/unexpectedReply(_:)`` when a key is no `Key` (for text: not UTF-8; use `as: [UInt8].self`
    ///   then).
    /// - Complexity: O(n), all keys in memory at once; ``scan(matching:pageSize:)`` gives them piece by piece.
    public func keys<Key: KedisValue>(
        matching pattern: some KedisValue = "*", as type: Key.Type = String.self
    ) throws(KedisError) -> [Key] {
        var keys: [Key] = []
        for reply in try elements("KEYS", [pattern.kedisBytes]) {
            guard case .bulk(let bytes) = reply, let key = try value(reply, of: "KEYS", key: bytes, as: type) else {
                throw unexpected("KEYS")
            }
            keys.append(key)
        }
        return keys
    }

    /// Returns a sequence of the keys that match `pattern`, read about `pageSize` at a time while it is iterated.
    /// (SCAN)
    ///
    /// A key that exists from start to end of the iteration is given exactly once, one that comes or goes meanwhile at
    /// most once. The database may be changed in the loop; when it is closed, the iteration ends. Keys are bytes:
    /// `String(decoding: key, as: UTF8.self)` makes text of one.
    ///
    /// - Complexity: O(pageSize) for a page, O(n) for all.
    public func scan(matching pattern: some KedisValue = "*", pageSize: Int = 100) -> KedisScan<Self> {
        KedisScan(source: self, pattern: pattern.kedisBytes, pageSize: Swift.max(1, pageSize))
    }
}

/// The keys of a database, read page by page. Each iteration starts anew.
public struct KedisScan<Source: KedisCommanding>: Sequence {
    fileprivate let source: Source
    fileprivate let pattern: [UInt8]
    fileprivate let pageSize: Int

    public func makeIterator() -> Iterator { Iterator(scan: self) }

    public struct Iterator: IteratorProtocol {
        fileprivate let scan: KedisScan
        private var cursor: [UInt8] = Array("0".utf8)
        private var page: [Reply] = []
        private var position = 0
        private var isLastPage = false

        fileprivate init(scan: KedisScan) { self.scan = scan }

        public mutating func next() -> [UInt8]? {
            while position == page.count {
                guard !isLastPage else { return nil }
                readPage()
            }
            defer { position += 1 }
            if case .bulk(let key) = page[position] { return key }
            return nil
        }

        private mutating func readPage() {
            position = 0
            page = []
            let arguments = [
                cursor, Array("MATCH".utf8), scan.pattern, Array("COUNT".utf8), scan.pageSize.kedisBytes,
            ]
            // SCAN with these arguments has one error, that the database is closed: its cursor is its own.
            guard let parts = try? scan.source.elements("SCAN", arguments), parts.count == 2,
                case .bulk(let next) = parts[0], case .array(let keys) = parts[1]
            else { return isLastPage = true }
            cursor = next
            page = keys
            isLastPage = next == Array("0".utf8)
        }
    }
}
