// Goal: a journal that is begun beside the files of an earlier one counts from the moment of its first base on, and not
// before; whatever crashes leave, a start finds the state of the one or of the other, whole, and never records of one
// behind a base of the other. Method: a life on a simulated disk, ended at each of its calls in turn, with and without
// power.

import KedisPersistence
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("A journal that begins beside older files")
struct JournalGenerationTests {
    /// What is known of a life up to its end.
    private struct Life {
        var hasOld: Bool
        /// The base was said to be on disk.
        var isCommitted = false
        /// Records behind the base, and how many of them were said to be on disk.
        var behind: [[UInt8]] = []
        var durableCount = 0
    }

    private static let old = (1...3).map { Array("old \($0)".utf8) }

    private func makeDisk(seed: UInt64, hasOld: Bool) throws -> SimulatedDisk {
        let disk = SimulatedDisk(seed: seed, directory: "/disk")
        guard hasOld else { return disk }
        let test = try TestJournal(disk: disk)
        for payload in Self.old { test.append(payload) }
        test.run()
        if seed.isMultiple(of: 2) { closeByHand(test.journal) }
        return disk
    }

    private func closeByHand(_ journal: Journal) { try? journal.close() }

    private func options(_ clock: TestClock) -> JournalOptions {
        var options = JournalOptions()
        options.hasThread = false
        options.policy = .always
        options.nanoseconds = { clock.nanoseconds }
        options.milliseconds = { clock.milliseconds }
        return options
    }

    /// Begins a journal, writes, makes its base, writes more: until the disk stops it.
    private func live(_ disk: SimulatedDisk, _ life: inout Life) throws {
        let clock = TestClock()
        let files = disk.fileSystem
        let generation = try JournalGeneration.begin(directory: journalDirectory, fileSystem: files)
        let journal = try Journal.open(after: generation.recovered, options: options(clock), fileSystem: files)
        func append(_ text: String) {
            Array(text.utf8).withUnsafeBytes {
                _ = journal.append(ByteView($0), databaseIndex: 0, milliseconds: clock.milliseconds)
            }
            clock.advance(milliseconds: 1100)
            for _ in 0..<3 { _ = journal.step() }
        }
        for index in 0..<3 { append("before \(index)") }
        let base = journal.rotate() - 1
        for _ in 0..<3 { _ = journal.step() }
        let path = journalBasePath(directory: journalDirectory, sequence: base)
        let file = try ReplacementFile(replacing: path, fileSystem: files)
        Array("new".utf8).withUnsafeBytes { _ = file.write(ByteView($0)) }
        append("meanwhile")
        life.behind.append(Array("meanwhile".utf8))
        guard journal.durableSequence >= base else { return }
        try file.commit()
        life.isCommitted = true
        life.durableCount = Int(journal.durableSequence - base)
        journal.noteBase(base)
        try generation.finish(fileSystem: files)
        for index in 0..<3 {
            life.behind.append(Array("after \(index)".utf8))
            append("after \(index)")
            life.durableCount = Int(journal.durableSequence - base)
        }
        closeByHand(journal)
    }

    /// What a start finds is one of the two states.
    private func check(_ read: ReadJournal, _ life: Life, _ disk: SimulatedDisk, _ comment: Comment) {
        let content = read.basePath.flatMap { disk.contents($0) }
        if content == Array("new".utf8) {
            #expect(read.payloads.count >= life.durableCount, comment)
            #expect(read.payloads == Array(life.behind.prefix(read.payloads.count)), comment)
        } else {
            #expect(!life.isCommitted, comment)
            #expect(read.payloads == (life.hasOld ? Self.old : []), comment)
            #expect(read.basePath == nil, comment)
        }
    }

    @Test("A crash at each call of a beginning: the state is the old one or the new one", arguments: [false, true])
    func everyCall(hasOld: Bool) throws {
        var (lives, committed) = (0, 0)
        for seed in 1...UInt64(reducedWhenSanitized(12)) {
            var (call, comes) = (1, true)
            while comes {
                let disk = try makeDisk(seed: seed, hasOld: hasOld)
                var life = Life(hasOld: hasOld)
                disk.crash(afterCalls: call)
                try? live(disk, &life)
                comes = disk.isCrashed
                disk.restart(losesPower: (seed + UInt64(call)).isMultiple(of: 2))
                let comment: Comment = "seed \(seed), call \(call)"
                // A look that changes nothing, as that of `kedis restore`, then a start, then another one.
                for removes in [false, true, true] {
                    check(try readJournal(disk.fileSystem, removesLeftovers: removes), life, disk, comment)
                }
                #expect(!disk.paths.contains { $0.hasSuffix(".awaited") }, comment)
                try goOn(disk, life, comment)
                (lives, call) = (lives + 1, call + 1)
                if life.isCommitted { committed += 1 }
            }
        }
        print("journal generations: \(lives) lives, \(committed) with a base")
        #expect(committed > 10 && lives > 3 * committed / 2)
    }

