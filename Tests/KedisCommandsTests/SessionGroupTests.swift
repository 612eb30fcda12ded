// Goal: sessions whose commands are planned ahead and executed together reply what they reply one by one, whatever
// happens between planning and executing. Method: random requests of several sessions, each on keys of its own, on
// engines of the same seed, one of them in groups; what may come between (locks, rules, replies that are held, waiting
// clients), one by one; threads that count on the same keys.

import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@testable import KedisCommands

@Suite("Session groups")
struct SessionGroupTests {
    /// Sessions of one engine, in place.
    private final class Sessions {
        let engine: Engine
        private let base: UnsafeMutablePointer<Session>
        private let count: Int
        private var group = SessionGroup()

        init(_ engine: Engine, count: Int) {
            self.engine = engine
            self.count = count
            base = .allocate(capacity: count)
            for index in 0..<count { (base + index).initialize(to: Session(engine: engine)) }
        }

        deinit {
            base.deinitialize(count: count)
            base.deallocate()
        }

        subscript(_ index: Int) -> UnsafeMutablePointer<Session> { base + index }

        func send(_ bytes: [UInt8], to index: Int) -> [UInt8] {
            bytes.withUnsafeBytes { base[index].receive($0) }
            return takeOutput(index)
        }

        func send(_ request: [String], to index: Int) -> String {
            String(decoding: send(encode(request), to: index), as: UTF8.self)
        }

        func takeOutput(_ index: Int) -> [UInt8] {
            defer { base[index].output.removeAll() }
            return Array(base[index].output.bytes.buffer)
        }

