// AUTH: who the client is. There is one user, `default`, and it has no password.

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
        replies: [.ok], history: [("6.0.0", "A user can be named before the password.")],
        differences: ["There is one user, `default`, without a password: every password is right."], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        guard call.arguments.count <= 3 else { throw .syntax }
        guard call.arguments.count == 3 else {
            throw .literal(
                """
                ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                configuration is correct?
                """
            )
        }
        try authenticate(&call, user: call.arguments[1])
        reply.ok()
    }

    /// Lets the client in, or throws WRONGPASS. The user has no password, so any is right.
    static func authenticate(_ call: inout CommandCall, user: ByteView) throws(CommandError) {
        guard user == "default" else {
            throw .literal("WRONGPASS invalid username-password pair or user is disabled.")
        }
        call.client.pointee.conditions.remove(.authenticationRequired)
    }
}
