// Which keys go when memory is short, and how accesses are recorded for that.

/// The policies of `maxmemory-policy`.
package enum EvictionPolicy: UInt8, Sendable, CaseIterable {
    case noEviction
    case allKeysLRU
    case allKeysLFU
    case allKeysRandom
    case volatileLRU
    case volatileLFU
    case volatileRandom
    case volatileTTL

    /// The name that `maxmemory-policy` uses.
    package var name: String {
        switch self {
        case .noEviction: "noeviction"
        case .allKeysLRU: "allkeys-lru"
        case .allKeysLFU: "allkeys-lfu"
        case .allKeysRandom: "allkeys-random"
        case .volatileLRU: "volatile-lru"
        case .volatileLFU: "volatile-lfu"
        case .volatileRandom: "volatile-random"
        case .volatileTTL: "volatile-ttl"
        }
    }

    package init?(name: String) {
        guard let policy = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = policy
    }

    /// Whether only keys with a deadline are candidates.
    package var isVolatile: Bool {
        switch self {
        case .volatileLRU, .volatileLFU, .volatileRandom, .volatileTTL: true
        case .noEviction, .allKeysLRU, .allKeysLFU, .allKeysRandom: false
        }
    }

    /// Whether cells count how often they are used, instead of when they were used last.
    package var countsFrequency: Bool { self == .allKeysLFU || self == .volatileLFU }
}

/// How cells record accesses. One setting for the store.
package struct AccessTracking: Equatable, Sendable {
    /// Count how often a key is used (LFU) instead of noting when it was used last (LRU).
    package var countsFrequency = false
    /// `lfu-log-factor`: the higher, the more accesses a step of the counter takes.
    package var logFactor = 10
    /// `lfu-decay-time`: the minutes without access after which the counter loses a step; 0 for never.
    package var decayMinutes = 1

    package init() {}
}
