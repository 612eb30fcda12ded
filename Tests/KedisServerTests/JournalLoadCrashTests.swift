// Goal: whichever call of an opening crashes or fails, the next one loads what counted before, the journal or the
// snapshot, and nothing that was not loaded is gone. Method: folders as programs, servers and crashes leave them, on a
// simulated disk; an opening by the keeper's code that ends at each of its calls in turn, with and without the power.

import KedisCommands
import KedisDurability
import KedisPersistence
import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@testable import KedisServer

/// A folder on a simulated disk, and what opens it.
private final class SimulatedFolder {
    static let path = "/disk/d"
    static let snapshotPath = "/disk/d/dump.rdb"
    static let journalPath = "/disk/d/appendonlydir"

    let disk: SimulatedDisk
    private let clock = TestClock()

    init(seed: UInt64) throws {
        disk = SimulatedDisk(seed: seed, directory: "/disk")
        try disk.fileSystem.makeDirectory(Self.path)
        try disk.fileSystem.synchronizeDirectory("/disk")
    }

    /// A store on the folder: as a program has it, as a server does, or one without a journal.
    final class Opened {
        let engine: Engine
        let keeper: JournalKeeper
        private let folder: SimulatedFolder
        private let session: TestSession

        init(_ folder: SimulatedFolder, hasJournal: Bool, takesYounger: Bool) throws {
            self.folder = folder
            let files = folder.disk.fileSystem
            let configuration = Configuration()
            configuration.settle("dir", SimulatedFolder.path)
            configuration.settle("appendonly", hasJournal ? "yes" : "no")
            let store = Store(databaseCount: 1, seed: HashSeed(1, 2))
            var options = JournalOptions()
            options.hasThread = false
            options.nanoseconds = { [clock = folder.clock] in UInt64(clamping: clock.nowMicroseconds) &* 1000 }
            keeper = JournalKeeper(
                configuration: configuration, store: store, fileSystem: files, table: StoreCrashModel.table,
                options: options, log: { _, _ in })
            var contents: JournalContents?
            if hasJournal {
                contents = try keeper.load(beside: SimulatedFolder.snapshotPath, takesYounger: takesYounger)
            }
            if contents == nil {
                _ = try loadSnapshot(
                    into: store, from: SimulatedFolder.snapshotPath, nowMilliseconds: 0, fileSystem: files)
            }
            let engine = Engine(
                store: store, configuration: configuration, clock: folder.clock.engineClock, seed: 3,
                table: StoreCrashModel.table)
            self.engine = engine
            session = TestSession(engine)
            keeper.prepare(
                functions: [],
                owner: JournalOwner(
                    engine: { [weak engine] in engine }, hasOpened: { _ in }, holdsReplies: { _ in },
                    hasAdvanced: { _ in }))
            if hasJournal { try keeper.begin(after: contents?.recovered) }
        }

        var value: Int {
            guard case .bulk(let bytes)? = try? session.call("GET", "n") else { return 0 }
            return Int(String(decoding: bytes, as: UTF8.self)) ?? -1
        }

        /// Whether it is on disk in the journal.
        func set(_ value: Int) throws -> Bool {
            _ = try session.call("SET", "n", "\(value)")
            step()
            return keeper.journal.map { $0.durableSequence == $0.appendedSequence } ?? false
        }

        func step() {
            for _ in 0..<3 {
                folder.clock.advance(microseconds: 1_100_000)
                _ = keeper.journal?.step()
            }
        }

        func save() throws {
            _ = try saveSnapshot(
                of: engine.store, to: SimulatedFolder.snapshotPath, nowMilliseconds: 0,
                fileSystem: folder.disk.fileSystem, journal: keeper.beside(SimulatedFolder.snapshotPath))
        }
    }

    func open(hasJournal: Bool = true, takesYounger: Bool = true) throws -> Opened {
        try Opened(self, hasJournal: hasJournal, takesYounger: takesYounger)
    }

    /// The value of each journal and each snapshot in the folder, those that were put aside, too.
    func values() throws -> Set<Int> {
        var values: Set<Int> = []
        for path in disk.paths where path.hasPrefix("\(Self.path)/dump.rdb") {
            let store = Store(databaseCount: 1, seed: HashSeed(3, 4))
            _ = try loadSnapshot(into: store, from: path, nowMilliseconds: 0, fileSystem: disk.fileSystem)
            values.insert(try value(store))
        }
        for path in Set(disk.paths.filter { $0.hasPrefix(Self.journalPath) }.map(directoryPath(of:))) {
            let store = Store(databaseCount: 1, seed: HashSeed(3, 4))
            _ = try loadJournal(
                path, into: store, configuration: Configuration(), table: StoreCrashModel.table,
                removesLeftovers: false, fileSystem: disk.fileSystem)
            values.insert(try value(store))
        }
        return values
    }

