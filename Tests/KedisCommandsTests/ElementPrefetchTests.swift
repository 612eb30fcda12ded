// Goal: batches load the elements ahead that their commands look for, and that changes no reply. Method: the plans of
// specs; random commands on large collections as pipelines and one by one, on engines of the same seed.

import KedisProtocol
import KedisTestSupport
import KedisUtilities
import Testing

@testable import KedisCommands

@Suite("Elements loaded ahead")
struct ElementPrefetchTests {
    @Test(
        "What a command looks for follows from its spec",
        arguments: [
            ("SADD", ElementPlan.arguments(last: 1, step: 1)), ("SISMEMBER", .arguments(last: 1, step: 32767)),
            ("HSET", .arguments(last: 2, step: 2)), ("HSETNX", .arguments(last: 2, step: 32767)),
            ("HGET", .arguments(last: 1, step: 32767)), ("HMGET", .arguments(last: 1, step: 1)),
            ("HINCRBY", .arguments(last: 2, step: 32767)), ("ZADD", .arguments(last: 1, step: 2)),
            ("ZINCRBY", .arguments(last: 1, step: 32767)), ("ZRANK", .arguments(last: 1, step: 32767)),
            ("GEOADD", .arguments(last: 1, step: 3)), ("SPOP", .random), ("ZPOPMIN", .lowest), ("ZPOPMAX", .highest),
            ("XADD", .none), ("SMOVE", .none), ("GET", .none), ("LPUSH", .none), ("PING", .none),
        ])
    func plans(name: String, plan: ElementPlan) throws {
        let table = Engine.forTest().table
        let found = Array(name.utf8).withUnsafeBytes { table.command(ByteView($0)) }
        #expect(try #require(found).pointee.elements == plan)
    }

    @Test("Pipelines on large collections give what their commands give one by one")
    func sameReplies() {
        var generator = RandomGenerator.forTest("elements loaded ahead")
        let filling = LargeCollections.filling()
        let (pipelined, single) = (TestSession(.forTest(clock: TestClock())), TestSession(.forTest(clock: TestClock())))
        #expect(pipelined.send(filling) == single.send(filling))
        for _ in 0..<400 {
            let requests = (0..<generator.next(below: 40)).map { _ in LargeCollections.request(&generator) }
            #expect(pipelined.send(Array(requests.joined())) == requests.flatMap { single.send($0) })
        }
        for request in [["SCARD", "set"], ["HLEN", "hash"], ["ZCARD", "zset"], ["DEBUG", "DIGEST"]] {
            let bytes = RespRunner.encode(request.map { Array($0.utf8) })
            #expect(pipelined.send(bytes) == single.send(bytes))
        }
    }
}

/// One collection of each kind that is loaded ahead, larger than those that are not, and small ones beside them.
private enum LargeCollections {
    private static let elementCount = 40_000

    static func filling() -> [UInt8] {
        var requests: [UInt8] = []
        for start in stride(from: 0, to: elementCount, by: 500) {
            let indices = start..<start + 500
            requests += encode(["SADD", "set"] + indices.map { "m:\($0)" })
            requests += encode(["HSET", "hash"] + indices.flatMap { ["m:\($0)", "v\($0)"] })
            requests += encode(["ZADD", "zset"] + indices.flatMap { ["\($0 * 7 % 1000)", "m:\($0)"] })
        }
        return requests
    }

    static func request(_ generator: inout RandomGenerator) -> [UInt8] {
        let member = "m:\(generator.next(below: elementCount * 3 / 2))"
        let isSmall = generator.next(below: 8) == 0
        let (set, hash, sortedSet) = isSmall ? ("s", "h", "z") : ("set", "hash", "zset")
        let score = "\(generator.next(below: 1000))"
        switch generator.next(below: 18) {
        case 0...1: return encode(["SADD", set, member, "n:\(score)"])
        case 2: return encode(["SREM", set, member])
        case 3: return encode(["SISMEMBER", set, member])
        case 4...5: return encode(["SPOP", set])
        case 6...7: return encode(["HSET", hash, member, score, "f\(score)", member])
        case 8: return encode(["HDEL", hash, member])
        case 9: return encode(["HMGET", hash, member, "f\(score)"])
        case 10: return encode(["HINCRBY", hash, "f\(score)", "1"])
        case 11...12: return encode(["ZADD", sortedSet, "XX", "CH", score, member])
        case 13: return encode(["ZADD", sortedSet, score, member])
        case 14: return encode(["ZREM", sortedSet, member])
        case 15: return encode(["ZPOPMIN", sortedSet])
        case 16: return encode(["ZPOPMAX", sortedSet, "3"])
        default: return encode(["ZRANK", sortedSet, member])
        }
    }

    private static func encode(_ words: [String]) -> [UInt8] { RespRunner.encode(words.map { Array($0.utf8) }) }
}
