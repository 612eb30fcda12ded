// Resident memory for each key, with and without deadlines, and what is left of it when nine of ten keys are deleted.
//
// Every figure comes from a process of its own, which this one starts: nothing was used before, so nothing is reused.

import ArgumentParser
import BenchmarkSupport
import KedisStore
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct MemoryCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "memory", abstract: "Resident bytes for each key, filled and after deleting 90 %.")

    /// A million, every power of two with the middle to the next up to 2^24, and ten million.
    static let countsOfInterest =
        [1_000_000, 10_000_000] + (20...23).flatMap { [1 << $0, 3 << ($0 - 1)] } + [1 << 24]

    @Option(help: "Numbers of keys.") var counts = CountList(MemoryCommand.countsOfInterest.sorted())
    @Flag(inversion: .prefixedNo, help: "Measure with a deadline on every key, too.") var deadlines = true
    @Flag(inversion: .prefixedNo, help: "Delete 90 % of the keys, too.") var thinning = true
    @Option(help: .hidden) var child: String?
    @OptionGroup var output: OutputOptions

    func run() throws {
        if let child {
            guard let task = MemoryTask(child), let count = counts.counts.first else { throw ValidationError(child) }
            return print(task.run(keyCount: count))
        }
        let report = Report(
            "memory",
            ["keys:9", "deadlines", "resident MiB:12", "bytes a key:11", "goal:12", "by deadline", "deadline goal:13",
             "used/resident", "used goal:19", "huge MiB", "deleted MiB:11", "settle ms:9", "longest ms:10",
             "after MiB:9", "used MiB", "needed MiB:10", "ratio", "ratio goal:14"],
            isJSON: output.isJSON)
        for count in counts.counts {
            let plain = try measure(count, hasDeadlines: false, without: nil, report)
            if deadlines { _ = try measure(count, hasDeadlines: true, without: plain, report) }
        }
    }

    /// Prints a row and returns the bytes for each key.
    private func measure(_ count: Int, hasDeadlines: Bool, without: Double?, _ report: Report) throws -> Double {
        var task = MemoryTask()
        task.hasDeadlines = hasDeadlines
        task.isThinning = thinning
        let filled = try task.inNewProcess(keyCount: count)
        task.isThinning = false
        task.keepsOnlySurvivors = true
        let needed = thinning ? try task.inNewProcess(keyCount: count).growth : 0
        let perKey = Double(filled.growth) / Double(count)
        let share = Double(filled.used) / Double(max(1, filled.growth))
        let goal = Goal.atMost(count == 10_000_000 ? 50 : 56)
        let ratio = Double(filled.thinnedGrowth) / Double(max(1, needed))
        report.row([
            .count(count), .text(hasDeadlines ? "yes" : "no"), mebibytes(filled.growth), .decimal(perKey, digits: 2),
            hasDeadlines ? .none : .goal(goal, perKey), without.map { .decimal(perKey - $0, digits: 2) } ?? .none,
            without.map { .goal(.atMost(14), perKey - $0) } ?? .none, .decimal(share, digits: 3),
            .goal(.within(0.95, 1.05), share), mebibytes(filled.hugePages),
            thinning ? mebibytes(filled.deletedGrowth) : .none,
            thinning ? .decimal(Double(filled.settleMicroseconds) / 1000, digits: 1) : .none,
            thinning ? .decimal(Double(filled.longestSliceMicroseconds) / 1000, digits: 2) : .none,
            thinning ? mebibytes(filled.thinnedGrowth) : .none, thinning ? mebibytes(filled.thinnedUsed) : .none,
            thinning ? mebibytes(needed) : .none, thinning ? .decimal(ratio, digits: 3) : .none,
            thinning ? .goal(.atMost(1.25), ratio) : .none,
        ])
        return perKey
    }
}

/// What a process of its own measures. Bytes over the empty store.
struct MemoryFigures {
    var growth = 0
    var used = 0
    var hugePages = 0
    /// After deleting 90 %, and then after the background's work.
    var deletedGrowth = 0
    var thinnedGrowth = 0
    var thinnedUsed = 0
    var settleMicroseconds = 0
    var longestSliceMicroseconds = 0

    var fields: [Int] {
        [
            growth, used, hugePages, deletedGrowth, thinnedGrowth, thinnedUsed, settleMicroseconds,
            longestSliceMicroseconds,
        ]
    }

    init() {}

