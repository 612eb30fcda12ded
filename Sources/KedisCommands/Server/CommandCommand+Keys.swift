// COMMAND GETKEYS and GETKEYSANDFLAGS: the keys of a request that is not executed, by the same key specs that the plan
// follows.

import KedisProtocol
import KedisUtilities

extension CommandCommand {
    /// A key of a request and what the command does with it.
    private struct FoundKey {
        var argumentIndex: Int
        var access: KeyAccess
    }

    static func keys(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let request = call.arguments.dropFirst(2)
        let found = try findKeys(in: request, call.engine.table)
        reply.array(found.count)
        for key in found { reply.bulk(request[key.argumentIndex]) }
    }

    static func keysAndFlags(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let request = call.arguments.dropFirst(2)
        let found = try findKeys(in: request, call.engine.table)
        reply.array(found.count)
        for key in found {
            reply.array(2)
            reply.bulk(request[key.argumentIndex])
            reply.keyAccess(key.access)
        }
    }

    private static func findKeys(in request: ArgumentList, _ table: CommandTable) throws(CommandError) -> [FoundKey] {
        guard var entry = table.command(request[0]) else { throw .literal("ERR Invalid command specified") }
        if !entry.pointee.subcommands.isEmpty, request.count > 1 {
            guard let subcommand = table.subcommand(request[1], of: entry) else {
                throw .literal("ERR Invalid command specified")
            }
            entry = subcommand
        }
        guard entry.pointee.hasKeys else { throw .literal("ERR The command has no key arguments") }
        guard entry.pointee.accepts(argumentCount: request.count) else {
            throw .literal("ERR Invalid number of arguments specified for command")
        }
        var found: [FoundKey] = []
        forEachKey(of: entry, in: request) { found.append(FoundKey(argumentIndex: $0, access: $1)) }
        if found.isEmpty, !entry.pointee.flags.contains(.noMandatoryKeys) {
            throw .literal("ERR Invalid arguments specified for command")
        }
        return found
    }
}
