// The store's model: plain dictionaries with the same rules, and what a walk of random operations needs around it.
//
// Every operation runs on both (StoreModel+Operations.swift, StoreModel+Background.swift); results and, from time to
// time, everything that is stored are compared.

import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

struct ModelValue: Equatable {
    var bytes: [UInt8]
    var deadline: Int64
}

/// The live keys of every database at `now`, and what the store's observers have said.
///
/// The model is changed after the store, so that an observer sees it as it was before the operation.
final class StoreModel: @unchecked Sendable {
    // Sendable: the walk has one thread.
    var databases: [[[UInt8]: ModelValue]]
    /// Keys that were due when they left `databases`: nobody sees them, but the store may still hold them.
    var hidden: [Set<[UInt8]>]
    var now: Int64 = 1_700_000_000_000
    var evicted: [(database: Int, key: [UInt8])] = []
    var expiredCount = 0
    /// Keys that expired although the model has them alive.
    var wronglyExpired: [String] = []

    init(databaseCount: Int) {
        databases = Array(repeating: [:], count: databaseCount)
        hidden = Array(repeating: [], count: databaseCount)
    }

    func isLive(_ value: ModelValue) -> Bool { value.deadline == noDeadline || value.deadline > now }

    func dropDue() {
        for index in databases.indices where databases[index].values.contains(where: { !isLive($0) }) {
            hidden[index].formUnion(databases[index].lazy.filter { !self.isLive($0.value) }.map(\.key))
            databases[index] = databases[index].filter { isLive($0.value) }
        }
    }

    func dropDue(_ database: Int, _ key: [UInt8]) {
        guard let value = databases[database][key], !isLive(value) else { return }
        databases[database][key] = nil
        hidden[database].insert(key)
    }

    func noteExpired(_ database: Int, _ key: ByteView) {
        expiredCount += 1
        if let value = databases[database][key.bytes], isLive(value) {
            wronglyExpired.append("\(database) \(key.text.prefix(20)) \(value.deadline - now)")
        }
    }
}

func storedBytes(_ entry: Entry) -> [UInt8] {
    switch entry.string {
    case .integer(let value): Array("\(value)".utf8)
    case .bytes(let bytes): bytes.bytes
    }
}

func testGenerator(_ label: String) -> RandomGenerator { .forTest(label) }

/// Calls `body` with a view of `bytes`.
func withView<Result, Failure: Error>(
    _ bytes: [UInt8], _ body: (ByteView) throws(Failure) -> Result
) throws(Failure) -> Result {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { buffer.deallocate() }
    buffer.copyBytes(from: bytes)
    return try body(ByteView(UnsafeRawBufferPointer(buffer)))
}

func withKey<Result, Failure: Error>(
    _ store: Store, _ name: [UInt8], _ body: (Key) throws(Failure) -> Result
) throws(Failure) -> Result {
    try withView(name) { (view) throws(Failure) in try body(store.key(view)) }
}

/// Sets `name` to `value` in database 0, with all stripes locked by the caller.
func put(
    _ store: Store, _ name: [UInt8], _ value: [UInt8], deadline: DeadlineUpdate = .clear, now: Int64 = 1000
) throws(StoreError) {
    let keyspace = store.keyspace(0, nowMilliseconds: now, held: .all)
    try withKey(store, name) { (key) throws(StoreError) in
        try withView(value) { (value) throws(StoreError) in try keyspace.setString(key, value, deadline: deadline) }
    }
}

/// What is stored under `name` in database 0, with all stripes locked by the caller.
func get(_ store: Store, _ name: [UInt8], now: Int64 = 1000) -> [UInt8]? {
    let keyspace = store.keyspace(0, nowMilliseconds: now, held: .all)
    return withKey(store, name) { keyspace.peek($0).map(storedBytes) }
}

/// How a walk behaves.
struct ModelShape: Sendable, CustomTestStringConvertible {
    var keyCount: Int
    var databaseCount: Int
    /// Steps between two walks of all invariants and between two comparisons of everything.
    var checkInterval = 1
    var compareInterval = 100
    /// Whether there are keys of 16 and 64 KiB and values up to 1 MiB.
    var hasLargeThings = true
    /// Of 1000 choices, how many are for growing instead of shrinking; changes while the walk goes on.
    var growth = 500

    var testDescription: String { "\(keyCount) keys in \(databaseCount) databases" }
}

/// A SCAN that is under way.
struct RunningScan {
    var database: Int
    var cursor: UInt64 = 0
    /// Keys that were there at every step so far.
    var stable: Set<[UInt8]>
    var given: Set<[UInt8]> = []
}

/// A store and its model, walked through random operations.
struct ModelWalk {
    let store: Store
    let model: StoreModel
    var generator: RandomGenerator
    var shape: ModelShape
    let names: [[UInt8]]
    var scans: [RunningScan] = []
    var stepCount = 0
    var evictedCount = 0
    var refusedCount = 0
    private var recent: [String] = []

    init(generator: RandomGenerator, shape: ModelShape) {
        var generator = generator
        let model = StoreModel(databaseCount: shape.databaseCount)
        store = Store(databaseCount: shape.databaseCount, seed: HashSeed(generator.next(), generator.next()))
        store.observeKeyEvents { event, databaseIndex, key in
            if event == .expired { model.noteExpired(databaseIndex, key) }
            if event == .evicted { model.evicted.append((databaseIndex, key.bytes)) }
        }
        self.model = model
        self.generator = generator
        self.shape = shape
        names = (0..<shape.keyCount).map { ModelWalk.name($0, hasLargeThings: shape.hasLargeThings) }
    }

