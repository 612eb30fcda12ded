// AUTH: who the client is. With one argument it is the password of `default`.

import KedisProtocol
import KedisUtilities

enum AuthCommand {
    static let spec = CommandSpec(
        "AUTH", summary: "Authenticates the connection.", since: "1.0.0", group: .connection,
        complexity: "O(N), N being the number of the user's passwords", arity: -2,
        flags: [.noScript, .loading, .stale, .fast, .noAuthentication, .allowBusy],
        arguments: [
            ArgumentSpec("username", .string, isOptional: true, since: "6.0.0"), ArgumentSpec("password", .string),
        ],
        replies: [.ok], history: [("6.0.0", "A user can be named before the password.")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let arguments = call.arguments
        guard arguments.count <= 3 else { throw .syntax }
        if arguments.count == 3 {
            try authenticate(&call, user: arguments[1], password: arguments[2])
        } else {
            guard !call.engine.access.defaultUser.rules.definition.needsNoPassword else {
                throw .literal(
                    """
                    ERR AUTH <password> called without any password configured for the default user. Are you sure \
                    your configuration is correct?
                    """
                )
            }
            try authenticate(&call, user: "default", password: arguments[1])
        }
        reply.ok()
    }

    /// Lets the client in as this user, or throws WRONGPASS and leaves it what it is.
    static func authenticate(
        _ call: inout CommandCall, user name: ByteView, password: ByteView
    ) throws(CommandError) {
        let access = call.engine.access
        guard let user = access.authenticate(name, password) else {
            call.noteFailedLogin(name)
            throw .literal("WRONGPASS invalid username-password pair or user is disabled.")
        }
        call.client.pointee.become(user, of: access)
    }
}
