// The store's model: plain dictionaries with the same rules, and one step of it against the real store.
//
// Every operation runs on both; results and, from time to time, everything that is stored are compared.

import KedisStore
import KedisUtilities
import Testing

struct ModelValue: Equatable {
    var bytes: [UInt8]
    var deadline: Int64
}

/// The live keys of every database at `now`.
struct StoreModel {
    var databases: [[[UInt8]: ModelValue]]
    var now: Int64 = 1_700_000_000_000

    mutating func dropDue() {
        for index in databases.indices {
            databases[index] = databases[index].filter { $0.value.deadline == noDeadline || $0.value.deadline > now }
        }
    }
}

func storedBytes(_ entry: Entry) -> [UInt8] {
    switch entry.string {
    case .integer(let value): Array("\(value)".utf8)
    case .bytes(let bytes): bytes.bytes
    }
}

func testGenerator(_ label: String) -> RandomGenerator {
    let seed = systemEntropy()
    print("\(label): seed \(seed)")
    return RandomGenerator(seed: seed)
}

func withKey<Result>(_ store: Store, _ name: [UInt8], _ body: (Key) throws -> Result) rethrows -> Result {
    try name.withUnsafeBytes { try body(store.key(ByteView($0))) }
}

/// A store and its model, walked through random operations.
struct ModelWalk {
    let store: Store
    var model: StoreModel
    var generator: RandomGenerator
    let keyCount: Int
    private var recent: [String] = []

    init(seed: UInt64, databaseCount: Int, keyCount: Int) {
        store = Store(databaseCount: databaseCount, seed: HashSeed(seed, ~seed))
        model = StoreModel(databases: Array(repeating: [:], count: databaseCount))
        generator = RandomGenerator(seed: seed)
        self.keyCount = keyCount
    }

    /// The last operations, newest last: what a failure shows.
    var history: String { recent.joined(separator: "\n") }

    private mutating func note(_ text: String) {
        recent.append(text)
        if recent.count > 12 { recent.removeFirst() }
    }

    private mutating func randomKey() -> [UInt8] { Array("key:\(generator.next(below: keyCount))".utf8) }

    private mutating func randomBytes() -> [UInt8] {
        switch generator.next(below: 4) {
        case 0: Array("\(Int64(bitPattern: generator.next()) >> Int64(generator.next(below: 64)))".utf8)
        case 1: []
        case 2: (0..<generator.next(below: 60)).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
        default: [UInt8](repeating: 0x61, count: generator.next(below: 300))
        }
    }

    /// A deadline soon after now, long after, or already past.
    private mutating func randomDeadline() -> Int64 {
        switch generator.next(below: 5) {
        case 0: model.now - Int64(generator.next(below: 100))
        case 1: model.now + Int64(generator.next(below: 1 << 40))
        default: model.now + Int64(generator.next(below: 2000))
        }
    }

    /// Runs one operation on both.
    mutating func step() throws {
        let database = generator.next(below: model.databases.count)
        let key = randomKey()
        let choice = generator.next(below: 1000)
        store.lock(.all)
        defer { store.unlock(.all) }
        let keyspace = store.keyspace(database, nowMilliseconds: model.now, held: .all)
        model.dropDue(database, key)
        switch choice {
        case 0..<250: try set(key, in: database, keyspace)
        case 250..<320: try setInteger(key, in: database, keyspace)
        case 320..<420: try resize(key, in: database, keyspace)
        case 420..<620: remove(key, in: database, keyspace)
        case 620..<720: setDeadline(key, in: database, keyspace)
        case 720..<770: try rename(key, in: database, keyspace)
        case 770..<820: try copy(key, in: database, keyspace)
        case 820..<870: try move(key, in: database, keyspace)
        case 870..<873: flush(database, keyspace)
        case 873..<880: swap(database, keyspace)
        case 880..<910: pickRandom(in: database, keyspace)
        default: read(key, in: database, keyspace)
        }
    }

