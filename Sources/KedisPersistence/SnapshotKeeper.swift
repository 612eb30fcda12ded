// Who saves, when it was saved last, and how that went: what SAVE, BGSAVE, LASTSAVE, INFO, the save rules and
// shutdown ask.
//
// Ownership: the composition root owns one for each store. Threads: any; one mutex guards the record, never held during
// a save. Invariant: at most one save at a time, whoever asks. Background saves run on a thread of their own, one
// after another.

package import KedisStore
import KedisUtilities

/// Where and how to save.
package struct SnapshotRequest: Sendable {
    package var path: String
    package var options: SnapshotOptions
    package var journal: SnapshotJournal?

    package init(path: String, options: SnapshotOptions = SnapshotOptions(), journal: SnapshotJournal? = nil) {
        self.path = path
        self.options = options
        self.journal = journal
    }
}

/// What became of a wish to save.
package enum SaveOutcome: Sendable, Equatable {
    case saved(SnapshotSummary)
    case failed(SnapshotError)
    /// Another save is going on.
    case busy
}

/// What is known of saves. Times are milliseconds since 1970.
package struct SnapshotStatus: Sendable {
    /// When the last good save was, or the start of the server (LASTSAVE).
    package var lastSaveMilliseconds: Int64
    /// Whether the last attempt succeeded, true before the first.
    package var lastAttemptSucceeded = true
    package var lastError: SnapshotError?
    package var lastAttemptMilliseconds: Int64 = 0
    /// Of the last background save; nil before the first.
    package var lastBackgroundDurationMilliseconds: Int64?
    /// Since when a save runs, nil when none does.
    package var currentSaveStartMilliseconds: Int64?
    package var isSavingInBackground = false
    /// The store's count of changes that the last good save has.
    package var changesAtLastSave: UInt64 = 0
    /// Good saves since the start.
    package var saveCount = 0
    package var lastSummary: SnapshotSummary?
    /// Of the current save; zeros without one.
    package var processedKeyCount = 0
    package var totalKeyCount = 0

    package var isSaving: Bool { currentSaveStartMilliseconds != nil }
}

