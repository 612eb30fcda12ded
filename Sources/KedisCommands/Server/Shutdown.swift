// SHUTDOWN: ends the process, which is the host's affair. There is no reply when it works: the connection closes.

import KedisProtocol
import KedisUtilities

enum ShutdownCommand {
    static let spec = CommandSpec(
        "SHUTDOWN", summary: "Ends the server, after a save when save rules are configured.", since: "1.0.0",
        group: .server,
        complexity: "O(N) with a save, N being the number of all keys, else O(1)", arity: -1,
        flags: [.admin, .noScript, .loading, .stale, .noMulti, .allowBusy], locks: .none,
        arguments: [
            .oneOf("nosave_save", optional: true, [.token("NOSAVE"), .token("SAVE")]),
            .token("NOW", optional: true, since: "7.0.0"), .token("FORCE", optional: true, since: "7.0.0"),
            .token("ABORT", optional: true, since: "7.0.0"),
        ],
        replies: [.simple("OK, to ABORT; otherwise the connection closes without a reply")],
        history: [("7.0.0", "The modifiers `NOW`, `FORCE` and `ABORT`.")],
        differences: [
            "NOW changes nothing: there are no replicas to wait for.",
            "A program that embeds the store, the shell too, is not ended: it gets an error.",
        ],
        handler: run
    )

    private struct Options {
        var mode = ShutdownMode.asConfigured
        var isNow = false
        var isForced = false
        var isAbort = false
    }

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let options = try readOptions(call.arguments)
        if options.isAbort {
            guard call.engine.host.abortShutDown() else { throw .literal("ERR No shutdown in progress.") }
            return reply.ok()
        }
        switch call.engine.host.shutDown(options.mode, options.isNow, options.isForced) {
        case nil: call.client.pointee.isClosing = true
        case .saveFailed(let reason):
            call.engine.host.log(.warning, "Not shutting down: \(reason)")
            throw .literal("ERR Errors trying to SHUTDOWN. Check logs.")
        case .notPossible:
            throw .literal("ERR SHUTDOWN is not possible in a program that embeds the store: close it instead")
        }
    }

    private static func readOptions(_ arguments: ArgumentList) throws(CommandError) -> Options {
        var options = Options()
        for index in 1..<max(1, arguments.count) {
            let word = arguments[index]
            if word.equalsIgnoringCase("NOSAVE"), options.mode != .save {
                options.mode = .noSave
            } else if word.equalsIgnoringCase("SAVE"), options.mode != .noSave {
                options.mode = .save
            } else if word.equalsIgnoringCase("NOW") {
                options.isNow = true
            } else if word.equalsIgnoringCase("FORCE") {
                options.isForced = true
            } else if word.equalsIgnoringCase("ABORT") {
                options.isAbort = true
            } else {
                throw .syntax
            }
        }
        let isPlain = options.mode == .asConfigured && !options.isNow && !options.isForced
        guard !options.isAbort || isPlain else { throw .syntax }
        return options
    }
}
