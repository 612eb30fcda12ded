// Goal: streams hold what an array of entries and dictionaries of pending ones hold.
//
// Method: random changes of a stream with consumer groups, on the store and on a model, from a printed seed; small
// limits make many nodes of few entries. After every step the store's invariants are checked, now and then everything is
// compared, in both directions.

import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Streams")
struct StreamModelTests {
    @Test("Random changes do to a stream what they do to a model", arguments: [1, 2, 5, 100, 0])
    func model(entryCountMax: Int) throws {
        let limit = StreamNodeLimit(byteCountMax: entryCountMax == 0 ? 300 : 4096, entryCountMax: entryCountMax)
        var walk = StreamWalk(limit: limit, generator: testGenerator("stream model, limit \(entryCountMax)"))
        for _ in 0..<reducedWhenSanitized(3000) { try walk.step() }
        walk.finish()
    }

    @Test("A long stream is found into from both ends, trimmed from the start, and freed in slices")
    func long() throws {
        let store = Store(databaseCount: 1, seed: HashSeed(1, 2))
        let count = reducedWhenSanitized(200_000)
        store.lock(.all)
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        try withKey(store, Array("stream".utf8)) { key in
            let editor = try keyspace.makeStream(key)
            let stream = editor.stream
            for index in 1...count {
                let id = StreamID(UInt64(index), 0)
                try stream.append(id, fieldCount: 1, limit: StreamNodeLimit()) { $0 == 0 ? "field" : "value" }
            }
            #expect(stream.count == count && stream.nodeCount == (count + 99) / 100)
            for index in stride(from: 1, through: count, by: 997) {
                #expect(stream.find(StreamID(UInt64(index), 0))?.id == StreamID(UInt64(index), 0))
                #expect(stream.find(StreamID(UInt64(index), 1)) == nil)
            }
            #expect(stream.trim(to: .count(count / 2), isApproximate: false, countMax: nil) == count - count / 2)
            #expect(stream.firstID == StreamID(UInt64(count - count / 2 + 1), 0))
            #expect(stream.trim(to: .id(.last), isApproximate: true, countMax: 1000) == 1000)
            editor.finish()
        }
        store.unlock(.all)
        store.checkInvariants()
        store.lock(.all)
        _ = keyspace.removeAll()
        store.unlock(.all)
        while store.maintain(nowMilliseconds: 1000) {}
        #expect(store.memoryStatistics().blobByteCount == 0)
    }

    @Test("Damaged nodes are refused, and never read past their end")
    func damagedNodes() throws {
        var generator = testGenerator("damaged stream nodes")
        var node: [UInt8] = []
        let store = Store(databaseCount: 1, seed: HashSeed(1, 2))
        store.lock(.all)
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        try withKey(store, Array("stream".utf8)) { key in
            let editor = try keyspace.makeStream(key)
            let names: [ByteView] = ["a", "1", "b", "text", "c", "70000"]
            for index in 1...6 {
                try editor.stream.append(
                    StreamID(5, UInt64(index)), fieldCount: index % 3 == 0 ? 1 : 2, limit: StreamNodeLimit()
                ) { names[($0 + index % 2 * 2) % names.count] }
            }
            _ = try editor.stream.delete(StreamID(5, 3))
            editor.stream.forEachNode { _, run in node = run.bytes; return true }
            editor.finish()
        }
        store.unlock(.all)
        #expect(withView(node) { checkedStreamNode($0, StreamID(5, 1))?.liveCount } == 5)
        var accepted = 0
        for _ in 0..<reducedWhenSanitized(200_000) {
            let isCut = generator.next(below: 8) == 0
            var damaged = Array(node.prefix(isCut ? generator.next(below: node.count) : node.count))
            for _ in 0..<1 + generator.next(below: 3) where !damaged.isEmpty {
                damaged[generator.next(below: damaged.count)] = UInt8(truncatingIfNeeded: generator.next())
            }
            // A copy of exactly that size: what reads past it is seen by the address sanitizer.
            if withView(damaged, { checkedStreamNode($0, StreamID(5, 1)) }) != nil { accepted += 1 }
        }
        #expect(accepted < reducedWhenSanitized(200_000) / 2)
    }
}

/// A store and a model that undergo the same changes.
private struct StreamWalk {
    struct Pending: Equatable {
        var consumer: [UInt8]
        var milliseconds: Int64
        var count: UInt64
    }

    struct Group {
        var lastID: StreamID
        var pending: [StreamID: Pending] = [:]
        var consumers: Set<[UInt8]> = []
    }

