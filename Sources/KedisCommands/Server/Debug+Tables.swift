// DEBUG HTSTATS and HTSTATS-KEY: the tables of a database, or that of one value, drawn for people.
//
// All stripes are locked, as for every DEBUG. O(segments of the database), or O(blocks of the value).

import KedisProtocol
import KedisStore
import KedisUtilities

extension DebugCommand {
    static func tableStatistics(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let index = try call.integer(at: 2)
        guard index >= 0, index < Int64(call.engine.store.databaseCount) else {
            throw .literal("ERR Out of range database")
        }
        let statistics = call.engine.store.tableStatistics(databaseIndex: Int(index), held: call.keyspace.held)
        var text = TableText(statistics).text(isFull: call.arguments.count > 3)
        text.withUTF8 { reply.verbatim("txt", ByteView(UnsafeRawBufferPointer($0))) }
    }

    static func keyTableStatistics(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let entry = call.keyspace.peek(call.keyspace.key(call.arguments[2])) else { throw .noSuchKey }
        guard let statistics = entry.collectionStatistics else {
            throw .literal("ERR The value stored at the specified key is not represented using an hash table")
        }
        var text = CollectionText(statistics).text(isFull: call.arguments.count > 3)
        text.withUTF8 { reply.verbatim("txt", ByteView(UnsafeRawBufferPointer($0))) }
    }
}

/// The text of DEBUG HTSTATS.
struct TableText {
    private let statistics: TableStatistics

    init(_ statistics: TableStatistics) { self.statistics = statistics }

    func text(isFull: Bool) -> String {
        var lines = [
            "keys                \(statistics.keyCount)",
            "tables              \(statistics.tableCount), one for each stripe in use",
            "segments            \(statistics.segmentCount), 4096 bytes each",
            "directory entries   \(statistics.directoryEntryCount)",
            "slots               \(statistics.slotCount)",
            "load                \(percent(statistics.keyCount, of: statistics.slotCount))",
            "keys at home        \(share(statistics.homeKeyCount))",
            "keys in neighbours  \(share(statistics.neighbourKeyCount))",
            "keys in the stash   \(share(statistics.stashKeyCount))",
            "home buckets by the number of their slots that are taken:",
        ]
        lines += histogram(statistics.bucketsByFill, from: 0)
        if isFull {
            lines.append("segments by their depth in hash bits:")
            lines += histogramOfDepths(statistics.segmentsByDepth)
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private func share(_ count: Int) -> String { "\(count) (\(percent(count, of: statistics.keyCount)))" }
}

/// The text of DEBUG HTSTATS-KEY.
private struct CollectionText {
    private let statistics: CollectionStatistics

    init(_ statistics: CollectionStatistics) { self.statistics = statistics }

    func text(isFull: Bool) -> String {
        var lines = [
            "elements            \(statistics.elementCount)",
            "bytes               \(statistics.byteCount), \(perElement) an element",
        ]
        if let tree = statistics.tree {
            lines.append("tree                \(tree.leafCount) leaves below \(tree.height) levels of nodes")
        }
        let blocks = statistics.tree == nil ? "blocks" : "blocks of the index"
        lines += [
            "directory           \(statistics.directoryByteCount) bytes beside its first entry",
            blocks + String(repeating: " ", count: max(1, 20 - blocks.count))
                + "\(statistics.blockCount), \(statistics.blockByteCount) bytes",
            "load                \(percent(statistics.takenByteCount, of: statistics.blockByteCount))",
            "\(blocks) by how full they are, in tenths:",
        ]
        lines += histogram(statistics.blocksByFill, from: 0)
        if isFull {
            lines.append("\(blocks) by the hash bits that they share:")
            lines += histogramOfDepths(statistics.blocksByDepth)
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private var perElement: String {
        formatFixed(Double(statistics.byteCount) / Double(max(1, statistics.elementCount)), 1)
    }
}

private func percent(_ count: Int, of total: Int) -> String {
    total > 0 ? formatFixed(100 * Double(count) / Double(total), 2) + "%" : "0.00%"
}

private let barWidth = 40

/// A line for each count, with a bar whose length is its share of the largest one.
private func histogram(_ counts: [Int], from first: Int) -> [String] {
    let total = counts.reduce(0, +), largest = max(1, counts.max() ?? 0)
    return counts.enumerated().map { index, count in
        let bar = String(repeating: "#", count: Int(Double(count) / Double(largest) * Double(barWidth)))
        let label = String(first + index)
        let padding = String(repeating: " ", count: max(0, 4 - label.count))
        return "\(padding)\(label): \(count) (\(percent(count, of: total)))\(bar.isEmpty ? "" : " " + bar)"
    }
}

/// The same from the first depth that occurs.
private func histogramOfDepths(_ counts: [Int]) -> [String] {
    let first = counts.firstIndex { $0 > 0 } ?? 0
    return histogram(Array(counts.dropFirst(first)), from: first)
}
