// Goal: a batch that is executed in parts gives what a whole one gives, whatever others do meanwhile. Method: random
// pipelines on engines of the same seed, while somebody locks stripes of one of them for moments; threads that count on
// the same keys while one of them switches notifications on and off, so that batches are left in the middle; a stripe
// that is held until it was seen what was executed without it.

import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

@testable import KedisCommands

@Suite("Split batches")
struct SplitBatchTests {
    @Test("Pipelines give the same replies and counts, in parts and whole")
    func sameReplies() throws {
        var generator = RandomGenerator.forTest("split batches")
        let (splitEngine, wholeEngine) = (Engine.forTest(clock: TestClock()), Engine.forTest(clock: TestClock()))
        var split = Session(engine: splitEngine), whole = Session(engine: wholeEngine)
        let disturber = Disturber(splitEngine)
        defer { disturber.stop() }
        for _ in 0..<400 {
            let count = generator.next(below: 40)
            let bytes = (0..<count).flatMap { _ in Self.encode(Self.request(&generator)) }
            #expect(Self.send(bytes, to: &split) == Self.send(bytes, to: &whole))
            #expect(split.batch.count == 0)
        }
        for request in [["DEBUG", "DIGEST"], ["DBSIZE"]] {
            #expect(Self.send(Self.encode(request), to: &split) == Self.send(Self.encode(request), to: &whole))
        }
        #expect(Self.calls(&split) == Self.calls(&whole))
    }

    @Test("What threads count on the same keys is all there, while notifications come and go")
    func nothingIsLost() {
        let engine = Engine.forTest()
        let failures = Failures()
        let (threadCount, roundCount) = (4, 400)
        onThreads(threadCount) { thread in
            var session = Session(engine: engine)
            let requests = (0..<16).flatMap { Self.encode(["INCR", "counter:\($0)"]) }
            for round in 0..<roundCount {
                if thread == 0 {
                    let classes = round % 2 == 0 ? "KEA" : ""
                    _ = Self.send(Self.encode(["CONFIG", "SET", "notify-keyspace-events", classes]), to: &session)
                }
                let replies = Self.send(requests, to: &session)
                if replies.count(where: { $0 == UInt8(ascii: ":") }) != 16 { failures.add("a reply is missing") }
            }
        }
        var session = Session(engine: engine)
        for index in 0..<16 {
            let reply = Self.send(Self.encode(["GET", "counter:\(index)"]), to: &session)
            if reply != Array("$4\r\n\(threadCount * roundCount)\r\n".utf8) { failures.add("increments were lost") }
        }
        failures.check()
    }

    @Test("What comes before a held stripe is executed, what comes behind it waits")
    func parts() {
        let engine = Engine.forTest(clock: TestClock())
        let store = engine.store.handle
        // Of 16 keys in different stripes the sixth is held.
        var keys: [String] = []
        var stripes = StripeSet()
        var number = 0
        while keys.count < 16 {
            let stripe = Self.stripe("key:\(number)", store)
            if stripe.subtracting(stripes) == stripe { keys.append("key:\(number)") }
            stripes.formUnion(stripe)
            number += 1
        }
        let held = Self.stripe(keys[5], store)
        var session = Session(engine: engine)
        _ = Self.send(Self.encode(["CONFIG", "SET", "hotkeys-sampling-percentage", "100"]), to: &session)
        func isExecuted(_ count: Int) -> Bool { Self.calls(&session).contains("cmdstat_set:calls=\(count)") }
        store.lock(held)
        let sender = TestThread { [keys] in
            var session = Session(engine: engine)
            let replies = Self.send(keys.flatMap { Self.encode(["SET", $0, "x"]) }, to: &session)
            #expect(replies == (0..<16).flatMap { _ in Array("+OK\r\n".utf8) })
        }
        for _ in 0..<20_000 where !isExecuted(5) { TestFiles.sleep(milliseconds: 1) }
        #expect(isExecuted(5))
        store.unlock(held)
        sender.join()
        #expect(isExecuted(16))
        // Each key was in the sample, once, when the window of the report is over.
        let report = engine.observability.hotKeys.report(nowMilliseconds: engine.clock.wallMilliseconds + 15_000)
        #expect(report.sampleCount == 16)
        #expect(Set(report.entries.map(\.key)).isSubset(of: keys.map { Array($0.utf8) }))
        #expect(Set(report.entries.map(\.key)).count == report.entries.count)
        #expect(Self.send(Self.encode(["EXISTS"] + keys), to: &session) == Array(":16\r\n".utf8))
    }

    /// Locks some stripes of an engine for a moment, and others for the next.
    private final class Disturber: Sendable {
        private let isOver = Atomic<Bool>(false)
        private let thread: Mutex<TestThread?> = Mutex(nil)

        init(_ engine: Engine) {
            let store = engine.store.handle
            thread.withLock { thread in
                thread = TestThread { [self] in
                    var generator = RandomGenerator.forTest("stripes that are held")
                    while !isOver.load(ordering: .relaxed) {
                        let stripes = StripeSet(mask: generator.next() & generator.next())
                        store.lock(stripes)
                        for _ in 0..<generator.next(below: 2_000) where isOver.load(ordering: .relaxed) { break }
                        store.unlock(stripes)
                    }
                }
            }
        }

        func stop() {
            isOver.store(true, ordering: .relaxed)
            thread.withLock { $0 }?.join()
        }
    }

    private static func stripe(_ key: String, _ store: StoreHandle) -> StripeSet {
        var result = StripeSet()
        Array(key.utf8).withUnsafeBytes { result.insert(Key(ByteView($0), seed: store.seed).stripeIndex) }
        return result
    }

    private static func request(_ generator: inout RandomGenerator) -> [String] {
        let key = "key:\(generator.next(below: 30))"
        return switch generator.next(below: 10) {
        case 0: ["GET", key]
        case 1: ["SET", key, "\(generator.next(below: 1000))"]
        case 2: ["INCR", key]
        case 3: ["APPEND", key, "x"]
        case 4: ["LPUSH", key, "x"]
        case 5: ["DEL", key]
        case 6: ["PING"]
        case 7: ["MGET", key, "key:\(generator.next(below: 30))", key]
        case 8: ["EXISTS", key, key, "key:\(generator.next(below: 30))"]
        default: ["EXISTS", key]
        }
    }

    private static func encode(_ request: [String]) -> [UInt8] { RespRunner.encode(request.map { Array($0.utf8) }) }

    private static func send(_ bytes: [UInt8], to session: inout Session) -> [UInt8] {
        bytes.withUnsafeBytes { session.receive($0) }
        defer { session.output.removeAll() }
        return Array(session.output.bytes.buffer)
    }

    /// How often each command was called, without what it took.
    private static func calls(_ session: inout Session) -> [String] {
        let text = String(decoding: send(encode(["INFO", "commandstats"]), to: &session), as: UTF8.self)
        return text.split(whereSeparator: \.isNewline).map { String($0.prefix { $0 != "," }) }
            .filter { $0.hasPrefix("cmdstat_") }.sorted()
    }
}