    private let store = Store(databaseCount: 2, seed: HashSeed(systemEntropy(), systemEntropy()))
    private let keyspace: Keyspace
    private let limit: StreamNodeLimit
    private var generator: RandomGenerator
    private var entries: [(id: StreamID, pieces: [[UInt8]])] = []
    private var groups: [[UInt8]: Group] = [:]
    private var lastID = StreamID.zero
    private var isThere = false
    private var stepCount = 0
    private let name = Array("stream".utf8)

    init(limit: StreamNodeLimit, generator: RandomGenerator) {
        self.generator = generator
        self.limit = limit
        keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
    }

    mutating func finish() {
        store.lock(.all)
        _ = keyspace.removeAll()
        store.unlock(.all)
        while store.maintain(nowMilliseconds: 1000) {}
        #expect(store.memoryStatistics().blobByteCount == 0)
    }

    mutating func step() throws {
        stepCount += 1
        store.lock(.all)
        if !isThere {
            try withKey(store, name) { try keyspace.makeStream($0).finish() }
            (isThere, lastID, entries, groups) = (true, .zero, [], [:])
        }
        let choice = generator.next(below: 100)
        if choice == 0 { try moveAway() } else { try change(choice) }
        if stepCount % 16 == 0 { compare() }
        store.unlock(.all)
        store.checkInvariants()
    }

    private mutating func change(_ choice: Int) throws {
        try withKey(store, name) { key in
            let entry = try #require(keyspace.peek(key))
            let editor = try #require(keyspace.editStream(entry))
            defer { editor.finish() }
            switch choice {
            case 1..<50: try append(editor.stream)
            case 50..<60: try delete(editor.stream)
            case 60..<64: trim(editor.stream)
            default: try changeGroup(editor.stream)
            }
        }
    }

    private mutating func append(_ stream: KedisStore.Stream) throws {
        let jump = generator.next(below: 4)
        let id =
            jump == 0
            ? StreamID(
                lastID.milliseconds + 1 + UInt64(generator.next(below: 1 << 20)), UInt64(generator.next(below: 9)))
            : lastID.next ?? .last
        let fieldCount = 1 + generator.next(below: 3)
        var pieces: [[UInt8]] = []
        for index in 0..<2 * fieldCount {
            let isField = index % 2 == 0
            switch generator.next(below: 6) {
            case 0:
                let bits = generator.next() >> UInt64(generator.next(below: 64))
                pieces.append(Array("\(Int64(truncatingIfNeeded: bits))".utf8))
            case 1: pieces.append([UInt8](repeating: 0x78, count: generator.next(below: isField ? 70 : 400)))
            default: pieces.append(Array("same\(isField ? index : 0)".utf8))
            }
        }
        try withViews(pieces) { views in
            try stream.append(id, fieldCount: fieldCount, limit: limit) { views[$0] }
        }
        entries.append((id, pieces))
        lastID = id
    }

    private mutating func delete(_ stream: KedisStore.Stream) throws {
        guard !entries.isEmpty, generator.next(below: 8) > 0 else {
            let isDeleted = try stream.delete(StreamID(lastID.milliseconds, lastID.sequence &+ 77))
            return #expect(!isDeleted)
        }
        let index = generator.next(below: entries.count)
        let isDeleted = try stream.delete(entries[index].id)
        #expect(isDeleted)
        entries.remove(at: index)
    }

