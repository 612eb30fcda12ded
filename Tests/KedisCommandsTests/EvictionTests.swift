// Goal: with a memory limit, what the policy names goes and nothing else, and when nothing may go, commands that need memory
// are refused with the bytes of redis-server while all others work. Method: an engine on a clock that stands still, filled
// with values of a kilobyte; the limit is set relative to what is used then, so that the cost of a key does not matter.

import KedisCommands
import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

/// An engine with a session, and what was evicted from it.
private final class Evicting {
    let clock = TestClock()
    let engine: Engine
    let session: TestSession
    private let evicted = EvictedKeys()

    private final class EvictedKeys: Sendable {
        let names = Locked<[String]>([])
    }

    init(stepNanoseconds: UInt64 = 0) {
        let evicted = evicted
        let store = Store(seed: HashSeed(1, 2))
        store.observeKeyEvents { event, _, key in
            if event == .evicted { evicted.names.withLock { $0.append(key.text) } }
        }
        var engineClock = clock.engineClock
        if stepNanoseconds > 0 {
            let box = Steps()
            engineClock.monotonicNanoseconds = { box.next(stepNanoseconds) }
        }
        engine = Engine(store: store, clock: engineClock, seed: 3)
        session = TestSession(engine)
    }

    /// A monotonic clock that goes on with every look at it.
    private final class Steps: Sendable {
        private let now = Locked<UInt64>(0)

        func next(_ step: UInt64) -> UInt64 {
            now.withLock { value in
                value &+= step
                return value
            }
        }
    }

    var evictedNames: [String] { evicted.names.withLock { $0 } }

    func set(_ name: String, _ value: String) throws {
        #expect(try session.call("CONFIG", "SET", name, value) == .simple(Array("OK".utf8)), "\(name) \(value)")
    }

    static let value = String(repeating: "x", count: 1000)

    func fill(_ range: Range<Int>, deadlineSeconds: ((Int) -> Int?) = { _ in nil }) throws {
        for index in range {
            var words = ["SET", "key:\(index)", Self.value]
            if let seconds = deadlineSeconds(index) { words += ["EX", "\(seconds)"] }
            try #require(try session.call(words) == .simple(Array("OK".utf8)), "\(words[1])")
        }
    }

    /// Sets the limit to `byteCount` below what is used now.
    func limit(belowUsed byteCount: Int) throws {
        try set("maxmemory", "\(engine.store.usedByteCount - byteCount)")
    }

    func survivors(_ range: Range<Int>) throws -> Set<Int> {
        // EXISTS leaves access clocks as they are for all that matters here: nothing is evicted any more.
        var result: Set<Int> = []
        for index in range where try session.call("EXISTS", "key:\(index)") == .integer(1) { result.insert(index) }
        return result
    }
}

private let outOfMemory = Reply.error(Array("OOM command not allowed when used memory > 'maxmemory'.".utf8))
private let ok = Reply.simple(Array("OK".utf8))

@Suite("Eviction")
struct EvictionTests {
    @Test("Every policy makes room for writes, and takes only what it may",
        arguments: EvictionPolicy.allCases.filter { $0 != .noEviction })
    func makesRoom(policy: EvictionPolicy) throws {
        let test = Evicting()
        try test.set("maxmemory-policy", policy.name)
        try test.fill(0..<2000, deadlineSeconds: { $0 % 2 == 0 ? 1000 + $0 : nil })
        try test.limit(belowUsed: 0)
        let limit = test.engine.configuration.memoryByteCountMax.load(ordering: .relaxed)
        try test.fill(2000..<2500)
        #expect(test.engine.store.usedByteCount <= limit + 20_000)
        _ = try test.session.call("PING")
        #expect(test.engine.store.usedByteCount <= limit)
        let evicted = test.evictedNames
        #expect(evicted.count > 300 && evicted.count < 1000, "\(evicted.count)")
        #expect(Set(evicted).count == evicted.count)
        #expect(test.engine.store.rareStatistics().evicted == UInt64(evicted.count))
        let survivors = try test.survivors(0..<2500)
        #expect(survivors.count == 2500 - evicted.count)
        if policy.isVolatile {
            #expect(evicted.allSatisfy { Int($0.dropFirst(4)).map { $0 < 2000 && $0 % 2 == 0 } ?? false })
        }
        test.engine.store.checkInvariants()
    }

