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
        var place: [KeyInspection.Fact] = []
        func add(_ name: String, _ value: String) { place.append(KeyInspection.Fact(name: name, value: value)) }
        add("hash", hexadecimal(key.hash))
        add("stripe", "\(key.stripeIndex) of \(Store.stripeCount)")
        add("database", "\(databaseIndex)")
        // First: a key that is due goes now, as it would before any command.
        let entry = peek(key)
        guard let table = stripe.pointee.table(databaseIndex), let directory = table.pointee.directory else {
            add("table", "none yet")
            return KeyInspection(place: place, entry: nil)
        }
        let segment = table.pointee.segment(of: key.hash, in: directory)
        let index = table.pointee.directoryIndex(key.hash)
        let keys = counted(table.pointee.count, "key")
        add("table", "\(keys) in \(counted(table.pointee.segmentCount, "segment")) of \(Segment.slotCount) slots")
        add("segment", "entry \(index) of \(1 << table.pointee.depth) in the directory, depth \(segment.depth)")
        let home = segment.home(of: key.hash)
        add("home bucket", "\(home) of \(Segment.homeCount)")
        add("tag", String(hexadecimal(key.hash).suffix(2)))
        let found = table.pointee.find(key)
        add("bucket \(home)", segment.bucket(home).drawing(marking: found))
        let neighbour = segment.neighbour(ofHome: home)
        add("bucket \(neighbour.index)", neighbour.drawing(marking: found))
        if let found, found.bucket.index >= Segment.homeCount {
            add("bucket \(found.bucket.index)", found.bucket.drawing(marking: found))
        }
        guard let entry, let found else {
            add("slot", "none")
            return KeyInspection(place: place, entry: nil)
        }
        add("slot", segment.description(of: found, home: home))
        let reference = hexadecimal(UInt64(found.reference)).suffix(8)
        add("cell", "reference 0x\(reference), slab \(Arena.slab(of: found.reference)) of the stripe's arena")
        return KeyInspection(place: place, entry: entry.inspect())
    }
}

extension Bucket {
    /// The tags of the 12 slots, `·` for a free one, the marked place in brackets, and what the meta says besides.
    fileprivate func drawing(marking place: Place?) -> String {
        var slots: [String] = []
        for slot in 0..<Bucket.slotCount {
            let bit: UInt32 = 1 << UInt32(slot)
            guard taken & bit != 0 else {
                slots.append("  · ")
                continue
            }
            let tag = String(hexadecimal(UInt64(tag(slot))).suffix(2))
            let isMarked = place?.bucket.address == address && place?.slot == slot
            slots.append(isMarked ? "[\(tag)]" : " \(tag) ")
        }
        var text = slots.joined()
        let displacedCount = displaced.nonzeroBitCount
        if displacedCount > 0 { text += "│ \(displacedCount) of the home before" }
        if overflowCount > 0 { text += "│ \(overflowCount) in the stash" }
        return text
    }
}

extension Segment {
    fileprivate func description(of place: Place, home: Int) -> String {
        if place.bucket.address == bucket(home).address { return "\(place.slot) of the home bucket" }
        if place.bucket.address == neighbour(ofHome: home).address { return "\(place.slot) of the neighbour" }
        return "\(place.slot) of a bucket of the stash"
    }
}

extension Entry {
    fileprivate func inspect() -> EntryInspection {
        let header = cell.header
        var fields: [EntryInspection.Field] = []
        func add(_ name: String, _ offset: Int, _ byteCount: Int, _ meaning: String) {
            let shown = UnsafeRawBufferPointer(start: cell.address + offset, count: min(32, byteCount))
            fields.append(
                EntryInspection.Field(
                    name: name, offset: offset, byteCount: byteCount, bytes: [UInt8](shown), meaning: meaning)
            )
        }
        var parts = ["\(type.name)", "\(encoding.name)", "access clock \(header.accessClock)"]
        parts.append("key \(counted(header.keyFieldByteCount, "byte"))")
        parts.append("value \(counted(header.valueFieldByteCount, "byte"))")
        if header.hasDeadline { parts.append("a deadline") }
        if header.hasMemberDeadlines { parts.append("\(counted(memberDeadlineCount, "member")) with a deadline") }
        add("header", 0, CellHeader.byteCount, parts.joined(separator: ", "))
        if header.hasDeadline { add("deadline", CellHeader.byteCount, 8, "\(deadlineMilliseconds) ms since 1970") }
        let isOutside = { (blob: Blob?) in blob.map { "outside, \(counted($0.byteCount, "byte"))" } }
        add("key", header.keyOffset, header.keyFieldByteCount, isOutside(cell.keyBlob) ?? "")
        let meaning =
            switch type {
            case .string: encoding == .integer ? "\(cell.integer) as Int64" : isOutside(cell.valueBlob) ?? ""
            case .list:
                counted(list.count, "element")
                    + (cell.deque == nil ? " behind their number" : " outside, in \(counted(list.runCount, "run"))")
            case .set:
                counted(set(nowMilliseconds: .min).count, "member") + (cell.collection == nil ? "" : " outside")
            case .hash:
                counted(self.fields(nowMilliseconds: .min).count, "field")
                    + (cell.collection == nil ? " behind the number of entries" : " outside, in blocks")
            case .stream:
                "outside, \(counted(stream.count, "entry", "entries")) in \(counted(stream.nodeCount, "node"))"
            case .sortedSet: cell.collection == nil ? "" : "outside"
            }
        add("value", header.valueOffset, header.valueFieldByteCount, meaning)
        let used = header.valueOffset + header.valueFieldByteCount
        let cellByteCount = SizeClass.rounded(units: header.units) * SizeClass.unitByteCount
        if cellByteCount > used { add("rest", used, cellByteCount - used, "rounded up to the size class") }
        return EntryInspection(
            type: "\(type.name)", encoding: "\(encoding.name)", allocatedByteCount: allocatedByteCount, fields: fields
        )
    }
}

/// A count with its noun, `1 key` or `2 keys`.
private func counted(_ count: Int, _ noun: String, _ plural: String? = nil) -> String {
    "\(count) \(count == 1 ? noun : plural ?? "\(noun)s")"
}

/// Sixteen hexadecimal digits.
private func hexadecimal(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return "0x" + String(repeating: "0", count: 16 - digits.count) + digits
}
