// Goal: whatever happens to the disk or the process during a save, the snapshot that is found next is one that was
// saved, whole: the last one that was reported as saved, or a later one that was begun; never none. Method: seeded
// saves on a simulated disk, each call of a save in turn crashing, failing, interrupted or on a full disk.
//
//     KEDIS_JOURNAL_SECONDS=600 swift test --filter SnapshotCrash

import KedisPersistence
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A store that is saved on a simulated disk, and what may be found there.
private final class SavedStore {
    static let path = "/disk/dump.rdb"

    let disk: SimulatedDisk
    let store = makeStore(databaseCount: 2)
    let keeper: SnapshotKeeper
    var generator: RandomGenerator
    /// What a load may find: the last that was reported as saved, and those that were begun later.
    private(set) var allowed: [[StoredKey: StoredValue]] = []
    private var request: SnapshotRequest

    init(seed: UInt64) throws {
        generator = RandomGenerator(seed: seed)
        disk = SimulatedDisk(seed: generator.next(), directory: "/disk")
        keeper = SnapshotKeeper(store: store, fileSystem: disk.fileSystem, nowMilliseconds: testNow)
        request = SnapshotRequest(path: Self.path)
        request.options = SnapshotOptions(compress: generator.next(below: 2) == 0)
        try change()
    }

    func change() throws { try store.fillRandomly(1 + generator.next(below: 8), using: &generator) }

    /// Saves, in the foreground or not.
    func save() throws -> SaveOutcome {
        let wanted = store.contents
        allowed.append(wanted)
        var outcome: SaveOutcome
        if generator.next(below: 8) == 0 {
            let told = Locked<SaveOutcome>(.busy)
            outcome =
                keeper.saveInBackground(
                    request, nowMilliseconds: testNow, completion: { outcome in told.withLock { $0 = outcome } })
                ?? .busy
            keeper.waitUntilIdle()
            // The completion is called behind the end of the save.
            while outcome == .busy { outcome = told.withLock { $0 } }
        } else {
            outcome = keeper.save(request, nowMilliseconds: testNow)
        }
        let status = keeper.status
        if case .saved = outcome {
            allowed = [wanted]
            guard status.lastAttemptSucceeded, keeper.unsavedChanges() == 0 else {
                throw ModelViolation("saved, but the keeper says otherwise")
            }
        } else {
            guard !status.lastAttemptSucceeded, status.lastError != nil else {
                throw ModelViolation("not saved, but the keeper says otherwise")
            }
        }
        return outcome
    }

    /// What the snapshot has, which must be one of those that it may have.
    func load() throws -> Int {
        disk.faults = DiskFaults()
        let found = makeStore(databaseCount: 2)
        let loaded = try loadSnapshot(
            into: found, from: Self.path, nowMilliseconds: testNow, fileSystem: disk.fileSystem)
        guard loaded != nil else { throw ModelViolation("there is no snapshot") }
        let contents = found.contents
        guard let index = allowed.lastIndex(of: contents) else {
            throw ModelViolation("the snapshot has \(contents.count) keys, which nobody has saved so")
        }
        return index
    }

    /// The process ends; when the power fails, what is found from then on is what is on disk.
    func restart(losesPower: Bool) throws {
        disk.restart(losesPower: losesPower)
        let index = try load()
        if losesPower { allowed = [allowed[index]] }
    }

    var hasLeftovers: Bool { disk.paths.contains { $0 != Self.path } }
}

@Suite("A snapshot survives crashes")
struct SnapshotCrashTests {
    private static let saveCount = 8

    private enum Event: CaseIterable {
        case crash, powerLoss, error, full, interruption
    }

