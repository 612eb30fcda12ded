// The path of a command without a network: nanoseconds for GET and SET, as a transport and as a program see them.
//
// `session`: requests as bytes through parser, plan, store and reply, one request a call (P=1) and in pipelines.
// `library`: `KedisConnection.execute`, arguments as arrays, the reply as a value.

import ArgumentParser
import Kedis
import KedisCommands
import KedisProtocol
import KedisStore
import KedisUtilities

struct SessionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "session", abstract: "Nanoseconds for GET and SET through sessions and through the library.")

    @Option(help: "How many keys there are.") var keys = CountList([1000, 1_000_000])
    @Option(help: "Operations of a round.") var operations = 400_000
    @Option(help: "Rounds, whose median counts.") var rounds = 5
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1000...10_000_000).contains(operations), (1...100).contains(rounds) else {
            throw ValidationError("operations: 1000 to 10000000, rounds: 1 to 100")
        }
    }

    func run() {
        let report = Report("session", ["keys:9", "path:8", "request:12", "ns", "lowest"], isJSON: output.isJSON)
        for count in keys.counts {
            measureSession(count, report)
            measureLibrary(count, report)
        }
    }

    private func measureSession(_ keyCount: Int, _ report: Report) {
        var driver = SessionDriver(store: EngineSubject(keyCount: keyCount).store)
        for name in ["GET", "SET"] {
            for depth in [1, 16, 128] {
                let shape = RequestShape.pipeline(name, depth: depth)
                let stream = RequestStream(shape, keyCount: keyCount, operationCount: operations)
                show("session", shape.name, keyCount, report) { driver.nanosecondsPerKey(stream) }
            }
        }
    }

    private func measureLibrary(_ keyCount: Int, _ report: Report) {
        let connection = KedisDatabase().connect()
        let get = Array("GET".utf8), set = Array("SET".utf8)
        for index in 0..<keyCount { _ = connection.execute([set, itemArray(.key, index), itemArray(.value, index)]) }
        var random = RandomGenerator(seed: 2)
        let keys = (0..<operations).map { _ in itemArray(.key, random.next(below: keyCount)) }
        let value = itemArray(.value, 1)
        show("library", "GET", keyCount, report) {
            duration { for key in keys { _ = connection.execute([get, key]) } } / Double(keys.count)
        }
        show("library", "SET", keyCount, report) {
            duration { for key in keys { _ = connection.execute([set, key, value]) } } / Double(keys.count)
        }
    }

    private func show(_ path: String, _ name: String, _ keyCount: Int, _ report: Report, _ body: () -> Double) {
        let samples = (0..<rounds).map { _ in body() }
        report.row([
            .count(keyCount), .text(path), .text(name), .decimal(median(samples), digits: 1),
            .decimal(samples.min() ?? 0, digits: 1),
        ])
    }

    private func duration(_ body: () -> Void) -> Double {
        let watch = Stopwatch()
        body()
        return Double(watch.nanoseconds)
    }
}

/// How keys are asked for.
enum RequestShape {
    case pipeline(String, depth: Int)
    case multiple(String, count: Int)

    var name: String {
        switch self {
        case .pipeline(let name, let depth): "\(name) P=\(depth)"
        case .multiple(let name, let count): "\(name) of \(count)"
        }
    }

    var keyCount: Int {
        switch self {
        case .pipeline(_, let depth): depth
        case .multiple(_, let count): count
        }
    }

    var isWrite: Bool {
        switch self {
        case .pipeline(let name, _), .multiple(let name, _): name.contains("SET")
        }
    }

    /// The bytes that ask for `indices`.
    func encode(_ indices: [Int]) -> [UInt8] {
        switch self {
        case .pipeline(let name, _): indices.flatMap { encodeRequest([Array(name.utf8)] + arguments($0)) }
        case .multiple(let name, _): encodeRequest([Array(name.utf8)] + indices.flatMap { arguments($0) })
        }
    }

    private func arguments(_ index: Int) -> [[UInt8]] {
        isWrite ? [itemArray(.key, index), itemArray(.value, index)] : [itemArray(.key, index)]
    }
}

/// Requests that were made before the clock runs, side by side.
struct RequestStream {
    let bytes: [UInt8]
    /// What is handed to a session at once.
    let ranges: [Range<Int>]
    let operationCount: Int

    init(_ shape: RequestShape, keyCount: Int, operationCount: Int) {
        var random = RandomGenerator(seed: 1)
        var bytes: [UInt8] = [], ranges: [Range<Int>] = []
        for _ in 0..<max(1, operationCount / shape.keyCount) {
            let start = bytes.count
            bytes += shape.encode((0..<shape.keyCount).map { _ in random.next(below: keyCount) })
            ranges.append(start..<bytes.count)
        }
        self.bytes = bytes
        self.ranges = ranges
        self.operationCount = ranges.count * shape.keyCount
    }

    /// `count` requests that `make` makes from their index, `pipeline` of them at once.
    init(count: Int, pipeline: Int, _ make: (Int) -> [UInt8]) {
        var bytes: [UInt8] = [], ranges: [Range<Int>] = []
        for first in stride(from: 0, to: count, by: pipeline) {
            let start = bytes.count
            for index in first..<min(first + pipeline, count) { bytes += make(index) }
            ranges.append(start..<bytes.count)
        }
        self.bytes = bytes
        self.ranges = ranges
        operationCount = count
    }
}

/// Feeds requests to a session, as a transport would.
struct SessionDriver: ~Copyable {
    private var session: Session

    init(store: Store, configuration: Configuration = Configuration()) {
        session = Session(engine: Engine(store: store, configuration: configuration, seed: systemEntropy()))
    }

    mutating func nanosecondsPerKey(_ stream: RequestStream) -> Double {
        let watch = Stopwatch()
        feed(stream)
        return Double(watch.nanoseconds) / Double(stream.operationCount)
    }

    mutating func feed(_ stream: RequestStream) {
        stream.bytes.withUnsafeBytes { bytes in
            for range in stream.ranges {
                session.receive(UnsafeRawBufferPointer(rebasing: bytes[range]))
                session.output.removeAll()
            }
        }
    }
}
