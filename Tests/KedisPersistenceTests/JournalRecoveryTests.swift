// Goal: recovery begins at the right snapshot, goes as far as it is told, tells a torn tail from damage, and can be
// repeated. Method: journals on a simulated disk, changed on purpose.

import KedisPersistence
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Recovery of a journal")
struct JournalRecoveryTests {
    @Test("An empty journal, and a directory that is not there")
    func empty() throws {
        let disk = SimulatedDisk(seed: 1, directory: "/disk")
        let read = try readJournal(disk.fileSystem)
        #expect(read.payloads.isEmpty && read.summary.nextSequence == 1 && read.summary.wasClosed)
        #expect(disk.paths.isEmpty)
        let test = try TestJournal(disk: disk)
        try test.journal.close()
        #expect(try readJournal(disk.fileSystem).summary.nextSequence == 1)
    }

    @Test("Starts without records leave one segment, starts with records one each")
    func restarts() throws {
        let disk = SimulatedDisk(seed: 1, directory: "/disk")
        for _ in 0..<3 { try TestJournal(disk: disk).journal.close() }
        #expect(disk.paths.count == 1)
        for round in 1...3 {
            let test = try TestJournal(disk: disk)
            test.append("\(round)")
            try test.journal.close()
        }
        #expect(disk.paths.count == 3)
        #expect(try readJournal(disk.fileSystem).payloads == ["1", "2", "3"].map { Array($0.utf8) })
    }

    /// Ten records a second apart; bases of 4 and 7, each with a boundary behind it.
    private func withBases() throws -> TestJournal {
        let test = try TestJournal()
        for number in 1...10 {
            test.append("\(number)")
            test.run(milliseconds: 1100)
            if number == 4 || number == 7 {
                _ = test.journal.rotate()
                test.run(milliseconds: 0)
                test.disk.put([1], at: journalBasePath(directory: journalDirectory, sequence: UInt64(number)))
            }
        }
        return test
    }

    @Test("The newest base, and the records behind it; what is before is not read")
    func bases() throws {
        let test = try withBases()
        let read = try readJournal(test.disk.fileSystem)
        #expect(read.basePath?.hasSuffix("/base-00000000000000000007.rdb") == true)
        #expect(read.payloads == ["8", "9", "10"].map { Array($0.utf8) } && read.summary.baseSequence == 7)
        let first = test.segmentPaths[0]
        let damaged = test.disk.with([1, 2, 3], at: first)
        #expect(try readJournal(damaged.fileSystem).payloads.count == 3)
        let check = try checkJournal(directory: journalDirectory, needsBase: false, fileSystem: damaged.fileSystem)
        #expect(check.canStart && check.damage?.kind == .header && check.damage?.path == first)
        damaged.remove(first)
        #expect(try readJournal(damaged.fileSystem).payloads.count == 3)
    }

    @Test("A base that the journal does not reach, and one alone: the journal goes on behind it")
    func baseAhead() throws {
        let test = try withBases()
        test.disk.put([1], at: journalBasePath(directory: journalDirectory, sequence: 50))
        #expect(try readJournal(test.disk.fileSystem).summary.nextSequence == 51)
        let next = try TestJournal(disk: test.disk)
        #expect(next.append("51") == 51)
        try next.journal.close()
        #expect(try readJournal(test.disk.fileSystem).payloads == [Array("51".utf8)])
        for path in next.segmentPaths { test.disk.remove(path) }
        #expect(try readJournal(test.disk.fileSystem).summary.nextSequence == 51)
    }

    @Test("To a sequence: the newest base that is old enough, and no further; nothing is appended behind it")
    func untilSequence() throws {
        let test = try withBases()
        for last in 0...12 {
            let read = try readJournal(test.disk.fileSystem, until: .sequence(UInt64(last)))
            let base = last < 4 ? 0 : last < 7 ? 4 : 7
            #expect(read.summary.baseSequence == UInt64(base) && read.summary.lastSequence == UInt64(min(last, 10)))
            #expect(read.payloads == (base..<min(last, 10)).map { Array("\($0 + 1)".utf8) })
            let error = #expect(throws: JournalError.self) { try Journal.open(after: read.summary) }
            #expect(error == .notReadToItsEnd(directory: journalDirectory))
        }
    }