    private mutating func set(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) throws {
        let bytes = randomBytes()
        let before = model.databases[database][key]?.deadline ?? noDeadline
        let update: DeadlineUpdate
        let deadline: Int64
        switch generator.next(below: 3) {
        case 0: (update, deadline) = (.clear, noDeadline)
        case 1: (update, deadline) = (.keep, before)
        default:
            deadline = randomDeadline()
            update = .set(deadline)
        }
        note("set \(database) \(String(decoding: key, as: UTF8.self)) \(bytes.count) bytes \(update)")
        try withKey(store, key) { key in
            try bytes.withUnsafeBytes { try keyspace.setString(key, ByteView($0), deadline: update) }
        }
        model.databases[database][key] = ModelValue(bytes: bytes, deadline: deadline)
    }

    private mutating func setInteger(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) throws {
        let value = Int64(bitPattern: generator.next()) >> Int64(generator.next(below: 64))
        note("setInteger \(database) \(String(decoding: key, as: UTF8.self)) \(value)")
        let bytes = Array("\(value)".utf8)
        let old = model.databases[database][key]
        try withKey(store, key) { key in
            if old != nil, let entry = keyspace.write(key), entry.encoding == .integer {
                keyspace.replaceInteger(entry, value)
                return
            }
            try keyspace.setInteger(key, value, deadline: .keep)
        }
        model.databases[database][key] = ModelValue(bytes: bytes, deadline: old?.deadline ?? noDeadline)
    }

    private mutating func resize(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) throws {
        let old = model.databases[database][key]
        let count =
            generator.next(below: 3) == 0
            ? generator.next(below: 400) : (old?.bytes.count ?? 0) + generator.next(below: 9)
        note("resize \(database) \(String(decoding: key, as: UTF8.self)) to \(count)")
        var bytes = Array((old?.bytes ?? []).prefix(count))
        bytes += [UInt8](repeating: 0, count: count - bytes.count)
        let position = generator.next(below: count)
        let byte = UInt8(truncatingIfNeeded: generator.next())
        try withKey(store, key) { key in
            let room = try keyspace.resizeString(key, to: count)
            #expect(room.count == count)
            if count > 0 { room[position] = byte }
        }
        if count > 0 { bytes[position] = byte }
        model.databases[database][key] = ModelValue(bytes: bytes, deadline: old?.deadline ?? noDeadline)
    }

    private mutating func remove(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) {
        note("remove \(database) \(String(decoding: key, as: UTF8.self))")
        let removed = withKey(store, key) { keyspace.remove($0) }
        #expect(removed == (model.databases[database].removeValue(forKey: key) != nil), "\(history)")
    }

    private mutating func setDeadline(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) {
        let deadline = generator.next(below: 3) == 0 ? noDeadline : randomDeadline()
        note("setDeadline \(database) \(String(decoding: key, as: UTF8.self)) \(deadline - model.now)")
        let isThere = withKey(store, key) { key in
            guard let entry = keyspace.write(key) else { return false }
            try? keyspace.setDeadline(entry, deadline)
            return true
        }
        #expect(isThere == (model.databases[database][key] != nil), "\(history)")
        model.databases[database][key]?.deadline = deadline
    }

    private mutating func rename(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) throws {
        let target = randomKey()
        note("rename \(database) \(String(decoding: key, as: UTF8.self)) to \(String(decoding: target, as: UTF8.self))")
        let isDone = try withKey(store, key) { key in try withKey(store, target) { try keyspace.rename(key, to: $0) } }
        #expect(isDone == (model.databases[database][key] != nil), "\(history)")
        if let value = model.databases[database].removeValue(forKey: key) { model.databases[database][target] = value }
    }

    private mutating func copy(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) throws {
        let target = randomKey()
        let other = generator.next(below: model.databases.count)
        note(
            "copy \(database) \(String(decoding: key + [0x20] + target, as: UTF8.self)) in \(other)"
        )
        let isDone = try withKey(store, key) { key in
            try withKey(store, target) { try keyspace.copy(key, to: $0, in: keyspace.selecting(other)) }
        }
        #expect(isDone == (model.databases[database][key] != nil), "\(history)")
        if let value = model.databases[database][key] { model.databases[other][target] = value }
    }

