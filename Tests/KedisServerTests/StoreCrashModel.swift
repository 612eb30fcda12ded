// A store with a journal on a simulated disk, beside a model of what it held after each record: lives of a process that
// executes commands, begins the journal anew while more commands come, and ends by a crash at any system call or by the
// power; and what the next one finds.
//
// The code is that of the server: the engine writes its records down, `saveJournalBase` and `removeJournalFiles`
// compact, `loadJournal` recovers; only the thread of the journal is replaced by steps, and time by a clock. The model knows of
// each key its digest and deadline behind each record that changed it.

import KedisCommands
import KedisDurability
import KedisPersistence
import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities

@testable import KedisServer

struct StoreViolation: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

final class StoreCrashModel {
    static let directory = "/disk/appendonlydir"
    private static let databaseCount = 2
    private static let names = (0..<7).map { "k\($0)" }

    private struct Version {
        /// Behind this record.
        var sequence: UInt64
        var digest: String
        var deadlineMilliseconds: Int64
    }

    /// What one life has, and the next one has not.
    private struct Life {
        let store: Store
        let journal: Journal
        let engine: Engine
        /// One for each database.
        let sessions: [TestSession]
    }

    /// Made once: that takes longer than a life.
    static let table = Engine.forTest().table

    let disk: SimulatedDisk
    var generator: RandomGenerator
    private let clock = TestClock()
    private var life: Life?
    /// Of each key of each database, oldest first.
    private var versions: [[Version]]
    /// Records behind which the keys were asked for. A request may make two, as what was due is deleted by a record of
    /// its own: what was there between them is not known.
    private var knownSequences: Set<UInt64> = [0]
    private var appended: UInt64 = 0
    private var promised: UInt64 = 0
    private var isCompacting = false
    private(set) var counts: [String: Int] = [:]

    init(seed: UInt64) {
        generator = RandomGenerator(seed: seed)
        disk = SimulatedDisk(seed: generator.next(), directory: "/disk")
        versions = Array(repeating: [], count: Self.databaseCount * Self.names.count)
    }

    private func count(_ event: String) { counts[event, default: 0] += 1 }

    private var nowMilliseconds: Int64 { clock.nowMicroseconds / 1000 }

    // MARK: Starting

    /// Recovers, however often that crashes or fails; a first attempt crashes at its call `crashCall`. Whether it did.
    @discardableResult
    func start(mayCrash: Bool, crashCall: Int? = nil) throws -> Bool {
        var hasCrashed = false
        for attempt in 0... {
            let isDisturbed = mayCrash && attempt < 3
            disk.faults = isDisturbed ? randomFaults() : DiskFaults()
            let crashes = isDisturbed && generator.next(below: 2) == 0
            disk.crash(afterCalls: attempt == 0 && crashCall != nil ? crashCall : crashes ? randomCall(60) : nil)
            do {
                try startOnce()
                guard disk.isCrashed else {
                    disk.crash(afterCalls: nil)
                    return hasCrashed
                }
            } catch let error as StoreViolation {
                throw error
            } catch {
                guard isDisturbed || disk.isCrashed else { throw StoreViolation("recovery without faults: \(error)") }
                count(disk.isCrashed ? "crash in recovery" : "fault in recovery")
            }
            if disk.isCrashed {
                hasCrashed = true
                restart()
            }
        }
        return hasCrashed
    }

    private func randomCall(_ max: Int) -> Int { 1 + generator.next(below: max) }

    private func startOnce() throws {
        life = nil
        let store = Store(databaseCount: Self.databaseCount, seed: HashSeed(1, 2))
        let configuration = Configuration()
        configuration.settle("save", "")
        configuration.settle("enable-debug-command", "yes")
        let loaded = try loadJournal(
            Self.directory, into: store, configuration: configuration, table: Self.table, removesLeftovers: true,
            fileSystem: disk.fileSystem)
        var recovered = loaded.recovered
        guard recovered.lastSequence >= promised, recovered.lastSequence <= appended else {
            throw StoreViolation("\(promised) of \(appended) were on disk, \(recovered.lastSequence) are left")
        }
        if recovered.basePath == nil, recovered.segmentCount == 0 {
            guard appended == 0 else { throw StoreViolation("the journal is gone") }
            recovered = try beginJournal(
                of: store, directory: Self.directory, options: SnapshotOptions(), nowMilliseconds: nowMilliseconds,
                fileSystem: disk.fileSystem
            ).recovered
        }
        if recovered.baseSequence > 0 { count("base used") }
        if recovered.cut != nil { count("cut") }
        let engine = Engine(
            store: store, configuration: configuration, clock: clock.engineClock, seed: 3, table: Self.table)
        let sessions = try (0..<Self.databaseCount).map { try session(engine, database: $0) }
        try check(sessions, at: recovered.lastSequence, "the recovered store")
        forget(behind: recovered.lastSequence)
        let journal = try Journal.open(after: recovered, options: options(), fileSystem: disk.fileSystem)
        connect(engine, journal)
        life = Life(store: store, journal: journal, engine: engine, sessions: sessions)
        guard journal.durableSequence == appended else { throw StoreViolation("opened and not on disk") }
        promised = appended
        count("start")
    }

