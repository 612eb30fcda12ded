// Databases as a whole: many of them, many threads, files.

import Kedis
import KedisTestSupport
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite("Databases in a program")
struct DatabaseTests {
    @Test("A hundred databases in one process know nothing of each other")
    func hundredDatabases() throws {
        let databases = (0..<100).map { _ in KedisDatabase() }
        for (index, database) in databases.enumerated() { try database.set("index", to: index) }
        for (index, database) in databases.enumerated() {
            #expect(try database.get("index", as: Int.self) == index)
            #expect(try database.count() == 1)
            try database.close()
        }
    }

    @Test("A name or mode that one command gave a pooled connection was there for the next user")
    func pooledConnectionsAreAlike() {
        let database = KedisDatabase()
        #expect(database.execute("CLIENT", "SETNAME", "mine") == .simple(Array("OK".utf8)))
        #expect(database.execute("CLIENT", "GETNAME") == .null)
        #expect(database.execute("CLIENT", "NO-TOUCH", "ON") == .simple(Array("OK".utf8)))
        guard case .bulk(let line) = database.execute("CLIENT", "INFO") else {
            Issue.record("CLIENT INFO gives no text")
            return
        }
        #expect(String(decoding: line, as: UTF8.self).contains(" flags=N "))
    }

    @Test("A limit of memory refuses writes, deletions let them through again, and the figures tell of it")
    func memoryLimit() throws {
        var options = KedisDatabase.Options()
        options.memoryByteCountMax = 8 << 20
        let database = KedisDatabase(options: options)
        #expect(database.execute("CONFIG", "GET", "maxmemory").description.contains("8388608"))
        let value = String(repeating: "x", count: 100_000)
        var count = 0
        let ok = Reply.simple(Array("OK".utf8))
        while count < 1000, database.execute("SET", "key:\(count)", value) == ok { count += 1 }
        let refusal = Reply.error(Array("OOM command not allowed when used memory > 'maxmemory'.".utf8))
        #expect(database.execute("SET", "new", value) == refusal)
        #expect(count > 60 && count < 90)
        #expect(try database.get("key:0") == value)
        #expect(try database.delete("key:1", "key:2") == 2)
        try database.set("key:1", to: "small")
        #expect(database.execute("INFO", "memory").description.contains("maxmemory_human:8.00M"))
    }

    @Test("A database that evicts takes every write and stays within its limit", arguments: [
        KedisDatabase.Options.EvictionPolicy.leastRecentlyUsed, .leastFrequentlyUsed, .random,
    ])
    func eviction(policy: KedisDatabase.Options.EvictionPolicy) throws {
        var options = KedisDatabase.Options()
        options.memoryByteCountMax = 8 << 20
        options.evictionPolicy = policy
        let database = KedisDatabase(options: options)
        for index in 0..<300 { try database.set("key:\(index)", to: String(repeating: "x", count: 100_000)) }
        let count = try database.count()
        #expect(count > 50 && count < 90, "\(count)")
    }

