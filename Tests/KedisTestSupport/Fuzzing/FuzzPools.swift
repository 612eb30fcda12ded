// The values of arguments, by kind and name: few, so that they collide, and those at limits.

import KedisCommands

enum FuzzPools {
    static let garbage = ["", "abc", "-1", "0", "1.5", "9223372036854775808", "(", "*", "-", "+", "\u{0}", "WITHSCORES", "LIMIT"]

    static let integers = [
        "0", "0", "1", "1", "1", "2", "2", "3", "5", "-1", "-1", "-2", "-5", "10", "100", "9223372036854775807",
        "-9223372036854775808", "9223372036854775808", "1.5", "abc", "", "007", "+1", " 1",
    ]
    /// Bytes and bits: a large one that is valid would take its memory.
    static let offsets = ["0", "1", "2", "7", "8", "9", "31", "63", "64", "100", "1000", "-1", "99999999999999", "x"]
    /// Far away or over: what is due between two replies could not be compared.
    static let relativeTimes = ["100000", "1000000", "100000", "5000000", "0", "-1", "9223372036854775807", "x", "1.5"]
    static let absoluteTimes = ["4102444800", "4102444800000", "1", "0", "-1", "9223372036854775807", "x"]
    static let doubles = [
        "0", "1", "2", "1.5", "-1", "3", "inf", "-inf", "+inf", "nan", "1e3", "-0", "0.1", "1e308", "abc", "", " 1", "0x10",
        "1.5e2", "100", "7.25",
    ]
    static let members = [
        "a", "b", "c", "d", "e", "f", "g", "1", "2", "3", "-5", "300", "70000", "5000000000", "", "1.5", "abcdefgh",
        "twenty-one characters", "a text of more than sixty-four bytes, which no packed form takes in its usual limits",
    ]
    static let patterns = ["*", "*", "?", "[a-c]*", "l*", "*1", "nosort", "s*", "h*->a", "#", "\\*", "", "x?", "w_*"]
    static let streamIdentifiers = [
        "1-1", "1-2", "2-1", "3-1", "5-5", "0-0", "0", "5", "10-1", "100-3", "7-*", "-", "+", "(1-1", "(5-5", "$", ">", "x-1",
    ]
    static let scores = ["0", "1", "2", "(1", "(2", "-inf", "+inf", "inf", "3", "-5", "(inf", "x", "1.5", "100", "(abc"]
    static let lexicals = ["-", "+", "[a", "(a", "[c", "(c", "[g", "[", "(", "a", "[1", "(300"]

    static func pool(_ argument: ArgumentSpec, of subject: String, in group: CommandGroup) -> [String] {
        let name = argument.name.lowercased()
        if let named = byName(name, subject, group) { return named }
        switch argument.kind {
        case .integer: return integers
        case .double: return doubles
        case .unixTime: return absoluteTimes
        case .pattern: return patterns
        default: return members
        }
    }

    private static func byName(_ name: String, _ subject: String, _ group: CommandGroup) -> [String]? {
        if subject == "restore", name == "seconds" { return ["0", "5", "1000000", "-1", "x"] }
        switch name {
        case "min", "max", "start", "stop":
            if subject.contains("lex") { return lexicals }
            if subject.contains("score") || subject == "zcount" { return scores }
            if subject == "zrange" || subject == "zrangestore" { return scores + lexicals + integers + integers }
            if group == .stream { return streamIdentifiers }
            return nil
        case "end": return group == .stream ? streamIdentifiers : nil
        case "offset" where group == .bitmap || subject == "setrange": return offsets
        case "bit": return ["0", "1", "1", "0", "2", "x"]
        case "encoding": return ["u8", "i8", "u1", "i1", "i16", "u63", "i64", "u64", "x5", "i5", "u3"]
        case "seconds", "milliseconds", "ttl", "timeout", "unix-time-seconds", "unix-time-milliseconds", "ms":
            return name.hasPrefix("unix") ? absoluteTimes : relativeTimes
        case "frequency": return ["0", "5", "255", "256", "-1", "x"]
        case "destination-db", "db":
            return ["0", "1", "2", "1", "-1", "16", "x"]
        case "cursor": return ["0", "0", "0", "0", "x", "-1"]
        case "type": return ["string", "list", "set", "zset", "hash", "stream", "foo"]
        case _ where group == .stream && name.contains("id") && name != "min-idle-time" && name != "min-idle":
            return streamIdentifiers
        case "threshold": return integers + streamIdentifiers
        case "group", "groupname": return ["g1", "g2", "g1", "none"]
        case "consumer", "consumername": return ["c1", "c2", "c1"]
        case "min-idle-time", "min-idle": return ["0", "0", "1000000", "-1", "x"]
        case "longitude": return ["13.361389", "15.087269", "0", "-180", "180.5", "x", "2.35"]
        case "latitude": return ["38.115556", "37.502669", "0", "85", "-86", "x", "48.85"]
        case "radius", "width", "height": return ["100", "200", "1000", "0", "-1", "x", "5000.5"]
        case "element", "member", "field", "value", "member1", "member2", "pivot": return members
        // Without negative zeros: see Tests/differences.md.
        case "score", "weight": return doubles.filter { $0 != "-0" }
        case "increment" where group == .sortedSet: return doubles.filter { $0 != "-0" }
        case "increment" where subject == "incrbyfloat" || subject == "hincrbyfloat": return doubles
        default: return nil
        }
    }

    /// All tokens of the trees.
    static func tokens(of arguments: [ArgumentSpec]) -> [String] {
        arguments.flatMap { [$0.token].compactMap { $0 } + tokens(of: $0.arguments) }
    }
}
