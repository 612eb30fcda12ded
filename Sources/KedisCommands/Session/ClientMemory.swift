// What clients take, and `maxmemory-clients`: when all together take too much, those who take the most are closed.
//
// A session tells its figures where they change by much (input that is kept, a growing transaction, subscriptions,
// output that its peer does not take) and once a second; the sum over all clients follows by differences. Closing one
// takes its figures out of the sum at once, so that what its connection's own thread has yet to do closes nobody else.
//
// Ownership: a ClientMemory is its record's, the gauge the engine's. Threads: figures are written by the session's
// thread and read by any; all are atomics. Cost: nothing for a command; 64 bytes a client. Source of the policy: the
// page on client eviction of Redis 7.2.

import KedisProtocol
import KedisStore
import KedisUtilities
package import Synchronization

/// What one client takes, in bytes.
package struct ClientMemory: ~Copyable, Sendable {
    /// Input that waits for the rest of a request, for the end of a wait, or for the peer to take its replies.
    package let input = Atomic<Int>(0)
    /// What the buffer of that can take beyond it.
    package let freeInput = Atomic<Int>(0)
    /// The arguments of the command that waits, and the places of those of an incomplete one.
    package let arguments = Atomic<Int>(0)
    package let transaction = Atomic<Int>(0)
    /// Channels, patterns and watched keys.
    package let interests = Atomic<Int>(0)
    /// The buffer of replies.
    package let replyCapacity = Atomic<Int>(0)
    /// Output that the transport holds until the peer takes it.
    package let output = Atomic<Int>(0)
    /// What the gauge counts of all this; -1 when the client is to be closed, and counts no more.
    fileprivate let counted = Atomic<Int>(0)

    init() {}

    /// Transports hold long output in pieces of this size.
    package static let outputPieceByteCount = 1 << 20

    /// The session itself, with the buffers that it always has: about.
    static let sessionByteCount = 4 << 10

    /// All of it.
    package var total: Int {
        var sum = Self.sessionByteCount
        for part in [
            input.load(ordering: .relaxed), freeInput.load(ordering: .relaxed), arguments.load(ordering: .relaxed),
            transaction.load(ordering: .relaxed), interests.load(ordering: .relaxed),
            replyCapacity.load(ordering: .relaxed), output.load(ordering: .relaxed),
        ] { sum = sum.addingReportingOverflow(part).partialValue }
        return sum
    }
}

extension ClientMemory {
    /// The fields of CLIENT LIST.
    var description: String {
        let waiting = output.load(ordering: .relaxed)
        let buffer = replyCapacity.load(ordering: .relaxed)
        let pieceCount = (waiting + Self.outputPieceByteCount - 1) / Self.outputPieceByteCount
        return """
            qbuf=\(input.load(ordering: .relaxed)) qbuf-free=\(freeInput.load(ordering: .relaxed)) \
            argv-mem=\(arguments.load(ordering: .relaxed)) multi-mem=\(transaction.load(ordering: .relaxed)) \
            rbs=\(buffer) rbp=\(buffer) obl=0 oll=\(pieceCount) omem=\(waiting) tot-mem=\(total) \
            events=\(waiting > 0 ? "rw" : "r")
            """
    }
}

/// What all clients take.
package final class ClientMemoryGauge: Sendable {
    private let sum = Atomic<Int>(0)
    /// Clients that were closed because of it.
    package let evictedCount = Atomic<UInt64>(0)
    /// Held by the thread that chooses.
    fileprivate let choosing = Atomic<Bool>(false)

    package init() {}

    package var total: Int { max(0, sum.load(ordering: .relaxed)) }

    /// Counts a client as it is now.
    func note(_ record: ClientRecord) {
        let now = record.memory.total
        var before = record.memory.counted.load(ordering: .relaxed)
        while before >= 0 {
            let outcome = record.memory.counted.compareExchange(expected: before, desired: now, ordering: .relaxed)
            if outcome.exchanged {
                sum.wrappingAdd(now &- before, ordering: .relaxed)
                return
            }
            before = outcome.original
        }
    }

    /// Counts a client no more. False when it was not counted already.
    @discardableResult
    func forget(_ record: ClientRecord) -> Bool {
        let before = record.memory.counted.exchange(-1, ordering: .relaxed)
        guard before >= 0 else { return false }
        sum.wrappingSubtract(before, ordering: .relaxed)
        return true
    }

    func resetStatistics() { evictedCount.store(0, ordering: .relaxed) }
}

extension Engine {
    /// Counts a client, and closes some when all together take too much.
    func noteMemory(of record: ClientRecord) {
        clientMemory.note(record)
        let limit = configuration.clientMemoryByteCountMax.load(ordering: .relaxed)
        if limit > 0, clientMemory.total > limit { evictClients() }
    }

    /// Closes clients, those who take the most first, until the others fit `maxmemory-clients`. O(n log n).
    @inline(never)
    package func evictClients() {
        let limit = configuration.clientMemoryByteCountMax.load(ordering: .relaxed)
        guard limit > 0, clientMemory.total > limit else { return }
        // One thread chooses: two would close twice as many as needed.
        guard !clientMemory.choosing.exchange(true, ordering: .acquiring) else { return }
        defer { clientMemory.choosing.store(false, ordering: .releasing) }
        let candidates = clients.all.filter { !$0.endpoint.isEmbedded && !$0.isNoEvict.load(ordering: .relaxed) }
            .map { (record: $0, byteCount: $0.memory.total) }.sorted { $0.byteCount > $1.byteCount }
        for candidate in candidates where clientMemory.total > limit {
            guard clientMemory.forget(candidate.record) else { continue }
            clientMemory.evictedCount.wrappingAdd(1, ordering: .relaxed)
            let endpoint = candidate.record.endpoint
            host.log(
                .notice,
                """
                Evicting client: id=\(candidate.record.identifier) addr=\(endpoint.address) \
                laddr=\(endpoint.localAddress) tot-mem=\(candidate.byteCount)
                """
            )
            candidate.record.kill()
        }
    }
}

extension Session {
    /// Tells what the client takes now. Called where that changes by much, not for each command.
    @inline(never)
    package mutating func noteMemorySlowly() {
        let record = client.pointee.record
        record.memory.input.store(pending.count, ordering: .relaxed)
        record.memory.freeInput.store(pending.capacity - pending.count, ordering: .relaxed)
        record.memory.arguments.store(argumentByteCount, ordering: .relaxed)
        record.memory.transaction.store(client.pointee.transaction?.allocatedByteCount ?? 0, ordering: .relaxed)
        client.pointee.noteInterests()
        record.memory.replyCapacity.store(output.capacity, ordering: .relaxed)
        engine.noteMemory(of: record)
    }

    private var argumentByteCount: Int {
        (waiter?.allocatedByteCount ?? 0) + partialArgumentCount * MemoryLayout<ArgumentRange>.stride
    }

}

extension ClientState {
    /// Tells what channels, patterns and watched keys take.
    func noteInterests() {
        record.memory.interests.store(
            (subscriptions?.allocatedByteCount ?? 0) + (watcher?.allocatedByteCount ?? 0), ordering: .relaxed)
    }
}
