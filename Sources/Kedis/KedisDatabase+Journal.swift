// When a call of a program returns: at once, or when the journal has what it is about.
//
//   call ─▶ engine, record in memory ─▶ (always) gate ─▶ is it on disk? ─ no ─▶ syncs here, or waits for who does
//
// Threads: any. Cost without `always`: one load of a flag.

import KedisCommands
import KedisDurability
import KedisPersistence
import KedisStore
import KedisUtilities
import Synchronization

/// What is on disk, for all threads of a program.
final class DurabilityGate: Sendable {
    /// Calls wait.
    let isOn = Atomic<Bool>(false)
    private let durableSequence = Atomic<UInt64>(0)
    private let state = Locked(State())

    private struct State {
        var journal: Journal?
        var waiting: [(sequence: UInt64, signal: WakeSignal)] = []
    }

    /// Nobody is to be kept waiting by a disk that takes nothing.
    private static let lookNanoseconds: UInt64 = 50_000_000

    func connect(_ journal: Journal) {
        durableSequence.store(journal.durableSequence, ordering: .releasing)
        state.withLock { $0.journal = journal }
    }

    func noteDurable(_ sequence: UInt64) {
        durableSequence.store(sequence, ordering: .sequentiallyConsistent)
        let due = state.withLock { state in
            let due = state.waiting.filter { $0.sequence <= sequence }
            if !due.isEmpty { state.waiting.removeAll { $0.sequence <= sequence } }
            return due
        }
        for one in due { one.signal.signal() }
    }

    func isDurable(_ sequence: UInt64) -> Bool {
        sequence <= durableSequence.load(ordering: .sequentiallyConsistent)
    }

    /// Returns when the records up to `sequence` are on disk: nil, or why they are not.
    func wait(for sequence: UInt64, _ signal: WakeSignal) -> String? {
        guard !isDurable(sequence), let journal = state.withLock({ $0.journal }) else { return nil }
        journal.syncHere()
        while !isDurable(sequence) {
            if let failure = journal.failure {
                state.withLock { state in state.waiting.removeAll { $0.signal === signal } }
                return failure
            }
            // Whoever ends the journal puts all on disk, or tells that it failed.
            guard !journal.hasEnded else { return isDurable(sequence) ? nil : "the journal was closed" }
            state.withLock { state in
                if !state.waiting.contains(where: { $0.signal === signal }) { state.waiting.append((sequence, signal)) }
            }
            journal.requestSyncNow()
            if isDurable(sequence) { break }
            signal.wait(nanosecondsMax: Self.lookNanoseconds)
        }
        state.withLock { state in state.waiting.removeAll { $0.signal === signal } }
        return nil
    }
}

extension KedisDatabase {
    /// Returns when everything that was executed before, by any thread, is on disk in the journal, whatever
    /// ``Options/journal`` says. One sync serves all threads that wait. With ``Options/Journal/always`` there is
    /// nothing to wait for.
    ///
    /// - Throws: ``KedisError/journal(_:)`` when there is no journal, or the disk does not take it; the data stays in
    ///   memory, and goes to disk when it can.
    public func flush() throws(KedisError) {
        guard !lifecycle.isClosed.load(ordering: .acquiring) else { throw .closed }
        guard let keeper = files?.journal, let journal = keeper.journal else {
            throw .journal("this database has no journal")
        }
        if let problem = gate.wait(for: journal.appendedSequence, WakeSignal()) { throw .journal(problem) }
        // One that has just begun counts with its first base.
        while keeper.isAwaitingBase, keeper.journal === journal {
            guard keeper.information?.isRewriting == true || !keeper.isAwaitingBase else {
                throw .journal("the journal has no base snapshot yet")
            }
            sleepBriefly()
        }
        // Whoever ended it has put its records on disk, but without a base they do not count.
        guard keeper.journal === journal else { throw .journal("the journal was ended meanwhile") }
        guard !keeper.hasHole else {
            throw .journal("the journal has lost a record for want of memory, and has no new base yet")
        }
    }

    /// Begins the journal, where there is to be one, or to be able to, and counts what there is.
    func begin(after contents: JournalContents?) throws(KedisError) {
        guard let files else { return }
        let weak = WeakEngine(engine)
        let owner = JournalOwner(
            engine: { weak.value }, hasOpened: { [gate] in gate.connect($0) },
            holdsReplies: { [gate] in gate.isOn.store($0, ordering: .relaxed) },
            hasAdvanced: { [gate] sequence in
                gate.noteDurable(sequence)
                if let engine = weak.value { engine.journal.noteDurable(engine) }
            })
        files.journal.prepare(functions: files.functions.withLock { $0 }, owner: owner)
        if files.journal.isWanted {
            do throws(JournalProblem) {
                try files.journal.begin(after: contents?.recovered)
            } catch {
                throw .journal(error.description)
            }
            // Many small files, from many short lives.
            files.journal.rewriteWhenDue()
        }
        while engine.expireDue(limit: 64) >= 64 {}
        let now = engine.clock.wallMilliseconds
        loadedKeyCount = (0..<engine.store.databaseCount).reduce(0) {
            $0 + engine.store.keyspace($1, nowMilliseconds: now).count
        }
    }
}
