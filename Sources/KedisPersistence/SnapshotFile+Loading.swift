// Loading a snapshot into an empty store.
//
// All or an error: an error says where in the file and what; the file is left alone, and the store holds a part of it,
// so the caller throws the store away. Locks one stripe for each key, so others may look on (INFO) meanwhile.
// Memory: the reader's buffer, see RDBReader. Cost: one pass over the file; keys that are due are passed over.

import KedisFormats
package import KedisStore
import KedisUtilities

/// What a load found.
package struct LoadSummary: Sendable, Equatable {
    package var keyCount = 0
    /// Keys left out because their deadline had passed.
    package var expiredCount = 0
    package var byteCount = 0
    /// The RDB version of the file.
    package var version = 0
    /// The code of function libraries, to be written back by ``SnapshotOptions/functions``.
    package var functions: [[UInt8]] = []
    /// The databases that the file has.
    package var databases: [Int] = []
    package var durationMilliseconds: Int64 = 0
}

/// Loads the snapshot at `path` into `store`, which is empty; nil when there is no such file. `progress` is told from
/// time to time how far it is. `held` are the stripes that the caller has locked: none or all. `packLimit` says which
/// lists lie in their cells.
package func loadSnapshot(
    into store: Store, held: StripeSet = StripeSet(), from path: String, nowMilliseconds: Int64,
    packLimit: PackLimit = PackLimit(setting: -2), fileSystem: FileSystem = .system,
    progress: @escaping (_ bytesRead: Int, _ totalBytes: Int) -> Void = { _, _ in }
) throws(SnapshotError) -> LoadSummary? {
    let file: FileHandle
    let byteCount: Int
    do {
        file = try fileSystem.retrying { () throws(SystemError) in try fileSystem.open(path, .read) }
    } catch {
        if error.isMissingFile { return nil }
        throw .system(error)
    }
    defer { try? fileSystem.close(file) }
    do {
        byteCount = try fileSystem.size(file)
    } catch {
        throw .system(error)
    }
    let source = SnapshotSource(file: file, byteCount: byteCount, fileSystem: fileSystem, progress: progress)
    do {
        var loader = SnapshotLoader(
            store: store, held: held, nowMilliseconds: nowMilliseconds, packLimit: packLimit, source: source)
        return try loader.run()
    } catch {
        if let failure = source.failure { throw .system(failure) }
        if case .outOfMemory = error.reason { throw .outOfMemory(path: path) }
        throw .unreadable(path: path, error)
    }
}

/// A file as the reader wants it.
private final class SnapshotSource {
    let byteCount: Int
    private let file: FileHandle
    private let fileSystem: FileSystem
    private let progress: (Int, Int) -> Void
    private var bytesRead = 0
    private(set) var failure: SystemError?

    init(file: FileHandle, byteCount: Int, fileSystem: FileSystem, progress: @escaping (Int, Int) -> Void) {
        self.file = file
        self.byteCount = byteCount
        self.fileSystem = fileSystem
        self.progress = progress
    }

    func fill(_ room: UnsafeMutableRawBufferPointer) -> Int {
        do {
            let count = try fileSystem.retrying { () throws(SystemError) in try fileSystem.read(file, room) }
            bytesRead += count
            progress(bytesRead, byteCount)
            return count
        } catch {
            failure = error
            return Int(0 - max(1, error.code))
        }
    }
}

private struct SnapshotLoader: ~Copyable {
    private let store: Store
    private let held: StripeSet
    private let nowMilliseconds: Int64
    private let packLimit: PackLimit
    private let byteCount: Int
    private var reader: RDBReader
    private var summary = LoadSummary()
    private var databaseIndex = 0
    /// Where the item begins that is being loaded.
    private var itemOffset = 0

    init(
        store: Store, held: StripeSet, nowMilliseconds: Int64, packLimit: PackLimit, source: SnapshotSource
    ) {
        self.store = store
        self.held = held
        self.nowMilliseconds = nowMilliseconds
        self.packLimit = packLimit
        byteCount = source.byteCount
        reader = RDBReader(byteCount: source.byteCount) { source.fill($0) }
    }

