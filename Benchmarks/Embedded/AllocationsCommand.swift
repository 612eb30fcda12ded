// Calls of the allocator on GET and on SET of a value that fits: through the store and through a session. None is
// wanted.

import ArgumentParser
import BenchmarkSupport
import KedisStore
import KedisUtilities

struct AllocationsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "allocations", abstract: "Calls of malloc on GET and on SET of a value that fits.")

    @Option(help: "How many keys there are.") var keys = 100_000
    @Option(help: "Operations of each kind.") var operations = 1_000_000
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1...50_000_000).contains(keys), (1...20_000_000).contains(operations) else {
            throw ValidationError("keys: 1 to 50000000, operations: 1 to 20000000")
        }
    }

    func run() throws {
        guard benchmark_allocation_count() >= 0 else { throw ValidationError("calls can only be counted with glibc") }
        let report = Report(
            "allocations", ["path:8", "request:12", "operations:10", "calls", "goal:12"], isJSON: output.isJSON)
        let subject = EngineSubject(keyCount: keys)
        var random = RandomGenerator(seed: 3)
        let items = Items(.key, (0..<operations).map { _ in random.next(below: keys) })
        show("store", "GET", report) { _ = subject.get(items) }
        show("store", "SET", report) { _ = subject.set(items, 0..<items.count) }
        for shape in [RequestShape.pipeline("GET", depth: 1), .pipeline("GET", depth: 16), .multiple("MGET", count: 16),
            .pipeline("SET", depth: 1), .pipeline("SET", depth: 16), .multiple("MSET", count: 16)]
        {
            var driver = SessionDriver(store: subject.store)
            let stream = RequestStream(shape, keyCount: keys, operationCount: operations)
            // A session's buffers grow with its first requests and then stay.
            driver.feed(RequestStream(shape, keyCount: keys, operationCount: min(operations, 1000)))
            show("session", shape.name, report) { driver.feed(stream) }
        }
    }

    private func show(_ path: String, _ request: String, _ report: Report, _ body: () -> Void) {
        let before = benchmark_allocation_count()
        body()
        let calls = Int(benchmark_allocation_count() - before)
        report.row([
            .text(path), .text(request), .count(operations), .count(calls), .goal(.atMost(0), Double(calls)),
        ])
    }
}
