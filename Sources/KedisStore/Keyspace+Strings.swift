// String values: set, replace in place, resize.

package import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

extension Keyspace {
    /// Sets `key` to `value`, whatever was there. A decimal Int64 is kept as an integer. O(1) plus copying the value.
    package func setString(_ key: Key, _ value: ByteView, deadline: DeadlineUpdate = .clear) throws(StoreError) {
        if value.count <= 20, let integer = parseInteger(value) {
            return try setInteger(key, integer, deadline: deadline)
        }
        try setText(key, value, deadline: deadline)
    }

    /// Sets `key` to `value` as bytes, even when it is an integer: INCRBYFLOAT leaves text. O(1) plus copying the
    /// value.
    package func setText(_ key: Key, _ value: ByteView, deadline: DeadlineUpdate = .clear) throws(StoreError) {
        let encoding: ValueEncoding = value.count <= ValueEncoding.embeddedByteCountMax ? .embedded : .raw
        let cell = try put(key, valueByteCount: value.count, encoding: encoding, deadline: deadline)
        cell.valueAddress.copyMemory(from: value.base, byteCount: value.count)
    }

    /// Sets `key` to an integer, whatever was there. O(1).
    package func setInteger(_ key: Key, _ value: Int64, deadline: DeadlineUpdate = .clear) throws(StoreError) {
        let cell = try put(key, valueByteCount: MemoryLayout<Int64>.size, encoding: .integer, deadline: deadline)
        cell.integer = value
    }

    /// Overwrites the integer of an entry whose string is an integer. O(1).
    package func replaceInteger(_ entry: Entry, _ value: Int64) {
        assert(entry.encoding == .integer)
        entry.cell.integer = value
    }

    /// Resizes the string at `key` to `byteCount` bytes (created empty when it is not there), old bytes kept and new
    /// ones zero, and returns its bytes for writing. They are valid until the keyspace is changed. Amortised O(1) plus
    /// the growth.
    package func resizeString(_ key: Key, to byteCount: Int) throws(StoreError) -> UnsafeMutableRawBufferPointer {
        let stripe = stripe(of: key)
        let table = stripe.pointee.tableForWriting(databaseIndex)
        guard let entry = write(key), let index = table.pointee.find(key) else {
            let cell = try put(key, valueByteCount: byteCount, encoding: .raw, deadline: .clear)
            memset(cell.valueAddress, 0, byteCount)
            return UnsafeMutableRawBufferPointer(start: cell.valueAddress, count: byteCount)
        }
        var cell = entry.cell
        if cell.encoding == .integer { cell = try spellOut(cell, at: index, in: table) }
        let before = cell.header.pointee.valueByteCount
        cell = try grow(cell, at: index, in: table, to: byteCount)
        cell.header.pointee.encoding = ValueEncoding.raw.rawValue
        if byteCount > before { memset(cell.valueAddress + before, 0, byteCount - before) }
        return UnsafeMutableRawBufferPointer(start: cell.valueAddress, count: byteCount)
    }

    /// The cell of `key` with room for `valueByteCount` bytes, uninitialised; the old one is reused where it fits.
    @inline(__always)
    private func put(
        _ key: Key, valueByteCount: Int, encoding: ValueEncoding, deadline: DeadlineUpdate
    ) throws(StoreError) -> Cell {
        let stripe = stripe(of: key)
        let table = stripe.pointee.tableForWriting(databaseIndex)
        let cell: Cell
        if let index = table.pointee.find(key) {
            cell = try reuse(at: index, in: table, of: stripe, valueByteCount: valueByteCount, encoding: encoding)
        } else {
            guard
                let made = Cell.make(key: key.bytes, valueByteCount: valueByteCount, type: .string, encoding: encoding)
            else {
                throw .outOfMemory
            }
            guard table.pointee.insert(made, hash: key.hash) else {
                made.deallocate()
                throw .outOfMemory
            }
            cell = made
        }
        cell.header.pointee.accessedSeconds = UInt64(truncatingIfNeeded: nowMilliseconds / 1000)
        switch deadline {
        case .keep: break
        case .clear: arm(cell, hash: key.hash, noDeadline, in: table, of: stripe)
        case .set(let milliseconds): arm(cell, hash: key.hash, milliseconds, in: table, of: stripe)
        }
        return cell
    }

    private func reuse(
        at index: Int, in table: UnsafeMutablePointer<Table>, of stripe: UnsafeMutablePointer<Stripe>,
        valueByteCount: Int, encoding: ValueEncoding
    ) throws(StoreError) -> Cell {
        var cell = table.pointee.cell(at: index)
        let deadline = cell.header.pointee.deadlineMilliseconds
        if deadline != noDeadline, deadline <= nowMilliseconds {
            // The key that is overwritten was due: it expires here, and `keep` must not keep its deadline.
            store.expiryObserver?(databaseIndex, cell.key)
            stripe.pointee.statistics.expired &+= 1
            arm(cell, hash: table.pointee.slots.unsafelyUnwrapped[index].hash, noDeadline, in: table, of: stripe)
        }
        if cell.header.pointee.valueByteCount != valueByteCount {
            cell = try resize(cell, at: index, in: table, to: valueByteCount, capacityByteCount: valueByteCount)
        }
        cell.header.pointee.type = ValueType.string.rawValue
        cell.header.pointee.encoding = encoding.rawValue
        return cell
    }

    /// Turns an integer into its digits.
    private func spellOut(_ cell: Cell, at index: Int, in table: UnsafeMutablePointer<Table>) throws(StoreError) -> Cell
    {
        let value = cell.integer
        let byteCount = decimalDigitCount(value)
        let resized = try resize(cell, at: index, in: table, to: byteCount, capacityByteCount: 20)
        _ = formatInteger(value, into: resized.valueAddress.assumingMemoryBound(to: UInt8.self))
        // At once: when growing fails next, what is left must be the digits and not an integer of their bytes.
        resized.header.pointee.encoding = ValueEncoding.raw.rawValue
        return resized
    }

    /// Grows a value with room to spare, so that repeated appends stay linear: double up to 1 MiB, then by 1 MiB.
    private func grow(
        _ cell: Cell, at index: Int, in table: UnsafeMutablePointer<Table>, to byteCount: Int
    ) throws(StoreError) -> Cell {
        let spare = min(byteCount, 1 << 20)
        let needed = CellHeader.byteCount + cell.keyByteCount + byteCount
        if cell.allocatedByteCount >= needed {
            cell.header.pointee.valueByteCount = byteCount
            return cell
        }
        return try resize(cell, at: index, in: table, to: byteCount, capacityByteCount: byteCount + spare)
    }

    private func resize(
        _ cell: Cell, at index: Int, in table: UnsafeMutablePointer<Table>, to byteCount: Int, capacityByteCount: Int
    ) throws(StoreError) -> Cell {
        let before = cell.allocatedByteCount
        guard let moved = cell.resized(to: byteCount, capacityByteCount: capacityByteCount) else { throw .outOfMemory }
        table.pointee.slots.unsafelyUnwrapped[index].cell = moved.address
        table.pointee.cellByteCount += moved.allocatedByteCount - before
        return moved
    }
}
