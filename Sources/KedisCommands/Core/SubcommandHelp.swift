// HELP of a container command, from the specs of its subcommands.

import KedisProtocol
import KedisUtilities

/// The handler of `HELP`: simple strings, two for each subcommand (its call and what it does), in the frame that Redis
/// uses.
func replySubcommandHelp(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
    let name = call.entry.pointee.containerName
    guard let container = call.engine.table.find(originalName: name) else { return reply.array(0) }
    let specs = container.pointee.spec.subcommands.filter { $0.name != "HELP" }.sorted { $0.name < $1.name }
    var lines = ["\(container.pointee.spec.name) <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"]
    for spec in specs {
        lines.append(([spec.name] + spec.allArguments.map(\.usage)).joined(separator: " "))
        lines.append("    \(spec.summary)")
    }
    reply.simpleLines(lines + ["HELP", "    Prints this help."])
}

extension CommandCall {
    /// What Redis says of more arguments than a subcommand takes: "ERR unknown subcommand or wrong number of arguments
    /// for 'x'. Try XGROUP HELP."
    var subcommandSyntax: CommandError {
        let container = entry.pointee.containerName.bytes.map { $0 >= 0x61 && $0 <= 0x7A ? $0 & 0xDF : $0 }
        var text = ByteView("ERR unknown subcommand or wrong number of arguments for '").bytes
        text += sanitized(arguments[1], byteCountMax: 128)
        text += ByteView("'. Try ").bytes + container + ByteView(" HELP.").bytes
        return .text(text)
    }
}

extension CommandSpec {
    /// HELP of a container.
    static func help(since: String, group: CommandGroup) -> CommandSpec {
        CommandSpec(
            "HELP", summary: "Lists the subcommands.", since: since, group: group, arity: 2, flags: [.loading, .stale],
            locks: .none, replies: [.array("lines of text")], handler: replySubcommandHelp)
    }

    /// The arguments for people.
    package var allArguments: [ArgumentSpec] { arguments + untoldArguments }
}

extension ArgumentSpec {
    /// The argument as documentation writes it: `<key>`, `[COUNT <count>]`, `<NX | XX>`.
    package var usage: String {
        var text = switch kind {
        case .pureToken: token ?? name
        case .oneOf: arguments.map(\.usage).joined(separator: " | ")
        case .block: arguments.map(\.usage).joined(separator: " ")
        default: "<\(name)>"
        }
        if kind == .oneOf, !isOptional { text = "<\(text)>" }
        if kind != .pureToken, let token { text = "\(token) \(text)" }
        if isMultiple { text += " [\(text) ...]" }
        return isOptional ? "[\(text)]" : text
    }
}

extension ReplyWriter {
    /// An array of simple strings made at run time.
    mutating func simpleLines(_ lines: [String]) {
        array(lines.count)
        for line in lines { simple(text: line) }
    }

    /// A simple string made at run time, without CR or LF.
    mutating func simple(text: String) {
        var line = "+\(text)\r\n"
        line.withUTF8 { raw(ByteView(UnsafeRawBufferPointer($0))) }
    }
}
