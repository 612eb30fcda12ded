// Goal: whatever ends a backup, a restore or a repair, nothing that looks whole is not, and what was reported as done
// is on disk; a backup goes on when the journal begins anew under its hands. Method: a journal of a real store on a
// simulated disk; each call of the tool in turn crashes with the power lost, or fails.

import KedisCommands
import KedisDurability
import KedisPersistence
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@testable import KedisServer

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A store whose journal lies on a simulated disk, and that has executed some commands.
private final class JournaledStore {
    static let directory = "/disk/d/appendonlydir"
    static let target = "/disk/e"

    let disk: SimulatedDisk
    let clock = TestClock()
    let store = Store(seed: HashSeed(1, 2))
    let journal: Journal
    private let session: TestSession
    private var value = 0

    init(seed: UInt64) throws {
        disk = SimulatedDisk(seed: seed, directory: "/disk")
        try disk.fileSystem.makeDirectory("/disk/d")
        try disk.fileSystem.synchronizeDirectory("/disk")
        let begun = try beginJournal(
            of: store, directory: Self.directory, options: SnapshotOptions(), nowMilliseconds: 0,
            fileSystem: disk.fileSystem)
        var options = JournalOptions()
        options.hasThread = false
        options.policy = .always
        options.segmentByteCount = 1000
        options.nanoseconds = { [clock] in UInt64(clamping: clock.nowMicroseconds) &* 1000 }
        options.milliseconds = { [clock] in clock.nowMicroseconds / 1000 }
        let journal = try Journal.open(after: begun.recovered, options: options, fileSystem: disk.fileSystem)
        self.journal = journal
        let engine = Engine(store: store, clock: clock.engineClock, seed: 3, table: StoreCrashModel.table)
        store.lock(.all)
        engine.journal.connect(
            JournalSink(append: { journal.append($0, databaseIndex: $1, milliseconds: $2) }))
        store.unlock(.all)
        session = TestSession(engine)
        try write(20)
        try compact()
        try write(20)
    }

    /// So many records more, on disk.
    func write(_ count: Int) throws {
        for _ in 0..<count {
            value += 1
            _ = try session.call("SET", "n", "\(value)")
            _ = try session.call("RPUSH", "l", String(repeating: "x", count: 30))
            step()
        }
    }

    func step() {
        clock.advance(microseconds: 1_100_000)
        for _ in 0..<3 { _ = journal.step() }
    }

    func compact() throws {
        let (_, sequence) = try saveJournalBase(
            of: store, behind: journal, directory: Self.directory, options: SnapshotOptions(),
            fileSystem: disk.fileSystem, pause: { [self] in step() })
        try removeJournalFiles(
            before: sequence, of: journal, directory: Self.directory, fileSystem: disk.fileSystem)
    }

    /// The last record of the journal that a start in a folder would read; nil when it would find none.
    func lastSequence(_ directory: String) throws -> UInt64? {
        let store = Store(seed: HashSeed(5, 6))
        let loaded = try loadJournal(
            directory, into: store, configuration: Configuration(), table: StoreCrashModel.table,
            removesLeftovers: false, fileSystem: disk.fileSystem)
        guard loaded.recovered.basePath != nil || loaded.recovered.segmentCount > 0 else { return nil }
        return loaded.recovered.lastSequence
    }

    var targetPaths: [String] { disk.paths.filter { $0.hasPrefix("\(Self.target)/") } }
}

@Suite("Backup, restore and repair survive crashes")
struct JournalToolCrashTests {
    private enum Tool: CaseIterable {
        case backup, snapshotBackup, restore
    }

    private static let target = JournaledStore.target

    private func run(_ tool: Tool, _ model: JournaledStore) throws {
        switch tool {
        case .backup: _ = try backUp("/disk/d", into: Self.target, databaseCount: 16, fileSystem: model.disk.fileSystem)
        case .snapshotBackup:
            _ = try backUp("/disk/d", into: Self.target, prefersSnapshot: true, databaseCount: 16,
                fileSystem: model.disk.fileSystem)
        case .restore:
            _ = try restoreJournal(
                JournaledStore.directory, until: .end, into: Self.target, databaseCount: 16,
                fileSystem: model.disk.fileSystem)
        }
    }

    /// Whether the target looks whole; that it is, then, is checked.
    private func looksWhole(_ tool: Tool, _ model: JournaledStore) throws -> Bool {
        let files = model.disk.fileSystem
        if tool == .backup {
            let inner = "\(Self.target)/appendonlydir"
            guard let last = try model.lastSequence(inner) else { return false }
            #expect(last == model.journal.durableSequence)
            let check = try checkJournal(directory: inner, fileSystem: files)
            #expect(check.damage == nil && check.cut == nil && check.wasClosed)
            return true
        }
        let store = Store(seed: HashSeed(5, 6))
        let path = "\(Self.target)/dump.rdb"
        guard let summary = try loadSnapshot(into: store, from: path, nowMilliseconds: 0, fileSystem: files)
        else { return false }
        #expect(summary.keyCount == 2)
        return true
    }

    private func make(_ tool: Tool) throws -> JournaledStore {
        let model = try JournaledStore(seed: 7)
        guard tool == .snapshotBackup else { return model }
        _ = try saveSnapshot(
            of: model.store, to: "/disk/d/dump.rdb", nowMilliseconds: 0, fileSystem: model.disk.fileSystem)
        return model
    }

