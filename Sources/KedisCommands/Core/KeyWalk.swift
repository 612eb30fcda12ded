// The keys of a request and how its command uses each: what access control and COMMAND GETKEYSANDFLAGS go by. The plan
// needs no uses, and takes the keys by itself (Plan.swift).

import KedisProtocol
import KedisUtilities

/// Calls `body` with the index of each key among the arguments and how the command uses it. A request whose number of
/// keys does not fit its arguments has none: its command answers with an error and touches nothing.
func forEachKey(
    of entry: UnsafePointer<CommandEntry>, in arguments: ArgumentList, _ body: (Int, KeyAccess) -> Void
) {
    let specs = entry.pointee.spec.keys
    for spec in specs {
        if case .count = spec.find, !spec.forEachKeyIndex(in: arguments, { _ in }) { return }
    }
    for spec in specs where !spec.access.contains(.notKey) {
        let access = spec.access.contains(.variableFlags) ? variableAccess(of: entry, arguments) : spec.access
        _ = spec.forEachKeyIndex(in: arguments) { body($0, access) }
    }
}

extension CommandEntry {
    /// Whether requests may name keys.
    var hasKeys: Bool {
        if case .none = keyPlan { return false }
        return spec.keys.contains { !$0.access.contains(.notKey) }
    }
}

/// How a request uses a key whose use depends on the options.
private func variableAccess(of entry: UnsafePointer<CommandEntry>, _ request: ArgumentList) -> KeyAccess {
    entry.pointee.fullName == "bitfield" ? bitFieldAccess(of: request) : setAccess(of: request)
}

/// SET reads the key when GET is among the options, and overwrites it unread otherwise.
private func setAccess(of request: ArgumentList) -> KeyAccess {
    for index in 3..<max(3, request.count) where request[index].equalsIgnoringCase("GET") {
        return [.readWrite, .access, .update]
    }
    return [.overwrite, .update]
}

/// BITFIELD only reads when all its operations do; what is no operation counts as one that writes.
private func bitFieldAccess(of request: ArgumentList) -> KeyAccess {
    var index = 2
    while index < request.count {
        let rest = request.count - index - 1
        if request[index].equalsIgnoringCase("GET"), rest >= 2 {
            index += 3
        } else if request[index].equalsIgnoringCase("OVERFLOW"), rest >= 1 {
            index += 2
        } else {
            return [.readWrite, .access, .update]
        }
    }
    return [.readOnly, .access]
}
