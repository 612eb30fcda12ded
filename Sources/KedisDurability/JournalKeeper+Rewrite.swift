// The journal begun anew: a new base snapshot in the background, and what it makes needless goes.

package import KedisCommands
import KedisPersistence
import KedisStore
import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What became of a new base.
enum JournalRewriteResult {
    case made(SnapshotSummary)
    /// The journal was ended meanwhile.
    case unwanted
    case failed(SnapshotError)
}

extension JournalKeeper {
    private static let retryNanoseconds: UInt64 = 60_000_000_000
    /// Small segments behind the base, from programs that open a store often and briefly.
    private static let smallSegmentCountMax = 64

    /// Once a second: begins the journal anew when it has grown, or lost a record, or has no base yet.
    package func rewriteWhenDue() {
        guard let journal, !journal.isFailed else { return }
        let state = rewrite.withLock { $0 }
        guard state.startNanoseconds == nil else { return }
        if hasHole {
            log(.warning, "The journal has lost a record for want of memory: it begins anew")
            return _ = startRewrite()
        }
        guard monotonicNanoseconds() >= state.notBefore else { return }
        if current.withLock({ $0.generation != nil }) { return _ = startRewrite() }
        guard let reason = reasonToRewrite(journal.status, state) else { return }
        log(.notice, "The journal \(reason): it begins anew")
        _ = startRewrite()
    }

    private func reasonToRewrite(_ status: JournalStatus, _ state: Rewrite) -> String? {
        let percentage = configuration.integer("auto-aof-rewrite-percentage")
        guard percentage > 0 else { return nil }
        let byteCount = status.byteCountSinceBase
        if byteCount >= max(1, configuration.integer("auto-aof-rewrite-min-size")),
            byteCount / max(1, percentage) >= state.baseByteCount / 100
        {
            return "has grown to \(byteCount) bytes behind its base"
        }
        let count = status.segmentCountSinceBase
        let isScattered =
            count > Self.smallSegmentCountMax
            && byteCount / count < configuration.integer("journal-segment-size") / 8
        return isScattered ? "has \(count) small files behind its base" : nil
    }

    /// BGREWRITEAOF
    package func startRewrite() -> BackgroundSaveStart {
        guard let journal else { return .failed("there is no journal: appendonly is no") }
        // Its first base is on its way.
        guard current.withLock({ $0.isConnected }) else { return .busy }
        let start = claimRewrite()
        guard case .started = start else { return start }
        log(.notice, "Background append only file rewriting started")
        guard startThread({ [self] in end(attempt(journal), of: journal) }) else {
            end(.failed(.outOfMemory(path: directory)), of: journal)
            return .failed("no memory for a thread")
        }
        return .started
    }

    /// One rewrite at a time.
    func claimRewrite() -> BackgroundSaveStart {
        rewrite.withLock { state in
            guard state.startNanoseconds == nil else { return .busy }
            state.startNanoseconds = monotonicNanoseconds()
            return .started
        }
    }

    /// A new base, and what it makes needless goes.
    func attempt(_ journal: Journal) -> JournalRewriteResult {
        guard current.withLock({ $0.journal === journal && $0.isConnected }) else { return .unwanted }
        do {
            var mended = 0
            let (summary, base) = try saveJournalBase(
                of: store, behind: journal, directory: directory, options: snapshotOptions,
                fileSystem: fileSystem, atInstant: { mended = lossCount.load(ordering: .relaxed) },
                isWanted: { [self] in self.journal === journal }, mayCommit: { beginCommitting(journal) })
            mendedLossCount.store(mended, ordering: .relaxed)
            endCommitting(journal, hasBase: true)
            removeOld(journal, base: base)
            return .made(summary)
        } catch {
            endCommitting(journal, hasBase: false)
            return self.journal === journal ? .failed(error) : .unwanted
        }
    }

    /// From here on the base counts, unless the disk fails: who wants to end the journal waits. False when it has been
    /// ended.
    private func beginCommitting(_ journal: Journal) -> Bool {
        current.withLock { current in
            guard current.journal === journal, !current.isEnding else { return false }
            current.isCommitting = true
            return true
        }
    }

    private func endCommitting(_ journal: Journal, hasBase: Bool) {
        let awaited: JournalGeneration? = current.withLock { current in
            guard current.journal === journal else { return nil }
            current.isCommitting = false
            guard hasBase else { return nil }
            defer { current.generation = nil }
            return current.generation
        }
        guard let awaited else { return }
        do {
            try awaited.finish(fileSystem: fileSystem)
        } catch {
            log(.warning, "Files of an earlier journal stay until the next start: \(error)")
        }
        // Now what is on disk counts.
        awaitsBase.store(false, ordering: .releasing)
        owner.withLock { $0 }?.hasAdvanced(journal.durableSequence)
    }

    private func removeOld(_ journal: Journal, base: UInt64) {
        do {
            try removeJournalFiles(before: base, of: journal, directory: directory, fileSystem: fileSystem)
        } catch {
            log(.warning, "Files of the journal that are needless stay: \(error)")
        }
    }

    func end(_ result: JournalRewriteResult, of journal: Journal) {
        rewrite.withLock { state in
            let start = state.startNanoseconds ?? 0
            state.lastSeconds = Int64((monotonicNanoseconds() &- start) / 1_000_000_000)
            state.startNanoseconds = nil
            switch result {
            case .made(let summary):
                (state.lastSucceeded, state.failureCount) = (true, 0)
                state.count += 1
                state.baseByteCount = summary.byteCount
            case .failed:
                state.lastSucceeded = false
                state.failureCount += 1
                state.notBefore = monotonicNanoseconds() &+ Self.retryNanoseconds
            case .unwanted: break
            }
        }
        switch result {
        case .made(let summary):
            log(.notice, "The journal has a new base: \(summary.keyCount) keys, \(summary.byteCount) bytes")
        case .failed(let error): log(.warning, "The journal gets no new base: \(error)")
        case .unwanted: log(.notice, "The journal was ended before its new base was written")
        }
    }
}
