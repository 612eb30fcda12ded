// Goal: what the journal promises while it is open: order, policies, failures, overload, segments and how long they are
// kept. Method: steps by hand on a simulated disk with a clock of the test's; the last ones have threads and real
// files.

import KedisPersistence
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite("The journal")
struct JournalTests {
    @Test("Records come back as they were appended, of any length, over blocks and segments")
    func roundTrip() throws {
        let test = try TestJournal {
            $0.blockByteCount = 1000
            $0.segmentByteCount = 5000
        }
        for length in [0, 1, 7, 8, 9, 100, 900, 959, 960, 961, 1000, 5000, 100_000, 3, 0] {
            test.append((0..<length).map { UInt8(truncatingIfNeeded: $0 * 7) })
            if length % 2 == 0 { test.run() }
        }
        try test.journal.close()
        let read = try readJournal(test.disk.fileSystem)
        #expect(read.payloads == test.payloads)
        #expect(read.summary.lastSequence == 15 && read.summary.wasClosed && read.summary.cut == nil)
        #expect(read.summary.segmentCount > 2)
    }

    @Test("With the policy always, one step puts on disk what was asked for; onDurable hears of it")
    func always() throws {
        let box = Told()
        let test = try TestJournal {
            $0.policy = .always
            $0.onDurable = { box.sequence.store($0, ordering: .relaxed) }
        }
        for _ in 0..<10 { test.append("x") }
        #expect(test.journal.durableSequence == 0)
        test.journal.requestSync()
        let before = test.journal.status.syncCount
        _ = test.journal.step()
        #expect(test.journal.durableSequence == 10 && box.sequence.load(ordering: .relaxed) == 10)
        #expect(test.journal.status.syncCount == before + 1)
    }

    private final class Told: Sendable {
        let sequence = Atomic<UInt64>(0)
    }

    @Test("Every second: with the system after 20 ms, on disk after a second, one sync for all")
    func everySecond() throws {
        let test = try TestJournal { $0.policy = .everySecond }
        test.append("a")
        test.run(milliseconds: 1100)
        #expect(test.journal.durableSequence == 1)
        let syncs = test.journal.status.syncCount
        for _ in 0..<30 {
            test.append("b")
            test.run(milliseconds: 20)
            #expect(test.journal.writtenSequence == test.journal.appendedSequence)
        }
        #expect(test.journal.durableSequence == 1 && test.journal.status.syncCount == syncs)
        test.run(milliseconds: 500)
        #expect(test.journal.durableSequence == 31 && test.journal.status.syncCount == syncs + 1)
    }

    @Test("Many bytes are synced before their second is over")
    func manyBytes() throws {
        let test = try TestJournal { $0.policy = .everySecond }
        test.append([UInt8](repeating: 1, count: 17 << 20))
        test.run(milliseconds: 20)
        #expect(test.journal.durableSequence == 1 && test.journal.status.pendingByteCount == 0)
    }

    @Test("The policy changes at run time")
    func policyChange() throws {
        let test = try TestJournal { $0.policy = .system }
        test.append("a")
        test.run(milliseconds: 5000)
        #expect(test.journal.durableSequence == 0 && test.journal.writtenSequence == 1)
        test.run(milliseconds: 30_000)
        #expect(test.journal.durableSequence == 1)
        test.append("b")
        test.run(milliseconds: 100)
        #expect(test.journal.durableSequence == 1)
        test.journal.setPolicy(.always)
        test.run(milliseconds: 0)
        #expect(test.journal.durableSequence == 2 && test.journal.policy == .always)
    }

    @Test("A disk that fails: nothing counts as durable, it is told, and all goes on in a fresh segment")
    func failure() throws {
        let test = try TestJournal { $0.policy = .always }
        test.append("before")
        test.run()
        test.disk.faults = DiskFaults(errors: 1000)
        test.append("during")
        test.run()
        #expect(test.journal.isFailed && test.journal.durableSequence == 1)
        #expect(test.journal.failure?.hasSuffix("failed: Input/output error") == true)
        #expect(!test.journal.status.lastWriteSucceeded)
        for _ in 0..<5 {
            test.append("more")
            test.run(milliseconds: 3000)
        }
        #expect(test.journal.durableSequence == 1 && test.journal.appendedSequence == 7)
        test.disk.faults = DiskFaults()
        // The pause is not over yet.
        test.run(milliseconds: 0)
        #expect(test.journal.isFailed)
        test.run(milliseconds: 3000)
        #expect(!test.journal.isFailed && test.journal.failure == nil && test.journal.durableSequence == 7)
        #expect(test.segmentPaths.map { $0.suffix(6) } == ["01.kjl", "02.kjl"])
        test.disk.restart(losesPower: true)
        #expect(try readJournal(test.disk.fileSystem).payloads == test.payloads)
    }

