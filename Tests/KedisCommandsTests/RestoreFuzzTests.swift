// Goal: no payload makes RESTORE trap, hang or take memory that it could not need, and what it takes is a value that all
// commands can work with. Method: payloads of every type and encoding, made by redis-server and by Kedis, get 1 to 3
// damaged bytes and a right checksum; what loads is counted, dumped, restored again and given to random commands.

import KedisCommands
import KedisFormats
import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("RESTORE of damaged payloads")
struct RestoreFuzzTests {
    /// Requests that make one key of each type and encoding, under several limits.
    private static let builders: [[String]] = [
        ["SET", "s1", "hello"], ["SET", "s2", "12345"], ["SET", "s3", "-70000"], ["SET", "s4", String(repeating: "ab", count: 200)],
        ["SETRANGE", "s5", "300", "x"], ["SETBIT", "b1", "1000", "1"],
        ["PFADD", "p1", "a", "b", "c"], ["PFADD", "p2"] + (0..<300).map { "\($0)" },
        ["RPUSH", "l1", "a", "b", "300", "-5", "70000", "5000000000", "", String(repeating: "q", count: 70)],
        ["RPUSH", "l2"] + (0..<200).map { "element \($0)" },
        ["SADD", "t1", "1", "2", "300"], ["SADD", "t2", "70000", "5000000000", "-3"], ["SADD", "t3", "a", "b", "1"],
        ["SADD", "t4"] + (0..<40).map { "member \($0)" },
        ["HSET", "h1", "f", "v", "g", "1", "h", ""], ["HSET", "h2"] + (0..<40).flatMap { ["field \($0)", "\($0)"] },
        ["HSET", "h3", "f", String(repeating: "v", count: 100)],
        ["ZADD", "z1", "1", "a", "1.5", "b", "-inf", "c", "3", "300"],
        ["ZADD", "z2"] + (0..<40).flatMap { ["\($0)", "member \($0)"] }, ["GEOADD", "g1", "13.36", "38.11", "Palermo"],
        ["XADD", "x1", "1-1", "f", "v", "g", "w"], ["XADD", "x1", "1-2", "f", "v2", "g", "w2"], ["XADD", "x1", "2-1", "o", "1"],
        ["XADD", "x2", "5-1", "f", "v"], ["XGROUP", "CREATE", "x1", "g", "0"],
        ["XREADGROUP", "GROUP", "g", "c", "COUNT", "2", "STREAMS", "x1", ">"], ["XDEL", "x1", "1-2"],
        ["XADD", "x3", "1-1", "f", "v"], ["XDEL", "x3", "1-1"],
        ["HSETEX", "h4", "EX", "1000", "FIELDS", "2", "f", "v", "g", "w"], ["HSET", "h4", "h", "x"],
        ["SADDEX", "t5", "EX", "1000", "MEMBERS", "2", "a", "b"], ["SADD", "t5", "c"],
        ["ZADD", "z3", "1", "a", "2", "b", "3", "c"], ["ZEXPIRE", "z3", "1000", "MEMBERS", "2", "a", "c"],
    ]

    /// Limits for some other encodings of the same values.
    private static let directives: [[String]] = [
        [], ["list-max-listpack-size", "1", "hash-max-listpack-entries", "1", "set-max-intset-entries", "1",
            "zset-max-listpack-entries", "1", "stream-node-max-entries", "1"],
    ]

