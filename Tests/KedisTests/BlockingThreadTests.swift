// Goal: with producers, consumers, movers and meddlers on many threads every element is delivered exactly once, none is
// lost, and nobody stays blocked while there is data. Method: threads that really block, in the library.

import Kedis
import KedisTestSupport
import Synchronization
import Testing

@Suite("Blocking on many threads")
struct BlockingThreadTests {
    /// What the threads have seen.
    private final class Seen: Sendable {
        let counts: [Counter]
        let consumed = Atomic<Int>(0)
        let errors = Atomic<Int>(0)

        init(_ count: Int) { counts = (0..<count).map { _ in Counter() } }

        func note(_ reply: Reply?) {
            guard case .bulk(let bytes)? = reply, let index = Int(String(decoding: bytes, as: UTF8.self)),
                counts.indices.contains(index)
            else {
                errors.add(1, ordering: .relaxed)
                return
            }
            counts[index].value.add(1, ordering: .relaxed)
            consumed.add(1, ordering: .relaxed)
        }
    }

    private final class Counter: Sendable {
        let value = Atomic<Int>(0)
    }

    /// Numbers that a seed repeats, one sequence for each thread (SplitMix64).
    private struct Steps {
        private var state: UInt64

        init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 }

        mutating func below(_ bound: Int) -> Int {
            state &+= 0x9E37_79B9_7F4A_7C15
            var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
            return Int(truncatingIfNeeded: (mixed ^ (mixed >> 31)) >> 1) % bound
        }
    }

    @Test("Every element is delivered once, whatever clients block on and however waits end")
    func exactlyOnce() throws {
        let database = KedisDatabase()
        let elementCount = 12_000, producerCount = 3, consumerCount = 8, moverCount = 2
        let seen = Seen(elementCount)
        let queues = (0..<5).map { "queue:\($0)" }
        let seed = UInt64.random(in: 0 ... .max)
        print("blocking threads: seed \(seed)")
        let isOver: @Sendable () -> Bool = { seen.consumed.load(ordering: .relaxed) >= elementCount }
        onThreads(producerCount + consumerCount + moverCount + 1) { index in
            let connection = database.connect()
            var random = Steps(seed: seed &+ UInt64(index))
            if index < producerCount {
                var next = index
                while next < elementCount {
                    var words = [random.below(2) == 0 ? "LPUSH" : "RPUSH", queues[random.below(queues.count)]]
                    for _ in 0...random.below(3) where next < elementCount {
                        words.append("\(next)")
                        next += producerCount
                    }
                    _ = connection.execute(words.map { Array($0.utf8) })
                }
            } else if index < producerCount + consumerCount {
                while !isOver() {
                    let first = queues[random.below(queues.count)], second = queues[random.below(queues.count)]
                    let timeout = ["0.001", "0.01", "0.3"][random.below(3)]
                    let words = random.below(2) == 0
                        ? ["BLPOP", first, second, timeout] : ["BRPOP", first, timeout]
                    let reply = connection.execute(words.map { Array($0.utf8) })
                    switch reply {
                    case .array(let pair) where pair.count == 2: seen.note(pair[1])
                    case .null, .nullArray: continue
                    case .error(let text) where text.starts(with: "UNBLOCKED".utf8): continue
                    default: seen.errors.add(1, ordering: .relaxed)
                    }
                }
            } else if index < producerCount + consumerCount + moverCount {
                while !isOver() {
                    let first = queues[random.below(queues.count)], second = queues[random.below(queues.count)]
                    if case .error(let text) = connection.execute("BLMOVE", first, second, "LEFT", "RIGHT", "0.01"),
                        !text.starts(with: "UNBLOCKED".utf8)
                    {
                        seen.errors.add(1, ordering: .relaxed)
                    }
                }
            } else {
                while !isOver() {
                    let reason = ["ERROR", "TIMEOUT"][random.below(2)]
                    _ = connection.execute("CLIENT", "UNBLOCK", "\(1 + random.below(14))", reason)
                }
            }
        }
        #expect(seen.errors.load(ordering: .relaxed) == 0)
        #expect(seen.counts.allSatisfy { $0.value.load(ordering: .relaxed) == 1 })
        #expect(database.execute("DBSIZE") == .integer(0))
        #expect(blockedCount(database) == 0)
    }

    @Test("Nobody stays blocked while there is data: as many waits without end as elements")
    func nobodyStaysBlocked() throws {
        let database = KedisDatabase()
        let roundCount = 2_000, pairCount = 4
        let seen = Seen(roundCount * pairCount)
        onThreads(2 * pairCount) { index in
            let connection = database.connect()
            for round in 0..<roundCount {
                if index < pairCount {
                    // Any of the queues: whoever waits waits for all of them.
                    _ = connection.execute("RPUSH", "queue:\((round + index) % 7)", "\(index * roundCount + round)")
                } else {
                    let keys = (0..<7).map { "queue:\(($0 + index) % 7)" }
                    let reply = connection.execute((["BLPOP"] + keys + ["0"]).map { Array($0.utf8) })
                    guard case .array(let pair) = reply, pair.count == 2 else {
                        seen.errors.add(1, ordering: .relaxed)
                        continue
                    }
                    seen.note(pair[1])
                }
            }
        }
        #expect(seen.errors.load(ordering: .relaxed) == 0)
        #expect(seen.counts.allSatisfy { $0.value.load(ordering: .relaxed) == 1 })
    }

    @Test("A connection that waits again and again is woken each time")
    func wokenEachTime() throws {
        let database = KedisDatabase()
        let roundCount = 20
        let (served, waited) = (Counter(), Counter())
        let start = ContinuousClock.now
        onThreads(2) { index in
            let connection = database.connect()
            for round in 0..<roundCount {
                if index == 0 {
                    let reply = connection.execute("BLPOP", "list", "5")
                    if case .array(let pair) = reply, pair.last == .bulk(Array("\(round)".utf8)) {
                        served.value.add(1, ordering: .relaxed)
                    }
                    waited.value.add(1, ordering: .relaxed)
                } else {
                    // Only when the other one waits, in this round.
                    while waited.value.load(ordering: .relaxed) <= round {
                        if waited.value.load(ordering: .relaxed) == round, blockedCount(database) > 0 { break }
                    }
                    _ = connection.execute("RPUSH", "list", "\(round)")
                }
            }
        }
        #expect(served.value.load(ordering: .relaxed) == roundCount)
        // Who is not woken finds the element when its time is up.
        #expect(start.duration(to: .now) < .seconds(5 * roundCount / 2))
    }

    @Test("close() ends the waits of other threads")
    func close() throws {
        let database = KedisDatabase()
        let ended = Counter()
        onThreads(5) { index in
            if index < 4 {
                let reply = database.execute("BLPOP", "never", "0")
                if case .error(let text) = reply, text == Array("ERR the database is closed".utf8) {
                    ended.value.add(1, ordering: .relaxed)
                }
            } else {
                while blockedCount(database) < 3 {}
                try? database.close()
            }
        }
        #expect(ended.value.load(ordering: .relaxed) == 4)
    }

    @Test("A wait ends with its timeout, and not earlier")
    func timeout() throws {
        let connection = KedisDatabase().connect()
        let clock = ContinuousClock()
        for (timeout, milliseconds) in [("0.001", 1), ("0.02", 20), ("0.1", 100)] {
            let elapsed = clock.measure {
                #expect([.null, .nullArray].contains(connection.execute("BLPOP", "never", timeout)))
            }
            #expect(elapsed >= .milliseconds(milliseconds))
            #expect(elapsed < .milliseconds(milliseconds + 1_000))
        }
    }
}

private func blockedCount(_ database: KedisDatabase) -> Int {
    guard case .bulk(let text) = database.execute("INFO", "clients") else { return -1 }
    let lines = String(decoding: text, as: UTF8.self).split(separator: "\r\n")
    let line = lines.first { $0.hasPrefix("blocked_clients:") }
    return line.flatMap { Int($0.dropFirst("blocked_clients:".count)) } ?? -1
}
