// Digests of values and of all data, the very ones of Redis, so that two servers with the same data can be told by
// them.
//
//      xor(data)    digest ^= SHA-1(data)                           for what has no order
//      mix(data)    digest ^= SHA-1(data); digest = SHA-1(digest)   for what has one
//
// A value begins with its type as a number. A type has its case in `mix(_:)`: elements in order are mixed in, elements
// without are made a digest each, whose parts are mixed, and that is xored in. Source: what redis-server 7.0.15
// answers. Cost: some hundred nanoseconds an element.

import KedisProtocol
import KedisStore
import KedisUtilities

struct DataDigest {
    private(set) var value = SHA1Digest()

    mutating func xor(_ bytes: ByteView) { value.formXor(SHA1Digest(of: bytes)) }

    mutating func mix(_ bytes: ByteView) {
        xor(bytes)
        value = value.withBytes { SHA1Digest(of: $0) }
    }

    mutating func mix(_ string: StringValue) { string.withBytes { mix($0) } }

    /// Mixes a number as four bytes, the highest first.
    mutating func mix(number: UInt32) {
        var bytes = number.bigEndian
        withUnsafeBytes(of: &bytes) { mix(ByteView($0)) }
    }

    mutating func mix(score: Double) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: formattedDoubleCapacity) { text in
            guard let base = text.baseAddress else { return }
            mix(ByteView(base: base, count: formatDouble(score, into: base)))
        }
    }

    mutating func xor(_ other: DataDigest) { other.value.withBytes { xor($0) } }

    // MARK: Values

    /// Mixes the value of an entry and its deadline. O(value).
    mutating func mix(_ entry: Entry) {
        mix(number: DataDigest.number(of: entry.type))
        switch entry.type {
        case .string: mix(entry.string)
        case .list:
            let list = entry.list
            list.forEach(in: 0..<list.count) { element in
                mix(element)
                return true
            }
        case .sortedSet:
            let set = entry.sortedSet
            set.forEach(in: 0..<set.count) { member, score in
                var element = DataDigest()
                element.mix(member)
                element.mix(score: score)
                xor(element)
                return true
            }
            set.forEachDeadline { member, _ in mixDeadline(of: member) }
        case .set:
            let set = entry.set(nowMilliseconds: .min)
            set.forEach { member in
                member.withBytes { xor($0) }
                return true
            }
            set.forEachDeadline { member, _ in mixDeadline(of: member) }
        case .hash:
            entry.fields(nowMilliseconds: .min).forEachWithDeadline { field, value, deadline in
                var digest = DataDigest()
                digest.mix(field)
                digest.mix(value)
                if deadline != noDeadline { digest.xor("!!hexpire!!") }
                xor(digest)
                return true
            }
        case .stream: mix(entry.stream)
        }
        if entry.deadlineMilliseconds != noDeadline { xor("!!expire!!") }
    }

    /// That a member of a set or sorted set has a deadline, in a form of our own: in Redis only fields have them.
    private mutating func mixDeadline(of member: ByteView) -> Bool {
        var digest = DataDigest()
        digest.mix(member)
        digest.xor("!!expire!!")
        xor(digest)
        return true
    }

    /// Mixes the entries of a stream, each with its ID as `milliseconds.sequence`; its groups are not data.
    private mutating func mix(_ stream: KedisStore.Stream) {
        stream.forEach { entry in
            var id = "\(entry.id.milliseconds).\(entry.id.sequence)"
            id.withUTF8 { mix(ByteView(UnsafeRawBufferPointer($0))) }
            entry.forEach { field, value in
                mix(field)
                mix(value)
            }
            return true
        }
    }

    /// The number of a type in Redis.
    private static func number(of type: ValueType) -> UInt32 {
        switch type {
        case .string: 0
        case .list: 1
        case .set: 2
        case .sortedSet: 3
        case .hash: 4
        case .stream: 6
        }
    }

    /// The digest of all databases; all stripes are locked. O(data).
    static func ofAllData(_ keyspace: Keyspace, databaseCount: Int) -> DataDigest {
        var total = DataDigest()
        for index in 0..<databaseCount {
            let database = keyspace.selecting(index)
            guard database.count > 0 else { continue }
            var isEmpty = true
            database.forEachEntry { entry in
                // Keys that are due do not count, and neither does a database of them.
                if isEmpty { total.mix(number: UInt32(truncatingIfNeeded: index)) }
                isEmpty = false
                var digest = DataDigest()
                digest.mix(entry.key)
                digest.mix(entry)
                total.xor(digest)
            }
        }
        return total
    }
}

extension DebugCommand {
    static func digest(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let total = DataDigest.ofAllData(call.keyspace, databaseCount: call.engine.store.databaseCount)
        reply.simple(text: total.value.hexadecimal)
    }

    static func valueDigests(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        reply.array(call.arguments.count - 2)
        for index in 2..<call.arguments.count {
            var digest = DataDigest()
            if let entry = call.keyspace.peek(call.keyspace.key(call.arguments[index])) { digest.mix(entry) }
            reply.simple(text: digest.value.hexadecimal)
        }
    }
}
