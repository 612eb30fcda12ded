// The embedding API: a store inside a Swift program.
//
// A database owns engine, store and, when it has a directory, its snapshot. Threads: any; commands run on the calling
// thread, under the locks of their keys only, so threads do not wait for each other unless they meet at a key. A
// background thread removes keys whose deadline has passed; it ends with `close()` or with the last reference. After
// `close()` every command is refused: nothing can be confirmed that no snapshot will have.

package import KedisCommands
import KedisPersistence
public import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

/// Why an operation on a database failed.
public enum KedisError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The command was refused: the text that a client would get, its code first (`ERR …`, `WRONGTYPE …`).
    case command(String)
    /// The snapshot could not be read or written: path, place and reason.
    case snapshot(String)
    /// A subscription has ended: its reader was so slow that messages had to be thrown away, or a command closed it.
    case missedMessages
    /// The value is of another type than the typed call asks for: the text names command, key and type.
    case unexpectedReply(String)

    /// What every call on a closed database throws.
    static var closed: KedisError { .command(closedText) }
    static var closedText: String { "ERR the database is closed" }

    public var description: String {
        switch self {
        case .command(let text), .snapshot(let text), .unexpectedReply(let text): text
        case .missedMessages: "the subscription has ended: more than 256 MiB waited to be read, or a command closed it"
        }
    }
}

/// A store in this process, in memory or with a directory that it is loaded from and saved to.
///
/// ```swift
/// let database = try KedisDatabase.open(directory: "data")
/// try database.set("name", to: "Karthik")
/// let name = try database.get("name")
/// try database.close()
/// ```
public final class KedisDatabase: Sendable {
    /// How a database is opened.
    public struct Options: Sendable {
        /// The number of databases that SELECT knows, 1 to 16,384.
        public var databaseCount = 16
        /// The name of the snapshot inside the directory.
        public var snapshotName = "dump.rdb"
        /// The most memory that keys and values may take, in bytes; 0 for no limit. `CONFIG SET maxmemory` changes it.
        public var memoryByteCountMax = 0
        /// What happens when the limit is reached. `CONFIG SET maxmemory-policy` changes it.
        public var evictionPolicy = EvictionPolicy.refuseWrites
        /// Whether DEBUG is allowed: it shows tables (`DEBUG HTSTATS 0`) and can stop all threads (`DEBUG SLEEP`).
        public var allowsDebug = false

        /// Which keys go when memory is short.
        public enum EvictionPolicy: String, Sendable, CaseIterable {
            /// None: commands that need memory are refused with the error `OOM …`.
            case refuseWrites = "noeviction"
            /// Those that were not used for the longest time.
            case leastRecentlyUsed = "allkeys-lru"
            /// Those that are used least often.
            case leastFrequentlyUsed = "allkeys-lfu"
            /// Any.
            case random = "allkeys-random"
            /// Of those with a deadline, the ones that were not used for the longest time.
            case leastRecentlyUsedWithDeadline = "volatile-lru"
            /// Of those with a deadline, the ones that are used least often.
            case leastFrequentlyUsedWithDeadline = "volatile-lfu"
            /// Any of those with a deadline.
            case randomWithDeadline = "volatile-random"
            /// Those whose deadline is next.
            case nearestDeadline = "volatile-ttl"
        }

        public init() {}
    }

    package let engine: Engine
    private let keeper: SnapshotKeeper
    /// Where and how to save; nil in memory.
    private let request: SnapshotRequest?
    /// Keeps others from writing the snapshot while this database is open.
    private let lock: SnapshotLock?
    private let ticker: BackgroundTicker
    private let lifecycle = Lifecycle()
    private let closing = Locked<Void>(())
    private let idleConnections = Locked<[IdleConnection]>([])
    /// What the snapshot said when it was loaded.
    public let loadedKeyCount: Int

    /// Makes an empty database in memory.
    public convenience init(options: Options = Options()) {
        let configuration = KedisDatabase.makeConfiguration(options)
        self.init(
            store: KedisDatabase.makeStore(options, configuration), configuration: configuration, snapshotPath: nil,
            summary: nil, lock: nil
        )
    }

