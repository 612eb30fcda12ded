// Goal: no damage is ever taken for data, and none traps. Method: every bit and every length of small journals, bytes
// from a second writer of the format, random bytes; what comes out is what was appended, from the beginning on, or a
// report.
//
//     KEDIS_FUZZ_SECONDS=600 swift test --filter 'JournalDamageTests/fuzz'

import KedisPersistence
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("A damaged journal")
struct JournalDamageTests {
    private let path = "\(journalDirectory)/journal-00000000000000000001.kjl"

    /// Two segments, the second one with a record before the boundary that the first does not have on disk alone.
    private func smallJournal(closes: Bool, boundary: Int = 3, roomByteCountMax: Int = 0) throws -> TestJournal {
        let test = try TestJournal {
            $0.policy = .always
            $0.roomByteCountMax = roomByteCountMax
        }
        for number in 1...2 * boundary {
            test.append("record \(number)")
            if number != 2 * boundary - 1 { test.run() }
            if number == boundary { _ = test.journal.rotate() }
        }
        if closes { try test.journal.close() } else { _ = test.journal.step() }
        return test
    }

    /// Reads a changed journal: what is read is a beginning of what was appended. Nil when it is refused.
    private func read(_ disk: SimulatedDisk, _ payloads: [[UInt8]], _ place: String) throws -> ReadJournal? {
        do {
            let read = try readJournal(disk.fileSystem)
            #expect(read.payloads == Array(payloads.prefix(read.payloads.count)), "\(place)")
            return read
        } catch let error as JournalError {
            guard case .damaged(let damage) = error else { throw error }
            #expect(damage.path.hasPrefix(journalDirectory) && !error.description.isEmpty)
            return nil
        }
    }

