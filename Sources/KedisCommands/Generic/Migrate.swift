// MIGRATE: would move keys to another server, to which Kedis does not connect. Refused, with the way around it.

import KedisProtocol
import KedisUtilities

enum MigrateCommand {
    static let spec = CommandSpec(
        "MIGRATE", summary: "Would move keys to another server.", since: "2.6.0", group: .generic,
        complexity: "That of DUMP and DEL here, and of RESTORE there", arity: -6, flags: [.write, .movableKeys],
        categories: ["dangerous"],
        keys: keys,
        locks: .none, tips: ["nondeterministic_output"],
        arguments: [
            ArgumentSpec("host", .string), ArgumentSpec("port", .integer),
            .oneOf("key_or_empty_string", [.key(), .token("", name: "empty_string")]),
            ArgumentSpec("destination-db", .integer), ArgumentSpec("timeout", .integer),
            .token("COPY", optional: true, since: "3.0.0"), .token("REPLACE", optional: true, since: "3.0.0"),
            .oneOf("authentication", optional: true, [
                ArgumentSpec("password", .string, token: "AUTH", isOptional: true, since: "4.0.7"),
                ArgumentSpec("username_password", .block, token: "AUTH2", isOptional: true, since: "6.0.0", arguments: [
                    ArgumentSpec("username", .string), ArgumentSpec("password", .string),
                ]),
            ]),
            ArgumentSpec(
                "key", .key, token: "KEYS", keySpecIndex: 1, isOptional: true, isMultiple: true, since: "3.0.6"),
        ],
        replies: [.any("an error")],
        history: [
            ("3.0.0", "`COPY` and `REPLACE`."), ("3.0.6", "`KEYS`."), ("4.0.7", "`AUTH`."), ("6.0.0", "`AUTH2`."),
        ],
        differences: ["It is refused: Kedis connects to no other server. DUMP here and RESTORE there do the same."]
    ) { (_, _) throws(CommandError) in
        throw .literal("ERR Kedis has no MIGRATE yet: use DUMP here and RESTORE there")
    }

    private static let keys: [KeySpec] = {
        var first = KeySpec.one([.readWrite, .access, .delete], at: 3)
        first.chosenKeys = keyIndices
        var others = KeySpec(
            [.readWrite, .access, .delete, .incomplete], begin: .keyword("KEYS", from: -2),
            find: .range(last: -1, step: 1, limit: 0))
        others.chosenKeys = { _ in 0..<0 }
        return [first, others]
    }()

    /// The one key, or those behind `KEYS` when it is empty; none when there are both, which is an error.
    private static func keyIndices(_ arguments: ArgumentList) -> Range<Int> {
        var index = 6
        while index < arguments.count {
            let word = arguments[index]
            if word.equalsIgnoringCase("KEYS") {
                return arguments[3].isEmpty ? index + 1..<arguments.count : 0..<0
            }
            index += word.equalsIgnoringCase("AUTH2") ? 3 : word.equalsIgnoringCase("AUTH") ? 2 : 1
        }
        return 3..<4
    }
}
