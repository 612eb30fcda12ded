// A set that is built beside the keyspace: the result of SINTERSTORE and its like, a set that is loaded, what SPOP
// leaves.
//
// Ownership: the builder owns its memory until `Keyspace.setSet` takes it. The stripe of the key that it will be put
// under is locked. Memory: a buffer for a small set, then a table, both fallible.

import KedisUtilities

package struct SetBuilder: ~Copyable {
    private let keyspace: Keyspace
    private let limits: SetLimits
    private var small: BufferBytes
    private var table: SetTable?

    /// Nil when memory is exhausted.
    package init?(for keyspace: Keyspace, limits: SetLimits) {
        guard let small = BufferBytes(encoding: .integerSet) else { return nil }
        self.keyspace = keyspace
        self.limits = limits
        self.small = small
    }

    deinit { table?.collection.release() }

    package var count: Int {
        if let table { return table.count }
        return small.bytes.isEmpty ? 0 : SmallSet.count(small.bytes, small.encoding)
    }

    package var isEmpty: Bool { count == 0 }

    /// What was built, not empty, until the next change.
    package var value: SetValue {
        SetValue(table.map { .table($0) } ?? SetValue.form(of: small.bytes, small.encoding))
    }

    var bytes: ByteView { small.bytes }

    var encoding: ValueEncoding { small.encoding }

    /// The table, when the set has become one: it is the caller's now.
    mutating func takeTable() -> SetTable? {
        defer { table = nil }
        return table
    }

    /// Adds a member; false when it is one already. O(1); while small O(members).
    package mutating func add(_ member: StringValue) throws(StoreError) -> Bool {
        if let table { return try add(member, to: table) }
        let value = packedValue(member)
        let outcome = small.bytes.isEmpty ? begin(value) : SmallSet.add(value, to: &small, limits)
        switch outcome {
        case .done: return true
        case .unchanged: return false
        case .outOfMemory: throw .outOfMemory
        case .full: return try add(value, to: try moveToTable())
        }
    }

    private mutating func begin(_ value: StringValue) -> SmallSetChange {
        guard let beginning = SmallSet.beginning(value, limits) else { return .full }
        guard let base = small.splice(at: 0, removing: 0, inserting: beginning.byteCount) else { return .outOfMemory }
        small.encoding = beginning.encoding
        SmallSet.begin(value, beginning.encoding, at: base)
        return .done
    }

    private func add(_ member: StringValue, to table: SetTable) throws(StoreError) -> Bool {
        guard let isNew = member.withBytes({ table.add($0, hash: table.hash(of: $0)) }) else { throw .outOfMemory }
        return isNew
    }

    private mutating func moveToTable() throws(StoreError) -> SetTable {
        guard let made = SetTable.make(in: keyspace) else { throw .outOfMemory }
        guard small.bytes.isEmpty || made.addAll(of: value) else {
            made.collection.release()
            throw .outOfMemory
        }
        table = made
        return made
    }

    /// Removes a member if it is one. O(1); while small O(members).
    package mutating func remove(_ member: StringValue) {
        if let table { return member.withBytes { _ = table.remove($0, hash: table.hash(of: $0)) } }
        guard !small.bytes.isEmpty else { return }
        guard let found = SmallSet.find(packedValue(member), in: small.bytes, small.encoding) else { return }
        if SmallSet.count(small.bytes, small.encoding) == 1 {
            _ = small.splice(at: 0, removing: small.bytes.count, inserting: 0)
            small.encoding = .integerSet
        } else {
            _ = SmallSet.remove(found, from: &small)
        }
    }
}
