// What FLUSHALL of millions of keys and UNLINK of a big string cost: the call, the others' longest wait, and when the
// memory is back.

import ArgumentParser
import BenchmarkSupport
import Kedis
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct FlushCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flush", abstract: "FLUSHALL of many keys and UNLINK of a big string.")

    @Option(help: "Keys that are flushed.") var keys = 10_000_000
    @Option(help: "Length of the string, in MiB.") var mebibytes = 512
    @Option(help: "How long to wait for the memory, in seconds.") var patience = 30
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1...50_000_000).contains(keys), (1...512).contains(mebibytes), (1...600).contains(patience) else {
            throw ValidationError("keys: 1 to 50000000, mebibytes: 1 to 512, patience: 1 to 600")
        }
    }

    func run() {
        let report = Report(
            "flush",
            ["operation:19", "call ms", "wait before:11", "wait ms", "wait own", "goal:11", "used back ms:12",
             "rss back ms:11", "rss MiB before:14", "rss MiB left:12"],
            isJSON: output.isJSON)
        let database = KedisDatabase()
        let connection = database.connect()
        let empty = MemoryState(connection)
        for index in 0..<keys { connection.set(.new, index) }
        measure(["FLUSHALL"], "FLUSHALL \(keys)", database, empty, report)
        for index in 0..<steadyKeyCount { connection.set(.key, index) }
        let without = MemoryState(connection)
        // Set, so that every page is there: SETRANGE would leave zeroes to the system.
        let big = [Array("SET".utf8), Array("big".utf8), [UInt8](repeating: 0x78, count: mebibytes * 1_048_576)]
        _ = connection.execute(big)
        measure(["UNLINK", "big"], "UNLINK \(mebibytes) MiB", database, without, report)
        _ = connection.execute(big)
        measure(["DEL", "big"], "DEL \(mebibytes) MiB", database, without, report)
        try? database.close()
    }

    private func measure(
        _ command: [String], _ name: String, _ database: KedisDatabase, _ target: MemoryState, _ report: Report
    ) {
        let connection = database.connect()
        let calmLoad = startSteadyLoad(on: database)
        usleep(500_000)
        let calm = calmLoad.stop()
        let full = MemoryState(connection)
        let load = startSteadyLoad(on: database)
        usleep(100_000)
        let start = monotonicNanoseconds()
        let reply = connection.execute(command.map { Array($0.utf8) })
        let duration = monotonicNanoseconds() - start
        if case .error(let text) = reply { preconditionFailure(String(decoding: text, as: UTF8.self)) }
        let times = waitForMemory(connection, since: start, full, target)
        let waits = load.stop()
        report.row([
            .text(name), milliseconds(duration), milliseconds(calm.wall.maximum), milliseconds(waits.wall.maximum),
            milliseconds(waits.own.maximum), .goal(.atMost(5), Double(waits.own.maximum) / 1e6), times.used,
            times.resident,
            .decimal(Double(full.resident - target.resident) / 1_048_576, digits: 1),
            .decimal(Double(MemoryState(connection).resident - target.resident) / 1_048_576, digits: 1),
        ])
    }

    /// When used and resident memory are back within a twentieth, and 16 MiB for the keys of the load, of what they had
    /// grown by.
    private func waitForMemory(
        _ connection: KedisConnection, since start: UInt64, _ full: MemoryState, _ target: MemoryState
    ) -> (used: Figure, resident: Figure) {
        var used = Figure.none, resident = Figure.none
        let slack = 16 << 20
        let wantedUsed = target.used + (full.used - target.used) / 20 + slack
        let wantedResident = target.resident + (full.resident - target.resident) / 20 + slack
        while monotonicNanoseconds() - start < UInt64(patience) * 1_000_000_000 {
            let state = MemoryState(connection)
            let elapsed = milliseconds(monotonicNanoseconds() - start)
            if case .none = used, state.used <= wantedUsed { used = elapsed }
            if case .none = resident, state.resident <= wantedResident { resident = elapsed }
            if case .decimal = used, case .decimal = resident { break }
            usleep(1000)
        }
        return (used, resident)
    }
}

struct MemoryState {
    let used: Int
    let resident: Int

    init(_ connection: KedisConnection) {
        used = connection.usedByteCount
        resident = Int(benchmark_quick_resident_bytes())
    }
}
