// What EXPLAIN shows of the store: where a key lives or would live, and the bytes of its entry, field by field.
//
// The shapes are those of any table and any layout: named facts and labelled byte ranges.

import KedisUtilities

/// Where a key lives or would live, and its entry when it is there.
package struct KeyInspection: Sendable {
    /// Named facts about the place, in the order in which a lookup goes: stripe, table, home slot …
    package var place: [Fact]
    /// The entry's memory, or nil when the key is not there.
    package var entry: EntryInspection?

    package struct Fact: Sendable {
        package var name: String
        package var value: String
    }
}

/// The memory of one entry.
package struct EntryInspection: Sendable {
    package var type: String
    package var encoding: String
    /// The bytes that it takes from the allocator.
    package var allocatedByteCount: Int
    package var fields: [Field]

    package struct Field: Sendable {
        package var name: String
        /// From the start of the entry.
        package var offset: Int
        package var byteCount: Int
        /// The first bytes, at most 32.
        package var bytes: [UInt8]
        /// What the bytes mean.
        package var meaning: String
    }
}

extension Keyspace {
    /// Describes the place and the entry of `key`, whose stripe is locked, without a trace. Allocates: for EXPLAIN
    /// only.
    package func inspect(_ key: Key) -> KeyInspection {
        let stripe = stripe(of: key)
        var place = [
            KeyInspection.Fact(name: "hash", value: hexadecimal(key.hash)),
            KeyInspection.Fact(name: "stripe", value: "\(key.stripeIndex) of \(Store.stripeCount)"),
            KeyInspection.Fact(name: "database", value: "\(databaseIndex)"),
        ]
        guard let table = stripe.pointee.table(databaseIndex), table.pointee.slotCount > 0 else {
            place.append(KeyInspection.Fact(name: "table", value: "none yet"))
            return KeyInspection(place: place, entry: nil)
        }
        let home = table.pointee.home(of: key.hash)
        let size = "\(counted(table.pointee.count, "key")) in \(table.pointee.slotCount) slots"
        place.append(KeyInspection.Fact(name: "table", value: size))
        place.append(KeyInspection.Fact(name: "home slot", value: "\(home)"))
        guard let entry = peek(key), let index = table.pointee.find(key) else {
            place.append(KeyInspection.Fact(name: "slot", value: "empty"))
            return KeyInspection(place: place, entry: nil)
        }
        let distance = (index - home) & table.pointee.mask
        let found = distance == 0 ? "at home" : "\(distance) from home"
        place.append(KeyInspection.Fact(name: "slot", value: "\(index) (\(found))"))
        return KeyInspection(place: place, entry: entry.inspect())
    }
}

extension Entry {
    fileprivate func inspect() -> EntryInspection {
        let header = cell.header.pointee
        var fields: [EntryInspection.Field] = []
        func add(_ name: String, _ offset: Int, _ byteCount: Int, _ meaning: String) {
            let shown = UnsafeRawBufferPointer(start: cell.address + offset, count: min(32, byteCount))
            fields.append(
                EntryInspection.Field(
                    name: name, offset: offset, byteCount: byteCount, bytes: [UInt8](shown), meaning: meaning)
            )
        }
        add("key length", 0, 4, counted(Int(header.keyByteCount), "byte"))
        add("type", 4, 1, "\(type.name)")
        add("encoding", 5, 1, "\(encoding.name)")
        add("frequency", 6, 1, "\(header.frequency)")
        add("reserved", 7, 1, "")
        add("accessed", 8, 8, "\(header.accessedSeconds) s since 1970")
        add("value length", 16, 8, counted(Int(header.valueByteCount), "byte"))
        add("deadline", 24, 8, deadlineMilliseconds == noDeadline ? "none" : "\(deadlineMilliseconds) ms since 1970")
        add("key", CellHeader.byteCount, cell.keyByteCount, "")
        let value = CellHeader.byteCount + cell.keyByteCount
        add("value", value, header.valueByteCount, encoding == .integer ? "\(cell.integer) as Int64" : "")
        return EntryInspection(
            type: "\(type.name)", encoding: "\(encoding.name)", allocatedByteCount: allocatedByteCount, fields: fields
        )
    }
}

/// A count with its noun, `1 key` or `2 keys`.
private func counted(_ count: Int, _ noun: String) -> String {
    "\(count) \(noun)\(count == 1 ? "" : "s")"
}

/// Sixteen hexadecimal digits.
private func hexadecimal(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return "0x" + String(repeating: "0", count: 16 - digits.count) + digits
}
