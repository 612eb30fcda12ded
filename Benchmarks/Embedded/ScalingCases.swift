// What the scaling benchmark repeats on each thread: computing, reading memory, and commands on one database.
//
// A worker belongs to one thread at a time; a round's end comes between two. Requests are made before the clock runs,
// from other random keys for each worker. Cost of a worker: the requests, up to 100 bytes an operation.

import Kedis
import KedisCommands
import KedisProtocol
import KedisUtilities

/// Work that a thread repeats.
protocol ScalingWorker: AnyObject, Sendable {
    /// Does some hundred operations and returns how many.
    func step() -> Int
}

/// What is asked for.
enum ScalingLoad {
    case get, set, mix, hotGet, hotIncrement

    func arguments(_ random: inout RandomGenerator, keyCount: Int) -> [[UInt8]] {
        let key = itemArray(.key, random.next(below: keyCount))
        let get = [Array("GET".utf8), key], set = [Array("SET".utf8), key, itemArray(.value, 1)]
        return switch self {
        case .get: get
        case .set: set
        case .mix: random.next() & 1 == 0 ? get : set
        case .hotGet: [Array("GET".utf8), itemArray(.key, 0)]
        case .hotIncrement: [Array("INCR".utf8), Array("counter".utf8)]
        }
    }
}

struct ScalingCase: Sendable {
    let name: String
    private let kind: Kind
    /// All keys are as likely, so threads seldom meet: what the goal is about.
    let isUniform: Bool

    private enum Kind {
        case computing
        case memory
        case session(ScalingLoad, pipeline: Int)
        case library(ScalingLoad)
    }

    static let all = [
        Self(name: "nothing shared", kind: .computing, isUniform: false),
        Self(name: "memory only", kind: .memory, isUniform: false),
        Self(name: "session GET P=1", kind: .session(.get, pipeline: 1), isUniform: true),
        Self(name: "session SET P=1", kind: .session(.set, pipeline: 1), isUniform: true),
        Self(name: "session GET+SET P=1", kind: .session(.mix, pipeline: 1), isUniform: true),
        Self(name: "session GET P=16", kind: .session(.get, pipeline: 16), isUniform: true),
        Self(name: "session SET P=16", kind: .session(.set, pipeline: 16), isUniform: true),
        Self(name: "session GET+SET P=16", kind: .session(.mix, pipeline: 16), isUniform: true),
        Self(name: "library GET", kind: .library(.get), isUniform: true),
        Self(name: "library SET", kind: .library(.set), isUniform: true),
        Self(name: "library GET+SET", kind: .library(.mix), isUniform: true),
        Self(name: "one key, GET P=1", kind: .session(.hotGet, pipeline: 1), isUniform: false),
        Self(name: "one key, GET P=16", kind: .session(.hotGet, pipeline: 16), isUniform: false),
        Self(name: "one key, INCR P=1", kind: .session(.hotIncrement, pipeline: 1), isUniform: false),
        Self(name: "one key, INCR P=16", kind: .session(.hotIncrement, pipeline: 16), isUniform: false),
    ]

    func makeWorkers(_ count: Int, _ database: KedisDatabase, keyCount: Int) -> [any ScalingWorker] {
        let shared = SharedArray()
        return (0..<count).map { index in
            let random = RandomGenerator(seed: UInt64(100 + index))
            return switch kind {
            case .computing: ComputingWorker(random)
            case .memory: MemoryWorker(random, shared)
            case .session(let load, let pipeline):
                SessionWorker(database, load, pipeline: pipeline, random, keyCount: keyCount)
            case .library(let load): LibraryWorker(database, load, random, keyCount: keyCount)
            }
        }
    }
}

/// Operations whose requests are made beforehand, and then repeated: as many as there are keys, within limits.
private func requestCount(_ keyCount: Int) -> Int { min(max(keyCount, 65_536), 1_048_576) & ~1023 }

/// Mixes numbers in an array of 16 KiB that nobody else touches.
private final class ComputingWorker: ScalingWorker, @unchecked Sendable {
    // Sendable: see the file's contract.
    private let numbers = UnsafeMutablePointer<UInt64>.allocate(capacity: 2048)
    private var random: RandomGenerator

    init(_ random: RandomGenerator) {
        self.random = random
        numbers.initialize(repeating: 1, count: 2048)
    }

    deinit { numbers.deallocate() }

    func step() -> Int {
        var random = random
        for _ in 0..<65_536 {
            let number = random.next()
            numbers[Int(number & 2047)] ^= number
        }
        self.random = random
        return 65_536
    }
}

/// 64 MiB that are only read.
private final class SharedArray: @unchecked Sendable {
    // Sendable: never changed after init.
    static let count = 8 << 20
    let numbers = UnsafeMutablePointer<UInt64>.allocate(capacity: count)

    init() { numbers.initialize(repeating: 1, count: Self.count) }
    deinit { numbers.deallocate() }
}

/// Reads the array at random, each time where the last number and chance say: one cache miss after the other.
private final class MemoryWorker: ScalingWorker, @unchecked Sendable {
    // Sendable: see the file's contract.
    private let array: SharedArray
    private var random: RandomGenerator

    init(_ random: RandomGenerator, _ array: SharedArray) {
        self.random = random
        self.array = array
    }

    func step() -> Int {
        let numbers = array.numbers
        var random = random, last: UInt64 = 0
        for _ in 0..<1024 { last = numbers[Int((random.next() &+ last) & UInt64(SharedArray.count - 1))] }
        self.random = random
        use(last)
        return 1024
    }
}

/// Request bytes in, reply bytes out.
private final class SessionWorker: ScalingWorker, @unchecked Sendable {
    // Sendable: see the file's contract.
    private var session: Session
    private let stream: RequestStream
    private let pipeline: Int
    private var next = 0

    init(
        _ database: KedisDatabase, _ load: ScalingLoad, pipeline: Int, _ random: RandomGenerator, keyCount: Int
    ) {
        var random = random
        session = Session(engine: database.engine)
        self.pipeline = pipeline
        stream = RequestStream(count: requestCount(keyCount), pipeline: pipeline) { _ in
            encodeRequest(load.arguments(&random, keyCount: keyCount))
        }
        feed(0..<1, check: true)
    }

    func step() -> Int {
        let batchCount = 256 / pipeline
        feed(next..<next + batchCount, check: false)
        next += batchCount
        if next == stream.ranges.count { next = 0 }
        return batchCount * pipeline
    }

    private func feed(_ batches: Range<Int>, check: Bool) {
        stream.bytes.withUnsafeBytes { bytes in
            for batch in batches {
                session.receive(UnsafeRawBufferPointer(rebasing: bytes[stream.ranges[batch]]))
                if check { precondition(session.output.bytes[0] != UInt8(ascii: "-"), "the request is refused") }
                session.output.removeAll()
            }
        }
    }
}

/// Arguments as arrays in, a reply as a value out.
private final class LibraryWorker: ScalingWorker, @unchecked Sendable {
    // Sendable: see the file's contract.
    private let connection: KedisConnection
    private let requests: [[[UInt8]]]
    private var next = 0

    init(_ database: KedisDatabase, _ load: ScalingLoad, _ random: RandomGenerator, keyCount: Int) {
        var random = random
        connection = database.connect()
        requests = (0..<requestCount(keyCount)).map { _ in load.arguments(&random, keyCount: keyCount) }
    }

    func step() -> Int {
        for position in next..<next + 256 { _ = connection.execute(requests[position]) }
        next += 256
        if next == requests.count { next = 0 }
        return 256
    }
}
