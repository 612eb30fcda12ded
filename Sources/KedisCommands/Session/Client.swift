// A client: what its session knows of it (ClientState) and what others may see of it (ClientRecord).
//
// ClientState belongs to one session and is touched only by the thread that executes it. ClientRecord is shared: CLIENT
// LIST and KILL of other sessions read it, so its fields are atomics or guarded.

package import KedisStore
package import KedisUtilities
package import Synchronization

/// Which replies a client gets (CLIENT REPLY).
package enum ReplyMode: UInt8, Sendable {
    case on
    case off
    /// The reply of the next command is dropped: set by SKIP.
    case skipNext
    /// The reply of the running command is dropped.
    case skipping
}

/// What is left to do after a command of a client. Nearly always nothing.
package struct FollowUp: OptionSet, Sendable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The reply is dropped: the mode is not `on`.
    static let muting = FollowUp(rawValue: 1 << 0)
    /// Messages of the client to itself follow.
    static let pushes = FollowUp(rawValue: 1 << 1)
    /// What it has read is remembered: Tracking/.
    static let tracking = FollowUp(rawValue: 1 << 2)
}

/// The two ends of a client's connection, as CLIENT LIST prints them.
package struct ClientEndpoint: Sendable {
    /// `127.0.0.1:51234`, or the path of a Unix socket with `:0`.
    package var address: String
    package var localAddress: String
    /// -1 when there is none.
    package var descriptor: Int32
    package var isUnixSocket: Bool

    package init(address: String, localAddress: String, descriptor: Int32 = -1, isUnixSocket: Bool = false) {
        self.address = address
        self.localAddress = localAddress
        self.descriptor = descriptor
        self.isUnixSocket = isUnixSocket
    }

    /// There is no connection.
    package var isEmbedded: Bool { descriptor < 0 && address == Self.embedded.address }

    /// For sessions without a connection: the shell, the library, tests.
    package static var embedded: ClientEndpoint { ClientEndpoint(address: "embedded:0", localAddress: "embedded:0") }
}

/// The state of a client that only its own session touches. Lives in memory that the session owns.
package struct ClientState {
    package let record: ClientRecord
    package var databaseIndex = 0
    package var replyMode = ReplyMode.on {
        didSet { if replyMode == .on { followUp.remove(.muting) } else { followUp.insert(.muting) } }
    }
    package internal(set) var followUp: FollowUp = []
    /// Set by QUIT, CLIENT KILL of oneself and protocol errors: the connection closes when the output is sent.
    package var isClosing = false {
        didSet { record.isClosing.store(isClosing, ordering: .relaxed) }
    }
    package var leavesAccessClock = false
    /// Blocking commands answer at once, as if their time was up: in transactions, scripts and EXPLAIN ANALYZE.
    package var deniesBlocking = false
    /// Whether messages can reach the client beside its replies: not on a connection of a program.
    package var takesMessages = true
    package var conditions: AdmissionCondition = []
    /// What was collected since MULTI.
    package var transaction: Transaction?
    /// BGSAVE was in the transaction that runs.
    package var isSaveScheduled = false
    /// Made by the first WATCH.
    package var watcher: Watcher? {
        didSet { record.watcher.withLock { $0 = watcher } }
    }
    /// Made by the first subscription.
    var subscriptions: Subscriptions? {
        didSet { record.ownSubscriptions = subscriptions }
    }
    /// Made by the first CLIENT TRACKING.
    var tracking: TrackingClient?
    /// What CLIENT CACHING said of the next command.
    var caching: Bool?
    /// See `ClientRecord.isSubscriber`.
    package internal(set) var isSubscriber = false
    /// Messages of the client to itself, which wait for the end of its command.
    var pushes: [Message] = []
    package var random: RandomGenerator
    /// Who the client is: Access/Session+Access.swift.
    package internal(set) var access: ClientAccess

    init(record: ClientRecord, random: RandomGenerator, access: ClientAccess) {
        self.record = record
        self.random = random
        self.access = access
    }
}