    @Test("LRU keeps what was used last", arguments: [EvictionPolicy.allKeysLRU, .volatileLRU])
    func recentlyUsed(policy: EvictionPolicy) throws {
        let test = Evicting()
        try test.set("maxmemory-policy", policy.name)
        try test.fill(0..<2000, deadlineSeconds: { _ in 1_000_000 })
        test.clock.advance(microseconds: 1000 * 1_000_000)
        for index in 0..<500 { _ = try test.session.call("GET", "key:\(index)") }
        try expectHalfGoes(test, keeping: 0..<500)
    }

    /// Halves the memory for 2000 keys: about half of them go, but hardly any of those in `kept`.
    private func expectHalfGoes(_ test: Evicting, keeping kept: Range<Int>) throws {
        try test.limit(belowUsed: 1_000_000)
        _ = try test.session.call("PING")
        let survivors = try test.survivors(0..<2000)
        #expect(survivors.count > 900 && survivors.count < 1100, "\(survivors.count)")
        let keptCount = survivors.count { kept.contains($0) }
        #expect(keptCount >= kept.count * 9 / 10, "\(keptCount)")
    }

    @Test("LFU keeps what is used often, not what was used last", arguments: [EvictionPolicy.allKeysLFU, .volatileLFU])
    func frequentlyUsed(policy: EvictionPolicy) throws {
        let test = Evicting()
        try test.set("maxmemory-policy", policy.name)
        try test.fill(0..<2000, deadlineSeconds: { _ in 1_000_000 })
        for _ in 0..<200 {
            for index in 0..<500 { _ = try test.session.call("GET", "key:\(index)") }
        }
        test.clock.advance(microseconds: 10 * 1_000_000)
        for index in 500..<2000 { _ = try test.session.call("GET", "key:\(index)") }
        guard case .integer(let often)? = try test.session.call("OBJECT", "FREQ", "key:0"),
            case .integer(let seldom)? = try test.session.call("OBJECT", "FREQ", "key:1000")
        else {
            Issue.record("no frequency")
            return
        }
        #expect(often > seldom)
        try expectHalfGoes(test, keeping: 0..<500)
    }

    @Test("volatile-ttl takes the nearest deadlines")
    func nearestDeadline() throws {
        let test = Evicting()
        try test.set("maxmemory-policy", "volatile-ttl")
        try test.fill(0..<2000, deadlineSeconds: { 1000 + 10 * $0 })
        try test.fill(2000..<2200)
        try test.limit(belowUsed: 600_000)
        _ = try test.session.call("PING")
        let evicted = test.evictedNames.compactMap { Int($0.dropFirst(4)) }
        #expect(evicted.count > 450)
        #expect(evicted.allSatisfy { $0 < 2000 })
        #expect(evicted.count { $0 < 1000 } * 100 >= evicted.count * 85)
    }

    @Test("Random policies prefer nobody", arguments: [EvictionPolicy.allKeysRandom, .volatileRandom])
    func random(policy: EvictionPolicy) throws {
        let test = Evicting()
        try test.set("maxmemory-policy", policy.name)
        try test.fill(0..<2000, deadlineSeconds: { _ in 1_000_000 })
        test.clock.advance(microseconds: 1000 * 1_000_000)
        for index in 0..<1000 { _ = try test.session.call("GET", "key:\(index)") }
        try test.limit(belowUsed: 1_000_000)
        _ = try test.session.call("PING")
        let used = try test.survivors(0..<2000).count { $0 < 1000 }
        #expect(used > 400 && used < 600, "\(used)")
    }

