// Whether anybody waits for a large collection: while it grows, shrinks, is moved, replaced and freed.
//
// Growing and shrinking: every single command is timed; rows `machine` are the same with PING. Operations on the whole:
// one command is timed, and beside it a thread does GETs and SETs on keys of the same stripes until the background has
// freed what the command removed; its longest wait is what the operation costs others. `calm` is that thread's longest
// wait in some time before. `own` leaves out the time in which the machine kept a thread from running, as far as it
// tells. What misses its goal is measured again, up to three times in all, and the best counts: the machine's stalls
// come now and then, those of a data structure each time.
//
// The collection that is operated on is a copy (COPY), but for DEL, which gets the one that grew element by element.

import ArgumentParser
import BenchmarkSupport
import Kedis
import KedisCommands
import KedisStore
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct CollectionsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "collections", abstract: "Who waits while a large collection grows, moves and goes.")

    @Option(help: "Elements of each collection.") var elements = 10_000_000
    @Option(help: "The types, with commas between them.") var types = CollectionKind.allCases.map(\.rawValue)
        .joined(separator: ",")
    @Flag(inversion: .prefixedNo, help: "Time operations on whole collections.") var operations = true
    @Flag(inversion: .prefixedNo, help: "Remove the elements one by one, too.") var shrinking = true
    @Option(help: "How long to wait for the memory, in seconds.") var patience = 60
    @OptionGroup var output: OutputOptions

    private var kinds: [CollectionKind] {
        types.split(separator: ",").compactMap { CollectionKind(rawValue: String($0)) }
    }

    func validate() throws {
        guard (1000...200_000_000).contains(elements), (1...600).contains(patience) else {
            throw ValidationError("elements: 1000 to 200000000, patience: 1 to 600")
        }
        guard kinds.count == types.split(separator: ",").count else {
            throw ValidationError("types: " + CollectionKind.allCases.map(\.rawValue).joined(separator: ","))
        }
    }

    func run() {
        if !output.isJSON { print("\(elements) elements of 16 bytes") }
        let single = Report(
            "collections-single", ["command:17", "count:10"] + histogramColumns + ["own max:9", "goal:14"],
            isJSON: output.isJSON)
        single.note("single commands, microseconds")
        let whole = Report(
            "collections-whole",
            ["operation:26", "call ms", "calm ms", "calm own", "wait ms", "wait own", "goal:12", "freed ms:9"],
            isJSON: output.isJSON)
        measureMachine(single)
        for kind in kinds {
            let key = Array("collection".utf8)
            var best = SingleWaits()
            for round in 1...MeasuredAgain.countMax {
                let database = KedisDatabase()
                best.keepBetter(measureSingle(kind, database.connect(), key))
                let isLast = best.isWithin(nanoseconds: 1_000_000) || round == MeasuredAgain.countMax
                if isLast, operations {
                    if shrinking { grow(kind, database.connect(), key) }
                    CollectionOperations(kind, database, patience: patience, report: whole).run()
                }
                try? database.close()
                if isLast { break }
            }
            for (name, waits) in best.rows { show("\(kind.rawValue) \(name)", waits, .atMost(1000), single) }
        }
    }

    // MARK: Single commands

    private func show(_ name: String, _ waits: WaitRecorder, _ goal: Goal?, _ report: Report) {
        let own = Double(waits.own.maximum) / 1000
        report.row(
            [.text(name), .count(Int(waits.wall.count))] + waits.wall.figures
                + [.decimal(own, digits: 2), goal.map { .goal($0, own) } ?? .none])
    }

    private func measureMachine(_ report: Report) {
        let connection = KedisDatabase().connect()
        let ping = [Array("PING".utf8)]
        show("machine", timeEach(elements) { _ in ping } run: { connection.run($0) }, nil, report)
    }

    /// Grows a collection, and shrinks it to nothing if that is wanted.
    private func measureSingle(_ kind: CollectionKind, _ connection: KedisConnection, _ key: [UInt8]) -> SingleWaits {
        var waits = SingleWaits()
        kind.begin(connection, key)
        waits.rows.append(
            ("growing", timeEach(elements - 1) { kind.adding($0 + 1, to: key) } run: { connection.run($0) }))
        if kind.delivering(0, of: key) != nil {
            waits.rows.append(
                ("delivered", timeEach(elements) { kind.delivering($0, of: key) ?? [] } run: { connection.run($0) }))
        }
        guard shrinking else { return waits }
        // In an order of its own, so that the whole thins out evenly. The stride is prime to every count.
        let order = { (index: Int) -> Int in (index &* 7_368_787_009) % elements }
        waits.rows.append(
            ("shrinking", timeEach(elements - 1) { kind.removing(order($0), from: key) } run: { connection.run($0) }))
        connection.run([Array("DEL".utf8), key])
        return waits
    }

    private func grow(_ kind: CollectionKind, _ connection: KedisConnection, _ key: [UInt8]) {
        kind.begin(connection, key)
        for index in 1..<elements { connection.run(kind.adding(index, to: key)) }
        for index in 0..<elements {
            guard let delivery = kind.delivering(index, of: key) else { break }
            connection.run(delivery)
        }
    }

    @inline(__always)
    private func timeEach(
        _ count: Int, _ command: (Int) -> [[UInt8]], run: ([[UInt8]]) -> Void
    ) -> WaitRecorder {
        var waits = WaitRecorder(isAlone: true)
        for index in 0..<count {
            let arguments = command(index)
            let start = monotonicNanoseconds()
            run(arguments)
            waits.record(from: start, to: monotonicNanoseconds())
        }
        return waits
    }
}

/// How often what misses its goal is measured, at most.
enum MeasuredAgain {
    static let countMax = 3
}

/// How long single commands took, by what they did to a collection.
private struct SingleWaits {
    var rows: [(name: String, waits: WaitRecorder)] = []

    func isWithin(nanoseconds limit: UInt64) -> Bool { rows.allSatisfy { $0.waits.own.maximum <= limit } }

    mutating func keepBetter(_ others: SingleWaits) {
        guard !rows.isEmpty else { return rows = others.rows }
        for (index, other) in others.rows.enumerated() where other.waits.own.maximum < rows[index].waits.own.maximum {
            rows[index] = other
        }
    }
}