    /// Types that redis-server reads, but has not written since other versions.
    private static let olderBodies: [[UInt8]] = {
        let text: (String) -> [UInt8] = { [UInt8($0.utf8.count)] + Array($0.utf8) }
        var ziplist: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 4, 0]
        ziplist += [0, 1, 0x61, 3, 0xF2, 2, 1, 0x62, 3, 0xF4, 0xFF]
        ziplist[0] = UInt8(ziplist.count)
        ziplist[4] = UInt8(ziplist.count - 3)
        let packed = [UInt8(ziplist.count)] + ziplist
        let intset: [UInt8] = [16, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 2, 0, 3, 0, 7, 0]
        let zipmap: [UInt8] = [14, 2, 1, 0x66, 2, 0, 0x76, 0x77, 1, 0x67, 1, 0, 0x78, 0xFF, 0]
        return [
            [1, 2] + text("a") + text("bb"), [10] + packed, [14, 2] + packed + packed, [13] + packed, [12] + packed,
            [2, 2] + text("a") + text("b"), [4, 2] + text("f") + text("v") + text("g") + text("w"),
            [3, 2] + text("a") + text("1.5") + text("b") + [0xFF], [11] + intset, [9] + zipmap,
            [5, 1] + text("a") + [0, 0, 0, 0, 0, 0, 0xF0, 0x3F],
        ]
    }()

    @Test("Mutated payloads with a right checksum fuzz RESTORE: an error or a sane value")
    func fuzz() throws {
        var random = RandomGenerator.forTest("RESTORE fuzz")
        let payloads = try Self.payloads()
        print("RESTORE fuzz: \(payloads.count) payloads")
        var generator = FuzzGenerator(random) { _ in true }
        generator.onlyKey = "m"
        generator.payloads = payloads
        let start = monotonicNanoseconds()
        var (loaded, refused) = (0, 0)
        let engine = TestEngine.forFuzzing()
        let session = TestSession(engine)
        while fuzzGoesOn(since: start) {
            let original = payloads[random.next(below: payloads.count)]
            let payload = Self.damaged(original, &random)
            let began = monotonicNanoseconds()
            let reply = try Self.ask(session, ["RESTORE", "m", "0"].map { Array($0.utf8) } + [payload, Array("REPLACE".utf8)])
            if reply == .simple(Array("OK".utf8)) {
                loaded += 1
                try checkIsSane(session, payload)
                for _ in 0..<8 { _ = session.send(RespRunner.encode(generator.next().arguments)) }
                if loaded % 64 == 0 { _ = session.send(RespRunner.encode([Array("FLUSHALL".utf8)])) }
            } else {
                refused += 1
                #expect(reply == .error(Array("ERR Bad data format".utf8)), "\(RespQuoting.quote(payload))")
            }
            let milliseconds = (monotonicNanoseconds() - began) / 1_000_000
            #expect(milliseconds < 3000, "\(RespQuoting.quote(payload)) took \(milliseconds) ms")
        }
        print("RESTORE fuzz: \(loaded) loaded, \(refused) refused")
        #expect(loaded > 0 && refused > 0, "the mutations reach both outcomes")
        #expect(engine.store.usedByteCount < 512 << 20)
    }

    /// The value has as many elements as it says, and its own payload gives the same value.
    private func checkIsSane(_ session: TestSession, _ payload: [UInt8]) throws {
        // All its members may be due.
        if try Self.ask(session, "EXISTS", "m") == .integer(0) { return }
        let quoted = RespQuoting.quote(payload)
        let digest = try Self.ask(session, "DEBUG", "DIGEST-VALUE", "m")
        guard case .bulk(let dumped)? = try Self.ask(session, "DUMP", "m") else {
            Issue.record("no DUMP of \(quoted)")
            return
        }
        let again = try Self.ask(session, ["RESTORE", "n", "0"].map { Array($0.utf8) } + [dumped, Array("REPLACE".utf8)])
        #expect(again == .simple(Array("OK".utf8)), "its own payload is refused: \(quoted)")
        #expect(try Self.ask(session, "DEBUG", "DIGEST-VALUE", "n") == digest, "another value comes back: \(quoted)")
        let questions: [String: (count: [String], all: [String], step: Int)] = [
            "list": (["LLEN", "m"], ["LRANGE", "m", "0", "-1"], 1), "set": (["SCARD", "m"], ["SMEMBERS", "m"], 1),
            "hash": (["HLEN", "m"], ["HGETALL", "m"], 2), "zset": (["ZCARD", "m"], ["ZRANGE", "m", "0", "-1"], 1),
            "stream": (["XLEN", "m"], ["XRANGE", "m", "-", "+"], 1),
        ]
        guard case .simple(let type)? = try Self.ask(session, "TYPE", "m"),
            let question = questions[String(decoding: type, as: UTF8.self)],
            case .integer(let count)? = try session.call(question.count),
            case .array(let elements)? = try session.call(question.all)
        else { return }
        #expect(Int64(elements.count) == count * Int64(question.step), "the count is wrong: \(quoted)")
        guard question.step == 2 || String(decoding: type, as: UTF8.self) != "list" else { return }
        let names = stride(from: 0, to: elements.count, by: question.step).map { "\(elements[$0])" }
        #expect(Set(names).count == names.count, "an element is there twice: \(quoted)")
    }

    private static func ask(_ session: TestSession, _ words: String...) throws -> Reply? { try session.call(words) }

    private static func ask(_ session: TestSession, _ request: [[UInt8]]) throws -> Reply? {
        var decoder = ReplyDecoder()
        decoder.append(session.send(RespRunner.encode(request)))
        return try decoder.next()
    }

    // MARK: Payloads

    /// Of redis-server, where it is, and of Kedis, under all limits, and of older versions.
    private static func payloads() throws -> [[UInt8]] {
        var payloads = olderBodies.map { sealed($0) }
        let session = TestSession(TestEngine.forFuzzing())
        try payloads += collect { try ask(session, $0) ?? .null }
        if OracleServer.isUsable {
            let server = try OracleServer()
            let peer = try server.connect()
            try payloads += collect { request in
                peer.send(RespRunner.encode(request))
                guard case .reply(let reply) = peer.receive(10_000) else { return .null }
                return reply
            }
        }
        return payloads
    }

    private static func collect(_ ask: ([[UInt8]]) throws -> Reply) throws -> [[UInt8]] {
        var payloads: [[UInt8]] = []
        for limits in directives {
            _ = try ask([Array("FLUSHALL".utf8)])
            for index in stride(from: 0, to: limits.count, by: 2) {
                _ = try ask(["CONFIG", "SET", limits[index], limits[index + 1]].map { Array($0.utf8) })
            }
            for request in builders { _ = try ask(request.map { Array($0.utf8) }) }
            guard case .array(let keys) = try ask(["KEYS", "*"].map { Array($0.utf8) }) else { continue }
            for case .bulk(let key) in keys {
                if case .bulk(let payload) = try ask([Array("DUMP".utf8), key]) { payloads.append(payload) }
            }
        }
        return payloads
    }

    /// One to three changed bytes, now and then some inserted or missing ones, and a right checksum.
    private static func damaged(_ payload: [UInt8], _ random: inout RandomGenerator) -> [UInt8] {
        var body = Array(payload.dropLast(10))
        for _ in 0...random.next(below: 3) where !body.isEmpty {
            // The first bytes say most.
            let index = random.next(below: 3) == 0 ? random.next(below: min(12, body.count)) : random.next(below: body.count)
            switch random.next(below: 8) {
            case 0: body.remove(at: index)
            case 1: body.insert([0x80, 0x81, 0xC3, 0xFF, 0xFE, 0, 1, 0x7F][random.next(below: 8)], at: index)
            case 2: body[index] = [0, 1, 0x7F, 0x80, 0xFF, 0xFE, 0x81, 0xC3][random.next(below: 8)]
            case 3, 4: body[index] ^= 1 << UInt8(random.next(below: 8))
            default: body[index] = UInt8(truncatingIfNeeded: random.next())
            }
        }
        return sealed(body)
    }

    private static func sealed(_ body: [UInt8]) -> [UInt8] {
        let bytes = body + [10, 0]
        var checksum = CRC64()
        bytes.withUnsafeBytes { checksum.update(ByteView($0)) }
        return bytes + withUnsafeBytes(of: checksum.value.littleEndian, Array.init)
    }
}
