// A store's journal: replayed at the start, written while the store is used, begun anew from a snapshot when it has
// grown, begun and ended while all goes on (`CONFIG SET appendonly`).
//
//      start: newest base snapshot ─▶ store ─▶ records behind it ─▶ JournalReplay ─▶ Journal opens behind them
//      then:  batch ─▶ JournalPort ─▶ Journal.append      tick ─▶ watch      once a second ─▶ rewriteWhenDue
//
// Ownership: that of whoever composes an engine with files: a server, a database in a program. Threads: any; what
// changes is atomic or under a lock. Rewrites, and beginning and ending while all goes on, run on threads of their own.
// Files: JournalKeeper+Start.swift, +Snapshot.swift, +Rewrite.swift, +Switch.swift.

package import KedisCommands
package import KedisPersistence
package import KedisStore
import KedisUtilities
import Synchronization

/// What a journal is to whoever owns the engine.
package struct JournalOwner: Sendable {
    /// Nil once it is gone.
    package var engine: @Sendable () -> Engine?
    /// From now on this is written.
    package var hasOpened: @Sendable (Journal) -> Void
    /// Replies wait until what they are about is on disk, or do not any more.
    package var holdsReplies: @Sendable (Bool) -> Void
    /// Records up to this one are on disk. Called by whoever has synced; must not wait.
    package var hasAdvanced: @Sendable (_ durableSequence: UInt64) -> Void

    package init(
        engine: @escaping @Sendable () -> Engine?, hasOpened: @escaping @Sendable (Journal) -> Void,
        holdsReplies: @escaping @Sendable (Bool) -> Void, hasAdvanced: @escaping @Sendable (UInt64) -> Void
    ) {
        self.engine = engine
        self.hasOpened = hasOpened
        self.holdsReplies = holdsReplies
        self.hasAdvanced = hasAdvanced
    }
}

/// Why there is no journal: a sentence for people.
package struct JournalProblem: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}