    @Test("Eight threads on one database: no increment is lost, no pair is torn")
    func eightThreads() throws {
        let database = KedisDatabase()
        let rounds = 500
        onThreads(8) { thread in
            for round in 0..<rounds {
                do {
                    try database.increment("shared")
                    try database.set("own:\(thread)", to: round)
                    try database.set(pairs: [(key: "left", value: round), (key: "right", value: round)])
                    let pair = try database.get(keys: ["left", "right"], as: Int.self)
                    if pair[0] != pair[1] { Issue.record("a pair was torn: \(pair)") }
                } catch {
                    Issue.record(error)
                }
            }
        }
        #expect(try database.get("shared", as: Int.self) == 8 * rounds)
        for thread in 0..<8 { #expect(try database.get("own:\(thread)", as: Int.self) == rounds - 1) }
    }

    @Test("What was there when a database was closed is there when it is opened again, deadlines included")
    func reopening() throws {
        try withFolder { folder in
            let first = try KedisDatabase.open(directory: folder)
            #expect(first.loadedKeyCount == 0)
            try first.set("name", to: "Karthik")
            try first.set("short", to: 1, expiry: .after(.milliseconds(1)))
            try first.set("long", to: 2, expiry: .after(.seconds(1000)))
            let connection = first.connect()
            _ = connection.execute("SELECT", "5")
            try connection.set([0, 255], to: [UInt8]([13, 10]))
            TestFiles.sleep(milliseconds: 5)
            try first.close()

            let second = try KedisDatabase.open(directory: folder)
            #expect(second.loadedKeyCount == 3)
            #expect(try second.get("name") == "Karthik")
            #expect(try second.exists("short") == false)
            guard case .remaining(let rest) = try second.timeToLive(of: "long") else {
                Issue.record("the deadline is lost")
                return
            }
            #expect(rest > .seconds(900) && rest <= .seconds(1000))
            let reconnection = second.connect()
            _ = reconnection.execute("SELECT", "5")
            #expect(try reconnection.get([UInt8]([0, 255]), as: [UInt8].self) == [13, 10])
            try second.close()
        }
    }

    @Test("Without a journal, save and SAVE write at once; what comes later is lost without another save")
    func savingInBetween() throws {
        try withFolder { folder in
            var options = KedisDatabase.Options()
            options.journal = .off
            do {
                // Let go without a close, as by a crash.
                let first = try KedisDatabase.open(directory: folder, options: options)
                try first.set("a", to: 1)
                try first.save()
                try first.set("b", to: 2)
            }
            let second = try KedisDatabase.open(directory: folder, options: options)
            #expect(try second.keys() == ["a"])
        }
    }

    @Test("A directory is open once: a second database is refused until the first one is closed")
    func openedOnce() throws {
        try withFolder { folder in
            let first = try KedisDatabase.open(directory: folder)
            let error = #expect(throws: KedisError.self) { _ = try KedisDatabase.open(directory: folder) }
            guard case .snapshot(let text) = error else {
                Issue.record("another error: \(String(describing: error))")
                return
            }
            #expect(text.contains("in use"))
            try first.close()
            try KedisDatabase.open(directory: folder).close()
        }
    }

    @Test("A directory that cannot be written to: save and close say which file and why, the data stays in memory")
    func unwritableDirectory() throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        let database = try KedisDatabase.open(directory: folder)
        // Removed rather than protected, since protection does not stop a superuser.
        TestFiles.removeTemporaryFolder(folder)
        try database.set("a", to: 1)
        for attempt in [database.save, database.close] {
            let error = #expect(throws: KedisError.self) { try attempt() }
            guard case .snapshot(let text) = error else {
                Issue.record("another error: \(String(describing: error))")
                continue
            }
            #expect(text.contains(folder))
        }
        #expect(try database.get("a", as: Int.self) == 1)
    }

    @Test("A protected directory is refused as well", .enabled(if: geteuid() != 0, "the superuser may write anywhere"))
    func protectedDirectory() throws {
        try withFolder { folder in
            let database = try KedisDatabase.open(directory: folder)
            try database.set("a", to: 1)
            chmod(folder, 0o555)
            defer { chmod(folder, 0o755) }
            #expect(throws: KedisError.self) { try database.save() }
        }
    }

    @Test("A database in memory has nothing to save and closes quietly")
    func inMemory() throws {
        let database = KedisDatabase()
        try database.set("a", to: 1)
        #expect(throws: KedisError.snapshot("this database has no directory to save to")) { try database.save() }
        try database.close()
    }

    @Test("After close every call is refused, on connections too, instead of losing what it writes")
    func closed() throws {
        try withFolder { folder in
            let database = try KedisDatabase.open(directory: folder)
            let connection = database.connect()
            try database.set("a", to: 1)
            try database.close()
            let refusal = KedisError.command("ERR the database is closed")
            #expect(throws: refusal) { try database.set("a", to: 2) }
            #expect(throws: refusal) { try connection.get("a") }
            #expect(throws: refusal) { try database.save() }
            #expect(throws: refusal) { try database.connect().count() }
            let reply = Reply.error(Array("ERR the database is closed".utf8))
            #expect(database.execute("SET", "a", "2") == reply)
            #expect(connection.execute("PING") == reply)
            #expect(Array(database.scan()).isEmpty)
            try database.close()
            #expect(try KedisDatabase.open(directory: folder).get("a", as: Int.self) == 1)
        }
    }

