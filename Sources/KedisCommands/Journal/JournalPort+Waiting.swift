// Clients that wait until what they have written is on disk (WAITAOF), whatever `appendfsync` says.
//
// Threads: they enter on their event loops; whoever has synced the journal serves them.

import KedisStore
import KedisUtilities

extension JournalPort {
    /// Enters a client that waits, or serves it if its record is on disk by now.
    func register(_ waiter: Waiter, _ engine: Engine) {
        durabilityWaiters.withLock { waiters in
            // Those whose time was up, now and then.
            if waiters.count >= 64, waiters.count & (waiters.count - 1) == 0 {
                waiters.removeAll { $0.currentOutcome() != nil }
            }
            waiters.append(waiter)
        }
        // Who synced meanwhile may have looked before.
        noteDurable(engine)
    }

    /// To be called when more records are on disk: serves who waits for one of them.
    package func noteDurable(_ engine: Engine) {
        let served = durabilityWaiters.withLock { waiters -> [Waiter] in
            guard !waiters.isEmpty else { return [] }
            let sequence = durableSequence
            let due = waiters.filter { $0.durability?.sequence ?? 0 <= sequence }
            waiters.removeAll { $0.durability?.sequence ?? 0 <= sequence }
            return due
        }
        for waiter in served where waiter.serveDurable(engine) { waiter.record.wake() }
    }

    /// The journal has ended: who still waits is told what a new wait would be.
    package func refuseWaiters(_ engine: Engine) {
        let waiters = durabilityWaiters.withLock { waiters in
            defer { waiters = [] }
            return waiters
        }
        for waiter in waiters { engine.unblock(waiter.record, error: Self.noJournal) }
    }

    static var noJournal: CommandError {
        .literal("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")
    }

    /// What the end of a wait without success is answered with.
    func denied(to waiter: Waiter) -> DeniedReply {
        guard let durability = waiter.durability else { return waiter.denied }
        return .fileCounts(local: durableSequence >= durability.sequence ? 1 : 0)
    }
}
