// How long single SETs and DELs take while a store grows from nothing to millions of keys and shrinks back.
//
// Every operation is timed. `wall` is what the clock says; `own` leaves out the time in which the machine kept the
// thread from running, told by the scheduler. The rows `machine` are the same loop without work: what is left in them
// is the machine's share that nobody can tell apart. A second pass counts the work that the store notes for its slow
// paths (splits, merges, directories), looked at after every operation.

import ArgumentParser
import BenchmarkSupport
import KedisStore
import KedisUtilities

struct StallsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stalls", abstract: "The longest SETs and DELs while a store grows and shrinks.")

    @Option(help: "How many keys the store grows to.") var keys = 10_000_000
    @Option(help: "How many keys it grows to while work is counted; 0 leaves that out.") var countedKeys = 10_000_000
    @Flag(inversion: .prefixedNo, help: "Run the background's work, too, a slice for every 1,000 operations.")
    var maintenance = true
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1...100_000_000).contains(keys), (0...100_000_000).contains(countedKeys) else {
            throw ValidationError("keys: 1 to 100000000")
        }
    }

    func run() {
        if !output.isJSON { print("microseconds; \(keys) keys of 16 bytes with values of 16 bytes") }
        let report = Report(
            "stalls", ["operation:13", "clock:6", "count:10"] + histogramColumns + ["p99.999 goal:12"],
            isJSON: output.isJSON)
        let stolen = benchmark_stolen_milliseconds()
        show("machine", measureMachine(), nil, report)
        let store = makeStore()
        show("SET growing", grow(store), .atMost(1000), report)
        show("SET overwrite", overwrite(store), .atMost(1000), report)
        show("DEL shrinking", shrink(store), .atMost(1000), report)
        report.note("stolen by the hypervisor meanwhile: \(benchmark_stolen_milliseconds() - stolen) ms")
        if countedKeys > 0 { countWork() }
    }

    private func show(_ name: String, _ waits: WaitRecorder, _ goal: Goal?, _ report: Report) {
        for (clock, histogram) in [("wall", waits.wall), ("own", waits.own)] {
            let limit = clock == "own" ? goal : nil
            report.row(
                [.text(name), .text(clock), .count(Int(histogram.count))] + histogram.figures
                    + [limit.map { .goal($0, Double(histogram.percentile(0.99999)) / 1000) } ?? .none])
        }
    }

    private func measureMachine() -> WaitRecorder {
        var waits = WaitRecorder()
        for _ in 0..<keys {
            let start = monotonicNanoseconds()
            waits.record(from: start, to: monotonicNanoseconds())
        }
        return waits
    }

    private func grow(_ store: Store) -> WaitRecorder {
        timeEach(store) { handle, scratch, index, now in
            let key = scratch.key(index), value = scratch.value(index)
            let start = monotonicNanoseconds()
            let isStored = handle.set(key, value, now: now)
            let end = monotonicNanoseconds()
            precondition(isStored, "no memory")
            return (start, end)
        }
    }

    private func overwrite(_ store: Store) -> WaitRecorder {
        timeEach(store) { handle, scratch, index, now in
            let key = scratch.key(index), value = scratch.value(index + 1)
            let start = monotonicNanoseconds()
            let isStored = handle.set(key, value, now: now)
            let end = monotonicNanoseconds()
            precondition(isStored, "no memory")
            return (start, end)
        }
    }

    private func shrink(_ store: Store) -> WaitRecorder {
        timeEach(store) { handle, scratch, index, now in
            let key = scratch.key(index)
            let start = monotonicNanoseconds()
            let isRemoved = handle.withKey(key, now: now) { keyspace, key in keyspace.remove(key) }
            let end = monotonicNanoseconds()
            precondition(isRemoved, "a key was lost")
            return (start, end)
        }
    }

    @inline(__always)
    private func timeEach(
        _ store: Store, _ body: (StoreHandle, ItemScratch, Int, Int64) -> (start: UInt64, end: UInt64)
    ) -> WaitRecorder {
        let handle = store.handle, scratch = ItemScratch()
        var waits = WaitRecorder()
        var now = wallClockMilliseconds()
        for index in 0..<keys {
            let times = body(handle, scratch, index, now)
            waits.record(from: times.start, to: times.end)
            if index % 1000 == 0 {
                now = wallClockMilliseconds()
                if maintenance { _ = store.maintain(nowMilliseconds: now) }
            }
        }
        return waits
    }

    // MARK: Counted work

    private func countWork() {
        let report = Report(
            "stalls-work",
            ["operation:13", "count:10", "slow ones", "most cells:10", "goal:14", "most KiB", "KiB goal:12"],
            isJSON: output.isJSON)
        let store = makeStore()
        let handle = store.handle, scratch = ItemScratch()
        let now = wallClockMilliseconds()
        count("SET growing", store, report) { index in
            handle.withKey(scratch.key(index), now: now) { keyspace, key in
                do throws(StoreError) { try keyspace.setString(key, scratch.value(index)) } catch { return nil }
                return key.stripeIndex
            }
        }
        count("DEL shrinking", store, report) { index in
            handle.withKey(scratch.key(index), now: now) { keyspace, key in
                keyspace.remove(key) ? key.stripeIndex : nil
            }
        }
    }

    /// - Parameter body: performs an operation and returns the stripe that it worked on, nil when it failed.
    private func count(_ name: String, _ store: Store, _ report: Report, _ body: (Int) -> Int?) {
        var mostCells: UInt64 = 0, mostBytes: UInt64 = 0, slowCount = 0
        var known = work(store)
        for index in 0..<countedKeys {
            guard let stripe = body(index) else { preconditionFailure("no memory, or a key was lost") }
            let after = store.slowPathWork(stripeIndex: stripe)
            let cells = after.cellCount &- known[stripe].cellCount
            let bytes = after.byteCount &- known[stripe].byteCount
            known[stripe] = after
            if cells > 0 || bytes > 0 { slowCount += 1 }
            mostCells = max(mostCells, cells)
            mostBytes = max(mostBytes, bytes)
            if maintenance, index % 1000 == 0 {
                _ = store.maintain(nowMilliseconds: wallClockMilliseconds())
                // The background's work is no command's.
                known = work(store)
            }
        }
        report.row([
            .text(name), .count(countedKeys), .count(slowCount), .count(Int(mostCells)),
            .goal(.atMost(1000), Double(mostCells)), .decimal(Double(mostBytes) / 1024, digits: 1),
            .goal(.atMost(64), Double(mostBytes) / 1024),
        ])
    }

    private func work(_ store: Store) -> [(cellCount: UInt64, byteCount: UInt64)] {
        (0..<Store.stripeCount).map { store.slowPathWork(stripeIndex: $0) }
    }
}
