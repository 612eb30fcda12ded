// Typed calls on string values. Source of their behaviour: the pages of the commands that they name.

import KedisProtocol

/// What SET does about the deadline of its key.
public enum KedisExpiry: Sendable, Equatable {
    /// The key lives until it is deleted.
    case never
    /// The key keeps the deadline that it has.
    case unchanged
    /// The key lives this long, counted in whole milliseconds; more than zero.
    case after(Duration)
    /// The key expires at this time, in milliseconds since 1970.
    case at(millisecondsSince1970: Int64)

    fileprivate var arguments: [[UInt8]] {
        switch self {
        case .never: []
        case .unchanged: [Array("KEEPTTL".utf8)]
        case .after(let duration): [Array("PX".utf8), duration.wholeMilliseconds.kedisBytes]
        case .at(let milliseconds): [Array("PXAT".utf8), milliseconds.kedisBytes]
        }
    }
}

/// When SET sets.
public enum KedisSetCondition: Sendable, Equatable {
    case always
    /// Only when the key does not exist.
    case ifAbsent
    /// Only when the key exists.
    case ifPresent

    fileprivate var arguments: [[UInt8]] {
        switch self {
        case .always: []
        case .ifAbsent: [Array("NX".utf8)]
        case .ifPresent: [Array("XX".utf8)]
        }
    }
}

extension KedisCommanding {
    /// Returns the value of `key`, or nil when it does not exist. (GET)
    ///
    /// - Throws: ``KedisError/command(_:)`` when the key holds no string, ``KedisError/unexpectedReply(_:)`` when its
    ///   bytes are no `Value` (for text: not UTF-8; read `as: [UInt8].self` then).
    /// - Complexity: O(1) plus copying the value
    public func get<Value: KedisValue>(
        _ key: some KedisValue, as type: Value.Type = String.self
    ) throws(KedisError) -> Value? {
        let key = key.kedisBytes
        return try value(reply(to: "GET", [key]), of: "GET", key: key, as: type)
    }

    /// Sets `key` to `value`, whatever it held. (SET)
    ///
    /// - Returns: false when `condition` forbade it.
    /// - Throws: ``KedisError/command(_:)`` for an expiry that is not in the future of 1970, or without memory.
    /// - Complexity: O(1) plus copying the value
    @discardableResult
    public func set(
        _ key: some KedisValue, to value: some KedisValue, expiry: KedisExpiry = .never,
        condition: KedisSetCondition = .always
    ) throws(KedisError) -> Bool {
        switch try reply(to: "SET", [key.kedisBytes, value.kedisBytes] + expiry.arguments + condition.arguments) {
        case .simple: return true
        case .null: return false
        default: throw unexpected("SET")
        }
    }

    /// Adds `amount` to the number at `key` (0 when it does not exist) and returns the sum. Atomic. (INCRBY)
    ///
    /// - Throws: ``KedisError/command(_:)`` when the value is no integer of 64 bits or would not be one any more.
    /// - Complexity: O(1)
    @discardableResult
    public func increment(_ key: some KedisValue, by amount: Int64 = 1) throws(KedisError) -> Int64 {
        try integer("INCRBY", [key.kedisBytes, amount.kedisBytes])
    }

    /// Returns the values of `keys` at one instant, nil for those that do not exist or hold no string. (MGET)
    ///
    /// - Complexity: O(number of keys)
    public func get<Value: KedisValue>(
        keys: [some KedisValue], as type: Value.Type = String.self
    ) throws(KedisError) -> [Value?] {
        guard !keys.isEmpty else { return [] }
        var values: [Value?] = []
        let names = keys.map { $0.kedisBytes }
        for (key, reply) in zip(names, try elements("MGET", names)) {
            values.append(try value(reply, of: "MGET", key: key, as: type))
        }
        return values
    }

    /// Sets all `pairs` at one instant: nobody sees only some of them. A key named twice gets its last value. (MSET)
    ///
    /// - Complexity: O(number of pairs)
    public func set(pairs: [(key: some KedisValue, value: some KedisValue)]) throws(KedisError) {
        guard !pairs.isEmpty else { return }
        _ = try reply(to: "MSET", pairs.flatMap { [$0.key.kedisBytes, $0.value.kedisBytes] })
    }
}

extension Duration {
    /// In milliseconds, rounded down; what does not fit 64 bits becomes the nearest that does.
    var wholeMilliseconds: Int64 {
        let (seconds, attoseconds) = components
        let (milliseconds, isTooLong) = seconds.multipliedReportingOverflow(by: 1000)
        let (sum, overflow) = milliseconds.addingReportingOverflow(attoseconds / 1_000_000_000_000_000)
        return isTooLong || overflow ? (seconds < 0 ? .min : .max) : sum
    }
}
