// ACL categories of commands: those that follow from flags and group, and those that a spec adds.
//
// Derived when they are asked for; not on the data path.

import KedisUtilities

/// A set of ACL categories, in the order in which COMMAND INFO lists them.
struct CommandCategories: OptionSet, Sendable {
    let rawValue: UInt32

    init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The name at index n belongs to bit n.
    static let names: [StaticString] = [
        "keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo",
        "stream",
        "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting",
    ]

    /// The names as COMMAND INFO prints them.
    static let printedNames: [StaticString] = [
        "@keyspace", "@read", "@write", "@set", "@sortedset", "@list", "@hash", "@string", "@bitmap", "@hyperloglog",
        "@geo",
        "@stream", "@pubsub", "@admin", "@fast", "@slow", "@blocking", "@dangerous", "@connection", "@transaction",
        "@scripting",
    ]

    /// The category of that name, ASCII case aside; empty when there is none.
    init(named name: ByteView) {
        let index = Self.names.firstIndex { ByteView($0).equalsIgnoringCase(name) }
        self.init(rawValue: index.map { 1 << UInt32($0) } ?? 0)
    }

    /// The categories of a command.
    init(_ spec: CommandSpec) {
        let flags = spec.flags
        var names = spec.categories
        if flags.contains(.write) { names.append("write") }
        if flags.contains(.readOnly), spec.group != .scripting { names.append("read") }
        if flags.contains(.admin) { names += ["admin", "dangerous"] }
        if flags.contains(.publishSubscribe) { names.append("pubsub") }
        if flags.contains(.blocking) { names.append("blocking") }
        names.append(flags.contains(.fast) ? "fast" : "slow")
        // A container does nothing itself: its subcommands have the group's category.
        if spec.subcommands.isEmpty, spec.isOfGroupCategory, let category = spec.group.category {
            names.append(category)
        }
        self = names.reduce(into: []) { $0.formUnion(CommandCategories(named: ByteView($1))) }
    }

    /// Calls `body` with the printed name of each category.
    func forEachPrintedName(_ body: (StaticString) -> Void) {
        for (index, name) in Self.printedNames.enumerated() where rawValue & (1 << UInt32(index)) != 0 { body(name) }
    }

    var count: Int { rawValue.nonzeroBitCount }
}