    mutating func run() throws(RDBError) -> LoadSummary {
        let start = monotonicNanoseconds()
        try reader.readHeader()
        summary.version = reader.version
        while try loadNext() {}
        if reader.offset < byteCount {
            // A file that goes on is not what was saved: it may be an append-only file with a snapshot in front.
            throw RDBError(offset: reader.offset, reason: .trailingBytes(byteCount - reader.offset))
        }
        summary.byteCount = reader.offset
        summary.databases.sort()
        summary.durationMilliseconds = millisecondsSince(start)
        return summary
    }

    /// Loads one item; false at the end.
    private mutating func loadNext() throws(RDBError) -> Bool {
        itemOffset = reader.offset
        switch try reader.next() {
        case .entry(let entry): try load(entry)
        case .selectDatabase(let index): try select(index)
        case .function(let code): summary.functions.append(code.bytes)
        case .auxiliary, .databaseSize: break
        case .end: return false
        }
        return true
    }

    private mutating func select(_ index: UInt64) throws(RDBError) {
        guard index < UInt64(store.databaseCount) else {
            throw error(.databaseOutOfRange(index: index, databaseCount: store.databaseCount))
        }
        databaseIndex = Int(index)
        if !summary.databases.contains(databaseIndex) { summary.databases.append(databaseIndex) }
    }

    private mutating func load(_ entry: RDBEntry) throws(RDBError) {
        if let deadline = entry.deadlineMilliseconds, deadline < 0 || deadline <= nowMilliseconds {
            summary.expiredCount += 1
            return
        }
        let key = store.key(entry.key)
        var stripe = StripeSet()
        stripe.insert(key.stripeIndex)
        let missing = StripeSet(mask: stripe.mask & ~held.mask)
        store.lock(missing)
        defer { store.unlock(missing) }
        let keyspace = store.keyspace(databaseIndex, nowMilliseconds: nowMilliseconds, held: stripe)
        if keyspace.peek(key) != nil { throw error(.duplicateKey(rdbKeyText(entry.key))) }
        switch entry.value {
        case .string(let value): try load(value, key, entry.deadlineMilliseconds, in: keyspace)
        case .list: try loadList(key, entry.deadlineMilliseconds, in: keyspace)
        }
        summary.keyCount += 1
    }

    private func load(
        _ value: StringValue, _ key: Key, _ deadlineMilliseconds: Int64?, in keyspace: Keyspace
    ) throws(RDBError) {
        let deadline: DeadlineUpdate = deadlineMilliseconds.map { .set($0) } ?? .clear
        do {
            switch value {
            case .integer(let integer): try keyspace.setInteger(key, integer, deadline: deadline)
            case .bytes(let bytes): try keyspace.setString(key, bytes, deadline: deadline)
            }
        } catch {
            throw self.error(.outOfMemory(byteCount: value.byteCount))
        }
    }

    private mutating func loadList(
        _ key: Key, _ deadlineMilliseconds: Int64?, in keyspace: Keyspace
    ) throws(RDBError) {
        while let part = try reader.nextListPart() {
            do {
                try append(part, toListAt: key, in: keyspace)
            } catch {
                throw self.error(.outOfMemory(byteCount: part.byteCount))
            }
        }
        guard let deadlineMilliseconds, let made = keyspace.peek(key) else { return }
        do {
            try keyspace.setDeadline(made, deadlineMilliseconds)
        } catch {
            throw self.error(.outOfMemory(byteCount: MemoryLayout<Int64>.size))
        }
    }

    private func append(
        _ part: RDBListPart, toListAt key: Key, in keyspace: Keyspace
    ) throws(StoreError) {
        switch part {
        case .run(let run, let count): try keyspace.appendRun(key, run, count: count, limit: packLimit)
        case .value(let value): try append(value, toListAt: key, in: keyspace)
        case .values(let values): for value in values { try append(value, toListAt: key, in: keyspace) }
        }
    }

    private func append(_ value: StringValue, toListAt key: Key, in keyspace: Keyspace) throws(StoreError) {
        try value.withBytes { (bytes) throws(StoreError) in
            guard var editor = keyspace.editList(key, limit: packLimit) else {
                return try keyspace.makeList(key, limit: packLimit, count: 1, atHead: false) { _ in bytes }
            }
            try editor.push(1, atHead: false) { _ in bytes }
        }
    }

    private func error(_ reason: RDBError.Reason) -> RDBError { RDBError(offset: itemOffset, reason: reason) }
}
