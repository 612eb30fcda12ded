// Goal: a batch that locks for each command by itself gives what a whole one gives, whatever others do meanwhile.
// Method: random pipelines in both ways, on engines of the same seed; threads that count on the same keys while one of
// them switches notifications on and off, so that batches are left in the middle.

import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@testable import KedisCommands

@Suite("Split batches")
struct SplitBatchTests {
    @Test("Pipelines give the same replies and counts, split and whole")
    func sameReplies() throws {
        var generator = RandomGenerator.forTest("split batches")
        let (splitEngine, wholeEngine) = (Engine.forTest(clock: TestClock()), Engine.forTest(clock: TestClock()))
        var split = Session(engine: splitEngine), whole = Session(engine: wholeEngine)
        for _ in 0..<400 {
            split.batch.splitCount = 100
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
                session.batch.splitCount = 100
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

    @Test("A session that splits tries the whole again some time, and a batch of one stripe is never split")
    func splitting() {
        let engine = Engine.forTest()
        var session = Session(engine: engine)
        let pipeline = (0..<16).flatMap { Self.encode(["SET", "key:\($0)", "x"]) }
        _ = Self.send(pipeline, to: &session)
        #expect(session.batch.splitCount == 0)
        session.batch.splitCount = 2
        _ = Self.send(pipeline, to: &session)
        #expect(session.batch.splitCount == 1)
        _ = Self.send((0..<16).flatMap { _ in Self.encode(["INCR", "one"]) }, to: &session)
        #expect(session.batch.splitCount == 1)
        _ = Self.send(pipeline, to: &session)
        #expect(session.batch.splitCount == 0)
    }

    private static func request(_ generator: inout RandomGenerator) -> [String] {
        let key = "key:\(generator.next(below: 30))"
        return switch generator.next(below: 8) {
        case 0: ["GET", key]
        case 1: ["SET", key, "\(generator.next(below: 1000))"]
        case 2: ["INCR", key]
        case 3: ["APPEND", key, "x"]
        case 4: ["LPUSH", key, "x"]
        case 5: ["DEL", key]
        case 6: ["PING"]
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