package final class SnapshotKeeper: Sendable {
    /// After a failure the rules wait so long before they try again.
    package static let retryDelaySeconds: Int64 = 5

    private let store: Store
    private let fileSystem: FileSystem
    private let state: Locked<SnapshotStatus>
    private let progress = SnapshotProgress()

    /// Makes the record of a store that is as it was loaded: what it holds counts as saved.
    package init(store: Store, fileSystem: FileSystem = .system, nowMilliseconds: Int64) {
        self.store = store
        self.fileSystem = fileSystem
        var status = SnapshotStatus(lastSaveMilliseconds: nowMilliseconds)
        status.changesAtLastSave = store.statistics().changes
        state = Locked(status)
    }

    package var status: SnapshotStatus {
        var status = state.withLock { $0 }
        if status.isSavingInBackground {
            status.processedKeyCount = progress.processedKeyCount
            status.totalKeyCount = progress.totalKeyCount
        }
        return status
    }

    /// Declares the store saved as it is: after loading. Locks like `Store.statistics(held:)`.
    package func noteLoaded(held: StripeSet = StripeSet(), nowMilliseconds: Int64) {
        let changes = store.statistics(held: held).changes
        state.withLock {
            $0.changesAtLastSave = changes
            $0.lastSaveMilliseconds = nowMilliseconds
        }
    }

    /// The changes that no save has. Locks like `Store.statistics(held:)`.
    package func unsavedChanges(held: StripeSet = StripeSet()) -> UInt64 {
        let changes = store.statistics(held: held).changes
        return state.withLock { changes > $0.changesAtLastSave ? changes - $0.changesAtLastSave : 0 }
    }

    /// Whether `rules` ask for a save now, and none runs, and the last one did not fail just before.
    package func isSaveDue(_ rules: SaveRules, nowMilliseconds: Int64) -> Bool {
        if rules.rules.isEmpty { return false }
        let status = status
        guard !status.isSaving else { return false }
        let sinceAttempt = secondsBetween(status.lastAttemptMilliseconds, nowMilliseconds)
        guard status.lastAttemptSucceeded || sinceAttempt > Self.retryDelaySeconds else { return false }
        let sinceSave = secondsBetween(status.lastSaveMilliseconds, nowMilliseconds)
        return rules.isDue(changes: unsavedChanges(), secondsSinceLastSave: sinceSave)
    }

    private func secondsBetween(_ earlier: Int64, _ later: Int64) -> Int64 {
        let (difference, overflow) = later.subtractingReportingOverflow(earlier)
        return overflow ? 0 : difference / 1000
    }

    // MARK: Saving

    /// Saves now, on this thread; writers wait. `held` is empty or `.all`.
    package func save(
        _ request: SnapshotRequest, held: StripeSet = StripeSet(), nowMilliseconds: Int64
    ) -> SaveOutcome {
        guard begin(inBackground: false, nowMilliseconds: nowMilliseconds) else { return .busy }
        let outcome = attempt { () throws(SnapshotError) in
            try saveSnapshot(
                of: store, held: held, to: request.path, options: request.options, nowMilliseconds: nowMilliseconds,
                fileSystem: fileSystem, journal: request.journal
            )
        }
        end(outcome, nowMilliseconds: nowMilliseconds)
        return outcome
    }

    /// Starts a save on a thread of its own and returns nil, or why it did not start: `.busy` while another one runs,
    /// `.failed` when the system has no thread. `preparation` is called on the new thread first, `completion` there
    /// when the save is over, with what became of it. The caller may hold stripes: the save waits for them.
    package func saveInBackground(
        _ request: SnapshotRequest, nowMilliseconds: Int64,
        completion: @escaping @Sendable (SaveOutcome) -> Void = { _ in }, preparation: (@Sendable () -> Void)? = nil
    ) -> SaveOutcome? {
        guard begin(inBackground: true, nowMilliseconds: nowMilliseconds) else { return .busy }
        let isStarted = startThread { [self] in
            preparation?()
            let outcome = attempt { () throws(SnapshotError) in
                try saveSnapshotInBackground(
                    of: store, to: request.path, options: request.options, nowMilliseconds: nowMilliseconds,
                    fileSystem: fileSystem, journal: request.journal, progress: progress
                )
            }
            end(outcome, nowMilliseconds: nowMilliseconds)
            completion(outcome)
        }
        guard !isStarted else { return nil }
        let failure = SaveOutcome.failed(.outOfMemory(path: request.path))
        end(failure, nowMilliseconds: nowMilliseconds)
        return failure
    }

    /// Waits until no save runs: before a last save at shutdown. Polls, because that comes once.
    package func waitUntilIdle() {
        while status.isSaving { sleepBriefly() }
    }

    private func attempt(_ body: () throws(SnapshotError) -> SnapshotSummary) -> SaveOutcome {
        do {
            return .saved(try body())
        } catch {
            return .failed(error)
        }
    }

    private func begin(inBackground: Bool, nowMilliseconds: Int64) -> Bool {
        state.withLock { status in
            guard !status.isSaving else { return false }
            status.currentSaveStartMilliseconds = nowMilliseconds
            status.isSavingInBackground = inBackground
            status.lastAttemptMilliseconds = nowMilliseconds
            return true
        }
    }

    private func end(_ outcome: SaveOutcome, nowMilliseconds: Int64) {
        state.withLock { status in
            switch outcome {
            case .saved(let summary):
                status.lastAttemptSucceeded = true
                status.lastError = nil
                status.lastSaveMilliseconds = nowMilliseconds
                status.changesAtLastSave = summary.changes
                status.saveCount += 1
                status.lastSummary = summary
                if status.isSavingInBackground {
                    status.lastBackgroundDurationMilliseconds = summary.durationMilliseconds
                }
            case .failed(let error):
                status.lastAttemptSucceeded = false
                status.lastError = error
            case .busy: break
            }
            status.currentSaveStartMilliseconds = nil
            status.isSavingInBackground = false
        }
    }
}