package final class JournalKeeper: Sendable {
    let configuration: Configuration
    let store: Store
    let fileSystem: FileSystem
    /// What the journal's records are executed by; nil makes one.
    let commandTable: CommandTable?
    private let baseOptions: JournalOptions
    let log: @Sendable (KedisCommands.LogLevel, String) -> Void
    let current = Locked(Current())
    let rewrite = Locked(Rewrite())
    let lock = Locked<SnapshotLock?>(nil)
    /// Held while the policy is applied: what was set last is what holds.
    private let applyingPolicy = Locked<Void>(())
    /// Known once the journal may be begun.
    let owner = Locked<JournalOwner?>(nil)
    let hasFailed = Atomic<Bool>(false)
    /// Records that were lost for want of memory: only a new base, of a later moment, makes the journal whole again.
    let lossCount = Atomic<Int>(0)
    let mendedLossCount = Atomic<Int>(0)
    /// The highest sequence of journals that were ended.
    let lastSequence = Atomic<UInt64>(0)
    /// Nothing that is on disk counts before the first base is.
    let awaitsBase = Atomic<Bool>(false)
    /// The code of function libraries, which goes into each base.
    let functions = Locked<[[UInt8]]>([])
    /// The directory has a journal that counts less than a snapshot: it goes aside before another one begins.
    let isOutdated = Atomic<Bool>(false)
    /// A snapshot that was not loaded, and has what the journal does not have: no save takes its place.
    let otherSnapshot = Locked<String?>(nil)
    /// Where the journal is, or would be begun: it does not move with `dir` while it is written.
    let place: Locked<String>

    /// The journal that is written.
    struct Current: Sendable {
        var journal: Journal?
        /// Where its first base is still to come.
        var generation: JournalGeneration?
        /// The engine writes to it: a base from before would lack what was changed in between.
        var isConnected = false
        /// A base of it takes its name.
        var isCommitting = false
        /// Nothing of it is wanted any more, and a thread ends it.
        var isEnding = false
    }

    struct Rewrite: Sendable {
        var startNanoseconds: UInt64?
        var lastSeconds: Int64 = -1
        var lastSucceeded = true
        var count = 0
        var failureCount = 0
        var baseByteCount = 0
        /// After a failure the next one by itself waits until then.
        var notBefore: UInt64 = 0
    }

    /// - Parameters:
    ///   - table: what records are executed by; nil makes one.
    ///   - options: what the configuration says nothing of. For tests, as `fileSystem`.
    package init(
        configuration: Configuration, store: Store, fileSystem: FileSystem = .system, table: CommandTable? = nil,
        options: JournalOptions = JournalOptions(),
        log: @escaping @Sendable (KedisCommands.LogLevel, String) -> Void
    ) {
        self.configuration = configuration
        self.store = store
        self.fileSystem = fileSystem
        commandTable = table
        baseOptions = options
        self.log = log
        place = Locked(Self.path(configuration))
    }

    static func path(_ configuration: Configuration) -> String {
        let folder = configuration.text("dir")
        return (folder.hasSuffix("/") ? folder : folder + "/") + configuration.text("appenddirname")
    }

    package var isWanted: Bool { configuration.boolean("appendonly") }

    package var directory: String { place.withLock { $0 } }

    /// The journal that is written; nil without one.
    package var journal: Journal? { current.withLock { $0.isEnding ? nil : $0.journal } }

    /// Nothing that is on disk counts before the first base is.
    package var isAwaitingBase: Bool { awaitsBase.load(ordering: .acquiring) }

    /// A record was lost, and no base has been made since.
    package var hasHole: Bool {
        lossCount.load(ordering: .relaxed) > mendedLossCount.load(ordering: .relaxed)
    }

    // MARK: Settings

    var policy: JournalPolicy {
        switch configuration.text("appendfsync") {
        case "always": .always
        case "no": .system
        default: .everySecond
        }
    }

    var retention: JournalRetention {
        let seconds = configuration.integer("journal-retention-seconds")
        let byteCount = configuration.integer("journal-retention-size")
        return JournalRetention(
            milliseconds: seconds > 0 ? Int64(seconds) * 1000 : nil, byteCount: byteCount > 0 ? byteCount : nil)
    }

    /// After CONFIG SET, and at the start.
    package func applyPolicy() { applyingPolicy.withLock { _ in applyPolicyAlone() } }

    private func applyPolicyAlone() {
        guard let journal, let owner = owner.withLock({ $0 }), let engine = owner.engine() else { return }
        journal.setRetention(retention)
        let policy = policy
        let holds = policy == .always
        if holds {
            engine.journal.setHoldsReplies(true)
            owner.holdsReplies(true)
        }
        journal.setPolicy(policy)
        guard !holds else { return }
        owner.holdsReplies(false)
        engine.journal.setHoldsReplies(false)
    }

    /// What a journal is opened with.
    func options(_ owner: JournalOwner) -> JournalOptions {
        var options = baseOptions
        options.policy = policy
        options.segmentByteCount = configuration.integer("journal-segment-size")
        options.retention = retention
        options.onDurable = owner.hasAdvanced
        return options
    }

    // MARK: While the store is used

    private static let overloadPauseMilliseconds: Int64 = 200

    /// Every tick: has writes refused while the disk takes nothing, and wait while it is too slow.
    package func watch(_ engine: Engine) {
        guard let journal else { return }
        let isFailed = journal.isFailed
        if isFailed != hasFailed.exchange(isFailed, ordering: .relaxed) {
            engine.set(.journalFailed, to: isFailed)
            if isFailed {
                log(.warning, "The journal cannot be written, writes are refused: \(journal.failure ?? "unknown")")
            } else {
                log(.notice, "The journal is written again, writes are taken again")
            }
        }
        if journal.isOverloaded, !isFailed {
            engine.pause.begin(
                .writes, milliseconds: Self.overloadPauseMilliseconds,
                nowNanoseconds: engine.clock.monotonicNanoseconds())
        }
    }

    // MARK: Status

    /// What INFO says of it; nil when there was none since the start.
    package var information: JournalInformation? {
        let current = current.withLock { $0 }
        let state = rewrite.withLock { $0 }
        let journal = current.isEnding ? nil : current.journal
        guard journal != nil || state.lastSeconds >= 0 || state.startNanoseconds != nil else { return nil }
        var result = JournalInformation()
        result.isEnabled = journal != nil
        result.isRewriting = state.startNanoseconds != nil
        result.isRewriteScheduled = journal != nil && current.generation != nil && state.startNanoseconds == nil
        result.lastRewriteSeconds = state.lastSeconds
        if let start = state.startNanoseconds {
            result.currentRewriteSeconds = Int64((monotonicNanoseconds() &- start) / 1_000_000_000)
        }
        result.lastRewriteSucceeded = state.lastSucceeded
        result.rewriteCount = state.count
        result.failureCount = state.failureCount
        result.baseByteCount = state.baseByteCount
        guard let journal else { return result }
        let status = journal.status
        result.lastWriteSucceeded = status.lastWriteSucceeded
        result.byteCount = status.byteCountSinceBase + state.baseByteCount
        result.pendingByteCount = status.pendingByteCount
        result.delayedSyncCount = status.delayedSyncCount
        result.appendedSequence = status.appendedSequence
        result.durableSequence = status.durableSequence
        return result
    }
}
