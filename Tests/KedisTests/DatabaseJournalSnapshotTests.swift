// Goal: of a journal and a snapshot beside it, an opening takes the one that has more, and what it does not take is
// kept. Method: directories put together from what databases have left; a directory that cannot be written to.

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

@Suite("Databases with a journal and a snapshot")
struct DatabaseJournalSnapshotTests {
    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = try #require(TestFiles.makeTemporaryFolder())
        defer { TestFiles.removeTemporaryFolder(folder) }
        try body(folder)
    }

    private final class Warnings: Sendable {
        private let texts = Mutex<[String]>([])

        func add(_ text: String) { texts.withLock { $0.append(text) } }

        var all: String { texts.withLock { $0.joined(separator: "\n") } }
    }

    private func open(
        _ folder: String, _ journal: KedisDatabase.Options.Journal = .everySecond, name: String = "dump.rdb",
        _ warnings: Warnings? = nil
    ) throws -> KedisDatabase {
        var options = KedisDatabase.Options()
        options.journal = journal
        options.snapshotName = name
        options.warn = { text in warnings?.add(text) }
        return try KedisDatabase.open(directory: folder, options: options)
    }

    /// The journal as a crash of the process would leave it now.
    private func copyJournal(_ folder: String, to target: String) throws {
        mkdir(target, 0o755)
        mkdir(target + "/appendonlydir", 0o755)
        for path in TestFiles.list(below: folder + "/appendonlydir", suffix: "") {
            let bytes = try #require(TestFiles.read(path))
            #expect(TestFiles.write(bytes, to: target + path.dropFirst(folder.utf8.count)))
        }
    }

    private func withTarget(_ folder: String, _ body: (String) throws -> Void) throws {
        defer { TestFiles.removeTemporaryFolder(folder + "-copy") }
        try body(folder + "-copy")
    }

    /// The snapshot of a store without a journal.
    private func foreignSnapshot(_ value: Int) throws -> [UInt8] {
        var bytes: [UInt8]?
        try withFolder { folder in
            let database = try open(folder, .off)
            try database.set("foreign", to: value)
            try database.close()
            bytes = TestFiles.read(folder + "/dump.rdb")
        }
        return try #require(bytes)
    }

    @Test("A snapshot that is ahead of the journal is loaded, and the journal kept aside")
    func ahead() throws {
        try withFolder { folder in
            try withTarget(folder) { target in
                let database = try open(folder)
                try database.set("a", to: 1)
                try database.flush()
                try copyJournal(folder, to: target)
                try database.set("b", to: 2)
                try database.set("a", to: 3)
                try database.save()
                let snapshot = try #require(TestFiles.read(folder + "/dump.rdb"))
                #expect(TestFiles.write(snapshot, to: target + "/dump.rdb"))
                try database.close()

                let warnings = Warnings()
                let copy = try open(target, .everySecond, warnings)
                #expect(try copy.get(keys: ["a", "b"], as: Int.self) == [3, 2])
                #expect(copy.loadedKeyCount == 2)
                #expect(warnings.all.contains("ends at record") && warnings.all.contains("appendonlydir.old"))
                try copy.set("c", to: 4)
                try copy.close()
                let again = try open(target)
                #expect(try again.get(keys: ["a", "b", "c"], as: Int.self) == [3, 2, 4])
                try again.close()
                #expect(!TestFiles.list(below: target + "/appendonlydir.old", suffix: ".kjl").isEmpty)
            }
        }
    }

    @Test("What a snapshot has the journal has on disk before", arguments: [false, true])
    func neverAhead(inBackground: Bool) throws {
        try withFolder { folder in
            try withTarget(folder) { target in
                let database = try open(folder, .whenSystemLikes)
                for index in 0..<50 { try database.set("key:\(index)", to: index) }
                if inBackground {
                    _ = database.execute("BGSAVE")
                    while TestFiles.read(folder + "/dump.rdb") == nil { TestFiles.sleep(milliseconds: 1) }
                } else {
                    try database.save()
                }
                try copyJournal(folder, to: target)
                let copy = try open(target)
                #expect(copy.loadedKeyCount == 50)
                try copy.close()
                try database.close()
            }
        }
    }

    @Test("Stores of one directory with other snapshots have other journals")
    func twoNames() throws {
        try withFolder { folder in
            let names = ["dump.rdb", "a.rdb", "b.rdb"]
            let databases = try names.map { try open(folder, name: $0) }
            for (name, database) in zip(names, databases) { try database.set("name", to: name) }
            for database in databases { try database.close() }
            for name in names {
                let database = try open(folder, name: name)
                #expect(try database.get("name") == name)
                #expect(try database.keys() == ["name"])
                try database.close()
            }
            #expect(!TestFiles.list(below: folder + "/a.rdb.appendonlydir", suffix: ".kjl").isEmpty)
        }
    }

    @Test("Left-over append-only files of redis-server count where there is no snapshot", arguments: [false, true])
    func foreignFiles(hasSnapshot: Bool) throws {
        try withFolder { folder in
            let text = "*3\r\n$3\r\nSET\r\n$7\r\nforeign\r\n$1\r\n1\r\n"
            #expect(TestFiles.write(text, to: folder + "/appendonly.aof"))
            if hasSnapshot { #expect(TestFiles.write(try foreignSnapshot(2), to: folder + "/dump.rdb")) }
            let warnings = Warnings()
            let database = try open(folder, .everySecond, warnings)
            #expect(try database.get("foreign", as: Int.self) == (hasSnapshot ? 2 : 1))
            #expect(warnings.all.contains("append-only files of Redis") == hasSnapshot)
            try database.close()
            #expect(TestFiles.read(folder + "/appendonly.aof") == Array(text.utf8))
        }
    }

    @Test("A snapshot that is not of the journal, and older, is not overwritten")
    func otherSnapshot() throws {
        try withFolder { folder in
            for round in 1...12 {
                let foreign = try foreignSnapshot(round)
                do {
                    let database = try open(folder)
                    try database.set("a", to: round)
                    try database.flush()
                    #expect(TestFiles.write(foreign, to: folder + "/dump.rdb"))
                    TestFiles.sleep(milliseconds: 20)
                    try database.set("b", to: round)
                    try database.flush()
                }
                let warnings = Warnings()
                let database = try open(folder, .everySecond, warnings)
                #expect(try database.get(keys: ["a", "b", "foreign"], as: Int.self) == [round, round, nil])
                try database.close()
                let kept = folder + "/dump.rdb.old" + (round == 1 ? "" : "-\(round)")
                #expect(TestFiles.read(kept) == foreign)
                #expect(warnings.all.contains(kept))
                #expect(TestFiles.read(folder + "/dump.rdb") != foreign)
            }
        }
    }

    @Test("A directory that cannot be written to is opened, with what it has", arguments: [false, true])
    func readOnly(hasJournal: Bool) throws {
        try withFolder { folder in
            let first = try open(folder, hasJournal ? .everySecond : .off)
            try first.set("a", to: 1)
            try first.close()
            let paths = Set(TestFiles.list(below: folder, suffix: ""))
            try withoutWriting(to: folder) {
                let warnings = Warnings()
                let database = try open(folder, .everySecond, warnings)
                #expect(try database.get("a", as: Int.self) == 1)
                #expect(warnings.all.contains("is opened without a journal"))
                #expect(throws: KedisError.journal("this database has no journal")) { try database.flush() }
                try database.close()
            }
            #expect(Set(TestFiles.list(below: folder, suffix: "")) == paths)
            let again = try open(folder)
            #expect(try again.get("a", as: Int.self) == 1)
            try again.set("b", to: 2)
            try again.close()
        }
    }

    /// Nobody may write to the folder: root neither, which this thread and those that it starts give up to be.
    private func withoutWriting(to folder: String, _ body: () throws -> Void) throws {
        chmod(folder, 0o555)
        defer { chmod(folder, 0o755) }
        guard geteuid() == 0 else { return try body() }
        typealias SetIdentifier = @convention(c) (UInt32) -> Int32
        // Linux's, of one thread.
        guard let symbol = dlsym(nil, "setfsuid") else { return }
        let setIdentifier = unsafeBitCast(symbol, to: SetIdentifier.self)
        _ = setIdentifier(65_534)
        defer { _ = setIdentifier(0) }
        try body()
    }

    @Test("A journal whose last file is damaged is told, though a younger snapshot is there")
    func damaged() throws {
        try withFolder { folder in
            let database = try open(folder)
            try database.set("a", to: 1)
            try database.close()
            let path = try #require(TestFiles.list(below: folder, suffix: ".kjl").last)
            var bytes = try #require(TestFiles.read(path))
            bytes[20] ^= 1
            #expect(TestFiles.write(bytes, to: path))
            TestFiles.sleep(milliseconds: 20)
            #expect(TestFiles.write(try foreignSnapshot(1), to: folder + "/dump.rdb"))
            #expect(throws: KedisError.self) { _ = try open(folder) }
            #expect(TestFiles.read(path) == bytes)
        }
    }
}
