// A journal on a simulated disk beside a model of what it promised: lives of a process, each ended by a crash at any
// system call, by the power, or by a close, and what the next one finds.
//
// The model is the list of all records that were appended and still count, and the highest sequence that was said to be
// on disk. After a crash the journal may have lost what was not promised, from the end on; nothing else.

import KedisPersistence
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

/// A clock that a test moves.
final class TestClock: Sendable {
    private let now = Atomic<UInt64>(10_000_000_000)

    var nanoseconds: UInt64 { now.load(ordering: .relaxed) }
    var milliseconds: Int64 { testNow + Int64(nanoseconds / 1_000_000) }

    func advance(milliseconds: Int) { now.wrappingAdd(UInt64(milliseconds) * 1_000_000, ordering: .relaxed) }
}

/// What the journal's `onDurable` was called with last.
private final class LastTold: Sendable {
    let sequence = Atomic<UInt64>(0)
}

struct ModelRecord: Equatable {
    var payload: [UInt8]
    var databaseIndex: Int
    var milliseconds: Int64
}

struct ModelViolation: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

final class JournalModel {
    static let directory = "/disk/appendonlydir"

    let disk: SimulatedDisk
    let clock = TestClock()
    var generator: RandomGenerator
    /// Sequence 1 first.
    private(set) var records: [ModelRecord] = []
    /// What was said to be on disk.
    private var promised: UInt64 = 0
    /// What was said to be with the system, unless the power has failed since.
    private var handedOver: UInt64 = 0
    private var wasClosed = false
    private(set) var journal: Journal?
    private let told = LastTold()
    /// The base that is being made: it may have its name once its last record is on disk.
    private var wantedBase: UInt64?
    private var retention = JournalRetention()
    /// Counts of what happened, to see that it does.
    private(set) var counts: [String: Int] = [:]

    init(seed: UInt64) {
        generator = RandomGenerator(seed: seed)
        disk = SimulatedDisk(seed: generator.next(), directory: "/disk")
    }

    func count(_ event: String) { counts[event, default: 0] += 1 }

    // MARK: Starting

    /// Recovers and opens; a first attempt crashes at its call `crashCall`. Whether it did.
    func start(crashCall: Int) throws -> Bool {
        disk.faults = DiskFaults()
        disk.crash(afterCalls: crashCall)
        do {
            try startOnce()
            guard disk.isCrashed else { return false }
            journal = nil
        } catch let error as JournalError {
            guard disk.isCrashed, case .system = error else { throw ModelViolation("recovery: \(error)") }
        }
        restart()
        try start(mayCrash: false)
        return true
    }

    /// Recovers and opens, however often that crashes or fails.
    func start(mayCrash: Bool) throws {
        for attempt in 0... {
            let isDisturbed = mayCrash && attempt < 4
            disk.faults = isDisturbed ? randomFaults() : DiskFaults()
            let crashes = isDisturbed && generator.next(below: 2) == 0
            disk.crash(afterCalls: crashes ? 1 + generator.next(below: 60) : nil)
            do {
                try startOnce()
                return
            } catch let error as JournalError {
                guard case .system = error else { throw ModelViolation("recovery: \(error)") }
                guard isDisturbed else { throw ModelViolation("recovery without faults: \(error)") }
                count(disk.isCrashed ? "crash in recovery" : "fault in recovery")
                if disk.isCrashed { restart() }
            }
        }
    }

    private func startOnce() throws {
        var next: UInt64 = 1
        var isBase = false
        let recovered = try recoverJournal(
            directory: Self.directory, fileSystem: disk.fileSystem, needsBase: false,
            base: { (_, sequence) throws(JournalRefusal) in
                next = sequence + 1
                isBase = true
            },
            record: { (record) throws(JournalRefusal) in
                if record.sequence != next { throw JournalRefusal(reason: "sequence \(record.sequence), not \(next)") }
                guard next <= self.records.count else { throw JournalRefusal(reason: "record \(next) is from nowhere") }
                let expected = self.records[Int(next) - 1]
                let found = ModelRecord(
                    payload: record.payload.bytes, databaseIndex: record.databaseIndex,
                    milliseconds: record.milliseconds)
                if found != expected { throw JournalRefusal(reason: "record \(next) is another") }
                next += 1
            })
        if isBase { count("base used") }
        if recovered.cut != nil { count("cut") }
        try check(recovered, last: next - 1)
        try open(recovered)
    }