    private mutating func trim(_ stream: KedisStore.Stream) {
        let kept = generator.next(below: 2 * entries.count + 1)
        let isApproximate = generator.next(below: 2) == 0
        let before = entries.count
        let removed: Int
        if generator.next(below: 2) == 0 {
            removed = stream.trim(to: .count(kept), isApproximate: isApproximate, countMax: nil)
            let excess = max(0, before - kept)
            if isApproximate { #expect(removed <= excess) } else { #expect(removed == excess) }
        } else {
            let id = kept < entries.count ? entries[kept].id : lastID
            removed = stream.trim(to: .id(id), isApproximate: isApproximate, countMax: nil)
            let below = entries.prefix { $0.id < id }.count
            if isApproximate { #expect(removed <= below) } else { #expect(removed == below) }
        }
        entries.removeFirst(removed)
    }

    private mutating func changeGroup(_ stream: KedisStore.Stream) throws {
        let groupName = Array("g\(generator.next(below: 3))".utf8)
        let consumerName = Array("consumer \(generator.next(below: 5))".utf8)
        try withViews([groupName, consumerName]) { views in
            guard let group = stream.group(named: views[0]) else {
                #expect(groups[groupName] == nil)
                try stream.makeGroup(views[0], lastID: .zero, readCount: 0)
                groups[groupName] = Group(lastID: .zero)
                return
            }
            if generator.next(below: 200) == 0 {
                stream.removeGroup(group)
                groups[groupName] = nil
                return
            }
            guard let consumer = group.consumer(named: views[1]) else {
                _ = try group.makeConsumer(views[1], seenMilliseconds: 5)
                groups[groupName]?.consumers.insert(consumerName)
                return
            }
            try changePending(group, consumer, groupName, consumerName)
        }
    }

    private mutating func changePending(
        _ group: StreamGroup, _ consumer: StreamConsumer, _ groupName: [UInt8], _ consumerName: [UInt8]
    ) throws {
        let pending = groups[groupName]?.pending ?? [:]
        switch generator.next(below: 20) {
        case 0:
            #expect(group.removeConsumer(consumer) == pending.values.filter { $0.consumer == consumerName }.count)
            groups[groupName]?.consumers.remove(consumerName)
            groups[groupName]?.pending = pending.filter { $0.value.consumer != consumerName }
        case 1..<8:
            for _ in 0..<generator.next(below: 30) {
                let id = pending.keys.randomElement(using: &generator) ?? StreamID(1, 1)
                let isPending = groups[groupName]?.pending[id] != nil
                #expect(group.acknowledge(id) == isPending)
                groups[groupName]?.pending[id] = nil
            }
        default:
            for _ in 0..<generator.next(below: 40) {
                let id = StreamID(UInt64(generator.next(below: 500)), UInt64(generator.next(below: 3)))
                let new = Pending(consumer: consumerName, milliseconds: Int64(generator.next(below: 1000)), count: 3)
                try group.deliver(
                    id, to: consumer, deliveredMilliseconds: new.milliseconds, deliveryCount: new.count)
                groups[groupName]?.pending[id] = new
            }
        }
    }

    /// Renames the key and back, or copies it to the other database and from there, or removes it.
    private mutating func moveAway() throws {
        try withKey(store, name) { key throws(StoreError) in
            try withKey(store, Array("other".utf8)) { other throws(StoreError) in
                switch generator.next(below: 5) {
                case 0:
                    #expect(keyspace.remove(key))
                    isThere = false
                case 1, 2:
                    let isAway = try keyspace.rename(key, to: other)
                    let isBack = try keyspace.rename(other, to: key)
                    #expect(isAway && isBack)
                default:
                    let target = keyspace.selecting(1)
                    let isAway = try keyspace.copy(key, to: other, in: target)
                    let isBack = try target.copy(other, to: key, in: keyspace)
                    #expect(isAway && isBack)
                    #expect(target.remove(other))
                }
            }
        }
    }

    private mutating func compare() {
        guard isThere else { return }
        withKey(store, name) { key in
            guard let stream = keyspace.peek(key)?.stream else { return #expect(Bool(false), "the stream is gone") }
            #expect(stream.count == entries.count && stream.lastID == lastID)
            #expect(stream.lastEntryID == entries.last?.id ?? .zero)
            let lower = generator.next(below: entries.count + 1)
            let upper = generator.next(below: entries.count + 1)
            let first = lower < entries.count ? entries[lower].id : lastID
            let last = upper < entries.count ? entries[upper].id : .last
            let wanted = entries.filter { $0.id >= first && $0.id <= last }
            var seen: [(id: StreamID, pieces: [[UInt8]])] = []
            stream.forEach(from: first, through: last) { seen.append((id: $0.id, pieces: pieces($0))); return true }
            #expect(seen.map(\.id) == wanted.map(\.id) && seen.map(\.pieces) == wanted.map(\.pieces))
            seen = []
            stream.forEachReversed(from: first, through: last) {
                seen.append((id: $0.id, pieces: pieces($0)))
                return true
            }
            #expect(seen.map(\.id) == wanted.map(\.id).reversed())
            #expect(seen.map(\.pieces) == wanted.map(\.pieces).reversed())
            #expect(stream.groupCount == groups.count)
            for (name, model) in groups { compare(stream, name, model) }
        }
    }

    private func compare(_ stream: KedisStore.Stream, _ name: [UInt8], _ model: Group) {
        withView(name) { view in
            guard let group = stream.group(named: view) else { return #expect(Bool(false), "a group is gone") }
            var seen: [StreamID: Pending] = [:]
            group.forEachPending { one in
                seen[one.id] = Pending(
                    consumer: one.consumer?.name.bytes ?? [], milliseconds: one.deliveredMilliseconds,
                    count: one.deliveryCount)
                return true
            }
            #expect(seen == model.pending && group.pendingCount == model.pending.count)
            let names = (0..<group.consumerCount).map { group.consumer($0).name.bytes }
            #expect(Set(names) == model.consumers)
        }
    }

    private func pieces(_ entry: StreamEntry) -> [[UInt8]] {
        var pieces: [[UInt8]] = []
        entry.forEach { field, value in
            pieces.append(bytes(field))
            pieces.append(bytes(value))
        }
        return pieces
    }
}
