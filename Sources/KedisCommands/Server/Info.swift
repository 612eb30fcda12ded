// INFO: facts about the server, in sections of `field:value` lines.
//
// The sections are a table, in the order in which they are printed; what each one writes is in Info+Sections.swift.

import KedisProtocol
import KedisStore
import KedisUtilities

enum InfoCommand {
    static let spec = CommandSpec(
        "INFO", summary: "Tells facts and figures about the server.", since: "1.0.0", group: .server, arity: -1,
        flags: [.loading, .stale], categories: ["dangerous"], locks: .none,
        tips: ["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
        arguments: [ArgumentSpec("section", .string, isOptional: true, isMultiple: true)],
        replies: [.verbatim("sections of fields and values; nothing for an unknown section")],
        history: [("7.0.0", "Several sections can be asked for.")],
        differences: [
            "`server_name` and `kedis_version` tell who answers; `latencystages` and `hotkeys` tell more.",
            "What there is not has counted nothing: fields about replicas, a cluster, an append-only file, forks, "
                + "scripts and modules are 0.",
            "Left out: `gcc_version`, as no C compiler makes the program; `reply_buffer_shrinks` and `…_expands`, as a "
                + "reply buffer grows with the replies and is emptied as a whole; `used_cpu_…_main_thread`, as all "
                + "event loops are alike and none is the main one.",
            "`active_defrag_…`, `…eviction…` and `expire…` count what Kedis's own ways do: misses and stale shares "
                + "there are none.",
        ],
        handler: run
    )

    /// A section: its name in requests, its heading, and whether it is printed when nothing is asked for.
    struct Section: Sendable {
        let name: StaticString
        let heading: StaticString
        let isDefault: Bool
        let write: @Sendable (InfoSource, inout InfoText) -> Void

        init(
            _ name: StaticString, _ heading: StaticString, isDefault: Bool = true,
            write: @escaping @Sendable (InfoSource, inout InfoText) -> Void
        ) {
            self.name = name
            self.heading = heading
            self.isDefault = isDefault
            self.write = write
        }
    }

    static let sections: [Section] = [
        Section("server", "Server", write: writeServer),
        Section("clients", "Clients", write: writeClients),
        Section("memory", "Memory", write: writeMemory),
        Section("persistence", "Persistence", write: writePersistence),
        Section("stats", "Stats", write: writeStatistics),
        Section("replication", "Replication", write: writeReplication),
        Section("cpu", "CPU", write: writeProcessor),
        Section("modules", "Modules", write: { _, _ in }),
        Section("commandstats", "Commandstats", isDefault: false, write: writeCommandStatistics),
        Section("errorstats", "Errorstats", write: writeErrorStatistics),
        Section("latencystats", "Latencystats", isDefault: false, write: writeLatencyStatistics),
        Section("latencystages", "Latencystages", isDefault: false, write: writeStages),
        Section("hotkeys", "Hotkeys", isDefault: false, write: writeHotKeys),
        Section("cluster", "Cluster", write: { _, text in text.add("cluster_enabled", 0) }),
        Section("keyspace", "Keyspace", write: writeKeyspace),
    ]

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let source = InfoSource(
            engine: call.engine, nowMilliseconds: call.nowMilliseconds, held: call.keyspace.held)
        var text = InfoText()
        let arguments = call.arguments
        for section in sections where isWanted(section, arguments) {
            text.begin(section.heading)
            section.write(source, &text)
        }
        text.bytes.withUnsafeBytes { reply.verbatim("txt", ByteView($0)) }
    }

    private static func isWanted(_ section: Section, _ arguments: ArgumentList) -> Bool {
        guard arguments.count > 1 else { return section.isDefault }
        for index in 1..<arguments.count {
            let word = arguments[index]
            if word.equalsIgnoringCase(ByteView(section.name)) { return true }
            if word.equalsIgnoringCase("all") || word.equalsIgnoringCase("everything") { return true }
            if word.equalsIgnoringCase("default"), section.isDefault { return true }
        }
        return false
    }
}

/// What sections are written from. No stripe is locked by the caller.
struct InfoSource {
    let engine: Engine
    let nowMilliseconds: Int64
    /// The stripes that are locked already: all of them in a transaction.
    let held: StripeSet
}

/// The text of INFO as it grows.
struct InfoText {
    private(set) var bytes: [UInt8] = []
    /// The fields of the section so far.
    private(set) var fields: Set<String> = []

    mutating func begin(_ heading: StaticString) {
        if !bytes.isEmpty { bytes += [0x0D, 0x0A] }
        add("# \(heading)\r\n")
        fields = []
    }

    mutating func add(_ field: String, _ value: some CustomStringConvertible) {
        add("\(field):\(value)\r\n")
        fields.insert(field)
    }

    /// A number of bytes, and beside it the same for human eyes.
    mutating func addByteCount(_ field: String, _ byteCount: Int) {
        add(field, byteCount)
        add(field + "_human", humanByteCount(byteCount))
    }

    private mutating func add(_ text: String) { bytes.append(contentsOf: text.utf8) }
}

/// `value` with `digitCount` (at most 6) decimals, rounded; the integer part is clamped to 64 bits.
func formatFixed(_ value: Double, _ digitCount: Int) -> String {
    let scale = (0..<digitCount).reduce(1.0) { scale, _ in scale * 10 }
    guard value.isFinite, abs(value) < 1e12 else { return "0" }
    let scaled = Int64((value * scale).rounded())
    let digits = String(scaled.magnitude)
    let padded = String(repeating: "0", count: max(0, digitCount + 1 - digits.count)) + digits
    let sign = scaled < 0 ? "-" : ""
    return digitCount == 0 ? sign + padded : "\(sign)\(padded.dropLast(digitCount)).\(padded.suffix(digitCount))"
}

/// `991.94K`
func humanByteCount(_ byteCount: Int) -> String {
    let units = ["B", "K", "M", "G", "T", "P", "E"]
    var value = Double(byteCount)
    var index = 0
    while value >= 1024, index < units.count - 1 {
        value /= 1024
        index += 1
    }
    return index == 0 ? "\(byteCount)B" : formatFixed(value, 2) + units[index]
}
