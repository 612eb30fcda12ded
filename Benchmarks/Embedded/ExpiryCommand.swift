// Whether a million keys go when they are due, what others wait meanwhile, and what deadlines cost that are far away.
//
// The work first: how long removing takes that has a processor to itself, by a clock that is moved by hand. Then a
// database with its own background and the real clock, beside a thread that reads and writes. How late the latest
// removal was is told by DBSIZE: at each look the keys that are left are taken to be those with the latest deadlines.

import ArgumentParser
import BenchmarkSupport
import Kedis
import KedisStore
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct ExpiryCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "expiry", abstract: "How late keys expire, what others wait, what far deadlines cost.")

    @Option(help: "Keys that expire.") var keys = 1_000_000
    @Option(help: "Keys with far deadlines; 0 leaves that part out.") var farKeys = 10_000_000
    @Option(help: "Rounds of GETs beside far deadlines, whose median counts.") var rounds = 7
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1...20_000_000).contains(keys), (0...50_000_000).contains(farKeys), (1...100).contains(rounds) else {
            throw ValidationError("keys: 1 to 20000000, far keys: 0 to 50000000, rounds: 1 to 100")
        }
    }

    func run() {
        measureWork()
        let report = Report(
            "expiry",
            ["keys:9", "over ms", "latest ms:9", "goal:14", "early", "wait before:11", "wait ms", "wait own",
             "wait goal:11", "used left %:11", "rss left %:10", "rss left % later:16"],
            isJSON: output.isJSON)
        for spread in [1000, 0] { expire(spread: spread, report) }
        if farKeys > 0 { measureFarDeadlines() }
    }

    // MARK: Work

    /// Removes keys as the background does, in ticks of 10 ms.
    private func measureWork() {
        let report = Report(
            "expiry-work", ["keys:9", "over ms", "ns a key", "ms in all:9", "longest tick ms:15", "its keys",
             "longest call ms:15"],
            isJSON: output.isJSON)
        for spread in [1000, 1] {
            let store = makeStore(), scratch = ItemScratch()
            let now = wallClockMilliseconds(), first = now + 3_600_000
            for index in 0..<keys {
                let deadline = DeadlineUpdate.set(first + Int64(index * spread / keys))
                let isStored = store.handle.set(scratch.key(index), scratch.value(index), now: now, deadline: deadline)
                precondition(isStored, "no memory")
            }
            var total: UInt64 = 0, longest: (duration: UInt64, keyCount: Int) = (0, 0), longestCall: UInt64 = 0
            let keyspace = store.keyspace(0, nowMilliseconds: first)
            for clock in stride(from: first - 10, through: first + Int64(spread) + 20, by: 10) {
                let before = keyspace.count
                var duration: UInt64 = 0, hasMore = true
                while hasMore {
                    let watch = Stopwatch()
                    hasMore = store.expireDue(nowMilliseconds: clock, limit: 64) >= 64
                    let call = watch.nanoseconds
                    duration += call
                    longestCall = max(longestCall, call)
                }
                total += duration
                if duration > longest.duration { longest = (duration, before - keyspace.count) }
            }
            let left = keyspace.count
            precondition(left == 0, "\(left) keys are left")
            report.row([
                .count(keys), .count(spread), .decimal(Double(total) / Double(keys), digits: 1), milliseconds(total),
                milliseconds(longest.duration), .count(longest.keyCount), milliseconds(longestCall),
            ])
        }
    }

    // MARK: Due

    private func expire(spread: Int, _ report: Report) {
        let database = KedisDatabase()
        let connection = database.connect()
        for index in 0..<steadyKeyCount { connection.set(.key, index) }
        let usedBefore = connection.usedByteCount, residentBefore = benchmark_quick_resident_bytes()
        let due = load(connection, spread: spread)
        let used = connection.usedByteCount - usedBefore, resident = benchmark_quick_resident_bytes() - residentBefore
        guard wallClockMilliseconds() + 700 < due.first else {
            return report.note("\(keys) keys over \(spread) ms: due before they were loaded, the machine is too slow")
        }
        sleep(until: due.first - 600)
        let calm = load(on: database, until: due.first - 100)
        let busyLoad = startSteadyLoad(on: database)
        let outcome = watch(connection, due)
        let busy = busyLoad.stop()
        let usedLeft = 100 * Double(connection.usedByteCount - usedBefore) / Double(max(1, used))
        let residentLeft = 100 * Double(benchmark_quick_resident_bytes() - residentBefore) / Double(max(1, resident))
        sleep(until: wallClockMilliseconds() + 3000)
        let later = 100 * Double(benchmark_quick_resident_bytes() - residentBefore) / Double(max(1, resident))
        report.row([
            .count(keys), .count(spread), .decimal(outcome.latestMilliseconds, digits: 1),
            .goal(.atMost(spread > 0 ? 100 : 1000), outcome.latestMilliseconds), .count(outcome.earlyCount),
            milliseconds(calm.wall.maximum), milliseconds(busy.wall.maximum), milliseconds(busy.own.maximum),
            .goal(.atMost(5), Double(busy.own.maximum) / 1e6), .decimal(usedLeft, digits: 1),
            .decimal(residentLeft, digits: 1), .decimal(later, digits: 1),
        ])
        try? database.close()
    }

    private func load(on database: KedisDatabase, until end: Int64) -> WaitRecorder {
        let load = startSteadyLoad(on: database)
        sleep(until: end)
        return load.stop()
    }

    /// Sets the keys that will expire.
    private func load(_ connection: KedisConnection, spread: Int) -> DueKeys {
        let start = wallClockMilliseconds()
        let due = DueKeys(first: start + 3000 + Int64(keys / 250), count: keys, spread: spread)
        for index in 0..<keys {
            _ = connection.execute(
                bytes: Array("SET".utf8), itemArray(.new, index), itemArray(.value, index), Array("PXAT".utf8),
                Array(String(due.deadline(index)).utf8))
        }
        return due
    }

    /// Looks at the number of keys until those that are due are gone, or half a minute has passed.
    private func watch(_ connection: KedisConnection, _ due: DueKeys) -> (latestMilliseconds: Double, earlyCount: Int) {
        var latest = 0.0, early = 0
        let end = due.deadline(keys - 1) + 30_000
        while true {
            let left = max(0, connection.keyCount - steadyKeyCount)
            let now = Double(wallClockMicroseconds()) / 1000
            early = max(early, keys - left - due.dueCount(Int64(now)))
            let oldestLeft = due.deadline(left > 0 ? keys - left : keys - 1)
            if now >= Double(oldestLeft) { latest = max(latest, now - Double(oldestLeft)) }
            if left == 0 || now > Double(end) { return (latest, early) }
            usleep(300)
        }
    }

    private func sleep(until milliseconds: Int64) {
        while true {
            let rest = milliseconds - wallClockMilliseconds()
            guard rest > 0 else { return }
            usleep(UInt32(min(rest, 500)) * 1000)
        }
    }

    // MARK: Not due

    /// GETs in two stores, one with a far deadline on every key, and what the background of such a database costs.
    private func measureFarDeadlines() {
        let report = Report(
            "expiry-far",
            ["keys:9", "GET ns", "with deadlines:14", "ratio", "goal:12", "background %:12", "with deadlines %:16"],
            isJSON: output.isJSON)
        var processorShares: [Double] = []
        for hasDeadlines in [false, true] { processorShares.append(backgroundShare(hasDeadlines: hasDeadlines)) }
        let plain = EngineSubject(keyCount: farKeys), far = EngineSubject(keyCount: farKeys)
        arm(far.store)
        var random = RandomGenerator(seed: 5)
        let items = Items(.key, (0..<400_000).map { _ in random.next(below: farKeys) })
        var samples: [[Double]] = [[], []]
        for _ in 0..<rounds {
            for (index, subject) in [plain, far].enumerated() {
                // What the background does between the commands: nothing is due.
                _ = subject.store.expireDue(nowMilliseconds: wallClockMilliseconds(), limit: 64)
                samples[index].append(Double(subject.get(items)) / Double(items.count))
            }
        }
        let ratio = median(zip(samples[1], samples[0]).map { $0 / $1 })
        report.row([
            .count(farKeys), .decimal(median(samples[0]), digits: 1), .decimal(median(samples[1]), digits: 1),
            .decimal(ratio, digits: 3), .goal(.atMost(1.05), ratio), .decimal(processorShares[0], digits: 3),
            .decimal(processorShares[1], digits: 3),
        ])
    }

    private func deadline(_ index: Int, now: Int64) -> Int64 {
        now + 3_600_000 + Int64((UInt64(index) &* 0xd129_0d3a_9b4b_7a2d) % 86_400_000)
    }

    private func arm(_ store: Store) {
        let scratch = ItemScratch()
        let now = wallClockMilliseconds()
        for index in 0..<farKeys {
            let deadline = DeadlineUpdate.set(deadline(index, now: now))
            let isStored = store.handle.set(scratch.key(index), scratch.value(index), now: now, deadline: deadline)
            precondition(isStored, "no memory")
        }
        settle(store)
    }

    /// The processor time of an idle database, in percent of one processor.
    private func backgroundShare(hasDeadlines: Bool) -> Double {
        let database = KedisDatabase()
        let connection = database.connect()
        let now = wallClockMilliseconds()
        for index in 0..<farKeys {
            guard hasDeadlines else {
                connection.set(.key, index)
                continue
            }
            _ = connection.execute(
                bytes: Array("SET".utf8), itemArray(.key, index), itemArray(.value, index), Array("PXAT".utf8),
                Array(String(deadline(index, now: now)).utf8))
        }
        usleep(1_000_000)
        let before = benchmark_process_cpu_nanoseconds()
        usleep(3_000_000)
        let share = Double(benchmark_process_cpu_nanoseconds() - before) / 3e9 * 100
        try? database.close()
        return share
    }
}

/// Keys whose deadlines lie evenly in a time.
struct DueKeys {
    /// In milliseconds since 1970.
    let first: Int64
    let count: Int
    /// In milliseconds.
    let spread: Int

    func deadline(_ index: Int) -> Int64 { first + Int64(index * spread / count) }

    /// How many are due at `now`.
    func dueCount(_ now: Int64) -> Int {
        guard now >= first else { return 0 }
        guard spread > 0 else { return count }
        // Deadlines are cut to whole milliseconds: a key may be due a little before its share of the time.
        return min(count, (Int(now - first) + 1) * count / spread + 1)
    }
}
