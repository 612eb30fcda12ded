// Connections that are given no time for a while, because what they change a snapshot cannot take as fast: nothing more
// is read from them, and so their peers feel it, while all others go on as before.
//
// Ownership: the loop's clients. Threads: the loop's alone. Limit: nobody is kept longer than a second, so that a disk
// that takes nothing holds up nobody; what is changed then has a limit of its own (SnapshotBacklog.swift).
// Cost: while some wait, a look each millisecond.

import KedisStore
import KedisUtilities

final class PressedClients {
    private let loop: any ServerLoop
    private let store: StoreHandle
    /// Who waits, and since when; the longest first.
    private var waiting: [(connection: Connection, sinceNanoseconds: UInt64)] = []
    private var timer: (any LoopTimer)?

    init(loop: any ServerLoop, store: StoreHandle) {
        self.loop = loop
        self.store = store
    }

    /// Enters a connection that is not there; it is told by `pressureIsOver`.
    func add(_ connection: Connection) {
        waiting.append((connection, monotonicNanoseconds()))
        setTimer()
    }

    /// Whoever waits goes on.
    func removeAll() {
        timer?.cancel()
        timer = nil
        waiting = []
    }

    private func setTimer() {
        guard timer == nil, !waiting.isEmpty else { return }
        timer = loop.schedule(inMilliseconds: 1) { [weak self] in self?.look() }
    }

    private func look() {
        timer = nil
        let now = monotonicNanoseconds()
        var count = 0
        while count < waiting.count,
            !store.isPressedBySnapshot || now &- waiting[count].sinceNanoseconds >= StoreHandle.pressureNanosecondsMax
        {
            count += 1
        }
        let released = waiting.prefix(count).map(\.connection)
        waiting.removeFirst(count)
        for connection in released { connection.pressureIsOver() }
        setTimer()
    }
}
