// String values: set, replace in place, resize.
//
// A value that fits the size class of the cell that is there is written in place; else the cell is replaced. From
// 16 KiB a value is a blob, and the cell keeps its address.

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
        guard value.count <= CellHeader.inlineByteCountMax else {
            let blob = try makeBlob(byteCount: value.count, capacity: value.count)
            blob.content.copyMemory(from: value.base, byteCount: value.count)
            return try putBlob(key, blob, deadline: deadline)
        }
        let cell = try put(key, valueFieldByteCount: value.count, encoding: encoding, deadline: deadline)
        cell.valueAddress.copyMemory(from: value.base, byteCount: value.count)
    }

    /// Sets `key` to an integer, whatever was there. O(1).
    package func setInteger(_ key: Key, _ value: Int64, deadline: DeadlineUpdate = .clear) throws(StoreError) {
        let cell = try put(key, valueFieldByteCount: MemoryLayout<Int64>.size, encoding: .integer, deadline: deadline)
        cell.integer = value
    }

    /// Makes a string of `byteCount` bytes at `key`, without a deadline, whatever was there, and returns its bytes,
    /// which are undefined and must all be written. They are valid until the keyspace is changed. O(1): a large value
    /// that has room is used again, so that writing a result time after time does not ask the system for its pages each
    /// time.
    package func makeString(_ key: Key, byteCount: Int) throws(StoreError) -> UnsafeMutableRawBufferPointer {
        guard byteCount > CellHeader.inlineByteCountMax else {
            let cell = try put(key, valueFieldByteCount: byteCount, encoding: .raw, deadline: .clear)
            return UnsafeMutableRawBufferPointer(start: cell.valueAddress, count: byteCount)
        }
        if let entry = write(key), entry.type == .string, let blob = entry.cell.valueBlob, blob.isUnique,
            blob.capacity >= byteCount, blob.capacity / 2 <= byteCount
        {
            try setDeadline(entry, noDeadline)
            blob.byteCount = byteCount
            return UnsafeMutableRawBufferPointer(start: blob.content, count: byteCount)
        }
        let blob = try makeBlob(byteCount: byteCount, capacity: byteCount)
        try putBlob(key, blob, deadline: .clear)
        return UnsafeMutableRawBufferPointer(start: blob.content, count: byteCount)
    }

    /// Overwrites the integer of an entry that was looked up for a write, and whose string is an integer. O(1).
    package func replaceInteger(_ entry: Entry, _ value: Int64) {
        assert(entry.encoding == .integer)
        entry.cell.integer = value
    }

    // MARK: Putting

    private func makeBlob(byteCount: Int, capacity: Int, isZeroed: Bool = false) throws(StoreError) -> Blob {
        guard
            let blob = Blob.make(
                byteCount: byteCount, capacity: capacity, isZeroed: isZeroed, from: shared.pointee.source)
        else { throw .outOfMemory }
        return blob
    }

    /// Sets `key` to a blob, which the cell takes over; without memory for the cell it is freed.
    private func putBlob(_ key: Key, _ blob: Blob, deadline: DeadlineUpdate) throws(StoreError) {
        do throws(StoreError) {
            let cell = try put(
                key, valueFieldByteCount: MemoryLayout<UInt>.size, encoding: .raw, isValueOutside: true,
                deadline: deadline)
            cell.valueAddress.storeBytes(of: blob.address, as: UnsafeMutableRawPointer.self)
            stripe(of: key).pointee.table(databaseIndex)?.pointee.noteBlob(blob.allocatedByteCount)
        } catch {
            shared.pointee.reclaimer.release(blob)
            throw error
        }
    }

    /// The cell of `key` with a value field of this size, uninitialised; the cell that is there is used where it fits.
    @inline(__always)
    func put(
        _ key: Key, type: ValueType = .string, valueFieldByteCount: Int, encoding: ValueEncoding,
        isValueOutside: Bool = false, deadline: DeadlineUpdate
    ) throws(StoreError) -> Cell {
        let stripe = stripe(of: key)
        guard let table = stripe.pointee.tableForWriting(databaseIndex) else { throw .outOfMemory }
        if let place = table.pointee.find(key, isForInsert: true) {
            return try replaceValue(
                at: place, hash: key.hash, in: table, of: stripe, type: type,
                valueFieldByteCount: valueFieldByteCount, encoding: encoding, isValueOutside: isValueOutside,
                deadline: deadline)
        }
        var newDeadline = noDeadline
        if case .set(let milliseconds) = deadline { newDeadline = milliseconds }
        guard
            let made = table.pointee.makeCell(
                key: key.bytes, type: type, encoding: encoding, valueFieldByteCount: valueFieldByteCount,
                isValueOutside: isValueOutside, hasDeadline: newDeadline != noDeadline,
                accessClock: newAccessClock)
        else { throw .outOfMemory }
        guard table.pointee.insert(made.reference, hash: key.hash) else {
            // The value's blob is its maker's as long as the cell is in no table.
            made.cell.header.isValueOutside = false
            table.pointee.discard(made.reference, to: shared.pointee.reclaimer)
            throw .outOfMemory
        }
        if newDeadline != noDeadline {
            made.cell.deadlineMilliseconds = newDeadline
            noteDeadline(newDeadline, before: noDeadline, hash: key.hash, in: table, of: stripe)
        }
        reportCreated(key)
        return made.cell
    }

    private func replaceValue(
        at found: Place, hash: UInt64, in table: UnsafeMutablePointer<Table>, of stripe: UnsafeMutablePointer<Stripe>,
        type: ValueType, valueFieldByteCount: Int, encoding: ValueEncoding, isValueOutside: Bool,
        deadline: DeadlineUpdate
    ) throws(StoreError) -> Cell {
        var place = found
        table.pointee.preserve(place.cell, hash: hash)
        let oldBlob = place.cell.valueBlob
        let oldCollection = place.cell.collection
        let wasDue = isDue(place.cell)
        let before = wasDue ? noDeadline : place.cell.deadlineMilliseconds
        let after: Int64
        switch deadline {
        case .keep: after = before
        case .clear: after = noDeadline
        case .set(let milliseconds): after = milliseconds
        }
        touch(place.cell, in: stripe)
        var header = place.cell.header
        header.type = type
        header.encoding = encoding
        header.valueFieldByteCount = valueFieldByteCount
        header.isValueOutside = isValueOutside
        header.hasDeadline = after != noDeadline
        header.hasMemberDeadlines = false
        guard table.pointee.reshape(&place, to: header, keepingValue: false) else { throw .outOfMemory }
        if let oldBlob { table.pointee.release(oldBlob, to: shared.pointee.reclaimer) }
        if let oldCollection { table.pointee.release(oldCollection, to: shared.pointee.reclaimer) }
        if wasDue {
            // The key that was overwritten was due: it expired here, and this is another one.
            store.note(.expired, databaseIndex, place.cell.key)
            if shared.pointee.reportsCreated, !isQuiet { store.note(.created, databaseIndex, place.cell.key) }
            stripe.pointee.statistics.expired &+= 1
            stripe.pointee.statistics.changes &+= 1
        }
        if after != noDeadline {
            place.cell.deadlineMilliseconds = after
            noteDeadline(after, before: before, hash: hash, in: table, of: stripe)
        }
        return place.cell
    }

    // MARK: Resizing

    /// Resizes the string at `key` to `byteCount` bytes (created empty when it is not there), old bytes kept and new
    /// ones zero, and returns its bytes for writing. They are valid until the keyspace is changed. Amortised O(1) plus
    /// the growth.
    package func resizeString(_ key: Key, to byteCount: Int) throws(StoreError) -> UnsafeMutableRawBufferPointer {
        let stripe = stripe(of: key)
        guard let table = stripe.pointee.tableForWriting(databaseIndex) else { throw .outOfMemory }
        guard write(key) != nil, var place = table.pointee.find(key) else {
            return try makeZeroString(key, byteCount)
        }
        let content: UnsafeMutableRawPointer
        let before: Int
        if byteCount > CellHeader.inlineByteCountMax {
            (content, before) = try resizeToBlob(&place, byteCount, in: table)
        } else {
            (content, before) = try resizeInCell(&place, byteCount, in: table)
        }
        if byteCount > before { memset(content + before, 0, byteCount - before) }
        return UnsafeMutableRawBufferPointer(start: content, count: byteCount)
    }

    private func makeZeroString(_ key: Key, _ byteCount: Int) throws(StoreError) -> UnsafeMutableRawBufferPointer {
        if byteCount > CellHeader.inlineByteCountMax {
            let blob = try makeBlob(byteCount: byteCount, capacity: byteCount, isZeroed: true)
            try putBlob(key, blob, deadline: .clear)
            return UnsafeMutableRawBufferPointer(start: blob.content, count: byteCount)
        }
        let cell = try put(key, valueFieldByteCount: byteCount, encoding: .raw, deadline: .clear)
        memset(cell.valueAddress, 0, byteCount)
        return UnsafeMutableRawBufferPointer(start: cell.valueAddress, count: byteCount)
    }

    /// Calls `body` with the bytes of a string, an integer's digits too.
    private func withBytes<Result>(of cell: Cell, _ body: (ByteView) -> Result) -> Result {
        guard cell.header.encoding == .integer else { return body(cell.value) }
        return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            guard let base = digits.baseAddress else { return body(.empty) }
            let count = formatInteger(cell.integer, into: base)
            return body(ByteView(base: base, count: count))
        }
    }

    /// The value as an unshared blob of `byteCount` bytes; returns its bytes and how many of them are set.
    private func resizeToBlob(
        _ place: inout Place, _ byteCount: Int, in table: UnsafeMutablePointer<Table>
    ) throws(StoreError) -> (UnsafeMutableRawPointer, Int) {
        // Room to spare, so that repeated appends stay linear: double up to 1 MiB, then by 1 MiB.
        let spare = min(byteCount, 1 << 20)
        if let blob = place.cell.valueBlob, blob.isUnique {
            let before = blob.byteCount
            let grown = try grow(blob, to: byteCount, capacity: byteCount + spare, in: table, at: place)
            grown.byteCount = byteCount
            return (grown.content, before)
        }
        let oldBlob = place.cell.valueBlob
        let made = try makeBlob(byteCount: byteCount, capacity: byteCount + spare, isZeroed: true)
        withBytes(of: place.cell) { bytes in
            made.content.copyMemory(from: bytes.base, byteCount: min(bytes.count, byteCount))
        }
        var header = place.cell.header
        header.valueFieldByteCount = MemoryLayout<UInt>.size
        header.isValueOutside = true
        header.encoding = .raw
        guard table.pointee.reshape(&place, to: header, keepingValue: false) else {
            shared.pointee.reclaimer.release(made)
            throw .outOfMemory
        }
        place.cell.valueAddress.storeBytes(of: made.address, as: UnsafeMutableRawPointer.self)
        if let oldBlob { table.pointee.release(oldBlob, to: shared.pointee.reclaimer) }
        table.pointee.noteBlob(made.allocatedByteCount)
        return (made.content, byteCount)
    }

    /// A blob of one holder with room for `byteCount`.
    private func grow(
        _ blob: Blob, to byteCount: Int, capacity: Int, in table: UnsafeMutablePointer<Table>, at place: Place
    ) throws(StoreError) -> Blob {
        guard byteCount > blob.capacity else { return blob }
        let before = blob.allocatedByteCount
        guard let grown = blob.resized(capacity: capacity, from: shared.pointee.source) else { throw .outOfMemory }
        place.cell.valueAddress.storeBytes(of: grown.address, as: UnsafeMutableRawPointer.self)
        table.pointee.noteBlob(-before)
        table.pointee.noteBlob(grown.allocatedByteCount)
        return grown
    }

    /// The value as `byteCount` bytes in the cell; returns them and how many of them are old.
    private func resizeInCell(
        _ place: inout Place, _ byteCount: Int, in table: UnsafeMutablePointer<Table>
    ) throws(StoreError) -> (UnsafeMutableRawPointer, Int) {
        var header = place.cell.header
        let isInteger = header.encoding == .integer
        header.encoding = .raw
        header.valueFieldByteCount = byteCount
        header.isValueOutside = false
        if let blob = place.cell.valueBlob {
            guard table.pointee.reshape(&place, to: header, keepingValue: false) else { throw .outOfMemory }
            let before = min(blob.byteCount, byteCount)
            place.cell.valueAddress.copyMemory(from: blob.content, byteCount: before)
            table.pointee.release(blob, to: shared.pointee.reclaimer)
            return (place.cell.valueAddress, before)
        }
        guard isInteger else {
            let before = min(place.cell.header.valueFieldByteCount, byteCount)
            guard table.pointee.reshape(&place, to: header, keepingValue: true) else { throw .outOfMemory }
            return (place.cell.valueAddress, before)
        }
        let value = place.cell.integer
        guard table.pointee.reshape(&place, to: header, keepingValue: false) else { throw .outOfMemory }
        let before = withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            guard let base = digits.baseAddress else { return 0 }
            let kept = min(formatInteger(value, into: base), byteCount)
            place.cell.valueAddress.copyMemory(from: base, byteCount: kept)
            return kept
        }
        return (place.cell.valueAddress, before)
    }
}
