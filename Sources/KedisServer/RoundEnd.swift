// The end of an event loop's round, when the replies of all connections that were read in it are sent.
//
// A peer that sleeps is woken by the first bytes it gets. Sent one after the other between reads, replies wake a client
// with many connections again and again, and each wake-up is the sender's work: with 50 connections of one client in
// pipelines of 16 that was a third of the kernel's time (2-core EPYC, Linux 6.18, 2026-11). Sent together at the end,
// they find it awake.
//
// Ownership: one for each loop, `LoopClients` has it. A connection that waits here is not kept: it is taken out when it
// ends (`remove`). Threads: the loop's alone, `@unchecked Sendable` because it is made elsewhere. Bounds: a reply waits
// for the reads of one round; long replies do not wait, so what waits is at most `outputByteCountMax` for each
// connection. Cost: two stores for a read.

import KedisDurability
import Synchronization

final class RoundEnd: @unchecked Sendable {
    // Sendable: everything but `loop` is touched only on the event loop.

    /// The longest output that waits: idle sessions keep no more than this either.
    static let outputByteCountMax = 16 << 10

    private let loop: any ServerLoop
    private let gate: DurabilityGate
    /// Who waits, `count` of them in room for `capacity`; no references are counted.
    private var waiting: UnsafeMutablePointer<Unmanaged<Connection>?>
    private var capacity = 64
    private var count = 0

    init(loop: any ServerLoop, gate: DurabilityGate) {
        self.loop = loop
        self.gate = gate
        waiting = .allocate(capacity: capacity)
        loop.setRoundEnd { [unowned self] in sendAll() }
    }

    deinit { waiting.deallocate() }

    /// Has `connection`, which is not there, send at the end of this round.
    @inline(__always)
    func add(_ connection: Connection) {
        if count == capacity { growSlowly() }
        connection.isInRoundEnd = true
        (waiting + count).initialize(to: .passUnretained(connection))
        count += 1
        if count == 1 { loop.requestRoundEnd() }
    }

    @inline(never)
    private func growSlowly() {
        let more = UnsafeMutablePointer<Unmanaged<Connection>?>.allocate(capacity: 2 * capacity)
        more.moveInitialize(from: waiting, count: count)
        waiting.deallocate()
        waiting = more
        capacity *= 2
    }

    /// Takes out a connection that has ended.
    func remove(_ connection: Connection) {
        let address = Unmanaged.passUnretained(connection).toOpaque()
        for index in 0..<count where waiting[index]?.toOpaque() == address { waiting[index] = nil }
    }

    /// Sends all that waits.
    func sendAll() {
        if gate.isOn.load(ordering: .relaxed) { gate.syncHere() }
        _ = loop.sendTogether(
            count: count, request: { waiting[$0]?._withUnsafeGuaranteedRef { $0.readyOutput } },
            result: { index, byteCount in
                waiting[index]?._withUnsafeGuaranteedRef { $0.wasSentAhead(byteCount) }
            })
        // Who comes meanwhile is sent to as well.
        var index = 0
        while index < count {
            waiting[index]?._withUnsafeGuaranteedRef { connection in
                connection.isInRoundEnd = false
                connection.roundHasEnded()
            }
            index += 1
        }
        count = 0
    }
}
