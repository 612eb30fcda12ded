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
            holdsReplies: { [gate] in gate.setOn($0) },
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