    private mutating func move(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) throws {
        let other = generator.next(below: model.databases.count)
        model.dropDue(other, key)
        guard other != database, model.databases[other][key] == nil else { return }
        note("move \(database) \(String(decoding: key, as: UTF8.self)) to \(other)")
        let isDone = try withKey(store, key) { try keyspace.move($0, to: keyspace.selecting(other)) }
        #expect(isDone == (model.databases[database][key] != nil), "\(history)")
        model.databases[other][key] = model.databases[database].removeValue(forKey: key)
    }

    private mutating func flush(_ database: Int, _ keyspace: Keyspace) {
        note("flush \(database)")
        #expect(keyspace.removeAll() >= model.databases[database].filter { isLive($0.value) }.count)
        model.databases[database] = [:]
    }

    private mutating func swap(_ database: Int, _ keyspace: Keyspace) {
        let other = generator.next(below: model.databases.count)
        note("swap \(database) \(other)")
        keyspace.swapDatabases(database, other)
        model.databases.swapAt(database, other)
    }

    private mutating func pickRandom(in database: Int, _ keyspace: Keyspace) {
        var name: [UInt8]?
        let isGiven = keyspace.withRandomEntry(using: &generator) { name = $0.key.bytes }
        #expect(isGiven == (name != nil))
        guard let name else { return }
        let value = model.databases[database][name]
        #expect(value.map(isLive) == true, "a random key that is not there")
    }

    private mutating func read(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) {
        let expected = model.databases[database][key]
        let found = withKey(store, key) { key in
            keyspace.read(key).map { ModelValue(bytes: storedBytes($0), deadline: $0.deadlineMilliseconds) }
        }
        #expect(found == expected, "\(String(decoding: key, as: UTF8.self))\n\(history)")
    }

    private func isLive(_ value: ModelValue) -> Bool { value.deadline == noDeadline || value.deadline > model.now }

    /// Lets time pass on both; `expires` runs the background tick, after which no key is left that was due 16 ms ago.
    mutating func passTime(expires: Bool) {
        model.now += Int64(generator.next(below: 1500))
        note("time passes, \(expires ? "expired on time" : "nobody looks")")
        guard expires else { return }
        while store.expireDue(nowMilliseconds: model.now, limit: 1 + generator.next(below: 50)) > 0 {}
        // The wheel looks at a deadline up to 16 ms late.
        let late = model.databases.map { database in
            database.values.filter { $0.deadline != noDeadline && $0.deadline + 16 > model.now }.count
        }
        model.dropDue()
        for index in model.databases.indices {
            let keyspace = store.keyspace(index, nowMilliseconds: model.now)
            let count = model.databases[index].count
            #expect(keyspace.count >= count && keyspace.count <= count + late[index], "\(history)")
            let withDeadline = model.databases[index].values.filter { $0.deadline != noDeadline }.count
            #expect(keyspace.deadlineCount - withDeadline == keyspace.count - count, "\(history)")
        }
    }

    /// Compares everything, by a walk and by SCAN with random counts.
    mutating func compareAll() {
        store.checkInvariants()
        model.dropDue()
        for index in model.databases.indices {
            let keyspace = store.keyspace(index, nowMilliseconds: model.now)
            var walked: [[UInt8]: ModelValue] = [:]
            keyspace.forEachEntry {
                walked[$0.key.bytes] = ModelValue(bytes: storedBytes($0), deadline: $0.deadlineMilliseconds)
            }
            #expect(walked == model.databases[index], "\(history)")
            var scanned: [[UInt8]] = []
            var cursor: UInt64 = 0
            repeat {
                cursor = keyspace.scan(from: cursor, count: 1 + generator.next(below: 40)) {
                    scanned.append($0.key.bytes)
                }
            } while cursor != 0
            #expect(scanned.count == walked.count && Set(scanned) == Set(walked.keys), "\(history)")
        }
    }
}

extension StoreModel {
    mutating func dropDue(_ database: Int, _ key: [UInt8]) {
        if let value = databases[database][key], value.deadline != noDeadline, value.deadline <= now {
            databases[database][key] = nil
        }
    }
}