/// What anybody may know of a client.
package final class ClientRecord: Sendable {
    package struct Names: Sendable {
        package var name: [UInt8] = []
        package var libraryName: [UInt8] = []
        package var libraryVersion: [UInt8] = []
    }

    package let identifier: Int64
    package let endpoint: ClientEndpoint
    package let createdMilliseconds: Int64
    package let names = Locked(Names())
    package let lastInteractionMilliseconds: Atomic<Int64>
    package let databaseIndex = Atomic<Int>(0)
    /// The index of the last command's entry in the table, or -1.
    package let lastCommand = Atomic<Int>(-1)
    package let protocolVersion = Atomic<Int>(2)
    package let isNoEvict = Atomic<Bool>(false)
    package let isNoTouch = Atomic<Bool>(false)
    /// What it takes.
    package let memory = ClientMemory()
    package let isKilled = Atomic<Bool>(false)
    /// The connection ends when its output is sent.
    package let isClosing = Atomic<Bool>(false)
    /// The client is shown all commands: Observability/MonitorRegistry.swift.
    package let isMonitor = Atomic<Bool>(false)
    /// The connection has ended.
    let isGone = Atomic<Bool>(false)
    /// Set once, by the client's first CLIENT TRACKING.
    let tracking = Locked<TrackingClient?>(nil)
    /// Set once, by the client's first WATCH.
    let watcher = Locked<Watcher?>(nil)
    /// The commands of its transaction, or -1.
    package let transactionCommandCount = Atomic<Int>(-1)
    /// The client waits in a blocking command, until somebody has an outcome for it.
    package let isBlocked = Atomic<Bool>(false)
    /// What it waits with; the session's, for those who end the wait.
    let waiter = Locked<Waiter?>(nil)
    /// Who the client is, since it was last asked.
    private let user: Locked<User>
    /// What it is subscribed to.
    let subscriptionCounts = SubscriptionCounts()
    /// The same in full; touched by the thread of the postbox only.
    nonisolated(unsafe) var ownSubscriptions: Subscriptions?
    /// Where others leave what they want of the client.
    package let postbox: Postbox
    /// The transport's, which takes it out when it goes; touched by the thread of the postbox only.
    package nonisolated(unsafe) var receive: ((ClientMail) -> Void)?

    init(identifier: Int64, endpoint: ClientEndpoint, nowMilliseconds: Int64, postbox: Postbox, user: User) {
        self.user = Locked(user)
        self.identifier = identifier
        self.endpoint = endpoint
        createdMilliseconds = nowMilliseconds
        lastInteractionMilliseconds = Atomic(nowMilliseconds)
        self.postbox = postbox
    }

    /// Nothing was set by CLIENT SETNAME and SETINFO.
    package var hasNoNames: Bool {
        names.withLock { $0.name.isEmpty && $0.libraryName.isEmpty && $0.libraryVersion.isEmpty }
    }

    /// The client listens to channels or patterns: another class of output limits, and no idle timeout.
    package var isSubscriber: Bool {
        TopicKind.allCases.contains { subscriptionCounts[$0] > 0 }
    }

    var currentUser: User {
        get { user.withLock { $0 } }
        set { user.withLock { $0 = newValue } }
    }

    /// Ends the connection, whichever thread owns it. The caller holds no stripe.
    package func kill() {
        isKilled.store(true, ordering: .relaxed)
        postbox.send(.close(self))
    }

    /// Tells the session that there is an outcome for the client, which waited. The caller holds no stripe.
    package func wake() { postbox.send(.wake(self)) }
}

/// How many channels, patterns and shard channels a client is subscribed to.
struct SubscriptionCounts: ~Copyable {
    private let channels = Atomic<Int>(0)
    private let patterns = Atomic<Int>(0)
    private let shardChannels = Atomic<Int>(0)

    subscript(kind: TopicKind) -> Int {
        get {
            switch kind {
            case .channel: channels.load(ordering: .relaxed)
            case .pattern: patterns.load(ordering: .relaxed)
            case .shardChannel: shardChannels.load(ordering: .relaxed)
            }
        }
        nonmutating set {
            switch kind {
            case .channel: channels.store(newValue, ordering: .relaxed)
            case .pattern: patterns.store(newValue, ordering: .relaxed)
            case .shardChannel: shardChannels.store(newValue, ordering: .relaxed)
            }
        }
    }
}

/// All connected clients.
package final class ClientRegistry: Sendable {
    private struct State {
        var nextIdentifier: Int64 = 1
        var records: [Int64: ClientRecord] = [:]

        mutating func takeIdentifier() -> Int64 {
            defer { nextIdentifier += 1 }
            return nextIdentifier
        }
    }

    private let state = Locked(State())

    package init() {}

    /// The number of a client that will be added: for who accepts connections in their order and leaves the rest to
    /// other threads.
    package func takeIdentifier() -> Int64 { state.withLock { $0.takeIdentifier() } }

    /// Adds a client, with a new number unless it has one.
    func add(
        endpoint: ClientEndpoint, nowMilliseconds: Int64, postbox: Postbox, user: User, identifier: Int64? = nil
    ) -> ClientRecord {
        state.withLock { state in
            let record = ClientRecord(
                identifier: identifier ?? state.takeIdentifier(), endpoint: endpoint, nowMilliseconds: nowMilliseconds,
                postbox: postbox, user: user
            )
            state.records[record.identifier] = record
            return record
        }
    }

    func remove(_ record: ClientRecord) {
        state.withLock { _ = $0.records.removeValue(forKey: record.identifier) }
    }

    package var count: Int { state.withLock { $0.records.count } }

    /// The clients, oldest first.
    package var all: [ClientRecord] {
        state.withLock { state in state.records.values.sorted { $0.identifier < $1.identifier } }
    }

    package func find(_ identifier: Int64) -> ClientRecord? {
        state.withLock { $0.records[identifier] }
    }
}
