// Loading a snapshot into an empty store.
//
// All or an error: an error says where in the file and what; the file is left alone, and the store holds a part of it,
// so the caller throws the store away. Locks one stripe for each key, so others may look on (INFO) meanwhile.
// Memory: the reader's buffer, see RDBReader. Cost: one pass over the file; keys that are due are passed over.

package import KedisFormats
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
/// time to time how far it is. `held` are the stripes that the caller has locked: none or all. `limits` say which
/// values are packed. With `replacesKeys`, a key that is there already is replaced, which is else an error; so is
/// something behind the snapshot, unless `allowsTail`.
package func loadSnapshot(
    into store: Store, held: StripeSet = StripeSet(), from path: String, nowMilliseconds: Int64,
    limits: LoadLimits = LoadLimits(), replacesKeys: Bool = false, allowsTail: Bool = false,
    fileSystem: FileSystem = .system,
    progress: @escaping (_ bytesRead: Int, _ totalBytes: Int) -> Void = { _, _ in }
) throws(SnapshotError) -> LoadSummary? {
    let file: FileHandle
    let byteCount: Int
    do {
        (file, byteCount) = try fileSystem.openForReading(path)
    } catch {
        if error.isMissingFile { return nil }
        throw .system(error)
    }
    defer { try? fileSystem.close(file) }
    let source = SnapshotSource(file: file, byteCount: byteCount, fileSystem: fileSystem, progress: progress)
    do {
        var loader = SnapshotLoader(
            store: store, held: held, nowMilliseconds: nowMilliseconds, limits: limits, replacesKeys: replacesKeys,
            allowsTail: allowsTail, source: source)
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
    private let limits: LoadLimits
    private let replacesKeys: Bool
    private let allowsTail: Bool
    private let byteCount: Int
    private var reader: RDBReader
    private var summary = LoadSummary()
    private var databaseIndex = 0
    /// Where the item begins that is being loaded.
    private var itemOffset = 0

    init(
        store: Store, held: StripeSet, nowMilliseconds: Int64, limits: LoadLimits, replacesKeys: Bool,
        allowsTail: Bool, source: SnapshotSource
    ) {
        self.store = store
        self.held = held
        self.nowMilliseconds = nowMilliseconds
        self.limits = limits
        self.replacesKeys = replacesKeys
        self.allowsTail = allowsTail
        byteCount = source.byteCount
        reader = RDBReader(byteCount: source.byteCount) { source.fill($0) }
    }

    mutating func run() throws(RDBError) -> LoadSummary {
        let start = monotonicNanoseconds()
        try reader.readHeader()
        summary.version = reader.version
        while try loadNext() {}
        if reader.offset < byteCount, !allowsTail {
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
        case .auxiliary(let name, let value) where RDBReader.isMemberDeadlines(name): try loadMemberDeadlines(value)
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
        let stripe = StripeSet(mask: 1 << UInt64(key.stripeIndex))
        let missing = StripeSet(mask: stripe.mask & ~held.mask)
        store.lock(missing)
        defer { store.unlock(missing) }
        let keyspace = store.keyspace(databaseIndex, nowMilliseconds: nowMilliseconds, held: stripe)
        if keyspace.peek(key) != nil {
            guard replacesKeys else { throw error(.duplicateKey(rdbKeyText(entry.key))) }
            _ = keyspace.remove(key)
        }
        try reader.load(
            entry.value, as: key, deadlineMilliseconds: entry.deadlineMilliseconds, in: keyspace, limits: limits)
        summary.keyCount += 1
    }

    /// Deadlines of members, which follow their key.
    private mutating func loadMemberDeadlines(_ part: ByteView) throws(RDBError) {
        guard let bytes = RDBReader.keyOfMemberDeadlines(part) else { throw error(.badCollection) }
        let key = store.key(bytes)
        let stripe = StripeSet(mask: 1 << UInt64(key.stripeIndex))
        let missing = StripeSet(mask: stripe.mask & ~held.mask)
        store.lock(missing)
        defer { store.unlock(missing) }
        let keyspace = store.keyspace(databaseIndex, nowMilliseconds: nowMilliseconds, held: stripe)
        try reader.loadMemberDeadlines(part, as: key, in: keyspace, limits: limits)
    }

    private func error(_ reason: RDBError.Reason) -> RDBError { RDBError(offset: itemOffset, reason: reason) }
}