    private func value(_ store: Store) throws -> Int {
        let engine = Engine(store: store, seed: 3, table: StoreCrashModel.table)
        guard case .bulk(let bytes)? = try TestSession(engine).call("GET", "n") else { return 0 }
        return Int(String(decoding: bytes, as: UTF8.self)) ?? -1
    }
}

/// What is in a folder, and which of it counts.
private enum FolderState: CaseIterable {
    case empty, journal, ownSnapshot, youngerSnapshot, emptySnapshot, olderSnapshot, snapshotAhead
    case awaited, awaitedAndSnapshot, snapshotAlone, foreignFiles

    /// Makes it; returns the value that counts.
    func make(_ folder: SimulatedFolder) throws -> Int {
        let files = folder.disk.fileSystem
        /// By another store, without a journal.
        func putSnapshot(_ value: Int?) throws {
            let other = Engine(
                store: Store(databaseCount: 1, seed: HashSeed(7, 8)), seed: 3, table: StoreCrashModel.table)
            if let value { _ = try TestSession(other).call("SET", "n", "\(value)") }
            _ = try saveSnapshot(
                of: other.store, to: SimulatedFolder.snapshotPath, nowMilliseconds: 0, fileSystem: files)
        }
        func putJournal(_ value: Int, saves: Bool = false) throws {
            let opened = try folder.open()
            for value in 1...value { _ = try opened.set(value) }
            if saves { try opened.save() }
            try opened.keeper.close()
        }
        func putAwaited() throws {
            let generation = try JournalGeneration.begin(
                directory: SimulatedFolder.journalPath, fileSystem: files)
            var options = JournalOptions()
            options.hasThread = false
            let journal = try Journal.open(after: generation.recovered, options: options, fileSystem: files)
            Array("*3\r\n$3\r\nSET\r\n$1\r\nn\r\n$3\r\n999\r\n".utf8).withUnsafeBytes {
                _ = journal.append(ByteView($0), databaseIndex: 0, milliseconds: 1)
            }
            try journal.close()
        }
        switch self {
        case .empty: return 0
        case .journal: try putJournal(5)
        case .ownSnapshot: try putJournal(5, saves: true)
        case .youngerSnapshot:
            try putJournal(3)
            try putSnapshot(5)
        case .emptySnapshot:
            // A server that has passed the journal over leaves one.
            try putJournal(5)
            try putSnapshot(nil)
        case .olderSnapshot:
            let opened = try folder.open()
            try putSnapshot(3)
            _ = try opened.set(5)
            try opened.keeper.close()
        case .snapshotAhead:
            let opened = try folder.open()
            _ = try opened.set(3)
            // What the journal has on disk now is all that it ever has.
            let paths = folder.disk.paths.filter { $0.hasSuffix(".kjl") }
            let bytes = paths.map { folder.disk.contents($0) ?? [] }
            _ = try opened.set(5)
            try opened.save()
            for (path, bytes) in zip(paths, bytes) { folder.disk.put(bytes, at: path) }
        case .awaited:
            try putJournal(5)
            try putAwaited()
        case .awaitedAndSnapshot:
            try putJournal(3)
            try putSnapshot(5)
            try putAwaited()
        case .snapshotAlone: try putSnapshot(5)
        case .foreignFiles:
            folder.disk.put(
                Array("*3\r\n$3\r\nSET\r\n$1\r\nn\r\n$1\r\n5\r\n".utf8), at: "\(SimulatedFolder.path)/appendonly.aof")
        }
        return 5
    }

    /// What a server takes, whose journal counts whatever snapshot is beside it.
    var serversValue: Int? { self == .youngerSnapshot ? 3 : nil }
}

@Suite("What a start loads survives crashes")
struct JournalLoadCrashTests {
    /// Opens, writes, saves, closes, until the disk stops it; the last value that is surely on disk.
    private func live(_ folder: SimulatedFolder, takesYounger: Bool, _ wanted: Int, _ known: inout Int) throws {
        let opened = try folder.open(takesYounger: takesYounger)
        guard opened.value == wanted else { throw StoreViolation("\(opened.value) is loaded, not \(wanted)") }
        // As long as it may be the one or the other.
        known = wanted
        if try opened.set(6), !folder.disk.isCrashed { known = 6 }
        guard known == 6 else { return }
        try opened.save()
        try opened.keeper.close()
    }

    /// What was there before an opening and was not loaded is still somewhere.
    private func check(_ folder: SimulatedFolder, keeps lost: Set<Int>, _ what: String) throws {
        let values = try folder.values()
        guard lost.isSubset(of: values) else { throw StoreViolation("\(what): \(lost) were there, \(values) are") }
    }

