// Whether a loop that has nothing to do waits for one event or for some: adaptive, as network cards hold interrupts
// back.
//
//      as a rule        ├ work ┼ until the first event ┼ work ┼ …
//      if more comes    ├ work ┼ 50 or 100 µs, or until many are ready ┼ work for all of them ┼ …
//
// To fall asleep and to be woken costs as much as half a command, of the loop and of its peers, once for each round.
// Clients that wait for their replies get more done when they come together: 50 connections with one command at a time
// find a tenth more throughput, and each command costs a fifth to a third less (docs/PERFORMANCE.md). Clients that have
// their own pace would only wait longer. Nothing in what they send tells one from the other, so it is tried, by all
// loops together (GatheringTrial.swift). Who is alone, or finds the loop at rest, waits for nobody.
//
// Threads: the loop's. Cost: two additions an event, a load of what the loops share a round, two clocks every 10 ms.

struct Gathering {
    /// So many events are enough to go on at once: those of half the connections. The others may wait for replies.
    private(set) var enough = 0

    private let trial: GatheringTrial
    /// Many connections kept the loop busy in its last turn.
    private var isWorthIt = false
    /// The trial's turn that runs, by its end; when the loop has seen it begin, and whether loops gather in it.
    private var turnEnd: UInt64 = 0
    private var start: (nanoseconds: UInt64, worked: UInt64) = (0, 0)
    private var isGathering = false
    private var eventCount: UInt64 = 0
    /// Sources that had events, by their places: of 64 and more, all bits are set.
    private var seen: UInt64 = 0

    private static let connectionCountMin = 8
    /// The part of its time that a loop works, in percent: with less there is time for everything.
    private static let busyPercentMin: UInt64 = 25

    init(_ trial: GatheringTrial) { self.trial = trial }

    /// How long the loop gathers before it waits for a single event; 0 when it does not.
    var nanoseconds: UInt64 {
        @inline(__always) get { isWorthIt ? trial.nanoseconds : 0 }
    }

    @inline(__always)
    mutating func noteEvent(token: UInt64) {
        eventCount &+= 1
        seen |= 1 << (token & 63)
    }

    /// To be called after each round; `worked` is what the thread ever spent on a processor.
    @inline(__always)
    mutating func endRound(nowNanoseconds now: UInt64, workedNanoseconds worked: @autoclosure () -> UInt64) {
        if trial.turnEnd != turnEnd || now >= turnEnd { endTurn(now, worked()) }
    }

    @inline(never)
    private mutating func endTurn(_ now: UInt64, _ worked: UInt64) {
        let wasWorthIt = isWorthIt
        isWorthIt = isWorthIt(now &- start.nanoseconds, worked: worked &- start.worked)
        if isWorthIt != wasWorthIt { trial.noteLoop(isWorthIt: isWorthIt) }
        enough = seen.nonzeroBitCount / 2
        // The first loop that sees it ends the turn for all.
        trial.endTurn(now)
        (turnEnd, isGathering) = (trial.turnEnd, trial.nanoseconds > 0)
        start = (now, worked)
        (eventCount, seen) = (0, 0)
    }

    /// Many connections keep the loop busy: two events at least come in the time of gathering. While it gathers, half
    /// of that will do.
    private func isWorthIt(_ elapsed: UInt64, worked: UInt64) -> Bool {
        let factor: UInt64 = isGathering ? 2 : 1
        // After a rest, what came then says nothing of what comes now.
        return elapsed < 2 * GatheringTrial.turnNanoseconds
            && factor &* worked &* 100 >= elapsed * Self.busyPercentMin
            && factor * eventCount * trial.gatherNanosecondsMax >= 2 * elapsed
            && seen.nonzeroBitCount >= Self.connectionCountMin
    }
}
