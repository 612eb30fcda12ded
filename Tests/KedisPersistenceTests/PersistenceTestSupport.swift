// What the tests of snapshots share: a folder of their own, stores as plain values, and disks that fail.

import KedisPersistence
import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A folder that goes with the object.
final class TestFolder {
    let path: String

    init() throws {
        guard let path = TestFiles.makeTemporaryFolder() else { throw FolderError() }
        self.path = path
    }

    deinit { TestFiles.removeTemporaryFolder(path) }

    func file(_ name: String) -> String { "\(path)/\(name)" }

    var names: [String] { TestFiles.list(below: path, suffix: "").map { String($0.dropFirst(path.utf8.count + 1)) } }

    struct FolderError: Error {}
}

struct StoredKey: Hashable {
    var database: Int
    var name: [UInt8]
}

struct StoredValue: Equatable {
    var bytes: [UInt8]
    var deadlineMilliseconds: Int64
}

let testNow: Int64 = 1_700_000_000_000

func makeStore(databaseCount: Int = 16) -> Store {
    Store(databaseCount: databaseCount, seed: HashSeed(systemEntropy(), systemEntropy()))
}

extension Store {
    func put(_ name: [UInt8], _ value: [UInt8], database: Int = 0, deadline: Int64 = noDeadline) throws {
        lock(.all)
        defer { unlock(.all) }
        var keyspace = keyspace(database, nowMilliseconds: testNow, held: .all)
        try name.withUnsafeBytes { name in
            try value.withUnsafeBytes { value in
                let key = key(ByteView(name))
                try keyspace.setString(key, ByteView(value), deadline: deadline == noDeadline ? .clear : .set(deadline))
                keyspace.noteChanges(1, stripeIndex: key.stripeIndex)
            }
        }
    }

    func put(_ name: String, _ value: String, database: Int = 0, deadline: Int64 = noDeadline) throws {
        try put(Array(name.utf8), Array(value.utf8), database: database, deadline: deadline)
    }

    /// Everything that is live at `testNow`.
    var contents: [StoredKey: StoredValue] {
        var contents: [StoredKey: StoredValue] = [:]
        for database in 0..<databaseCount {
            keyspace(database, nowMilliseconds: testNow).forEachEntry { entry in
                let bytes =
                    switch entry.string {
                    case .integer(let value): Array("\(value)".utf8)
                    case .bytes(let bytes): bytes.bytes
                    }
                contents[StoredKey(database: database, name: entry.key.bytes)] = StoredValue(
                    bytes: bytes, deadlineMilliseconds: entry.deadlineMilliseconds)
            }
        }
        return contents
    }

    func fillRandomly(_ keyCount: Int, using generator: inout RandomGenerator) throws {
        for _ in 0..<keyCount {
            let deadline =
                generator.next(below: 3) == 0 ? testNow + 1 + Int64(generator.next(below: 1 << 40)) : noDeadline
            try put(
                generator.nextBytes(byteCountMax: 30), generator.nextBytes(byteCountMax: 200),
                database: generator.next(below: databaseCount), deadline: deadline)
        }
    }
}

extension RandomGenerator {
    mutating func nextBytes(byteCountMax: Int) -> [UInt8] {
        switch next(below: 3) {
        case 0: return Array("\(Int64(bitPattern: next()) >> Int64(next(below: 64)))".utf8)
        case 1: return [UInt8](repeating: UInt8(next(below: 256)), count: next(below: byteCountMax + 1))
        default: return (0..<next(below: byteCountMax + 1)).map { _ in UInt8(truncatingIfNeeded: next()) }
        }
    }
}

func testGenerator(_ label: String) -> RandomGenerator {
    let seed = TestFiles.environment("KEDIS_TEST_SEED").flatMap { UInt64($0) } ?? systemEntropy()
    print("\(label): seed \(seed)")
    return RandomGenerator(seed: seed)
}

func readFile(_ path: String) throws -> [UInt8] {
    guard let bytes = TestFiles.read(path) else { throw TestFolder.FolderError() }
    return bytes
}

func writeFile(_ bytes: [UInt8], to path: String) throws {
    let file = try FileSystem.system.open(path, .create)
    try bytes.withUnsafeBytes { try FileSystem.system.writeAll(file, ByteView($0)) }
    try FileSystem.system.close(file)
}

/// The system's files with a fault: the named operation fails from its `after`-th call on, for good or once.
func failingFileSystem(_ operation: String, code: Int32, after: Int = 0, once: Bool = false) -> FileSystem {
    let counter = CallCounter()
    let real = FileSystem.system
    @Sendable func check(_ name: String, _ path: String) throws(SystemError) {
        guard name == operation else { return }
        let call = counter.next()
        if once ? call == after : call >= after { throw SystemError(operation: name, path: path, code: code) }
    }
    var files = real
    files.open = { (path, mode) throws(SystemError) in
        try check(mode == .read ? "openForReading" : "open", path)
        return try real.open(path, mode)
    }
    files.write = { (file, bytes) throws(SystemError) in
        try check("write", file.path)
        return try real.write(file, bytes)
    }
    files.read = { (file, room) throws(SystemError) in
        try check("read", file.path)
        return try real.read(file, room)
    }
    files.synchronize = { (file) throws(SystemError) in
        try check("fsync", file.path)
        try real.synchronize(file)
    }
    files.close = { (file) throws(SystemError) in
        try real.close(file)
        try check("close", file.path)
    }
    files.rename = { (source, target) throws(SystemError) in
        try check("rename", target)
        try real.rename(source, target)
    }
    files.synchronizeDirectory = { (path) throws(SystemError) in
        try check("fsyncDirectory", path)
        try real.synchronizeDirectory(path)
    }
    return files
}

final class CallCounter: Sendable {
    private let count = Atomic<Int>(0)

    /// The number of this call, from 0.
    func next() -> Int { count.wrappingAdd(1, ordering: .relaxed).oldValue }
}

/// Takes at most a few bytes for each write and read, and is interrupted in between.
func haltingFileSystem() -> FileSystem {
    let counter = CallCounter()
    let real = FileSystem.system
    var files = real
    files.write = { (file, bytes) throws(SystemError) in
        let call = counter.next()
        if call % 3 == 1 { throw SystemError(operation: "write", path: file.path, code: EINTR) }
        return try real.write(file, bytes[0..<min(bytes.count, 1 + call % 7)])
    }
    files.read = { (file, room) throws(SystemError) in
        let call = counter.next()
        if call % 3 == 1 { throw SystemError(operation: "read", path: file.path, code: EINTR) }
        return try real.read(file, UnsafeMutableRawBufferPointer(rebasing: room[0..<min(room.count, 1 + call % 7)]))
    }
    return files
}