    private func session(_ engine: Engine, database: Int) throws -> TestSession {
        let session = TestSession(engine)
        _ = try session.call("SELECT", "\(database)")
        return session
    }

    private func options() -> JournalOptions {
        var options = JournalOptions()
        options.policy = randomPolicy()
        options.segmentByteCount = [600, 3000, 1 << 20][generator.next(below: 3)]
        options.blockByteCount = [600, 4096][generator.next(below: 2)]
        options.hasThread = false
        options.retention = randomRetention()
        options.nanoseconds = { [clock] in UInt64(clamping: clock.nowMicroseconds) &* 1000 }
        options.milliseconds = { [clock] in clock.nowMicroseconds / 1000 }
        return options
    }

    private func randomPolicy() -> JournalPolicy {
        [JournalPolicy.always, .everySecond, .system][generator.next(below: 3)]
    }

    private func randomRetention() -> JournalRetention {
        switch generator.next(below: 3) {
        case 0: JournalRetention(milliseconds: 3000)
        case 1: JournalRetention(byteCount: 4000)
        default: JournalRetention()
        }
    }

    private func randomFaults() -> DiskFaults {
        switch generator.next(below: 4) {
        case 0: DiskFaults(interruptions: 50, shortCounts: 200)
        case 1: DiskFaults(errors: 60, interruptions: 20, shortCounts: 100)
        default: DiskFaults()
        }
    }

    private func connect(_ engine: Engine, _ journal: Journal) {
        engine.store.lock(.all)
        engine.journal.connect(
            JournalSink(
                append: { journal.append($0, databaseIndex: $1, milliseconds: $2) },
                appendedSequence: { journal.appendedSequence }, durableSequence: { journal.durableSequence }))
        engine.store.unlock(.all)
    }

    // MARK: What must be there

    /// What was appended behind `sequence` is lost.
    private func forget(behind sequence: UInt64) {
        for index in versions.indices { versions[index].removeAll { $0.sequence > sequence } }
        knownSequences = knownSequences.filter { $0 <= sequence }
        appended = sequence
    }

    /// Compares what is there with what was there behind the record `sequence`.
    private func check(_ sessions: [TestSession], at sequence: UInt64, _ what: String) throws {
        guard knownSequences.contains(sequence) else { return count("not looked at") }
        for database in 0..<Self.databaseCount {
            let found = try read(sessions[database], Self.names)
            for (index, name) in Self.names.enumerated() {
                let version = versions[database * Self.names.count + index].last { $0.sequence <= sequence }
                let isDue = version.map { $0.deadlineMilliseconds >= 0 && $0.deadlineMilliseconds <= nowMilliseconds }
                var wanted = (Self.nothing, Int64(-2))
                if let version, isDue == false { wanted = (version.digest, version.deadlineMilliseconds) }
                guard found[index] == wanted else {
                    throw StoreViolation(
                        "\(what) behind record \(sequence): \(name) of database \(database) is \(found[index]), "
                            + "not \(wanted)")
                }
            }
        }
        count("compared")
    }

    private static let nothing = String(repeating: "0", count: 40)

    /// Digest and deadline of keys.
    private func read(_ session: TestSession, _ names: [String]) throws -> [(String, Int64)] {
        let requests = [["DEBUG", "DIGEST-VALUE"] + names] + names.map { ["PEXPIRETIME", $0] }
        var decoder = ReplyDecoder()
        decoder.append(session.send(requests.flatMap { RespRunner.encode($0.map { Array($0.utf8) }) }))
        guard case .array(let digests)? = try decoder.next(), digests.count == names.count else {
            throw StoreViolation("no digests")
        }
        return try digests.map { digest in
            guard let text = digest.text, case .integer(let deadline)? = try decoder.next() else {
                throw StoreViolation("no digest: \(digest)")
            }
            return (text, deadline)
        }
    }