        /// As an event loop does: all is read and planned, `between` happens, then the group and what is left of each
        /// input are executed. Somebody else holds some stripes while the group tries. Returns what each has replied,
        /// and which of them were executed as a group.
        func sendTogether(
            _ inputs: [[UInt8]], whileHeld held: StripeSet = StripeSet(), between: () -> Void = {}
        ) -> (replies: [[UInt8]], isExecutedAhead: [Bool]) {
            let copies = inputs.map { input in
                let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: input.count, alignment: 1)
                copy.copyBytes(from: input)
                return copy
            }
            defer { for copy in copies { copy.deallocate() } }
            for index in inputs.indices { base[index].planAhead(UnsafeRawBufferPointer(copies[index])) }
            between()
            for index in inputs.indices { group.add(base + index) }
            engine.store.handle.lock(held)
            group.execute()
            engine.store.handle.unlock(held)
            let isExecutedAhead = inputs.indices.map { base[$0].hasExecutedAhead }
            for index in inputs.indices {
                base[index].receive(UnsafeRawBufferPointer(copies[index]))
                let isLeft = !base[index].ahead.isEmpty || base[index].batch.count > 0
                #expect(!isLeft)
            }
            return (inputs.indices.map { takeOutput($0) }, isExecutedAhead)
        }
    }

    @Test("Random requests give the same replies together and one by one")
    func sameReplies() {
        var generator = RandomGenerator.forTest("session groups")
        let count = 12
        let together = Sessions(.forTest(clock: TestClock()), count: count)
        let alone = Sessions(.forTest(clock: TestClock()), count: count)
        var (cut, aheadCount) = ([[UInt8]](repeating: [], count: count), 0)
        for index in 0..<count {
            for name in ["set", "hash", "sorted"] {
                // Large enough for their elements to be loaded ahead.
                let bytes = (0..<(index < 3 ? 17_000 : 20)).flatMap { Self.grow(name, index, $0) }
                #expect(together.send(bytes, to: index) == alone.send(bytes, to: index))
            }
        }
        for _ in 0..<600 {
            let inputs = (0..<count).map { index in
                let requests = (0..<generator.next(below: 24)).flatMap { _ in
                    Self.requests(&generator, of: index).flatMap { encode($0) }
                }
                // The last request may come with the next input only.
                let bytes = cut[index] + requests
                let end = generator.next(below: 4) == 0 ? generator.next(below: bytes.count + 1) : bytes.count
                cut[index] = Array(bytes[end...])
                return Array(bytes[..<end])
            }
            let held = StripeSet(mask: generator.next(below: 4) == 0 ? generator.next() & generator.next() : 0)
            let result = together.sendTogether(inputs, whileHeld: held)
            aheadCount += result.isExecutedAhead.count(where: { $0 })
            for index in 0..<count { #expect(result.replies[index] == alone.send(inputs[index], to: index)) }
        }
        #expect(aheadCount > 2_000, "groups are what is tested")
        for index in 0..<count where !cut[index].isEmpty {
            let rest = Array("\r\n".utf8)
            _ = (together.send(rest, to: index), alone.send(rest, to: index))
        }
        #expect(Self.state(of: together) == Self.state(of: alone))
    }

    /// What is left at the end, and how often each command was called, as a new session sees it.
    private static func state(of sessions: Sessions) -> [String] {
        let fresh = Sessions(sessions.engine, count: 1)
        let calls = fresh.send(["INFO", "commandstats"], to: 0).split(whereSeparator: \.isNewline)
            .map { String($0.prefix { $0 != "," }) }.filter { $0.hasPrefix("cmdstat_") }.sorted()
        let totals = fresh.send(["INFO", "stats"], to: 0).split(whereSeparator: \.isNewline).map { String($0) }
            .filter { $0.hasPrefix("total_commands_processed:") || $0.hasPrefix("total_error_replies:") }
        #expect(totals.count == 2)
        return [fresh.send(["DEBUG", "DIGEST"], to: 0), fresh.send(["DBSIZE"], to: 0)] + calls + totals
    }

    private static func grow(_ name: String, _ index: Int, _ number: Int) -> [UInt8] {
        let key = "\(index):\(name)"
        return switch name {
        case "set": encode(["SADD", key, "member:\(number)"])
        case "hash": encode(["HSET", key, "field:\(number)", "value"])
        default: encode(["ZADD", key, "\(number)", "member:\(number)"])
        }
    }

    private static func requests(_ generator: inout RandomGenerator, of index: Int) -> [[String]] {
        guard generator.next(below: 40) == 0 else { return [request(&generator, of: index)] }
        return [["MULTI"], request(&generator, of: index), request(&generator, of: index), ["EXEC"]]
    }

    private static func request(_ generator: inout RandomGenerator, of index: Int) -> [String] {
        let key = "\(index):\(generator.next(below: 20))"
        let member = "member:\(generator.next(below: 40_000))"
        return switch generator.next(below: 40) {
        case 0..<6: ["GET", key]
        case 6..<12: ["SET", key, "\(generator.next(below: 1000))"]
        case 12..<16: ["INCR", key]
        case 16..<18: ["SADD", "\(index):set", member]
        case 18..<20: ["HSET", "\(index):hash", member, "\(generator.next(below: 1000))"]
        case 20..<22: ["ZADD", "\(index):sorted", "\(generator.next(below: 1000))", member]
        case 22: ["SPOP", "\(index):set"]
        case 23: ["ZPOPMIN", "\(index):sorted"]
        case 24: ["HGET", "\(index):hash", member]
        case 25: ["DEL", key]
        case 26: ["MGET", key, "\(index):1", key]
        case 27: ["LPUSH", "\(index):list", member]
        case 28: ["RPOP", "\(index):list"]
        case 29: ["EXEC"]
        case 30: ["RENAME", key, "\(index):1"]
        case 31: ["PING"]
        case 32: ["NOSUCH", key]
        case 33: ["GET"]
        case 34: ["SELECT", "\(generator.next(below: 2))"]
        case 35: ["SETRANGE", key, "\(generator.next(below: 100))", "x"]
        case 36: ["CLIENT", "REPLY", "SKIP"]
        case 37: ["GETSET", key, member]
        case 38: ["LRANGE", "\(index):list", "0", "-1"]
        default: ["EXPIRE", key, "1000"]
        }
    }

    // MARK: What may come between planning and executing

    private static func sets(_ count: Int, value: String = "x") -> [[UInt8]] {
        (0..<count).map { index in (0..<3).flatMap { encode(["SET", "\(index):\($0)", value]) } }
    }

    private static let threeOK = Array("+OK\r\n+OK\r\n+OK\r\n".utf8)

    @Test("Requests of several sessions are executed as a group")
    func group() {
        let sessions = Sessions(.forTest(clock: TestClock()), count: 4)
        let result = sessions.sendTogether(Self.sets(4))
        #expect(result.isExecutedAhead == [true, true, true, true])
        #expect(result.replies == [[UInt8]](repeating: Self.threeOK, count: 4))
        #expect(sessions.send(["DBSIZE"], to: 0) == ":12\r\n")
        // Alone there is nobody to wait for.
        #expect(sessions.sendTogether(Self.sets(1)).isExecutedAhead == [false])
    }

    @Test("While another thread holds a stripe, sessions go one by one")
    func heldStripe() {
        let sessions = Sessions(.forTest(clock: TestClock()), count: 4)
        let result = sessions.sendTogether(Self.sets(4), whileHeld: .all)
        #expect(result.isExecutedAhead == [false, false, false, false])
        #expect(result.replies == [[UInt8]](repeating: Self.threeOK, count: 4))
    }

    @Test("A permission that is lost after planning is lost")
    func lostPermission() {
        let sessions = Sessions(.forTest(clock: TestClock()), count: 4)
        let admin = Sessions(sessions.engine, count: 1)
        #expect(admin.send(["ACL", "SETUSER", "admin", "on", "nopass", "+@all", "~*"], to: 0) == "+OK\r\n")
        #expect(admin.send(["AUTH", "admin", "x"], to: 0) == "+OK\r\n")
        let result = sessions.sendTogether(Self.sets(4)) {
            #expect(admin.send(["ACL", "SETUSER", "default", "-set"], to: 0) == "+OK\r\n")
        }
        #expect(result.isExecutedAhead == [false, false, false, false])
        for reply in result.replies { #expect(String(decoding: reply, as: UTF8.self).hasPrefix("-NOPERM")) }
        #expect(admin.send(["DBSIZE"], to: 0) == ":0\r\n")
    }

    @Test("Nothing is executed twice when replies are held from then on")
    func heldReplies() {
        let sessions = Sessions(.forTest(clock: TestClock()), count: 2)
        let inputs = (0..<2).map { index in (0..<20).flatMap { _ in encode(["INCR", "counter:\(index)"]) } }
        for input in inputs { #expect(input.count < 2048) }
        var group = SessionGroup()
        inputs[0].withUnsafeBytes { first in
            inputs[1].withUnsafeBytes { second in
                sessions[0].pointee.planAhead(first)
                sessions[1].pointee.planAhead(second)
                group.add(sessions[0])
                group.add(sessions[1])
                group.execute()
                let isExecuted = sessions[0].pointee.hasExecutedAhead
                #expect(isExecuted)
                sessions[0].pointee.isHeld = true
                sessions[0].pointee.receive(first)
                sessions[1].pointee.receive(second)
            }
        }
        #expect(sessions.send(["GET", "counter:0"], to: 1).hasSuffix("$2\r\n16\r\n"))
        sessions[0].pointee.isHeld = false
        sessions[0].pointee.resume()
        #expect(sessions.send(["GET", "counter:0"], to: 1) == "$2\r\n20\r\n")
        #expect(sessions.send(["GET", "counter:1"], to: 1) == "$2\r\n20\r\n")
    }

    @Test("Who waits for a key is served by sessions that were planned together")
    func waiter() {
        let sessions = Sessions(.forTest(clock: TestClock()), count: 3)
        let waiting = Sessions(sessions.engine, count: 1)
        #expect(waiting.send(["BLPOP", "list", "0"], to: 0) == "")
        let result = sessions.sendTogether((0..<3).map { encode(["LPUSH", "list", "element:\($0)"]) })
        #expect(result.isExecutedAhead == [false, false, false])
        let isServed = waiting[0].pointee.finishWaiting()
        #expect(isServed)
        #expect(String(decoding: waiting.takeOutput(0), as: UTF8.self).hasSuffix("$9\r\nelement:0\r\n"))
        #expect(sessions.send(["LLEN", "list"], to: 0) == ":2\r\n")
    }

    @Test("The journal has what a group has changed")
    func journal() throws {
        let sessions = Sessions(.forTest(clock: TestClock()), count: 4)
        let journal = RecordedJournal(sessions.engine)
        var follower = FollowingStore()
        for value in ["x", "y"] {
            let result = sessions.sendTogether(Self.sets(4, value: value))
            #expect(result.isExecutedAhead == [true, true, true, true])
            let records = journal.take()
            #expect(records.count == 4)
            try follower.follow(records)
        }
        let wanted = KeyspaceSnapshot(of: sessions.engine.store, nowMilliseconds: 0)
        #expect(KeyspaceSnapshot(of: follower.store, nowMilliseconds: 0) == wanted)
        // With replies that wait, each session knows the last record that its own are about.
        sessions.engine.interest.setHoldsReplies(true)
        #expect(sessions.sendTogether(Self.sets(4)).isExecutedAhead == [true, true, true, true])
        let needed = (0..<4).map { sessions[$0].pointee.neededSequence }
        #expect(Set(needed).count == 4 && !needed.contains(0))
    }

    @Test("Long replies are not collected: sessions behind them go one by one")
    func longReplies() {
        let sessions = Sessions(.forTest(clock: TestClock()), count: 4)
        let value = String(repeating: "x", count: 100_000)
        #expect(sessions.send(["SET", "long", value], to: 0) == "+OK\r\n")
        let result = sessions.sendTogether([[UInt8]](repeating: encode(["GET", "long"]), count: 4))
        #expect(result.isExecutedAhead == [true, false, false, false])
        for reply in result.replies { #expect(reply.count == value.count + 11) }
    }

    @Test("Who must wait since a pause has begun waits, and goes on behind it")
    func pause() {
        let clock = TestClock()
        let sessions = Sessions(.forTest(clock: clock), count: 3)
        let other = Sessions(sessions.engine, count: 1)
        let result = sessions.sendTogether(Self.sets(3)) {
            #expect(other.send(["CLIENT", "PAUSE", "100000", "WRITE"], to: 0) == "+OK\r\n")
        }
        #expect(result.isExecutedAhead == [false, false, false])
        #expect(result.replies == [[], [], []])
        #expect(other.send(["CLIENT", "UNPAUSE"], to: 0) == "+OK\r\n")
        for index in 0..<3 {
            _ = sessions[index].pointee.finishWaiting()
            sessions[index].pointee.resume()
            #expect(sessions.takeOutput(index) == Self.threeOK)
        }
    }

    @Test("Memory that is exhausted after planning refuses writes")
    func memory() {
        let sessions = Sessions(.forTest(clock: TestClock()), count: 3)
        let other = Sessions(sessions.engine, count: 1)
        let result = sessions.sendTogether(Self.sets(3)) {
            #expect(other.send(["CONFIG", "SET", "maxmemory", "1"], to: 0) == "+OK\r\n")
        }
        #expect(result.isExecutedAhead == [false, false, false])
        for reply in result.replies { #expect(String(decoding: reply, as: UTF8.self).hasPrefix("-OOM")) }
    }

    @Test("Any bytes give the same replies together and one by one")
    func damagedRequests() {
        var generator = RandomGenerator.forTest("damaged requests of groups")
        let (engine, plainEngine) = (Engine.forTest(clock: TestClock()), Engine.forTest(clock: TestClock()))
        for _ in 0..<300 {
            let count = 4
            let together = Sessions(engine, count: count), alone = Sessions(plainEngine, count: count)
            for _ in 0..<3 {
                let inputs = (0..<count).map { index in
                    var bytes = (0..<1 + generator.next(below: 6)).flatMap { _ in
                        encode(Self.request(&generator, of: index))
                    }
                    // What frames the arguments, not these: no session is to find another one's keys.
                    let frame = bytes.indices.filter { Array("*$\r\n".utf8).contains(bytes[$0]) }
                    for _ in 0..<generator.next(below: 3) {
                        bytes[frame[generator.next(below: frame.count)]] = UInt8(truncatingIfNeeded: generator.next())
                    }
                    return bytes
                }
                let result = together.sendTogether(inputs)
                for index in 0..<count {
                    #expect(result.replies[index] == alone.send(inputs[index], to: index))
                    #expect(together[index].pointee.isClosing == alone[index].pointee.isClosing)
                }
            }
        }
        #expect(Self.state(of: Sessions(engine, count: 1)) == Self.state(of: Sessions(plainEngine, count: 1)))
    }

    @Test("Input that never comes leaves nothing behind")
    func forgotten() {
        let sessions = Sessions(.forTest(clock: TestClock()), count: 1)
        let input = Self.sets(1)[0]
        input.withUnsafeBytes { sessions[0].pointee.planAhead($0) }
        sessions[0].pointee.forgetPlan()
        #expect(sessions.send(["DBSIZE"], to: 0) == ":0\r\n")
        #expect(sessions.send(input, to: 0) == Self.threeOK)
    }

    @Test("Groups of several threads lose nothing on the same keys")
    func threads() {
        let engine = Engine.forTest()
        let failures = Failures()
        let (threadCount, roundCount, sessionCount) = (4, 300, 6)
        let aheadCount = Locked(0)
        onThreads(threadCount) { _ in
            let sessions = Sessions(engine, count: sessionCount)
            let input = (0..<8).flatMap { encode(["INCR", "counter:\($0)"]) }
            for _ in 0..<roundCount {
                let result = sessions.sendTogether([[UInt8]](repeating: input, count: sessionCount))
                aheadCount.withLock { $0 += result.isExecutedAhead.count(where: { $0 }) }
                for reply in result.replies where reply.count(where: { $0 == UInt8(ascii: ":") }) != 8 {
                    failures.add("a reply is missing")
                }
            }
        }
        let sessions = Sessions(engine, count: 1)
        let sum = "\(threadCount * roundCount * sessionCount)"
        for index in 0..<8 where sessions.send(["GET", "counter:\(index)"], to: 0) != "$\(sum.count)\r\n\(sum)\r\n" {
            failures.add("increments were lost")
        }
        failures.check()
        #expect(aheadCount.withLock { $0 } > 0)
    }
}

private func encode(_ request: [String]) -> [UInt8] { RespRunner.encode(request.map { Array($0.utf8) }) }
