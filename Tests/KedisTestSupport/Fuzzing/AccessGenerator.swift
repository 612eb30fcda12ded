// Random rules of users and requests for ACL DRYRUN: few keys, channels and commands, so that rules and requests meet.

import KedisCommands
package import KedisUtilities

package struct AccessGenerator {
    package var random: RandomGenerator
    private var commands: FuzzGenerator
    /// Full names of commands and subcommands that both servers have.
    private let names: [String]
    private var passwordCount = 0

    /// - Parameter names: the full names of the commands that both servers have.
    package init(_ random: RandomGenerator, names: [String]) {
        self.random = random
        self.names = names
        let known = Set(names)
        commands = FuzzGenerator(RandomGenerator(seed: self.random.next())) { known.contains($0) }
    }

    private mutating func chance(_ percent: Int) -> Bool { random.next(below: 100) < percent }

    private mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[random.next(below: elements.count)]
    }

    // MARK: Rules

    /// The rules of one ACL SETUSER, most of them valid.
    package mutating func rules(beginAnew: Bool) -> [[UInt8]] {
        var rules: [String] = beginAnew || chance(60) ? ["reset"] : []
        if chance(50) { rules += [pick(["allcommands", "+@all", "+@read", "+@write", "+@all"])] }
        for _ in 0...random.next(below: 7) { rules.append(rule()) }
        for _ in 0..<(chance(35) ? 1 + random.next(below: 2) : 0) { rules += selector() }
        if chance(4) { rules.insert(pick(Self.garbage), at: 1 + random.next(below: rules.count)) }
        // At the end only: another one that is not closed would make redis-server 7.0 forget this one.
        if chance(1) { rules.append(pick(["(", "(+get"])) }
        return rules.map { Array($0.utf8) }
    }

    private static let garbage = [
        "", " ", "foo", "+", "-", "+@", "-@", "+@nothing", "+nothing", "+get|", "+config|nothing", "-select|0", "+config|get|x", "%~a",
        "%X~a", "%RR~a", "%R", "~a b", "&a b", ")", "(+nothing)", "(on)", "()", "( )", "#abc", "<never", "!abc", "+|x",
        "(+get (~a))", "%", "%rw~", "~", "&", ">", "<", "+get|a|b", "+get ", "+@read ", "+config|", "++get",
        "(\"+get)", "(~a ~* ~b)", "-config|nothing", "-@nothing", "+GET|X", "clearselectors ", "on off",
    ]
    private static let words = [
        "on", "off", "nopass", "resetpass", "allkeys", "resetkeys", "allchannels", "resetchannels", "allcommands",
        "nocommands", "clearselectors", "skip-sanitize-payload", "sanitize-payload", "~*", "&*", "+@all", "-@all",
        "resetchannels", "resetkeys", "ON", "NoCommands", "reset",
    ]
    private static let keys = ["*", "s*", "z*", "l*", "[a-l]*", "s1", "?1", "h2", "x*", "k*", "*2", "", "b[0-9]", "\\*"]
    private static let channels = ["*", "news", "news*", "a", "n?ws", "[ab]", "", "b*"]
    private static let categories = [
        "keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo", "stream", "pubsub",
        "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting", "READ", "all",
    ]

    private mutating func rule() -> String {
        switch random.next(below: 14) {
        case 0: return pick(Self.words)
        case 1: return password()
        default: return selectorRule()
        }
    }

    private mutating func password() -> String {
        passwordCount += 1
        return pick([">pw", "<pw", ">one\(passwordCount % 3)", "<one\(passwordCount % 3)", ">", "nopass", "resetpass"])
    }

    private mutating func selectorRule() -> String {
        switch random.next(below: 12) {
        case 0: return pick(Array(Self.words[4...9]))
        case 1, 2: return "~" + pick(Self.keys)
        case 3: return pick(["%R~", "%W~", "%RW~", "%WR~", "%r~"]) + pick(Self.keys)
        case 4: return "&" + pick(Self.channels)
        case 5, 6: return pick(["+@", "-@"]) + pick(Self.categories)
        case 7: return "+" + pick(["select|0", "select|1", "get|s1", "set|s1", "client|list", "GET|S1", "publish|news"])
        default: return pick(["+", "+", "-"]) + name()
        }
    }

    private mutating func name() -> String {
        let name = pick(names)
        return chance(10) ? name.uppercased() : name
    }

    /// A selector in one piece or in several.
    private mutating func selector() -> [String] {
        var rules = (0...random.next(below: 4)).map { _ in selectorRule() }
        if chance(50) { rules.insert(pick(["+@all", "+@read", "+@write", "~*", "&*"]), at: 0) }
        let text = "(" + rules.joined(separator: " ") + ")"
        guard chance(50) else { return [text] }
        return text.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
    }

    // MARK: Requests

    /// A request. Without zero bytes: to redis-server they end a name that it tells. Without empty words: no `*` matches
    /// them there.
    package mutating func request() -> [[UInt8]] {
        let words = chance(60) ? commands.next().arguments : words().map { Array($0.utf8) }
        return words.map { $0.filter { $0 != 0 } }.map { $0.isEmpty ? [0x65] : $0 }
    }

    private mutating func words() -> [String] {
        let (channel, other) = (pick(Self.channels), pick(Self.channels))
        let (key, destination) = (pick(["s1", "z1", "l2", "k", "*", ""]), pick(["s2", "x1", "h2"]))
        switch random.next(below: 16) {
        case 0: return [pick(["PUBLISH", "SPUBLISH", "publish"]), channel, "m"]
        case 1: return [pick(["SUBSCRIBE", "SSUBSCRIBE", "PSUBSCRIBE"]), channel]
        case 2: return [pick(["SUBSCRIBE", "SSUBSCRIBE", "PSUBSCRIBE"]), channel, other]
        case 3: return [pick(["UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"]), channel]
        case 4: return ["PUBSUB", pick(["CHANNELS", "NUMPAT"])]
        case 5: return ["SELECT", pick(["0", "1", "2"])]
        case 6: return ["SET", key, "v"] + pick([["GET"], ["NX", "get"], [], ["EX", "10"]])
        case 7: return ["SORT", key] + pick([["STORE", destination], ["GET", "a*"], [], ["BY", "b*", "STORE", destination]])
        case 8: return ["GEORADIUS", key, "1", "1", "1", "m"] + pick([["STORE", destination], ["STOREDIST", destination], []])
        case 9: return ["BITFIELD", key] + pick([["GET", "u8", "0"], ["SET", "u8", "0", "1"], ["OVERFLOW", "FAIL"], []])
        case 10: return [pick(["WATCH", "EXISTS", "TOUCH", "DEL", "UNLINK"]), key, destination]
        case 11: return [pick(["ZUNIONSTORE", "ZINTERSTORE"]), destination, pick(["1", "2", "0", "x", "9"]), key, "k"]
        case 12: return [pick(["MEMORY", "OBJECT"]), pick(["USAGE", "ENCODING", "HELP", "nothing"]), key]
        case 13: return [pick(["COPY", "RENAME", "LMOVE", "SMOVE", "RPOPLPUSH"]), key, destination, "LEFT", "LEFT"]
        default: return anyCommand()
        }
    }

    /// Any command at all, with arguments that need not make sense.
    private mutating func anyCommand() -> [String] {
        // These have another number of arguments in Redis 7.2.
        let words = pick(names.filter { $0 != "zrank" && $0 != "zrevrank" }).split(separator: "|").map(String.init)
        return words + (0..<random.next(below: 5)).map { _ in pick(["s1", "1", "z2", "news", "GET", "l1", "2"]) }
    }
}