    @Test("Every bit flipped: the records, or a report, never others", arguments: [true, false])
    func bits(isClosed: Bool) throws {
        let test = try smallJournal(closes: isClosed)
        var refused = 0
        var whole = 0
        for path in test.segmentPaths {
            let bytes = test.disk.contents(path) ?? []
            for bit in 0..<8 * bytes.count {
                var changed = bytes
                changed[bit / 8] ^= 1 << UInt8(bit % 8)
                let place = "bit \(bit) of \(path)"
                guard let read = try read(test.disk.with(changed, at: path), test.payloads, place) else {
                    refused += 1
                    continue
                }
                if read.payloads.count == test.payloads.count {
                    whole += 1
                } else {
                    // Only what nothing intact says was on disk may be cut: not after a close.
                    #expect(!isClosed && read.summary.cut != nil, "\(place)")
                }
                if isClosed { #expect(read.summary.wasClosed == (read.summary.cut == nil), "\(place)") }
            }
        }
        // Of records that are on disk without anything that says so, two here, damage looks like a torn tail. The mark
        // at the end of the first segment is looked at only when the second one is missing.
        #expect(refused == 8 * (2 * 64 + (isClosed ? 6 : 4) * 48) && whole == 8 * 40 * (isClosed ? 2 : 1))
    }

    @Test("Every length: the records, or a report", arguments: [true, false])
    func lengths(isClosed: Bool) throws {
        let test = try smallJournal(closes: isClosed)
        for (index, path) in test.segmentPaths.enumerated() {
            let bytes = test.disk.contents(path) ?? []
            for count in 0..<bytes.count {
                let disk = test.disk.with(Array(bytes.prefix(count)), at: path)
                guard let read = try read(disk, test.payloads, "\(count) of \(path)") else { continue }
                #expect(index == 1 || read.payloads.count == 6, "the first one may miss its mark at most")
                if isClosed, index == 1 { #expect(!read.summary.wasClosed) }
                // Half a record is cut; no record at all is told by the close that is not there, and so are its zeros.
                let rest = (count - 64) % 48
                let isNothing = bytes[count - rest..<count].allSatisfy { $0 == 0 }
                if index == 1 { #expect((read.summary.cut == nil) == isNothing, "\(count)") }
            }
            let longer = test.disk.with(bytes + [0], at: path)
            #expect(try readJournal(longer.fileSystem).payloads == test.payloads)
        }
    }

    @Test("Room behind the records: no length and no bit of it takes a record away", arguments: [true, false])
    func room(isClosed: Bool) throws {
        let test = try smallJournal(closes: isClosed, boundary: 6, roomByteCountMax: 300)
        for (index, path) in test.segmentPaths.enumerated() {
            let bytes = test.disk.contents(path) ?? []
            // Six records of 48 or 49 bytes behind the header, and a mark.
            let end = 64 + 6 * 48 + 3 * index + (index == 0 || isClosed ? 40 : 0)
            #expect(bytes.count - end > 10 && bytes[end...].allSatisfy { $0 == 0 })
            for count in end...bytes.count {
                let read = try readJournal(test.disk.with(Array(bytes.prefix(count)), at: path).fileSystem)
                #expect(read.payloads == test.payloads && read.summary.cut == nil, "\(count) of \(path)")
                #expect(read.summary.wasClosed == isClosed)
            }
            for bit in 8 * end..<8 * bytes.count {
                var changed = bytes
                changed[bit / 8] ^= 1 << UInt8(bit % 8)
                let read = try readJournal(test.disk.with(changed, at: path).fileSystem)
                #expect(read.payloads == test.payloads, "bit \(bit) of \(path)")
                // Nobody reads on behind the place where the next segment begins.
                #expect(read.summary.cut?.byteCount == (index == 1 ? bit / 8 - end + 1 : nil))
            }
        }
    }

    @Test("Records that take the place of room: every bit flipped")
    func bitsInRoom() throws {
        let test = try smallJournal(closes: false, boundary: 6, roomByteCountMax: 300)
        let path = try #require(test.segmentPaths.last)
        let bytes = test.disk.contents(path) ?? []
        var refused = 0
        for bit in 0..<8 * bytes.count {
            var changed = bytes
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            let read = try read(test.disk.with(changed, at: path), test.payloads, "bit \(bit)")
            if let read { #expect(read.payloads.count >= 10 && read.summary.cut != nil) } else { refused += 1 }
        }
        // The last two records are in room, and nothing says that they are on disk; they say so of the two before.
        #expect(refused == 8 * (64 + 3 * 48 + 49))
    }

    @Test(
        "A journal that is written while it is read, a few bytes at a time: a beginning, and no damage",
        arguments: [false, true])
    func growing(rotates: Bool) throws {
        let test = try TestJournal {
            $0.policy = .always
            $0.roomByteCountMax = 5000
        }
        for number in 0..<80 {
            test.append("record \(number)")
            _ = test.journal.step()
        }
        // Called on this thread only.
        nonisolated(unsafe) let writer = test
        let real = test.disk.fileSystem
        nonisolated(unsafe) var hasRotated = false
        var slow = real
        slow.readAt = { (file, offset, room) throws(SystemError) in
            let few = UnsafeMutableRawBufferPointer(rebasing: room[0..<min(97, room.count)])
            let count = try real.readAt(file, offset, few)
            // The end: much is written behind it before the next bytes are read.
            guard !few[..<count].contains(where: { $0 != 0 }) else { return count }
            for _ in 0..<5 {
                writer.append("record behind")
                _ = writer.journal.step()
            }
            if rotates, writer.payloads.count > 90, !hasRotated {
                hasRotated = true
                _ = writer.journal.rotate()
                _ = writer.journal.step()
            }
            return count
        }
        let read = try readJournal(slow, removesLeftovers: false)
        #expect(read.payloads.count >= 85 && read.summary.cut == nil)
        #expect(!rotates || hasRotated)
        #expect(read.payloads == Array(test.payloads.prefix(read.payloads.count)))
    }

    // MARK: The format, from its description

    @Test("What the journal writes is what its page says")
    func bytes() throws {
        let test = try TestJournal { $0.policy = .always }
        let first = test.clock.milliseconds
        test.append("one")
        test.run()
        test.append("two")
        try test.journal.close()
        let bytes = try #require(test.disk.contents(path))
        let identifier = Array(bytes[16..<32])
        let header = JournalBytes.Header(identifier: identifier, first: 1, milliseconds: first).bytes
        let one = JournalBytes.Record(
            sequence: 1, milliseconds: first, durable: 0, database: 3, payload: Array("one".utf8)
        ).bytes(identifier)
        let two = JournalBytes.Record(
            sequence: 2, milliseconds: first + 1100, durable: 1, database: 3, payload: Array("two".utf8)
        ).bytes(identifier)
        let end = JournalBytes.Record(sequence: 3, milliseconds: first + 1100, durable: 2, flags: 1).bytes(identifier)
        #expect(bytes == header + one + two + end)
    }

    private func readBytes(_ bytes: [UInt8]) throws -> ReadJournal {
        let disk = SimulatedDisk(seed: 1, directory: "/disk")
        try disk.fileSystem.makeDirectory(journalDirectory)
        disk.put(bytes, at: path)
        return try readJournal(disk.fileSystem)
    }

    @Test("Right checksums on wrong fields: refused or cut, never believed")
    func wrongFields() throws {
        let good = JournalBytes.Header().bytes
        let one = JournalBytes.Record(sequence: 1, payload: [1]).bytes()
        #expect(try readBytes(good + one).payloads == [[1]])
        var headers = [JournalBytes.Header](repeating: JournalBytes.Header(), count: 6)
        headers[0].magic[0] = 0
        headers[1].first = 0
        headers[2].first = 2
        headers[3].first = .max
        headers[4].durable = .max
        headers[5].durable = 2
        for header in headers {
            let error = #expect(throws: JournalError.self) { try readBytes(header.bytes + one) }
            #expect(damage(of: error) != nil)
        }
        var newer = JournalBytes.Header()
        newer.version = 2
        let error = #expect(throws: JournalError.self) { try readBytes(newer.bytes + one) }
        #expect(error == .newerVersion(path: path, version: 2))
        let records = [
            JournalBytes.Record(sequence: 3, payload: [2]), JournalBytes.Record(sequence: 1, payload: [2]),
            JournalBytes.Record(sequence: 2, durable: 2, payload: [2]),
            JournalBytes.Record(sequence: 2, durable: .max, payload: [2]),
            JournalBytes.Record(sequence: 2, flags: 4, payload: [2]),
            JournalBytes.Record(sequence: 2, flags: 1, payload: [2]),
            JournalBytes.Record(sequence: 2, payload: [2], length: 2),
            JournalBytes.Record(sequence: 2, payload: [2], length: .max),
            JournalBytes.Record(sequence: 2, payload: [2], length: 0x8000_0001),
            JournalBytes.Record(sequence: .max, payload: [2]),
        ]
        for record in records {
            let read = try readBytes(good + one + record.bytes())
            #expect(read.payloads == [[1]] && read.summary.cut?.offset == good.count + one.count, "\(record)")
        }
    }

    @Test("A header that claims more than its segment holds is no evidence against the segments behind it")
    func boastfulHeader() throws {
        var header = JournalBytes.Header()
        header.durable = 1000
        let one = JournalBytes.Record(sequence: 1, payload: [1]).bytes()
        let next =
            JournalBytes.Header(first: 2, durable: 1).bytes + JournalBytes.Record(sequence: 2, payload: [2]).bytes()
        let disk = SimulatedDisk(seed: 1, directory: "/disk")
        try disk.fileSystem.makeDirectory(journalDirectory)
        disk.put(header.bytes + one, at: path)
        disk.put(next, at: "\(journalDirectory)/journal-00000000000000000002.kjl")
        #expect(try readJournal(disk.fileSystem).payloads == [[1], [2]])
    }

    // MARK: Check and repair

    @Test("A check says what a start does, for every bit; a repair leaves a journal that starts, and loses no byte")
    func checkAndRepair() throws {
        let test = try smallJournal(closes: true)
        var repaired = 0
        for path in test.segmentPaths {
            let bytes = test.disk.contents(path) ?? []
            for bit in stride(from: 0, to: 8 * bytes.count, by: isSanitized ? 37 : 3) {
                var changed = bytes
                changed[bit / 8] ^= 1 << UInt8(bit % 8)
                let disk = test.disk.with(changed, at: path)
                let read = try read(disk, test.payloads, "bit \(bit)")
                let check = try checkJournal(directory: journalDirectory, needsBase: false, fileSystem: disk.fileSystem)
                #expect(check.canStart == (read != nil) && (check.damage == nil) == (read != nil))
                if let read { #expect(check.recordCount == read.payloads.count && check.cut == read.summary.cut) }
                let before = disk.paths.reduce(0) { $0 + (disk.contents($1)?.count ?? 0) }
                let repair = try repairJournal(
                    directory: journalDirectory, needsBase: false, fileSystem: disk.fileSystem)
                #expect(repair.damages.isEmpty == (read != nil) && repair.check.damage == nil)
                #expect(repair.cutPaths.allSatisfy { $0.contains(".kjl.cut") && disk.contents($0) != nil })
                let after = disk.paths.reduce(0) { $0 + (disk.contents($1)?.count ?? 0) }
                #expect(after == before, "bit \(bit): what is cut off lies beside it")
                let again = try #require(try self.read(disk, test.payloads, "bit \(bit), repaired"))
                if let first = repair.damages.first { #expect(again.payloads.count == Int(first.sequence) - 1) }
                repaired += repair.damages.count
            }
        }
        #expect(repaired > 100)
    }

    @Test("A repair can crash at any call, and be repeated")
    func repairCrashes() throws {
        let test = try TestJournal()
        for number in 1...6 {
            test.append("record \(number)")
            test.append("another \(number)")
            if number % 2 == 0 { _ = test.journal.rotate() }
            test.run()
        }
        try test.journal.close()
        let path = test.segmentPaths[1]
        var bytes = test.disk.contents(path) ?? []
        bytes[200] ^= 1
        var call = 1
        while true {
            let disk = test.disk.with(bytes, at: path)
            disk.crash(afterCalls: call)
            let isDone =
                (try? repairJournal(directory: journalDirectory, needsBase: false, fileSystem: disk.fileSystem)) != nil
            disk.restart(losesPower: call % 3 > 0)
            _ = try read(disk, test.payloads, "crash at call \(call)")
            let repair = try repairJournal(directory: journalDirectory, needsBase: false, fileSystem: disk.fileSystem)
            #expect(repair.check.damage == nil && repair.check.canStart)
            let read = try #require(try read(disk, test.payloads, "after call \(call)"))
            #expect(read.payloads.count == 6)
            if isDone { break }
            call += 1
        }
        #expect(call > 30)
    }

    @Test("One segment alone can be checked, under any name")
    func singleSegment() throws {
        let test = try smallJournal(closes: true)
        let last = test.segmentPaths[1]
        let check = try checkJournalSegment(last, fileSystem: test.disk.fileSystem)
        #expect(check.recordCount == 3 && check.firstSequence == 4 && check.lastSequence == 6 && check.wasClosed)
        let copy = "\(journalDirectory)/copy"
        test.disk.put(Array((test.disk.contents(last) ?? []).dropLast(60)), at: copy)
        let cut = try checkJournalSegment(copy, fileSystem: test.disk.fileSystem)
        #expect(cut.recordCount == 2 && cut.cut != nil && cut.canStart && cut.firstSequence == 4)
        test.disk.put(Array("no journal at all".utf8), at: copy)
        #expect(try checkJournalSegment(copy, fileSystem: test.disk.fileSystem).damage?.kind == .header)
        let error = #expect(throws: JournalError.self) {
            try checkJournal(directory: "/disk/none", fileSystem: test.disk.fileSystem)
        }
        guard case .system = error else { return #expect(Bool(false)) }
    }

    // MARK: Random bytes

    /// A segment with random fields and right checksums.
    private func randomSegment(_ generator: inout RandomGenerator) -> [UInt8] {
        var header = JournalBytes.Header()
        if generator.next(below: 8) == 0 { header.first = generator.next() >> generator.next(below: UInt64(64)) }
        if generator.next(below: 8) == 0 { header.durable = generator.next() >> generator.next(below: UInt64(64)) }
        var bytes = header.bytes
        var sequence: UInt64 = 1
        for _ in 0..<generator.next(below: 8) {
            var record = JournalBytes.Record(sequence: sequence)
            record.payload = generator.nextBytes(byteCountMax: 60)
            record.durable = generator.next(below: sequence)
            switch generator.next(below: 20) {
            case 0: record.sequence = generator.next() >> generator.next(below: UInt64(64))
            case 1: record.durable = generator.next() >> generator.next(below: UInt64(64))
            case 2: record.length = UInt32(truncatingIfNeeded: generator.next() >> generator.next(below: UInt64(64)))
            case 3:
                record.flags = UInt8(generator.next(below: 5))
                record.payload = []
            case 4: record.milliseconds = Int64(bitPattern: generator.next())
            case 5: record.database = UInt32(truncatingIfNeeded: generator.next())
            default: break
            }
            bytes += record.bytes()
            sequence += 1
        }
        return bytes
    }

    @Test(
        "Random segments and random changes: read, checked and repaired without a trap; seconds from KEDIS_FUZZ_SECONDS"
    )
    func fuzz() throws {
        var generator = RandomGenerator.forTest("journal fuzz")
        let original = try smallJournal(closes: true)
        let alphabet = (0...255).map { UInt8($0) }
        let start = monotonicNanoseconds()
        var counts = (read: 0, refused: 0)
        while fuzzGoesOn(since: start) {
            let disk = original.disk.copy()
            let isOurs = generator.next(below: 2) == 0
            for path in disk.paths where generator.next(below: 3) > 0 {
                var bytes = isOurs ? disk.contents(path) ?? [] : randomSegment(&generator)
                if isOurs || generator.next(below: 2) == 0 { bytes = generator.mutated(bytes, with: alphabet) }
                disk.put(bytes, at: path)
            }
            do {
                let read = try readJournal(disk.fileSystem)
                if isOurs { #expect(read.payloads == Array(original.payloads.prefix(read.payloads.count))) }
                let journal = try TestJournal(disk: disk)
                journal.append("more")
                try journal.journal.close()
                #expect(try readJournal(disk.fileSystem).payloads == read.payloads + [Array("more".utf8)])
                counts.read += 1
            } catch is JournalError {
                counts.refused += 1
            }
            do {
                let repair = try repairJournal(
                    directory: journalDirectory, needsBase: false, fileSystem: disk.fileSystem)
                #expect(repair.check.damage == nil)
                _ = try readJournal(disk.fileSystem)
            } catch let error as JournalError {
                switch error {
                case .damaged(let damage): #expect(damage.kind == .missingSegment && damage.offset == 0, "\(damage)")
                case .newerVersion: break
                default: throw error
                }
            }
        }
        print("journal fuzz: \(counts)")
        #expect(counts.read > 0 && counts.refused > 0)
    }
}
