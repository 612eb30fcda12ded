// What a connection may cost: output that waits, peers that take nothing, peers that say nothing. Checked once a second
// for each connection that has output waiting, or for all while `timeout` is set; the hard limit also after each large
// reply.

import KedisCommands
import Synchronization

/// What was seen of the output that waits, check after check. Times are milliseconds of the monotonic clock.
struct OutputWatch {
    /// What the peer had taken when something last changed.
    var takenByteCount: UInt64 = 0
    /// Since when output waits and the peer takes nothing.
    var stalledSince: Int64?
    /// Since when the output is over the soft limit.
    var overSoftLimitSince: Int64?
}

extension Connection {
    private var record: ClientRecord { session.pointee.client.pointee.record }

    /// Nothing waits, and nothing that is measured over time goes on.
    var isUnwatched: Bool {
        waitingByteCount == 0 && watch.overSoftLimitSince == nil && watch.stalledSince == nil
            && record.memory.output.load(ordering: .relaxed) == 0
    }

    private var isSubscriber: Bool { session.pointee.client.pointee.isSubscriber }

    func check(nowMilliseconds: Int64, wallMilliseconds: Int64) {
        guard let transport, transport.isActive else { return }
        let waiting = waitingByteCount > 0 ? transport.queuedByteCount : 0
        record.memory.output.store(waiting, ordering: .relaxed)
        session.pointee.noteMemorySlowly()
        if waiting > 0 || watch.overSoftLimitSince != nil || watch.stalledSince != nil {
            checkHardLimit()
            checkSoftLimit(waiting, nowMilliseconds)
            checkProgress(waiting, nowMilliseconds)
        }
        if waiting == 0 { checkIdleness(wallMilliseconds) }
    }

    func checkHardLimit() {
        let limit = server.engine.configuration.outputByteCountMax(isSubscriber: isSubscriber)
        guard limit > 0 else { return }
        if waitingByteCount > limit { dropForOutput(waitingByteCount) }
    }

    private func checkSoftLimit(_ waiting: Int, _ now: Int64) {
        let limit = server.engine.configuration.softOutputLimit(isSubscriber: isSubscriber)
        guard limit.byteCount > 0, waiting > limit.byteCount else { return watch.overSoftLimitSince = nil }
        let since = watch.overSoftLimitSince ?? now
        watch.overSoftLimitSince = since
        if now - since > Int64(limit.seconds) * 1000 { dropForOutput(waiting) }
    }

    private func dropForOutput(_ waiting: Int) {
        server.engine.host.log(
            .warning,
            "Client \(description(waiting)) scheduled to be closed ASAP for overcoming of output buffer limits."
        )
        close()
    }

    func dropForMemory() {
        server.engine.host.log(.warning, "Client \(description(waitingByteCount)) closed: no memory for its replies.")
        close()
    }

    /// Drops a peer that takes nothing for too long, however little waits: it would hold its memory for ever.
    private func checkProgress(_ waiting: Int, _ now: Int64) {
        guard waiting > 0 else { return watch.stalledSince = nil }
        let taken = givenByteCount &- UInt64(truncatingIfNeeded: waiting)
        guard let since = watch.stalledSince, taken == watch.takenByteCount else {
            watch.stalledSince = now
            watch.takenByteCount = taken
            return
        }
        let seconds = server.engine.configuration.outputStallSeconds.load(ordering: .relaxed)
        guard seconds > 0, now - since >= Int64(seconds) * 1000 else { return }
        server.engine.host.log(
            .warning, "Client \(description(waiting)) closed: it has taken none of its replies for \(seconds) seconds"
        )
        close()
    }

    private func checkIdleness(_ now: Int64) {
        let seconds = server.engine.configuration.idleTimeoutSeconds.load(ordering: .relaxed)
        // Who waits in a blocking command or for messages is not idle.
        guard seconds > 0, !session.pointee.isBlocked, !isSubscriber else { return }
        let idle = now - record.lastInteractionMilliseconds.load(ordering: .relaxed)
        guard idle > Int64(seconds) * 1000 else { return }
        server.engine.host.log(.verbose, "Closing idle client")
        close()
    }

    private func description(_ waiting: Int) -> String {
        let endpoint = record.endpoint
        return "id=\(record.identifier) addr=\(endpoint.address) laddr=\(endpoint.localAddress) omem=\(waiting)"
    }
}
