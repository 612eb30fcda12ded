// How fast a snapshot is written while others work: it leaves them most of the processors' time.
//
// After each chunk the walk rests for four times the time that the chunk took, if other threads of the process were
// busy meanwhile; as long as it took, if it yields to them in any case (BackgroundThread.swift). With nobody there it
// goes as fast as it can, and also while much waits to be taken (SnapshotBacklog.swift). Pure: the caller has the
// clocks and rests. Owned by one walk.

struct SnapshotPace {
    /// Rest for so much work, and for that of a walk that yields.
    private static let restPerWork: UInt64 = 4
    private static let yieldingRestPerWork: UInt64 = 1
    /// Others are busy when they take one part in so many of one processor's time.
    private static let busyShare: UInt64 = 4
    /// A chunk that took long waited for the disk, and not for a processor.
    private static let restNanosecondsMax: UInt64 = 16_000_000

    /// When the last chunk was written, the rest after it, and what others had worked until then.
    private var writtenNanoseconds: UInt64
    private var restNanoseconds: UInt64 = 0
    private var othersNanoseconds: UInt64
    /// Whether others were busy while the last chunk was written.
    private(set) var areOthersBusy = false

    /// - Parameters:
    ///   - nowNanoseconds: of the monotonic clock.
    ///   - othersNanoseconds: what all other threads of the process ever spent on processors.
    init(nowNanoseconds: UInt64, othersNanoseconds: UInt64) {
        writtenNanoseconds = nowNanoseconds
        self.othersNanoseconds = othersNanoseconds
    }

    /// A chunk was written: how long to rest, in nanoseconds. Called again when that is over and the next was written.
    mutating func rest(
        nowNanoseconds: UInt64, othersNanoseconds: UInt64, isPressed: Bool, isYielding: Bool
    ) -> UInt64 {
        let time = nowNanoseconds > writtenNanoseconds ? nowNanoseconds - writtenNanoseconds : 0
        let work = time > restNanoseconds ? time - restNanoseconds : 0
        // What threads have worked is not counted at one moment, so the sum may be a little less than it was.
        let others = othersNanoseconds > self.othersNanoseconds ? othersNanoseconds - self.othersNanoseconds : 0
        areOthersBusy = others > time / Self.busyShare
        let isRest = !isPressed && areOthersBusy
        writtenNanoseconds = nowNanoseconds
        self.othersNanoseconds = othersNanoseconds
        let restPerWork = isYielding ? Self.yieldingRestPerWork : Self.restPerWork
        restNanoseconds = isRest ? min(work * restPerWork, Self.restNanosecondsMax) : 0
        return restNanoseconds
    }
}