    @Test("Each call of a save crashes, fails or is interrupted in turn: the old snapshot is there, or the new one")
    func everyCall() throws {
        var saves = 0
        var events: [String: Int] = [:]
        for seed in 1...UInt64(reducedWhenSanitized(20)) {
            for event in Event.allCases {
                var (call, comes) = (1, true)
                while comes {
                    do {
                        comes = try round(seed: seed, event, call: call, &events)
                    } catch {
                        Issue.record("seed \(seed), \(event) at call \(call): \(error)")
                        return
                    }
                    (saves, call) = (saves + 1, call + 1)
                }
            }
        }
        print("snapshot crashes: \(saves) saves, each with another call failing, \(events.sorted { $0.key < $1.key })")
        for event in ["old", "new", "failed", "saved", "new though failed"] {
            #expect(events[event, default: 0] > 0, "\(event) never happens")
        }
    }

    /// Whether the event came before the save was over.
    private func round(seed: UInt64, _ event: Event, call: Int, _ events: inout [String: Int]) throws -> Bool {
        let model = try SavedStore(seed: seed)
        guard case .saved = try model.save() else { throw ModelViolation("a good disk refuses the first save") }
        try model.change()
        let first = model.disk.callCount
        switch event {
        case .crash, .powerLoss: model.disk.crash(afterCalls: call)
        case .error: model.disk.fail(afterCalls: call)
        case .full: model.disk.fail(afterCalls: call, code: ENOSPC)
        case .interruption: model.disk.fail(afterCalls: call, code: EINTR)
        }
        let outcome = try model.save()
        let comes = model.disk.callCount - first >= call
        model.disk.fail(afterCalls: nil)
        if !model.disk.isCrashed { model.disk.crash(afterCalls: nil) }
        events[outcome.isSaved ? "saved" : "failed", default: 0] += 1
        if event == .crash || event == .powerLoss {
            try model.restart(losesPower: event == .powerLoss)
        } else {
            try checkFailure(model, outcome, &events)
        }
        events[try model.load() == 0 && !outcome.isSaved ? "old" : "new", default: 0] += 1
        // The next one is as good as ever.
        guard try model.save().isSaved else { throw ModelViolation("a good disk refuses a save") }
        try model.restart(losesPower: true)
        return comes
    }

    /// After a failure without a crash: all as it was, unless all but the last step was done.
    private func checkFailure(_ model: SavedStore, _ outcome: SaveOutcome, _ events: inout [String: Int]) throws {
        guard case .failed(.system(let error)) = outcome else { return }
        guard !model.hasLeftovers else { throw ModelViolation("\(model.disk.paths) are left") }
        let isReplaced = try model.load() > 0
        guard !isReplaced || error.path == "/disk" && error.operation == "fsync" else {
            throw ModelViolation("the snapshot is another after \(error)")
        }
        if isReplaced { events["new though failed", default: 0] += 1 }
        guard model.keeper.unsavedChanges() > 0 else { throw ModelViolation("nothing is unsaved after \(error)") }
    }

    @Test("Lives with failing and full disks and lost power: what was saved is there, or what was begun later")
    func lives() throws {
        let rounds = CrashRounds("snapshot crashes", seconds: 1) { seed in
            try live(SavedStore(seed: seed))
            return ["save": Self.saveCount]
        }
        if let problem = rounds.problem { Issue.record("\(problem)") }
    }

    private func live(_ model: SavedStore) throws {
        guard try model.save().isSaved else { throw ModelViolation("a good disk refuses the first save") }
        for _ in 0..<Self.saveCount {
            try model.change()
            switch model.generator.next(below: 4) {
            case 0: model.disk.faults = DiskFaults(interruptions: 100, shortCounts: 300)
            case 1: model.disk.faults = DiskFaults(errors: 100, interruptions: 50, shortCounts: 100)
            case 2: model.disk.faults.capacity = model.generator.next(below: 3000)
            default: model.disk.faults = DiskFaults()
            }
            if model.generator.next(below: 2) == 0 { model.disk.crash(afterCalls: 1 + model.generator.next(below: 12)) }
            _ = try model.save()
            guard model.disk.isCrashed || model.generator.next(below: 4) == 0 else {
                model.disk.crash(afterCalls: nil)
                _ = try model.load()
                continue
            }
            try model.restart(losesPower: model.generator.next(below: 3) > 0)
        }
    }
}

extension SaveOutcome {
    fileprivate var isSaved: Bool {
        if case .saved = self { return true }
        return false
    }
}
