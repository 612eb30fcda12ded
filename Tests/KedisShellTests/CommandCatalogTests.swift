// Goal: names, syntax, hints, completion and help come out of a `COMMAND DOCS` reply, whichever protocol it came by,
// and any other reply is harmless. The catalog of a real server is tested in `ShellOracleTests`.

import KedisProtocol
import KedisShell
import Testing

private func text(_ text: String) -> Reply { .bulk(Array(text.utf8)) }

/// A map as RESP3 sends it, or flat as RESP2 does.
private func map(_ isFlat: Bool, _ pairs: [(String, Reply)]) -> Reply {
    isFlat ? .array(pairs.flatMap { [text($0.0), $0.1] }) : .map(pairs.map { .init(key: text($0.0), value: $0.1) })
}

private struct Argument {
    var name: String
    var type: String
    var token: String?
    var flags: [String] = []
    var arguments: [Argument] = []

    func reply(_ isFlat: Bool) -> Reply {
        var pairs = [("name", text(name)), ("type", text(type))]
        if let token { pairs.append(("token", text(token))) }
        if !flags.isEmpty { pairs.append(("flags", .array(flags.map { .simple(Array($0.utf8)) }))) }
        if !arguments.isEmpty { pairs.append(("arguments", .array(arguments.map { $0.reply(isFlat) }))) }
        return map(isFlat, pairs)
    }
}

private func documentation(isFlat: Bool) -> Reply {
    let key = Argument(name: "key", type: "key")
    let value = Argument(name: "value", type: "string")
    let condition = Argument(
        name: "condition", type: "oneof", flags: ["optional"],
        arguments: [
            .init(name: "nx", type: "pure-token", token: "NX"), .init(name: "xx", type: "pure-token", token: "XX"),
        ])
    let expiry = Argument(
        name: "expiration", type: "oneof", flags: ["optional"],
        arguments: [
            .init(name: "seconds", type: "integer", token: "EX"),
            .init(name: "keepttl", type: "pure-token", token: "KEEPTTL"),
        ])
    let scores = Argument(
        name: "data", type: "block", flags: ["multiple"],
        arguments: [.init(name: "score", type: "double"), .init(name: "member", type: "string")])
    func command(_ group: String, _ arguments: [Argument], _ more: [(String, Reply)] = []) -> Reply {
        let pairs = [
            ("summary", text("Does it")), ("since", text("1.0.0")), ("group", text(group)),
            ("complexity", text("O(1)")),
        ]
        let list = arguments.isEmpty ? [] : [("arguments", Reply.array(arguments.map { $0.reply(isFlat) }))]
        return map(isFlat, pairs + list + more)
    }
    let parameter = Argument(name: "parameter", type: "string", flags: ["multiple"])
    let subcommands = map(
        isFlat, [("config|get", command("server", [parameter])), ("config|help", command("server", []))])
    return map(
        isFlat,
        [
            ("get", command("string", [key])),
            ("set", command("string", [key, value, condition, expiry])),
            ("mget", command("string", [Argument(name: "key", type: "key", flags: ["multiple"])])),
            ("zadd", command("sorted-set", [key, condition, scores])),
            (
                "xread",
                command(
                    "stream",
                    [
                        .init(name: "count", type: "integer", token: "COUNT", flags: ["optional"]),
                        .init(
                            name: "streams", type: "block", token: "STREAMS",
                            arguments: [
                                .init(name: "key", type: "key", flags: ["multiple"]),
                                .init(name: "id", type: "string", flags: ["multiple"]),
                            ]),
                    ])
            ),
            (
                "sort",
                command(
                    "generic",
                    [
                        key,
                        .init(
                            name: "pattern", type: "string", token: "GET",
                            flags: ["optional", "multiple", "multiple_token"]),
                    ])
            ),
            ("config", command("server", [], [("subcommands", subcommands)])),
        ])
}

@Suite("Command catalog")
struct CommandCatalogTests {
    private let catalog = CommandCatalog(documentation: documentation(isFlat: false))

    @Test("Flat arrays and maps give the same catalog")
    func readsBothForms() {
        let flat = CommandCatalog(documentation: documentation(isFlat: true))
        #expect(flat.names == catalog.names && flat.groups == catalog.groups)
        for name in catalog.names { #expect(flat.command(named: name)?.syntax == catalog.command(named: name)?.syntax) }
        #expect(
            catalog.names == ["CONFIG", "CONFIG GET", "CONFIG HELP", "GET", "MGET", "SET", "SORT", "XREAD", "ZADD"])
    }

    @Test("Syntax is written as in redis-cli's help")
    func writesSyntax() {
        #expect(catalog.command(named: "set")?.syntax == "key value [NX|XX] [EX seconds|KEEPTTL]")
        #expect(catalog.command(named: "zadd")?.syntax == "key [NX|XX] score member [score member ...]")
        #expect(catalog.command(named: "xread")?.syntax == "[COUNT count] STREAMS key [key ...] id [id ...]")
        #expect(catalog.command(named: "sort")?.syntax == "key [GET pattern [GET pattern ...]]")
        #expect(catalog.command(named: "config|get")?.syntax == "parameter [parameter ...]")
    }