    @Test("Without eviction what needs memory is refused with Redis's error, all else works, and DEL helps at once")
    func refusal() throws {
        let test = Evicting()
        try test.fill(0..<100)
        try test.limit(belowUsed: 500)
        let bytes = test.session.send(encodeRequest(["SET", "new", "value"].map { Array($0.utf8) }))
        #expect(String(decoding: bytes, as: UTF8.self) == "-OOM command not allowed when used memory > 'maxmemory'.\r\n")
        for words in [
            ["APPEND", "key:1", "x"], ["INCR", "n"], ["MSET", "a", "1"], ["SETRANGE", "key:1", "0", "y"],
            ["COPY", "key:1", "copy"], ["GETSET", "key:1", "z"],
        ] {
            #expect(try test.session.call(words) == outOfMemory, "\(words)")
        }
        #expect(try test.session.call("GET", "key:1") == .bulk(Array(Evicting.value.utf8)))
        #expect(try test.session.call("EXPIRE", "key:1", "1000") == .integer(1))
        #expect(try test.session.call("RENAME", "key:1", "key:x") == ok)
        // The first deadline brought a wheel, which takes more than a key.
        #expect(try test.session.call(["DEL"] + (10..<40).map { "key:\($0)" }) == .integer(30))
        #expect(try test.session.call("SET", "new", "value") == ok)
        #expect(test.evictedNames.isEmpty)
    }

    @Test("A policy for keys with deadlines refuses when none has one, and takes the only one that does")
    func noCandidate() throws {
        let test = Evicting()
        try test.set("maxmemory-policy", "volatile-lru")
        try test.fill(0..<100)
        try test.limit(belowUsed: 500)
        #expect(try test.session.call("SET", "new", "value") == outOfMemory)
        #expect(try test.session.call("EXPIRE", "key:7", "100") == .integer(1))
        try test.limit(belowUsed: 500)
        #expect(try test.session.call("SET", "new", "value") == ok)
        #expect(test.evictedNames == ["key:7"])
        #expect(try test.session.call("GET", "key:7") == .null)
    }

    @Test("A lower limit evicts with the next command, a higher one or none lets writes through at once")
    func changedLimit() throws {
        let test = Evicting()
        try test.fill(0..<1000)
        try test.set("maxmemory-policy", "allkeys-random")
        try test.limit(belowUsed: 500_000)
        guard case .integer(let count)? = try test.session.call("DBSIZE") else { return }
        #expect(count > 400 && count < 600, "\(count)")
        try test.set("maxmemory-policy", "noeviction")
        try test.limit(belowUsed: 500)
        #expect(try test.session.call("SET", "new", "value") == outOfMemory)
        try test.set("maxmemory", "0")
        #expect(try test.session.call("SET", "new", "value") == ok)
        #expect(try test.session.call("INFO", "stats").map { "\($0)".contains("evicted_keys:\(1000 - count)") } == true)
    }

    @Test("When the time is up, commands go on and the rest goes in the background")
    func tenacity() throws {
        let test = Evicting(stepNanoseconds: 1_000_000)
        try test.set("maxmemory-policy", "allkeys-lru")
        try test.fill(0..<1000)
        try test.limit(belowUsed: 500_000)
        let limit = test.engine.configuration.memoryByteCountMax.load(ordering: .relaxed)
        #expect(try test.session.call("SET", "new", "value") == ok)
        #expect(test.engine.store.usedByteCount > limit)
        #expect((1..<50).contains(test.evictedNames.count))
        var sliceCount = 0
        while test.engine.evictInBackground(nanosecondsMax: 500_000), sliceCount < 1000 { sliceCount += 1 }
        #expect(sliceCount > 10)
        #expect(test.engine.store.usedByteCount <= limit)
        #expect(!test.engine.evictInBackground(nanosecondsMax: 500_000))
    }

