// Whether a loop that has nothing to do waits for one event or for some: adaptive, as network cards hold interrupts
// back.
//
//      as a rule        ├ work ┼ until the first event ┼ work ┼ …
//      if more comes    ├ work ┼ 50 µs, or until many are ready ┼ work for all of them ┼ …
//
// To fall asleep and to be woken costs as much as half a command, of the loop and of its peers, once for each round.
// Clients that wait for their replies get more done when they come together: 50 connections with one command at a time
// find a tenth more throughput, and each command costs a fifth to a third less (docs/PERFORMANCE.md). Clients that have
// their own pace would only wait longer. Nothing in what they send tells one from the other, so it is tried: while many
// connections keep a loop busy, 80 ms with and without gathering, in turns of 10 ms. If more came with it, it is kept,
// for 2 s, and tried again. Who is alone, or finds the loop at rest, waits for nobody.
//
// Threads: the loop's. Cost: two additions an event, and two clocks every 10 ms.

struct Gathering {
    /// How long the loop gathers before it waits for a single event; 0 when it does not.
    private(set) var nanoseconds: UInt64 = 0
    /// So many events are enough to go on at once: those of half the connections. The others may wait for replies.
    private(set) var enough = 0

    /// The turn that runs.
    private var start: (nanoseconds: UInt64, worked: UInt64) = (0, 0)
    private var eventCount: UInt64 = 0
    /// Sources that had events, by their places: of 64 and more, all bits are set.
    private var seen: UInt64 = 0

    private var phase = Phase.resting
    /// What the last trial has said.
    private var isKept = false
    /// What came a second in the last turn with gathering; and, for each pair of turns, how much that was of what came
    /// without, in thousandths.
    private var gatheredRate: UInt64 = 0
    private var shares: [UInt64] = []

    private enum Phase {
        case resting
        /// In so many more turns.
        case trying(UInt64)
        case decided(UInt64)
    }

    private static let gatherNanoseconds: UInt64 = 50_000
    private static let turnNanoseconds: UInt64 = 10_000_000
    private static let trialTurnCount: UInt64 = 16
    private static let decidedTurnCount: UInt64 = 200
    private static let connectionCountMin = 8
    /// The part of its time that a loop works, in percent: with less there is time for everything.
    private static let busyPercentMin: UInt64 = 40
    /// More than chance: the median share from which on gathering is kept, and goes on to be.
    private static let shareMin: UInt64 = 1040
    private static let keptShareMin: UInt64 = 1020

    @inline(__always)
    mutating func noteEvent(token: UInt64) {
        eventCount &+= 1
        seen |= 1 << (token & 63)
    }

    /// To be called after each round; `worked` is what the thread ever spent on a processor.
    @inline(__always)
    mutating func endRound(nowNanoseconds now: UInt64, workedNanoseconds worked: @autoclosure () -> UInt64) {
        if now &- start.nanoseconds >= Self.turnNanoseconds { endTurn(now, worked()) }
    }

    private mutating func endTurn(_ now: UInt64, _ worked: UInt64) {
        let elapsed = now &- start.nanoseconds
        if isWorthIt(elapsed, worked: worked &- start.worked) {
            goOn(elapsed)
        } else {
            // Where gathering itself has made it not worth it, a new trial at once would not end.
            phase = nanoseconds > 0 ? .decided(Self.decidedTurnCount) : .resting
            (isKept, nanoseconds) = (false, 0)
        }
        enough = seen.nonzeroBitCount / 2
        start = (now, worked)
        (eventCount, seen) = (0, 0)
    }

    /// Many connections keep the loop busy: two events at least come in the time of gathering. While it gathers, half
    /// of that will do.
    private func isWorthIt(_ elapsed: UInt64, worked: UInt64) -> Bool {
        let factor: UInt64 = nanoseconds > 0 ? 2 : 1
        // After a rest, what came then says nothing of what comes now.
        return elapsed < 2 * Self.turnNanoseconds && factor &* worked &* 100 >= elapsed * Self.busyPercentMin
            && factor * eventCount * Self.gatherNanoseconds >= 2 * elapsed
            && seen.nonzeroBitCount >= Self.connectionCountMin
    }

    private mutating func goOn(_ elapsed: UInt64) {
        switch phase {
        case .resting: beginTrial()
        case .trying(let left):
            note(elapsed)
            guard left == 1 else { return goOnTrying(turnCount: left - 1) }
            isKept = hasGained
            phase = .decided(Self.decidedTurnCount)
            nanoseconds = isKept ? Self.gatherNanoseconds : 0
        case .decided(let left):
            guard left == 1 else { return phase = .decided(left - 1) }
            beginTrial()
        }
    }

    private mutating func beginTrial() {
        shares.removeAll(keepingCapacity: true)
        goOnTrying(turnCount: Self.trialTurnCount)
    }

    private mutating func goOnTrying(turnCount: UInt64) {
        phase = .trying(turnCount)
        nanoseconds = turnCount % 2 == 0 ? Self.gatherNanoseconds : 0
    }

    private mutating func note(_ elapsed: UInt64) {
        let rate = eventCount * 1_000_000_000 / elapsed
        if nanoseconds > 0 { gatheredRate = rate } else { shares.append(gatheredRate * 1000 / max(1, rate)) }
    }

    /// The median: other work on the machine disturbs some turns much, and the others not at all.
    private var hasGained: Bool {
        shares.sorted()[shares.count / 2] >= (isKept ? Self.keptShareMin : Self.shareMin)
    }
}
