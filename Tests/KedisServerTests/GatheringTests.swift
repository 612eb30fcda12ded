// Goal: a loop gathers where that brings more through, and nowhere else. Method: rounds of one event each on a clock
// that is moved by hand, whose events come faster or slower while it gathers.

#if os(Linux)

import Testing

@testable import KedisServer

@Suite("When a loop waits for several events")
struct GatheringTests {
    private struct Load {
        var connections: UInt64 = 50
        /// Nanoseconds from one event to the next, and while the loop gathers.
        var interval: UInt64 = 10_000
        var gatheredInterval: UInt64 = 9_000
        var busyPercent: UInt64 = 70
    }

    private struct Loop {
        var gathering = Gathering()
        var now: UInt64 = 1_000_000_000
        var worked: UInt64 = 0
        var eventCount: UInt64 = 0

        /// For so many milliseconds; returns for how many of them it gathered.
        mutating func run(_ load: Load, milliseconds: UInt64) -> UInt64 {
            let end = now + milliseconds * 1_000_000
            var gathered: UInt64 = 0
            while now < end {
                let interval = gathering.nanoseconds > 0 ? load.gatheredInterval : load.interval
                if gathering.nanoseconds > 0 { gathered += interval }
                now += interval
                worked += interval * load.busyPercent / 100
                eventCount += 1
                gathering.noteEvent(token: eventCount % load.connections)
                gathering.endRound(nowNanoseconds: now, workedNanoseconds: worked)
            }
            return gathered / 1_000_000
        }
    }

    @Test("It is kept where more comes with it")
    func isKept() {
        var loop = Loop()
        _ = loop.run(Load(), milliseconds: 200)
        #expect(loop.gathering.nanoseconds == 50_000)
        #expect(loop.gathering.enough == 25)
        // Nearly all of the time, but for the trials.
        #expect(loop.run(Load(), milliseconds: 5_000) > 4_500)
    }

    @Test(
        "Where as much or less comes with it, it is tried now and then",
        arguments: [10_000, 9_800, 12_000, 26_000, 60_000] as [UInt64])
    func isNotKept(gatheredInterval: UInt64) {
        var loop = Loop()
        let gathered = loop.run(Load(gatheredInterval: gatheredInterval), milliseconds: 5_000)
        #expect(gathered > 10 && gathered < 300)
    }

    @Test("At rest, with few connections or few events it is not tried")
    func isNotTried() {
        for load in [
            Load(busyPercent: 30), Load(connections: 1), Load(connections: 7), Load(interval: 30_000),
            Load(interval: 1_000_000),
        ] {
            var loop = Loop()
            #expect(loop.run(load, milliseconds: 3_000) == 0)
        }
    }

    @Test("It ends with the load, and when it brings nothing more")
    func ends() {
        var loop = Loop()
        _ = loop.run(Load(), milliseconds: 1_000)
        #expect(loop.gathering.nanoseconds > 0)
        _ = loop.run(Load(busyPercent: 15), milliseconds: 30)
        #expect(loop.gathering.nanoseconds == 0)
        _ = loop.run(Load(), milliseconds: 1_000)
        #expect(loop.gathering.nanoseconds > 0)
        // Half of what it takes to begin is enough to go on, until the next trial.
        _ = loop.run(Load(busyPercent: 30), milliseconds: 2_200)
        #expect(loop.gathering.nanoseconds == 0)
        _ = loop.run(Load(), milliseconds: 1_000)
        #expect(loop.gathering.nanoseconds > 0)
        _ = loop.run(Load(gatheredInterval: 10_000), milliseconds: 3_000)
        #expect(loop.gathering.nanoseconds == 0)
    }

    @Test("After a pause it begins anew")
    func rests() {
        var loop = Loop()
        _ = loop.run(Load(), milliseconds: 1_000)
        loop.now += 1_000_000_000
        _ = loop.run(Load(), milliseconds: 1)
        #expect(loop.gathering.nanoseconds == 0)
    }
}

#endif
