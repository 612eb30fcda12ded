// Goal: what is measured is what happened: every call is counted, percentiles are those of all durations, what was slow
// is found in pipelines too. Method: distributions beside sorted arrays, and sessions on a clock that moves as the test
// says.

import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

@testable import KedisCommands

/// An engine whose monotonic clock goes on by a step with every look.
private func engine(stepNanoseconds: UInt64) -> Engine {
    let time = Time(step: stepNanoseconds)
    let clock = EngineClock(wallMicroseconds: { 1_800_000_000_000_000 }, monotonicNanoseconds: { time.next() })
    return Engine(store: Store(seed: HashSeed(1, 2)), clock: clock, seed: 3)
}

private final class Time: Sendable {
    private let now = Atomic<UInt64>(0)
    private let step: UInt64

    init(step: UInt64) { self.step = step }

    func next() -> UInt64 { now.wrappingAdd(step, ordering: .relaxed).newValue }
}

private func requests(_ lines: [String]) -> [UInt8] { Array(lines.map { $0 + "\r\n" }.joined().utf8) }

private func pipeline(_ lines: [String]) -> [UInt8] {
    lines.flatMap { RespRunner.encode($0.split(separator: " ").map { Array($0.utf8) }) }
}

@Suite("Durations of commands")
struct LatencyTests {
    @Test("Percentiles are those of the sorted durations, to the width of a bucket")
    func percentiles() {
        var generator = RandomGenerator.forTest("percentiles")
        var distribution = LatencyDistribution()
        var all: [UInt64] = []
        for _ in 0..<5000 {
            let value = generator.next() >> UInt64(28 + generator.next(below: 36))
            distribution.add(value)
            all.append(value)
        }
        all.sort()
        for percentile in [0.1, 1, 25, 50, 90, 99, 99.9, 100] {
            let rank = max(1, Int((percentile / 100 * 5000).rounded()))
            let exact = LogLinear.highest(ofBucket: LogLinear.bucket(of: all[rank - 1]))
            #expect(distribution.nanoseconds(atPercentile: percentile) == exact)
        }
        #expect(distribution.nanoseconds(atPercentile: 0) == LogLinear.lowest(ofBucket: LogLinear.bucket(of: all[0])))
        for (bound, count) in zip(
            LatencyDistribution.doublingNanoseconds, distribution.countsOfDoublings(scaledTo: 5000))
        {
            #expect(count == UInt64(all.filter { $0 < bound }.count))
        }
        #expect(LatencyDistribution().nanoseconds(atPercentile: 50) == 0)
    }

    @Test("Scaled to more calls than were measured, a distribution keeps its shape and ends with all of them")
    func scaling() {
        var distribution = LatencyDistribution()
        for _ in 0..<30 { distribution.add(1500) }
        for _ in 0..<10 { distribution.add(1_000_000) }
        let bounds = distribution.doublings(scaledTo: 400)
        #expect(bounds.map(\.count) == [300, 400])
        #expect(distribution.doublings(scaledTo: .max).last?.count == .max)
    }

    @Test("Every call of a pipeline is counted once, whichever way it was timed")
    func counts() {
        let engine = Engine.forTest()
        let session = TestSession(engine)
        var generator = RandomGenerator.forTest("timed pipelines")
        var expected = ["get": 0, "set": 0, "ping": 0]
        for _ in 0..<300 {
            let lines = (0..<1 + generator.next(below: 40)).map { _ in
                ["GET a", "SET a 1", "PING"][generator.next(below: 3)]
            }
            for line in lines { expected[String(line.prefix { $0 != " " }).lowercased(), default: 0] += 1 }
            _ = session.send(pipeline(lines))
        }
        for (name, count) in expected {
            let entry = engine.table.find(fullName: ByteView(Self.static(name)))
            let identifier = entry?.pointee.identifier ?? 0
            #expect(engine.commandStatistics[identifier].calls == UInt64(count))
            #expect(engine.commandStatistics.durations(identifier).count > 0)
        }
        #expect(engine.statistics.traffic.totals.commands == UInt64(expected.values.reduce(0, +)))
    }

    private static func `static`(_ name: String) -> StaticString {
        switch name {
        case "get": "get"
        case "set": "set"
        default: "ping"
        }
    }

    @Test("Threads that count at once lose nothing")
    func threads() {
        let engine = Engine.forTest()
        onThreads(8) { _ in
            let session = TestSession(engine)
            for _ in 0..<200 { _ = session.send(pipeline(Array(repeating: "PING", count: 10))) }
        }
        let ping = engine.table.command("ping")?.pointee.identifier ?? 0
        #expect(engine.commandStatistics[ping].calls == 16_000)
        engine.commandStatistics.reset()
        #expect(engine.commandStatistics[ping].isZero)
        #expect(engine.commandStatistics.durations(ping).count == 0)
    }

