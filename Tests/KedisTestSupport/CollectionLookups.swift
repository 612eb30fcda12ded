// Lookups of hashes and sets for a change, as values that tests can match.

package import KedisStore

/// What a lookup for a change of a hash finds.
package enum HashLookup {
    case none
    case wrongType
    case hash(HashEditor)
}

/// What a lookup for a change of a set finds.
package enum SetLookup {
    case none
    case wrongType
    case set(SetEditor)
}

extension Keyspace {
    package func editHash(_ key: Key, limits: HashLimits) -> HashLookup {
        var editor: HashEditor?
        guard editHash(key, limits: limits, &editor) else { return .wrongType }
        return editor.map { .hash($0) } ?? .none
    }

    package func editSet(_ key: Key, limits: SetLimits) -> SetLookup {
        var editor: SetEditor?
        guard editSet(key, limits: limits, &editor) else { return .wrongType }
        return editor.map { .set($0) } ?? .none
    }
}
