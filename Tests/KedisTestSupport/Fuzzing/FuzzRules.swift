// What may differ between Kedis and redis-server in the reply of a command, by name, and what is compared nevertheless.
//
// A command without a rule must answer the same bytes. Tests/differences.md has the reasons.

package import KedisProtocol

package enum FuzzRule: Equatable {
    case exact
    /// The elements have no order: they are sorted.
    case unordered
    /// Fields with their values, in any order.
    case unorderedPairs
    /// Integers that follow a clock may differ by so much.
    case clock(tolerance: Int64)
    /// A cursor and elements: the elements are compared, sorted, when both are complete. `isPaired`: fields with values.
    case cursor(isPaired: Bool)
    /// Random elements that stay: as many as on redis-server, and each is one there (SMISMEMBER, HEXISTS, ZSCORE, EXISTS).
    case randomPick
    /// Random elements that go: what Kedis took is removed on redis-server (SREM).
    case randomRemoval
    /// The names of encodings: those of lists and of small sets are as in Redis 7.2.
    case encoding
    /// Consumers of a group: those that have nothing pending may be on one side only, as Redis 7.2 makes a consumer
    /// even when it gets nothing.
    case consumers
    /// Null or not, an error or not: the contents are our own (payloads of DUMP, HELP).
    case shape

    /// The rules by full names.
    static let byName: [String: FuzzRule] = [
        "keys": .unordered, "smembers": .unordered, "sinter": .unordered, "sunion": .unordered, "sdiff": .unordered,
        "hkeys": .unordered, "hvals": .unordered, "hgetall": .unorderedPairs,
        "scan": .cursor(isPaired: false), "sscan": .cursor(isPaired: false), "hscan": .cursor(isPaired: true),
        "zscan": .cursor(isPaired: true), "ttl": .clock(tolerance: 2), "expiretime": .clock(tolerance: 2),
        "pttl": .clock(tolerance: 2000), "pexpiretime": .clock(tolerance: 2000),
        "object|idletime": .shape, "randomkey": .randomPick, "srandmember": .randomPick,
        "hrandfield": .randomPick, "zrandmember": .randomPick, "spop": .randomRemoval, "object|encoding": .encoding,
        "dump": .shape, "object|refcount": .shape, "xpending": .clock(tolerance: 2000),
        "xinfo|consumers": .consumers, "xinfo|groups": .consumers, "xgroup|createconsumer": .shape, "xinfo|stream": .shape, "object|freq": .shape,
    ]

    /// Commands that are not generated, and why.
    static let skipped: [String: String] = [
        "object|help": "texts are our own", "xgroup|help": "texts are our own", "xinfo|help": "texts are our own",
        "pfselftest": "slow, and of no data", "pfdebug": "for the tests of its own", "migrate": "needs another server",
        "wait": "waits", "waitaof": "waits", "blpop": "blocks", "brpop": "blocks", "blmove": "blocks", "brpoplpush": "blocks",
        "blmpop": "blocks", "bzpopmin": "blocks", "bzpopmax": "blocks", "bzmpop": "blocks",
    ]

    // MARK: Comparing

    /// Whether two replies are equal under the rule.
    package func accepts(_ got: Reply, _ wanted: Reply, _ arguments: [[UInt8]]) -> Bool {
        if got == wanted || FuzzRule.isListed(got, wanted, arguments) { return true }
        switch self {
        case .exact, .randomRemoval: return false
        case .unordered: return FuzzRule.sorted(got) == FuzzRule.sorted(wanted)
        case .unorderedPairs: return FuzzRule.sortedPairs(got) == FuzzRule.sortedPairs(wanted)
        case .clock(let tolerance): return FuzzRule.isClose(got, wanted, tolerance)
        case .cursor(let isPaired):
            // A cursor that no scan gave means nothing to either.
            let isStart = arguments.count > 1 && (arguments[1] == [0x30] || arguments.count > 2 && arguments[2] == [0x30])
            return isStart ? FuzzRule.isSameScan(got, wanted, isPaired) : FuzzRule.shape(got) == FuzzRule.shape(wanted)
        case .randomPick: return FuzzRule.elementCount(got) == FuzzRule.elementCount(wanted)
        case .encoding: return FuzzRule.isSameEncoding(got, wanted)
        case .consumers: return FuzzRule.withoutIdleConsumers(got) == FuzzRule.withoutIdleConsumers(wanted)
        case .shape: return FuzzRule.shape(got) == FuzzRule.shape(wanted)
        }
    }

    /// Differences of single commands, as Tests/differences.md lists them; none of them changes data.
    private static func isListed(_ got: Reply, _ wanted: Reply, _ arguments: [[UInt8]]) -> Bool {
        let name = arguments.first.map { String(decoding: $0, as: UTF8.self).lowercased() } ?? ""
        let lowest = Array("-9223372036854775808".utf8)
        if name == "lpos", arguments.contains(lowest), case .error = got { return true }
        if name.hasPrefix("sort"), case .error(let text) = wanted,
            text.starts(with: Array("ERR One or more scores".utf8))
        {
            // The oracle takes an earlier error of another command for one of this.
            return !arguments.contains { String(decoding: $0, as: UTF8.self).lowercased() == "store" }
        }
        return false
    }

    private static func sorted(_ reply: Reply) -> Reply {
        switch reply {
        case .array(let elements): .array(elements.sorted { "\($0)" < "\($1)" })
        case .set(let elements): .set(elements.sorted { "\($0)" < "\($1)" })
        default: reply
        }
    }

    private static func sortedPairs(_ reply: Reply) -> Reply {
        switch reply {
        case .array(let flat) where flat.count.isMultiple(of: 2):
            return sorted(.array(stride(from: 0, to: flat.count, by: 2).map { .array([flat[$0], flat[$0 + 1]]) }))
        case .map(let entries): return sorted(.array(entries.map { .array([$0.key, $0.value]) }))
        default: return sorted(reply)
        }
    }

    private static func isClose(_ got: Reply, _ wanted: Reply, _ tolerance: Int64) -> Bool {
        switch (got, wanted) {
        case (.integer(let one), .integer(let other)):
            let (distance, overflow) = one.subtractingReportingOverflow(other)
            return !overflow && one >= 0 && other >= 0 && abs(distance) <= tolerance
        case (.array(let ones), .array(let others)):
            return ones.count == others.count && zip(ones, others).allSatisfy { $0 == $1 || isClose($0, $1, tolerance) }
        case (.map(let ones), .map(let others)):
            return ones.count == others.count
                && zip(ones, others).allSatisfy { $0.key == $1.key && ($0.value == $1.value || isClose($0.value, $1.value, tolerance)) }
        default: return false
        }
    }

    private static func isSameScan(_ got: Reply, _ wanted: Reply, _ isPaired: Bool) -> Bool {
        guard case .array(let one) = got, case .array(let other) = wanted, one.count == 2, other.count == 2 else {
            return false
        }
        let zero = Reply.bulk([0x30])
        guard one[0] == zero, other[0] == zero else { return true }
        return isPaired ? sortedPairs(one[1]) == sortedPairs(other[1]) : sorted(one[1]) == sorted(other[1])
    }

    private static func elementCount(_ reply: Reply) -> Int? {
        switch reply {
        case .array(let elements): elements.count
        case .null, .nullArray: -1
        case .bulk: -2
        case .error: nil
        default: -3
        }
    }

    private static func isSameEncoding(_ got: Reply, _ wanted: Reply) -> Bool {
        guard case .bulk(let one) = got, case .bulk(let other) = wanted else { return false }
        let (own, oracle) = (String(decoding: one, as: UTF8.self), String(decoding: other, as: UTF8.self))
        return oracle == "quicklist" && own == "listpack" || oracle == "hashtable" && own == "listpack"
            // SORT leaves a sorted set in its large form on redis-server.
            || oracle == "skiplist" && own == "listpack" || oracle == "embstr" && own == "raw" || oracle == "raw" && own == "embstr"
    }

    /// Groups and consumers as texts, without times, numbers of consumers, and consumers with nothing pending.
    private static func withoutIdleConsumers(_ reply: Reply) -> Reply {
        guard case .array(let items) = reply else { return reply }
        return .array(items.compactMap { item in
            var fields: [(name: String, value: Reply)] = []
            switch item {
            case .map(let entries): fields = entries.map { (text($0.key), $0.value) }
            case .array(let flat) where flat.count.isMultiple(of: 2):
                fields = stride(from: 0, to: flat.count, by: 2).map { (text(flat[$0]), flat[$0 + 1]) }
            default: return item
            }
            let isConsumer = fields.contains { $0.name == "idle" }
            if isConsumer, fields.contains(where: { $0.name == "pending" && $0.value == .integer(0) }) { return nil }
            let kept = fields.filter { !["idle", "inactive", "consumers"].contains($0.name) }
            return .array(kept.flatMap { [.bulk(Array($0.name.utf8)), $0.value] })
        })
    }

    private static func text(_ reply: Reply) -> String {
        if case .bulk(let bytes) = reply { String(decoding: bytes, as: UTF8.self) } else { "\(reply)" }
    }

    private static func shape(_ reply: Reply) -> String {
        switch reply {
        case .error(let text): "error \(String(decoding: text, as: UTF8.self))"
        case .null, .nullArray: "null"
        case .bulk, .verbatim: "string"
        case .integer: "integer"
        default: "other"
        }
    }
}
