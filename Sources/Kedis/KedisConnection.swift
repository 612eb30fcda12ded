// A connection to a database in the same process: one session, without a wire.
//
// Not Sendable: one thread at a time. Arguments are laid side by side in a buffer that is kept, the session executes
// them in place, and the reply is decoded into a value. Cost of a command: no system call; the reply's own arrays are
// allocated.

import KedisCommands
import KedisDurability
public import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A connection of one thread to a ``KedisDatabase``, with a selected database and a protocol version of its own.
public final class KedisConnection {
    private var session: Session
    private var bytes: [UInt8] = []
    private var ranges: [ArgumentRange] = []
    /// Keeps the database alive; nil in its own pool.
    private let owner: KedisDatabase?
    private let lifecycle: KedisDatabase.Lifecycle
    let gate: DurabilityGate
    /// Given when there is an outcome for the blocking command that the thread waits in.
    private let signal: WakeSignal

    /// - Parameter bell: where there is somebody who takes messages, how to tell that there are some.
    init(
        engine: Engine, lifecycle: KedisDatabase.Lifecycle, gate: DurabilityGate, owner: KedisDatabase?,
        bell: (@Sendable () -> Void)? = nil
    ) {
        self.gate = gate
        self.owner = owner
        self.lifecycle = lifecycle
        let signal = WakeSignal()
        self.signal = signal
        session = Session(
            engine: engine,
            postbox: Postbox {
                signal.signal()
                bell?()
            })
        session.client.pointee.takesMessages = bell != nil
        bytes.reserveCapacity(256)
    }

    /// The last record that anybody's command has made.
    var appendedSequence: UInt64 { session.engine.journal.appendedSequence }

    var record: ClientRecord { session.client.pointee.record }

    /// The database that SELECT has chosen.
    public var selectedDatabase: Int { session.client.pointee.databaseIndex }

    /// Nothing was changed that the next user would notice.
    var isPristine: Bool {
        let client = session.client.pointee
        let record = client.record
        return client.databaseIndex == 0 && client.replyMode == .on && !client.isClosing
            && session.output.version == .resp2 && !client.leavesAccessClock
            && !record.isNoEvict.load(ordering: .relaxed) && record.hasNoNames
    }

    /// Blocking commands do not wait: for a shell, whose only user nobody could serve.
    package var deniesBlocking: Bool {
        get { session.client.pointee.deniesBlocking }
        set { session.client.pointee.deniesBlocking = newValue }
    }

    /// Executes a command. A blocking one (`BLPOP` …) keeps the calling thread until another thread has served it, its
    /// timeout is over, or the database is closed: give it a timeout, and a thread of its own, not a task of Swift
    /// concurrency, whose threads are few.
    ///
    /// - Returns: the reply, which is an error reply when the command was refused or the database is closed; `.null`
    ///   when the command sends none (CLIENT REPLY OFF).
    public func execute(_ arguments: [[UInt8]]) -> Reply {
        guard !lifecycle.isClosed.load(ordering: .acquiring) else { return .error(Array(KedisError.closedText.utf8)) }
        perform(arguments)
        defer { session.output.removeAll() }
        if gate.isOn.load(ordering: .relaxed), !gate.isDurable(session.neededSequence) { waitForDisk() }
        var decoder = ReplyDecoder()
        decoder.append(session.output.bytes.raw)
        // The engine writes whole replies only, so this decodes or there is none.
        return (try? decoder.next()) ?? .null
    }

    /// Executes a command given as text.
    public func execute(_ arguments: String...) -> Reply {
        execute(arguments.map { Array($0.utf8) })
    }

    private func perform(_ arguments: [[UInt8]]) {
        bytes.removeAll(keepingCapacity: bytes.capacity <= 1 << 20)
        ranges.removeAll(keepingCapacity: ranges.capacity <= 4096)
        for argument in arguments {
            ranges.append(ArgumentRange(offset: bytes.count, count: argument.count))
            bytes.append(contentsOf: argument)
        }
        guard !ranges.isEmpty else {
            session.output.error("ERR empty command")
            return
        }
        // What others left (invalidations of tracked keys) reaches nobody, unless somebody takes it, and is not to pile
        // up.
        record.postbox.deliver()
        bytes.withUnsafeBytes { session.execute(ByteView($0), ranges) }
        while session.isPostponed {
            guard waitForEndOfPause() else { return fail(KedisError.closedText) }
            bytes.withUnsafeBytes { session.execute(ByteView($0), ranges) }
        }
        if session.isBlocked { waitForOutcome() }
        if session.hasLeftCopies, session.takePressure() { waitForSnapshot() }
    }

    /// Sleeps while a snapshot has too much to take of what was changed, a second at most.
    private func waitForSnapshot() {
        let start = monotonicNanoseconds()
        while session.engine.store.handle.isPressedBySnapshot,
            monotonicNanoseconds() &- start < StoreHandle.pressureNanosecondsMax
        {
            usleep(500)
        }
    }

    private func fail(_ text: String) {
        Array(text.utf8).withUnsafeBytes { session.output.error(ByteView($0)) }
    }

    /// With `always`: returns when the reply may be told. Where the disk takes nothing, the reply says so: what it is
    /// about is in memory only.
    private func waitForDisk() {
        guard let problem = gate.wait(for: session.neededSequence, signal) else { return }
        session.output.removeAll()
        fail("MISCONF What this is about is not on disk: \(problem)")
    }

    /// Sleeps until the command may go on that CLIENT PAUSE made wait; false when the database was closed.
    private func waitForEndOfPause() -> Bool {
        while true {
            let now = session.engine.clock.monotonicNanoseconds()
            if session.expireWaiting(nowNanoseconds: now) { return true }
            if lifecycle.isClosed.load(ordering: .acquiring) {
                session.leave()
                return false
            }
            // Who closes does not wake those who wait here.
            let left = session.waitDeadlineNanoseconds.map { $0 > now ? $0 - now : 0 } ?? .max
            signal.wait(nanosecondsMax: min(left, 100_000_000))
        }
    }

    /// Sleeps until the blocking command has an outcome, which is the reply then.
    private func waitForOutcome() {
        let engine = session.engine
        while true {
            // The signal is given for the first mail only, so it is taken out before looking: what comes later rings.
            session.client.pointee.record.postbox.deliver()
            let now = engine.clock.monotonicNanoseconds()
            if session.expireWaiting(nowNanoseconds: now) { return }
            // Who closes looks for those who wait after it has said so: whoever comes later sees it here.
            if lifecycle.isClosed.load(ordering: .acquiring) {
                engine.unblock(session.client.pointee.record, error: .text(Array(KedisError.closedText.utf8)))
                continue
            }
            let deadline = session.waitDeadlineNanoseconds
            signal.wait(nanosecondsMax: deadline.map { $0 > now ? $0 - now : 0 } ?? .max)
        }
    }
}
