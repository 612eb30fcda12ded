// Goal: what a program has written is there when its directory is opened again, however the program ended; damage and a
// second opener are told; with `always` a call returns when its record is on disk. Method: databases that are let go of,
// and copies of their directories taken while they are open, as a crash of the process would leave them.

import Kedis
import KedisTestSupport
import Synchronization
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite("Databases with a journal")
struct DatabaseJournalTests {
    private typealias Mode = KedisDatabase.Options.Journal

    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        try body(folder)
    }

    private static func options(_ journal: Mode, _ warnings: Warnings? = nil) -> KedisDatabase.Options {
        var options = KedisDatabase.Options()
        options.journal = journal
        options.warn = { text in warnings?.add(text) }
        return options
    }

    private final class Warnings: Sendable {
        private let texts = Mutex<[String]>([])

        func add(_ text: String) { texts.withLock { $0.append(text) } }

        var all: String { texts.withLock { $0.joined(separator: "\n") } }
    }

    /// What a crash of the process would leave now, in a folder beside: what was handed to the system is there.
    private func crashed(_ folder: String) throws -> String {
        let target = folder + "-crashed"
        mkdir(target, 0o755)
        mkdir(target + "/appendonlydir", 0o755)
        for path in TestFiles.list(below: folder, suffix: "") where !path.contains(".old/") {
            let bytes = try #require(TestFiles.read(path))
            #expect(TestFiles.write(bytes, to: target + path.dropFirst(folder.utf8.count)))
        }
        return target
    }

    @Test("Letting go without a close loses nothing", arguments: [
        KedisDatabase.Options.Journal.everySecond, .always, .whenSystemLikes,
    ])
    func lettingGo(journal: KedisDatabase.Options.Journal) throws {
        try withFolder { folder in
            for round in 1...4 {
                let database = try KedisDatabase.open(directory: folder, options: Self.options(journal))
                #expect(database.loadedKeyCount == (round == 1 ? 0 : 3 + round - 1))
                try database.set("last", to: round)
                try database.set("long", to: round, expiry: .after(.seconds(1000)))
                #expect(try database.increment("count") == Int64(round))
                #expect(database.execute("RPUSH", "list:\(round)", "a", "b") == .integer(2))
            }
            let database = try KedisDatabase.open(directory: folder)
            #expect(try database.get("count", as: Int.self) == 4)
            #expect(try database.get("last", as: Int.self) == 4)
            #expect(database.execute("LLEN", "list:3") == .integer(2))
            #expect(!TestFiles.list(below: folder, suffix: ".rdb").contains { $0.hasSuffix("dump.rdb") })
            try database.close()
            #expect(TestFiles.read("\(folder)/dump.rdb") != nil)
        }
    }

    @Test("With always, what a call has returned for is in the files, from any thread")
    func always() throws {
        try withFolder { folder in
            let database = try KedisDatabase.open(directory: folder, options: Self.options(.always))
            let rounds = 25
            onThreads(4) { thread in
                for round in 1...rounds {
                    do {
                        try database.set("thread:\(thread)", to: round)
                    } catch {
                        Issue.record(error)
                    }
                }
            }
            let target = try crashed(folder)
            defer { TestFiles.removeTemporaryFolder(target) }
            let copy = try KedisDatabase.open(directory: target)
            for thread in 0..<4 { #expect(try copy.get("thread:\(thread)", as: Int.self) == rounds) }
            try copy.close()
            try database.close()
        }
    }

    @Test("flush returns when everything is in the files; without a journal there is nothing to wait for")
    func flush() throws {
        try withFolder { folder in
            let database = try KedisDatabase.open(directory: folder)
            for index in 0..<100 { try database.set("key:\(index)", to: index) }
            try database.flush()
            let target = try crashed(folder)
            defer { TestFiles.removeTemporaryFolder(target) }
            let copy = try KedisDatabase.open(directory: target)
            #expect(copy.loadedKeyCount == 100)
            try copy.close()
            #expect(database.execute("WAITAOF", "1", "0", "0") == .array([.integer(1), .integer(0)]))
            try database.close()
            #expect(throws: KedisError.self) { try database.flush() }
            #expect(throws: KedisError.journal("this database has no journal")) { try KedisDatabase().flush() }
        }
    }

    @Test("A directory that only has a snapshot is taken over; without a journal one that is there is told")
    func takeover() throws {
        try withFolder { folder in
            let before = try KedisDatabase.open(directory: folder, options: Self.options(.off))
            try before.set("old", to: 1)
            try before.close()
            #expect(TestFiles.list(below: folder, suffix: ".kjl").isEmpty)
            do {
                let database = try KedisDatabase.open(directory: folder)
                #expect(database.loadedKeyCount == 1)
                try database.set("new", to: 2)
            }
            let warnings = Warnings()
            let without = try KedisDatabase.open(directory: folder, options: Self.options(.off, warnings))
            #expect(try without.keys() == ["old"])
            #expect(warnings.all.contains("which is not read"))
            // Nothing was changed: the journal still counts.
            try without.close()
            let again = try KedisDatabase.open(directory: folder)
            #expect(try again.get(keys: ["old", "new"], as: Int.self) == [1, 2])
            try again.close()
        }
    }

    @Test("A snapshot that a store without a journal has written since is loaded, and the journal kept aside")
    func youngerSnapshot() throws {
        try withFolder { folder in
            let first = try KedisDatabase.open(directory: folder)
            try first.set("a", to: 1)
            try first.close()
            TestFiles.sleep(milliseconds: 20)
            let without = try KedisDatabase.open(directory: folder, options: Self.options(.off))
            try without.set("a", to: 2)
            try without.close()
            let warnings = Warnings()
            let again = try KedisDatabase.open(directory: folder, options: Self.options(.everySecond, warnings))
            #expect(try again.get("a", as: Int.self) == 2)
            #expect(warnings.all.contains("appendonlydir.old"))
            // A snapshot of its own says nothing against the journal.
            try again.save()
            let target = try crashed(folder)
            defer { TestFiles.removeTemporaryFolder(target) }
            let none = Warnings()
            let copy = try KedisDatabase.open(directory: target, options: Self.options(.everySecond, none))
            #expect(try copy.get("a", as: Int.self) == 2)
            #expect(none.all == "")
            try copy.close()
            try again.close()
            #expect(TestFiles.list(below: folder + "/appendonlydir.old", suffix: ".kjl").count > 0)
        }
    }

    @Test("A torn end is left out and told; damage is an error with file, place and what to do")
    func damage() throws {
        try withFolder { folder in
            let database = try KedisDatabase.open(directory: folder, options: Self.options(.always))
            for index in 0..<20 { try database.set("key:\(index)", to: index) }
            let target = try crashed(folder)
            defer { TestFiles.removeTemporaryFolder(target) }
            try database.close()
            let path = try #require(TestFiles.list(below: target, suffix: ".kjl").last)
            let bytes = try #require(TestFiles.read(path)).withoutRoom
            #expect(TestFiles.write(bytes + [1, 2, 3], to: path))
            let warnings = Warnings()
            let torn = try KedisDatabase.open(directory: target, options: Self.options(.everySecond, warnings))
            #expect(torn.loadedKeyCount == 20)
            #expect(warnings.all.contains("The last 3 bytes of \(path)"))
            try torn.close()

            var changed = bytes
            changed[bytes.count / 2] ^= 1
            #expect(TestFiles.write(changed, to: path))
            let error = #expect(throws: KedisError.self) { try KedisDatabase.open(directory: target) }
            let text = "\(String(describing: error))"
            #expect(text.contains("\(path), byte ") && text.contains("kedis check --repair"))
            #expect(TestFiles.read(path) == changed)
        }
    }

    @Test("A directory is open once, with a journal too, whoever has it open")
    func openedOnce() throws {
        try withFolder { folder in
            var other = KedisDatabase.Options()
            other.snapshotName = "other.rdb"
            other.journalName = "appendonlydir"
            let database = try KedisDatabase.open(directory: folder)
            for options in [KedisDatabase.Options(), other] {
                let error = #expect(throws: KedisError.self) {
                    try KedisDatabase.open(directory: folder, options: options)
                }
                #expect("\(String(describing: error))".contains("is in use by process"))
            }
            try database.close()
            try KedisDatabase.open(directory: folder).close()
        }
    }

    @Test("The journal begins and ends by CONFIG SET, and its policy changes")
    func switching() throws {
        try withFolder { folder in
            let ok = Reply.simple(Array("OK".utf8))
            do {
                let database = try KedisDatabase.open(directory: folder, options: Self.options(.off))
                try database.set("a", to: 1)
                #expect(throws: KedisError.self) { try database.flush() }
                #expect(database.execute("CONFIG", "SET", "appendonly", "yes") == ok)
                try database.set("b", to: 2)
                try database.flush()
                #expect(database.execute("CONFIG", "SET", "appendfsync", "always") == ok)
                try database.set("c", to: 3)
                #expect(database.execute("INFO", "persistence").description.contains("aof_enabled:1"))
            }
            let database = try KedisDatabase.open(directory: folder)
            #expect(try database.get(keys: ["a", "b", "c"], as: Int.self) == [1, 2, 3])
            #expect(database.execute("CONFIG", "SET", "appendonly", "no") == ok)
            try database.set("d", to: 4)
            try database.close()
            #expect(
                KedisDatabase().execute("CONFIG", "SET", "appendonly", "yes").description.contains("has no directory"))
        }
    }

    @Test("Many short lives do not leave as many files")
    func shortLives() throws {
        try withFolder { folder in
            for round in 1...80 {
                let database = try KedisDatabase.open(directory: folder)
                #expect(try database.increment("count") == Int64(round))
            }
            #expect(TestFiles.list(below: folder, suffix: ".kjl").count < 70)
            #expect(try KedisDatabase.open(directory: folder).get("count", as: Int.self) == 80)
        }
    }
}
