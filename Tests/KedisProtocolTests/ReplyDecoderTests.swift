// Goal: the client-side decoder turns every kind of reply into its value however the bytes are cut, refuses what is no
// reply, keeps its limits, and survives any bytes.

import KedisProtocol
import Testing

private func decode(_ bytes: [UInt8], cut: Int? = nil) throws -> [Reply] {
    var decoder = ReplyDecoder()
    var replies: [Reply] = []
    for part in cut.map({ [Array(bytes[..<$0]), Array(bytes[$0...])] }) ?? bytes.map({ [$0] }) {
        decoder.append(part)
        while let reply = try decoder.next() { replies.append(reply) }
    }
    #expect(decoder.isIdle)
    return replies
}

private func bulk(_ text: String) -> Reply { .bulk(Array(text.utf8)) }

private let samples: [(wire: String, reply: Reply)] = [
    ("+OK\r\n", .simple(Array("OK".utf8))),
    ("+\r\n", .simple([])),
    ("-ERR no\r\n", .error(Array("ERR no".utf8))),
    (":1\r\n", .integer(1)),
    (":-9223372036854775808\r\n", .integer(.min)),
    (":9223372036854775807\r\n", .integer(.max)),
    ("$3\r\nfoo\r\n", bulk("foo")),
    ("$0\r\n\r\n", bulk("")),
    ("$4\r\n\r\n\r\n\r\n", bulk("\r\n\r\n")),
    ("$-1\r\n", .null),
    ("_\r\n", .null),
    ("*-1\r\n", .nullArray),
    ("*0\r\n", .array([])),
    ("*2\r\n:1\r\n*1\r\n$1\r\na\r\n", .array([.integer(1), .array([bulk("a")])])),
    ("%1\r\n+k\r\n%0\r\n", .map([.init(key: .simple([107]), value: .map([]))])),
    ("~2\r\n:1\r\n:2\r\n", .set([.integer(1), .integer(2)])),
    (">2\r\n+a\r\n_\r\n", .push([.simple([97]), .null])),
    (",1.5\r\n", .double(Array("1.5".utf8))),
    (",-inf\r\n", .double(Array("-inf".utf8))),
    ("#t\r\n", .boolean(true)),
    ("#f\r\n", .boolean(false)),
    ("(123456789012345678901234567890\r\n", .bigNumber(Array("123456789012345678901234567890".utf8))),
    ("=7\r\ntxt:a\rb\r\n", .verbatim(format: Array("txt".utf8), text: Array("a\rb".utf8))),
    ("!6\r\nERR \r\n\r\n", .error(Array("ERR \r\n".utf8))),
    ("|1\r\n+ttl\r\n:3\r\n:7\r\n", .integer(7)),
    ("*2\r\n|1\r\n+a\r\n*1\r\n+b\r\n:1\r\n|0\r\n:2\r\n", .array([.integer(1), .integer(2)])),
]

