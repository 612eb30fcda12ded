// What may be told: with `appendfsync always` nothing leaves before what it is about is on disk.
//
//   reply, message ─▶ is its last record on disk? ─ yes ─▶ the client
//                         └ no ─▶ waits (a loop's connections, a program's thread or task) ─▶ noteDurable ─▶ the client
//
// Ownership: a server's or a database's. Threads: any. Cost without `always`: a load of a flag; with it, of a sequence.

package import KedisPersistence
import KedisStore
package import KedisUtilities
package import Synchronization

package final class DurabilityGate: Sendable {
    /// Whether anything waits at all.
    package let isOn = Atomic<Bool>(false)
    private let durableSequence = Atomic<UInt64>(0)
    private let state = Locked(State())

    private struct State {
        var journal: Journal?
        var waiting: [Waiting] = []
    }

    /// Somebody who wants to be told that a record is on disk.
    private struct Waiting {
        var sequence: UInt64
        /// What can be taken back; nil where that is of no use.
        var signal: WakeSignal?
        var tell: @Sendable () -> Void
    }

    /// Nobody is to be kept waiting by a disk that takes nothing.
    private static let lookNanoseconds: UInt64 = 50_000_000

    package init() {}

    package func connect(_ journal: Journal) {
        durableSequence.store(journal.durableSequence, ordering: .releasing)
        state.withLock { $0.journal = journal }
    }

    /// Records up to this one are on disk.
    package func noteDurable(_ sequence: UInt64) {
        durableSequence.store(sequence, ordering: .sequentiallyConsistent)
        release { $0.sequence <= sequence }
    }

    /// From now on things wait, or none does any more.
    package func setOn(_ isOn: Bool) {
        self.isOn.store(isOn, ordering: .sequentiallyConsistent)
        // Who waits in a thread wants what is on disk, whatever may be told.
        if !isOn { release { $0.signal == nil } }
    }

    private func release(_ isDue: (Waiting) -> Bool) {
        let due = state.withLock { state in
            let due = state.waiting.filter(isDue)
            if !due.isEmpty { state.waiting.removeAll(where: isDue) }
            return due
        }
        for one in due { one.tell() }
    }

    /// Whether what the records up to `sequence` are about may be told: they are on disk, or nothing waits.
    package func isDurable(_ sequence: UInt64) -> Bool { isOnDisk(sequence) || !isOn.load(ordering: .relaxed) }

    package func isOnDisk(_ sequence: UInt64) -> Bool {
        sequence <= durableSequence.load(ordering: .sequentiallyConsistent)
    }

    // MARK: Waiting

    /// Before the replies of a round: syncs here, if that is short.
    package func syncHere() { state.withLock { $0.journal }?.syncHere() }

    package func requestSync() { state.withLock { $0.journal }?.requestSync() }

    /// Has `tell` called once, by any thread, perhaps before this returns, when the records up to `sequence` may be
    /// told of. Does not wait.
    package func whenDurable(_ sequence: UInt64, _ tell: @escaping @Sendable () -> Void) {
        state.withLock { $0.waiting.append(Waiting(sequence: sequence, signal: nil, tell: tell)) }
        requestSync()
        // It may have come to disk between the look and the entry.
        if isDurable(sequence) { release { $0.signal == nil && isDurable($0.sequence) } }
    }

    /// Returns when the records up to `sequence` are on disk, whatever else may be told: nil, or why they are not.
    package func wait(for sequence: UInt64, _ signal: WakeSignal) -> String? {
        guard !isOnDisk(sequence), let journal = state.withLock({ $0.journal }) else { return nil }
        journal.syncHere()
        defer { state.withLock { state in state.waiting.removeAll { $0.signal === signal } } }
        while !isOnDisk(sequence) {
            if let failure = journal.failure { return failure }
            // Whoever ends the journal puts all on disk, or tells that it failed.
            guard !journal.hasEnded else { return isOnDisk(sequence) ? nil : "the journal was closed" }
            state.withLock { state in
                guard !state.waiting.contains(where: { $0.signal === signal }) else { return }
                state.waiting.append(Waiting(sequence: sequence, signal: signal) { signal.signal() })
            }
            journal.requestSyncNow()
            if isOnDisk(sequence) { break }
            signal.wait(nanosecondsMax: Self.lookNanoseconds)
        }
        return nil
    }
}
