// CONFIG SET appendonly yes and no, while all goes on.
//
//     yes   generation begins, segment opens ─▶ thread: the engine is connected under all stripes ─▶ first base
//           ─▶ it has its name: from here on the journal counts (KedisPersistence/Journal/JournalGeneration.swift)
//     no    nothing of it is wanted ─▶ thread: the engine is disconnected under all stripes ─▶ last sync ─▶ closed
//
// Who sets directives may hold stripes (in MULTI), and always holds the configuration, so that nothing here waits for
// stripes but the threads; ``awaitEnd()`` is for afterwards.

package import KedisCommands
import KedisPersistence
import KedisStore
import KedisUtilities
import Synchronization

extension JournalKeeper {
    /// Follows what CONFIG SET has changed; nil, or what cannot be: then nothing has changed.
    package func follow(_ names: [String]) -> ConfigurationProblem? {
        if names.contains("appendonly"), let problem = followSwitch() { return problem }
        if names.contains(where: { $0 == "appendfsync" || $0.hasPrefix("journal-") }) { applyPolicy() }
        return nil
    }

    private func followSwitch() -> ConfigurationProblem? {
        guard let owner = owner.withLock({ $0 }) else { return nil }
        let state = current.withLock { ($0.journal != nil && !$0.isEnding, $0.isEnding) }
        switch (isWanted, state) {
        case (true, (false, true)): return problem("The journal is being ended, try again")
        case (true, (false, false)): return turnOn(owner)
        case (false, (true, _)): return turnOff(owner)
        default: return nil
        }
    }

    private func problem(_ text: String) -> ConfigurationProblem {
        ConfigurationProblem(name: "appendonly", reason: text)
    }

    private func turnOn(_ owner: JournalOwner) -> ConfigurationProblem? {
        place.withLock { $0 = Self.path(configuration) }
        var begun: JournalGeneration?
        do {
            try acquire()
            let generation = try JournalGeneration.begin(
                directory: directory, above: lastSequence.load(ordering: .relaxed), fileSystem: fileSystem)
            begun = generation
            awaitsBase.store(true, ordering: .releasing)
            mendedLossCount.store(lossCount.load(ordering: .relaxed), ordering: .relaxed)
            let journal = try open(after: generation.recovered, owner)
            rewrite.withLock { ($0.notBefore, $0.baseByteCount) = (0, 0) }
            current.withLock { $0 = Current(journal: journal, generation: generation) }
            // One that still goes on for an earlier journal ends soon; then it is this one's turn.
            let isClaimed = if case .started = claimRewrite() { true } else { false }
            log(.notice, "The journal begins in \(directory), and counts when it has its first base")
            let isStarted = startThread { [self] in
                connect(journal, owner)
                if isClaimed { end(attempt(journal), of: journal) }
            }
            guard !isStarted else { return nil }
            if isClaimed { rewrite.withLock { $0.startNanoseconds = nil } }
            current.withLock { $0 = Current() }
            log(.warning, "The journal cannot be begun: no memory for a thread")
        } catch {
            log(.warning, "The journal in \(directory) cannot be begun: \(error)")
        }
        if let begun { abandon(begun) }
        awaitsBase.store(false, ordering: .releasing)
        releaseLock()
        return problem("Unable to turn on AOF. Check server logs.")
    }

    private func turnOff(_ owner: JournalOwner) -> ConfigurationProblem? {
        let journal: Journal? = current.withLock { current in
            current.isEnding = true
            return current.journal
        }
        guard let journal else { return nil }
        if startThread({ [self] in finish(journal, owner) }) { return nil }
        current.withLock { $0.isEnding = false }
        return problem("There is no memory for a thread that ends the journal")
    }

    /// Until a journal that is being ended is closed. The caller holds neither stripes nor the configuration.
    package func awaitEnd() {
        while current.withLock({ $0.isEnding }) { sleepBriefly() }
    }

    private func finish(_ journal: Journal, _ owner: JournalOwner) {
        // A base that is getting its name: it counts then, and so does the journal.
        while current.withLock({ $0.isCommitting }) { sleepBriefly() }
        let engine = owner.engine()
        store.lock(.all)
        engine?.journal.connect(nil)
        store.unlock(.all)
        do {
            try journal.close()
            log(.notice, "The journal in \(directory) has ended: everything of it is on disk")
        } catch {
            log(.warning, "The end of the journal is not on disk: \(error)")
        }
        lastSequence.store(journal.appendedSequence, ordering: .relaxed)
        owner.holdsReplies(false)
        if let engine {
            engine.journal.setHoldsReplies(false)
            engine.journal.refuseWaiters(engine)
            hasFailed.store(false, ordering: .relaxed)
            engine.set(.journalFailed, to: false)
        }
        if let generation = current.withLock({ $0.generation }) { abandon(generation) }
        awaitsBase.store(false, ordering: .releasing)
        releaseLock()
        current.withLock { $0 = Current() }
    }

    /// A journal without a base: nothing of it counts, and nothing stays.
    func abandon(_ generation: JournalGeneration) {
        do {
            try generation.abandon(fileSystem: fileSystem)
            log(.warning, "The journal in \(directory) has ended before it had its first base: nothing of it stays")
        } catch {
            log(.warning, "The journal in \(directory) has no base, so a start does not read it: \(error)")
        }
    }
}
