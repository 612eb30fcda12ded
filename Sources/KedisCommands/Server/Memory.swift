// MEMORY: what keys take, what the whole store takes, and what to do about it.

import KedisProtocol
import KedisStore
import KedisUtilities

enum MemoryCommand {
    static let spec = CommandSpec(
        "MEMORY", summary: "Groups the commands about memory.", since: "4.0.0", group: .server,
        complexity: "That of the subcommand", arity: -2, flags: [],
        subcommands: [
            figures(
                "DOCTOR", "Names what is odd about the use of memory, and what helps.", .verbatim("advice"),
                MemoryDoctor.run
            ),
            .help(since: "4.0.0", group: .server),
            mallocSpec,
            CommandSpec(
                "PURGE", summary: "Gives back to the system what memory is kept for reuse.", since: "4.0.0",
                group: .server, complexity: "In proportion to what there is to give back", arity: 2, flags: [],
                locks: .none, tips: ["request_policy:all_shards", "response_policy:all_succeeded"], replies: [.ok],
                handler: purge
            ),
            figures("STATS", "Returns figures about the use of memory.", .map("figures by name"), statistics),
            CommandSpec(
                "USAGE", summary: "Returns how many bytes a key and its value take.", since: "4.0.0", group: .server,
                complexity: "O(N) in the number of samples", arity: -3, flags: .readOnly,
                keys: [.one(.readOnly, at: 2)],
                arguments: [.key(), ArgumentSpec("count", .integer, token: "SAMPLES", isOptional: true)],
                replies: [.integer("the bytes"), .null("the key does not exist")],
                differences: ["The figure is exact: the cell, its share of the table, a value outside."],
                handler: usage
            ),
        ]
    )

