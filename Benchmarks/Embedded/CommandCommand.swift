// Any command without a network: nanoseconds for each, in pipelines, as redis-benchmark would send it. Under
// `valgrind --tool=callgrind` it counts the instructions of the path from request bytes to reply bytes.
//
//      kedis-benchmark command "SADD set element:__rand_int__"
//      kedis-benchmark command "GET key:__rand_int__" --directive "latency-tracking no"
//      kedis-benchmark command "SPOP set" --before "SADD set element:__next_int__" --operations 500000

import ArgumentParser
import KedisCommands
import KedisProtocol
import KedisStore
import KedisUtilities

struct CommandCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "command", abstract: "Nanoseconds for a command through a session.",
        discussion: """
            In its words, __rand_int__ stands for 12 digits of a random number below --keyspace, and __next_int__ for \
            those of a number that counts up.
            """)

    @Argument(help: "The command, blanks between its words.") var command: String
    @Option(help: "A command that comes before, --keyspace times, and is not measured.") var before: [String] = []
    @Option(help: "The numbers in words are below this.") var keyspace = 1_000_000
    @Option(help: "Commands of a round.") var operations = 400_000
    @Option(help: "Commands that are given to the session at once.") var pipeline = 16
    @Option(help: "Rounds, whose median counts; each begins with an empty store.") var rounds = 3
    @Option(help: "A directive of the configuration and its value, as in a file.") var directive: [String] = []
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1...10_000_000).contains(operations), (1...100).contains(rounds), (1...1024).contains(pipeline),
            (1...100_000_000).contains(keyspace), !words(command).isEmpty, before.allSatisfy({ !words($0).isEmpty })
        else {
            throw ValidationError(
                "operations: 1 to 10000000, rounds: 1 to 100, pipeline: 1 to 1024, keyspace: 1 to 100000000")
        }
    }

    func run() throws {
        let configuration = Configuration()
        for text in directive {
            let words = words(text).map(String.init)
            guard let name = words.first else { continue }
            try configuration.configure(name, words.count > 1 ? Array(words.dropFirst()) : [""])
        }
        var samples: [Double] = []
        for _ in 0..<rounds {
            var driver = SessionDriver(store: makeStore(), configuration: configuration)
            for text in before { driver.feed(stream(text, count: keyspace)) }
            samples.append(driver.nanosecondsPerKey(stream(command, count: operations)))
        }
        let report = Report("command", ["command:40", "ns", "lowest"], isJSON: output.isJSON)
        report.row([
            .text(command), .decimal(median(samples), digits: 1), .decimal(samples.min() ?? 0, digits: 1),
        ])
    }

    private func words(_ text: String) -> [Substring] { text.split(separator: " ") }

    private func stream(_ text: String, count: Int) -> RequestStream {
        let words = words(text)
        var random = RandomGenerator(seed: 1)
        return RequestStream(count: count, pipeline: pipeline) { index in
            encodeRequest(
                words.map { word in
                    Array(word.utf8).replacing("__rand_int__".utf8) { digits(random.next(below: keyspace)) }
                        .replacing("__next_int__".utf8) { digits(index) }
                })
        }
    }

    private func digits(_ number: Int) -> [UInt8] { Array(itemArray(.key, number)[4...]) }
}

extension [UInt8] {
    /// The bytes with each `placeholder` replaced by what `replacement` says.
    fileprivate func replacing(_ placeholder: String.UTF8View, _ replacement: () -> [UInt8]) -> [UInt8] {
        let wanted = Array(placeholder)
        var result: [UInt8] = []
        var position = 0
        while position < count {
            if self[position...].starts(with: wanted) {
                result += replacement()
                position += wanted.count
            } else {
                result.append(self[position])
                position += 1
            }
        }
        return result
    }
}