    @Test("A loss of power at each call leaves nothing that looks whole and is not; what is done is on disk",
        arguments: Tool.allCases)
    private func crashes(tool: Tool) throws {
        var (call, comes, wholeCount) = (1, true, 0)
        while comes {
            let model = try make(tool)
            model.disk.crash(afterCalls: call)
            let isDone = (try? run(tool, model)) != nil
            comes = model.disk.isCrashed
            model.disk.restart(losesPower: true)
            let isWhole = try looksWhole(tool, model)
            #expect(isWhole || !isDone, "call \(call)")
            if isWhole { wholeCount += 1 }
            call += 1
        }
        print("\(tool): \(call - 1) crashes, \(wholeCount) of them left all")
        #expect(call > 15 && wholeCount > 0 && wholeCount < call - 1)
    }

    @Test("A failure at each call is reported, and leaves neither a folder nor a file", arguments: Tool.allCases)
    private func failures(tool: Tool) throws {
        var (call, comes, failureCount) = (1, true, 0)
        while comes {
            let model = try make(tool)
            let first = model.disk.callCount
            model.disk.fail(afterCalls: call, code: call % 3 == 0 ? ENOSPC : EIO)
            let isDone = (try? run(tool, model)) != nil
            comes = model.disk.callCount - first >= call
            model.disk.fail(afterCalls: nil)
            if isDone {
                #expect(try looksWhole(tool, model))
            } else {
                failureCount += 1
                #expect(model.targetPaths == [], "call \(call)")
                #expect(throws: SystemError.self, "call \(call)") { try model.disk.fileSystem.names(Self.target) }
                // Again, and it is made.
                try run(tool, model)
                #expect(try looksWhole(tool, model))
            }
            call += 1
        }
        #expect(failureCount > 15)
    }

    @Test("A backup begins anew when the journal does, and has what was on disk when it began")
    func compaction() throws {
        let model = try JournaledStore(seed: 7)
        let files = model.disk.fileSystem
        let opened = CallCount()
        var disturbed = files
        let box = UncheckedBox(model)
        disturbed.open = { (path, mode) throws(SystemError) in
            // The names are known; before the third of the files is opened, all are replaced. Twice.
            if mode == .read, path.hasPrefix(JournaledStore.directory), [2, 9].contains(opened.next()) {
                try? box.value.write(5)
                try? box.value.compact()
                try? box.value.write(5)
            }
            return try files.open(path, mode)
        }
        let before = model.journal.durableSequence
        let summary = try backUp("/disk/d", into: Self.target, databaseCount: 16, fileSystem: disturbed)
        let journal = try #require(summary.journal)
        #expect(journal.retryCount > 0)
        #expect(journal.lastSequence >= before && journal.lastSequence == model.journal.durableSequence)
        #expect(try looksWhole(.backup, model))
        // From there as from anywhere: back to each record behind the base.
        for sequence in journal.baseSequence...journal.lastSequence {
            let store = Store(seed: HashSeed(5, 6))
            let loaded = try loadJournal(
                summary.path, until: .sequence(sequence), into: store, configuration: Configuration(),
                table: StoreCrashModel.table, removesLeftovers: false, fileSystem: files)
            #expect(loaded.recovered.lastSequence == sequence)
        }
    }

    @Test("Damage is reported with its place, and nothing is made; a torn tail is left out")
    func damage() throws {
        let model = try JournaledStore(seed: 7)
        let paths = model.disk.paths.filter { $0.hasSuffix(".kjl") }
        // The last one, and one before it that a start needs.
        let (first, last) = (paths[paths.count - 2], try #require(paths.last))
        let bytes = try #require(model.disk.contents(last))
        model.disk.put(bytes + [1, 2, 3, 4, 5], at: last)
        try run(.backup, model)
        #expect(try looksWhole(.backup, model))
        let other = try JournaledStore(seed: 7)
        var broken = try #require(other.disk.contents(first)).withoutRoom
        broken[broken.count / 2] ^= 1
        other.disk.put(broken, at: first)
        var message = ""
        do { try run(.backup, other) } catch { message = "\(error)" }
        #expect(message.contains(first), "\(message)")
        #expect(other.targetPaths == [])
    }

    @Test("A repair that loses power at any call is repeated, and cuts at the same place")
    func repair() throws {
        var (call, comes) = (1, true)
        var wanted: UInt64?
        while comes {
            let model = try JournaledStore(seed: 7)
            let segments = model.disk.paths.filter { $0.hasSuffix(".kjl") }
            let path = segments[segments.count / 2]
            var bytes = try #require(model.disk.contents(path))
            bytes[bytes.count / 2] ^= 1
            model.disk.put(bytes, at: path)
            let repair = { try repairJournal(directory: JournaledStore.directory, fileSystem: model.disk.fileSystem) }
            // Without a crash first: what has to be left.
            if wanted != nil { model.disk.crash(afterCalls: call) }
            _ = try? repair()
            comes = wanted == nil || model.disk.isCrashed
            model.disk.restart(losesPower: true)
            let check = try repair().check
            #expect(check.damage == nil && check.canStart, "call \(call)")
            let last = try #require(try model.lastSequence(JournaledStore.directory))
            if let wanted {
                #expect(last == wanted, "call \(call)")
                call += 1
            }
            wanted = last
        }
        #expect(call > 10)
    }
}

private final class CallCount: Sendable {
    private let count = Locked(0)

    func next() -> Int {
        count.withLock { count in
            count += 1
            return count
        }
    }
}

private struct UncheckedBox: @unchecked Sendable {
    // Sendable: used by the thread of the test only.
    let value: JournaledStore

    init(_ value: JournaledStore) { self.value = value }
}
