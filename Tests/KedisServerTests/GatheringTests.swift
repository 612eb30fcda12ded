#if os(Linux)

import Testing

@testable import KedisServer

@Suite("When a loop waits for several events")
struct GatheringTests {
    /// Rounds of one event each, `interval` nanoseconds apart, of so many connections in turns, for some windows.
    private func gathering(
        connections: UInt64, interval: UInt64, busyPercent: UInt64, from gathering: Gathering = Gathering(),
        startNanoseconds start: UInt64 = 1_000_000_000
    ) -> Gathering {
        var gathering = gathering
        for index in 0..<10_000_000 / interval {
            gathering.noteEvent(token: index % connections)
            let elapsed = (index + 1) * interval
            // What the thread has worked so far goes on from one call to the next.
            let worked = start + elapsed * busyPercent / 100
            gathering.endRound(nowNanoseconds: start + elapsed, workedNanoseconds: worked)
        }
        return gathering
    }

    @Test("Many connections that keep it busy are gathered, those of half of them at once")
    func isBusy() {
        let gathering = gathering(connections: 50, interval: 10_000, busyPercent: 70)
        #expect(gathering.nanoseconds == 50_000)
        #expect(gathering.enough == 25)
    }

    @Test(
        "Nobody waits where the loop is at rest, alone with a few, or events are seldom",
        arguments: [(50, 10_000, 50), (1, 10_000, 90), (4, 10_000, 90), (50, 30_000, 90), (1000, 1_000_000, 90)]
            as [(UInt64, UInt64, UInt64)])
    func isNotWorthIt(connections: UInt64, interval: UInt64, busyPercent: UInt64) {
        let gathering = gathering(connections: connections, interval: interval, busyPercent: busyPercent)
        #expect(gathering.nanoseconds == 0)
    }

    @Test("A turn of few connections is made longer by a quarter at most")
    func followsTurns() {
        let gathering = gathering(connections: 16, interval: 8_000, busyPercent: 70)
        #expect(gathering.nanoseconds == 16 * 8_000 / 4)
        #expect(gathering.enough == 8)
    }

    @Test("It goes on where gathering itself leaves less work, and ends when the load does")
    func ends() {
        let busy = gathering(connections: 50, interval: 10_000, busyPercent: 70)
        let less = gathering(
            connections: 50, interval: 10_000, busyPercent: 45, from: busy, startNanoseconds: 1_010_000_000)
        #expect(less.nanoseconds == 50_000)
        let little = gathering(
            connections: 50, interval: 10_000, busyPercent: 35, from: busy, startNanoseconds: 1_010_000_000)
        #expect(little.nanoseconds == 0)
    }

    @Test("After a rest it begins anew")
    func rests() {
        var gathering = gathering(connections: 50, interval: 10_000, busyPercent: 70)
        gathering.noteEvent(token: 1)
        gathering.endRound(nowNanoseconds: 5_000_000_000, workedNanoseconds: 4_900_000_000)
        #expect(gathering.nanoseconds == 0)
    }
}

#endif
