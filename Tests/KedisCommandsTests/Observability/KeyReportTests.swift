// Goal: the hottest and the biggest keys are found while serving, whatever the number of the others, and memory for
// them is bounded. Method: skewed accesses beside exact counts.

import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@testable import KedisCommands

extension Engine {
    fileprivate func withKey<Result>(_ name: String, _ body: (Key) -> Result) -> Result {
        let bytes = Array(name.utf8)
        return bytes.withUnsafeBytes { body(store.key(ByteView($0))) }
    }
}

@Suite("Hot and big keys")
struct KeyReportTests {
    @Test("Keys that have more than their share are named in order, among a million others")
    func hotKeys() {
        let engine = Engine.forTest()
        let hotKeys = HotKeys()
        hotKeys.limit(topCount: 8, interval: 1, windowMilliseconds: 1000)
        var generator = RandomGenerator.forTest("hot keys")
        var exact: [String: Int] = [:]
        for _ in 0..<50_000 {
            // One access in two goes to ten keys, the first of them most often.
            let isHot = generator.next(below: 2) == 0
            let rank = min(generator.next(below: 10), generator.next(below: 10))
            let name = isHot ? "hot:\(rank)" : "cold:\(generator.next(below: 1_000_000))"
            exact[name, default: 0] += 1
            engine.withKey(name) { hotKeys.note($0, databaseIndex: 0, nowMilliseconds: 5000) }
        }
        let report = hotKeys.report(nowMilliseconds: 6000)
        #expect(report.sampleCount == 50_000)
        #expect(report.entries.count == 8)
        for (index, entry) in report.entries.prefix(5).enumerated() {
            let name = String(decoding: entry.key, as: UTF8.self)
            #expect(name == "hot:\(index)")
            #expect(entry.accessesPerSecond <= exact[name, default: 0])
            #expect(entry.accessesPerSecond > exact[name, default: 0] * 8 / 10)
        }
        #expect(hotKeys.report(nowMilliseconds: 8000).entries.isEmpty)
    }

    @Test("Sampled, rates are those of all accesses, and short sessions count as long ones do")
    func sampling() throws {
        let clock = TestClock()
        let engine = Engine.forTest(clock: clock)
        let requests = RespRunner.encode(["GET", "a"].map { Array($0.utf8) })
        for _ in 0..<20_000 { _ = TestSession(engine).send(requests) }
        let long = TestSession(engine)
        for _ in 0..<2_000 { _ = long.send(requests + requests + requests + requests + requests) }
        clock.advance(microseconds: 11_000_000)
        let report = engine.observability.hotKeys.report(nowMilliseconds: clock.nowMicroseconds / 1000)
        let rate = report.entries.first?.accessesPerSecond ?? 0
        // 30,000 accesses in 10 seconds, of which one in 100 was looked at: 300 samples, and six deviations of that.
        #expect(rate > 3000 * 65 / 100 && rate < 3000 * 135 / 100, "\(rate)")
    }

    @Test("A command that waits for the end of a pause is no access yet")
    func paused() throws {
        let clock = TestClock()
        let engine = Engine.forTest(clock: clock)
        let session = TestSession(engine)
        _ = try session.call("CONFIG", "SET", "hotkeys-sampling-percentage", "100")
        _ = try session.call("CLIENT", "PAUSE", "100000", "WRITE")
        let waiting = TestSession(engine)
        let requests = [["GET", "read"], ["SET", "written", "1"]].flatMap { request in
            RespRunner.encode(request.map { Array($0.utf8) })
        }
        #expect(waiting.send(requests) == Array("$-1\r\n".utf8))
        #expect(waiting.isBlocked)
        clock.advance(microseconds: 11_000_000)
        let report = engine.observability.hotKeys.report(nowMilliseconds: clock.nowMicroseconds / 1000)
        #expect(report.entries.map { String(decoding: $0.key, as: UTF8.self) } == ["read"])
    }

    @Test("The biggest keys are kept, and those that shrink or go make room without anybody asking")
    func bigKeys() throws {
        let engine = Engine.forTest()
        let session = TestSession(engine)
        _ = try session.call("CONFIG", "SET", "bigkeys-top-k", "4", "hotkeys-sampling-percentage", "100")
        for index in 1...200 { _ = try session.call("SETRANGE", "key:\(index)", "\(index * 100)", "x") }
        func names() -> [String] {
            engine.observability.bigKeys.current(
                engine.store, nowMilliseconds: engine.clock.wallMilliseconds, held: StripeSet()
            ).map { String(decoding: $0.key, as: UTF8.self) }
        }
        #expect(names() == ["key:200", "key:199", "key:198", "key:197"])
        _ = try session.call("DEL", "key:200", "key:199", "key:198", "key:197")
        for _ in 0..<8 { engine.observability.bigKeys.refreshOne(engine.store, nowMilliseconds: 0) }
        _ = try session.call("STRLEN", "key:10")
        #expect(names() == ["key:10"])
    }

    @Test("A large value is noticed at the first command, whatever the sample")
    func largeValues() throws {
        let engine = Engine.forTest()
        let session = TestSession(engine)
        _ = try session.call("SET", "big", String(repeating: "x", count: 100_000))
        let entries = engine.observability.bigKeys.current(
            engine.store, nowMilliseconds: engine.clock.wallMilliseconds, held: StripeSet())
        #expect(entries.first?.measure.elementCount == 100_000)
        #expect(entries.first?.measure.type == .string)
    }

    @Test("Threads that note, read and change settings at once agree")
    func threads() {
        let engine = Engine.forTest()
        onThreads(8) { thread in
            let session = TestSession(engine)
            for index in 0..<300 {
                let key = "key:\(index % 17)"
                _ = try? session.call("APPEND", key, String(repeating: "x", count: 1 + index % 90))
                if index % 50 == 0 { _ = try? session.call("BIGKEYS", "GET") }
                if index % 60 == 0 { _ = try? session.call("HOTKEYS", "GET") }
                if index % 70 == 0 { _ = try? session.call("CONFIG", "SET", "bigkeys-top-k", "\(1 + thread)") }
                if index % 90 == 0 { _ = try? session.call("DEL", key) }
            }
        }
        let entries = engine.observability.bigKeys.current(
            engine.store, nowMilliseconds: engine.clock.wallMilliseconds, held: StripeSet())
        #expect(!entries.isEmpty && entries.count <= 8)
    }
}