    /// The state at some earlier moment, as `kedis restore` makes it, and the checks of `kedis check`.
    func checkHistory() throws {
        disk.faults = DiskFaults()
        let check = try checkJournal(directory: Self.directory, fileSystem: disk.fileSystem)
        guard check.damage == nil else { throw StoreViolation("a check says: \(check.damage.map { "\($0)" } ?? "")") }
        let sequence = UInt64(generator.next(below: Int(appended) + 1))
        let store = Store(databaseCount: Self.databaseCount, seed: HashSeed(3, 4))
        do {
            let loaded = try loadJournal(
                Self.directory, until: .sequence(sequence), into: store, configuration: Configuration(),
                table: Self.table, removesLeftovers: false, fileSystem: disk.fileSystem)
            guard loaded.recovered.lastSequence == sequence else {
                throw StoreViolation("back to \(sequence) leads to \(loaded.recovered.lastSequence)")
            }
        } catch let error as JournalError {
            guard case .noBase = error else { throw StoreViolation("back to \(sequence): \(error)") }
            return count("too far back")
        }
        let configuration = Configuration()
        configuration.settle("enable-debug-command", "yes")
        let engine = Engine(
            store: store, configuration: configuration, clock: clock.engineClock, seed: 3, table: Self.table)
        try self.check(
            (0..<Self.databaseCount).map { try session(engine, database: $0) }, at: sequence, "the state of the past")
        count("back")
    }

    // MARK: Living

    /// Does random things until the end that it chose, or a crash at the call `crashCall`. Whether that came.
    @discardableResult
    func live(stepMax: Int, crashCall: Int?) throws -> Bool {
        disk.crash(afterCalls: crashCall)
        disk.faults = DiskFaults()
        for _ in 0..<1 + generator.next(below: stepMax) where !disk.isCrashed {
            try act()
            try observe()
        }
        let hasCrashed = disk.isCrashed
        if !hasCrashed, generator.next(below: 4) == 0, let life {
            try? life.journal.close()
            try observe()
        }
        restart()
        return hasCrashed
    }

    func liveAndMayCrash() throws {
        let crashes = generator.next(below: 3) > 0
        try live(stepMax: 40, crashCall: crashes ? randomCall(150) : nil)
    }

    private func act() throws {
        guard let life else { return }
        switch generator.next(below: 16) {
        case 0...8: for _ in 0...generator.next(below: 3) { try execute(life) }
        case 9, 10: step(life)
        case 11:
            life.journal.requestSync()
            step(life)
        case 12: try compact(life)
        case 13:
            life.journal.setPolicy(randomPolicy())
            life.journal.setRetention(randomRetention())
        case 14: disk.faults = randomFaults()
        default: fillOrEmptyDisk()
        }
    }

    private func step(_ life: Life) {
        clock.advance(microseconds: [0, 5000, 30_000, 1_200_000][generator.next(below: 4)])
        _ = life.journal.step()
        if life.journal.isFailed { count("failed step") }
    }

    private func fillOrEmptyDisk() {
        var faults = disk.faults
        let used = disk.paths.reduce(0) { $0 + (disk.contents($1)?.count ?? 0) }
        faults.capacity = faults.capacity < Int.max ? .max : used + generator.next(below: 3000)
        disk.faults = faults
    }

    private func observe() throws {
        guard let journal = life?.journal else { return }
        let durable = journal.durableSequence
        guard durable >= promised, durable <= appended else {
            throw StoreViolation("durable \(promised) → \(durable) of \(appended)")
        }
        promised = durable
    }

    private func restart() {
        life = nil
        let losesPower = generator.next(below: 3) > 0
        disk.restart(losesPower: losesPower)
        if losesPower { count("power lost") }
        clock.advance(microseconds: 1_000_000)
    }

    // MARK: Compaction

