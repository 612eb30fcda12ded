// Goal: what was saved is loaded; a save that fails changes nothing and says why; a file that cannot be loaded says
// where.

import KedisFormats
import KedisPersistence
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite("Snapshot files")
struct SnapshotFileTests {
    @Test("Random stores come back, saved under the locks and in the background")
    func roundTrip() throws {
        var generator = testGenerator("snapshot round trip")
        let folder = try TestFolder()
        let path = folder.file("dump.rdb")
        for round in 0..<12 {
            let store = makeStore()
            try store.fillRandomly(generator.next(below: 2000), using: &generator)
            let options = SnapshotOptions(
                compress: generator.next(below: 2) == 0, checksum: round % 3 > 0, functions: [[1, 2, 3], []])
            let summary =
                round % 2 == 0
                ? try saveSnapshot(of: store, to: path, options: options, nowMilliseconds: testNow)
                : try saveSnapshotInBackground(of: store, to: path, options: options, nowMilliseconds: testNow)
            #expect(folder.names == ["dump.rdb"])
            #expect(try readFile(path).count == summary.byteCount)
            let loaded = makeStore()
            let load = try #require(try loadSnapshot(into: loaded, from: path, nowMilliseconds: testNow))
            #expect(loaded.contents == store.contents)
            #expect(load.keyCount == summary.keyCount && load.keyCount == store.contents.count)
            #expect(load.functions == options.functions)
            #expect(load.byteCount == summary.byteCount && load.version == 10)
            #expect(summary.changes == store.statistics().changes)
            loaded.checkInvariants()
        }
    }

    @Test("A caller who holds all stripes saves without deadlock; the stripes are still held after it")
    func heldStripes() throws {
        let folder = try TestFolder()
        let store = makeStore()
        try store.put("a", "b")
        store.lock(.all)
        let summary = try saveSnapshot(of: store, held: .all, to: folder.file("d.rdb"), nowMilliseconds: testNow)
        store.unlock(.all)
        #expect(summary.keyCount == 1)
        let loaded = makeStore()
        loaded.lock(.all)
        _ = try loadSnapshot(into: loaded, held: .all, from: folder.file("d.rdb"), nowMilliseconds: testNow)
        loaded.unlock(.all)
        #expect(loaded.contents == store.contents)
    }

    @Test("No file is no error; an empty store has a file")
    func missingAndEmpty() throws {
        let folder = try TestFolder()
        let store = makeStore()
        #expect(try loadSnapshot(into: store, from: folder.file("none.rdb"), nowMilliseconds: testNow) == nil)
        _ = try saveSnapshot(of: store, to: folder.file("dump.rdb"), nowMilliseconds: testNow)
        let load = try #require(try loadSnapshot(into: store, from: folder.file("dump.rdb"), nowMilliseconds: testNow))
        #expect(load.keyCount == 0 && load.databases.isEmpty)
    }

    @Test("A path without a folder, and names that are no text, work")
    func relativePath() {
        #expect(directoryPath(of: "dump.rdb") == ".")
        #expect(directoryPath(of: "/dump.rdb") == "/")
        #expect(directoryPath(of: "/a/b/dump.rdb") == "/a/b")
    }

    @Test("Keys that are due when saving are not saved, those due when loading are not loaded")
    func expiredKeys() throws {
        let folder = try TestFolder()
        let path = folder.file("dump.rdb")
        let store = makeStore()
        try store.put("stays", "1")
        try store.put("soon", "1", deadline: testNow + 10)
        try store.put("later", "1", deadline: testNow + 1000)
        #expect(try saveSnapshot(of: store, to: path, nowMilliseconds: testNow + 10).keyCount == 2)
        let loaded = makeStore()
        let load = try #require(try loadSnapshot(into: loaded, from: path, nowMilliseconds: testNow + 1000))
        #expect(load.keyCount == 1 && load.expiredCount == 1)
        #expect(loaded.contents.keys.map(\.name) == [Array("stays".utf8)])
    }

