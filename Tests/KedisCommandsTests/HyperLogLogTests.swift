// Goal: HyperLogLogs are byte for byte those of redis-server, and no bytes that a client calls one do harm. Method: the
// same random sequence for both servers, all replies and strings compared; damaged strings for every command.

import KedisCommands
import KedisProtocol
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("HyperLogLogs")
struct HyperLogLogTests {
    private struct NoReply: Error { let request: [String] }

    private func ask(_ peer: RespPeer, _ words: [String]) throws -> Reply {
        peer.send(RespRunner.encode(words.map { Array($0.utf8) }))
        guard case .reply(let reply) = peer.receive(10_000) else { throw NoReply(request: words) }
        return reply
    }

    @Test("The same commands leave the same bytes as in redis-server",
        .enabled(if: OracleServer.isUsable, "no redis-server 7.0"), arguments: [0, 19, 200, 3_000, 40_000])
    func sameBytes(sparseByteCountMax: Int) throws {
        var generator = RandomGenerator.forTest("HyperLogLogs up to \(sparseByteCountMax) bytes")
        let server = try OracleServer()
        let peers = [try server.connect(), TestEngine().connect(protocolVersion: 2)]
        func compare(_ words: [String]) throws {
            let replies = try peers.map { try ask($0, words) }
            #expect(replies[0] == replies[1], "\(words.prefix(5))")
        }
        try compare(["CONFIG", "SET", "hll-sparse-max-bytes", "\(sparseByteCountMax)"])
        for _ in 0..<400 {
            let key = "key:\(generator.next(below: 6))"
            try compare(request(key, &generator))
            try compare(["GET", key])
            if generator.next(below: 60) == 0 { try compare(["DEL", key]) }
        }
    }

    private func request(_ key: String, _ generator: inout RandomGenerator) -> [String] {
        let others = (0..<generator.next(below: 4)).map { _ in "key:\(generator.next(below: 7))" }
        switch generator.next(below: 12) {
        case 0: return ["PFCOUNT", key] + others
        case 1: return ["PFCOUNT", key]
        case 2: return ["PFMERGE", key] + others
        case 3: return generator.next(below: 4) == 0 ? ["PFDEBUG", "TODENSE", key] : ["PFCOUNT", key]
        case 4: return ["OBJECT", "ENCODING", key]
        default:
            let limit = 1 << (1 + generator.next(below: 12))
            return ["PFADD", key] + (0..<generator.next(below: limit)).map { _ in "\(generator.next(below: 1 << 20))" }
        }
    }

    // MARK: Damage

    private let allBytes = (0...255).map { UInt8($0) }

    private func header(_ encoding: UInt8) -> [UInt8] { Array("HYLL".utf8) + [encoding] + [UInt8](repeating: 0x80, count: 11) }

    /// Strings that are HyperLogLogs, most of them damaged.
    private func damaged(_ samples: [[UInt8]], _ generator: inout RandomGenerator) -> [UInt8] {
        let sample = samples[generator.next(below: samples.count)]
        switch generator.next(below: 6) {
        case 0: return header(1) + generator.bytes(generator.next(below: 200), of: allBytes)
        case 1: return header(0) + generator.bytes(HyperLogLog.denseByteCount - 16, of: allBytes)
        case 2: return Array(sample.prefix(generator.next(below: sample.count + 1)))
        case 3: return header(1) + [UInt8](repeating: allBytes[generator.next(below: 256)], count: generator.next(below: 40_000))
        // The header stays, so that the registers are looked at.
        case 4: return Array(sample.prefix(16)) + generator.mutated(Array(sample.dropFirst(16)), with: allBytes)
        default: return generator.mutated(sample, with: allBytes)
        }
    }

