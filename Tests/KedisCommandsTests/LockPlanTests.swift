// Goal: commands on several keys are atomic, and no update is lost, whatever other threads do. Method: 8 threads with a
// session each on one engine; sums that every atomic order keeps.

import Foundation
import KedisCommands
import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

/// Runs `body` on `count` threads at once and waits for all of them.
func onThreads(_ count: Int, _ body: @escaping @Sendable (_ index: Int) -> Void) {
    let group = DispatchGroup()
    for index in 0..<count {
        group.enter()
        let thread = Thread {
            body(index)
            group.leave()
        }
        thread.stackSize = 1 << 21
        thread.start()
    }
    group.wait()
}

/// Counts what went wrong, since a thread of our own has no test to report to.
final class Failures: Sendable {
    private let messages = Locked<[String]>([])

    func add(_ message: String) {
        messages.withLock { if $0.count < 10 { $0.append(message) } }
    }

    func check() {
        for message in messages.withLock({ $0 }) { Issue.record("\(message)") }
    }
}

private func integers(_ reply: Reply?) -> [Int64?] {
    guard case .array(let elements) = reply else { return [] }
    return elements.map { element in
        guard case .bulk(let bytes) = element else { return nil }
        return bytes.withUnsafeBytes { parseInteger(ByteView($0)) }
    }
}

@Suite("The lock plan")
struct LockPlanTests {
    private static let threadCount = 8

    @Test("Two CONFIG SETs at once undid each other")
    func configurationKeepsEveryChange() {
        let configuration = Configuration()
        let names = ["timeout", "tcp-keepalive", "client-output-stall-timeout", "hz"]
        let failures = Failures()
        onThreads(names.count) { thread in
            for value in 1...300 {
                try? configuration.set([(name: names[thread], value: "\(value)")])
                let found = configuration.text(names[thread])
                if found != "\(value)" { failures.add("\(names[thread]) is \(found) instead of \(value)") }
            }
        }
        failures.check()
    }

    @Test("MSET is atomic for readers with MGET, in any order of the keys")
    func multipleSetIsAtomic() throws {
        let engine = Engine.forTest()
        let keys = (0..<12).map { "account:\($0)" }
        let total: Int64 = 1_000_000
        let setup = TestSession(engine)
        _ = try setup.call(["MSET"] + keys.flatMap { [$0, $0 == keys[0] ? "\(total)" : "0"] })
        let seed = RandomGenerator.forTest("MSET is atomic").nextSeed
        let failures = Failures()
        onThreads(Self.threadCount) { thread in
            var generator = RandomGenerator(seed: seed &+ UInt64(thread))
            let session = TestSession(engine)
            for _ in 0..<500 {
                let order = keys.shuffled(using: &generator)
                if generator.next(below: 2) == 0 {
                    var rest = total
                    var request = ["MSET"]
                    for key in order {
                        let part = key == order.last ? rest : Int64(generator.next(below: 1000))
                        rest -= part
                        request += [key, "\(part)"]
                    }
                    if (try? session.call(request)) != .simple(Array("OK".utf8)) { failures.add("MSET failed") }
                } else {
                    let sum = integers(try? session.call(["MGET"] + order)).reduce(0) { $0 + ($1 ?? .min / 100) }
                    if sum != total { failures.add("a reader saw the sum \(sum)") }
                }
            }
        }
        failures.check()
    }

    @Test("Values that RENAMENX moves about are neither lost nor doubled, and every MGET sees all of them")
    func renamesKeepEverything() throws {
        let engine = Engine.forTest()
        let places = (0..<40).map { "place:\($0)" }
        let tokens = (1...20).map { Int64($0) }
        let setup = TestSession(engine)
        _ = try setup.call(["MSET"] + tokens.flatMap { [places[Int($0)], "\($0)"] })
        let seed = RandomGenerator.forTest("renames").nextSeed
        let failures = Failures()
        let movedCount = Atomic<Int>(0)
        onThreads(Self.threadCount) { thread in
            var generator = RandomGenerator(seed: seed &+ UInt64(thread))
            let session = TestSession(engine)
            for round in 0..<1_000 {
                let source = places[generator.next(below: places.count)]
                let destination = places[generator.next(below: places.count)]
                if (try? session.call("RENAMENX", source, destination)) == .integer(1) {
                    movedCount.add(1, ordering: .relaxed)
                }
                guard round % 10 == 0 else { continue }
                let seen = integers(try? session.call(["MGET"] + places.shuffled(using: &generator)))
                if seen.compactMap({ $0 }).sorted() != tokens { failures.add("a reader saw \(seen)") }
            }
        }
        failures.check()
        #expect(movedCount.load(ordering: .relaxed) > 0)
        #expect(integers(try setup.call(["MGET"] + places)).compactMap { $0 }.sorted() == tokens)
    }

    @Test("Transfers by pipelined INCRBY keep the sum")
    func incrementsAreNotLost() throws {
        let engine = Engine.forTest()
        let accounts = (0..<16).map { "account:\($0)" }
        let seed = RandomGenerator.forTest("transfers").nextSeed
        onThreads(Self.threadCount) { thread in
            var generator = RandomGenerator(seed: seed &+ UInt64(thread))
            let session = TestSession(engine)
            for _ in 0..<300 {
                let transfers = (0..<10).flatMap { _ in
                    let amount = generator.next(below: 1000)
                    return [
                        ["INCRBY", accounts[generator.next(below: accounts.count)], "\(amount)"],
                        ["DECRBY", accounts[generator.next(below: accounts.count)], "\(amount)"],
                    ]
                }
                _ = session.send(transfers.flatMap { RespRunner.encode($0.map { Array($0.utf8) }) })
            }
        }
        let sum = integers(try TestSession(engine).call(["MGET"] + accounts)).reduce(0) { $0 + ($1 ?? 0) }
        #expect(sum == 0)
    }

    @Test("Of sessions that compete for the same keys with MSETNX and SET NX, exactly one wins each round")
    func onlyOneWins() throws {
        let engine = Engine.forTest()
        let winCount = Atomic<Int>(0)
        let roundCount = 300
        onThreads(Self.threadCount) { thread in
            let session = TestSession(engine)
            for round in 0..<roundCount {
                let (first, second) = ("a:\(round)", "b:\(round)")
                let keys = thread % 2 == 0 ? [first, "1", second, "2"] : [second, "2", first, "1"]
                if (try? session.call(["MSETNX"] + keys)) == .integer(1) { winCount.add(1, ordering: .relaxed) }
            }
        }
        #expect(winCount.load(ordering: .relaxed) == roundCount)
    }
}

extension RandomGenerator {
    /// A seed for the generators of threads.
    fileprivate var nextSeed: UInt64 {
        var copy = self
        return copy.next()
    }
}
