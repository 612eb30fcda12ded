// What a key takes, for those who look for big ones: without a trace, and without removing what is due.

/// The size of an entry.
package struct EntryMeasure: Sendable {
    package let type: ValueType
    /// As MEMORY USAGE counts.
    package let byteCount: Int
    /// Elements, members, fields or entries; of a string the bytes.
    package let elementCount: Int

    init(_ entry: Entry) {
        type = entry.type
        byteCount = entry.memoryByteCount
        elementCount =
            switch entry.type {
            case .string: entry.string.byteCount
            case .list: entry.list.count
            case .set: entry.set(nowMilliseconds: .min).count
            case .hash: entry.fields(nowMilliseconds: .min).count
            case .sortedSet: entry.sortedSet.count
            case .stream: entry.stream.count
            }
    }
}

extension Keyspace {
    /// Measures the entry of `key`, whose stripe is locked; nil when there is none. O(1).
    package func measure(_ key: Key) -> EntryMeasure? {
        guard let table = stripe(of: key).pointee.table(databaseIndex), let place = table.pointee.find(key),
            isLive(place.cell)
        else { return nil }
        return EntryMeasure(Entry(cell: place.cell, hash: key.hash))
    }
}

extension Store {
    /// The same; locks the key's stripe unless it is in `held`.
    package func measure(
        _ key: Key, databaseIndex: Int, nowMilliseconds: Int64, held: StripeSet = StripeSet()
    ) -> EntryMeasure? {
        var result: EntryMeasure?
        var locked = held
        locked.insert(key.stripeIndex)
        withStripe(key.stripeIndex, held: held) { _ in
            result = keyspace(databaseIndex, nowMilliseconds: nowMilliseconds, held: locked).measure(key)
        }
        return result
    }
}