    /// Begins the journal anew; commands come at every call that the snapshot makes, and between its slices.
    private func compact(_ life: Life) throws {
        guard !isCompacting else { return }
        isCompacting = true
        defer { isCompacting = false }
        var problem: (any Error)?
        let disturb = { [self] in
            guard problem == nil, generator.next(below: 6) == 0 else { return }
            do { try act() } catch { problem = error }
        }
        do {
            let (_, sequence) = try withoutActuallyEscaping(disturb) { disturb in
                try saveJournalBase(
                    of: life.store, behind: life.journal, directory: Self.directory, options: SnapshotOptions(),
                    fileSystem: disturbed(UncheckedSendable(disturb)), betweenSlices: disturb,
                    pause: { [self] in
                        disturb()
                        step(life)
                    })
            }
            try removeJournalFiles(
                before: sequence, of: life.journal, directory: Self.directory, fileSystem: disk.fileSystem)
            count("base")
        } catch is SnapshotError {
            count("no base")
        } catch is JournalError {
            count("files stay")
        }
        if let problem { throw problem }
    }

    /// The disk, with something done before each call that changes it.
    private func disturbed(_ disturb: UncheckedSendable) -> FileSystem {
        let files = disk.fileSystem
        var result = files
        result.write = { (file, bytes) throws(SystemError) in
            disturb.body()
            return try files.write(file, bytes)
        }
        result.synchronize = { (file) throws(SystemError) in
            disturb.body()
            try files.synchronize(file)
        }
        result.rename = { (source, target) throws(SystemError) in
            disturb.body()
            try files.rename(source, target)
        }
        result.synchronizeDirectory = { (path) throws(SystemError) in
            disturb.body()
            try files.synchronizeDirectory(path)
        }
        return result
    }

    /// What one thread does, for a file system that any may use.
    private struct UncheckedSendable: @unchecked Sendable {
        // Sendable: called by the thread of the test only.
        let body: () -> Void

        init(_ body: @escaping () -> Void) { self.body = body }
    }

    // MARK: Commands

    private func execute(_ life: Life) throws {
        let database = generator.next(below: Self.databaseCount)
        var keys: Set<Int> = []
        var requests = [request(&keys)]
        if generator.next(below: 6) == 0 { requests = [["MULTI"], requests[0], request(&keys), ["EXEC"]] }
        let bytes = requests.flatMap { RespRunner.encode($0.map { Array($0.utf8) }) }
        _ = life.sessions[database].send(bytes)
        let sequence = life.journal.appendedSequence
        guard sequence > appended else { return }
        appended = sequence
        knownSequences.insert(sequence)
        let touched = keys.sorted()
        for (key, found) in zip(touched, try read(life.sessions[database], touched.map { Self.names[$0] })) {
            versions[database * Self.names.count + key].append(
                Version(sequence: sequence, digest: found.0, deadlineMilliseconds: found.1))
        }
        // What was due is deleted when it is looked at, which is a record too.
        appended = life.journal.appendedSequence
        knownSequences.insert(appended)
    }

    /// A request, and the keys that it is about.
    private func request(_ keys: inout Set<Int>) -> [String] {
        let (key, other) = (generator.next(below: Self.names.count), generator.next(below: Self.names.count))
        keys.insert(key)
        let name = Self.names[key]
        let value = generator.next(below: 8) == 0 ? String(repeating: "v", count: 700) : "\(generator.next(below: 99))"
        switch generator.next(below: 20) {
        case 0, 1: return ["SET", name, value]
        case 2: return ["SET", name, value, "PX", "\(1 + generator.next(below: 4000))"]
        case 3: return ["INCR", name]
        case 4: return ["APPEND", name, value]
        case 5, 6: return ["RPUSH", name, value, "b"]
        case 7: return ["LPOP", name]
        case 8: return ["HSET", name, value, "1", "f", value]
        case 9: return ["HDEL", name, "f"]
        case 10, 11: return ["SADD", name, value, "x", "y", "z"]
        case 12: return ["SPOP", name, "2"]
        case 13: return ["ZADD", name, "\(generator.next(below: 50))", value, "1.5", "m"]
        case 14: return ["XADD", name, "MAXLEN", "~", "2", "*", "f", value]
        case 15: return ["PEXPIRE", name, "\(1 + generator.next(below: 4000))"]
        case 16: return ["PERSIST", name]
        case 17: return ["DEL", name]
        case 18:
            keys.insert(other)
            return ["COPY", name, Self.names[other], "REPLACE"]
        default:
            guard generator.next(below: 6) == 0 else { return ["GETSET", name, value] }
            keys.formUnion(Self.names.indices)
            return ["FLUSHDB"]
        }
    }
}

extension Reply {
    fileprivate var text: String? {
        switch self {
        case .bulk(let bytes), .simple(let bytes): String(decoding: bytes, as: UTF8.self)
        default: nil
        }
    }
}