    /// After the crash the journal that counts is written on, or another one begun, which counts in its turn.
    private func goOn(_ disk: SimulatedDisk, _ life: Life, _ comment: Comment) throws {
        var next = Life(hasOld: false)
        try live(disk, &next)
        #expect(next.isCommitted, comment)
        let read = try readJournal(disk.fileSystem)
        #expect(read.payloads == next.behind, comment)
        #expect(disk.paths.filter { $0.hasSuffix(".rdb") }.count == 1, comment)
    }

    @Test("A crash at each call of the recovery behind it changes nothing", arguments: [false, true])
    func everyCallOfRecovery(hasOld: Bool) throws {
        for seed in 1...UInt64(2) {
            for first in stride(from: 10, to: 60, by: 10) {
                var (call, comes) = (1, true)
                while comes {
                    let disk = try makeDisk(seed: seed, hasOld: hasOld)
                    var life = Life(hasOld: hasOld)
                    disk.crash(afterCalls: first)
                    try? live(disk, &life)
                    disk.restart(losesPower: true)
                    disk.crash(afterCalls: call)
                    _ = try? readJournal(disk.fileSystem)
                    comes = disk.isCrashed
                    disk.restart(losesPower: true)
                    check(try readJournal(disk.fileSystem), life, disk, "seed \(seed), calls \(first) and \(call)")
                    call += 1
                }
            }
        }
    }

    @Test("Sequences never come again, also when the directory was emptied meanwhile, and damage does not hinder")
    func sequences() throws {
        let disk = try makeDisk(seed: 1, hasOld: true)
        let first = try JournalGeneration.begin(directory: journalDirectory, fileSystem: disk.fileSystem)
        #expect(first.sequence >= 3)
        let above = try JournalGeneration.begin(directory: journalDirectory, above: 700, fileSystem: disk.fileSystem)
        #expect(above.sequence == 700)
        #expect(disk.paths.filter { $0.hasSuffix(".awaited") }.count == 1)
        for path in disk.paths where path.hasSuffix(".kjl") { disk.put([1, 2, 3], at: path) }
        #expect(
            try JournalGeneration.begin(directory: journalDirectory, fileSystem: disk.fileSystem).sequence >= 700)
    }

    @Test("A base that is there alone is not taken for the one that is awaited")
    func baseAlone() throws {
        let disk = try makeDisk(seed: 3, hasOld: false)
        try disk.fileSystem.makeDirectory(journalDirectory)
        disk.put(Array("other".utf8), at: journalBasePath(directory: journalDirectory, sequence: 5))
        let generation = try JournalGeneration.begin(directory: journalDirectory, fileSystem: disk.fileSystem)
        #expect(generation.sequence == 6)
        let journal = try Journal.open(
            after: generation.recovered, options: options(TestClock()), fileSystem: disk.fileSystem)
        Array("new".utf8).withUnsafeBytes { _ = journal.append(ByteView($0), databaseIndex: 0, milliseconds: 1) }
        closeByHand(journal)
        let read = try readJournal(disk.fileSystem)
        #expect(read.basePath == journalBasePath(directory: journalDirectory, sequence: 5))
        #expect(read.payloads.isEmpty)
    }

    @Test("A generation that is given up leaves what was there before")
    func abandoned() throws {
        let disk = try makeDisk(seed: 2, hasOld: true)
        let paths = Set(disk.paths)
        let generation = try JournalGeneration.begin(directory: journalDirectory, fileSystem: disk.fileSystem)
        let journal = try Journal.open(
            after: generation.recovered, options: options(TestClock()), fileSystem: disk.fileSystem)
        closeByHand(journal)
        #expect(disk.paths.count == paths.count + 2)
        try generation.abandon(fileSystem: disk.fileSystem)
        #expect(Set(disk.paths) == paths)
        #expect(try readJournal(disk.fileSystem).payloads == Self.old)
    }
}
