// Goal: large hashes and sets hold what a dictionary holds, also while memory is refused, and give all of it back.
//
// Method: random changes of a table and of a dictionary, from a printed seed, with members and values of every length
// up to outside ones; a scan goes on meanwhile. The invariants are checked every few steps and at the end.

import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

@testable import KedisStore

@Suite("Tables of members")
struct MemberTableTests {
    @Test("Random changes do to a table what they do to a dictionary", arguments: [true, false], [40, 700, 5000])
    func model(isValued: Bool, memberCount: Int) throws {
        let generator = testGenerator("member table, values \(isValued), \(memberCount) members")
        var walk = try MemberWalk(isValued: isValued, memberCount: memberCount, generator: generator)
        for _ in 0..<reducedWhenSanitized(30_000) { walk.step() }
        walk.compare()
        walk.drain()
        walk.finish()
    }

    @Test("A refused change changes nothing", arguments: [true, false])
    func refused(isValued: Bool) throws {
        let generator = testGenerator("member table without memory, values \(isValued)")
        var walk = try MemberWalk(isValued: isValued, memberCount: 3000, generator: generator)
        for _ in 0..<reducedWhenSanitized(5000) { walk.step() }
        walk.refusesSometimes = true
        for _ in 0..<reducedWhenSanitized(20_000) { walk.step() }
        #expect(walk.refusedCount > 0)
        walk.compare()
        walk.finish()
    }

    @Test("Draws are even, in a table of equal and of unequal blocks", arguments: [8, 600])
    func draws(valueByteCount: Int) throws {
        var generator = testGenerator("draws of members")
        let source = UnsafeMutablePointer<MemorySource>.allocate(capacity: 1)
        source.initialize(to: MemorySource())
        let table = try #require(MemberTable.make(isValued: true, seed: HashSeed(1, generator.next()), from: source))
        let memberCount = 400
        for index in 0..<memberCount {
            withView(Array("\(index)".utf8)) { member in
                withView([UInt8](repeating: 97, count: index % 2 == 0 ? valueByteCount : 1)) { value in
                    _ = table.set(member, table.hash(member), value: value)
                }
            }
        }
        var drawn = [Int](repeating: 0, count: memberCount)
        let rounds = 1000
        for _ in 0..<rounds * memberCount {
            if let index = Int(table.element(table.randomPlace(using: &generator)).member.text) { drawn[index] += 1 }
        }
        // A count is normally distributed: six standard deviations are never reached, ten hide no mistake.
        #expect(drawn.allSatisfy { abs($0 - rounds) < 8 * 32 })
        table.release()
        source.deinitialize(count: 1).deallocate()
    }

    @Test("Elements take little more than their bytes")
    func byteCounts() throws {
        let source = UnsafeMutablePointer<MemorySource>.allocate(capacity: 1)
        source.initialize(to: MemorySource())
        for isValued in [true, false] {
            let table = try #require(MemberTable.make(isValued: isValued, seed: HashSeed(1, 2), from: source))
            let count = reducedWhenSanitized(100_000)
            for index in 0..<count {
                let digits = "\(index)"
                let member = Array((String(repeating: "m", count: 16 - digits.count) + digits).utf8)
                withView(member) { view in
                    let change = table.set(view, table.hash(view), value: isValued ? view : .empty)
                    #expect(change == .added)
                }
            }
            table.checkInvariants()
            let byteCount = Double(table.allocatedByteCount) / Double(count)
            print("\(isValued ? "hash" : "set"): \(byteCount) bytes an element of 16")
            #expect(byteCount < (isValued ? 44 : 26))
            table.release()
        }
        source.deinitialize(count: 1).deallocate()
    }
}

/// A table and a dictionary that undergo the same changes.
struct MemberWalk {
    private let source: UnsafeMutablePointer<MemorySource>
    private let table: MemberTable
    private let memberCount: Int
    private var generator: RandomGenerator
    private var model: [[UInt8]: (value: [UInt8], deadline: Int64)] = [:]
    private var stepCount = 0
    var refusesSometimes = false
    private(set) var refusedCount = 0
    /// Of the scan that goes on: what it has still to give, and its cursor.
    private var expected: Set<[UInt8]> = []
    private var cursor: UInt64 = 0

