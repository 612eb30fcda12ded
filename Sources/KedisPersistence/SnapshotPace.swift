// How fast a snapshot is written while others work: it leaves them a part of the processors' time.
//
// After each chunk the walk rests for half of the time that the chunk took, if other threads of the process were busy
// meanwhile. With nobody there it goes as fast as it can, and also while copies wait that writers are held up for.
// Pure: the caller has the clocks and rests. Owned by one walk.

struct SnapshotPace {
    /// Work for so much rest.
    private static let workPerRest: UInt64 = 2
    /// Others are busy when they take one part in so many of the time.
    private static let busyShare: UInt64 = 4
    /// A chunk that took long waited for the disk, and not for a processor.
    private static let restNanosecondsMax: UInt64 = 4_000_000

    private var endedNanoseconds: UInt64
    private var othersNanoseconds: UInt64

    /// - Parameters:
    ///   - nowNanoseconds: of the monotonic clock.
    ///   - othersNanoseconds: what all other threads of the process ever spent on processors.
    init(nowNanoseconds: UInt64, othersNanoseconds: UInt64) {
        endedNanoseconds = nowNanoseconds
        self.othersNanoseconds = othersNanoseconds
    }

    /// A chunk was written: how long to rest, in nanoseconds. Called again when that is over and the next was written.
    mutating func rest(nowNanoseconds: UInt64, othersNanoseconds: UInt64, isPressed: Bool) -> UInt64 {
        let work = nowNanoseconds > endedNanoseconds ? nowNanoseconds - endedNanoseconds : 0
        let others = othersNanoseconds &- self.othersNanoseconds
        self.othersNanoseconds = othersNanoseconds
        let isRest = !isPressed && others > work / Self.busyShare
        let rest = isRest ? min(work / Self.workPerRest, Self.restNanosecondsMax) : 0
        endedNanoseconds = nowNanoseconds + rest
        return rest
    }
}
