// The log of what was refused: attempts to log in and commands without permission, as ACL LOG shows them.
//
// Ownership: the access control's. Threads: any, one lock. Equal attempts within a minute are one entry. Bounds:
// `acllog-max-len` entries, and of each a name of limited length. Cost: an entry is some hundred bytes.

import KedisStore
import KedisUtilities
import Synchronization

/// Where a command was refused.
enum AccessLogContext: Equatable, Sendable {
    case topLevel
    /// While a transaction was collected or executed.
    case transaction

    var name: StaticString { self == .topLevel ? "toplevel" : "multi" }
}

enum AccessLogReason: Int, CaseIterable, Sendable {
    case authentication, command, key, channel

    init(_ reason: AccessDenialReason) {
        switch reason {
        case .command: self = .command
        case .key: self = .key
        case .channel: self = .channel
        }
    }

    /// As ACL LOG has it.
    var name: StaticString {
        switch self {
        case .authentication: "auth"
        case .command: "command"
        case .key: "key"
        case .channel: "channel"
        }
    }

    /// As INFO has it.
    var fieldName: String {
        switch self {
        case .authentication: "acl_access_denied_auth"
        case .command: "acl_access_denied_cmd"
        case .key: "acl_access_denied_key"
        case .channel: "acl_access_denied_channel"
        }
    }
}

package final class AccessLog: Sendable {
    struct Entry: Sendable {
        var count: UInt64 = 1
        let reason: AccessLogReason
        let context: AccessLogContext
        /// The command, key or channel.
        let object: [UInt8]
        let userName: [UInt8]
        /// The client of the last attempt, as CLIENT LIST describes it.
        var client: [UInt8]
        var identifier = 0
        let createdMilliseconds: Int64
        var updatedMilliseconds: Int64

        init(
            _ reason: AccessLogReason, _ context: AccessLogContext, object: ByteView, userName: [UInt8],
            client: [UInt8], nowMilliseconds: Int64
        ) {
            self.reason = reason
            self.context = context
            self.object = object[0..<min(object.count, AccessLog.objectByteCountMax)].bytes
            self.userName = userName
            self.client = client
            createdMilliseconds = nowMilliseconds
            updatedMilliseconds = nowMilliseconds
        }

        /// The same attempt, within a minute.
        fileprivate func matches(_ other: Entry) -> Bool {
            let (age, overflow) = other.updatedMilliseconds.subtractingReportingOverflow(updatedMilliseconds)
            return reason == other.reason && context == other.context && !overflow && age.magnitude <= 60_000
                && object == other.object && userName == other.userName
        }
    }

    private struct State {
        /// The newest one last.
        var entries: [Entry] = []
        var nextIdentifier = 0
        /// How many attempts were refused, by the reason.
        var refusedCounts: [UInt64] = Array(repeating: 0, count: AccessLogReason.allCases.count)
    }

    private let configuration: Configuration
    private let state = Locked(State())

    /// Longer names of commands, keys and channels are cut.
    static let objectByteCountMax = 4096
    /// More entries are not kept, whatever `acllog-max-len` says.
    static let entryCountMax = 10_000
    /// So many of the newest are compared with a new one.
    private static let comparedCount = 10

    init(_ configuration: Configuration) { self.configuration = configuration }

    private var countMax: Int { min(configuration.accessLogCountMax.load(ordering: .relaxed), Self.entryCountMax) }

    func note(_ entry: Entry) {
        let limit = countMax
        state.withLock { state in
            state.refusedCounts[entry.reason.rawValue] += 1
            if let index = state.entries.suffix(Self.comparedCount).lastIndex(where: { $0.matches(entry) }) {
                var known = state.entries.remove(at: index)
                known.count += 1
                known.client = entry.client
                known.updatedMilliseconds = entry.updatedMilliseconds
                state.entries.append(known)
                return
            }
            var new = entry
            new.identifier = state.nextIdentifier
            state.nextIdentifier += 1
            state.entries.append(new)
            // Some at a time: the others move.
            let excess = state.entries.count - limit
            if excess > limit / 4 { state.entries.removeFirst(excess) }
        }
    }

    /// The newest entries, the newest one first.
    func newest(_ count: Int) -> [Entry] {
        let limit = min(max(0, count), countMax)
        return state.withLock { $0.entries.suffix(limit).reversed() }
    }

    func removeAll() { state.withLock { $0.entries = [] } }

    /// How many attempts were refused for that reason.
    func refusedCount(_ reason: AccessLogReason) -> UInt64 { state.withLock { $0.refusedCounts[reason.rawValue] } }
}