    init(isValued: Bool, memberCount: Int, generator: RandomGenerator) throws {
        self.generator = generator
        self.memberCount = memberCount
        source = .allocate(capacity: 1)
        source.initialize(to: MemorySource())
        table = try #require(
            MemberTable.make(
                isValued: isValued, seed: HashSeed(self.generator.next(), self.generator.next()), from: source))
    }

    private mutating func randomBytes() -> [UInt8] {
        let limit = [4, 30, 30, 130, 300, 700, 5000][generator.next(below: 7)]
        return [UInt8](
            repeating: UInt8(truncatingIfNeeded: generator.next()), count: generator.next(below: limit))
    }

    private mutating func randomMember() -> [UInt8] {
        let index = generator.next(below: memberCount)
        // Some are long, and some outside.
        let length = index % 50 == 0 ? 600 : index % 20 == 0 ? 150 : 0
        return Array("\(index)".utf8) + [UInt8](repeating: 0x6D, count: length)
    }

    mutating func step() {
        stepCount += 1
        if refusesSometimes { refuse(generator.next(below: 3) == 0) }
        // It grows and shrinks in turn.
        let removes = stepCount / (4 * memberCount) % 2 == 1
        switch generator.next(below: 20) {
        case 0...8: removes ? remove() : set()
        case 9...12: set()
        case 13...15: remove()
        case 16: scan()
        case 17: setDeadline()
        case 18: removeRandom()
        default: find()
        }
        if stepCount % 500 == 0 { copy() }
        if stepCount % 50 == 0 { table.checkInvariants() }
    }

    private func refuse(_ isRefused: Bool) {
        source.pointee.byteCountMax.store(isRefused ? 0 : .max, ordering: .relaxed)
    }

    private mutating func set() {
        let (name, value) = (randomMember(), table.isValued ? randomBytes() : [])
        let deadline = generator.next(below: 5) == 0 ? Int64(generator.next(below: 100_000)) : noDeadline
        let change = withView(name) { member in
            withView(value) { view in
                table.set(member, table.hash(member), value: view, deadlineMilliseconds: deadline)
            }
        }
        switch change {
        case .outOfMemory:
            #expect(refusesSometimes)
            refusedCount += 1
        case .added, .replaced:
            #expect((model[name] == nil) == (change == .added))
            model[name] = (value, deadline)
        }
    }

    private mutating func setDeadline() {
        let name = randomMember()
        let deadline = generator.next(below: 3) == 0 ? noDeadline : Int64(generator.next(below: 100_000))
        let isSet = withView(name) { table.setDeadline($0, table.hash($0), deadline) }
        if !isSet {
            #expect(refusesSometimes)
            refusedCount += 1
        } else if model[name] != nil {
            model[name]?.deadline = deadline
        }
    }

    private mutating func remove() {
        let name = randomMember()
        let isRemoved = withView(name) { table.remove($0, table.hash($0)) }
        #expect(isRemoved == (model[name] != nil))
        model[name] = nil
        expected.remove(name)
    }

    private mutating func removeRandom() {
        guard table.count > 0 else { return }
        let place = table.randomPlace(using: &generator)
        let name = table.element(place).member.bytes
        #expect(model[name] != nil)
        table.remove(at: place)
        model[name] = nil
        expected.remove(name)
    }

    private mutating func find() {
        let name = randomMember()
        let found = withView(name) { member in
            table.find(member, table.hash(member)).map { ($0.value.bytes, $0.deadlineMilliseconds) }
        }
        #expect(found?.0 == model[name]?.value && found?.1 == model[name]?.deadline)
    }

    /// A scan gives every member that is there all the time.
    private mutating func scan() {
        if cursor == 0 { expected = Set(model.keys) }
        let limit = 1 + generator.next(below: 30)
        var given: [[UInt8]] = []
        cursor = table.scan(from: cursor, limit: limit) { given.append($0.member.bytes) }
        #expect(given.count <= limit + 10)
        for name in given {
            #expect(model[name] != nil)
            expected.remove(name)
        }
        if cursor == 0 { #expect(expected.isEmpty) }
    }

    private mutating func copy() {
        guard let copy = table.copy() else {
            #expect(refusesSometimes)
            return
        }
        copy.checkInvariants()
        #expect(contents(of: copy).count == model.count)
        #expect(contents(of: copy) == contents(of: table))
        while !copy.releaseSome(byteLimit: 1000) {}
    }

    private func contents(of table: MemberTable) -> [[UInt8]: [UInt8]] {
        var result: [[UInt8]: [UInt8]] = [:]
        table.forEach {
            result[$0.member.bytes] = $0.value.bytes
            return true
        }
        return result
    }

    func compare() {
        table.checkInvariants()
        #expect(table.count == model.count)
        #expect(contents(of: table) == model.mapValues(\.value))
        #expect(table.deadlineCount == model.values.filter { $0.deadline != noDeadline }.count)
    }

    /// A table that loses everything gives its blocks back.
    mutating func drain() {
        refuse(false)
        for name in model.keys.shuffled(using: &generator) {
            #expect(withView(name) { table.remove($0, table.hash($0)) })
        }
        model = [:]
        table.checkInvariants()
        #expect(table.count == 0 && table.allocatedByteCount < 1000)
    }

    func finish() {
        refuse(false)
        table.release()
        // The limit lets nothing through that is not free.
        source.pointee.byteCountMax.store(4096, ordering: .relaxed)
        let isAllBack = source.pointee.reserve(4096)
        #expect(isAllBack)
        source.deinitialize(count: 1).deallocate()
    }
}
