// DEBUG subcommands that tell how the value at a key is stored.
//
// All stripes are locked, as for every DEBUG.

import KedisFormats
import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

extension DebugCommand {
    /// OBJECT key: O(value), which is encoded as in a snapshot.
    static func object(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let entry = call.keyspace.peek(call.keyspace.key(call.arguments[2])) else { throw .noSuchKey }
        let address = String(UInt(bitPattern: entry.key.base), radix: 16)
        reply.simple(
            text: """
                Value at:0x\(address) refcount:\(ObjectCommand.referenceCount(of: entry)) \
                encoding:\(entry.encoding.name) serializedlength:\(serializedByteCount(of: entry)) \
                lru:\(entry.accessClock) \
                lru_seconds_idle:\(ObjectCommand.idleSeconds(of: entry, nowMilliseconds: call.nowMilliseconds))\
                \(entry.type == .list ? listFacts(entry.list, call) : "")
                """
        )
    }

    /// What the value takes in a snapshot.
    private static func serializedByteCount(of entry: Entry) -> Int {
        // Of collections what they are before compression, which is cheaper to find out.
        let options = RDBOptions(compressesStrings: entry.type == .string, hasChecksum: false)
        var writer = RDBWriter(options: options, chunkByteCount: 64) { _ in true }
        writer.writeContent(of: entry)
        return writer.byteCount
    }

    /// What files put around a packed run: its length, its count, an end mark.
    private static let packedFrameByteCount = 7

    /// The facts about a list, under Redis's names.
    private static func listFacts(_ list: ListValue, _ call: borrowing CommandCall) -> String {
        var byteCount = 0
        list.forEachRun { run, _ in
            byteCount += run.count + packedFrameByteCount
            return true
        }
        let hundredths = list.count * 100 / list.runCount
        let fraction = hundredths % 100
        return """
             ql_nodes:\(list.runCount) ql_avg_node:\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction) \
            ql_listpack_max:\(call.engine.configuration.listPackSetting.load(ordering: .relaxed)) ql_compressed:0 \
            ql_uncompressed_size:\(byteCount)
            """
    }

    /// SDSLEN key: the lengths of a key and of its string, what they may still grow by and what they take, under the
    /// names that Redis gives them. A small key has no room of its own to grow.
    static func stringLengths(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let entry = try describedEntry(call)
        guard let lengths = entry.stringLengths else { throw .literal("ERR Not an sds encoded string.") }
        reply.simple(
            text: """
                key_sds_len:\(lengths.key.used), key_sds_avail:\(lengths.key.free), \
                key_zmalloc: \(lengths.key.taken), val_sds_len:\(lengths.value.used), \
                val_sds_avail:\(lengths.value.free), val_zmalloc: \(lengths.value.taken)
                """)
    }

    static func structureSizes(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let sizes = structureByteCounts.map { "\($0.name):\($0.byteCount) " }.joined()
        reply.bulk(text: "bits:\(Int.bitWidth) \(sizes)")
    }

    /// LISTPACK key and QUICKLIST key: the layout goes to the log.
    static func describeListpack(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let entry = try describedEntry(call)
        guard entry.encoding == .listpack else { throw .literal("ERR Not a listpack encoded object.") }
        log(entry, call)
        reply.simple("Listpack structure printed on stdout")
    }

    static func describeQuicklist(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let entry = try describedEntry(call)
        guard entry.type == .list else { throw .literal("ERR Not a quicklist encoded object.") }
        log(entry, call)
        reply.simple("Quicklist structure printed on stdout")
    }

    private static func describedEntry(_ call: borrowing CommandCall) throws(CommandError) -> Entry {
        guard let entry = call.keyspace.peek(call.keyspace.key(call.arguments[2])) else { throw .noSuchKey }
        return entry
    }

    private static func log(_ entry: Entry, _ call: borrowing CommandCall) {
        call.engine.host.log(
            .notice,
            "\(rdbKeyText(entry.key)): \(entry.type.name), \(entry.encoding.name), \(entry.memoryByteCount) bytes"
        )
    }
}
