// DEBUG subcommands that make or reload data, and those that steer what does not exist here: they are accepted, so that
// test suites made for Redis run.
//
// All stripes are locked, as for every DEBUG.

import KedisFormats
import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

extension DebugCommand {
    /// RELOAD [MERGE] [NOFLUSH] [NOSAVE]: the snapshot is written and read again. O(data).
    static func reload(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        var (merges, flushes, saves) = (false, true, true)
        for index in 2..<call.arguments.count {
            let word = call.arguments[index]
            if word.equalsIgnoringCase("MERGE") {
                merges = true
            } else if word.equalsIgnoringCase("NOFLUSH") {
                flushes = false
            } else if word.equalsIgnoringCase("NOSAVE") {
                saves = false
            } else {
                throw .literal("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")
            }
        }
        let engine = call.engine
        if saves, let problem = engine.host.save(engine.store, call.keyspace.held) {
            engine.host.log(.warning, "DEBUG RELOAD: \(problem)")
            throw .literal("ERR")
        }
        if flushes {
            for index in 0..<engine.store.databaseCount { _ = call.keyspace.selecting(index).removeAll() }
        }
        if let problem = engine.host.load(engine.store, call.keyspace.held, merges) {
            engine.host.log(.warning, "DEBUG RELOAD: \(problem)")
            throw .literal("ERR Error trying to load the RDB dump, check server logs.")
        }
        reply.ok()
    }

    /// POPULATE count [prefix] [size]: keys `prefix:0`, `prefix:1` … that do not exist. O(count).
    static func populate(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let count = try positive(call, at: 2)
        let prefix = (call.arguments.count > 3 ? call.arguments[3] : "key").bytes + [0x3A]
        var byteCount: Int?
        if call.arguments.count > 4 {
            let limit = call.engine.configuration.bulkByteCountMax.load(ordering: .relaxed)
            byteCount = Int(min(try positive(call, at: 4), Int64(limit)))
        }
        let keyspace = call.keyspace
        var made = 0
        for number in 0..<count {
            let name = prefix + Array(String(number).utf8)
            let isStored = name.withUnsafeBytes { raw in
                let key = keyspace.key(ByteView(raw))
                guard keyspace.peek(key) == nil else { return true }
                made += 1
                return populate(key, number, byteCount, in: keyspace)
            }
            guard isStored else { throw .outOfMemory }
        }
        call.effects.noteChanges(made)
        reply.ok()
    }

    /// Sets a key to `value:7`, cut or filled up with zero bytes; false without memory.
    private static func populate(_ key: Key, _ number: Int64, _ byteCount: Int?, in keyspace: Keyspace) -> Bool {
        let text = Array("value:\(number)".utf8)
        return text.withUnsafeBytes { raw in
            guard let byteCount else { return (try? keyspace.setText(key, ByteView(raw))) != nil }
            guard let room = try? keyspace.makeString(key, byteCount: byteCount) else { return false }
            _ = room.initializeMemory(as: UInt8.self, repeating: 0)
            room.copyMemory(from: UnsafeRawBufferPointer(rebasing: raw.prefix(byteCount)))
            return true
        }
    }

    private static func positive(_ call: borrowing CommandCall, at index: Int) throws(CommandError) -> Int64 {
        guard let value = parseInteger(call.arguments[index]), value >= 0 else {
            throw .literal("ERR value is out of range, must be positive")
        }
        return value
    }

    // MARK: What does not exist here

    /// SET-SKIP-CHECKSUM-VALIDATION, PAUSE-CRON, REPLICATE …: nothing to steer.
    static func accept(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) { reply.ok() }

    /// QUICKLIST-PACKED-THRESHOLD size: elements of any size are packed here.
    static func packedThreshold(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard let byteCount = parseMemorySize(call.arguments[2]), byteCount >= 0, byteCount <= 4 << 30 - 1 << 20 else {
            throw .literal("ERR argument must be a memory value bigger than 1 and smaller than 4gb")
        }
        reply.ok()
    }

    /// REPLYBUFFER PEAK-RESET-TIME time, REPLYBUFFER RESIZING 0: nothing to steer, but what is no such thing is told.
    static func replyBuffer(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let (what, value) = (call.arguments[2], call.arguments[3])
        if what.equalsIgnoringCase("PEAK-RESET-TIME") {
            if !value.equalsIgnoringCase("NEVER"), !value.equalsIgnoringCase("RESET") { _ = try call.integer(at: 3) }
        } else if !what.equalsIgnoringCase("RESIZING") {
            throw unknown(call.arguments[1])
        }
        reply.ok()
    }

    /// DROP-CLUSTER-PACKET-FILTER type.
    static func acceptNumber(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        _ = try call.integer(at: 2)
        reply.ok()
    }

    static func clusterLink(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        throw .literal("ERR Debug option only available for cluster mode enabled setup!")
    }

    /// MALLCTL and MALLCTL-STR: no name is known.
    static func allocatorSetting(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        throw .literal("ERR No such file or directory")
    }

    static func clientEviction(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        throw .literal("ERR maxmemory-clients is disabled.")
    }

    /// The error is the one for a server without a file, as that of CONFIG REWRITE.
    static func rewriteConfiguration(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        throw .literal("ERR CONFIG-REWRITE-FORCE-ALL failed: Bad address")
    }

    static func loadAppendOnlyFile(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        throw .literal("ERR DEBUG LOADAOF: there is no append-only file")
    }

    /// SEGFAULT, PANIC, OOM …: whoever may call DEBUG may still not end a program that has a store inside, and a server
    /// ends with SHUTDOWN or by a signal.
    static func refuse(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        throw .joined("ERR DEBUG ", call.arguments[1], " is refused: a store does not crash on purpose")
    }
}
