// The typed calls: each against what the command behind it promises.

import Kedis
import Testing

@Suite("Typed calls of the library")
struct TypedCallTests {
    let database = KedisDatabase()

    @Test("Values of every type come back as they were given, and missing ones as nil")
    func values() throws {
        try database.set("name", to: "Karthik")
        try database.set("number", to: 42)
        try database.set("fraction", to: 0.1)
        try database.set([0, 255, 10], to: [UInt8]([1, 0, 254]))
        #expect(try database.get("name") == "Karthik")
        #expect(try database.get("number", as: Int.self) == 42)
        #expect(try database.get("fraction", as: Double.self) == 0.1)
        #expect(try database.get([UInt8]([0, 255, 10]), as: [UInt8].self) == [1, 0, 254])
        #expect(try database.get("missing") == nil)
    }

    @Test("Bytes that are no value of the wanted type are an error, not a guess")
    func unreadableValues() throws {
        try database.set("bytes", to: [UInt8]([0xFF, 0xFE]))
        try database.set("word", to: "word")
        func text(_ body: () throws -> Void) -> String {
            (#expect(throws: KedisError.self) { try body() }).map { $0.description } ?? ""
        }
        #expect(text { _ = try database.get("bytes") } == #"GET "bytes" found bytes that are no String"#)
        #expect(text { _ = try database.get("word", as: Int.self) } == #"GET "word" found bytes that are no Int"#)
        #expect(
            text { _ = try database.get(keys: ["missing", "word"], as: Int.self) }
                == #"MGET "word" found bytes that are no Int"#)
        #expect(text { _ = try database.keys(matching: "word", as: Int.self) }.hasPrefix(#"KEYS "word""#))
        let long = String(repeating: "k", count: 100)
        try database.set(long, to: "word")
        #expect(text { _ = try database.get(long, as: Int.self) }.hasPrefix("GET \"" + long.prefix(80) + "\"…"))
    }

    @Test("Conditions and expiries of set")
    func setOptions() throws {
        #expect(try database.set("a", to: 1, condition: .ifPresent) == false)
        #expect(try database.set("a", to: 1, expiry: .after(.seconds(100)), condition: .ifAbsent))
        #expect(try database.set("a", to: 2, condition: .ifAbsent) == false)
        #expect(try database.set("a", to: 3, expiry: .unchanged))
        let rest = try #require(try remaining("a"))
        #expect(rest > .seconds(90) && rest <= .seconds(100))
        try database.set("a", to: 4)
        #expect(try database.timeToLive(of: "a") == .unlimited)
        try database.set("a", to: 5, expiry: .at(millisecondsSince1970: 32_503_680_000_000))
        #expect(try #require(try remaining("a")) > .seconds(1_000_000))
        #expect(try database.get("a", as: Int.self) == 5)
    }

    @Test("A refused command throws the text that a client would get")
    func refusals() throws {
        try database.set("word", to: "abc")
        let error = #expect(throws: KedisError.self) { try database.increment("word") }
        #expect(error == .command("ERR value is not an integer or out of range"))
        #expect(error?.code == "ERR")
        #expect(throws: KedisError.command("ERR invalid expire time in 'set' command")) {
            try database.set("word", to: "x", expiry: .after(.zero))
        }
        #expect(database.execute("NOSUCH") == .error(Array("ERR unknown command 'NOSUCH', with args beginning with: ".utf8)))
        #expect(database.execute([]) == .error(Array("ERR empty command".utf8)))
    }

    @Test("Counters")
    func counters() throws {
        #expect(try database.increment("n") == 1)
        #expect(try database.increment("n", by: 41) == 42)
        #expect(try database.increment("n", by: -43) == -1)
        try database.set("n", to: Int.max)
        #expect(throws: KedisError.self) { try database.increment("n") }
        #expect(try database.get("n", as: Int.self) == Int.max)
    }

    @Test("Many keys at once, none included")
    func manyKeys() throws {
        try database.set(pairs: [(key: "a", value: 1), (key: "b", value: 2)])
        #expect(try database.get(keys: ["a", "missing", "b"], as: Int.self) == [1, nil, 2])
        #expect(try database.exists("a"))
        #expect(try database.delete("a", "missing", "b") == 2)
        #expect(try database.exists("a") == false)
        try database.set(pairs: [(key: String, value: String)]())
        #expect(try database.get(keys: [String]()) == [])
        #expect(try database.delete(keys: [String]()) == 0)
    }

    @Test("Deadlines can be set, asked for and taken away")
    func deadlines() throws {
        #expect(try database.expire("a", after: .seconds(1)) == false)
        #expect(try database.timeToLive(of: "a") == .noKey)
        try database.set("a", to: 1)
        #expect(try database.expire("a", after: .milliseconds(50_500)))
        let rest = try #require(try remaining("a"))
        #expect(rest > .seconds(40) && rest <= .milliseconds(50_500))
        #expect(try database.persist("a"))
        #expect(try database.persist("a") == false)
        #expect(try database.expire("a", atMillisecondsSince1970: 1))
        #expect(try database.exists("a") == false)
        try database.set("a", to: 1)
        #expect(throws: KedisError.self) { try database.expire("a", after: .seconds(Int64.max)) }
        #expect(try database.expire("a", after: .seconds(-1)))
        #expect(try database.count() == 0)
    }

    @Test("keys and scan give every key once, whatever the page")
    func listings() throws {
        let expected = Set((0..<1000).map { "key:\($0)" })
        try database.set(pairs: expected.map { (key: $0, value: 1) })
        try database.set("other", to: 1)
        #expect(Set(try database.keys(matching: "key:*")) == expected)
        #expect(try database.keys().count == 1001)
        for pageSize in [-5, 1, 7, 100, 5000] {
            let keys = database.scan(matching: "key:*", pageSize: pageSize).map { String(decoding: $0, as: UTF8.self) }
            #expect(keys.count == 1000)
            #expect(Set(keys) == expected)
        }
        try database.deleteAll()
        #expect(Array(database.scan()).isEmpty)
        #expect(try database.keys() == [])
    }

    @Test("Deleting in a scan loop empties the database")
    func scanWhileDeleting() throws {
        try database.set(pairs: (0..<500).map { (key: $0, value: $0) })
        for key in database.scan(pageSize: 10) { try database.delete(key) }
        #expect(try database.count() == 0)
    }

    @Test("A connection has a selected database of its own; calls on the database stay in database 0")
    func connections() throws {
        let connection = database.connect()
        #expect(connection.execute("SELECT", "3") == .simple(Array("OK".utf8)))
        try connection.set("a", to: "three")
        #expect(connection.selectedDatabase == 3)
        #expect(try database.get("a") == nil)
        #expect(try connection.get("a") == "three")
        #expect(database.execute("SELECT", "3") == .simple(Array("OK".utf8)))
        #expect(try database.get("a") == nil)
        #expect(connection.scan().map { $0 } == [Array("a".utf8)])
    }

    private func remaining(_ key: String) throws -> Duration? {
        guard case .remaining(let duration) = try database.timeToLive(of: key) else { return nil }
        return duration
    }
}
