// A waiter: a command that found nothing and waits for a key, with everything that it takes to run it again.
//
// Made by the session of the blocked client, served by whichever thread makes a key ready, ended by its own session.
//
//   waiting ─▶ outcome: served │ timed out │ refused ─▶ collected by the session, which answers
//
// Ownership: the session, the client's record (CLIENT UNBLOCK) and, while it is registered, the table of waiters.
// Threads: the nodes and `isRegistered` are guarded by the locks of the waiter's stripes, all of them; outcome, reply
// and `client` by `lock`, which is taken last and alone or under stripes. Cost: one allocation for the arguments, the
// keys and the nodes, beside the object.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

/// What a handler asks for when it cannot go on: see `CommandCall.block`. An object: one word in a call.
final class BlockRequest {
    let type: ValueType
    let keys: Range<Int>
    let timeoutMilliseconds: Int64
    let denied: DeniedReply
    let isForRemovalToo: Bool
    let memo: [UInt64]
    let durability: AwaitedDurability?

    init(
        type: ValueType, keys: Range<Int>, timeoutMilliseconds: Int64, denied: DeniedReply, isForRemovalToo: Bool,
        memo: [UInt64], durability: AwaitedDurability?
    ) {
        self.type = type
        self.keys = keys
        self.timeoutMilliseconds = timeoutMilliseconds
        self.denied = denied
        self.isForRemovalToo = isForRemovalToo
        self.memo = memo
        self.durability = durability
    }
}

/// What of the journal a client waits for (WAITAOF).
package struct AwaitedDurability: Sendable {
    /// The record that is to be on disk.
    package var sequence: UInt64
    /// That is all that the client waits for.
    package var isEnough: Bool
}

/// The reply of a command that would wait and may not.
package enum DeniedReply: Sendable {
    case null, nullArray
    /// The number of replicas, which a timeout is answered with as well (WAIT).
    case zero
    /// How many files have what was written here; at replicas it is none (WAITAOF).
    case fileCounts(local: Int)
}

extension ReplyWriter {
    mutating func reply(_ denied: DeniedReply) {
        switch denied {
        case .null: null()
        case .nullArray: nullArray()
        case .zero: integer(0)
        case .fileCounts(let local):
            array(2)
            integer(local)
            integer(0)
        }
    }

    /// What a wait without an outcome is answered with, when `denied` says how the command answers at once.
    mutating func timedOut(_ denied: DeniedReply) {
        switch denied {
        case .null, .nullArray: nullArray()
        case .zero, .fileCounts: reply(denied)
        }
    }
}

/// The place of a waiter in the queue of one key.
struct WaitNode {
    let waiter: Unmanaged<Waiter>
    let key: Unmanaged<WaitingKey>
    var previous: UnsafeMutablePointer<WaitNode>?
    var next: UnsafeMutablePointer<WaitNode>?
}