    @Test("Room is made with always, where it serves several syncs, and behind a failure not until a segment is full")
    func room() throws {
        let test = try TestJournal {
            $0.policy = .always
            $0.roomByteCountMax = 1000
            $0.segmentByteCount = 4000
        }
        /// The zeros behind the last segment's records, once there are so many records more.
        func roomByteCount(after count: Int, byteCount: Int = 10) -> Int {
            for _ in 0..<count {
                test.append([UInt8](repeating: 1, count: byteCount))
                test.run()
            }
            let bytes = test.segmentPaths.last.flatMap { test.disk.contents($0) } ?? []
            return bytes.count - bytes.withoutRoom.count
        }
        let length = test.journal.status.byteCount
        #expect(roomByteCount(after: 10) > 0)
        #expect(test.journal.status.byteCount == length + 500, "what is counted is records")
        // A record that leaves room behind would have to be followed by three like it.
        #expect(roomByteCount(after: 1, byteCount: 600) == 0)
        #expect(roomByteCount(after: 1) > 0)
        test.journal.setPolicy(.everySecond)
        #expect(roomByteCount(after: 30) == 0)
        test.journal.setPolicy(.always)
        #expect(roomByteCount(after: 1) > 0)
        test.disk.fail(afterCalls: 1)
        #expect(roomByteCount(after: 20) == 0 && !test.journal.isFailed)
        let segmentCount = test.segmentPaths.count
        while test.segmentPaths.count == segmentCount { #expect(roomByteCount(after: 1) == 0) }
        #expect(roomByteCount(after: 10) > 0)
        let read = try readJournal(test.disk.fileSystem)
        #expect(read.payloads == test.payloads && read.summary.cut == nil)
    }

    @Test("A sync that fails once and then says yes is not believed: the records are written again")
    func forgottenPages() throws {
        for seed in 1...40 {
            let test = try TestJournal(disk: SimulatedDisk(seed: UInt64(seed), directory: "/disk")) {
                $0.policy = .always
            }
            test.append([UInt8](repeating: 7, count: 3000))
            test.disk.faults = DiskFaults(errors: 1000)
            test.run()
            test.disk.faults = DiskFaults()
            test.run(milliseconds: 3000)
            #expect(test.journal.durableSequence == 1)
            test.disk.restart(losesPower: true)
            #expect(try readJournal(test.disk.fileSystem).payloads == test.payloads)
        }
    }

    @Test("A full disk: refused for as long as it lasts, then all is there")
    func fullDisk() throws {
        let test = try TestJournal { $0.policy = .always }
        test.append("fits")
        test.run()
        let used = test.disk.paths.reduce(0) { $0 + (test.disk.contents($1)?.count ?? 0) }
        test.disk.faults = DiskFaults(capacity: used + 100)
        test.append([UInt8](repeating: 1, count: 500))
        test.run()
        #expect(test.journal.isFailed && test.journal.failure?.hasSuffix("No space left on device") == true)
        test.run(milliseconds: 3000)
        #expect(test.journal.isFailed && test.journal.isOverloaded)
        #expect(!test.disk.paths.contains { $0.contains("temp-") }, "what did not fit is removed")
        test.disk.faults = DiskFaults()
        test.run(milliseconds: 3000)
        #expect(!test.journal.isFailed && !test.journal.isOverloaded && test.journal.durableSequence == 2)
        try test.journal.close()
        #expect(try readJournal(test.disk.fileSystem).payloads == test.payloads)
    }

    @Test("Overload: too many bytes that are not on disk, or for more than two seconds")
    func overload() throws {
        let test = try TestJournal { $0.pendingByteCountMax = 10_000 }
        #expect(!test.journal.isOverloaded)
        test.append([UInt8](repeating: 1, count: 9000))
        #expect(!test.journal.isOverloaded)
        test.append([UInt8](repeating: 1, count: 1000))
        #expect(test.journal.isOverloaded && test.journal.status.pendingByteCount == 10_080)
        test.run()
        #expect(!test.journal.isOverloaded && test.journal.status.pendingByteCount == 0)
        test.disk.faults = DiskFaults(errors: 1000)
        test.append("late")
        test.run(milliseconds: 0)
        test.clock.advance(milliseconds: 2000)
        #expect(!test.journal.isOverloaded)
        test.clock.advance(milliseconds: 1)
        #expect(test.journal.isOverloaded)
    }

    @Test("A close that the disk does not take says so, and what was durable stays")
    func failedClose() throws {
        let test = try TestJournal { $0.policy = .always }
        test.append("a")
        test.run()
        test.disk.faults = DiskFaults(errors: 1000)
        test.append("b")
        let error = #expect(throws: JournalError.self) { try test.journal.close() }
        guard case .notWritten = error else { return #expect(Bool(false), "\(String(describing: error))") }
        test.disk.faults = DiskFaults()
        test.disk.restart(losesPower: true)
        #expect(try readJournal(test.disk.fileSystem).payloads.first == Array("a".utf8))
    }

    // MARK: Segments

    @Test("A boundary: the next record begins a segment, one without records is new enough, counts follow")
    func rotation() throws {
        let test = try TestJournal()
        #expect(test.journal.rotate() == 1)
        test.run()
        #expect(test.segmentPaths.count == 1)
        test.append("a")
        test.append("b")
        #expect(test.journal.rotate() == 3)
        test.append("c")
        #expect(test.journal.rotate() == 4)
        test.run()
        #expect(test.segmentPaths.map { $0.suffix(6) } == ["01.kjl", "03.kjl", "04.kjl"])
        test.journal.noteBase(2)
        let status = test.journal.status
        // Two headers, a record, and the mark that the segment goes on.
        #expect(status.byteCountSinceBase == 64 + 41 + 40 + 64 && status.segmentCount == 3)
        let sizes = test.segmentPaths.map { test.disk.contents($0)?.count ?? 0 }
        #expect(status.byteCount == sizes.reduce(0, +))
        #expect(try test.journal.removeSegments(before: 3) == 1)
        #expect(test.journal.firstSequence == 3 && test.segmentPaths.count == 2)
        #expect(try test.journal.removeSegments(before: 100) == 1, "the last one stays")
        #expect(test.segmentPaths.count == 1)
    }

    @Test("A large record behind a boundary did not leave the queue when the segment before it was full")
    func largeRecordBehindBoundary() throws {
        let test = try TestJournal {
            $0.blockByteCount = 600
            $0.segmentByteCount = 300
        }
        test.append([UInt8](repeating: 1, count: 280))
        let first = test.journal.rotate()
        test.append([UInt8](repeating: 2, count: 700))
        test.append("behind it")
        for _ in 0..<3 { test.run() }
        #expect(test.journal.durableSequence == 3)
        // The boundary is where it was wanted.
        #expect(test.segmentPaths.contains { $0.hasSuffix("\(first).kjl") })
        #expect(try readJournal(test.disk.fileSystem).payloads == test.payloads)
    }

    @Test("Retention keeps segments by age, by bytes, or both")
    func retention() throws {
        let test = try TestJournal()
        for _ in 0..<5 {
            test.append([UInt8](repeating: 0, count: 1000))
            _ = test.journal.rotate()
            test.run(milliseconds: 10_000)
        }
        let size = 64 + 1040 + 40
        test.journal.setRetention(JournalRetention(milliseconds: 100_000))
        #expect(try test.journal.removeSegments(before: 6) == 0)
        test.journal.setRetention(JournalRetention(byteCount: 10 * size))
        #expect(try test.journal.removeSegments(before: 6) == 0)
        test.journal.setRetention(JournalRetention(milliseconds: 35_000, byteCount: 100))
        #expect(try test.journal.removeSegments(before: 6) == 1, "the first ended more than 35 s ago")
        test.journal.setRetention(JournalRetention(byteCount: 2 * size))
        #expect(try test.journal.removeSegments(before: 6) == 2)
        test.journal.setRetention(JournalRetention(milliseconds: .max, byteCount: .max))
        #expect(try test.journal.removeSegments(before: 6) == 0)
        test.journal.setRetention(JournalRetention())
        #expect(try test.journal.removeSegments(before: 6) == 2)
        #expect(test.journal.firstSequence == 6)
    }

    @Test("A record that is lost for want of memory stays a failure; nothing traps")
    func tooLarge() throws {
        let test = try TestJournal { $0.policy = .always }
        test.append("a")
        test.run()
        // More than 2 GiB in many views of the same bytes; none of them is copied.
        let chunk = [UInt8](repeating: 0, count: 64 << 20)
        chunk.withUnsafeBytes { bytes in
            let pieces = [ByteView](repeating: ByteView(bytes), count: 33)
            let sequence = pieces.withUnsafeBufferPointer {
                test.journal.append($0, databaseIndex: 0, milliseconds: 0)
            }
            #expect(sequence == 2)
        }
        test.append("b")
        test.run()
        #expect(test.journal.isFailed && test.journal.durableSequence == 1 && test.journal.appendedSequence == 3)
        #expect(throws: JournalError.self) { try test.journal.close() }
        #expect(try readJournal(test.disk.fileSystem).payloads == [Array("a".utf8)])
    }

    // MARK: Threads and real files

    @Test("Threads append with the policy always on a real disk; all is there, each thread's records in order")
    func threads() throws {
        let folder = try TestFolder()
        let directory = folder.file("appendonlydir")
        let recovered = try readJournal(.system, directory: directory)
        #expect(recovered.summary.nextSequence == 1)
        var options = JournalOptions()
        options.policy = .always
        options.segmentByteCount = 20_000
        let journal = try Journal.open(after: recovered.summary, options: options)
        let box = ThreadCount()
        let (threadCount, recordCount) = (4, 300)
        for thread in 0..<threadCount {
            let isStarted = startThread {
                for number in 0..<recordCount {
                    let sequence = Array("\(thread) \(number)".utf8).withUnsafeBytes {
                        journal.append(ByteView($0), databaseIndex: thread, milliseconds: wallClockMilliseconds())
                    }
                    journal.requestSync()
                    if number % 8 == 0 {
                        while journal.durableSequence < sequence { TestFiles.sleep(microseconds: 0) }
                    }
                }
                box.count.wrappingAdd(1, ordering: .releasing)
            }
            #expect(isStarted)
        }
        while box.count.load(ordering: .acquiring) < threadCount { TestFiles.sleep(milliseconds: 1) }
        try journal.close()
        let read = try readJournal(.system, directory: directory)
        #expect(read.payloads.count == threadCount * recordCount && read.summary.wasClosed)
        for thread in 0..<threadCount {
            let own = read.payloads.filter { $0.first == UInt8(ascii: "0") + UInt8(thread) }
            #expect(own == (0..<recordCount).map { Array("\(thread) \($0)".utf8) })
        }
        for path in TestFiles.list(below: directory, suffix: "") { unlink(path) }
        rmdir(directory)
    }

    private final class ThreadCount: Sendable {
        let count = Atomic<Int>(0)
    }

    @Test("The thread wakes for the first append after a pause, and syncs what it has written")
    func wakesUp() throws {
        let folder = try TestFolder()
        let recovered = try readJournal(.system, directory: folder.path)
        let journal = try Journal.open(after: recovered.summary)
        // An idle thread looks by itself after a second. A machine with other work may be slow, but not every time.
        var shortest = UInt64.max
        for round in 1...5 where shortest > 500_000_000 {
            TestFiles.sleep(milliseconds: 60)
            let start = monotonicNanoseconds()
            let sequence = journal.append("x", databaseIndex: 0, milliseconds: 1)
            while journal.writtenSequence < sequence { TestFiles.sleep(milliseconds: 1) }
            shortest = min(shortest, monotonicNanoseconds() - start)
            while journal.durableSequence < sequence { TestFiles.sleep(milliseconds: 1) }
            #expect(sequence == UInt64(round))
        }
        #expect(shortest <= 500_000_000)
        try journal.close()
    }
}
