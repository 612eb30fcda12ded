// Admission: may this command run now, for this client? An ordered table of checks, each a value.
//
// The state of engine and client is one set of bits; when none is set, which is nearly always, admission is one test.

import KedisProtocol
import KedisUtilities

/// A state of the engine or of a client in which some commands are refused.
package struct AdmissionCondition: OptionSet, Sendable {
    package let rawValue: UInt32

    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The client has yet to authenticate.
    package static let authenticationRequired = AdmissionCondition(rawValue: 1 << 0)
    /// Data is being loaded.
    package static let loading = AdmissionCondition(rawValue: 1 << 1)
    /// The last background save failed and `stop-writes-on-bgsave-error` is on.
    package static let snapshotFailed = AdmissionCondition(rawValue: 1 << 2)
    /// More memory is used than `maxmemory` allows, and nothing may go. Known before each batch, see Eviction.swift.
    package static let memoryExhausted = AdmissionCondition(rawValue: 1 << 3)
    /// Commands are collected, not executed: Session+Transactions.swift. Refuses nothing by itself.
    package static let inTransaction = AdmissionCondition(rawValue: 1 << 4)
    /// The client speaks RESP2 and is subscribed: replies could not be told from messages.
    package static let subscribed = AdmissionCondition(rawValue: 1 << 5)
    /// The client is shown all commands (MONITOR); for Redis it is a kind of replica.
    package static let monitoring = AdmissionCondition(rawValue: 1 << 12)
    /// The journal cannot be written.
    package static let journalFailed = AdmissionCondition(rawValue: 1 << 7)
    /// The client's user may not do everything: Access/UserRules.swift.
    package static let restricted = AdmissionCondition(rawValue: 1 << 6)
}

/// Why a command is not executed.
enum Refusal {
    case error(CommandError)
    case denied(AccessDenial)

    /// The reply.
    func error(_ entry: UnsafePointer<CommandEntry>) -> CommandError {
        switch self {
        case .error(let error): error
        case .denied(let denial): denial.error(entry)
        }
    }
}

/// One check: under `condition`, commands with one of `refused` (all when empty) are refused, unless they have one of
/// `exempt`.
struct AdmissionCheck: Sendable {
    let name: StaticString
    let condition: AdmissionCondition
    let refused: CommandFlags
    let exempt: CommandFlags
    let error: StaticString
    /// What stands behind the command's name, which follows `error` then.
    var errorTail: StaticString?
    /// Asks the client's user instead of the flags.
    var isAboutPermissions = false

    func refuses(_ flags: CommandFlags) -> Bool {
        flags.isDisjoint(with: exempt) && (refused.isEmpty || !flags.isDisjoint(with: refused))
    }

    /// The checks in the order in which they are made: the first that refuses gives the error.
    static let table: [AdmissionCheck] = [
        AdmissionCheck(
            name: "authentication", condition: .authenticationRequired, refused: [], exempt: .noAuthentication,
            error: "NOAUTH Authentication required."
        ),
        AdmissionCheck(
            name: "permissions", condition: .restricted, refused: [], exempt: [], error: "", isAboutPermissions: true
        ),
        AdmissionCheck(
            name: "memory", condition: .memoryExhausted, refused: .denyOutOfMemory, exempt: [],
            error: "OOM command not allowed when used memory > 'maxmemory'."
        ),
        AdmissionCheck(
            name: "disk", condition: .snapshotFailed, refused: .write, exempt: [],
            error: """
                MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
                Commands that may modify the data set are disabled, because this instance is configured to report \
                errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the \
                Redis logs for details about the RDB error.
                """
        ),
        AdmissionCheck(
            name: "journal", condition: .journalFailed, refused: .write, exempt: [],
            error: "MISCONF Errors writing to the AOF file: the disk does not take it, the log says why"
        ),
        AdmissionCheck(
            name: "subscriptions", condition: .subscribed, refused: [], exempt: .allowSubscribed,
            error: "ERR Can't execute '",
            errorTail: """
                ': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context
                """
        ),
        AdmissionCheck(
            name: "loading", condition: .loading, refused: [], exempt: .loading,
            error: "LOADING Redis is loading the dataset in memory"
        ),
        AdmissionCheck(
            name: "monitor", condition: .monitoring, refused: [.write, .readOnly, .mayReplicate], exempt: [],
            error: "ERR Replica can't interact with the keyspace"
        ),
    ]
}

/// Decides about `entry` under `conditions`, the client's among them: nil admits.
@inline(__always)
func admit(
    _ entry: UnsafePointer<CommandEntry>, _ arguments: ArgumentList, of client: UnsafeMutablePointer<ClientState>,
    under conditions: AdmissionCondition
) -> Refusal? {
    if conditions.isEmpty { return nil }
    if conditions == .restricted, client.pointee.access.mayRunFreely(entry) { return nil }
    return admitSlowly(entry, arguments, client, under: conditions)
}

@inline(never)
private func admitSlowly(
    _ entry: UnsafePointer<CommandEntry>, _ arguments: ArgumentList, _ client: UnsafeMutablePointer<ClientState>,
    under conditions: AdmissionCondition
) -> Refusal? {
    for check in AdmissionCheck.table where conditions.contains(check.condition) {
        if check.isAboutPermissions {
            // What a transaction never takes is refused for that, as in Redis.
            if conditions.contains(.inTransaction), entry.pointee.flags.contains(.noMulti) { continue }
            guard let denial = client.pointee.access.rules.denial(of: entry, arguments) else { continue }
            return .denied(denial)
        }
        guard check.refuses(entry.pointee.flags) else { continue }
        guard let tail = check.errorTail else { return .error(.literal(check.error)) }
        return .error(.joined(ByteView(check.error), entry.pointee.fullName, ByteView(tail)))
    }
    return nil
}
