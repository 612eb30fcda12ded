// The classes of keyspace events, as `notify-keyspace-events` spells them, and which event is of which class.

import KedisUtilities

/// What is notified, and how.
struct KeyspaceEventClasses: OptionSet, Sendable {
    let rawValue: UInt32

    static let generic = KeyspaceEventClasses(rawValue: 1 << 0)
    static let string = KeyspaceEventClasses(rawValue: 1 << 1)
    static let list = KeyspaceEventClasses(rawValue: 1 << 2)
    static let set = KeyspaceEventClasses(rawValue: 1 << 3)
    static let hash = KeyspaceEventClasses(rawValue: 1 << 4)
    static let sortedSet = KeyspaceEventClasses(rawValue: 1 << 5)
    static let expired = KeyspaceEventClasses(rawValue: 1 << 6)
    static let evicted = KeyspaceEventClasses(rawValue: 1 << 7)
    static let stream = KeyspaceEventClasses(rawValue: 1 << 8)
    static let module = KeyspaceEventClasses(rawValue: 1 << 9)
    static let created = KeyspaceEventClasses(rawValue: 1 << 10)
    /// `__keyspace@0__:key`, the message is the event.
    static let keyspaceChannels = KeyspaceEventClasses(rawValue: 1 << 11)
    /// `__keyevent@0__:event`, the message is the key.
    static let eventChannels = KeyspaceEventClasses(rawValue: 1 << 12)
    static let missed = KeyspaceEventClasses(rawValue: 1 << 13)

    /// `A`: not those of keys that are new or missed.
    private static let all: KeyspaceEventClasses = [
        .generic, .string, .list, .set, .hash, .sortedSet, .expired, .evicted, .stream, .module,
    ]

    /// In the order in which CONFIG GET tells them.
    private static let letters: [(letter: Character, class: KeyspaceEventClasses)] = [
        ("g", .generic), ("$", .string), ("l", .list), ("s", .set), ("h", .hash), ("z", .sortedSet), ("x", .expired),
        ("e", .evicted), ("t", .stream), ("d", .module), ("n", .created), ("K", .keyspaceChannels),
        ("E", .eventChannels), ("m", .missed),
    ]

    /// Reads the value of the directive; nil for a letter that is none.
    init?(_ text: String) {
        self = []
        for letter in text {
            if letter == "A" {
                formUnion(Self.all)
            } else if let known = Self.letters.first(where: { $0.letter == letter }) {
                insert(known.class)
            } else {
                return nil
            }
        }
    }

    init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The directive's value, in one form.
    var text: String {
        let isAll = isSuperset(of: Self.all)
        let told = Self.letters.filter { contains($0.class) && !(isAll && Self.all.contains($0.class)) }
        return (isAll ? "A" : "") + String(told.map(\.letter))
    }

    /// Some events go to some channels.
    var isOn: Bool { !isDisjoint(with: [.keyspaceChannels, .eventChannels]) }

    /// The class of an event that a command notes.
    init(ofEvent event: StaticString) {
        self = Self.classesByEvent[ByteView(event).text] ?? .generic
    }

    private static let classesByEvent: [String: KeyspaceEventClasses] = {
        let events: [(KeyspaceEventClasses, [String])] = [
            (.string, ["set", "setrange", "append", "incrby", "incrbyfloat", "setbit", "pfadd"]),
            (.list, ["lpush", "rpush", "lpop", "rpop", "linsert", "lset", "ltrim", "lrem", "sortstore"]),
            (
                .set,
                [
                    "sadd", "srem", "spop", "sinterstore", "sunionstore", "sdiffstore", "sexpire", "spersist",
                    "sexpired",
                ]
            ),
            (
                .hash,
                ["hset", "hdel", "hincrby", "hincrbyfloat", "hexpire", "hpersist", "hexpired"]
            ),
            (
                .sortedSet,
                [
                    "zadd", "zincr", "zrem", "zremrangebyscore", "zremrangebyrank", "zremrangebylex", "zpopmin",
                    "zpopmax", "zrangestore", "zinterstore", "zunionstore", "zdiffstore", "georadiusstore",
                    "geosearchstore", "zexpire", "zpersist", "zexpired",
                ]
            ),
            (
                .stream,
                [
                    "xadd", "xdel", "xtrim", "xsetid", "xgroup-create", "xgroup-createconsumer", "xgroup-delconsumer",
                    "xgroup-destroy", "xgroup-setid",
                ]
            ),
            (
                .generic,
                [
                    "del", "expire", "persist", "rename_from", "rename_to", "move_from", "move_to", "copy_to",
                    "restore",
                ]
            ),
        ]
        return Dictionary(
            uniqueKeysWithValues: events.flatMap { eventClass, names in names.map { ($0, eventClass) } })
    }()

    /// Every event that has a class of its own.
    static var knownEvents: Set<String> { Set(classesByEvent.keys) }
}
