// Goal: any sequence of commands gets from Kedis what it gets from redis-server 7.0.15, and leaves the same data.
// Method: random commands made from the specs of the command table (FuzzGenerator) go to both in pipelined batches;
// replies are compared byte by byte in RESP2 and RESP3, named rules aside (FuzzRules), digests of all data every 25
// commands, and the payloads of DUMP go both ways. What differs is shrunk to the shortest sequence and printed.
//
//      KEDIS_FUZZ_SECONDS=600 swift test --filter DifferentialFuzz
//      KEDIS_TEST_SEED=…      repeats a run; KEDIS_FUZZ_COMMANDS=sort,lpush,… has only these

import KedisCommands
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Differential fuzzing")
struct DifferentialFuzzTests {
    /// Limits at which encodings change, low so that values cross them.
    private static let directives: [[[String]]] = [
        [
            ["list-max-listpack-size", "-2"], ["hash-max-listpack-entries", "128"], ["hash-max-listpack-value", "64"],
            ["set-max-intset-entries", "512"], ["zset-max-listpack-entries", "128"],
            ["zset-max-listpack-value", "64"], ["stream-node-max-entries", "100"], ["hll-sparse-max-bytes", "3000"],
        ],
        [
            ["list-max-listpack-size", "3"], ["hash-max-listpack-entries", "3"], ["hash-max-listpack-value", "8"],
            ["set-max-intset-entries", "3"], ["zset-max-listpack-entries", "3"],
            ["zset-max-listpack-value", "8"], ["stream-node-max-entries", "3"], ["hll-sparse-max-bytes", "20"],
        ],
        [
            ["list-max-listpack-size", "1"], ["hash-max-listpack-entries", "0"], ["hash-max-listpack-value", "0"],
            ["set-max-intset-entries", "0"], ["zset-max-listpack-entries", "0"],
            ["zset-max-listpack-value", "0"], ["stream-node-max-entries", "1"], ["hll-sparse-max-bytes", "0"],
        ],
    ]

    @Test("Random commands fuzz Kedis and redis-server: same replies, same data",
        .enabled(if: OracleServer.isUsable, "no redis-server 7.0"))
    func fuzz() throws {
        let random = RandomGenerator.forTest("differential fuzz")
        let pair = try FuzzPair()
        let names = TestFiles.environment("KEDIS_FUZZ_COMMANDS").map { Set($0.split(separator: ",").map(String.init)) }
        var known: [String: Bool] = [:]
        for spec in allCommandSpecs {
            let name = spec.name.lowercased()
            known[name] = try pair.isKnown(name)
            for sub in spec.subcommands {
                let fullName = "\(name)|\(sub.name.lowercased())"
                known[fullName] = try pair.isKnown(fullName)
            }
        }
        var generator = FuzzGenerator(random, only: names) { known[$0] ?? false }
        let start = monotonicNanoseconds()
        var round = 0
        var failureCount = 0
        let failureCountMax = TestFiles.environment("KEDIS_FUZZ_FAILURES").flatMap { Int($0) } ?? 3
        while fuzzGoesOn(since: start), failureCount < failureCountMax {
            let directives = Self.directives[generator.random.next(below: Self.directives.count)]
            let protocolVersion = 2 + round % 2
            round += 1
            let commands = (0..<400).map { _ in generator.next() }
            try pair.restart(directives, protocolVersion: protocolVersion)
            if let mismatch = try pair.run(commands) {
                failureCount += 1
                try report(mismatch, commands, directives, protocolVersion, pair)
            } else if round % 5 == 0 {
                generator.payloads = Array((try pair.payloads() + generator.payloads).prefix(60))
                if let problem = try pair.comparePayloads() { Issue.record("\(problem)") }
            }
        }
        print("differential fuzz: \(pair.commandCount) commands of \(generator.commandNames.count) kinds in \(round) rounds")
        #expect(pair.commandCount > 100)
    }

    private func report(
        _ mismatch: FuzzMismatch, _ commands: [FuzzCommand], _ directives: [[String]], _ protocolVersion: Int,
        _ pair: FuzzPair
    ) throws {
        let all = Array(commands.prefix(mismatch.index + 1))
        let shortest = try pair.shrink(all, directives, protocolVersion: protocolVersion)
        try pair.restart(directives, protocolVersion: protocolVersion)
        let last = try pair.run(shortest) ?? mismatch
        let lines = shortest.map { "> " + $0.arguments.map { RespQuoting.quote($0) }.joined(separator: " ") }
        Issue.record(
            """
            RESP\(protocolVersion), \(directives.map { $0.joined(separator: " ") }.joined(separator: ", ")):
            \(lines.joined(separator: "\n"))
            expected:
            \(last.wanted)
            got:
            \(last.got)
            """
        )
    }
}