    @Test("To a moment: the records that are not younger, from a base that is not younger")
    func untilMoment() throws {
        let test = try withBases()
        let all = try readJournal(test.disk.fileSystem, until: .sequence(3))
        let third = all.summary.lastMilliseconds
        let read = try readJournal(test.disk.fileSystem, until: .milliseconds(third))
        #expect(read.summary.lastSequence == 3 && read.summary.baseSequence == 0)
        #expect(try readJournal(test.disk.fileSystem, until: .milliseconds(third - 1)).summary.lastSequence == 2)
        let sixth = third + 3 * 1100
        let later = try readJournal(test.disk.fileSystem, until: .milliseconds(sixth))
        #expect(later.summary.lastSequence == 6 && later.summary.baseSequence == 4 && later.payloads.count == 2)
        #expect(try readJournal(test.disk.fileSystem, until: .milliseconds(.max)).summary.lastSequence == 10)
        test.disk.remove(test.segmentPaths[0])
        let error = #expect(throws: JournalError.self) {
            try readJournal(test.disk.fileSystem, until: .milliseconds(third))
        }
        guard case .noBase(journalDirectory, _, _)? = error else {
            return #expect(Bool(false), "\(String(describing: error))")
        }
    }

    @Test("A callback that refuses ends it with file, offset and sequence")
    func refusal() throws {
        let test = try withBases()
        var count = 0
        let error = #expect(throws: JournalError.self) {
            try recoverJournal(
                directory: journalDirectory, fileSystem: test.disk.fileSystem, needsBase: false,
                base: { (_, _) throws(JournalRefusal) in },
                record: { (_) throws(JournalRefusal) in
                    count += 1
                    if count == 2 { throw JournalRefusal(reason: "no such command") }
                })
        }
        let path = test.segmentPaths[2]
        #expect(error == .refused(path: path, offset: 64 + 41, sequence: 9, reason: "no such command"))
    }

    @Test("Left-over temporary files go; what a repair has put aside, and other files, stay")
    func leftovers() throws {
        let test = try withBases()
        for name in [
            "temp-1-1.kjl", "temp-12-3.rdb", "journal-00000000000000000001.kjl.cut", "notes.txt", "base-1.rdb",
        ] {
            test.disk.put([1], at: "\(journalDirectory)/\(name)")
        }
        let before = test.disk.paths.count
        #expect(try readJournal(test.disk.fileSystem, removesLeftovers: false).payloads.count == 3)
        #expect(test.disk.paths.count == before)
        #expect(try readJournal(test.disk.fileSystem).payloads.count == 3)
        #expect(test.disk.paths.count == before - 2 && !test.disk.paths.contains { $0.contains("temp-") })
    }

    @Test("Progress rises to the end")
    func progress() throws {
        let test = try TestJournal { $0.segmentByteCount = 1 << 20 }
        for _ in 0..<40 {
            test.append([UInt8](repeating: 1, count: 100_000))
            test.run()
        }
        var seen: [Int] = []
        var total = 0
        _ = try recoverJournal(
            directory: journalDirectory, fileSystem: test.disk.fileSystem, needsBase: false,
            progress: {
                seen.append($0)
                total = $1
            }, base: { (_, _) throws(JournalRefusal) in }, record: { (_) throws(JournalRefusal) in })
        #expect(seen == seen.sorted() && seen.count > 10 && seen.last == total && total > 4_000_000)
    }

    // MARK: Torn or damaged

    /// Records 1 to 3 are on disk when 4 to 6 are encoded; 4 to 6 are written and not synced.
    private func halfSynced() throws -> (TestJournal, String, [UInt8]) {
        let test = try TestJournal()
        for number in 1...3 { test.append("\(number)") }
        test.run()
        for number in 4...6 { test.append("\(number)") }
        test.run(milliseconds: 20)
        #expect(test.journal.durableSequence == 3 && test.journal.writtenSequence == 6)
        let path = test.segmentPaths[0]
        return (test, path, test.disk.contents(path) ?? [])
    }

    @Test("A bad record that nothing says was on disk is a torn tail, whatever is intact behind it; else it is damage")
    func tornOrDamaged() throws {
        let (test, path, bytes) = try halfSynced()
        for number in 1...6 {
            var changed = bytes
            let offset = 64 + 41 * (number - 1)
            changed[offset + 40] ^= 1
            let disk = test.disk.with(changed, at: path)
            if number > 3 {
                let read = try readJournal(disk.fileSystem)
                #expect(read.payloads == Array(test.payloads.prefix(number - 1)))
                #expect(
                    read.summary.cut
                        == JournalCut(
                            path: path, offset: offset, byteCount: bytes.count - offset, sequence: UInt64(number)))
            } else {
                let error = #expect(throws: JournalError.self) { try readJournal(disk.fileSystem) }
                #expect(
                    damage(of: error)
                        == JournalDamage(kind: .record, path: path, offset: offset, sequence: UInt64(number)))
                #expect(error?.description.contains("--repair") == true && error?.description.contains(path) == true)
            }
        }
    }

    @Test("What was cut stays cut: the next records take its place, though intact ones lie behind it")
    func cutIsFinal() throws {
        let (test, path, bytes) = try halfSynced()
        var changed = bytes
        changed[64 + 41 * 3 + 40] ^= 1
        let disk = test.disk.with(changed, at: path)
        let next = try TestJournal(disk: disk)
        #expect(next.append("four") == 4)
        #expect(next.append("five") == 5)
        next.run()
        #expect(try readJournal(disk.fileSystem).payloads == ["1", "2", "3", "four", "five"].map { Array($0.utf8) })
        #expect(disk.contents(path) == changed, "the torn segment is left as it is")
    }

    @Test("A record of this journal inside a payload is no evidence, nor is one of another journal")
    func forgedRecords() throws {
        let (test, path, bytes) = try halfSynced()
        // A client has stored what another journal has written: all of it on disk, sequences far ahead.
        let other = try TestJournal(disk: SimulatedDisk(seed: 9, directory: "/disk"))
        for number in 1...20 {
            other.append("\(number)")
            other.run()
        }
        test.append(other.disk.contents(other.segmentPaths[0]) ?? [])
        test.run(milliseconds: 20)
        var changed = test.disk.contents(path) ?? []
        #expect(changed.count > bytes.count + 800)
        changed[64 + 41 * 3 + 40] ^= 1
        #expect(try readJournal(test.disk.with(changed, at: path).fileSystem).payloads.count == 3)
    }

    @Test("Missing segments are named: the first, one between, the last")
    func missingSegments() throws {
        let test = try TestJournal()
        for number in 1...4 {
            test.append("\(number)")
            _ = test.journal.rotate()
            test.run()
        }
        test.append("5")
        try test.journal.close()
        let paths = test.segmentPaths
        for (index, path) in paths.enumerated() {
            let disk = test.disk.copy()
            disk.remove(path)
            let error = #expect(throws: JournalError.self) { try readJournal(disk.fileSystem) }
            let found = damage(of: error)
            #expect(found?.sequence == UInt64(index + 1))
            switch index {
            case 0: #expect(found?.kind == .missingSegment && found?.path == paths[1])
            case 4: #expect(found?.kind == .missingSegment && found?.path == paths[3])
            default:
                #expect(found?.kind == .missingRecords(through: UInt64(index + 1)) && found?.path == paths[index - 1])
            }
        }
    }

    @Test("A segment of another journal, or under another's name, is refused by its name")
    func foreignSegments() throws {
        let journals = try (1...2).map { seed in
            let test = try TestJournal(disk: SimulatedDisk(seed: UInt64(seed), directory: "/disk"))
            for number in 1...3 {
                test.append("\(number)")
                _ = test.journal.rotate()
                test.run()
            }
            return test
        }
        let path = journals[0].segmentPaths[1]
        let foreign = journals[0].disk.with(journals[1].disk.contents(path) ?? [], at: path)
        let misnamed = journals[0].disk.with(
            journals[0].disk.contents(journals[0].segmentPaths[0]) ?? [], at: path)
        for disk in [foreign, misnamed] {
            let error = #expect(throws: JournalError.self) { try readJournal(disk.fileSystem) }
            #expect(damage(of: error)?.kind == .foreign && damage(of: error)?.path == path)
        }
    }
}
