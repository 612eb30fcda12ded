// How long a sync is put off so that it serves more of those who wait for it.
//
// Clients that wait for their replies write again as soon as they have them. Without a pause they fall apart into two
// groups, one of which always comes just after a sync has begun: each sync serves half of them. So before a sync the
// journal's thread waits until about as many records are there as were under way at the last ones, at most half as
// long as a sync takes. Where that does not come about (clients that think, clients that do not wait) it is soon given
// up for a while. A client alone never waits. Where syncs are short, an event loop does them itself: waking the
// journal's thread and being woken by it costs more (docs/PERFORMANCE.md).

struct CommitGroup {
    /// Records that were synced or came meanwhile, at the last syncs.
    private var expectedCount: UInt64 = 0
    private var syncNanoseconds: UInt64 = 0
    private var missCount = 0
    private var skipCount = 0

    /// Whether an event loop may as well wait for a sync as wake somebody for it.
    var areSyncsShort: Bool { syncNanoseconds < Self.shortNanoseconds }

    private static let shortNanoseconds: UInt64 = 400_000
    private static let nanosecondsMax: UInt64 = 500_000
    private static let missCountMax = 8
    private static let skippedCount = 64

    /// For how long to put off a sync that `waitingCount` records wait for, after `waited` nanoseconds; 0 for not.
    mutating func nanosecondsToWait(waitingCount: UInt64, waited: UInt64) -> UInt64 {
        guard waitingCount > 0, skipCount == 0 else { return 0 }
        // Most of them: the last one may have gone.
        guard waitingCount < expectedCount &- expectedCount / 8 else {
            if waited > 0 { missCount = 0 }
            return 0
        }
        let limit = min(syncNanoseconds / 2, Self.nanosecondsMax)
        guard waited < limit else {
            missCount += 1
            if missCount >= Self.missCountMax {
                missCount = 0
                skipCount = Self.skippedCount
            }
            return 0
        }
        return limit - waited
    }

    /// A sync is over: for so many records, while so many came, in so many nanoseconds.
    mutating func note(syncedCount: UInt64, waitingCount: UInt64, nanoseconds: UInt64) {
        if skipCount > 0 { skipCount -= 1 }
        let observedCount = syncedCount &+ waitingCount
        expectedCount =
            observedCount > expectedCount ? observedCount : expectedCount &- (expectedCount &- observedCount) / 8
        syncNanoseconds = (3 * syncNanoseconds &+ nanoseconds) / 4
    }
}