    @Test("What a program cannot do by command says so: BGSAVE without a directory, SHUTDOWN")
    func impossibleCommands() throws {
        let database = KedisDatabase()
        #expect(database.execute("BGSAVE").description == "(error) ERR this database has no directory to save to")
        #expect(
            database.execute("SHUTDOWN", "NOSAVE").description
                == "(error) ERR SHUTDOWN is not possible in a program that embeds the store: close it instead")
        #expect(database.execute("PING").description == "PONG")
        try withFolder { folder in
            let durable = try KedisDatabase.open(directory: folder)
            #expect(durable.execute("BGSAVE").description == "Background saving started")
            try durable.close()
        }
    }

    @Test("Replies print as redis-cli shows them")
    func descriptions() throws {
        let database = KedisDatabase()
        #expect("\(database.execute("SET", "a", "x\ny"))" == "OK")
        #expect("\(database.execute("GET", "a"))" == #""x\ny""#)
        #expect("\(database.execute("GET", "b"))" == "(nil)")
        #expect("\(database.execute("EXISTS", "a"))" == "(integer) 1")
        #expect("\(database.execute("NOPE"))".hasPrefix("(error) ERR unknown command"))
        #expect("\(database.execute("MGET", "a", "b"))" == "1) \"x\\ny\"\n2) (nil)")
    }

    @Test("A damaged snapshot stops the opening, names the file and leaves it alone")
    func damagedSnapshot() throws {
        try withFolder { folder in
            let path = "\(folder)/dump.rdb"
            #expect(TestFiles.write("REDIS0010 this is no snapshot", to: path))
            let error = #expect(throws: KedisError.self) { try KedisDatabase.open(directory: folder) }
            #expect("\(String(describing: error))".contains("dump.rdb"))
            #expect(TestFiles.read(path) == Array("REDIS0010 this is no snapshot".utf8))
        }
    }

    @Test("A key whose deadline has passed is removed in the background, without anybody asking for it")
    func backgroundExpiry() throws {
        let database = KedisDatabase()
        try database.set("a", to: 1, expiry: .after(.milliseconds(20)))
        var rounds = 0
        while try database.count() > 0, rounds < 500 {
            TestFiles.sleep(milliseconds: 10)
            rounds += 1
        }
        #expect(try database.count() == 0)
    }

    @Test("Keys of a snapshot count accesses from the start, as new keys do, when frequency decides what is evicted")
    func loadedFrequency() throws {
        try withFolder { folder in
            let database = try KedisDatabase.open(directory: folder)
            try database.set("a", to: "text")
            let new = KedisDatabase(options: Self.frequencyOptions)
            try new.set("a", to: "text")
            try database.close()
            let loaded = try KedisDatabase.open(directory: folder, options: Self.frequencyOptions)
            #expect(loaded.execute("OBJECT", "FREQ", "a") == new.execute("OBJECT", "FREQ", "a"))
            #expect(loaded.execute("OBJECT", "FREQ", "a") == .integer(5))
            try loaded.close()
        }
    }

    @Test("DEBUG is refused unless the options allow it")
    func debug() {
        #expect(KedisDatabase().execute("DEBUG", "HTSTATS", "0").description.contains("DEBUG command not allowed"))
        var options = KedisDatabase.Options()
        options.allowsDebug = true
        #expect(KedisDatabase(options: options).execute("DEBUG", "HTSTATS", "0").description.contains("segments"))
    }

    private static var frequencyOptions: KedisDatabase.Options {
        var options = KedisDatabase.Options()
        options.evictionPolicy = .leastFrequentlyUsed
        return options
    }

    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        try body(folder)
    }
}