    private func check(_ recovered: RecoveredJournal, last: UInt64) throws {
        guard recovered.lastSequence == last else {
            throw ModelViolation("says \(recovered.lastSequence), gave \(last)")
        }
        guard last >= promised else { throw ModelViolation("\(promised) were on disk, \(last) are left") }
        guard last >= handedOver else { throw ModelViolation("\(handedOver) were with the system, \(last) are left") }
        guard last <= records.count else { throw ModelViolation("\(last) of \(records.count) records") }
        guard !wasClosed || recovered.wasClosed && last == records.count else {
            throw ModelViolation("closed with \(records.count) records; \(last) read, closed: \(recovered.wasClosed)")
        }
        // Opening begins a segment that is not closed, even if it is not heard of again.
        wasClosed = false
        records.removeLast(records.count - Int(last))
    }

    private func open(_ recovered: RecoveredJournal) throws {
        var options = JournalOptions()
        options.policy = [JournalPolicy.always, .everySecond, .system][generator.next(below: 3)]
        options.segmentByteCount = [3000, 20_000, 1 << 20][generator.next(below: 3)]
        options.roomByteCountMax = [0, 100, 700, 5000][generator.next(below: 4)]
        options.blockByteCount = [600, 4096, 64 << 10][generator.next(below: 3)]
        options.hasThread = false
        options.retention = retention
        options.nanoseconds = { [clock] in clock.nanoseconds }
        options.milliseconds = { [clock] in clock.milliseconds }
        options.onDurable = { [told] sequence in told.sequence.store(sequence, ordering: .relaxed) }
        let opened = try Journal.open(after: recovered, options: options, fileSystem: disk.fileSystem)
        // What is opened is on disk.
        guard opened.durableSequence == records.count, opened.appendedSequence == records.count else {
            throw ModelViolation("opened at \(opened.durableSequence), not at \(records.count)")
        }
        journal = opened
        wasClosed = false
        told.sequence.store(0, ordering: .relaxed)
        promised = opened.durableSequence
        handedOver = promised
        wantedBase = nil
        count("start")
    }

    private func randomFaults() -> DiskFaults {
        switch generator.next(below: 4) {
        case 0: DiskFaults(interruptions: 50, shortCounts: 200)
        case 1: DiskFaults(errors: 60, interruptions: 20, shortCounts: 100)
        default: DiskFaults()
        }
    }

    // MARK: Living

    /// Does random things, until the end that it chose or a crash, which comes at a random call if at all.
    func live(stepMax: Int) throws {
        let crashes = generator.next(below: 3) > 0
        let call = 1 + generator.next(below: 250)
        _ = try live(stepMax: stepMax, crashCall: crashes ? call : nil)
    }

    /// The same with a crash at a given call. Whether it came.
    func live(stepMax: Int, crashCall: Int?) throws -> Bool {
        guard let journal else { return false }
        disk.crash(afterCalls: crashCall)
        disk.faults = DiskFaults()
        for _ in 0..<1 + generator.next(below: stepMax) {
            try act(journal)
            try observe(journal)
            if disk.isCrashed { break }
        }
        if !disk.isCrashed, generator.next(below: 3) == 0 { try close(journal) }
        self.journal = nil
        let hasCrashed = disk.isCrashed
        restart()
        return hasCrashed
    }

    private func act(_ journal: Journal) throws {
        switch generator.next(below: 20) {
        case 0...7: for _ in 0...generator.next(below: 6) { append(to: journal) }
        case 8...13: step(journal)
        case 14:
            journal.requestSync()
            step(journal)
        case 15:
            if generator.next(below: 3) == 0 { _ = journal.rotate() } else { beginBase(journal) }
        case 16: finishBase(journal)
        case 17: journal.setPolicy([JournalPolicy.always, .everySecond, .system][generator.next(below: 3)])
        case 18: disk.faults = randomFaults()
        default: fillOrEmptyDisk()
        }
    }

