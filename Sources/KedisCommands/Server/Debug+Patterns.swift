// DEBUG STRINGMATCH-LEN and STRINGMATCH-TEST: the matcher of KEYS, SCAN and PSUBSCRIBE by itself.

import KedisProtocol
import KedisUtilities

extension DebugCommand {
    static func matchPattern(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let isMatch = matchGlob(pattern: call.arguments[2], text: call.arguments[3], ignoringCase: false)
        reply.integer(isMatch ? 1 : 0)
    }

    private static let patternCount = 100_000
    private static let patternByteCountMax: UInt64 = 32

    /// Random patterns, half of whose bytes mean something, over random strings of few letters. Half a second at most:
    /// a pattern is short.
    static func testPatterns(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        var generator = call.engine.makeRandomGenerator()
        var (pattern, text): ([UInt8], [UInt8]) = ([], [])
        for _ in 0..<patternCount {
            fill(&pattern, from: Array("*?[]^-\\abcd".utf8), &generator)
            fill(&text, from: Array("abcd".utf8), &generator)
            let isMatch = matches(pattern, text)
            // A star in front matches whatever the rest matches, and more; alone it does not match the empty string.
            guard !isMatch || text.isEmpty || matches([UInt8(ascii: "*")] + pattern, text) else {
                throw .literal("ERR a pattern matches, and with a star in front it does not")
            }
        }
        reply.simple("Apparently Redis did not crash: test passed")
    }

    private static func fill(_ bytes: inout [UInt8], from letters: [UInt8], _ generator: inout RandomGenerator) {
        bytes.removeAll(keepingCapacity: true)
        for _ in 0..<generator.next() % (patternByteCountMax + 1) {
            bytes.append(letters[Int(generator.next() % UInt64(letters.count))])
        }
    }

    private static func matches(_ pattern: [UInt8], _ text: [UInt8]) -> Bool {
        pattern.withUnsafeBytes { pattern in
            text.withUnsafeBytes { text in
                matchGlob(pattern: ByteView(pattern), text: ByteView(text), ignoringCase: false)
            }
        }
    }
}
