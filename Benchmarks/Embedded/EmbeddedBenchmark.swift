// Measures the path of a command without a network: nanoseconds for GET and SET in the process.
//
//      swift run -c release kedis-benchmark [KEYS]
//
// `session`: requests as bytes through parser, plan, store and reply, one request a call (P=1) and in pipelines; what a transport sees.
// `library`: `KedisConnection.execute`, arguments as arrays, the reply as a value; what a program sees.
// Keys are visited at random, so large key counts show the cache misses. Each line is the median of five rounds.

import Kedis
import KedisCommands
import KedisProtocol
import KedisStore
import KedisUtilities

@main
struct EmbeddedBenchmark {
    /// Operations a round, a multiple of 128.
    let operationCount: Int
    let keyCount: Int
    private let value = [UInt8](repeating: 0x78, count: 32)

    init(operationCount: Int, keyCount: Int) {
        self.operationCount = operationCount
        self.keyCount = keyCount
    }

    static func main() throws {
        let arguments = CommandLine.arguments.dropFirst().compactMap { Int($0) }
        let keyCount = arguments.first ?? 1_000_000
        let operationCount = arguments.dropFirst().first ?? 400_000
        guard (1...50_000_000).contains(keyCount), (128...100_000_000).contains(operationCount) else {
            print("usage: kedis-benchmark [KEYS [OPERATIONS]]   (keys: 1 to 50000000, operations: from 128)")
            return
        }
        print("\(keyCount) keys, 32-byte values, \(operationCount) operations a round, median of 5 rounds")
        let benchmark = EmbeddedBenchmark(operationCount: operationCount, keyCount: keyCount)
        benchmark.measureSession()
        benchmark.measureLibrary()
    }

    func key(_ index: Int) -> [UInt8] {
        let digits = String(index)
        return Array("key:".utf8) + [UInt8](repeating: 0x30, count: 12 - digits.count) + Array(digits.utf8)
    }

    func measureSession() {
        let engine = Engine(store: Store(seed: HashSeed(systemEntropy(), systemEntropy())), seed: systemEntropy())
        var session = Session(engine: engine)
        for first in stride(from: 0, to: keyCount, by: 1000) {
            let requests = (first..<min(first + 1000, keyCount)).flatMap { encodeRequest([Array("SET".utf8), key($0), value]) }
            feed(requests, to: &session)
        }
        for (name, tail) in [("GET", []), ("SET", [value])] {
            for depth in [1, 16, 128] {
                var random = RandomGenerator(seed: 1)
                let batches = (0..<(operationCount / depth)).map { _ in
                    (0..<depth).flatMap { _ in
                        encodeRequest([Array(name.utf8), key(Int(random.next(below: UInt64(keyCount))))] + tail)
                    }
                }
                let nanoseconds = median(rounds: 5) {
                    for batch in batches { feed(batch, to: &session) }
                }
                report("session  \(name)  P=\(depth)", nanoseconds / Double(batches.count * depth))
            }
        }
    }

    func feed(_ bytes: [UInt8], to session: inout Session) {
        bytes.withUnsafeBytes { session.receive($0) }
        session.output.removeAll()
    }

    func measureLibrary() {
        let connection = KedisDatabase().connect()
        for index in 0..<keyCount { _ = connection.execute([Array("SET".utf8), key(index), value]) }
        var random = RandomGenerator(seed: 2)
        let keys = (0..<operationCount).map { _ in key(Int(random.next(below: UInt64(keyCount)))) }
        let get = Array("GET".utf8)
        let set = Array("SET".utf8)
        let getTime = median(rounds: 5) { for key in keys { _ = connection.execute([get, key]) } }
        report("library  GET", getTime / Double(keys.count))
        let setTime = median(rounds: 5) { for key in keys { _ = connection.execute([set, key, value]) } }
        report("library  SET", setTime / Double(keys.count))
    }

    /// The median duration of `body`, in nanoseconds.
    func median(rounds: Int, _ body: () -> Void) -> Double {
        let durations = (0..<rounds).map { _ in
            let start = monotonicNanoseconds()
            body()
            return Double(monotonicNanoseconds() - start)
        }
        return durations.sorted()[rounds / 2]
    }

    func report(_ name: String, _ nanoseconds: Double) {
        print(name + String(repeating: " ", count: max(1, 24 - name.count)) + "\((nanoseconds * 10).rounded() / 10) ns")
    }
}
