// A snapshot of a store that has a journal: what it says of it, and that it is not ahead of it.
//
//     instant:   all stripes locked; the journal's last record is that of the snapshot        mark
//     then:      the snapshot is written and synced
//     at last:   the journal is on disk up to the mark ─▶ the snapshot gets its name
//
// So a start finds a snapshot ahead of the journal only where the disk did not take the journal: then the snapshot has
// what the journal lacks. Values; any thread.

import KedisUtilities

/// What a save asks whoever has the journal.
package struct SnapshotJournal: Sendable {
    /// The one that is written; nil without one. Asked at the instant, with all stripes locked.
    package var journal: @Sendable () -> Journal?
    /// Called before the snapshot takes the place of what is there.
    package var willReplace: @Sendable () throws(SystemError) -> Void

    package init(
        journal: @escaping @Sendable () -> Journal?, willReplace: @escaping @Sendable () throws(SystemError) -> Void
    ) {
        self.journal = journal
        self.willReplace = willReplace
    }
}

/// The journal at the instant of a snapshot.
struct SnapshotJournalInstant {
    private let asked: SnapshotJournal?
    private let journal: Journal?
    private(set) var mark: JournalMark?

    init(_ asked: SnapshotJournal?) {
        self.asked = asked
        journal = asked?.journal()
        mark = journal.map { JournalMark(identifierText: $0.identifierText, sequence: $0.appendedSequence) }
    }

    /// Returns when the snapshot may take its name: the journal has on disk what the snapshot has, or cannot have it.
    func prepareCommit() throws(SystemError) {
        if let journal, let mark {
            while journal.durableSequence < mark.sequence, !journal.isFailed, !journal.hasEnded {
                journal.requestSyncNow()
                sleepBriefly()
            }
        }
        try asked?.willReplace()
    }
}