    /// The name of a key: the empty one, some of 16 KiB and of 64 KiB, and short ones of all lengths.
    private static func name(_ index: Int, hasLargeThings: Bool) -> [UInt8] {
        if index == 0 { return [] }
        let name = Array("\(index):".utf8)
        let byteCount =
            switch index % 101 {
            case 1 where hasLargeThings: (16 << 10) - 2 + index % 4
            case 2 where hasLargeThings: 64 << 10
            case 3...20: index % 600
            default: 4 + index * 7 % 30
            }
        return name + [UInt8](repeating: 0x6B, count: max(0, byteCount - name.count))
    }

    /// The last operations, newest last: what a failure shows.
    var history: String { "step \(stepCount)\n" + recent.joined(separator: "\n") }

    /// KEDIS_MODEL_TRACE=1 prints every operation: what led to a trap.
    private static let isTracing = TestFiles.environment("KEDIS_MODEL_TRACE") == "1"

    mutating func note(_ text: String) {
        recent.append(text)
        if ModelWalk.isTracing { print("\(shape.keyCount) \(stepCount) \(model.now): \(text)") }
        if recent.count > 12 { recent.removeFirst() }
    }

    func show(_ key: [UInt8]) -> String { String(decoding: key.prefix(20), as: UTF8.self) }

    mutating func randomKey() -> [UInt8] { names[generator.next(below: names.count)] }

    mutating func randomDatabase() -> Int { generator.next(below: model.databases.count) }

    mutating func randomBytes() -> [UInt8] {
        let byteCount: Int
        switch generator.next(below: 100) {
        case 0..<20: return Array("\(Int64(bitPattern: generator.next()) >> Int64(generator.next(below: 64)))".utf8)
        case 20..<25: return []
        case 25..<30: byteCount = 1
        case 30..<36: byteCount = 43 + generator.next(below: 4)
        case 36..<44: byteCount = 490 + generator.next(below: 30)
        case 44..<60: byteCount = generator.next(below: 1200)
        case 60..<63 where shape.hasLargeThings: byteCount = (16 << 10) - 2 + generator.next(below: 5)
        case 63 where shape.hasLargeThings && generator.next(below: 8) == 0: byteCount = 1 << 20
        case 64 where shape.hasLargeThings: byteCount = 3000 + generator.next(below: 40_000)
        default: byteCount = generator.next(below: 60)
        }
        // The first byte is no digit, so that the string is no integer.
        var bytes = [UInt8](repeating: UInt8(0x61 + generator.next(below: 26)), count: byteCount)
        for _ in 0..<min(8, byteCount) {
            bytes[generator.next(below: byteCount)] = UInt8(truncatingIfNeeded: generator.next() | 0x80)
        }
        return bytes
    }

    /// A deadline soon after now, long after, or already past.
    mutating func randomDeadline() -> Int64 {
        switch generator.next(below: 8) {
        case 0: model.now - Int64(generator.next(below: 100))
        case 1: model.now + Int64(generator.next(below: 1 << 40))
        case 2: model.now + Int64(generator.next(below: 200_000))
        case 3 where generator.next(below: 20) == 0: .max
        default: model.now + Int64(generator.next(below: 2000))
        }
    }

    /// One step: an operation or something of the background, and the checks that are due after it.
    mutating func step() throws {
        stepCount += 1
        // Phases of growth and of shrinking, so that tables split and merge.
        if generator.next(below: 2000) == 0 { shape.growth = 200 + generator.next(below: 700) }
        switch generator.next(below: 100) {
        case 0..<90: try operate()
        default: runBackground()
        }
        #expect(model.wronglyExpired.isEmpty, "\(model.wronglyExpired)\n\(history)")
        if generator.next(below: shape.checkInterval) == 0 { store.checkInvariants() }
        if generator.next(below: shape.compareInterval) == 0 { compareAll() }
    }

    /// Compares everything, by a walk and by SCAN with random counts.
    mutating func compareAll() {
        store.checkInvariants()
        model.dropDue()
        #expect(store.usedByteCount == store.memoryStatistics().usedByteCount, "\(history)")
        #expect(store.statistics().expired == UInt64(model.expiredCount), "\(history)")
        for index in model.databases.indices {
            let keyspace = store.keyspace(index, nowMilliseconds: model.now)
            var walked: [[UInt8]: ModelValue] = [:]
            keyspace.forEachEntry {
                walked[$0.key.bytes] = ModelValue(bytes: storedBytes($0), deadline: $0.deadlineMilliseconds)
            }
            #expect(walked.count == model.databases[index].count, "\(history)")
            // A failed comparison of the dictionaries would print all of both.
            let isEqual = walked == model.databases[index]
            #expect(isEqual, "the walk found something else\n\(history)")
            var scanned: [[UInt8]] = []
            var cursor: UInt64 = 0
            repeat {
                cursor = keyspace.scan(from: cursor, count: 1 + generator.next(below: 40)) {
                    scanned.append($0.key.bytes)
                }
            } while cursor != 0
            let isScanned = scanned.count == walked.count && Set(scanned) == Set(walked.keys)
            #expect(isScanned, "\(scanned.count) scanned of \(walked.count)\n\(history)")
        }
    }
}