package final class Waiter: @unchecked Sendable {
    // Sendable: see the head of the file for what guards what.

    enum Outcome {
        /// The reply is in `reply`.
        case served(isFailed: Bool)
        case timedOut
        case refused(CommandError)
        /// The client is gone.
        case abandoned
    }

    let record: ClientRecord
    let entry: UnsafePointer<CommandEntry>
    let databaseIndex: Int
    let version: ProtocolVersion
    /// The type of value that serves it; a key of another type leaves it waiting.
    let type: ValueType
    /// It is also run again when a key is removed.
    let isForRemovalToo: Bool
    let denied: DeniedReply
    /// What the handler wanted to remember.
    let memo: [UInt64]
    let durability: AwaitedDurability?
    /// On the engine's monotonic clock; `.max` for never.
    let deadlineNanoseconds: UInt64
    let arguments: ArgumentList
    let keys: UnsafePointer<Key>
    let keyCount: Int
    /// The keys that it waits for, by index.
    let awaited: Range<Int>
    /// The stripes of all keys, and of those that it may make ready itself.
    let stripes: StripeSet
    let feeds: StripeSet
    private let memory: UnsafeMutableRawPointer
    /// What it takes, about.
    let allocatedByteCount: Int

    // Guarded by the stripes.
    let nodes: UnsafeMutablePointer<WaitNode>
    var nodeCount = 0
    var isRegistered = false

    // Guarded by the lock.
    let lock = StripeLock()
    /// The client as the handler sees it: nobody else uses this copy.
    private let client: UnsafeMutablePointer<ClientState>
    private(set) var outcome: Outcome?
    private(set) var reply: UnsafeMutablePointer<ReplyWriter>?
    private(set) var serviceNanoseconds: UInt64 = 0
    /// What the first run took; the session's.
    var firstNanoseconds: UInt64 = 0

    /// Copies what `call` needs to run again; fails when memory is exhausted.
    init(
        _ call: borrowing CommandCall, _ request: BlockRequest, version: ProtocolVersion, nowNanoseconds: UInt64
    ) throws(CommandError) {
        let list = call.arguments
        guard let copy = WaiterMemory(list, keyCount: call.keyCount, nodeCount: request.keys.count) else {
            throw .outOfMemory
        }
        var planned = KeyBuffer()
        do throws(CommandError) {
            stripes = try plan(call.entry, copy.arguments, in: call.engine.store.handle, into: &planned)
        } catch {
            deallocateBuffer(copy.base)
            throw error
        }
        assert(planned.count == call.keyCount)
        keyCount = min(planned.count, call.keyCount)
        copy.keys.initialize(from: planned.base, count: keyCount)
        awaited = request.keys.clamped(to: 0..<keyCount)
        var feeds = StripeSet()
        for index in 0..<keyCount where !awaited.contains(index) { feeds.insert(copy.keys[index].stripeIndex) }
        self.feeds = feeds
        memory = copy.base
        allocatedByteCount = copy.byteCount + MemoryLayout<ClientState>.size + 256
        arguments = copy.arguments
        keys = UnsafePointer(copy.keys)
        nodes = copy.nodes
        record = call.client.pointee.record
        entry = call.entry
        databaseIndex = call.keyspace.databaseIndex
        self.version = version
        type = request.type
        isForRemovalToo = request.isForRemovalToo
        denied = request.denied
        memo = request.memo
        durability = request.durability
        client = .allocate(capacity: 1)
        client.initialize(to: call.client.pointee)
        deadlineNanoseconds = Self.deadline(request.timeoutMilliseconds, after: nowNanoseconds)
    }

    deinit {
        assert(!isRegistered)
        deallocateBuffer(memory)
        client.deinitialize(count: 1)
        client.deallocate()
        if let reply {
            reply.deinitialize(count: 1)
            reply.deallocate()
        }
    }

    /// 0 and less are for ever; so is what lies beyond the clock.
    private static func deadline(_ timeoutMilliseconds: Int64, after nowNanoseconds: UInt64) -> UInt64 {
        guard timeoutMilliseconds > 0 else { return .max }
        let (nanoseconds, isTooMuch) = UInt64(timeoutMilliseconds).multipliedReportingOverflow(by: 1_000_000)
        let (deadline, isLate) = nowNanoseconds.addingReportingOverflow(nanoseconds)
        return isTooMuch || isLate ? .max : deadline
    }

    // MARK: Outcome

    /// Ends the wait, if nobody has; false when it has ended already.
    func end(_ outcome: Outcome, in table: WaiterTable) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        guard self.outcome == nil else { return false }
        set(outcome, in: table)
        return true
    }

    /// The outcome, if there is one.
    func currentOutcome() -> Outcome? {
        lock.lock()
        defer { lock.unlock() }
        return outcome
    }

    private func set(_ outcome: Outcome, in table: WaiterTable) {
        self.outcome = outcome
        record.isBlocked.store(false, ordering: .relaxed)
        table.noteEnd(isTimed: deadlineNanoseconds != .max)
    }

    /// Runs the command again, under the locks of its stripes and of `lock`. True when that has served the client.
    func attempt(_ engine: Engine, _ observer: EffectObserver, held: StripeSet, nowMilliseconds: Int64) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        guard outcome == nil, !record.isKilled.load(ordering: .relaxed) else { return false }
        let began = engine.clock.monotonicNanoseconds()
        let writer = UnsafeMutablePointer<ReplyWriter>.allocate(capacity: 1)
        writer.initialize(to: ReplyWriter(version: version))
        let limit = engine.configuration.outputByteCountMax(isSubscriber: false)
        if limit > 0 { writer.pointee.byteCountMax = limit }
        var keyspace = engine.store.keyspace(databaseIndex, nowMilliseconds: nowMilliseconds, held: held)
        keyspace.leavesAccessClock = client.pointee.leavesAccessClock
        var call = CommandCall(
            arguments: arguments, keyspace: keyspace, keyBase: keys, keyCount: keyCount, entry: entry, client: client,
            engine: Unmanaged.passUnretained(engine), waiter: Unmanaged.passUnretained(self)
        )
        call.effects.observe(observer)
        call.effects.scribe = observer.scribe
        let author = observer.author
        observer.author = record
        defer { observer.author = author }
        let result = runHandler(&call, &writer.pointee)
        applyEffects(&call)
        observer.scribe?.note(call, hasFailed: result == .failed || writer.pointee.hasOverflowed)
        if result == .done { rememberReads(engine) }
        guard result != .blocked else {
            writer.deinitialize(count: 1)
            writer.deallocate()
            return false
        }
        reply = writer
        serviceNanoseconds = engine.clock.monotonicNanoseconds() &- began
        set(.served(isFailed: result == .failed), in: engine.waiters)
        return true
    }
}

