// With `appendfsync always` no reply leaves before what it is about is on disk: neither the reply to a write nor that
// to a read that has seen one. Connections with such replies wait here, and one sync serves all that wait.
//
//   send ─▶ is the session's last record on disk? ─ yes ─▶ the socket
//                   └ no ─▶ HeldReplies of the loop ─▶ the journal's thread syncs ─▶ onDurable ─▶ what was held is sent
//
// A connection that waits keeps its input and executes nothing: its order stands, and it makes the server hold no more
// than one read's replies. Reads that have seen nothing new pass, also while the disk takes nothing.

import KedisDurability
import KedisPersistence
import KedisStore
import Synchronization

/// The connections of one loop whose replies wait. Threads: the loop's, but for ``noteDurable(_:)``.
final class HeldReplies: @unchecked Sendable {
    // Sendable: everything but `loop`, `gate` and `lowestSequence` is touched only on the event loop.

    private let loop: any ServerLoop
    private let gate: DurabilityGate
    private var connections: [Connection] = []
    /// The first record that somebody waits for; `.max` for nobody.
    private let lowestSequence = Atomic<UInt64>(.max)

    init(loop: any ServerLoop, gate: DurabilityGate) {
        self.loop = loop
        self.gate = gate
    }

    /// The output of `connection` waits for its `heldSequence`.
    func add(_ connection: Connection) {
        assert(loop.isCurrent)
        connections.append(connection)
        if connection.heldSequence < lowestSequence.load(ordering: .relaxed) {
            lowestSequence.store(connection.heldSequence, ordering: .sequentiallyConsistent)
        }
        gate.requestSync()
        // It may have come to disk between the look and the entry.
        if gate.isDurable(connection.heldSequence) { loop.execute { [self] in release() } }
    }

    func remove(_ connection: Connection) {
        connections.removeAll { $0 === connection }
    }

    /// Records up to `sequence` are on disk. Any thread.
    func noteDurable(_ sequence: UInt64) {
        guard lowestSequence.load(ordering: .sequentiallyConsistent) <= sequence else { return }
        loop.execute { [self] in release() }
    }

    /// Replies may not have to wait any more. Any thread.
    func policyHasChanged() {
        guard !gate.isOn.load(ordering: .relaxed) else { return }
        loop.execute { [self] in release() }
    }

    private func release() {
        // Asked once for each: the policy may change meanwhile.
        var due: [Connection] = []
        var rest: [Connection] = []
        for connection in connections {
            if gate.isDurable(connection.heldSequence) { due.append(connection) } else { rest.append(connection) }
        }
        connections = rest
        let lowest = rest.reduce(UInt64.max) { min($0, $1.heldSequence) }
        lowestSequence.store(lowest, ordering: .sequentiallyConsistent)
        for connection in due { connection.releaseReplies() }
    }
}
