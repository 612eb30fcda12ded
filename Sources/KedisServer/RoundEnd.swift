// The end of an event loop's round, when the replies of all connections that were read in it are sent.
//
// A peer that sleeps is woken by the first bytes it gets. Sent one after the other between reads, replies wake a client
// with many connections again and again, and each wake-up is the sender's work: with 50 connections of one client in
// pipelines of 16 that was a third of the kernel's time (2-core EPYC, Linux 6.18, 2026-11). Sent together at the end,
// they find it awake. SwiftNIO runs tasks when it has gone through the channels that were ready, so a task is the end
// of the round.
//
// Ownership: one for each loop, `LoopClients` has it. Threads: the loop's alone, `@unchecked Sendable` because it is
// made elsewhere. Bounds: a reply waits for the reads of one round; long replies do not wait, so what waits is at most
// `outputByteCountMax` for each connection. Cost: one task a round.

import KedisDurability
import NIOCore
import Synchronization

final class RoundEnd: @unchecked Sendable {
    // Sendable: everything but `loop` is touched only on the event loop.

    /// The longest output that waits: idle sessions keep no more than this either.
    static let outputByteCountMax = 16 << 10

    private let loop: any EventLoop
    private let gate: DurabilityGate
    /// Kept from round to round, the buffer of one while the other is sent.
    private var waiting: [SessionHandler] = []
    private var sending: [SessionHandler] = []

    init(loop: any EventLoop, gate: DurabilityGate) {
        self.loop = loop
        self.gate = gate
    }

    /// Has `handler` send at the end of this round.
    func add(_ handler: SessionHandler) {
        loop.assertInEventLoop()
        waiting.append(handler)
        if waiting.count == 1 { loop.assumeIsolatedUnsafeUnchecked().execute { [self] in sendAll() } }
    }

    /// Sends all that waits.
    func sendAll() {
        loop.assertInEventLoop()
        if gate.isOn.load(ordering: .relaxed) { gate.syncHere() }
        swap(&waiting, &sending)
        for index in sending.indices { sending[index].roundHasEnded() }
        sending.removeAll(keepingCapacity: true)
    }
}