    @Test(
        "The hint is what is still missing",
        arguments: [
            ("get", " key"), ("get ", "key"), ("GET k", nil), ("get k ", nil), ("ge", nil), ("", nil), ("nope ", nil),
            ("set", " key value [NX|XX] [EX seconds|KEEPTTL]"), ("set k", " value [NX|XX] [EX seconds|KEEPTTL]"),
            ("set \"a b", " value [NX|XX] [EX seconds|KEEPTTL]"), ("set k v ", "[NX|XX] [EX seconds|KEEPTTL]"),
            ("set k v e", " [NX|XX] [EX seconds|KEEPTTL]"), ("set k v ex ", "seconds [NX|XX]"),
            ("set k v ex 10 ", "[NX|XX]"), ("set k v keepttl nx", nil), ("set k v nx ", "[EX seconds|KEEPTTL]"),
            ("mget ", "key [key ...]"), ("mget a ", "[key ...]"), ("mget a b", " [key ...]"),
            ("zadd k nx ", "score member [score member ...]"), ("zadd k 1 ", "member [score member ...]"),
            ("zadd k 1 a ", "[score member ...]"), ("zadd k n", " [NX|XX] score member [score member ...]"),
            ("xread streams ", "key [key ...] id [id ...]"),
            ("xread count ", "count STREAMS key [key ...] id [id ...]"),
            ("sort k get ", "pattern [GET pattern ...]"), ("sort k get p ", "[GET pattern ...]"),
            ("sort k get p get ", "pattern [GET pattern ...]"),
            ("config ", "GET|HELP"), ("config get ", "parameter [parameter ...]"), ("set 'a'b c", nil),
        ] as [(String, String?)])
    func hints(line: String, hint: String?) {
        #expect(catalog.hint(for: line) == hint)
    }

    @Test(
        "Completion offers names, subcommands, options and topics, in the case of what is typed",
        arguments: [
            ("s", ["set", "sort"]), ("S", ["SET", "SORT"]), ("set", []), ("config", []),
            ("config ", ["config get", "config help"]),
            ("CONFIG G", ["CONFIG GET"]), ("set k v n", ["set k v nx"]), ("set k v KE", ["set k v KEEPTTL"]),
            ("set n", []),
            ("zadd k x", ["zadd k xx"]),
            ("help @s", ["help @server", "help @sorted-set", "help @stream", "help @string"]),
            ("set k v nx n", []), ("sort k get p g", ["sort k get p get"]),
            ("help ze", []), ("help z", ["help ZADD"]), ("", []), ("get é", []),
        ] as [(String, [String])])
    func completes(line: String, candidates: [String]) {
        #expect(catalog.completions(for: line) == candidates)
    }

    @Test("Help describes a command, a container, a group, everything, and says what it does not know")
    func helps() {
        #expect(
            catalog.help(["set"]).contains(
                "  SET key value [NX|XX] [EX seconds|KEEPTTL]\n  summary: Does it\n  since: 1.0.0\n"))
        #expect(catalog.help(["config"]).contains("CONFIG GET parameter"))
        #expect(catalog.help(["@string"]).contains("MGET") && !catalog.help(["@string"]).contains("ZADD"))
        #expect(catalog.help([]).contains("@sorted-set"))
        for topic in [[], ["@string"], ["config", "get"], ["set"]] { #expect(catalog.isHelpTopic(topic)) }
        for topic in [["seet"], ["@nope"], ["config", "nope"]] { #expect(!catalog.isHelpTopic(topic)) }
        #expect(catalog.help(["seet"]).contains("SET"))
        #expect(catalog.help(["@nope"]).contains("@string"))
        #expect(catalog.help(["ged"]).contains("Near: GET"))
        #expect(catalog.help(["gone"]).contains("nor one like it"))
        #expect(catalog.help(["qqqqqqqq"]).contains("No help for 'qqqqqqqq'"))
    }

    @Test("Replies that are no documentation, and deep ones, are harmless")
    func survivesOtherReplies() {
        for reply in [
            Reply.null, .error([]), .integer(1), .array([.integer(1)]), .array([text("a"), .null, text("b")]),
        ] {
            let catalog = CommandCatalog(documentation: reply)
            #expect(catalog.hint(for: "a b") == nil && catalog.help([]).contains("Groups"))
        }
        var argument = Argument(name: "x", type: "block")
        for _ in 0..<60 { argument = Argument(name: "x", type: "block", flags: ["multiple"], arguments: [argument]) }
        let reply = map(false, [("deep", map(false, [("arguments", .array([argument.reply(false)]))]))])
        #expect(CommandCatalog(documentation: reply).hint(for: "deep a b c") != "")
    }
}
