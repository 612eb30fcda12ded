// What a command is and may do, as bits that are computed once and tested on the data path.

/// The flags of a command, under the names that COMMAND INFO answers.
package struct CommandFlags: OptionSet, Sendable {
    package let rawValue: UInt32

    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let write = CommandFlags(rawValue: 1 << 0)
    package static let readOnly = CommandFlags(rawValue: 1 << 1)
    package static let denyOutOfMemory = CommandFlags(rawValue: 1 << 2)
    package static let admin = CommandFlags(rawValue: 1 << 3)
    package static let publishSubscribe = CommandFlags(rawValue: 1 << 4)
    package static let noScript = CommandFlags(rawValue: 1 << 5)
    package static let blocking = CommandFlags(rawValue: 1 << 6)
    package static let loading = CommandFlags(rawValue: 1 << 7)
    package static let stale = CommandFlags(rawValue: 1 << 8)
    package static let skipMonitor = CommandFlags(rawValue: 1 << 9)
    package static let skipSlowLog = CommandFlags(rawValue: 1 << 10)
    package static let fast = CommandFlags(rawValue: 1 << 11)
    package static let noAuthentication = CommandFlags(rawValue: 1 << 12)
    /// It changes no data that its own replies show, but replicas would have to be told.
    package static let mayReplicate = CommandFlags(rawValue: 1 << 13)
    package static let movableKeys = CommandFlags(rawValue: 1 << 14)
    package static let allowBusy = CommandFlags(rawValue: 1 << 15)
    package static let noAsyncLoading = CommandFlags(rawValue: 1 << 16)
    package static let noMulti = CommandFlags(rawValue: 1 << 17)
    package static let noMandatoryKeys = CommandFlags(rawValue: 1 << 18)
    package static let touchesArbitraryKeys = CommandFlags(rawValue: 1 << 19)
    package static let protected = CommandFlags(rawValue: 1 << 20)
    /// Follows a redirection of a cluster without ASKING.
    package static let asking = CommandFlags(rawValue: 1 << 22)

    /// Allowed to clients of RESP2 that are subscribed; of Kedis alone.
    package static let allowSubscribed = CommandFlags(rawValue: 1 << 21)
    /// Replies with pushes, which CLIENT REPLY does not silence; not told either.
    package static let repliesWithPush = CommandFlags(rawValue: 1 << 25)

    /// What COMMAND INFO does not tell.
    static let untold: CommandFlags = [.allowSubscribed, .repliesWithPush, .mayReplicate]
    /// What waits when CLIENT PAUSE stops writes.
    static let changing: CommandFlags = [.write, .mayReplicate]

    /// Name and bit in the order in which COMMAND INFO lists them.
    static let names: [(flag: CommandFlags, name: StaticString)] = [
        (.write, "write"), (.readOnly, "readonly"), (.denyOutOfMemory, "denyoom"), (.admin, "admin"),
        (.publishSubscribe, "pubsub"), (.noScript, "noscript"), (.blocking, "blocking"), (.loading, "loading"),
        (.stale, "stale"), (.skipMonitor, "skip_monitor"), (.skipSlowLog, "skip_slowlog"), (.asking, "asking"),
        (.fast, "fast"),
        (.noAuthentication, "no_auth"), (.noMandatoryKeys, "no_mandatory_keys"),
        (.touchesArbitraryKeys, "touches_arbitrary_keys"), (.protected, "protected"),
        (.noAsyncLoading, "no_async_loading"),
        (.noMulti, "no_multi"), (.movableKeys, "movablekeys"), (.allowBusy, "allow_busy"),
    ]
}

/// The groups of commands, as COMMAND DOCS and help name them.
package enum CommandGroup: String, Sendable, CaseIterable {
    case generic
    case string
    case list
    case set
    case sortedSet = "sorted-set"
    case hash
    case publishSubscribe = "pubsub"
    case transactions
    case connection
    case server
    case scripting
    case hyperLogLog = "hyperloglog"
    case cluster
    case geo
    case stream
    case bitmap

    /// The ACL category that comes with the group, or nil.
    var category: StaticString? {
        switch self {
        case .generic: "keyspace"
        case .string: "string"
        case .list: "list"
        case .set: "set"
        case .sortedSet: "sortedset"
        case .hash: "hash"
        case .publishSubscribe: "pubsub"
        case .transactions: "transaction"
        case .connection: "connection"
        case .scripting: "scripting"
        case .hyperLogLog: "hyperloglog"
        case .geo: "geo"
        case .stream: "stream"
        case .bitmap: "bitmap"
        case .server, .cluster: nil
        }
    }
}