extension Waiter {
    /// Serves a client that waits for the disk (WAITAOF); false when its wait has ended.
    func serveDurable(_ engine: Engine) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        guard outcome == nil, !record.isKilled.load(ordering: .relaxed) else { return false }
        let writer = UnsafeMutablePointer<ReplyWriter>.allocate(capacity: 1)
        writer.initialize(to: ReplyWriter(version: version))
        writer.pointee.reply(.fileCounts(local: 1))
        reply = writer
        engine.waiters.unregister(self)
        set(.served(isFailed: false), in: engine.waiters)
        return true
    }

    /// Remembers what a tracking client has read by waiting.
    private func rememberReads(_ engine: Engine) {
        guard entry.pointee.flags.contains(.readOnly), let tracking = record.tracking.withLock({ $0 }) else { return }
        let read = UnsafeBufferPointer(start: keys, count: keyCount)
        engine.tracking.remember(read, for: tracking, caching: client.pointee.caching)
    }
}

/// One piece of memory: the ranges of the arguments, the keys, the nodes, the bytes of the arguments.
private struct WaiterMemory {
    let base: UnsafeMutableRawPointer
    let byteCount: Int
    let arguments: ArgumentList
    let keys: UnsafeMutablePointer<Key>
    let nodes: UnsafeMutablePointer<WaitNode>

    init?(_ list: ArgumentList, keyCount: Int, nodeCount: Int) {
        var byteCount = 0
        for index in 0..<list.count { byteCount += list[index].count }
        let rangesByteCount = list.count * MemoryLayout<ArgumentRange>.stride
        let keysByteCount = keyCount * MemoryLayout<Key>.stride
        let nodesByteCount = nodeCount * MemoryLayout<WaitNode>.stride
        let headByteCount = rangesByteCount + keysByteCount + nodesByteCount
        guard let base = allocateBuffer(byteCount: headByteCount + byteCount) else { return nil }
        self.base = base
        self.byteCount = headByteCount + byteCount
        let ranges = base.bindMemory(to: ArgumentRange.self, capacity: list.count)
        keys = (base + rangesByteCount).bindMemory(to: Key.self, capacity: keyCount)
        nodes = (base + rangesByteCount + keysByteCount).bindMemory(to: WaitNode.self, capacity: nodeCount)
        let bytes = (base + headByteCount).bindMemory(to: UInt8.self, capacity: max(1, byteCount))
        var offset = 0
        for index in 0..<list.count {
            let argument = list[index]
            (ranges + index).initialize(to: ArgumentRange(offset: offset, count: argument.count))
            UnsafeMutableRawPointer(bytes + offset).copyMemory(from: argument.base, byteCount: argument.count)
            offset += argument.count
        }
        arguments = ArgumentList(base: UnsafePointer(bytes), ranges: UnsafePointer(ranges), count: list.count)
    }
}
