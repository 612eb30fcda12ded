// Goal: whatever several connections do in whatever order, each of them gets from Kedis what it gets from redis-server
// 7.0.15, messages and closed connections included.
// Method: random steps of five connections (SessionGenerator) are done one at a time by both; after each of them what
// every connection has received is compared byte by byte, named rules aside (SessionRules), and every 20 steps the states
// of the connections and the digest of all data. What differs is shrunk to the shortest sequence and printed.
//
//      KEDIS_FUZZ_SECONDS=600 swift test --filter DifferentialSessionFuzz
//      KEDIS_TEST_SEED=…      repeats a run

import KedisCommands
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Differential fuzzing of sessions")
struct DifferentialSessionFuzzTests {
    @Test(
        "Random steps of several connections fuzz Kedis and redis-server: same replies, same messages, same states",
        .enabled(if: OracleServer.isUsable && KedisProcess.program != nil, "no redis-server 7.0, or no kedis"))
    func fuzz() throws {
        let random = RandomGenerator.forTest("differential session fuzz")
        let pair = try SessionFuzzPair()
        let names = allCommandSpecs.flatMap { spec in
            [spec.name.lowercased()] + spec.subcommands.map { "\(spec.name)|\($0.name)".lowercased() }
        }
        var generator = SessionGenerator(random, names: try pair.knownNames(of: names))
        let start = monotonicNanoseconds()
        var rounds = 0
        var failureCount = 0
        let failureCountMax = TestFiles.environment("KEDIS_FUZZ_FAILURES").flatMap { Int($0) } ?? 3
        while fuzzGoesOn(since: start), failureCount < failureCountMax {
            rounds += 1
            let steps = generator.sequence(150)
            let outcome = Result { try pair.run(steps) }
            if case .failure = outcome { print("ended in:\n\(steps.map(\.line).joined(separator: "\n"))") }
            guard let mismatch = try outcome.get() else { continue }
            failureCount += 1
            try report(mismatch, Array(steps.prefix(mismatch.index + 1)), pair)
        }
        let count = pair.counts.values.reduce(0, +)
        print(
            "differential session fuzz: \(count) steps of \(pair.counts.count) kinds in \(rounds) sequences, left: \(pair.left)"
        )
        if TestFiles.environment("KEDIS_FUZZ_KINDS") != nil { print(pair.counts.sorted { $0.key < $1.key }) }
        #expect(count > 50)
    }

    private func report(_ mismatch: SessionMismatch, _ steps: [SessionStep], _ pair: SessionFuzzPair) throws {
        let shortest = try pair.shrink(steps)
        let last = try pair.run(shortest) ?? mismatch
        Issue.record(
            """
            \(shortest.map(\.line).joined(separator: "\n"))
            expected: \(last.wanted)
            got: \(last.got)
            """
        )
    }
}