    /// Opens the database of a directory: loads its snapshot when there is one. The directory must exist, and no other
    /// store may have it open, here or in another process.
    ///
    /// - Throws: ``KedisError/snapshot(_:)`` when the directory is missing or in use, or the snapshot is damaged, too
    ///   new or unreadable; the file is left alone.
    /// - Complexity: O(size of the snapshot)
    public static func open(directory: String, options: Options = Options()) throws(KedisError) -> KedisDatabase {
        let name = options.snapshotName
        guard !name.isEmpty, !name.utf8.contains(0x2F), !name.utf8.contains(0) else {
            throw .snapshot("the snapshot's name can't be a path, just a filename: '\(name)'")
        }
        let configuration = makeConfiguration(options)
        let store = makeStore(options, configuration)
        let path = (directory.isEmpty ? "." : directory) + "/" + options.snapshotName
        let lock: SnapshotLock?
        do {
            lock = try SnapshotLock.acquire(forSnapshot: path)
        } catch {
            throw .snapshot("\(error)")
        }
        let summary: LoadSummary?
        do {
            summary = try loadSnapshot(into: store, from: path, nowMilliseconds: wallClockMilliseconds())
        } catch {
            throw .snapshot("\(error)")
        }
        return KedisDatabase(
            store: store, configuration: configuration, snapshotPath: path, summary: summary, lock: lock)
    }

    private static func makeConfiguration(_ options: Options) -> Configuration {
        let configuration = Configuration()
        configuration.settle("maxmemory", String(max(0, options.memoryByteCountMax)))
        configuration.settle("maxmemory-policy", options.evictionPolicy.rawValue)
        if options.allowsDebug { configuration.settle("enable-debug-command", "yes") }
        return configuration
    }

    private static func makeStore(_ options: Options, _ configuration: Configuration) -> Store {
        let store = Store(
            databaseCount: min(max(options.databaseCount, 1), 16_384), seed: HashSeed(systemEntropy(), systemEntropy())
        )
        // Before a snapshot is loaded: its keys get the clocks that the policy reads.
        store.setAccessTracking(configuration.accessTracking)
        return store
    }

    private init(
        store: Store, configuration: Configuration, snapshotPath: String?, summary: LoadSummary?, lock: SnapshotLock?
    ) {
        self.lock = lock
        let keeper = SnapshotKeeper(store: store, nowMilliseconds: wallClockMilliseconds())
        self.keeper = keeper
        loadedKeyCount = summary?.keyCount ?? 0
        let options = SnapshotOptions(functions: summary?.functions ?? [])
        let request = snapshotPath.map { SnapshotRequest(path: $0, options: options) }
        self.request = request
        engine = Engine(
            store: store, configuration: configuration, host: KedisDatabase.host(keeper: keeper, request: request),
            seed: systemEntropy()
        )
        ticker = BackgroundTicker(engine: engine)
    }

    /// A connection of its own: a selected database, a name, a protocol version. For one thread at a time.
    public func connect() -> KedisConnection { KedisConnection(engine: engine, lifecycle: lifecycle, owner: self) }

    /// One that messages can be taken from: `bell` is told, by any thread, when there are some.
    func connect(bell: @escaping @Sendable () -> Void) -> KedisConnection {
        KedisConnection(engine: engine, lifecycle: lifecycle, owner: self, bell: bell)
    }

    /// Listens to channels, and to all whose names match patterns in the style of `*`, `?`, `[a-c]`.
    ///
    /// What is published from now on, by any thread or client, comes in the order of each publisher. With
    /// `CONFIG SET notify-keyspace-events` the channels `__keyevent@0__:expired` and their like tell what happens to
    /// keys. The subscription ends with the last reference to the sequence.
    ///
    /// - Throws: ``KedisError/command(_:)`` when the database is closed or its users may not listen.
    public func messages<Name: KedisValue>(
        of channels: [Name], matching patterns: [Name] = []
    ) throws(KedisError) -> KedisMessages {
        guard !lifecycle.isClosed.load(ordering: .acquiring) else { throw .closed }
        return try KedisMessages(
            self, lifecycle, channels: channels.map(\.kedisBytes), patterns: patterns.map(\.kedisBytes))
    }

    /// Executes a command in database 0. Safe to call from any thread. A blocking command keeps its thread: see
    /// ``KedisConnection/execute(_:)-([[UInt8]])``.
    ///
    /// - Returns: the reply, which is an error reply when the command was refused.
    public func execute(_ arguments: [[UInt8]]) -> Reply {
        withConnection { $0.execute(arguments) }
    }

    /// Executes a command given as text.
    public func execute(_ arguments: String...) -> Reply {
        execute(arguments.map { Array($0.utf8) })
    }

    /// Writes the snapshot now. Writers wait meanwhile.
    ///
    /// - Throws: ``KedisError/snapshot(_:)`` with path and reason; the snapshot that was there is kept.
    public func save() throws(KedisError) {
        guard !lifecycle.isClosed.load(ordering: .acquiring) else { throw .closed }
        try write()
    }

