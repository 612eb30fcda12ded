// Random steps of several connections: what sessions are about (transactions, waiting, messages, tracking, users,
// states of a connection), between commands on data from the differential fuzzer's generator.
//
// Steps are made without knowing what becomes of them. A rough idea of each connection's state chooses among them, so
// that transactions end and replies that were switched off come back; where it is wrong, both servers answer an error.

package import KedisUtilities

package struct SessionGenerator {
    /// What a connection is thought to be in.
    private struct Idea {
        var isInTransaction = false
        var isSilent = false
        var isTracking = false
        var isSubscribed = false
        var isOtherUser = false
    }

    /// Connections of clients, beside the operator's.
    package static let clientCount = 4
    package static let connectionCount = clientCount + 1
    static let operatorConnection = clientCount

    package var random: RandomGenerator
    private var data: FuzzGenerator
    private var access: AccessGenerator
    private var ideas: [Idea] = []

    /// - Parameter names: full names of the commands that both servers have.
    package init(_ random: RandomGenerator, names: Set<String>) {
        self.random = random
        data = FuzzGenerator(RandomGenerator(seed: self.random.next())) {
            names.contains($0) && Self.skippedData[$0] == nil
        }
        access = AccessGenerator(RandomGenerator(seed: self.random.next()), names: names.sorted())
    }

    /// Commands on data that are left to the differential fuzzer, and why.
    private static let skippedData: [String: String] = [
        "spop": "what goes is random", "randomkey": "random", "srandmember": "random", "hrandfield": "random",
        "zrandmember": "random", "scan": "finds what is due", "dump": "needs payloads", "restore": "needs payloads",
        "restore-asking": "needs payloads", "xreadgroup": "makes consumers", "xclaim": "makes consumers",
        "xautoclaim": "makes consumers", "keys": "removes what is due, in any order",
    ]

    // MARK: Steps

    /// A sequence from new connections on.
    package mutating func sequence(_ count: Int) -> [SessionStep] {
        ideas = Array(repeating: Idea(), count: Self.connectionCount)
        var steps = [SessionStep(1, ["HELLO", "3"]), SessionStep(3, ["HELLO", "3"])]
        steps += [notifications(Self.operatorConnection)]
        for name in Self.users {
            steps.append(SessionStep(Self.operatorConnection, ["ACL", "SETUSER", name] + userRules()))
        }
        while steps.count < count { steps.append(next()) }
        return steps
    }

    private mutating func next() -> SessionStep {
        let connection = random.next(below: Self.connectionCount)
        if connection == Self.operatorConnection { return operatorStep() }
        if let step = continuation(connection) { return step }
        switch random.next(below: 100) {
        case ..<26: return dataStep(connection)
        case ..<38: return SessionStep(connection, write())
        case ..<46: return transaction(connection)
        case ..<55: return waiting(connection)
        case ..<66: return subscription(connection)
        case ..<73: return publication(connection)
        case ..<82: return tracking(connection)
        case ..<92: return state(connection)
        case ..<97: return user(connection)
        case ..<98: return deadline(connection)
        default: return SessionStep(connection, wholeDatabase())
        }
    }

    /// What ends a state that a connection should not stay in for long.
    private mutating func continuation(_ connection: Int) -> SessionStep? {
        let idea = ideas[connection]
        if idea.isSilent, chance(30) {
            ideas[connection].isSilent = false
            return SessionStep(connection, ["CLIENT", "REPLY", "ON"])
        }
        if idea.isInTransaction, chance(20) {
            ideas[connection].isInTransaction = false
            return SessionStep(connection, [chance(85) ? "EXEC" : "DISCARD"])
        }
        if idea.isSubscribed, chance(8) {
            ideas[connection].isSubscribed = false
            return SessionStep(connection, ["RESET"])
        }
        if idea.isOtherUser, chance(15) {
            ideas[connection].isOtherUser = false
            return SessionStep(connection, ["AUTH", "default", "any"])
        }
        if idea.isTracking, chance(30) { return SessionStep(connection, trackedRead()) }
        return nil
    }

    private mutating func operatorStep() -> SessionStep {
        let connection = Self.operatorConnection
        switch random.next(below: 100) {
        case ..<22: return dataStep(connection)
        case ..<52: return SessionStep(connection, write())
        case ..<66: return publication(connection)
        case ..<72: return notifications(connection)
        case ..<80: return access(connection, to: pick(Self.users))
        case ..<88: return SessionStep(connection, unblocking())
        case ..<90:
            return SessionStep(
                connection, ["CLIENT", "KILL"] + pick([["ID", client()], ["USER", "u1"], ["TYPE", "pubsub"]]))
        case ..<94: return deadline(connection)
        default: return SessionStep(connection, wholeDatabase())
        }
    }

    // MARK: Data

    private mutating func dataStep(_ connection: Int) -> SessionStep {
        while true {
            let command = data.next()
            // Of it alone they permit something else.
            if command.arguments.count == 2, String(decoding: command.arguments[0], as: UTF8.self) == "PFMERGE" {
                continue
            }
            switch command.rule {
            case .randomPick, .randomRemoval, .cursor: continue
            default:
                var step = SessionStep(connection, [])
                step.command = command
                return step
            }
        }
    }

    static let strings = ["s0", "s1", "s2"]
    static let lists = ["l0", "l1", "l2"]
    static let sortedSets = ["z0", "z1", "z2"]
    static let streams = ["x0", "x1", "x2"]
    private static let keys = strings + lists + sortedSets + ["x0", "h0", "t0", "none"]

    /// A change of a key that others may wait for, watch, or have read.
    private mutating func write() -> [String] {
        let (list, sortedSet, string) = (pick(Self.lists), pick(Self.sortedSets), pick(Self.strings))
        switch random.next(below: 17) {
        case 0, 1: return ["LPUSH", list, "a"] + (chance(30) ? ["b", "c"] : [])
        case 2, 3: return ["RPUSH", list, pick(["a", "b", "x"])]
        case 4: return ["ZADD", sortedSet, "1", "a"] + (chance(40) ? ["2", "b"] : [])
        case 5: return ["ZADD", sortedSet, pick(["GT", "NX", "CH"]), pick(["0", "5"]), pick(["a", "c"])]
        case 6: return ["XADD", pick(Self.streams), "\(streamTime())-1", "f", "v"]
        case 7, 8: return ["SET", string, pick(["1", "2", "v"])]
        case 9: return ["DEL"] + (chance(60) ? [pick(Self.keys)] : [pick(Self.keys), pick(Self.keys), pick(Self.keys)])
        case 10: return ["INCR", string]
        case 11: return ["MSET", string, "a", pick(Self.strings), "b"]
        case 12: return ["RENAME", pick(Self.keys), pick(Self.keys)]
        case 13: return ["LMOVE", list, pick(Self.lists), pick(["LEFT", "RIGHT"]), "LEFT"]
        case 14: return ["COPY", pick(Self.keys), pick(Self.keys)] + (chance(50) ? ["DB", "1"] : ["REPLACE"])
        case 15: return ["XGROUP", "CREATE", pick(Self.streams), pick(["g1", "g2"]), "$", "MKSTREAM"]
        default: return ["EXPIRE", pick(Self.keys), pick(["1000", "-1", "100000"])]
        }
    }

    private var streamTimes: UInt64 = 1000

    private mutating func streamTime() -> UInt64 {
        streamTimes += 1
        return streamTimes
    }

    /// A deadline that is over before anybody does anything else.
    private mutating func deadline(_ connection: Int) -> SessionStep {
        var step = SessionStep(
            connection, chance(60) ? ["SET", pick(Self.strings), "v", "PX", "2"] : ["PEXPIRE", pick(Self.keys), "2"])
        step.pauseMilliseconds = 6
        return step
    }

    private mutating func wholeDatabase() -> [String] {
        switch random.next(below: 6) {
        case 0: ["FLUSHALL"] + pick([[], ["SYNC"], ["ASYNC"], ["nothing"]])
        case 1: ["FLUSHDB"]
        case 2, 3: ["SWAPDB", pick(["0", "1"]), pick(["0", "1", "2"])]
        case 4: ["MOVE", pick(Self.keys), pick(["0", "1"])]
        default: ["DBSIZE"]
        }
    }

    private mutating func notifications(_ connection: Int) -> SessionStep {
        let classes = ["K", "E", "g", "$", "l", "s", "h", "z", "x", "e", "t", "d", "m", "n"]
        var flags = pick(["KEA", "KEA", "", "KA", "EA", "AKEm", "KEn", "KEg$lzxemn"])
        if chance(40) { flags = classes.filter { _ in chance(50) }.joined() }
        if chance(5) { flags += pick(["Q", "KK"]) }
        // `A` hides `n` when redis-server tells its flags, or takes back what it refused.
        return SessionStep(connection, ["CONFIG", "SET", "notify-keyspace-events", flags])
    }

    // MARK: Transactions

    private mutating func transaction(_ connection: Int) -> SessionStep {
        switch random.next(below: 20) {
        case ..<9:
            ideas[connection].isInTransaction = true
            return SessionStep(connection, ["MULTI"])
        case ..<11: return SessionStep(connection, ["EXEC"])
        case 11: return SessionStep(connection, ["DISCARD"])
        case ..<17: return SessionStep(connection, ["WATCH"] + (0...random.next(below: 3)).map { _ in pick(Self.keys) })
        case 17: return SessionStep(connection, ["UNWATCH"])
        // What a transaction does not take.
        case 18:
            return SessionStep(
                connection, pick([["GET"], ["NOTHING", "x"], ["SET", "s0"], ["EXEC", "x"], ["WATCH"]]))
        default: return SessionStep(connection, ["MULTI"] + (chance(10) ? ["x"] : []))
        }
    }

    // MARK: Waiting

    private mutating func waiting(_ connection: Int) -> SessionStep {
        let timeout = pick(["0", "0", "0", "0.02", "0.02", "-1", "x"])
        let milliseconds = pick(["0", "0", "20", "20", "-1", "x"])
        let list = pick(Self.lists)
        let lists = chance(70) ? [list] : [list, pick(Self.lists)]
        let sortedSets = chance(70) ? [pick(Self.sortedSets)] : [pick(Self.sortedSets), pick(Self.sortedSets)]
        let stream = pick(Self.streams)
        switch random.next(below: 14) {
        case 0, 1: return SessionStep(connection, ["BLPOP"] + lists + [timeout])
        case 2: return SessionStep(connection, ["BRPOP"] + lists + [timeout])
        case 3, 4:
            return SessionStep(
                connection, ["BLMOVE", list, pick(Self.lists), "LEFT", pick(["LEFT", "RIGHT"]), timeout])
        case 5: return SessionStep(connection, ["BRPOPLPUSH", list, pick(Self.lists), timeout])
        case 6, 7: return SessionStep(connection, [pick(["BZPOPMIN", "BZPOPMAX"])] + sortedSets + [timeout])
        case 8:
            let count = chance(90) ? "\(lists.count)" : pick(["0", "x", "5"])
            return SessionStep(
                connection, ["BLMPOP", timeout, count] + lists + ["LEFT"] + (chance(40) ? ["COUNT", "2"] : []))
        case 9:
            return SessionStep(
                connection, ["BZMPOP", timeout, "\(sortedSets.count)"] + sortedSets + [pick(["MIN", "MAX"])])
        case 10:
            return SessionStep(connection, ["XREAD", "BLOCK", milliseconds, "STREAMS", stream, pick(["$", "0", "5"])])
        case 11:
            // Not twice the same: see Tests/differences.md.
            let other = pick(Self.streams.filter { $0 != stream })
            return SessionStep(
                connection, ["XREAD", "COUNT", "1", "BLOCK", milliseconds, "STREAMS", stream, other, "$", "$"])
        case 12:
            let reader = ["GROUP", pick(["g1", "g2"]), "c1"]
            return SessionStep(connection, ["XREADGROUP"] + reader + ["BLOCK", milliseconds, "STREAMS", stream, ">"])
        default: return SessionStep(connection, unblocking())
        }
    }

    private mutating func unblocking() -> [String] {
        let end = pick([[], [], ["TIMEOUT"], ["ERROR"], ["ERROR"], ["x"]])
        return ["CLIENT", "UNBLOCK", chance(92) ? client() : pick(["0", "x", "999999"])] + end
    }

    private mutating func client() -> String { SessionStep.identifierWord(random.next(below: Self.clientCount)) }

    // MARK: Messages

    private static let channels = ["news", "n2", "ch:1", "ch:2", "", "__keyevent@0__:set"]
    private static let listened =
        channels + [
            "__keyevent@0__:del", "__keyspace@0__:s0", "__keyspace@0__:l0", "__keyevent@0__:expired",
            "__redis__:invalidate",
            "__redis__:invalidate",
        ]
    private static let patterns = [
        "n*", "*", "ch:?", "__key*__:*", "__keyspace@*__:*", "__keyevent@*__:*", "__keyevent@0__:[l-z]*", "n2",
        "__keyspace@1__:*",
    ]

    private mutating func subscription(_ connection: Int) -> SessionStep {
        let channels = (0...random.next(below: 3)).map { _ in pick(Self.listened) }
        let patterns = (0...random.next(below: 2)).map { _ in pick(Self.patterns) }
        switch random.next(below: 20) {
        case ..<4: return listening(connection, ["SUBSCRIBE"] + channels)
        case ..<9: return listening(connection, ["PSUBSCRIBE"] + patterns)
        case ..<11: return listening(connection, ["SSUBSCRIBE"] + channels)
        case ..<14: return SessionStep(connection, ["UNSUBSCRIBE"] + (chance(40) ? [] : channels))
        case ..<17: return SessionStep(connection, ["PUNSUBSCRIBE"] + (chance(40) ? [] : patterns))
        case ..<19: return SessionStep(connection, ["SUNSUBSCRIBE"] + (chance(40) ? [] : channels))
        default: return SessionStep(connection, [pick(["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"])])
        }
    }

    private mutating func listening(_ connection: Int, _ words: [String]) -> SessionStep {
        ideas[connection].isSubscribed = true
        return SessionStep(connection, words)
    }

    private mutating func publication(_ connection: Int) -> SessionStep {
        let words = publication()
        return SessionStep(connection, words, ["CHANNELS", "SHARDCHANNELS"].contains(words[1]) ? .unordered : .exact)
    }

    private mutating func publication() -> [String] {
        let channel = pick(Self.channels)
        switch random.next(below: 13) {
        case ..<6: return ["PUBLISH", channel, "m"]
        case ..<8: return ["SPUBLISH", channel, "m"]
        case 8: return ["PUBSUB", "CHANNELS"] + (chance(50) ? [] : [pick(Self.patterns)])
        case 9: return ["PUBSUB", "NUMSUB"] + (chance(20) ? [] : [channel, pick(Self.channels)])
        case 10: return ["PUBSUB", "NUMPAT"]
        case 11: return ["PUBSUB", "SHARDCHANNELS"] + (chance(50) ? [] : [pick(Self.patterns)])
        default: return ["PUBSUB", "SHARDNUMSUB", channel, pick(Self.channels)]
        }
    }

    // MARK: Tracking

    private mutating func tracking(_ connection: Int) -> SessionStep {
        switch random.next(below: 20) {
        case ..<9:
            ideas[connection].isTracking = true
            return SessionStep(connection, ["CLIENT", "TRACKING", "ON"] + trackingOptions())
        case ..<12:
            ideas[connection].isTracking = false
            return SessionStep(connection, ["CLIENT", "TRACKING", "OFF"])
        case ..<15: return SessionStep(connection, ["CLIENT", "CACHING", pick(["YES", "YES", "NO", "x"])])
        case 15: return SessionStep(connection, ["CLIENT", "TRACKINGINFO"])
        case 16: return SessionStep(connection, ["CLIENT", "GETREDIR"])
        default: return SessionStep(connection, trackedRead())
        }
    }

    private mutating func trackingOptions() -> [String] {
        var options: [String] = []
        switch random.next(below: 10) {
        case ..<3: break
        case ..<6:
            options.append("BCAST")
            for _ in 0..<random.next(below: 3) { options += ["PREFIX", pick(["s", "l", "z", "s1", "", "none"])] }
        case ..<7: options.append("OPTIN")
        case ..<8: options.append("OPTOUT")
        default: options += pick([["OPTIN", "OPTOUT"], ["PREFIX", "s"], ["BCAST", "OPTIN"], ["x"], ["PREFIX"]])
        }
        if chance(25) { options.append("NOLOOP") }
        if chance(30) { options += ["REDIRECT", chance(95) ? client() : pick(["0", "x", "999999"])] }
        return options
    }

    private mutating func trackedRead() -> [String] {
        switch random.next(below: 6) {
        case 0, 1: ["GET", pick(Self.strings)]
        case 2: ["MGET", pick(Self.strings), pick(Self.strings), pick(Self.keys)]
        case 3: ["LRANGE", pick(Self.lists), "0", "1"]
        case 4: ["EXISTS", pick(Self.keys), pick(Self.keys)]
        default: ["ZCARD", pick(Self.sortedSets)]
        }
    }

    // MARK: States of a connection

    private mutating func state(_ connection: Int) -> SessionStep {
        switch random.next(below: 26) {
        case ..<4: return SessionStep(connection, ["SELECT", pick(["0", "0", "1", "2", "16", "x"])])
        case 4: return SessionStep(connection, ["CLIENT", "SETNAME", pick(["anna", "bert", "", "two words"])])
        case 5: return SessionStep(connection, ["CLIENT", "GETNAME"])
        case 6: return SessionStep(connection, ["CLIENT", "ID"])
        case 7: return SessionStep(connection, ["CLIENT", "NO-EVICT", pick(["ON", "OFF", "x"])])
        case 8:
            ideas[connection].isSilent = true
            return SessionStep(connection, ["CLIENT", "REPLY", "OFF"])
        case ..<11: return SessionStep(connection, ["CLIENT", "REPLY", pick(["SKIP", "SKIP", "ON", "x"])])
        case ..<13:
            ideas[connection] = Idea()
            return SessionStep(connection, ["RESET"])
        case ..<18: return hello(connection)
        case 18: return SessionStep(connection, ["QUIT"])
        case 19: return SessionStep(closing: connection)
        default:
            var step = SessionStep(connection, pick([["PING"], ["PING", "x"], ["ECHO", "x"]]))
            step.mayQueueBehindWait = true
            return step
        }
    }

    private mutating func hello(_ connection: Int) -> SessionStep {
        let words: [[String]] = [
            ["HELLO", "3"], ["HELLO", "3"], ["HELLO", "2"], ["HELLO"], ["HELLO", "4"], ["HELLO", "x"],
            ["HELLO", "3", "AUTH", "u1", "pw"], ["HELLO", "2", "AUTH", "u2", "wrong", "SETNAME", "carla"],
            ["HELLO", "3", "SETNAME", "dora"], ["HELLO", "3", "AUTH", "default", "any"], ["HELLO", "3", "SETNAME"],
        ]
        return SessionStep(connection, pick(words))
    }

    // MARK: Users

    private static let users = ["u1", "u2"]

    private mutating func user(_ connection: Int) -> SessionStep {
        let name = pick(Self.users)
        switch random.next(below: 12) {
        case ..<5:
            ideas[connection].isOtherUser = true
            return SessionStep(connection, ["AUTH", name, pick(["pw", "pw", "pw", "wrong"])])
        case 5:
            return SessionStep(
                connection, pick([["AUTH", "x"], ["AUTH"], ["AUTH", "nobody", "x"], ["AUTH", "a", "b", "c"]]))
        case ..<8: return SessionStep(connection, ["ACL", "WHOAMI"])
        default: return access(connection, to: name)
        }
    }

    private mutating func access(_ connection: Int, to name: String) -> SessionStep {
        switch random.next(below: 10) {
        case ..<5: return SessionStep(connection, ["ACL", "SETUSER", name] + userRules())
        case 5: return SessionStep(connection, ["ACL", "DELUSER", name])
        // Told in other words: AccessPropertyTests compares them.
        case 6: return SessionStep(connection, ["ACL", "GETUSER", name], .shape)
        default:
            let request = pick([write(), publication(), trackedRead(), ["SUBSCRIBE", pick(Self.channels)]])
            return SessionStep(connection, ["ACL", "DRYRUN", name] + request)
        }
    }

    /// Mostly of a user that one can be.
    private mutating func userRules() -> [String] {
        guard chance(85) else { return access.rules(beginAnew: false).map { String(decoding: $0, as: UTF8.self) } }
        var rules = chance(60) ? ["reset", "on", ">pw"] : ["on", ">pw"]
        rules += pick([
            ["+@all"], ["+@all", "-@dangerous"], ["+@all", "-multi"],
            ["+@read", "+@connection", "+@pubsub", "+@transaction"], [],
        ])
        rules += pick([["~*"], ["~s*", "~l*"], ["%R~*", "%W~s*"], ["resetkeys"], ["~*", "-@blocking"]])
        rules += pick([["&*"], ["&n*"], ["resetchannels"], ["resetchannels", "&news", "&ch:*"], ["allchannels"]])
        if chance(10) { rules += pick([["off"], ["nopass"], ["resetpass"], ["-exec"], ["-@write"], ["+nothing"]]) }
        return rules
    }

    // MARK: Chance

    private mutating func chance(_ percent: Int) -> Bool { random.next(below: 100) < percent }

    private mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[random.next(below: elements.count)]
    }
}
