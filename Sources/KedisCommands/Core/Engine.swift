// The engine: store, command table, configuration and clients, shared by all sessions and threads.
//
// Immutable but for atomics and what its members guard themselves. No I/O: see Host.

package import KedisStore
package import KedisUtilities
package import Synchronization

/// The times that the engine asks for. A test gives its own.
package struct EngineClock: Sendable {
    /// Since 1970: deadlines and TIME.
    package var wallMicroseconds: @Sendable () -> Int64
    /// For durations only.
    package var monotonicNanoseconds: @Sendable () -> UInt64
    /// A cheaper one for the durations of commands; nil takes ``monotonicNanoseconds``.
    package var ticks: TickClock?

    package init(
        wallMicroseconds: @escaping @Sendable () -> Int64, monotonicNanoseconds: @escaping @Sendable () -> UInt64,
        ticks: TickClock? = nil
    ) {
        self.ticks = ticks
        self.wallMicroseconds = wallMicroseconds
        self.monotonicNanoseconds = monotonicNanoseconds
    }

    /// The cheaper clock where there is one.
    package var ticksNow: UInt64 { ticks?.now ?? monotonicNanoseconds() }

    package func nanoseconds(from start: UInt64, to end: UInt64) -> UInt64 {
        ticks?.nanoseconds(from: start, to: end) ?? (end > start ? end &- start : 0)
    }

    package static var system: EngineClock {
        EngineClock(
            wallMicroseconds: { KedisUtilities.wallClockMicroseconds() },
            monotonicNanoseconds: { KedisUtilities.monotonicNanoseconds() }, ticks: .system
        )
    }

    package var wallMilliseconds: Int64 { wallMicroseconds() / 1000 }
}

package final class Engine: Sendable {
    package let store: Store
    package let table: CommandTable
    package let configuration: Configuration
    package let host: Host
    package let clock: EngineClock
    package let clients: ClientRegistry
    /// Who may do what.
    package let access: AccessControl
    package let statistics = EngineStatistics()
    /// 40 random hexadecimal digits, which replicas would know the data by.
    let replicationIdentifier: String
    package let memory: MemoryGauge
    /// What anybody wants to know of what commands do.
    package let interest = InterestWord()
    /// Who waits for which key.
    package let waiters: WaiterTable
    let removedKeys: RemovedKeys
    /// Where effects go that are to outlive the process.
    package let journal: JournalPort
    /// Who watches which key.
    let watches: WatchTable
    /// Who listens to which channel.
    let hub: MessageHub
    /// CLIENT PAUSE
    package let pause: PauseGate
    /// What all clients take.
    package let clientMemory = ClientMemoryGauge()
    /// Who has read which key.
    let tracking: TrackingTable
    /// Tells whoever listens what happens to keys.
    let notifier: KeyspaceNotifier
    package let commandStatistics: CommandStatistics
    /// Slow log, latency monitor, MONITOR and the like.
    package let observability: Observability
    package let startedMilliseconds: Int64
    /// DEBUG SET-ACTIVE-EXPIRE: whether the background tick removes what is due.
    package let isActiveExpiryEnabled = Atomic<Bool>(true)
    /// Seeds the random generators of sessions, one after another.
    private let nextSeed: Atomic<UInt64>
    private let conditionBits = Atomic<UInt32>(0)

    /// - Parameters:
    ///   - seed: makes random picks repeatable; the store has its own.
    ///   - isForReplay: another engine has the store, and this one only executes what was written down.
    package init(
        store: Store, configuration: Configuration = Configuration(), host: Host = Host(), clock: EngineClock = .system,
        seed: UInt64, table: CommandTable? = nil, isForReplay: Bool = false
    ) {
        let table = table ?? CommandTable(allCommandSpecs, renames: configuration.renames)
        waiters = WaiterTable(interest)
        removedKeys = RemovedKeys(waiters)
        journal = JournalPort(interest)
        watches = WatchTable(interest)
        tracking = TrackingTable(interest)
        hub = MessageHub(seed: store.seed)
        pause = PauseGate(interest)
        notifier = KeyspaceNotifier(hub, interest)
        observability = Observability(interest)
        self.store = store
        self.configuration = configuration
        self.host = host
        self.clock = clock
        self.table = table
        commandStatistics = CommandStatistics(commandCount: table.entries.count)
        startedMilliseconds = clock.wallMilliseconds
        nextSeed = Atomic(seed)
        clients = ClientRegistry()
        access = AccessControl(table: table, configuration: configuration, host: host)
        memory = MemoryGauge(seed: seed)
        replicationIdentifier = String(decoding: hexadecimalDigits(of: host.randomBytes(20)), as: UTF8.self)
        guard !isForReplay else { return }
        store.setAccessTracking(configuration.accessTracking)
        store.setDefragmenting(configuration.isDefragmenting.load(ordering: .relaxed))
        let seed = store.seed
        store.observeKeyEvents {
            [notifier, tracking, watches, removedKeys, interest, journal] event, databaseIndex, key in
            let interest = interest.current
            switch event {
            case .membersExpired where interest.hasWatchers:
                watches.touch(Key(key, seed: seed), databaseIndex: databaseIndex)
            case .expired where interest.hasWaiters, .evicted where interest.hasWaiters:
                removedKeys.note(Key(key, seed: seed), databaseIndex: databaseIndex)
            default: break
            }
            if interest.hasJournal {
                journal.note(
                    event, key: Key(key, seed: seed), databaseIndex: databaseIndex,
                    milliseconds: clock.wallMilliseconds)
            }
            if interest.hasTracking { tracking.note(event, Key(key, seed: seed)) }
            notifier.notify(event, key: key, databaseIndex: databaseIndex)
        }
        applyNotifications()
        observability.follow(configuration)
    }

    private func applyNotifications() {
        let classes = KeyspaceEventClasses(configuration.text("notify-keyspace-events")) ?? []
        notifier.set(classes)
        store.reportKeyEvents(
            created: classes.isOn && classes.contains(.created), missed: classes.isOn && classes.contains(.missed))
    }

    /// Lets the store follow directives that CONFIG SET has changed, when the host has applied them.
    func followConfiguration(_ names: [String]) {
        store.setDefragmenting(configuration.isDefragmenting.load(ordering: .relaxed))
        if names.contains(where: { $0 == "maxmemory-policy" || $0.hasPrefix("lfu-") }) {
            store.setAccessTracking(configuration.accessTracking)
        }
        if names.contains("notify-keyspace-events") { applyNotifications() }
        observability.follow(configuration)
        if names.contains(where: { $0.hasPrefix("maxmemory") }) {
            evictClients()
            memory.requestEviction()
        }
        if names.contains("maxmemory") { warnAboutLimit() }
        if names.contains("requirepass") { access.setDefaultPassword(configuration.text("requirepass")) }
    }

    /// Logs a limit that is below what is used: at the start, and when it is set.
    package func warnAboutLimit() {
        let limit = configuration.memoryByteCountMax.load(ordering: .relaxed)
        let used = store.usedByteCount
        guard limit > 0, used > limit else { return }
        let consequence =
            configuration.evictionPolicy == .noEviction
            ? "commands that need memory are refused" : "keys are evicted by \(configuration.evictionPolicy.name)"
        host.log(.warning, "maxmemory is \(limit), less than the \(used) bytes in use: \(consequence)")
    }

    /// States in which some commands are refused.
    package var conditions: AdmissionCondition {
        AdmissionCondition(rawValue: conditionBits.load(ordering: .relaxed))
    }

    package func set(_ condition: AdmissionCondition, to isOn: Bool) {
        if isOn {
            conditionBits.bitwiseOr(condition.rawValue, ordering: .relaxed)
        } else {
            conditionBits.bitwiseAnd(~condition.rawValue, ordering: .relaxed)
        }
    }

    func makeRandomGenerator() -> RandomGenerator {
        RandomGenerator(seed: nextSeed.wrappingAdd(0x9E37_79B9_7F4A_7C15, ordering: .relaxed).newValue)
    }
}

