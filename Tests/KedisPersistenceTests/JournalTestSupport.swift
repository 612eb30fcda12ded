// What the tests of the journal share: a journal on a simulated disk, stepped by hand, and what a recovery gives.

import KedisPersistence
import KedisTestSupport
import KedisUtilities
import Testing

let journalDirectory = "/disk/appendonlydir"

/// A journal without a thread, on a disk of its own.
final class TestJournal {
    let disk: SimulatedDisk
    let clock = TestClock()
    private(set) var journal: Journal
    /// What was appended, in order.
    private(set) var payloads: [[UInt8]] = []

    init(
        disk: SimulatedDisk = SimulatedDisk(seed: 1, directory: "/disk"),
        _ change: (inout JournalOptions) -> Void = { _ in }
    ) throws {
        self.disk = disk
        var options = JournalOptions()
        options.hasThread = false
        options.roomByteCountMax = 0
        options.nanoseconds = { [clock] in clock.nanoseconds }
        options.milliseconds = { [clock] in clock.milliseconds }
        change(&options)
        let recovered = try readJournal(disk.fileSystem)
        journal = try Journal.open(after: recovered.summary, options: options, fileSystem: disk.fileSystem)
    }

    @discardableResult
    func append(_ payload: [UInt8]) -> UInt64 {
        payloads.append(payload)
        return payload.withUnsafeBytes {
            journal.append(ByteView($0), databaseIndex: 3, milliseconds: clock.milliseconds)
        }
    }

    @discardableResult
    func append(_ text: String) -> UInt64 { append(Array(text.utf8)) }

    /// Time passes, then the journal's thread would do its work: enough steps for an idle one to wake.
    func run(milliseconds: Int = 1100) {
        clock.advance(milliseconds: milliseconds)
        for _ in 0..<3 { _ = journal.step() }
    }

    var segmentPaths: [String] { disk.paths.filter { $0.hasSuffix(".kjl") } }
}

/// What a recovery gave.
struct ReadJournal {
    var summary: RecoveredJournal
    var payloads: [[UInt8]]
    var basePath: String?
}

func readJournal(
    _ fileSystem: FileSystem, directory: String = journalDirectory, until bound: JournalBound = .end,
    removesLeftovers: Bool = true
) throws -> ReadJournal {
    var payloads: [[UInt8]] = []
    var basePath: String?
    let summary = try recoverJournal(
        directory: directory, until: bound, fileSystem: fileSystem, removesLeftovers: removesLeftovers,
        needsBase: false,
        base: { (path, _) throws(JournalRefusal) in basePath = path },
        record: { (record) throws(JournalRefusal) in payloads.append(record.payload.bytes) })
    return ReadJournal(summary: summary, payloads: payloads, basePath: basePath)
}

extension SimulatedDisk {
    /// A disk with the same files, all of them on disk.
    func copy() -> SimulatedDisk {
        let copy = SimulatedDisk(seed: 2, directory: "/disk")
        try? copy.fileSystem.makeDirectory(journalDirectory)
        try? copy.fileSystem.synchronizeDirectory("/disk")
        for path in paths { copy.put(contents(path) ?? [], at: path) }
        return copy
    }

    func with(_ bytes: [UInt8], at path: String) -> SimulatedDisk {
        let copy = copy()
        copy.put(bytes, at: path)
        return copy
    }
}

/// The damage that an error tells of.
func damage(of error: (any Error)?) -> JournalDamage? {
    guard case .damaged(let damage) = error as? JournalError else { return nil }
    return damage
}