@Test("Every kind of reply is decoded whole, byte by byte and at every cut")
func decodesEverySplit() throws {
    for sample in samples {
        let bytes = Array(sample.wire.utf8)
        #expect(try decode(bytes) == [sample.reply])
        for cut in 0...bytes.count {
            #expect(try decode(bytes, cut: cut) == [sample.reply], "\(sample.wire.debugDescription) cut at \(cut)")
        }
    }
    let all = samples.flatMap { Array($0.wire.utf8) }
    for cut in 0...all.count { #expect(try decode(all, cut: cut) == samples.map(\.reply)) }
}

@Test(
    "What is no reply is refused, and stays refused",
    arguments: [
        ("hello\r\n", ReplyDecodeError.unknownType(104)), ("h", .unknownType(104)), ("\r\n", .unknownType(13)),
        (":\r\n", .invalidNumber), (":1a\r\n", .invalidNumber), (":9223372036854775808\r\n", .invalidNumber),
        ("$-2\r\n", .invalidNumber), ("$?\r\n", .invalidNumber), ("%-1\r\n", .invalidNumber),
        ("*-2\r\n", .invalidNumber), ("$99999999999\r\n", .lengthTooLarge), ("*99999999999\r\n", .countTooLarge),
        ("%9223372036854775807\r\n", .countTooLarge), ("$1\r\nabc", .missingLineEnd), ("#x\r\n", .invalidBoolean),
        ("=3\r\ntxt\r\n", .invalidVerbatim),
    ])
func refusesGarbage(wire: String, error: ReplyDecodeError) {
    var decoder = ReplyDecoder()
    decoder.append(Array(wire.utf8))
    #expect(throws: error) { try decoder.next() }
    decoder.append(Array("+OK\r\n".utf8))
    #expect(throws: error) { try decoder.next() }
    #expect(!error.message.isEmpty)
}

@Test("Nesting is limited, and the limit itself is reachable")
func limitsNesting() throws {
    let deepest = String(repeating: "*1\r\n", count: 128) + ":1\r\n"
    #expect(try decode(Array(deepest.utf8)).count == 1)
    var decoder = ReplyDecoder()
    decoder.append(Array(String(repeating: "*1\r\n", count: 1_000_000).utf8))
    #expect(throws: ReplyDecodeError.nestingTooDeep) { try decoder.next() }
}

@Test("A line without an end is limited; a declared count reserves nothing")
func limitsGrowth() throws {
    var decoder = ReplyDecoder()
    decoder.append([UInt8](repeating: UInt8(ascii: "+"), count: (1 << 20) + 2))
    #expect(throws: ReplyDecodeError.lineTooLong) { try decoder.next() }
    var counted = ReplyDecoder()
    counted.append(Array("*2147483647\r\n%1000000000\r\n$1000000000\r\nabc".utf8))
    #expect(try counted.next() == nil)
    #expect(counted.pendingByteCount == 3)
}

@Test("A large bulk and a long simple string arriving in small pieces take time linear in their length")
func decodesLargeBulkInPieces() throws {
    var decoder = ReplyDecoder()
    let piece = [UInt8](repeating: 120, count: 100)
    decoder.append(Array("$10000000\r\n".utf8))
    for _ in 0..<100_000 {
        decoder.append(piece)
        #expect(try decoder.next() == nil)
    }
    decoder.append([13, 10])
    guard case .bulk(let bytes) = try decoder.next() else { Issue.record("no bulk"); return }
    #expect(bytes.count == 10_000_000)
    decoder.append([UInt8(ascii: "+")])
    for _ in 0..<10_000 {
        decoder.append(piece)
        #expect(try decoder.next() == nil)
    }
    decoder.append([13, 10])
    #expect(try decoder.next() != nil && decoder.isIdle)
}

@Test("Requests are arrays of bulk strings")
func encodesRequests() {
    #expect(encodeRequest([Array("GET".utf8), []]) == Array("*2\r\n$3\r\nGET\r\n$0\r\n\r\n".utf8))
    #expect(encodeRequest([]) == Array("*0\r\n".utf8))
}

private struct SplitMix: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}

@Test("Random and mutated bytes never trap, and pieces decode to the same as the whole")
func fuzz() {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("ReplyDecoder fuzz seed \(seed)")
    var random = SplitMix(state: seed)
    let alphabet = Array("+-:$*%~>|_#,(=!0123456789\r\n?txa".utf8)
    for _ in 0..<20_000 {
        var bytes: [UInt8] = []
        if Bool.random(using: &random) {
            for _ in 0..<Int.random(in: 1...5, using: &random) {
                bytes += Array(samples.randomElement(using: &random)!.wire.utf8)
            }
            for _ in 0..<Int.random(in: 0...4, using: &random) {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                bytes[index] = alphabet.randomElement(using: &random)!
            }
        } else {
            let count = Int.random(in: 0...60, using: &random)
            bytes = (0..<count).map { _ in alphabet.randomElement(using: &random)! }
        }
        let whole = outcome([bytes])
        #expect(whole == outcome(bytes.map { [$0] }), "seed \(seed), bytes \(bytes)")
    }
}

/// The replies up to the first error. (When it is found depends on the pieces; which replies precede it does not.)
private func outcome(_ parts: [[UInt8]]) -> [Reply] {
    var decoder = ReplyDecoder()
    var replies: [Reply] = []
    for part in parts {
        decoder.append(part)
        do {
            while let reply = try decoder.next() { replies.append(reply) }
        } catch {
            return replies
        }
    }
    return replies
}
