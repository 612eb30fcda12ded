// Measures the engine in the process: each subcommand prints the figures of one question, with the limits that they
// should keep.
//
//      swift build -c release --product kedis-benchmark
//      .build/release/kedis-benchmark speed [--keys 1000,1000000] [--json]
//
// Every subcommand prints a table or, with --json, one line for each row. Keys and values have 16 bytes unless a
// subcommand says otherwise; keys are visited at random, so large key counts show the cache misses.

import ArgumentParser

@main
struct KedisBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kedis-benchmark",
        abstract: "Measures Kedis's engine inside the process.",
        subcommands: [
            SpeedCommand.self, SessionCommand.self, CommandCommand.self, AllocationsCommand.self, MemoryCommand.self,
            StallsCommand.self, ExpiryCommand.self, FlushCommand.self, CollectionsCommand.self,
            ScalingCommand.self, LoadCommand.self,
        ]
    )
}

/// What every subcommand takes.
struct OutputOptions: ParsableArguments {
    @Flag(name: .customLong("json"), help: "Print a JSON object for each row instead of a table.")
    var isJSON = false
}

/// Counts with commas between them: `1000,1000000`; `2^20` is a power.
struct CountList: ExpressibleByArgument {
    let counts: [Int]

    init(_ counts: [Int]) { self.counts = counts }

    init?(argument: String) {
        var counts: [Int] = []
        for part in argument.split(separator: ",") {
            guard let count = Self.parse(part), (1...100_000_000).contains(count) else { return nil }
            counts.append(count)
        }
        guard !counts.isEmpty else { return nil }
        self.counts = counts
    }

    private static func parse(_ text: Substring) -> Int? {
        let parts = text.split(separator: "^")
        guard parts.count == 2 else { return Int(text) }
        guard parts[0] == "2", let exponent = Int(parts[1]), (0...26).contains(exponent) else { return nil }
        return 1 << exponent
    }

    var defaultValueDescription: String { counts.map(String.init).joined(separator: ",") }
}