    /// A crash, or a failure, at each call in turn. Returns how many there were.
    private func run(_ state: FolderState, takesYounger: Bool, crashes: Bool) throws -> Int {
        var (call, comes) = (1, true)
        while comes {
            let what =
                "\(state), \(takesYounger ? "program" : "server"), \(crashes ? "crash" : "failure") at call \(call)"
            let folder = try SimulatedFolder(seed: UInt64(call))
            let usual = try state.make(folder)
            let wanted = takesYounger ? usual : state.serversValue ?? usual
            var others = try folder.values()
            others.subtract([0, wanted, 999])
            // A server keeps a snapshot that is younger than its journal, when it saves before it ends.
            if !takesYounger, state == .youngerSnapshot { others = [] }
            let first = folder.disk.callCount
            if crashes { folder.disk.crash(afterCalls: call) } else { folder.disk.fail(afterCalls: call) }
            var (known, problem): (Int, (any Error)?) = (0, nil)
            do {
                try live(folder, takesYounger: takesYounger, wanted, &known)
            } catch {
                problem = error
                if error is StoreViolation { throw StoreViolation("\(what): \(error)") }
            }
            comes = crashes ? folder.disk.isCrashed : folder.disk.callCount - first >= call
            if !comes, let problem { throw StoreViolation("\(what): \(problem)") }
            folder.disk.restart(losesPower: call % 3 != 0)
            folder.disk.fail(afterCalls: nil)
            // What was appended may be there, what was on disk is.
            for round in 0..<2 {
                let again = try folder.open(takesYounger: takesYounger)
                guard again.value == wanted && known < 6 || again.value == 6 else {
                    throw StoreViolation("\(what): \(again.value) is loaded, not \(wanted), \(known) was on disk")
                }
                if round == 0 { try again.save() }
                try again.keeper.close()
            }
            try check(folder, keeps: others, what)
            call += 1
        }
        return call - 1
    }

    /// Programs, and servers where they take something else, or what there is was put together by another one.
    private func openers(_ state: FolderState) -> [Bool] {
        [.youngerSnapshot, .snapshotAhead, .awaitedAndSnapshot].contains(state) ? [true, false] : [true]
    }

    @Test("A crash at each call of an opening: the next one loads the same", arguments: FolderState.allCases)
    private func crashes(state: FolderState) throws {
        let counts = try openers(state).map { try run(state, takesYounger: $0, crashes: true) }
        print("\(state): crashes at \(counts) calls")
        #expect(counts.allSatisfy { $0 > 20 })
    }

    @Test("A failure at each call of an opening: it is told, or what counts is loaded", arguments: FolderState.allCases)
    private func failures(state: FolderState) throws {
        let counts = try openers(state).map { try run(state, takesYounger: $0, crashes: false) }
        #expect(counts.allSatisfy { $0 > 20 })
    }

    @Test("A store without a journal in between, life after life: what was saved last is loaded")
    func lives() throws {
        let rounds = CrashRounds("loads after crashes", seconds: 2) { seed in
            var random = RandomGenerator(seed: seed)
            let folder = try SimulatedFolder(seed: random.next())
            var counts: [String: Int] = [:]
            // What may be loaded, the surely saved one and what may have come behind it.
            var (possible, next): (Set<Int>, Int) = ([0], 1)
            for _ in 0..<6 {
                // A store without one reads the snapshot alone: what it writes then counts, whatever that was.
                let hasJournal = random.next(below: 3) > 0
                if random.next(below: 2) == 0 { folder.disk.crash(afterCalls: 1 + random.next(below: 60)) }
                let opened = try? folder.open(hasJournal: hasJournal)
                if let opened, !folder.disk.isCrashed {
                    if hasJournal {
                        guard possible.contains(opened.value) else {
                            throw StoreViolation("\(opened.value) is loaded, not one of \(possible)")
                        }
                        possible = [opened.value]
                        counts["compared", default: 0] += 1
                    }
                    for _ in 0..<1 + random.next(below: 3) {
                        if hasJournal { possible.insert(next) }
                        if try opened.set(next), !folder.disk.isCrashed { possible = [next] }
                        next += 1
                    }
                    if !hasJournal || random.next(below: 3) == 0, !folder.disk.isCrashed {
                        possible.insert(next - 1)
                        if (try? opened.save()) != nil, !folder.disk.isCrashed { possible = [next - 1] }
                    }
                    if !folder.disk.isCrashed { try? opened.keeper.close() }
                }
                folder.disk.restart(losesPower: random.next(below: 2) == 0)
            }
            let last = try folder.open()
            guard possible.contains(last.value) else {
                throw StoreViolation("\(last.value) is loaded at last, not one of \(possible)")
            }
            counts["round", default: 0] += 1
            return counts
        }
        if let problem = rounds.problem { return _ = Issue.record("\(problem)") }
        guard !rounds.isSingle, !isSanitized else { return }
        #expect(rounds.counts["compared", default: 0] > 20)
    }
}