    private static func figures(
        _ name: String, _ summary: String, _ reply: ReplySpec, _ handler: @escaping CommandHandler
    ) -> CommandSpec {
        CommandSpec(
            name, summary: summary, since: "4.0.0", group: .server, arity: 2, flags: [], locks: .none,
            tips: ["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
            replies: [reply], handler: handler
        )
    }

    private static var mallocSpec: CommandSpec {
        var spec = figures(
            "MALLOC-STATS", "Draws what the arenas hold.", .verbatim("a table for people"), allocatorStatistics)
        spec.complexity = "In proportion to the number of stripes"
        return spec
    }

    // MARK: USAGE, PURGE

    static func usage(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        // The number of samples is checked and means nothing: the figure is exact.
        var index = 3
        while index < call.arguments.count {
            guard call.arguments[index].equalsIgnoringCase("SAMPLES"), index + 1 < call.arguments.count else {
                throw .syntax
            }
            guard try call.integer(at: index + 1) >= 0 else { throw .syntax }
            index += 2
        }
        guard let entry = call.keyspace.peek(call.key) else { return reply.null() }
        reply.integer(entry.memoryByteCount)
    }

    static func purge(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        call.engine.store.purge(held: call.keyspace.held)
        call.engine.host.releaseMemory()
        reply.ok()
    }

    // MARK: STATS

    private enum Figure {
        case integer(Int)
        case double(Double)
        case database(main: Int, deadlines: Int)
    }

    static func statistics(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let report = MemoryReport(call.engine, held: call.keyspace.held)
        let databases = databaseFigures(report, call)
        let all = generalFigures(report) + databases + dataFigures(report) + allocatorFigures(report)
        reply.map(all.count)
        for (name, figure) in all {
            reply.bulk(text: name)
            switch figure {
            case .integer(let value): reply.integer(value)
            case .double(let value): reply.double(value)
            case .database(let main, let deadlines):
                reply.map(3)
                reply.bulk("overhead.hashtable.main")
                reply.integer(main)
                reply.bulk("overhead.hashtable.expires")
                reply.integer(deadlines)
                reply.bulk("overhead.hashtable.slot-to-keys")
                reply.integer(0)
            }
        }
    }

    private static func generalFigures(_ report: MemoryReport) -> [(String, Figure)] {
        [
            ("peak.allocated", .integer(report.peak)), ("total.allocated", .integer(report.used)),
            ("startup.allocated", .integer(report.startup)), ("replication.backlog", .integer(0)),
            ("clients.slaves", .integer(0)), ("clients.normal", .integer(report.clientByteCount)),
            ("cluster.links", .integer(0)), ("aof.buffer", .integer(0)), ("lua.caches", .integer(0)),
            ("functions.caches", .integer(0)),
        ]
    }

    /// The tables and wheels belong to stripes: a database has the share that its keys and deadlines give it.
    private static func databaseFigures(_ report: MemoryReport, _ call: borrowing CommandCall) -> [(String, Figure)] {
        let store = call.engine.store
        var result: [(String, Figure)] = []
        for index in 0..<store.databaseCount {
            let keyspace = store.keyspace(
                index, nowMilliseconds: call.nowMilliseconds, held: call.keyspace.held)
            let count = keyspace.count
            guard count > 0 else { continue }
            let main = share(count, of: report.statistics.keyCount, report.statistics.tableByteCount)
            let wheels = share(
                keyspace.deadlineCount, of: report.statistics.deadlineCount, report.statistics.wheelByteCount)
            result.append(("db.\(index)", .database(main: main, deadlines: wheels)))
        }
        return result
    }

    private static func share(_ part: Int, of whole: Int, _ byteCount: Int) -> Int {
        whole > 0 ? Int(Double(byteCount) * min(1, Double(part) / Double(whole))) : 0
    }

    private static func dataFigures(_ report: MemoryReport) -> [(String, Figure)] {
        let count = report.statistics.keyCount
        return [
            ("overhead.total", .integer(report.overhead)), ("keys.count", .integer(count)),
            ("keys.bytes-per-key", .integer(count > 0 ? (report.used - report.startup) / count : 0)),
            ("dataset.bytes", .integer(report.dataset)), ("dataset.percentage", .double(report.datasetPercentage)),
            ("peak.percentage", .double(report.peakPercentage)),
        ]
    }

    private static func allocatorFigures(_ report: MemoryReport) -> [(String, Figure)] {
        [
            ("allocator.allocated", .integer(report.used)), ("allocator.active", .integer(report.allocatorResident)),
            ("allocator.resident", .integer(report.allocatorResident)),
            ("allocator-fragmentation.ratio", .double(report.allocatorFragmentation)),
            ("allocator-fragmentation.bytes", .integer(report.allocatorResident - report.used)),
            ("allocator-rss.ratio", .double(1)), ("allocator-rss.bytes", .integer(0)),
            ("rss-overhead.ratio", .double(report.processOverhead)),
            ("rss-overhead.bytes", .integer(report.resident - report.allocatorResident)),
            ("fragmentation", .double(report.fragmentation)),
            ("fragmentation.bytes", .integer(report.resident - report.used)),
        ]
    }

    // MARK: MALLOC-STATS

    static func allocatorStatistics(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let figures = call.engine.store.memoryStatistics(held: call.keyspace.held)
        let rows: [(name: String, value: String)] = [
            ("cells in use", bytes(figures.cellByteCount)),
            ("free cells between them", bytes(figures.freeCellByteCount)),
            ("arenas, mapped", bytes(figures.arenaMappedByteCount)),
            ("arenas, resident", bytes(figures.arenaResidentByteCount)),
            ("values outside", "\(bytes(figures.blobByteCount)) in \(figures.blobCount)"),
            ("tables", "\(bytes(figures.tableByteCount)), \(figures.segmentCount) segments"),
            ("deadline wheels", bytes(figures.wheelByteCount)),
            ("stripes, fixed", bytes(figures.overheadByteCount)),
            ("to be given back", "\(bytes(figures.pendingByteCount)) in \(figures.pendingCount) values"),
            ("given back so far", "\(figures.reclaimedCount) values, \(figures.releasedSlabCount) slabs"),
            ("cells moved so far", "\(figures.movedCellCount)"),
        ]
        let width = rows.map(\.name.count).max() ?? 0
        var text = rows.reduce(into: "") { text, row in
            text += row.name + String(repeating: " ", count: width + 2 - row.name.count) + row.value + "\n"
        }
        text.withUTF8 { reply.verbatim("txt", ByteView(UnsafeRawBufferPointer($0))) }
    }

    private static func bytes(_ count: Int) -> String { "\(count) (\(humanByteCount(count)))" }
}
