// Nanoseconds for GET, SET and DEL through the store as a handler uses it, side by side with a dictionary under a lock.
//
// Both sides work on the same keys in the same random order. The keys and values of a round lie side by side in the
// order of use, for the store as bytes, for the dictionary as arrays that were allocated one after another: nobody
// misses the cache on what is asked for, both do on what is stored. The store copies a value that is set; the
// dictionary takes over an array that was made before the clock ran, so SET shows it without the allocation that a
// program would need.
// Rounds of all sides and thread counts take turns; ratios are medians over the rounds, each taken within its round.
// Times leave out what a thread waited for a processor, as the scheduler tells, but not what it waited for a lock.

import ArgumentParser

struct SpeedCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "speed", abstract: "Nanoseconds for GET, SET and DEL, beside a dictionary under a lock.")

    @Option(help: "How many keys there are.") var keys = CountList([1000, 1_000_000, 10_000_000])
    @Option(help: "Numbers of threads; the first is what the others are compared with.") var threads = CountList([1, 2])
    @Option(help: "Operations of a thread in a round.") var operations = 400_000
    @Option(help: "Rounds, whose median counts.") var rounds = 5
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1000...10_000_000).contains(operations), (1...100).contains(rounds),
            threads.counts.allSatisfy({ $0 <= 64 })
        else { throw ValidationError("operations: 1000 to 10000000, rounds: 1 to 100, threads: up to 64") }
    }

    func run() {
        for count in keys.counts {
            let engine = EngineSubject(keyCount: count)
            measureOperations(engine, keyCount: count)
            measureBatches(engine, keyCount: count)
            measureRequests(engine, keyCount: count)
        }
    }

    // MARK: Single operations

    private func measureOperations(_ engine: EngineSubject, keyCount: Int) {
        let dictionary = DictionarySubject(keyCount: keyCount)
        let work = (0..<(threads.counts.max() ?? 1)).map {
            ThreadWork(thread: $0, keyCount: keyCount, operationCount: operations)
        }
        let report = Report(
            "speed",
            ["keys:9", "threads", "operation:13", "kedis ns", "lowest", "dictionary ns:13", "dictionary lowest",
             "ratio", "goal:13", "kedis gain", "gain goal:13", "dictionary gain"],
            isJSON: output.isJSON)
        for operation in Operation.allCases {
            var samples = OperationSamples()
            for _ in 0..<rounds {
                for count in threads.counts {
                    samples.add(engine.nanoseconds(operation, work, threads: count), "kedis", operation, count)
                    samples.add(dictionary.nanoseconds(operation, work, threads: count), "dictionary", operation, count)
                }
            }
            for measured in operation.measured { show(samples, measured, keyCount, report) }
        }
    }

    private func show(_ samples: OperationSamples, _ name: String, _ keyCount: Int, _ report: Report) {
        let first = threads.counts[0]
        for count in threads.counts {
            let kedis = samples["kedis", name, count], dictionary = samples["dictionary", name, count]
            let ratio = median(zip(kedis, dictionary).map { $0 / $1 })
            let gain = median(zip(samples["kedis", name, first], kedis).map { $0 / $1 })
            let otherGain = median(zip(samples["dictionary", name, first], dictionary).map { $0 / $1 })
            report.row([
                .count(keyCount), .count(count), .text(name), .decimal(median(kedis), digits: 1),
                .decimal(kedis.min() ?? 0, digits: 1), .decimal(median(dictionary), digits: 1),
                .decimal(dictionary.min() ?? 0, digits: 1), .decimal(ratio, digits: 2),
                dictionaryGoal(name, keyCount, count).map { .goal($0, ratio) } ?? .none,
                .decimal(gain, digits: 2), first == 1 && count == 2 ? .goal(.atLeast(1.9), gain) : .none,
                .decimal(otherGain, digits: 2),
            ])
        }
    }

    private func dictionaryGoal(_ name: String, _ keyCount: Int, _ threadCount: Int) -> Goal? {
        guard name == "GET hit", threadCount == 1 else { return nil }
        return keyCount == 1_000_000 ? .atMost(0.8) : keyCount == 10_000_000 ? .atMost(0.6) : nil
    }

    // MARK: Batches

    private func measureBatches(_ engine: EngineSubject, keyCount: Int) {
        let work = ThreadWork(thread: 99, keyCount: keyCount, operationCount: operations)
        let report = Report(
            "speed-batch", ["keys:9", "operation:13", "batch", "ns", "lowest", "gain", "goal:11"],
            isJSON: output.isJSON)
        for (name, isWrite) in [("GET hit", false), ("SET overwrite", true)] {
            let sizes = [1, 16, 64]
            var samples: [[Double]] = [[], [], []]
            for _ in 0..<rounds {
                for (index, size) in sizes.enumerated() {
                    let total = engine.batched(work, size: size, isWrite: isWrite)
                    samples[index].append(Double(total) / Double(operations))
                }
            }
            for (index, size) in sizes.enumerated() {
                let gain = median(zip(samples[0], samples[index]).map { $0 / $1 })
                report.row([
                    .count(keyCount), .text(name), .count(size), .decimal(median(samples[index]), digits: 1),
                    .decimal(samples[index].min() ?? 0, digits: 1), .decimal(gain, digits: 2),
                    size == 1 || isWrite ? .none : batchGoal(keyCount).map { .goal($0, gain) } ?? .none,
                ])
            }
        }
    }

    private func batchGoal(_ keyCount: Int) -> Goal? {
        keyCount == 1_000_000 ? .atLeast(2) : keyCount == 10_000_000 ? .atLeast(3) : nil
    }

    // MARK: Through sessions

    private func measureRequests(_ engine: EngineSubject, keyCount: Int) {
        let shapes = [
            RequestShape.pipeline("GET", depth: 1), .pipeline("GET", depth: 16), .pipeline("GET", depth: 64),
            .multiple("MGET", count: 16), .multiple("MGET", count: 64), .pipeline("SET", depth: 1),
            .pipeline("SET", depth: 16), .pipeline("SET", depth: 64), .multiple("MSET", count: 16),
        ]
        var driver = SessionDriver(store: engine.store)
        let requests = shapes.map { RequestStream($0, keyCount: keyCount, operationCount: operations / 2) }
        var samples = [[Double]](repeating: [], count: shapes.count)
        for _ in 0..<rounds {
            for index in shapes.indices { samples[index].append(driver.nanosecondsPerKey(requests[index])) }
        }
        let report = Report(
            "speed-session", ["keys:9", "request:14", "ns a key", "lowest", "gain"], isJSON: output.isJSON)
        for (index, shape) in shapes.enumerated() {
            let single = samples[shape.isWrite ? 5 : 0]
            report.row([
                .count(keyCount), .text(shape.name), .decimal(median(samples[index]), digits: 1),
                .decimal(samples[index].min() ?? 0, digits: 1),
                .decimal(median(zip(single, samples[index]).map { $0 / $1 }), digits: 2),
            ])
        }
    }
}

/// What is measured together. New keys are removed again, so that the number of keys stays what it is.
enum Operation: CaseIterable {
    case getHit
    case getMiss
    case setOverwrite
    case setNewThenDelete

    var measured: [String] {
        switch self {
        case .getHit: ["GET hit"]
        case .getMiss: ["GET miss"]
        case .setOverwrite: ["SET overwrite"]
        case .setNewThenDelete: ["SET new", "DEL"]
        }
    }
}

/// Nanoseconds for an operation, all threads together, by side, name and number of threads.
struct OperationSamples {
    private var values: [String: [Double]] = [:]

    mutating func add(_ nanoseconds: [Double], _ side: String, _ operation: Operation, _ threadCount: Int) {
        for (name, value) in zip(operation.measured, nanoseconds) {
            values["\(side) \(name) \(threadCount)", default: []].append(value)
        }
    }

    subscript(side: String, name: String, threadCount: Int) -> [Double] {
        values["\(side) \(name) \(threadCount)"] ?? []
    }
}