    @Test("A slow command of a pipeline of equals is found, with how many there were, and the next ones one by one")
    func slowRuns() {
        // Each look at the clock is 20 ms later: a run of any length takes that long.
        let engine = engine(stepNanoseconds: 20_000_000)
        let session = TestSession(engine)
        let entries = { engine.observability.slowLog.newest(100) }
        // Batches of 16 equal commands; the first of them may be among those that are timed one by one.
        _ = session.send(pipeline(Array(repeating: "GET a", count: 16)))
        if entries().count > 1 {
            engine.observability.slowLog.reset()
            _ = session.send(pipeline(Array(repeating: "GET a", count: 16)))
        }
        #expect(entries().count == 1)
        #expect(entries().first?.arguments.last == Array("... (15 more commands of the pipeline)".utf8))
        #expect(entries().first?.microseconds == 20_000)
        engine.observability.slowLog.reset()
        _ = session.send(pipeline(Array(repeating: "GET a", count: 16)))
        #expect(entries().count == 16)
        #expect(entries().allSatisfy { $0.arguments == [Array("GET".utf8), Array("a".utf8)] })
    }

    @Test("A pipeline with a command that may take long is timed one by one")
    func unevenPipelines() {
        let engine = engine(stepNanoseconds: 20_000_000)
        let session = TestSession(engine)
        _ = session.send(pipeline(Array(repeating: "SETRANGE a 10 x", count: 8)))
        #expect(engine.observability.slowLog.count == 8)
    }

    @Test("A client that has waited is counted once, with the time of its service")
    func blockedCommands() {
        let engine = engine(stepNanoseconds: 1000)
        let waiting = TestSession(engine)
        _ = waiting.send(pipeline(["BLPOP list 0"]))
        let blpop = engine.table.command("blpop")?.pointee.identifier ?? 0
        #expect(engine.commandStatistics[blpop].calls == 0)
        _ = TestSession(engine).send(pipeline(["RPUSH list a"]))
        _ = waiting.collect()
        #expect(engine.commandStatistics[blpop].calls == 1)
        #expect(engine.commandStatistics[blpop].nanoseconds > 0)
        #expect(engine.statistics.traffic.totals.commands == 2)
    }

    @Test("The latency monitor keeps the longest of each second, 160 of them")
    func monitor() {
        let monitor = LatencyMonitor()
        monitor.note(.command, nanoseconds: 5_000_000, wallMilliseconds: 1000)
        #expect(monitor.all.isEmpty)
        monitor.nanosecondsMin.store(1_000_000, ordering: .relaxed)
        for index in 0..<1000 {
            let milliseconds = UInt64(1 + index % 5)
            monitor.note(.command, nanoseconds: milliseconds * 1_000_000, wallMilliseconds: Int64(index / 5) * 1000)
        }
        let series = monitor.series(of: .command)
        #expect(series?.samples.count == 160)
        #expect(series?.samples.allSatisfy { $0.milliseconds == 5 } == true)
        #expect(series?.samples.last?.seconds == 199)
        #expect(series?.count == 1000)
        #expect(monitor.forget(.command) && !monitor.forget(.command))
    }

    @Test("LATENCY GRAPH draws heights and ages")
    func graph() {
        let monitor = LatencyMonitor()
        monitor.nanosecondsMin.store(1, ordering: .relaxed)
        for (second, milliseconds) in [(0, 0), (3590, 110), (3595, 55), (3600, 10)] {
            monitor.note(
                .command, nanoseconds: UInt64(milliseconds) * 1_000_000 + 1, wallMilliseconds: Int64(second) * 1000)
        }
        guard let series = monitor.series(of: .command) else {
            Issue.record("no series")
            return
        }
        let text = String(decoding: LatencyGraph.draw(series, nowSeconds: 3600), as: UTF8.self)
        let rows = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        #expect(rows[0] == "command - high 110 ms, low 0 ms (all time high 110 ms)")
        #expect(rows[1] == String(repeating: "-", count: 80))
        #expect(rows[2...5] == [" #  ", " |_ ", " || ", "_||o"])
        #expect(rows[7...9] == ["1150", "h0ss", " s  "])
    }

    @Test("LATENCY DOCTOR names events, commands and what helps")
    func doctor() throws {
        let engine = engine(stepNanoseconds: 30_000_000)
        let session = TestSession(engine)
        _ = try session.call("CONFIG", "SET", "latency-monitor-threshold", "10", "slowlog-log-slower-than", "-1")
        _ = try session.call("KEYS", "*")
        guard case .bulk(let bytes) = try session.call("LATENCY", "DOCTOR") else {
            Issue.record("no text")
            return
        }
        let text = String(decoding: bytes, as: UTF8.self)
        #expect(text.contains("* command: 1 samples") || text.contains("* command: 2 samples"))
        #expect(text.contains("* keys: "))
        #expect(text.contains("The slow log is off: CONFIG SET slowlog-log-slower-than 10000"))
    }
}