/// Counters that INFO shows. Sessions add to them once a batch.
package final class EngineStatistics: Sendable {
    /// Commands, bytes, reads and writes.
    package let traffic = Traffic()
    package let connectionsReceived = Atomic<UInt64>(0)
    package let connectionsRejected = Atomic<UInt64>(0)
    /// Connections of the TLS port that have not come to be.
    package let handshakeFailures = Atomic<UInt64>(0)
    package let errorReplies = Atomic<UInt64>(0)
    /// Payloads of RESTORE that were read as if they came from an enemy.
    package let payloadsChecked = Atomic<UInt64>(0)
    /// The time that the background has taken to remove what was due.
    package let expiryNanoseconds = Atomic<UInt64>(0)
    /// Error replies by their codes. The codes are the server's own, but a bound keeps a mistake from growing it.
    private let errorsByCode = Locked<[String: UInt64]>([:])
    private static let errorCodeCountMax = 128

    package init() {}

    /// Counts an error reply whose text begins with `code`.
    func noteError(code: ByteView) {
        let name = code.text
        errorsByCode.withLock { counts in
            guard counts[name] != nil || counts.count < Self.errorCodeCountMax else { return }
            counts[name, default: 0] += 1
        }
    }

    /// Error replies by their codes, in the order of the codes.
    package var errorCounts: [(code: String, count: UInt64)] {
        errorsByCode.withLock { $0.sorted { $0.key < $1.key }.map { ($0.key, $0.value) } }
    }

    /// CONFIG RESETSTAT
    package func reset() {
        traffic.reset()
        connectionsReceived.store(0, ordering: .relaxed)
        connectionsRejected.store(0, ordering: .relaxed)
        handshakeFailures.store(0, ordering: .relaxed)
        errorReplies.store(0, ordering: .relaxed)
        payloadsChecked.store(0, ordering: .relaxed)
        expiryNanoseconds.store(0, ordering: .relaxed)
        errorsByCode.withLock { $0 = [:] }
    }
}