    /// Little space, or enough again.
    private func fillOrEmptyDisk() {
        var faults = disk.faults
        let used = disk.paths.reduce(0) { $0 + (disk.contents($1)?.count ?? 0) }
        faults.capacity = faults.capacity < Int.max ? .max : used + generator.next(below: 3000)
        disk.faults = faults
    }

    private func append(to journal: Journal) {
        let size =
            switch generator.next(below: 12) {
            case 0: 0
            case 1: generator.next(below: 5000)
            case 2: generator.next(below: 1000)
            default: generator.next(below: 80)
            }
        let filler = UInt8(truncatingIfNeeded: generator.next())
        var payload = [UInt8](repeating: filler, count: size)
        for index in 0..<min(size, 24) { payload[index] = UInt8(truncatingIfNeeded: generator.next()) }
        // What a journal has written may well be what a client stores.
        let segment = disk.paths.last { $0.contains("/journal-") }
        if size > 200, let segment, let bytes = disk.contents(segment) {
            payload = Array(bytes.suffix(size))
        }
        let record = ModelRecord(
            payload: payload, databaseIndex: generator.next(below: 16), milliseconds: clock.milliseconds)
        records.append(record)
        let sequence = payload.withUnsafeBytes { bytes in
            let cut = generator.next(below: bytes.count + 1)
            let pieces = [
                ByteView(UnsafeRawBufferPointer(rebasing: bytes[..<cut])),
                ByteView(UnsafeRawBufferPointer(rebasing: bytes[cut...])),
            ]
            return pieces.withUnsafeBufferPointer {
                journal.append($0, databaseIndex: record.databaseIndex, milliseconds: record.milliseconds)
            }
        }
        #expect(sequence == records.count)
    }

    private func step(_ journal: Journal) {
        clock.advance(milliseconds: [0, 5, 30, 1200][generator.next(below: 4)])
        _ = journal.step()
        if journal.isFailed { count("failed step") }
    }

    private func beginBase(_ journal: Journal) {
        wantedBase = journal.rotate() - 1
    }

    /// The base gets its name when the journal is on disk up to it; then what is before may go.
    private func finishBase(_ journal: Journal) {
        guard let sequence = wantedBase, sequence > 0, journal.durableSequence >= sequence else { return }
        do {
            let path = journalBasePath(directory: Self.directory, sequence: sequence)
            let file = try ReplacementFile(replacing: path, fileSystem: disk.fileSystem)
            _ = Array("\(sequence)".utf8).withUnsafeBytes { file.write(ByteView($0)) }
            try file.commit()
        } catch {
            return
        }
        wantedBase = nil
        journal.noteBase(sequence)
        count("base")
        if let removed = try? journal.removeSegments(before: sequence + 1), removed > 0 { count("segments removed") }
    }

    private func observe(_ journal: Journal) throws {
        let (durable, written) = (journal.durableSequence, journal.writtenSequence)
        guard durable >= promised, written >= handedOver, durable <= records.count, written <= records.count else {
            throw ModelViolation(
                "durable \(promised) → \(durable), written \(handedOver) → \(written) of \(records.count)")
        }
        let last = told.sequence.load(ordering: .relaxed)
        guard last == 0 || last == durable else { throw ModelViolation("told \(last), durable \(durable)") }
        guard journal.status.pendingByteCount >= 0 else { throw ModelViolation("negative bytes pending") }
        promised = durable
        handedOver = max(written, durable)
    }

    private func close(_ journal: Journal) throws {
        do {
            try journal.close()
            try observe(journal)
            guard promised == records.count else { throw ModelViolation("closed with \(promised) of \(records.count)") }
            // The mark is the one thing that may be missing: where the disk did not take it.
            let faults = disk.faults
            wasClosed = !disk.isCrashed && faults.errors == 0 && faults.interruptions == 0 && faults.capacity == .max
            count("close")
        } catch is JournalError {
            try observe(journal)
            count("close failed")
        }
    }

    /// The process dies; perhaps the power has failed.
    private func restart() {
        let losesPower = generator.next(below: 3) > 0
        disk.restart(losesPower: losesPower)
        if losesPower { handedOver = promised }
        if losesPower { count("power lost") }
        clock.advance(milliseconds: 1000)
    }
}
