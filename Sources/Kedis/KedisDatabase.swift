// The embedding API: a store inside a Swift program.
//
// A database owns engine, store and, when it has a directory, its journal and its snapshot. Threads: any; commands run
// on the calling thread, under the locks of their keys only, so threads do not wait for each other unless they meet at
// a key. A background thread removes keys whose deadline has passed, and sees to the journal; it ends with `close()` or
// with the last reference. After `close()` every command is refused: nothing can be confirmed that no file will have.
// Files: +Options, +Opening (start, host), +Journal (when calls return).

package import KedisCommands
import KedisDurability
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
    /// The journal could not be read or written: path, place, reason and what to do.
    case journal(String)
    /// A subscription has ended: its reader was so slow that messages had to be thrown away, or a command closed it.
    case missedMessages
    /// The value is of another type than the typed call asks for: the text names command, key and type.
    case unexpectedReply(String)

    /// What every call on a closed database throws.
    static var closed: KedisError { .command(closedText) }
    static var closedText: String { "ERR the database is closed" }

    public var description: String {
        switch self {
        case .command(let text), .snapshot(let text), .journal(let text), .unexpectedReply(let text): text
        case .missedMessages: "the subscription has ended: more than 256 MiB waited to be read, or a command closed it"
        }
    }
}

/// A store in this process, in memory or with a directory that keeps it: every change goes to a journal there, which
/// the next opening replays, and a snapshot is written by ``save()`` and ``close()``.
///
/// ```swift
/// let database = try KedisDatabase.open(directory: "data")
/// try database.set("name", to: "Karthik")
/// let name = try database.get("name")
/// try database.close()
/// ```
public final class KedisDatabase: Sendable {
    package let engine: Engine
    let keeper: SnapshotKeeper
    /// What is in the directory; nil in memory.
    let files: DatabaseFiles?
    let gate = DurabilityGate()
    let ticker: BackgroundTicker
    let lifecycle = Lifecycle()
    private let closing = Locked<Void>(())
    private let idleConnections = Locked<[IdleConnection]>([])
    /// How many keys the directory had when the database was opened.
    public internal(set) var loadedKeyCount: Int {
        get { lifecycle.loadedKeyCount.load(ordering: .relaxed) }
        set { lifecycle.loadedKeyCount.store(newValue, ordering: .relaxed) }
    }

    /// Makes an empty database in memory.
    public convenience init(options: Options = Options()) {
        let configuration = KedisDatabase.makeConfiguration(options)
        self.init(store: KedisDatabase.makeStore(options, configuration), configuration: configuration, files: nil)
        ticker.start()
    }

    init(store: Store, configuration: Configuration, files: DatabaseFiles?) {
        self.files = files
        let keeper = SnapshotKeeper(
            store: store, fileSystem: files?.fileSystem ?? .system, nowMilliseconds: wallClockMilliseconds())
        self.keeper = keeper
        engine = Engine(
            store: store, configuration: configuration, host: KedisDatabase.host(keeper: keeper, files: files),
            seed: systemEntropy()
        )
        ticker = BackgroundTicker(engine: engine, journal: files?.journal)
    }

    deinit {
        // Who lets go without a close loses nothing that was journalled, and no longer than a sync takes.
        guard !lifecycle.isClosed.load(ordering: .acquiring) else { return }
        ticker.stop()
        try? files?.journal.close()
        // A tick may have the engine, and so the files, a little longer: the directory is free all the same.
        files?.lock?.release()
    }

    /// A connection of its own: a selected database, a name, a protocol version. For one thread at a time.
    public func connect() -> KedisConnection {
        KedisConnection(engine: engine, lifecycle: lifecycle, gate: gate, owner: self)
    }

    /// One that messages can be taken from: `bell` is told, by any thread, when there are some.
    func connect(bell: @escaping @Sendable () -> Void) -> KedisConnection {
        KedisConnection(engine: engine, lifecycle: lifecycle, gate: gate, owner: self, bell: bell)
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

    /// Writes the snapshot now. Writers wait meanwhile. Not needed to keep what the journal has: see ``flush()``.
    ///
    /// - Throws: ``KedisError/snapshot(_:)`` with path and reason; the snapshot that was there is kept.
    public func save() throws(KedisError) {
        guard !lifecycle.isClosed.load(ordering: .acquiring) else { throw .closed }
        try write()
    }

    private func write() throws(KedisError) {
        guard let files else { throw .snapshot("this database has no directory to save to") }
        keeper.waitUntilIdle()
        switch keeper.save(files.request, nowMilliseconds: wallClockMilliseconds()) {
        case .saved: files.isSnapshotStale.store(false, ordering: .relaxed)
        case .failed(let error): throw .snapshot("\(error)")
        case .busy: throw .snapshot("another save is in progress")
        }
    }

    /// Closes the database: for one with a directory, writes the snapshot if something has changed since the last time,
    /// puts the rest of the journal on disk, then ends the background work. From then on `execute` replies the error
    /// `ERR the database is closed`, which the typed calls throw, on its connections too; an iteration of `scan` ends.
    /// Commands that other threads are executing meanwhile may miss the files. Closing a closed database does nothing.
    ///
    /// - Throws: ``KedisError/snapshot(_:)`` as ``save()``; then the database is open as before.
    ///   ``KedisError/journal(_:)`` when the end of the journal is not on disk; then the database is closed, and the
    ///   snapshot has everything.
    public func close() throws(KedisError) {
        // Who closes while another thread does returns when the data is safe: the process may end then.
        try closing.withLock { _ throws(KedisError) in
            guard !lifecycle.isClosed.exchange(true, ordering: .acquiringAndReleasing) else { return }
            do throws(KedisError) {
                if let files, keeper.unsavedChanges() > 0 || files.isSnapshotStale.load(ordering: .relaxed) {
                    try write()
                }
            } catch {
                lifecycle.isClosed.store(false, ordering: .releasing)
                throw error
            }
            for record in engine.clients.all {
                engine.unblock(record, error: .text(Array(KedisError.closedText.utf8)))
                record.wake()
            }
            ticker.stop()
            defer { files?.lock?.release() }
            do throws(JournalProblem) { try files?.journal.close() } catch { throw .journal(error.description) }
        }
    }

    /// Runs `body` with a connection that nobody else uses meanwhile, in database 0.
    func withConnection<Result>(_ body: (KedisConnection) -> Result) -> Result {
        // Pooled connections do not own the database: it owns them.
        let idle =
            idleConnections.withLock { $0.popLast() }
            ?? IdleConnection(
                connection: KedisConnection(engine: engine, lifecycle: lifecycle, gate: gate, owner: nil))
        let result = body(idle.connection)
        if idle.connection.isPristine {
            idleConnections.withLock { if $0.count < 64 { $0.append(idle) } }
        }
        return result
    }

    /// What a database and its connections share: whether they still work.
    final class Lifecycle: Sendable {
        let isClosed = Atomic<Bool>(false)
        let loadedKeyCount = Atomic<Int>(0)
    }

    private struct IdleConnection: @unchecked Sendable {
        // Sendable: who takes it out of the pool is its only user.
        let connection: KedisConnection
    }
}
