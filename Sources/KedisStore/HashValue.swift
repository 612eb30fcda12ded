// Hashes as handlers read them: pairs of packed entries in the cell, or a table outside.
//
// A field that is due is not there, although it may still lie in the table until the background removes it.

package import KedisUtilities

/// A borrowed hash: valid while its stripe is locked and until the keyspace is changed.
package struct HashValue {
    private enum Form {
        case packed(SmallHash)
        case table(MemberTable)
    }

    private let form: Form
    private let nowMilliseconds: Int64

    @inline(__always)
    init(_ cell: Cell, nowMilliseconds: Int64) {
        if let collection = cell.collection {
            form = .table(MemberTable(collection.address))
        } else {
            form = .packed(SmallHash(cell.value))
        }
        self.nowMilliseconds = nowMilliseconds
    }

    /// How many fields there are. O(1); O(n) while fields that were due lie there.
    package var count: Int {
        switch form {
        case .packed(let hash): hash.fieldCount
        case .table(let table): table.liveCount(nowMilliseconds)
        }
    }

    /// The value of a field, or nil. O(1); in the cell O(fields).
    @inline(__always)
    package func value(of field: ByteView) -> StringValue? {
        switch form {
        case .packed(let hash): return hash.find(field)?.value
        case .table(let table):
            guard let element = table.find(field, table.hash(field)), !element.isDue(nowMilliseconds) else {
                return nil
            }
            return .bytes(element.value)
        }
    }

    package func contains(_ field: ByteView) -> Bool { value(of: field) != nil }

    /// When a field goes, in milliseconds since 1970, or ``noDeadline``; nil when there is no such field. O(1).
    package func deadlineMilliseconds(of field: ByteView) -> Int64? {
        switch form {
        case .packed(let hash): return hash.find(field).map { _ in noDeadline }
        case .table(let table):
            guard let element = table.find(field, table.hash(field)), !element.isDue(nowMilliseconds) else {
                return nil
            }
            return element.deadlineMilliseconds
        }
    }

    /// Calls `body` with every field and its value until it answers false. O(n).
    @inline(__always)
    package func forEach(_ body: (StringValue, StringValue) -> Bool) {
        forEachWithDeadline { field, value, _ in body(field, value) }
    }

    /// The same with deadlines. O(n).
    @inline(__always)
    package func forEachWithDeadline(_ body: (StringValue, StringValue, Int64) -> Bool) {
        switch form {
        case .packed(let hash): hash.forEach { body($0.field, $0.value, noDeadline) }
        case .table(let table):
            table.forEach { element in
                if element.hasDeadline, element.isDue(nowMilliseconds) { return true }
                return body(.bytes(element.member), .bytes(element.value), element.deadlineMilliseconds)
            }
        }
    }

    /// Calls `body` with the fields that have a deadline, and it, until it answers false. O(n).
    package func forEachDeadline(_ body: (ByteView, Int64) -> Bool) {
        guard case .table(let table) = form else { return }
        table.forEach { element in
            element.hasDeadline && !element.isDue(nowMilliseconds)
                ? body(element.member, element.deadlineMilliseconds) : true
        }
    }

    /// Calls `body` with about `limit` fields from a cursor on, 0 at first, and returns the next one, 0 at the end. A
    /// small hash is given at once.
    package func scan(from cursor: UInt64, limit: Int, _ body: (StringValue, StringValue) -> Void) -> UInt64 {
        switch form {
        case .packed:
            forEach { field, value in
                body(field, value)
                return true
            }
            return 0
        case .table(let table):
            return table.scan(from: cursor, limit: limit) { element in
                if !element.isDue(nowMilliseconds) { body(.bytes(element.member), .bytes(element.value)) }
            }
        }
    }

    /// Calls `body` with a field and its value, every field equally likely; not when all are due. O(1) as a rule; in
    /// the cell O(fields).
    package func random(using generator: inout RandomGenerator, _ body: (StringValue, StringValue) -> Void) {
        switch form {
        case .packed(let hash):
            let pair = hash.pair(at: generator.next(below: hash.fieldCount))
            body(pair.field, pair.value)
        case .table(let table):
            guard let place = table.randomLivePlace(using: &generator, nowMilliseconds) else { return }
            let element = table.element(place)
            body(.bytes(element.member), .bytes(element.value))
        }
    }

    /// Where a field lies that ``random(using:_:)`` gave, as a number that tells it from others.
    static func identity(_ field: StringValue) -> UInt {
        switch field {
        case .bytes(let bytes): UInt(bitPattern: bytes.base)
        case .integer(let integer): UInt(bitPattern: Int(integer))
        }
    }

    /// Calls `body` with `wanted` different fields, every choice equally likely; there are more than that. O(n), or
    /// O(wanted) of many.
    package func sample(
        _ wanted: Int, of count: Int, using generator: inout RandomGenerator,
        _ body: (StringValue, StringValue) -> Bool
    ) {
        guard case .table = form, wanted < count / 3 else {
            // One after the other, each with the chance of so many of the rest as are still wanted.
            var (left, rest) = (wanted, count)
            return forEach { field, value in
                if generator.next(below: rest) < left {
                    left -= 1
                    guard body(field, value) else { return false }
                }
                rest -= 1
                return left > 0
            }
        }
        var drawn = Set<UInt>()
        var isWanted = true
        while isWanted, drawn.count < wanted {
            random(using: &generator) { field, value in
                if drawn.insert(HashValue.identity(field)).inserted { isWanted = body(field, value) }
            }
        }
    }

    // MARK: For files

    /// How many packed entries it is, field and value in turn, and the bytes of their run; nil of a table.
    package var packedRun: (count: Int, byteCount: Int)? {
        guard case .packed(let hash) = form else { return nil }
        return (hash.entryCount, PackedEntry.completedByteCount(hash.run))
    }

    /// Writes the run of packed entries, if it is one, to memory of as many bytes as ``packedRun`` says.
    package func writePackedRun(to address: UnsafeMutableRawPointer) {
        guard case .packed(let hash) = form else { return }
        PackedEntry.complete(hash.run, to: address)
    }

    /// How many fields have a deadline. O(1).
    package var deadlineCount: Int {
        guard case .table(let table) = form else { return 0 }
        return table.deadlineCount
    }
}

extension Entry {
    /// The value of a hash, as it is at a time.
    @inline(__always)
    package func fields(nowMilliseconds: Int64) -> HashValue { HashValue(cell, nowMilliseconds: nowMilliseconds) }
}