    @Test("Damaged strings give errors, and nothing worse")
    func damagedStrings() throws {
        var generator = RandomGenerator.forTest("damaged HyperLogLogs")
        let session = TestSession(.forTest())
        func call(_ words: [[UInt8]]) throws -> Reply? {
            var decoder = ReplyDecoder()
            decoder.append(session.send(RespRunner.encode(words)))
            return try decoder.next()
        }
        func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
        var samples: [[UInt8]] = []
        for (key, count) in [("small", 3), ("middle", 60), ("large", 700), ("dense", 6_000)] {
            _ = try call([bytes("PFADD"), bytes(key)] + (0..<count).map { bytes("\(key):\($0)") })
            guard case .bulk(let value)? = try call([bytes("GET"), bytes(key)]) else { throw NoReply(request: [key]) }
            samples.append(value)
        }
        let requests = [
            "PFADD damaged", "PFADD damaged a b c d e f g h", "PFCOUNT damaged", "PFCOUNT damaged small dense",
            "PFMERGE damaged small", "PFMERGE damaged dense", "PFMERGE target damaged", "PFDEBUG DECODE damaged",
            "PFDEBUG ENCODING damaged", "PFDEBUG GETREG damaged", "PFDEBUG TODENSE damaged",
        ].map { $0.split(separator: " ").map { Array($0.utf8) } }
        let errors = ["WRONGTYPE Key is not a valid HyperLogLog string value.", "INVALIDOBJ Corrupted HLL object detected",
            "ERR HLL encoding is not sparse"].map(bytes)
        let start = monotonicNanoseconds()
        repeat {
            let value = damaged(samples, &generator)
            for _ in 0..<4 {
                _ = try call([bytes("SET"), bytes("damaged"), value])
                let request = requests[generator.next(below: requests.count)]
                let reply = try call(request)
                switch reply {
                case .error(let text)?: #expect(errors.contains(text), "\(request) \(value)")
                default: #expect(reply != nil, "\(request) \(value)")
                }
            }
            _ = try call([bytes("DEL"), bytes("target")])
        } while fuzzGoesOn(since: start)
        #expect(!session.isClosing)
    }

    @Test("A copy keeps its registers when the other one gets more", arguments: [1, 2])
    func copiesAreApart(runLength: Int) throws {
        let session = TestSession(.forTest())
        _ = try session.call("CONFIG", "SET", "hll-sparse-max-bytes", "40000")
        // Runs of one register each take more than 16 KiB, and copies share such a string until one is changed.
        let runs = (0..<HyperLogLog.registerCount / runLength).map { UInt8(0x80 | ($0 & 1) << 2 | runLength - 1) }
        _ = session.send(RespRunner.encode([Array("SET".utf8), Array("first".utf8), header(1) + runs]))
        _ = try session.call("COPY", "first", "second")
        let before = try session.call("GET", "second")
        #expect(try session.call(["PFADD", "first"] + (0..<200).map { "\($0)" }) == .integer(1))
        _ = try session.call("PFCOUNT", "first")
        #expect(try session.call("GET", "second") == before)
        #expect(try session.call("GET", "first") != before)
        _ = try session.call("PFCOUNT", "second")
        #expect(try session.call("PFDEBUG", "ENCODING", "second") == .simple(Array("sparse".utf8)))
    }

    @Test("PFCOUNT counts as a change only when it keeps a new estimate")
    func changesOfCounting() throws {
        let engine = Engine.forTest()
        let session = TestSession(engine)
        func changes() throws -> String {
            guard case .bulk(let text)? = try session.call("INFO", "persistence") else { return "" }
            let lines = String(decoding: text, as: UTF8.self).split(separator: "\r\n")
            return lines.first { $0.hasPrefix("rdb_changes_since_last_save") }.map(String.init) ?? ""
        }
        let requests = [
            (["PFADD", "a"], 1), (["PFADD", "a"], 1), (["PFADD", "a", "1", "2", "3"], 4), (["PFCOUNT", "a"], 5),
            (["PFCOUNT", "a"], 5), (["PFCOUNT", "a", "b"], 5), (["PFMERGE", "b", "a"], 6), (["PFCOUNT", "a", "b"], 6),
            (["PFDEBUG", "TODENSE", "a"], 7), (["PFDEBUG", "TODENSE", "a"], 7), (["PFDEBUG", "GETREG", "b"], 8),
        ]
        for (request, count) in requests {
            _ = try session.call(request)
            #expect(try changes() == "rdb_changes_since_last_save:\(count)", "\(request)")
        }
    }
}