    init?(_ line: String) {
        let numbers = line.split(separator: " ").compactMap { Int($0) }
        guard numbers.count == fields.count else { return nil }
        (growth, used, hugePages) = (numbers[0], numbers[1], numbers[2])
        (deletedGrowth, thinnedGrowth, thinnedUsed) = (numbers[3], numbers[4], numbers[5])
        (settleMicroseconds, longestSliceMicroseconds) = (numbers[6], numbers[7])
    }
}

struct MemoryTask {
    var hasDeadlines = false
    var isThinning = false
    /// Fills only what thinning would leave.
    var keepsOnlySurvivors = false

    init() {}

    /// The letters that ``text`` gives.
    init?(_ text: String) {
        guard text.allSatisfy({ "dts-".contains($0) }) else { return nil }
        hasDeadlines = text.contains("d")
        isThinning = text.contains("t")
        keepsOnlySurvivors = text.contains("s")
    }

    private var text: String {
        "-" + (hasDeadlines ? "d" : "") + (isThinning ? "t" : "") + (keepsOnlySurvivors ? "s" : "")
    }

    func inNewProcess(keyCount: Int) throws -> MemoryFigures {
        guard let path = realpath("/proc/self/exe", nil) else { throw ValidationError("this needs /proc") }
        defer { free(path) }
        let command = "'\(String(cString: path))' memory --child=\(text) --counts=\(keyCount)"
        guard let pipe = popen(command, "r") else { throw ValidationError("no process for: \(command)") }
        var line = [CChar](repeating: 0, count: 1024)
        let isRead = fgets(&line, Int32(line.count), pipe) != nil
        let status = pclose(pipe)
        let bytes = line.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }
        guard isRead, status == 0, let figures = MemoryFigures(String(decoding: bytes, as: UTF8.self)) else {
            throw ValidationError("failed with status \(status): \(command)")
        }
        return figures
    }

    /// The figures, in the order of ``MemoryFigures/fields``.
    func run(keyCount: Int) -> String {
        let store = makeStore()
        let emptyUsed = store.usedByteCount
        var figures = MemoryFigures()
        let emptyResident = Int(benchmark_exact_resident_bytes())
        fill(store, keyCount)
        figures.growth = Int(benchmark_exact_resident_bytes()) - emptyResident
        figures.used = store.usedByteCount - emptyUsed
        figures.hugePages = Int(benchmark_huge_page_bytes())
        if isThinning {
            thin(store, keyCount)
            figures.deletedGrowth = Int(benchmark_exact_resident_bytes()) - emptyResident
            let start = monotonicNanoseconds()
            figures.longestSliceMicroseconds = settleInSlices(store)
            figures.settleMicroseconds = Int((monotonicNanoseconds() - start) / 1000)
            figures.thinnedGrowth = Int(benchmark_exact_resident_bytes()) - emptyResident
            figures.thinnedUsed = store.usedByteCount - emptyUsed
        }
        return figures.fields.map(String.init).joined(separator: " ")
    }

    /// One of ten, spread at random.
    private func survives(_ index: Int) -> Bool {
        (UInt64(index) &* 0x9e37_79b9_7f4a_7c15).multipliedFullWidth(by: 10).high == 0
    }

    private func fill(_ store: Store, _ keyCount: Int) {
        let scratch = ItemScratch(), handle = store.handle
        let now = wallClockMilliseconds()
        for index in 0..<keyCount where !keepsOnlySurvivors || survives(index) {
            // Spread over a day, from an hour on.
            let deadline = now + 3_600_000 + Int64((UInt64(index) &* 0xd129_0d3a_9b4b_7a2d) % 86_400_000)
            let isStored = handle.set(
                scratch.key(index), scratch.value(index), now: now, deadline: hasDeadlines ? .set(deadline) : .clear)
            precondition(isStored, "no memory")
        }
    }

    private func thin(_ store: Store, _ keyCount: Int) {
        let scratch = ItemScratch(), handle = store.handle
        let now = wallClockMilliseconds()
        for index in 0..<keyCount where !survives(index) {
            let isRemoved = handle.withKey(scratch.key(index), now: now) { keyspace, key in keyspace.remove(key) }
            precondition(isRemoved, "a key was lost")
        }
    }

    /// Runs the background's work to its end, within two minutes; returns the longest slice in microseconds.
    private func settleInSlices(_ store: Store) -> Int {
        var longest: UInt64 = 0
        let end = monotonicNanoseconds() + 120_000_000_000
        var start = monotonicNanoseconds()
        while start < end, store.maintain(nowMilliseconds: wallClockMilliseconds()) {
            let now = monotonicNanoseconds()
            longest = max(longest, now - start)
            start = now
        }
        return Int(longest / 1000)
    }
}
