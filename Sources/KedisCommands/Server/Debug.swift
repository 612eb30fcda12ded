// DEBUG: tools for tests and for those who look for faults. Refused unless `enable-debug-command` allows it.
//
// All stripes are locked: SLEEP stops everybody, as it promises, and OBJECT may look at any key.

import KedisFormats
import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

enum DebugCommand {
    static let spec: CommandSpec = {
        var spec = CommandSpec(
            "DEBUG", summary: "Groups the tools for debugging and tests.", since: "1.0.0", group: .server,
            complexity: "That of the subcommand", arity: -2, flags: [.admin, .noScript, .loading, .stale],
            locks: .allStripes,
            replies: [.any("that of the subcommand")], handler: run
        )
        spec.untoldArguments = [
            ArgumentSpec("subcommand", .string), ArgumentSpec("arg", .string, isOptional: true, isMultiple: true),
        ]
        let usages = subcommands.map { "`\($0.usage)`" }.joined(separator: ", ")
        spec.differences = [
            "There are \(usages). The shell on its own store allows them; a server does with `enable-debug-command`."
        ]
        return spec
    }()

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard isAllowed(call) else { throw refusal }
        guard let subcommand = subcommands.first(where: { matches($0, call.arguments) }) else {
            throw unknown(call.arguments[1])
        }
        try subcommand.handler(&call, &reply)
    }

    static func unknown(_ name: ByteView) -> CommandError {
        .joined(
            "ERR unknown subcommand or wrong number of arguments for '",
            name[0..<min(128, name.firstIndex(of: 0) ?? name.count)],
            "'. Try DEBUG HELP."
        )
    }

    private static func isAllowed(_ call: borrowing CommandCall) -> Bool {
        switch call.engine.configuration.text("enable-debug-command") {
        case "yes": true
        case "local": call.client.pointee.record.endpoint.isLocal
        default: false
        }
    }

    private static let refusal = CommandError.literal(
        """
        ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it from a \
        local connection, otherwise you need to set this option in the configuration file, and then restart the server.
        """
    )

    // MARK: Subcommands

    /// Of those that would end the process.
    private static let refused = "Refused: no command makes a store crash, which may be a part of a program."
    private static let noAllocatorSettings = "An error: the allocator has no settings."

    private struct Subcommand: Sendable {
        var name: StaticString
        var usage: String
        var summary: String
        /// With `DEBUG` and the subcommand.
        var argumentCount: Int
        /// A word that may follow.
        var option: StaticString?
        /// Or any words, up to this many arguments.
        var argumentCountMax = 0
        var handler: CommandHandler
    }

    private static let subcommands: [Subcommand] = [
        Subcommand(
            name: "AOF-FLUSH-SLEEP", usage: "AOF-FLUSH-SLEEP <microsec>",
            summary: "Accepted: there is no append-only file yet.", argumentCount: 3, handler: accept
        ),
        Subcommand(name: "ASSERT", usage: "ASSERT", summary: refused, argumentCount: 2, handler: refuse),
        Subcommand(
            name: "CHANGE-REPL-ID", usage: "CHANGE-REPL-ID", summary: "Accepted: there is no replication yet.",
            argumentCount: 2, handler: accept
        ),
        Subcommand(
            name: "CLIENT-EVICTION", usage: "CLIENT-EVICTION",
            summary: "An error: clients are not evicted, their buffers have limits.", argumentCount: 2,
            handler: clientEviction
        ),
        Subcommand(
            name: "CLIENT-ENFORCE-REPLY-LIST", usage: "CLIENT-ENFORCE-REPLY-LIST <0|1>",
            summary: "Accepted: replies have one kind of buffer.", argumentCount: 3, handler: accept
        ),
        Subcommand(
            name: "CLUSTERLINK", usage: "CLUSTERLINK KILL <to|from|all> <node-id>",
            summary: "An error: there is no cluster yet.", argumentCount: 5, handler: clusterLink
        ),
        Subcommand(
            name: "CONFIG-REWRITE-FORCE-ALL", usage: "CONFIG-REWRITE-FORCE-ALL",
            summary: "An error: the configuration file belongs to whoever wrote it.", argumentCount: 2,
            handler: rewriteConfiguration
        ),
        Subcommand(
            name: "CRASH-AND-RECOVER", usage: "CRASH-AND-RECOVER [<milliseconds>]", summary: refused, argumentCount: 2,
            argumentCountMax: .max, handler: refuse
        ),
        Subcommand(
            name: "DICT-RESIZING", usage: "DICT-RESIZING <0|1>",
            summary: "Accepted: tables grow and shrink part by part.", argumentCount: 3, handler: accept
        ),
        Subcommand(
            name: "DIGEST", usage: "DIGEST",
            summary: "Computes a digest of all data, the same as that of a redis-server with the same data.",
            argumentCount: 2, handler: digest
        ),
        Subcommand(
            name: "DIGEST-VALUE", usage: "DIGEST-VALUE [<key> ...]",
            summary: "Computes the digest of each key's value and deadline; zeros for a key that is not there.",
            argumentCount: 2, argumentCountMax: .max, handler: valueDigests
        ),
        Subcommand(
            name: "DROP-CLUSTER-PACKET-FILTER", usage: "DROP-CLUSTER-PACKET-FILTER <packet-type>",
            summary: "Accepted: there is no cluster yet.", argumentCount: 3, handler: acceptNumber
        ),
        Subcommand(
            name: "ERROR", usage: "ERROR <text>", summary: "Replies with an error of this text.", argumentCount: 3,
            handler: error),
        Subcommand(
            name: "HTSTATS", usage: "HTSTATS <dbid> [FULL]",
            summary: "Draws the tables of a database: segments, load, how full buckets are; FULL adds their depths.",
            argumentCount: 3, option: "FULL", handler: tableStatistics
        ),
        Subcommand(
            name: "HTSTATS-KEY", usage: "HTSTATS-KEY <key> [FULL]",
            summary: "Draws the table of a large hash, set or sorted set; FULL adds the depths of its blocks.",
            argumentCount: 3, option: "FULL",
            handler: keyTableStatistics
        ),
        Subcommand(
            name: "LEAK", usage: "LEAK <string>", summary: "Accepted: nothing is leaked.", argumentCount: 3,
            handler: accept
        ),
        Subcommand(
            name: "LISTPACK", usage: "LISTPACK <key>", summary: "Logs the layout of a packed value.", argumentCount: 3,
            handler: describeListpack
        ),
        Subcommand(
            name: "LOADAOF", usage: "LOADAOF", summary: "An error: there is no append-only file yet.", argumentCount: 2,
            argumentCountMax: .max, handler: loadAppendOnlyFile
        ),
        Subcommand(
            name: "LOG", usage: "LOG <message>", summary: "Writes a message to the log.", argumentCount: 3, handler: log
        ),
        Subcommand(
            name: "MALLCTL", usage: "MALLCTL <key> [<val>]", summary: noAllocatorSettings, argumentCount: 3,
            argumentCountMax: 4, handler: allocatorSetting
        ),
        Subcommand(
            name: "MALLCTL-STR", usage: "MALLCTL-STR <key> [<val>]", summary: noAllocatorSettings, argumentCount: 3,
            argumentCountMax: 4, handler: allocatorSetting
        ),
        Subcommand(
            name: "OBJECT", usage: "OBJECT <key>", summary: "Tells how the value at a key is stored.", argumentCount: 3,
            handler: object
        ),
        Subcommand(name: "OOM", usage: "OOM", summary: refused, argumentCount: 2, handler: refuse),
        Subcommand(name: "PANIC", usage: "PANIC", summary: refused, argumentCount: 2, handler: refuse),
        Subcommand(
            name: "PAUSE-CRON", usage: "PAUSE-CRON <0|1>", summary: "Accepted: there is no such job.", argumentCount: 3,
            handler: accept
        ),
        Subcommand(
            name: "POPULATE", usage: "POPULATE <count> [<prefix>] [<size>]",
            summary: "Makes strings at the keys prefix:0, prefix:1 ... that do not exist yet.", argumentCount: 3,
            argumentCountMax: 5, handler: populate
        ),
        Subcommand(
            name: "PROTOCOL", usage: "PROTOCOL <type>", summary: "Replies with a sample of a type of the protocol.",
            argumentCount: 3, handler: protocolSample
        ),
        Subcommand(
            name: "QUICKLIST", usage: "QUICKLIST <key> [<0|1>]", summary: "Logs the layout of a list.",
            argumentCount: 3, argumentCountMax: 4, handler: describeQuicklist
        ),
        Subcommand(
            name: "QUICKLIST-PACKED-THRESHOLD", usage: "QUICKLIST-PACKED-THRESHOLD <size>",
            summary: "Accepted: elements of any size are packed.", argumentCount: 3, handler: packedThreshold
        ),
        Subcommand(
            name: "RELOAD", usage: "RELOAD [MERGE] [NOFLUSH] [NOSAVE]",
            summary: "Saves, empties and loads the store; keys that are there already are an error unless MERGE.",
            argumentCount: 2, argumentCountMax: .max, handler: reload
        ),
        Subcommand(
            name: "REPLICATE", usage: "REPLICATE <string> [<string> ...]",
            summary: "Accepted: there are no replicas yet.", argumentCount: 3, argumentCountMax: .max, handler: accept
        ),
        Subcommand(
            name: "REPLYBUFFER", usage: "REPLYBUFFER <PEAK-RESET-TIME <NEVER|RESET|milliseconds> | RESIZING <0|1>>",
            summary: "Accepted: buffers of replies shrink as soon as they are sent.", argumentCount: 4,
            handler: replyBuffer
        ),
        Subcommand(
            name: "RESTART", usage: "RESTART [<milliseconds>]", summary: refused, argumentCount: 2,
            argumentCountMax: .max, handler: refuse
        ),
        Subcommand(
            name: "SDSLEN", usage: "SDSLEN <key>",
            summary: "Tells how long key and string are, and what they take.", argumentCount: 3, handler: stringLengths
        ),
        Subcommand(name: "SEGFAULT", usage: "SEGFAULT", summary: refused, argumentCount: 2, handler: refuse),
        Subcommand(
            name: "SET-ACTIVE-EXPIRE", usage: "SET-ACTIVE-EXPIRE <0|1>",
            summary: "Stops (0) or starts (1) the removal of expired keys that nobody asks for.", argumentCount: 3,
            handler: setActiveExpire
        ),
        Subcommand(
            name: "SET-DISABLE-DENY-SCRIPTS", usage: "SET-DISABLE-DENY-SCRIPTS <0|1>",
            summary: "Accepted: there are no scripts yet.", argumentCount: 3, handler: accept
        ),
        Subcommand(
            name: "SET-SKIP-CHECKSUM-VALIDATION", usage: "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
            summary: "Accepted: checksums are always checked.", argumentCount: 3, handler: accept
        ),
        Subcommand(
            name: "SLEEP", usage: "SLEEP <seconds>",
            summary: "Stops the whole server for this time; fractions are allowed.",
            argumentCount: 3, handler: sleep
        ),
        Subcommand(
            name: "STRINGMATCH-LEN", usage: "STRINGMATCH-LEN <pattern> <string>",
            summary: "Tells whether a string matches a pattern: 1 or 0.", argumentCount: 4, handler: matchPattern
        ),
        Subcommand(
            name: "STRINGMATCH-TEST", usage: "STRINGMATCH-TEST",
            summary: "Matches random strings with random patterns.", argumentCount: 2, handler: testPatterns
        ),
        Subcommand(
            name: "STRUCTSIZE", usage: "STRUCTSIZE", summary: "Tells the sizes of what the store is made of.",
            argumentCount: 2, handler: structureSizes
        ),
        Subcommand(name: "HELP", usage: "HELP", summary: "Prints this help.", argumentCount: 2, handler: help),
    ]

    private static func matches(_ subcommand: Subcommand, _ arguments: ArgumentList) -> Bool {
        guard arguments[1].equalsIgnoringCase(ByteView(subcommand.name)) else { return false }
        if arguments.count == subcommand.argumentCount { return true }
        if arguments.count > subcommand.argumentCount, arguments.count <= subcommand.argumentCountMax { return true }
        guard let option = subcommand.option, arguments.count == subcommand.argumentCount + 1 else { return false }
        return arguments[arguments.count - 1].equalsIgnoringCase(ByteView(option))
    }

    private static func error(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        throw .text(call.arguments[2].bytes)
    }

    private static func log(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        call.engine.host.log(.warning, "DEBUG LOG: \(call.arguments[2].text)")
        reply.ok()
    }

    private static func setActiveExpire(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let isOn = parseInteger(call.arguments[2]).map { $0 != 0 } ?? false
        call.engine.isActiveExpiryEnabled.store(isOn, ordering: .relaxed)
        reply.ok()
    }

    /// The longest sleep, a day: longer ones are cut to it.
    private static let sleepSecondsMax = 86_400.0

    private static func sleep(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        // What is no number is no time, as in Redis; not-a-number compares false and becomes 0 as well.
        let seconds = parseDouble(call.arguments[2]) ?? 0
        if seconds > 0 { call.engine.host.sleep(Int64(min(seconds, sleepSecondsMax) * 1e6)) }
        reply.ok()
    }

    private static func help(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        var lines = ["DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]
        for subcommand in subcommands { lines += [subcommand.usage, "    \(subcommand.summary)"] }
        reply.simpleLines(lines)
    }
}
