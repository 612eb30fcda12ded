// Whether a loop that has nothing to do waits for one event or for some: adaptive, as network cards hold back interrupts.
//
//      few connections, or little to do    ├ work ┼ until the first event ┼ work ┼ …
//      many connections and much to do     ├ work ┼ until some events, or 50 µs ┼ work for all of them ┼ …
//
// To fall asleep and to be woken costs the loop as much as half a command, and its peers too, once for each round. While
// many connections keep a loop busy, the next events are some microseconds away, and rounds of several events cost less
// for each: with 50 connections that send one command at a time, a fifth to a third of the processor's time, and 10 %
// more commands come through (docs/PERFORMANCE.md). Who is alone, or finds the loop at rest, waits for nobody.
//
// A decision holds for a window of 2 ms and is made from the one before. Threads: the loop's. Cost: two additions an
// event.

struct Gathering {
    /// How long the loop gathers before it waits for a single event; 0 when it does not.
    private(set) var nanoseconds: UInt64 = 0
    /// So many events are enough to go on at once: those of half the connections. The others may wait for replies.
    private(set) var enough = 0

    private var startNanoseconds: UInt64 = 0
    private var startWorked: UInt64 = 0
    private var eventCount: UInt64 = 0
    /// Sources that had events, by their places: of 64 and more, all bits are set.
    private var seen: UInt64 = 0

    private static let nanosecondsMax: UInt64 = 50_000
    /// Less is not worth an alarm of the system.
    private static let nanosecondsMin: UInt64 = 20_000
    private static let windowNanoseconds: UInt64 = 2_000_000
    /// The shares of its time that a loop works, in percent, from which on it gathers, and below which it ceases to.
    /// Gathering itself makes the share smaller.
    private static let busyShare: UInt64 = 55
    private static let restingShare: UInt64 = 40

    @inline(__always)
    mutating func noteEvent(token: UInt64) {
        eventCount &+= 1
        seen |= 1 << (token & 63)
    }

    /// To be called after each round; `worked` is what the thread ever spent on a processor.
    @inline(__always)
    mutating func endRound(nowNanoseconds now: UInt64, workedNanoseconds worked: @autoclosure () -> UInt64) {
        if now &- startNanoseconds >= Self.windowNanoseconds { endWindow(now, worked()) }
    }

    private mutating func endWindow(_ now: UInt64, _ worked: UInt64) {
        let elapsed = now &- startNanoseconds
        let limit = nanoseconds > 0 ? Self.restingShare : Self.busyShare
        // A window without rounds at its end says nothing of the next one.
        let isBusy = elapsed < 2 * Self.windowNanoseconds && (worked &- startWorked) * 100 >= elapsed * limit
        nanoseconds = isBusy && eventCount > 0 ? bestNanoseconds(interval: elapsed / eventCount) : 0
        enough = seen.nonzeroBitCount / 2
        (startNanoseconds, startWorked) = (now, worked)
        (eventCount, seen) = (0, 0)
    }

    /// Two events at least have to come meanwhile; and a connection whose next command waits for this reply must not
    /// lose more than a quarter of its turn.
    private func bestNanoseconds(interval: UInt64) -> UInt64 {
        let turn = UInt64(seen.nonzeroBitCount) * interval
        let best = min(Self.nanosecondsMax, turn / 4)
        return best >= max(Self.nanosecondsMin, 2 * interval) ? best : 0
    }
}
