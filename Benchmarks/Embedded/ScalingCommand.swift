// What a second thread brings: operations a second and processor time for one, with one thread and with more.
//
// All threads work on one database, each with a connection of its own; `session` rows go from request bytes to reply
// bytes, `library` rows through KedisConnection.execute. Two rows say what the machine itself allows: `nothing shared`
// computes in a private array, `memory only` reads one large array at random. Thread counts take turns within a round;
// figures are medians over the rounds, factors are taken within a round. Times leave out what a thread waited for a
// processor, as the scheduler tells, but not what it waited for a lock; what the hypervisor takes away is in them.

import ArgumentParser
import BenchmarkSupport
import Kedis
import KedisUtilities

struct ScalingCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scaling", abstract: "Operations a second with one thread and with more, and what one costs.")

    @Option(help: "Numbers of threads; the first is what the others are compared with.") var threads = CountList([1, 2])
    @Option(help: "How many keys there are.") var keys = 1_000_000
    @Option(help: "How long each case runs in a round, in seconds.") var seconds = 0.5
    @Option(help: "Rounds, whose median counts.") var rounds = 5
    @Option(help: "Only cases whose name contains this.") var only = ""
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1...50_000_000).contains(keys), (0.01...60).contains(seconds), (1...100).contains(rounds),
            threads.counts.allSatisfy({ $0 <= 64 })
        else { throw ValidationError("keys: 1 to 50000000, seconds: 0.01 to 60, rounds: 1 to 100, threads: up to 64") }
    }

    func run() {
        let report = Report(
            "scaling",
            ["case:26", "threads", "operations a second:19", "cpu ns", "cpu factor:10", "factor", "goal:13"],
            isJSON: output.isJSON)
        let database = KedisDatabase()
        let connection = database.connect()
        for index in 0..<keys { connection.set(.key, index) }
        _ = connection.execute("SET", "counter", "1")
        for one in ScalingCase.all where only.isEmpty || one.name.contains(only) { measure(one, database, report) }
        try? database.close()
    }

    private func measure(_ one: ScalingCase, _ database: KedisDatabase, _ report: Report) {
        let workers = one.makeWorkers(threads.counts.max() ?? 1, database, keyCount: keys)
        // Untimed: fills the caches, and every connection has grown its buffers.
        for worker in workers { _ = worker.step() }
        var samples = [[Pace]](repeating: [], count: threads.counts.count)
        for _ in 0..<rounds {
            for (index, count) in threads.counts.enumerated() { samples[index].append(pace(workers, count)) }
        }
        for (index, count) in threads.counts.enumerated() { show(one, count, samples[0], samples[index], report) }
    }

    private func pace(_ workers: [any ScalingWorker], _ count: Int) -> Pace {
        let length = UInt64(seconds * 1e9)
        let paces = onThreads(count) { Pace(of: workers[$0], nanoseconds: length) }
        return Pace(
            operationsPerSecond: paces.reduce(0) { $0 + $1.operationsPerSecond },
            processorNanoseconds: paces.reduce(0) { $0 + $1.processorNanoseconds } / Double(count))
    }

    private func show(_ one: ScalingCase, _ count: Int, _ first: [Pace], _ paces: [Pace], _ report: Report) {
        let factor = median(zip(first, paces).map { $1.operationsPerSecond / $0.operationsPerSecond })
        let isJudged = one.isUniform && count == 2 && threads.counts[0] == 1
        report.row([
            .text(one.name), .count(count), .count(Int(median(paces.map(\.operationsPerSecond)))),
            .decimal(median(paces.map(\.processorNanoseconds)), digits: 1),
            .decimal(median(zip(first, paces).map { $1.processorNanoseconds / $0.processorNanoseconds }), digits: 2),
            .decimal(factor, digits: 2), isJudged ? .goal(.atLeast(1.85), factor) : .none,
        ])
    }
}

/// How fast work went: of one thread, or of several together.
struct Pace: Sendable {
    let operationsPerSecond: Double
    /// For each operation.
    let processorNanoseconds: Double
}

extension Pace {
    /// Repeats the work for about so long. To be called by the thread that is measured.
    init(of worker: any ScalingWorker, nanoseconds: UInt64) {
        var count = 0
        let end = monotonicNanoseconds() + nanoseconds
        let watch = Stopwatch(), processor = benchmark_thread_cpu_nanoseconds()
        repeat { count += worker.step() } while monotonicNanoseconds() < end
        let spent = benchmark_thread_cpu_nanoseconds() - processor
        operationsPerSecond = Double(count) * 1e9 / Double(max(1, watch.nanoseconds))
        processorNanoseconds = Double(spent) / Double(count)
    }
}
