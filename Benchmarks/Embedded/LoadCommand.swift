// A load at a fixed rate on a server, and how long each request took from the moment at which it was due.
//
//      kedis-benchmark load --port 6379 --rate 60000 --pipeline 1 --connections 50 --seconds 5 [--json]
//      kedis-benchmark load --port 6379 --rate max --pipeline 16
//      kedis-benchmark load --port 6379 --rate 300000 --pipeline 16 HSET big f:__rand_int__ v:__rand_int__
//
// Open loop: requests are sent when the schedule says, whether or not earlier ones were answered, and a request that
// went out late counts from when it was due, so a stall is seen by all that fell into it. `late` says how much of that
// was the generator's own: the time from due to sent. Half of the requests are GETs, half SETs, of random keys
// `key:000000000000` and on, which the caller has set; or all are the command that is given, whose reply is no array.
// With `--rate max` every connection sends its next pipeline when the last one is answered: that is the rate at which
// server and generator together are saturated.
// One thread, no allocation while it runs; Linux only, for its epoll.

import ArgumentParser
import BenchmarkSupport
import KedisUtilities

struct LoadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load", abstract: "Loads a server at a fixed rate and tells how long requests took (Linux).")

    @Option(help: "The server's port on this machine.") var port: UInt16
    @Option(help: "Requests a second, or `max`.") var rate = LoadRate.saturating
    @Option(help: "Requests that are sent at once.") var pipeline = 1
    @Option(help: "How many connections take turns.") var connections = 50
    @Option(help: "How long is measured, in seconds.") var seconds = 5.0
    @Option(help: "How long the load runs before that.") var warmup = 0.5
    @Option(help: "How many keys there are.") var keys = 1_000_000
    @Option(help: "Length of values, in bytes.") var valueBytes = 32
    @OptionGroup var output: OutputOptions
    @Argument(
        parsing: .remaining,
        help: "What is sent instead of GETs and SETs: each __rand_int__ becomes 12 digits, as redis-benchmark has it.")
    var command: [String] = []

    func validate() throws {
        guard (1...1024).contains(pipeline), (1...10_000).contains(connections), (0.01...3600).contains(seconds),
            (0...600).contains(warmup), (1...100_000_000).contains(keys), (1...4096).contains(valueBytes)
        else {
            throw ValidationError(
                "pipeline: 1 to 1024, connections: 1 to 10000, seconds: 0.01 to 3600, value-bytes: 1 to 4096")
        }
    }

    func run() throws {
        #if os(Linux)
        let shape = LoadShape(
            pipeline: pipeline, keyCount: keys, valueByteCount: valueBytes,
            warmupNanoseconds: UInt64(warmup * 1e9), measuredNanoseconds: UInt64(seconds * 1e9),
            command: command.isEmpty ? nil : CommandTemplate(command))
        let loop = try LoadLoop(port: port, connectionCount: connections, shape)
        benchmark_sharpen_timers()
        switch rate {
        case .saturating: try loop.runSaturating()
        case .fixed(let perSecond): try loop.run(requestsPerSecond: perSecond)
        }
        show(loop)
        if loop.errorCount > 0 { throw LoadError(description: "the server has refused \(loop.errorCount) requests") }
        #else
        throw ValidationError("load needs Linux")
        #endif
    }

    #if os(Linux)
    private func show(_ loop: LoadLoop) {
        let report = Report(
            "load",
            ["rate wanted:11", "rate:9", "pipeline", "requests:10"] + histogramColumns
                + ["late p50", "late p99", "late p99.9:10", "cpu share:9", "errors"],
            isJSON: output.isJSON)
        var wanted = Figure.text("max")
        if case .fixed(let perSecond) = rate { wanted = .count(Int(perSecond)) }
        report.row(
            [
                wanted, .count(Int(Double(loop.waits.count) / seconds)), .count(pipeline),
                .count(Int(loop.waits.count)),
            ] + loop.waits.figures + [0.5, 0.99, 0.999].map { microseconds(loop.lateness.percentile($0)) } + [
                .decimal(loop.processorShare, digits: 2), .count(loop.errorCount),
            ])
        report.note("microseconds from due to answered; late: from due to sent, a part of that")
    }
    #endif
}

enum LoadRate: ExpressibleByArgument {
    case saturating
    case fixed(Double)

    init?(argument: String) {
        if argument == "max" {
            self = .saturating
        } else {
            guard let rate = Double(argument), (1...100_000_000).contains(rate) else { return nil }
            self = .fixed(rate)
        }
    }

    var defaultValueDescription: String { "max" }
}

/// What is sent, and for how long.
struct LoadShape {
    let pipeline: Int
    let keyCount: Int
    let valueByteCount: Int
    let warmupNanoseconds: UInt64
    let measuredNanoseconds: UInt64
    /// Sent instead of GETs and SETs.
    let command: CommandTemplate?
}

/// A request as it is sent, and where in it 12 random digits go.
struct CommandTemplate {
    private(set) var bytes: [UInt8] = []
    private(set) var digitOffsets: [Int] = []

    /// What stands for the digits has as many characters as redis-benchmark's.
    private static let placeholder = "__rand_int__"
    static let digitCount = placeholder.utf8.count

    init(_ words: [String]) {
        bytes += "*\(words.count)\r\n".utf8
        for word in words {
            bytes += "$\(word.utf8.count)\r\n".utf8
            let start = bytes.count
            bytes += "\(word)\r\n".utf8
            for offset in start..<bytes.count where bytes[offset...].starts(with: Self.placeholder.utf8) {
                digitOffsets.append(offset)
            }
        }
    }
}