    @Test("The tenacity grows by 50 microseconds up to 10, then by 15 %, to no end at 100")
    func tenacityTimes() throws {
        let test = Evicting()
        for (tenacity, nanoseconds) in [(0, 0), (1, 50_000), (10, 500_000), (11, 575_000), (12, 661_250)] {
            try test.set("maxmemory-eviction-tenacity", "\(tenacity)")
            let found = test.engine.configuration.evictionNanosecondsMax.load(ordering: .relaxed)
            #expect(found / 1000 == UInt64(nanoseconds) / 1000)
        }
        try test.set("maxmemory-eviction-tenacity", "100")
        #expect(test.engine.configuration.evictionNanosecondsMax.load(ordering: .relaxed) == .max)
    }

    @Test("In a pipeline the limit holds from the command after CONFIG SET on, for batched commands and others")
    func pipeline() throws {
        let test = Evicting()
        try test.fill(0..<10)
        let requests = [
            ["SET", "a", "1"], ["SET", "b", "1"], ["CONFIG", "SET", "maxmemory", "1"], ["SET", "a", "2"], ["GET", "a"],
            ["MSET", "c", "1", "d", "2"], ["GET", "b"], ["CONFIG", "SET", "maxmemory", "0"], ["MSET", "c", "1"],
            ["GET", "c"],
        ]
        let replies = test.session.send(requests.flatMap { encodeRequest($0.map { Array($0.utf8) }) })
        let refusal = "-OOM command not allowed when used memory > 'maxmemory'.\r\n"
        #expect(
            String(decoding: replies, as: UTF8.self)
                == "+OK\r\n+OK\r\n+OK\r\n\(refusal)$1\r\n1\r\n\(refusal)$1\r\n1\r\n+OK\r\n+OK\r\n$1\r\n1\r\n")
    }

    @Test("A write in a pipeline is not refused for memory that the commands before it free",
        arguments: ["UNLINK", "GETDEL", "DEL"])
    func freedInPipeline(command: String) throws {
        let test = Evicting()
        try test.fill(0..<100)
        try test.limit(belowUsed: 5000)
        let requests =
            [["SET", "a", "1"]] + (0..<10).map { [command, "key:\($0)"] } + [["SET", "a", "2"], ["GET", "a"]]
        let text = String(
            decoding: test.session.send(requests.flatMap { encodeRequest($0.map { Array($0.utf8) }) }), as: UTF8.self)
        #expect(text.hasPrefix("-OOM command not allowed when used memory > 'maxmemory'.\r\n"))
        #expect(text.hasSuffix("+OK\r\n$1\r\n2\r\n"), "\(text.suffix(80))")
        #expect(try test.session.call("EXISTS", "key:9", "key:10") == .integer(1))
    }

    @Test("EXPLAIN shows the check that refuses")
    func explain() throws {
        let test = Evicting()
        try test.fill(0..<10)
        try test.set("maxmemory", "1")
        let reply = try test.session.call("EXPLAIN", "SET", "a", "b")
        let text = reply.map { "\($0)" } ?? ""
        #expect(text.contains("OOM command not allowed"))
        #expect(try test.session.call("EXPLAIN", "ANALYZE", "SET", "a", "b").map { "\($0)".contains("OOM") } == true)
        #expect(try test.session.call("GET", "a") == .null)
    }

    @Test("Threads that write at the limit all make room, and the store stays whole")
    func threads() throws {
        let test = Evicting()
        try test.set("maxmemory-policy", "allkeys-lru")
        try test.fill(0..<1000)
        try test.limit(belowUsed: 0)
        let limit = test.engine.configuration.memoryByteCountMax.load(ordering: .relaxed)
        let engine = test.engine
        let box = Box()
        onThreads(4) { thread in
            let session = TestSession(engine)
            for index in 0..<500 {
                let reply = try? session.call("SET", "thread:\(thread):\(index)", Evicting.value)
                if reply != ok { box.note("\(String(describing: reply))") }
            }
        }
        #expect(box.notes.isEmpty, "\(box.notes.prefix(3))")
        #expect(engine.store.usedByteCount <= limit + 4 * 20_000)
        engine.store.checkInvariants()
    }

    private final class Box: Sendable {
        private let texts = Locked<[String]>([])

        func note(_ text: String) { texts.withLock { $0.append(text) } }

        var notes: [String] { texts.withLock { $0 } }
    }
}
