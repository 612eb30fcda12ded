// Goal: what a database says is on disk is there, what a disk refuses is told and comes later, and nothing changes
// before the journal is there to be told. Method: the files of the machine with syncs that fail, wait or take long, and
// databases that are let go of, as a crash of the program would leave them.

import KedisCommands
import KedisPersistence
import KedisStore
import KedisTestSupport
import Synchronization
import Testing

@testable import Kedis
@testable import KedisDurability

@Suite("Databases and their disk")
struct DatabaseDiskTests {
    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        try body(folder)
    }

    private func options(
        _ journal: KedisDatabase.Options.Journal = .everySecond, _ warn: (@Sendable (String) -> Void)? = nil
    ) -> KedisDatabase.Options {
        var options = KedisDatabase.Options()
        options.journal = journal
        options.warn = warn
        return options
    }

    private func eventually(_ condition: () throws -> Bool) rethrows -> Bool {
        for _ in 0..<2000 {
            if try condition() { return true }
            TestFiles.sleep(milliseconds: 5)
        }
        return try condition()
    }

    /// As `eventually`, of what a task of the test brings about. Counts its looks, not time: on a busy machine the task
    /// and whoever waits for it get their turns one after the other.
    private func eventuallyOfTask(_ condition: () -> Bool) async throws -> Bool {
        for _ in 0..<4000 {
            if condition() { return true }
            try await Task.sleep(nanoseconds: 5_000_000)
        }
        return condition()
    }

    private func evictedCount(_ database: KedisDatabase) -> Int {
        let text = database.execute("INFO", "stats").description
        let rest = text.split(separator: "evicted_keys:").dropFirst().first ?? ""
        return Int(rest.prefix { $0.isNumber }) ?? -1
    }

    private let valueText = String(repeating: "v", count: 500)

    private func fill(_ database: KedisDatabase, _ range: Range<Int>) throws {
        for index in range { try database.set("key:\(index)", to: valueText) }
    }

    // MARK: Evictions around the beginning

    @Test("What is evicted while a database opens is in its journal, and does not come back")
    func evictionsAtOpening() throws {
        try withFolder { folder in
            do { try fill(try KedisDatabase.open(directory: folder), 0..<4000) }
            var wanted: Set<String> = []
            do {
                var options = options()
                options.memoryByteCountMax = 1 << 20
                options.evictionPolicy = .random
                let (database, contents) = try KedisDatabase.load(
                    directory: folder, options: options, fileSystem: .system)
                database.engine.memory.requestEviction()
                TestFiles.sleep(milliseconds: 300)
                // No command: that would make room, too.
                let keyCount = database.engine.store.keyspace(0, nowMilliseconds: 0).count
                #expect(keyCount == 4000, "nobody would have known of it")
                try database.begin(after: contents)
                database.ticker.start()
                let hasEvicted = eventually { evictedCount(database) > 100 }
                #expect(hasEvicted)
                database.engine.configuration.settle("maxmemory", "0")
                TestFiles.sleep(milliseconds: 50)
                wanted = Set(try database.keys())
                #expect(wanted.count < 3900)
            }
            #expect(Set(try KedisDatabase.open(directory: folder).keys()) == wanted)
        }
    }

    @Test(
        "What is evicted while a journal begins under writes does not come back",
        arguments: [
            KedisDatabase.Options.Journal.everySecond, .always,
        ])
    func evictionsAtSwitch(policy: KedisDatabase.Options.Journal) throws {
        try withFolder { folder in
            for round in 0..<3 {
                var wanted: Set<String> = []
                do {
                    var options = options(.off)
                    options.memoryByteCountMax = 1 << 20
                    options.evictionPolicy = .random
                    let files = TroubledFiles()
                    files.setSyncMicroseconds(5000)
                    let database = try KedisDatabase.open(
                        directory: folder, options: options, fileSystem: files.fileSystem)
                    try fill(database, 0..<4000)
                    let isOver = Atomic<Bool>(false)
                    let problems = ThreadProblems()
                    onThreads(2) { thread in
                        if thread == 0 {
                            var number = 10_000
                            while !isOver.load(ordering: .acquiring) {
                                problems.noting { try database.set("key:\(number)", to: self.valueText) }
                                number += 1
                            }
                            return
                        }
                        _ = database.execute("CONFIG", "SET", "appendfsync", policy.rawValue)
                        let reply = database.execute("CONFIG", "SET", "appendonly", "yes")
                        if reply != .simple(Array("OK".utf8)) { problems.add("\(reply)") }
                        problems.noting { try database.flush() }
                        TestFiles.sleep(milliseconds: 30)
                        isOver.store(true, ordering: .releasing)
                    }
                    #expect(problems.all == [])
                    #expect(evictedCount(database) > 100)
                    wanted = Set(try database.keys())
                    try database.flush()
                }
                let again = try KedisDatabase.open(directory: folder)
                #expect(Set(try again.keys()) == wanted, "round \(round)")
                #expect(again.execute("FLUSHALL") == .simple(Array("OK".utf8)))
                try again.close()
            }
        }
    }

    // MARK: flush

    @Test("flush returns when the sync that it waits for does, and not before")
    func flushWaits() throws {
        try withFolder { folder in
            let files = TroubledFiles()
            let database = try KedisDatabase.open(
                directory: folder, options: options(.whenSystemLikes), fileSystem: files.fileSystem)
            try database.set("a", to: 1)
            files.setHoldsSyncs(true)
            let hasReturned = Atomic<Bool>(false)
            let problems = ThreadProblems()
            onThreads(2) { thread in
                if thread == 0 {
                    problems.noting { try database.flush() }
                    return hasReturned.store(true, ordering: .releasing)
                }
                let isHeld = self.eventually { files.heldCount > 0 }
                if !isHeld { problems.add("nobody syncs") }
                TestFiles.sleep(milliseconds: 100)
                if hasReturned.load(ordering: .acquiring) { problems.add("flush returned before the sync") }
                files.setHoldsSyncs(false)
            }
            #expect(problems.all == [])
            try database.close()
        }
    }

    @Test("flush throws when the sync fails, the data stays in memory, and goes to disk when it can")
    func flushThrows() throws {
        try withFolder { folder in
            let files = TroubledFiles()
            do {
                let database = try KedisDatabase.open(
                    directory: folder, options: options(), fileSystem: files.fileSystem)
                try database.set("a", to: 1)
                try database.flush()
                files.setSyncsFail(true)
                try database.set("b", to: 2)
                let error = #expect(throws: KedisError.self) { try database.flush() }
                #expect("\(String(describing: error))".contains("fsync of"))
                #expect(throws: KedisError.self) { try database.flush() }
                #expect(try database.get("b", as: Int.self) == 2)
                files.setSyncsFail(false)
                let isOnDisk = eventually { (try? database.flush()) != nil }
                #expect(isOnDisk)
            }
            #expect(try KedisDatabase.open(directory: folder).get(keys: ["a", "b"], as: Int.self) == [1, 2])
        }
    }

    @Test("flush throws while the journal has a hole, and when it was ended meanwhile")
    func flushWithHole() throws {
        try withFolder { folder in
            let database = try KedisDatabase.open(directory: folder)
            let keeper = try #require(database.files?.journal)
            try database.flush()
            keeper.lossCount.wrappingAdd(1, ordering: .relaxed)
            #expect(throws: KedisError.self) { try database.flush() }
            // The background sees to it.
            let isWhole = eventually { (try? database.flush()) != nil }
            #expect(isWhole)
            #expect(database.execute("CONFIG", "SET", "appendonly", "no") == .simple(Array("OK".utf8)))
            #expect(throws: KedisError.journal("this database has no journal")) { try database.flush() }
            try database.close()
        }
    }

    // MARK: A beginning that fails

    @Test("A journal that cannot be opened says why, changes nothing, and opens when it can be written")
    func failedOpening() throws {
        try withFolder { folder in
            do { try KedisDatabase.open(directory: folder).set("a", to: 1) }
            let files = TroubledFiles()
            var failureCount = 0
            for call in 1..<40 {
                let paths = TestFiles.list(below: folder, suffix: "")
                files.fail(afterCalls: call, code: 28)
                let first = files.callCount
                do {
                    let database = try KedisDatabase.open(
                        directory: folder, options: options(), fileSystem: files.fileSystem)
                    #expect(try database.get("a", as: Int.self) == 1)
                    // Later calls than those of the opening are another test's.
                    if files.callCount - first < call { break }
                } catch {
                    failureCount += 1
                    #expect("\(error)".contains("No space left") && "\(error)".contains(folder), "\(error)")
                    #expect(
                        TestFiles.list(below: folder, suffix: "").filter { $0.hasSuffix(".rdb") }
                            == paths.filter {
                                $0.hasSuffix(".rdb")
                            })
                }
                files.fail(afterCalls: nil)
                #expect(try KedisDatabase.open(directory: folder).get("a", as: Int.self) == 1)
            }
            #expect(failureCount > 3)
        }
    }

    // MARK: Messages

    @Test("With always, a message is told of when what was written before it is on disk")
    func heldMessages() async throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        let files = TroubledFiles()
        let database = try KedisDatabase.open(
            directory: folder, options: options(.always), fileSystem: files.fileSystem)
        try database.set("warm", to: 1)
        let messages = try database.messages(of: ["news"])
        let got = Mutex<[String]>([])
        let reader = Task {
            for try await message in messages {
                let text = message.payload(as: String.self) ?? ""
                got.withLock { $0.append(text) }
                if text == "last" { return }
            }
        }
        files.setHoldsSyncs(true)
        // Of a thread of its own: it waits for the disk itself.
        let writer = Task.detached {
            onThreads(2) { thread in
                if thread == 0 { return _ = database.execute("SET", "a", "1") }
                // Behind the record, whatever the disk does.
                while database.files?.journal.journal?.appendedSequence ?? 0 < 2 { TestFiles.sleep(milliseconds: 1) }
                _ = database.execute("PUBLISH", "news", "first")
                _ = database.execute("PUBLISH", "news", "second")
            }
        }
        try await Task.sleep(nanoseconds: 300_000_000)
        #expect(got.withLock { $0 } == [])
        files.setHoldsSyncs(false)
        await writer.value
        let hasCome = try await eventuallyOfTask { got.withLock { $0.count } == 2 }
        #expect(hasCome)
        // A disk that takes nothing holds them until the policy says that nobody waits.
        files.setSyncsFail(true)
        onThreads(1) { _ in _ = database.execute("SET", "a", "2") }
        _ = database.execute("PUBLISH", "news", "third")
        try await Task.sleep(nanoseconds: 200_000_000)
        #expect(got.withLock { $0 } == ["first", "second"])
        _ = database.execute("CONFIG", "SET", "appendfsync", "everysec")
        let isReleased = try await eventuallyOfTask { got.withLock { $0.count } == 3 }
        #expect(isReleased)
        files.setSyncsFail(false)
        _ = database.execute("PUBLISH", "news", "last")
        try await reader.value
        #expect(got.withLock { $0 } == ["first", "second", "third", "last"])
        let isOnDisk = eventually { (try? database.flush()) != nil }
        #expect(isOnDisk)
        try database.close()
    }

    // MARK: What a killed save leaves

    @Test("What a save has left that was killed goes at the next opening, and nothing else")
    func leftovers() throws {
        try withFolder { folder in
            let journal = folder + "/appendonlydir"
            do { try KedisDatabase.open(directory: folder).set("a", to: 1) }
            // Numbers beyond what the system gives out.
            let gone = [
                "\(folder)/temp-99999999-1.rdb", "\(folder)/temp-99999999-2.kjl", "\(journal)/temp-99999999-3.rdb",
            ]
            let kept = ["temp-99999999.rdb", "temp-1-x.rdb", "temp-99999999-1.txt", "x-temp-99999999-1.rdb"].map {
                "\(folder)/\($0)"
            }
            for path in gone + kept { #expect(TestFiles.write("x", to: path)) }
            let database = try KedisDatabase.open(directory: folder)
            #expect(try database.get("a", as: Int.self) == 1)
            for path in gone { #expect(TestFiles.read(path) == nil, "\(path)") }
            for path in kept { #expect(TestFiles.read(path) != nil, "\(path)") }
            try database.close()
        }
    }
}