    private func write() throws(KedisError) {
        guard let request else { throw .snapshot("this database has no directory to save to") }
        keeper.waitUntilIdle()
        switch keeper.save(request, nowMilliseconds: wallClockMilliseconds()) {
        case .saved: return
        case .failed(let error): throw .snapshot("\(error)")
        case .busy: throw .snapshot("another save is in progress")
        }
    }

    /// Closes the database: for one with a directory, saves what has changed since the last save, then ends the
    /// background work. From then on `execute` replies the error `ERR the database is closed`, which the typed calls
    /// throw, on its connections too; an iteration of `scan` ends. Commands that other threads are executing meanwhile
    /// may miss the snapshot. Closing a closed database does nothing.
    ///
    /// - Throws: ``KedisError/snapshot(_:)`` as ``save()``; then the database is open as before.
    public func close() throws(KedisError) {
        // Who closes while another thread does returns when the data is safe: the process may end then.
        try closing.withLock { _ throws(KedisError) in
            guard !lifecycle.isClosed.exchange(true, ordering: .acquiringAndReleasing) else { return }
            do throws(KedisError) {
                if request != nil, keeper.unsavedChanges() > 0 { try write() }
            } catch {
                lifecycle.isClosed.store(false, ordering: .releasing)
                throw error
            }
            for record in engine.clients.all {
                engine.unblock(record, error: .text(Array(KedisError.closedText.utf8)))
                record.wake()
            }
            ticker.stop()
            lock?.release()
        }
    }

    /// Runs `body` with a connection that nobody else uses meanwhile, in database 0.
    func withConnection<Result>(_ body: (KedisConnection) -> Result) -> Result {
        // Pooled connections do not own the database: it owns them.
        let idle =
            idleConnections.withLock { $0.popLast() }
            ?? IdleConnection(connection: KedisConnection(engine: engine, lifecycle: lifecycle, owner: nil))
        let result = body(idle.connection)
        if idle.connection.isPristine {
            idleConnections.withLock { if $0.count < 64 { $0.append(idle) } }
        }
        return result
    }

    /// What a database and its connections share: whether they still work.
    final class Lifecycle: Sendable {
        let isClosed = Atomic<Bool>(false)
    }

    private struct IdleConnection: @unchecked Sendable {
        // Sendable: who takes it out of the pool is its only user.
        let connection: KedisConnection
    }
}

extension KedisDatabase {
    /// What commands need of the outside, for a store in a program.
    private static func host(keeper: SnapshotKeeper, request: SnapshotRequest?) -> Host {
        let noDirectory = "this database has no directory to save to"
        return Host(
            save: { _, held in
                guard let request else { return noDirectory }
                switch keeper.save(request, held: held, nowMilliseconds: wallClockMilliseconds()) {
                case .saved: return nil
                case .failed(let error): return "\(error)"
                case .busy: return "another save is in progress"
                }
            },
            load: { store, held, replacesKeys in
                guard let request else { return noDirectory }
                do {
                    let summary = try loadSnapshot(
                        into: store, held: held, from: request.path, nowMilliseconds: wallClockMilliseconds(),
                        replacesKeys: replacesKeys)
                    return summary == nil ? "there is no snapshot at \(request.path)" : nil
                } catch {
                    return "\(error)"
                }
            },
            startBackgroundSave: { _ in
                guard let request else { return .failed(noDirectory) }
                switch keeper.saveInBackground(request, nowMilliseconds: wallClockMilliseconds()) {
                case nil: return .started
                case .failed(let error): return .failed("\(error)")
                case .some: return .busy
                }
            },
            persistenceStatus: { persistenceStatus(of: keeper) },
            shutDown: { _, _, _ in .notPossible },
            information: { section in section == "memory" ? memoryInformation() : [] },
            releaseMemory: releaseFreeMemory, digest: { sha256($0) }
        )
    }

    private static func persistenceStatus(of keeper: SnapshotKeeper) -> PersistenceStatus {
        let known = keeper.status
        var status = PersistenceStatus()
        status.lastSaveSeconds = known.lastSaveMilliseconds / 1000
        status.isSaving = known.isSavingInBackground
        status.lastSaveSucceeded = known.lastAttemptSucceeded
        status.lastSaveDurationSeconds = known.lastBackgroundDurationMilliseconds.map { $0 / 1000 } ?? -1
        status.saveCount = UInt64(known.saveCount)
        status.changesAtLastSave = known.changesAtLastSave
        return status
    }
}
