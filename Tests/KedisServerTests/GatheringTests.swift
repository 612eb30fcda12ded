// Goal: loops gather where that brings more through, and nowhere else. Method: rounds of one event each on a clock that
// is moved by hand, whose events come faster or slower while the loops gather.

#if os(Linux)

import Synchronization
import Testing

@testable import KedisServer

@Suite("When loops wait for several events")
struct GatheringTests {
    private struct Load {
        var connections: UInt64 = 50
        /// Nanoseconds from one event to the next of a loop, and while it gathers.
        var interval: UInt64 = 10_000
        var gatheredInterval: UInt64 = 9_000
        var busyPercent: UInt64 = 70
        var gatheredBusyPercent: UInt64?
    }

    /// Loops whose rounds take turns.
    private final class Loops {
        private final class Count: Sendable {
            let value = Atomic<UInt64>(0)
        }

        private struct Loop {
            var gathering: Gathering
            var next: UInt64
            var worked: UInt64 = 0
            var tokens: UInt64 = 0
        }

        private let count = Count()
        private var loops: [Loop] = []
        var now: UInt64 = 1_000_000_000

        init(_ loopCount: Int = 1) {
            let trial = GatheringTrial(loopCount: loopCount) { [count] in count.value.load(ordering: .relaxed) }
            for number in 0..<loopCount {
                // Their rounds end at different times.
                loops.append(Loop(gathering: Gathering(trial), next: now + UInt64(number) * 4_321))
            }
        }

        var nanoseconds: [UInt64] { loops.map(\.gathering.nanoseconds) }

        var enough: [Int] { loops.map(\.gathering.enough) }

        /// The statistics of the server begin anew.
        func resetStatistics() { count.value.store(0, ordering: .relaxed) }

        /// For so many milliseconds; returns for how many of them the first loop gathered. Of several loads each is one
        /// loop's.
        func run(_ loads: Load..., milliseconds: UInt64) -> UInt64 {
            let end = now + milliseconds * 1_000_000
            var gathered: UInt64 = 0
            for index in loops.indices { loops[index].next = max(loops[index].next, now + UInt64(index) * 4_321) }
            while let index = loops.indices.min(by: { loops[$0].next < loops[$1].next }), loops[index].next < end {
                let load = loads[min(index, loads.count - 1)]
                let isGathering = loops[index].gathering.nanoseconds > 0
                let interval = isGathering ? load.gatheredInterval : load.interval
                if isGathering, index == 0 { gathered += interval }
                loops[index].next += interval
                let busyPercent = isGathering ? load.gatheredBusyPercent ?? load.busyPercent : load.busyPercent
                loops[index].worked += interval * busyPercent / 100
                loops[index].tokens += 1
                count.value.wrappingAdd(1, ordering: .relaxed)
                let (now, worked) = (loops[index].next, loops[index].worked)
                loops[index].gathering.noteEvent(token: loops[index].tokens % load.connections)
                loops[index].gathering.endRound(nowNanoseconds: now, workedNanoseconds: worked)
            }
            now = end
            return gathered / 1_000_000
        }
    }

    @Test("It is kept where more comes with it")
    func isKept() {
        let loops = Loops()
        _ = loops.run(Load(), milliseconds: 200)
        #expect(loops.nanoseconds == [50_000])
        #expect(loops.enough == [25])
        // Nearly all of the time, but for the trials.
        #expect(loops.run(Load(), milliseconds: 5_000) > 4_500)
    }

    @Test("Loops gather together, and longer")
    func isShared() {
        let loops = Loops(2)
        _ = loops.run(Load(interval: 20_000, gatheredInterval: 18_000), milliseconds: 200)
        #expect(loops.nanoseconds == [100_000, 100_000])
        let gathered = loops.run(Load(interval: 20_000, gatheredInterval: 18_000), milliseconds: 5_000)
        #expect(gathered > 4_500)
    }

    @Test("What one loop gains and the other loses is no gain")
    func isOfAll() {
        let loops = Loops(2)
        let gathered = loops.run(
            Load(interval: 20_000, gatheredInterval: 18_000), Load(interval: 20_000, gatheredInterval: 22_500),
            milliseconds: 5_000)
        #expect(gathered < 300)
    }

    @Test("A loop at rest takes no part")
    func isAlone() {
        let loops = Loops(2)
        _ = loops.run(Load(), Load(connections: 1, interval: 1_000_000), milliseconds: 1_000)
        #expect(loops.nanoseconds == [50_000, 0])
    }

    @Test("Loops that work less while they gather go on with it, and one that stays behind goes on alone")
    func isKeptWithLessWork() {
        let loops = Loops(2)
        let load = Load(interval: 20_000, gatheredInterval: 18_000, busyPercent: 26, gatheredBusyPercent: 14)
        _ = loops.run(load, milliseconds: 200)
        #expect(loops.run(load, milliseconds: 5_000) > 4_500)
        #expect(loops.nanoseconds == [100_000, 100_000])
        _ = loops.run(
            Load(interval: 20_000, gatheredInterval: 18_000),
            Load(interval: 1_000_000, gatheredInterval: 1_000_000), milliseconds: 40)
        #expect(loops.nanoseconds == [50_000, 0])
    }

    @Test(
        "Where as much or less comes with it, it is tried now and then",
        arguments: [10_000, 9_800, 12_000, 26_000, 60_000] as [UInt64])
    func isNotKept(gatheredInterval: UInt64) {
        let loops = Loops()
        let gathered = loops.run(Load(gatheredInterval: gatheredInterval), milliseconds: 5_000)
        #expect(gathered > 10 && gathered < 300)
    }

    @Test("At rest, with few connections or few events it is not tried")
    func isNotTried() {
        for load in [
            Load(busyPercent: 20), Load(connections: 1), Load(connections: 7), Load(interval: 30_000),
            Load(interval: 1_000_000),
        ] {
            #expect(Loops().run(load, milliseconds: 3_000) == 0)
        }
    }

    @Test("It ends with the load, and when it brings nothing more")
    func ends() {
        let loops = Loops()
        _ = loops.run(Load(), milliseconds: 1_000)
        #expect(loops.nanoseconds[0] > 0)
        _ = loops.run(Load(busyPercent: 10), milliseconds: 30)
        #expect(loops.nanoseconds == [0])
        _ = loops.run(Load(), milliseconds: 1_000)
        #expect(loops.nanoseconds[0] > 0)
        // Half of what it takes to begin is enough to go on, until the next trial.
        _ = loops.run(Load(busyPercent: 20), milliseconds: 2_200)
        #expect(loops.nanoseconds == [0])
        _ = loops.run(Load(), milliseconds: 1_000)
        #expect(loops.nanoseconds[0] > 0)
        _ = loops.run(Load(gatheredInterval: 10_000), milliseconds: 3_000)
        #expect(loops.nanoseconds == [0])
    }

    @Test("After a pause it begins anew")
    func rests() {
        let loops = Loops()
        _ = loops.run(Load(), milliseconds: 1_000)
        loops.now += 1_000_000_000
        _ = loops.run(Load(), milliseconds: 1)
        #expect(loops.nanoseconds == [0])
    }

    @Test("Statistics that begin anew spoil a turn, no more")
    func survivesReset() {
        let loops = Loops()
        _ = loops.run(Load(), milliseconds: 1_035)
        loops.resetStatistics()
        _ = loops.run(Load(), milliseconds: 1_000)
        #expect(loops.nanoseconds == [50_000])
    }
}

#endif
