// A command as data: what COMMAND, help, hints, the key plan and the documentation are derived from.
//
// One literal stands beside each handler. It is read at start, when the command table is built; nothing on the data
// path touches it.

package import KedisProtocol

/// What executes a command: reads the call, changes the keyspace, writes one reply. Synchronous; the locks are held.
package typealias CommandHandler = @Sendable (inout CommandCall, inout ReplyWriter) throws(CommandError) -> Void

/// Which stripes are locked while the handler runs.
package enum LockPlan: Sendable {
    /// Those of the command's keys.
    case keys
    /// All of them: the command changes or reads the whole keyspace at one instant.
    case allStripes
    /// All of them when this says so of the arguments, because keys follow from the data; else those of the keys.
    case allStripesWhen(@Sendable (ArgumentList) -> Bool)
    /// None: the command touches no key, or walks the keyspace one stripe at a time through functions that lock.
    case none
}

/// The declaration of a command or subcommand. Source of the fields: the COMMAND and COMMAND DOCS pages of Redis.
package struct CommandSpec: Sendable {
    /// Upper case; of a subcommand its own word only (`GET` of CONFIG).
    package var name: String
    package var summary: String
    /// The version of Redis that brought it.
    package var since: String
    package var group: CommandGroup
    package var complexity: String
    /// The number of arguments, the name counted: exact when positive, at least when negative.
    package var arity: Int
    package var flags: CommandFlags
    /// ACL categories beyond those that follow from flags and group.
    package var categories: [StaticString]
    /// Whether the group's category is one of them.
    package var isOfGroupCategory = true
    package var keys: [KeySpec]
    package var locks: LockPlan
    package var tips: [String]
    package var arguments: [ArgumentSpec]
    /// Arguments that COMMAND DOCS keeps to itself, as in Redis: for help and pages only.
    package var untoldArguments: [ArgumentSpec] = []
    /// The shapes that a reply can have, the usual one first.
    package var replies: [ReplySpec]
    /// Version and change, oldest first.
    package var history: [(version: String, change: String)]
    /// What is not as in Redis, a sentence each: for the documentation.
    package var differences: [String]
    /// Since when it is deprecated, and what to use instead.
    package var deprecation: (since: String, replacement: String)?
    package var subcommands: [CommandSpec]
    /// The elements that it looks for, where its arguments do not tell: see ``ElementPlan``.
    package var elements: ElementPlan?
    /// Nil for a container, whose subcommands have them.
    package var handler: CommandHandler?

    package init(
        _ name: String, summary: String, since: String, group: CommandGroup, complexity: String = "O(1)", arity: Int,
        flags: CommandFlags, categories: [StaticString] = [], keys: [KeySpec] = [], locks: LockPlan = .keys,
        tips: [String] = [], arguments: [ArgumentSpec] = [], replies: [ReplySpec] = [],
        history: [(version: String, change: String)] = [], differences: [String] = [],
        deprecation: (since: String, replacement: String)? = nil, subcommands: [CommandSpec] = [],
        elements: ElementPlan? = nil, handler: CommandHandler? = nil
    ) {
        self.name = name
        self.summary = summary
        self.since = since
        self.group = group
        self.complexity = complexity
        self.arity = arity
        self.flags = flags
        self.categories = categories
        self.keys = keys
        self.locks = locks
        self.tips = tips
        self.arguments = arguments
        self.replies = replies
        self.history = history
        self.differences = differences
        self.deprecation = deprecation
        self.subcommands = subcommands
        self.elements = elements
        self.handler = handler
    }
}

/// A shape that the reply of a command can have, and what it means.
package struct ReplySpec: Sendable {
    package enum Shape: String, Sendable {
        case simple, integer, bulk, null, array, map, set, double, boolean, verbatim, any
    }

    package var shape: Shape
    package var meaning: String

    package static func simple(_ meaning: String) -> ReplySpec { ReplySpec(shape: .simple, meaning: meaning) }
    package static func integer(_ meaning: String) -> ReplySpec { ReplySpec(shape: .integer, meaning: meaning) }
    package static func bulk(_ meaning: String) -> ReplySpec { ReplySpec(shape: .bulk, meaning: meaning) }
    package static func null(_ meaning: String) -> ReplySpec { ReplySpec(shape: .null, meaning: meaning) }
    package static func array(_ meaning: String) -> ReplySpec { ReplySpec(shape: .array, meaning: meaning) }
    package static func map(_ meaning: String) -> ReplySpec { ReplySpec(shape: .map, meaning: meaning) }
    package static func set(_ meaning: String) -> ReplySpec { ReplySpec(shape: .set, meaning: meaning) }
    package static func verbatim(_ meaning: String) -> ReplySpec { ReplySpec(shape: .verbatim, meaning: meaning) }
    package static func any(_ meaning: String) -> ReplySpec { ReplySpec(shape: .any, meaning: meaning) }
    package static var ok: ReplySpec { .simple("OK") }
}

/// An argument, as COMMAND DOCS describes it.
package struct ArgumentSpec: Sendable {
    package enum Kind: String, Sendable {
        case string, integer, double, key, pattern
        case unixTime = "unix-time"
        case pureToken = "pure-token"
        case oneOf = "oneof"
        case block
    }

    package var name: String
    package var kind: Kind
    /// The word that stands before the argument, or is it (`.pureToken`).
    package var token: String?
    package var keySpecIndex: Int?
    package var isOptional: Bool
    package var isMultiple: Bool
    /// The token is repeated with each value.
    package var repeatsToken: Bool
    package var since: String?
    package var deprecatedSince: String?
    package var arguments: [ArgumentSpec]

    package init(
        _ name: String, _ kind: Kind, token: String? = nil, keySpecIndex: Int? = nil, isOptional: Bool = false,
        isMultiple: Bool = false, repeatsToken: Bool = false, since: String? = nil, deprecatedSince: String? = nil,
        arguments: [ArgumentSpec] = []
    ) {
        self.name = name
        self.kind = kind
        self.token = token
        self.keySpecIndex = keySpecIndex
        self.isOptional = isOptional
        self.isMultiple = isMultiple
        self.repeatsToken = repeatsToken
        self.since = since
        self.deprecatedSince = deprecatedSince
        self.arguments = arguments
    }

    package static func key(_ name: String = "key", spec index: Int = 0, multiple: Bool = false) -> ArgumentSpec {
        ArgumentSpec(name, .key, keySpecIndex: index, isMultiple: multiple)
    }

    package static func token(_ token: String, name: String? = nil, optional: Bool = false, since: String? = nil)
        -> ArgumentSpec
    {
        ArgumentSpec(name ?? token.lowercased(), .pureToken, token: token, isOptional: optional, since: since)
    }

    package static func oneOf(
        _ name: String, optional: Bool = false, since: String? = nil, _ arguments: [ArgumentSpec]
    ) -> ArgumentSpec {
        ArgumentSpec(name, .oneOf, isOptional: optional, since: since, arguments: arguments)
    }

    package static func block(
        _ name: String, optional: Bool = false, multiple: Bool = false, _ arguments: [ArgumentSpec]
    ) -> ArgumentSpec {
        ArgumentSpec(name, .block, isOptional: optional, isMultiple: multiple, arguments: arguments)
    }
}
