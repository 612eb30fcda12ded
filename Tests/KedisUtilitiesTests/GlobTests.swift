import Foundation
import KedisUtilities
import Testing

/// Goal: patterns match what they match in Redis, in bounded time. Method: a table, random patterns against
/// redis-server's KEYS (case kept) and CONFIG GET (case ignored), and a pattern that would take exponential time.
@Suite struct GlobTests {
    private func matches(_ pattern: String, _ text: String, ignoringCase: Bool = false) -> Bool {
        withView(pattern) { pattern in
            withView(text) { matchGlob(pattern: pattern, text: $0, ignoringCase: ignoringCase) }
        }
    }

    @Test(arguments: [
        ("", "", true), ("", "a", false), ("*", "a", true), ("*", "", false), ("**", "abc", true), ("a*", "a", true),
        ("a**", "a", true), ("?", "", false), ("?", "a", true), ("a?c", "abc", true), ("a?c", "ac", false),
        ("*c", "abc", true), ("*bc*", "abcd", true), ("*b?d", "abbcd", true), ("[abc]", "b", true),
        ("[abc]", "d", false), ("[^abc]", "d", true), ("[^abc]", "a", false), ("[a-c]x", "bx", true),
        ("[c-a]x", "bx", true), ("[a-]", "^", true), ("[a-]", "b", false), ("[a-", "-", true), ("[]", "a", false),
        ("[]", "]", false),
        ("[^]", "a", true), ("[", "[", false), ("[^", "x", true), ("[ab", "b", true), ("[ab", "bc", false),
        ("[\\]]", "]", true), ("[\\", "\\", true), ("\\*", "*", true), ("\\*", "a", false), ("\\", "\\", true),
        ("a\\", "a\\", true), ("a\\", "a", false), ("h[ae]llo", "hello", true), ("*a*b*c", "xaxbxbxc", true),
        ("*[", "a[", false),
    ])
    func table(_ pattern: String, _ text: String, _ expected: Bool) {
        #expect(matches(pattern, text) == expected)
    }

    @Test func caseIsIgnoredOnRequestOnly() {
        #expect(!matches("ABC", "abc"))
        #expect(matches("ABC", "abc", ignoringCase: true))
        #expect(matches("[A-C]", "b", ignoringCase: true))
        #expect(matches("[XYB]", "b", ignoringCase: true))
        #expect(!matches("[\\B]", "b", ignoringCase: true))
        #expect(matches("\\B", "b", ignoringCase: true))
    }

    /// CVE-2022-36021: a recursive matcher without a cut takes longer than the universe for this.
    @Test func manyStarsTakeBoundedTime() {
        let pattern = String(repeating: "a*", count: 10_000) + "b"
        let start = monotonicNanoseconds()
        #expect(!matches(pattern, String(repeating: "a", count: 20_000)))
        #expect(!matches("*" + String(repeating: "a", count: 500) + "b", String(repeating: "a", count: 5_000)))
        #expect(monotonicNanoseconds() - start < 20_000_000_000)
    }

    @Test(.enabled(if: RedisOracle.isInstalled, "redis-server is not installed"))
    func randomPatternsMatchWhatKeysMatches() throws {
        let oracle = try RedisOracle()
        var generator = makeGenerator("matchGlob and KEYS")
        let textAlphabet = [UInt8]("abcABC-^]\\[*?".utf8) + [0, 0x80, 0xff]
        let patternAlphabet = textAlphabet + [UInt8]("**???[[[]]^-\\aabbc".utf8)
        var texts: Set<[UInt8]> = [[]]
        while texts.count < 400 {
            texts.insert(generator.nextBytes(count: generator.next(below: 7), from: textAlphabet))
        }
        for text in texts { _ = try oracle.ask([[UInt8]("SET".utf8), text, [0x31]]) }
        for _ in 0..<3_000 {
            let pattern = generator.nextBytes(count: generator.next(below: 10), from: patternAlphabet)
            // A lone star is KEYS' own business, and no pattern.
            if pattern == [0x2a] { continue }
            let expected = Set(try oracle.ask([[UInt8]("KEYS".utf8), pattern]))
            let found = texts.filter { text in
                withView(pattern) { pattern in
                    withView(text) { matchGlob(pattern: pattern, text: $0, ignoringCase: false) }
                }
            }
            guard found == expected else {
                Issue.record("pattern \(pattern): differs on \(found.symmetricDifference(expected))")
                return
            }
        }
    }

    @Test(.enabled(if: RedisOracle.isInstalled, "redis-server is not installed"))
    func randomPatternsMatchWhatConfigGetMatches() throws {
        let oracle = try RedisOracle()
        var generator = makeGenerator("matchGlob and CONFIG GET")
        let command = [[UInt8]("CONFIG".utf8), [UInt8]("GET".utf8)]
        let every = try oracle.ask(command + [[0x2a]])
        let names = Set(stride(from: 0, to: every.count, by: 2).map { every[$0] })
        let alphabet = [UInt8]("****???[[[]]^--\\aeisortnlAEISORTNLZ".utf8)
        for _ in 0..<3_000 {
            // A star in front: without it hardly a pattern matches.
            let pattern = [0x2a] + generator.nextBytes(count: 1 + generator.next(below: 8), from: alphabet)
            let answer = try oracle.ask(command + [pattern])
            let expected = Set(stride(from: 0, to: answer.count, by: 2).map { answer[$0] })
            let found = names.filter { name in
                withView(pattern) { pattern in
                    withView(name) { matchGlob(pattern: pattern, text: $0, ignoringCase: true) }
                }
            }
            guard found == expected else {
                Issue.record("pattern \(pattern): differs on \(found.symmetricDifference(expected))")
                return
            }
        }
    }
}
