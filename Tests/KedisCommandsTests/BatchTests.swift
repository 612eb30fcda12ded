// Goal: how the bytes of requests arrive changes nothing. A pipeline gives what its requests give one by one, and so does
// every way to cut it. Method: random requests on two engines; every cut of a sample of all kinds of requests.

import KedisCommands
import KedisProtocol
import KedisTestSupport
import KedisUtilities
import Testing

/// Requests of all kinds, on few keys so that they meet.
private struct RequestMaker {
    var generator: RandomGenerator

    mutating func next() -> [UInt8] {
        switch generator.next(below: 24) {
        case 0..<4: return encode("SET", key(), value())
        case 4..<8: return encode("GET", key())
        case 8: return encode("INCR", key())
        case 9: return encode("INCRBY", key(), "\(generator.next(below: 1000))")
        case 10: return encode("APPEND", key(), value())
        case 11: return encode("MGET", key(), key(), key())
        case 12: return encode("MSET", key(), value(), key(), value())
        case 13: return encode("GETDEL", key())
        case 14: return encode("SETNX", key(), value())
        case 15: return encode("SET", key(), value(), "GET")
        case 16: return encode("STRLEN", key())
        case 17: return encode("NOSUCHCOMMAND", key())
        case 18: return encode("GET")
        case 19: return Array("GET \(key())\r\n".utf8)
        case 20: return Array("  SET \(key()) \"inline \\x41\"\n".utf8)
        case 21: return Array(["\r\n", "*0\r\n", "*-1\r\n"][generator.next(below: 3)].utf8)
        case 22: return encode("GETRANGE", key(), "1", "-2")
        default: return encode("LCS", key(), key())
        }
    }

    private mutating func key() -> String { "key:\(generator.next(below: 12))" }

    private mutating func value() -> String {
        generator.next(below: 2) == 0
            ? "\(generator.next(below: 100_000))" : String(repeating: "v", count: generator.next(below: 200))
    }

    private func encode(_ arguments: String...) -> [UInt8] { RespRunner.encode(arguments.map { Array($0.utf8) }) }
}

@Suite("Batches of requests")
struct BatchTests {
    @Test("A pipeline of 1,000 requests gives what they give one by one", arguments: [ProtocolVersion.resp2, .resp3])
    func pipeline(version: ProtocolVersion) {
        var maker = RequestMaker(generator: .forTest("pipeline"))
        for _ in 0..<20 {
            let requests = (0..<1_000).map { _ in maker.next() }
            let oneByOne = TestSession(.forTest(clock: TestClock()), version: version)
            let expected = requests.flatMap { oneByOne.send($0) }
            let all = Array(requests.joined())
            #expect(TestSession(.forTest(clock: TestClock()), version: version).send(all) == expected)
            let cut = TestSession(.forTest(clock: TestClock()), version: version)
            #expect(maker.generator.pieces(of: all).flatMap { cut.send($0) } == expected)
        }
    }

    @Test("A pipeline cut at every byte gives the same replies")
    func everySplit() {
        var maker = RequestMaker(generator: .forTest("splits"))
        let all = (0..<60).flatMap { _ in maker.next() } + Array("*1\r\n$1\r\nx".utf8)
        let expected = TestSession(.forTest(clock: TestClock())).send(all)
        for cut in 0...all.count {
            let session = TestSession(.forTest(clock: TestClock()))
            #expect(session.send(Array(all[..<cut])) + session.send(Array(all[cut...])) == expected, "cut at \(cut)")
        }
        let session = TestSession(.forTest(clock: TestClock()))
        #expect(all.flatMap { session.send([$0]) } == expected)
    }

    @Test("What comes before a protocol error is answered, then the error, then nothing, at every cut")
    func protocolError() {
        let all = Array("*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$1\r\na\r\n*1\r\n:1\r\n*1\r\n$4\r\nPING\r\n".utf8)
        let expected = Array("+PONG\r\n$1\r\na\r\n-ERR Protocol error: expected '$', got ':'\r\n".utf8)
        for cut in 0...all.count {
            let session = TestSession(.forTest())
            #expect(session.send(Array(all[..<cut])) + session.send(Array(all[cut...])) == expected, "cut at \(cut)")
            #expect(session.isClosing)
        }
    }

    @Test("More replies than a session keeps at once arrive whole and in order")
    func largeOutput() throws {
        let session = TestSession(.forTest())
        let value = [UInt8](repeating: 0x76, count: 300_000)
        _ = session.send(RespRunner.encode([Array("SET".utf8), Array("big".utf8), value]))
        let requests = (0..<50).flatMap { index in
            RespRunner.encode([Array("GET".utf8), Array("big".utf8)])
                + RespRunner.encode([Array("ECHO".utf8), Array("\(index)".utf8)])
        }
        var decoder = ReplyDecoder()
        decoder.append(session.send(requests))
        for index in 0..<50 {
            #expect(try decoder.next() == .bulk(value))
            #expect(try decoder.next() == .bulk(Array("\(index)".utf8)))
        }
        #expect(try decoder.next() == nil)
    }

    @Test("Random and damaged bytes do no harm: the session answers or closes, and others go on")
    func fuzz() throws {
        var generator = RandomGenerator.forTest("session fuzz")
        var maker = RequestMaker(generator: generator)
        let alphabet = Array("*$-0123456789\r\n\"' GETSETkey:".utf8) + [0, 255]
        let engine = Engine.forTest()
        let other = TestSession(engine)
        let start = monotonicNanoseconds()
        while fuzzGoesOn(since: start) {
            let session = TestSession(engine)
            for _ in 0..<8 where !session.isClosing {
                let requests = (0..<6).flatMap { _ in maker.next() }
                for piece in generator.pieces(of: generator.mutated(requests, with: alphabet)) { _ = session.send(piece) }
            }
            #expect(try other.call("ECHO", "here") == .bulk(Array("here".utf8)))
        }
    }
}