    @Test("A database that the store has not is an error")
    func missingDatabase() throws {
        let folder = try TestFolder()
        let path = folder.file("dump.rdb")
        let store = makeStore()
        try store.put("k", "v", database: 9)
        _ = try saveSnapshot(of: store, to: path, nowMilliseconds: testNow)
        let error = #expect(throws: SnapshotError.self) {
            try loadSnapshot(into: makeStore(databaseCount: 9), from: path, nowMilliseconds: testNow)
        }
        guard case .unreadable(path, let reason) = error else {
            return #expect(Bool(false), "\(String(describing: error))")
        }
        #expect(reason.reason == .databaseOutOfRange(index: 9, databaseCount: 9))
    }

    @Test("A file that is cut, damaged, doubled, too long or a folder is an error, and left as it is")
    func unreadableFiles() throws {
        let folder = try TestFolder()
        let store = makeStore()
        for index in 0..<50 { try store.put("key:\(index)", "value \(index)") }
        _ = try saveSnapshot(of: store, to: folder.file("good.rdb"), nowMilliseconds: testNow)
        let good = try readFile(folder.file("good.rdb"))
        var flipped = good
        flipped[good.count / 2] ^= 4
        let entry: [UInt8] = [0, 1, 0x6B, 1, 0x76]
        let doubled = Array("REDIS0010".utf8) + [0xFE, 0] + entry + entry + [0xFF] + [UInt8](repeating: 0, count: 8)
        let cases: [(String, [UInt8])] = [
            ("cut", Array(good.dropLast(20))), ("empty", []), ("flipped", flipped), ("long", good + [0]),
            ("doubled", doubled),
        ]
        for (name, bytes) in cases {
            let path = folder.file(name)
            try writeFile(bytes, to: path)
            let error = #expect(throws: SnapshotError.self) {
                try loadSnapshot(into: makeStore(), from: path, nowMilliseconds: testNow)
            }
            #expect(error?.description.hasPrefix("\(path) cannot be loaded, at byte ") == true, "\(name)")
            #expect(try readFile(path) == bytes)
        }
        let error = #expect(throws: SnapshotError.self) {
            try loadSnapshot(into: makeStore(), from: folder.path, nowMilliseconds: testNow)
        }
        guard case .system(let failure) = error else { return #expect(Bool(false)) }
        #expect(failure.code == EISDIR)
    }

    @Test("A disk that is full, broken or read-only: the error is told, the old file stays, nothing else is left")
    func failingDisks() throws {
        let folder = try TestFolder()
        let path = folder.file("dump.rdb")
        let store = makeStore()
        try store.put("old", "state")
        _ = try saveSnapshot(of: store, to: path, nowMilliseconds: testNow)
        let before = try readFile(path)
        for index in 0..<3000 { try store.put("key:\(index)", String(repeating: "\(index) ", count: 200)) }
        let faults: [(String, Int32, Int)] = [
            ("open", EACCES, 0), ("write", ENOSPC, 0), ("write", ENOSPC, 1), ("write", EIO, 2), ("fsync", EIO, 0),
            ("close", EIO, 0), ("rename", EACCES, 0),
        ]
        for (operation, code, after) in faults {
            for isInBackground in [false, true] {
                let files = failingFileSystem(operation, code: code, after: after)
                let options = SnapshotOptions(compress: false)
                let error = #expect(throws: SnapshotError.self) {
                    isInBackground
                        ? try saveSnapshotInBackground(
                            of: store, to: path, options: options, nowMilliseconds: testNow, fileSystem: files)
                        : try saveSnapshot(
                            of: store, to: path, options: options, nowMilliseconds: testNow, fileSystem: files)
                }
                guard case .system(let failure) = error else { return #expect(Bool(false), "\(operation)") }
                #expect(failure.code == code && failure.operation == operation)
                #expect(error?.description.contains(String(cString: strerror(code))) == true)
                #expect(folder.names == ["dump.rdb"], "\(operation) left a file")
                #expect(try readFile(path) == before, "\(operation) changed the old file")
            }
        }
        let files = failingFileSystem("fsyncDirectory", code: EIO)
        #expect(throws: SnapshotError.self) {
            try saveSnapshot(of: store, to: path, nowMilliseconds: testNow, fileSystem: files)
        }
        #expect(folder.names == ["dump.rdb"])
        // After all these failures the store is unlocked and saves.
        #expect(try saveSnapshot(of: store, to: path, nowMilliseconds: testNow).keyCount == 3001)
    }

    @Test("A folder that cannot be written is an error of opening")
    func unwritableFolder() throws {
        let folder = try TestFolder()
        let error = #expect(throws: SnapshotError.self) {
            try saveSnapshot(of: makeStore(), to: folder.file("missing/dump.rdb"), nowMilliseconds: testNow)
        }
        guard case .system(let failure) = error else { return #expect(Bool(false)) }
        #expect(failure.operation == "open" && failure.code == ENOENT)
        chmod(folder.path, 0o500)
        defer { chmod(folder.path, 0o700) }
        // Root may write everywhere.
        if getuid() != 0 {
            #expect(throws: SnapshotError.self) {
                try saveSnapshot(of: makeStore(), to: folder.file("dump.rdb"), nowMilliseconds: testNow)
            }
        }
    }

    @Test("Short writes, short reads and interruptions are gone through; reading that fails is told")
    func haltingDisk() throws {
        var generator = testGenerator("halting disk")
        let folder = try TestFolder()
        let path = folder.file("dump.rdb")
        let store = makeStore()
        try store.fillRandomly(200, using: &generator)
        _ = try saveSnapshot(of: store, to: path, nowMilliseconds: testNow, fileSystem: haltingFileSystem())
        let loaded = makeStore()
        _ = try loadSnapshot(into: loaded, from: path, nowMilliseconds: testNow, fileSystem: haltingFileSystem())
        #expect(loaded.contents == store.contents)
        for operation in ["openForReading", "read"] {
            let error = #expect(throws: SnapshotError.self) {
                try loadSnapshot(
                    into: makeStore(), from: path, nowMilliseconds: testNow,
                    fileSystem: failingFileSystem(operation, code: EIO))
            }
            guard case .system(let failure) = error else { return #expect(Bool(false)) }
            #expect(failure.code == EIO)
        }
    }

    @Test("A temporary file that a crash left is passed over")
    func leftoverFile() throws {
        let folder = try TestFolder()
        let files = failingFileSystem("open", code: EEXIST, after: 0, once: true)
        _ = try saveSnapshot(of: makeStore(), to: folder.file("d.rdb"), nowMilliseconds: testNow, fileSystem: files)
        #expect(folder.names == ["d.rdb"])
    }

    @Test("Progress reaches the file's end")
    func progress() throws {
        let folder = try TestFolder()
        let store = makeStore()
        var generator = testGenerator("progress")
        for index in 0..<100 {
            try store.put(
                Array("k\(index)".utf8), (0..<20_000).map { _ in UInt8(truncatingIfNeeded: generator.next()) })
        }
        let path = folder.file("d.rdb")
        let summary = try saveSnapshot(of: store, to: path, nowMilliseconds: testNow)
        let seen = SeenProgress()
        _ = try loadSnapshot(into: makeStore(), from: path, nowMilliseconds: testNow) { seen.steps.append(($0, $1)) }
        #expect(seen.steps.count > 3)
        #expect(seen.steps.allSatisfy { $0.1 == summary.byteCount })
        #expect(seen.steps.last?.0 == summary.byteCount)
    }
}

private final class SeenProgress {
    var steps: [(Int, Int)] = []
}
