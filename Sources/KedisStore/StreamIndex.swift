// Records sorted by ID in two levels: the nodes of a stream, and what is pending in a group or at a consumer.
//
//      directory   ┌───────┬─────────┬─────────┬─────────┬───────┐
//                  │ free  │ chunk   │ chunk   │ chunk   │ free  │   addresses, 8 bytes each; free at both ends
//                  └───────┴────┬────┴─────────┴─────────┴───────┘
//                               ▼
//      chunk       ┌─────────────────┬────────────┬────────────┬─ … ─┐
//                  │ count, capacity │ ID, rest   │ ID, rest   │     │   4 to 128 records of `stride` bytes
//                  └─────────────────┴────────────┴────────────┴─────┘
//
// IDs mostly grow: a record at the end goes into the last chunk or a new one, and the first chunk goes by moving the
// directory's start. One in the middle splits a full chunk; chunks that are thin together become one.
//
// Ownership: a part of a stream, a group or a consumer, which releases it. Guarded by the stripe's lock.
// Cost: a search O(log n); the end O(1); a change in the middle moves at most a chunk, of 128 records, and now and then
// the directory, 8 bytes for each 128 records at worst. Memory: stride, less than 1 byte a record beside.

import KedisUtilities

struct StreamIndex {
    private static let chunkHeaderByteCount = 8
    static let chunkRecordCountMax = 128
    private static let chunkRecordCountMin = 4

    private var directory: UnsafeMutablePointer<UnsafeMutableRawPointer>?
    private var directoryCapacity = 0
    private var firstChunk = 0
    private(set) var chunkCount = 0
    private(set) var count = 0
    /// Of a record: its ID and what follows, a multiple of 8.
    let stride: Int

    init(stride: Int) { self.stride = stride }

    /// Where a record is, or would be.
    struct Position {
        var chunk: Int
        var record: Int
    }

    // MARK: Chunks

    private func chunk(_ index: Int) -> UnsafeMutableRawPointer {
        assert(index >= 0 && index < chunkCount)
        return directory.unsafelyUnwrapped[firstChunk &+ index]
    }

    private func recordCount(_ chunk: UnsafeMutableRawPointer) -> Int { Int(chunk.load(as: UInt32.self)) }

    private func setRecordCount(_ chunk: UnsafeMutableRawPointer, _ count: Int) {
        chunk.storeBytes(of: UInt32(truncatingIfNeeded: count), as: UInt32.self)
    }

    private func capacity(_ chunk: UnsafeMutableRawPointer) -> Int {
        Int(chunk.load(fromByteOffset: 4, as: UInt32.self))
    }

    private func byteCount(capacity: Int) -> Int { StreamIndex.chunkHeaderByteCount + capacity * stride }

    @inline(__always)
    private func record(_ chunk: UnsafeMutableRawPointer, _ index: Int) -> UnsafeMutableRawPointer {
        chunk + (StreamIndex.chunkHeaderByteCount &+ index &* stride)
    }

    @inline(__always)
    private func id(_ chunk: UnsafeMutableRawPointer, _ index: Int) -> StreamID {
        record(chunk, index).load(as: StreamID.self)
    }

    // MARK: Reading

    var isEmpty: Bool { count == 0 }

    var start: Position { Position(chunk: 0, record: 0) }

    /// Whether there is a record at the position.
    func isValid(_ position: Position) -> Bool { position.chunk >= 0 && position.chunk < chunkCount }

    /// The address of a record, whose first 16 bytes are its ID: valid until records come or go.
    func record(at position: Position) -> UnsafeMutableRawPointer {
        record(chunk(position.chunk), position.record)
    }

    func id(at position: Position) -> StreamID { record(at: position).load(as: StreamID.self) }

    func position(after position: Position) -> Position {
        if position.record + 1 < recordCount(chunk(position.chunk)) {
            return Position(chunk: position.chunk, record: position.record + 1)
        }
        return Position(chunk: position.chunk + 1, record: 0)
    }

    /// The one before; not valid before the first.
    func position(before position: Position) -> Position {
        if position.record > 0 { return Position(chunk: position.chunk, record: position.record - 1) }
        guard position.chunk > 0 else { return Position(chunk: -1, record: 0) }
        return Position(chunk: position.chunk - 1, record: recordCount(chunk(position.chunk - 1)) - 1)
    }

    var end: Position { Position(chunk: chunkCount, record: 0) }

    /// The last record; not valid when there is none.
    var lastPosition: Position { position(before: end) }

    /// The first record whose ID is at least `wanted`, or the end. O(log n), O(1) at both ends.
    func lowerBound(_ wanted: StreamID) -> Position {
        guard chunkCount > 0, id(at: lastPosition) >= wanted else { return end }
        if id(chunk(0), 0) >= wanted { return start }
        // The last chunk whose first ID is below: what is wanted is in it, or is the first of the next.
        var (low, high) = (0, chunkCount - 1)
        while low < high {
            let middle = (low + high + 1) / 2
            if id(chunk(middle), 0) < wanted { low = middle } else { high = middle - 1 }
        }
        let found = chunk(low)
        var (first, last) = (1, recordCount(found))
        while first < last {
            let middle = (first + last) / 2
            if id(found, middle) < wanted { first = middle + 1 } else { last = middle }
        }
        return first < recordCount(found)
            ? Position(chunk: low, record: first) : Position(chunk: low + 1, record: 0)
    }

    /// The record with this ID; nil when there is none.
    func find(_ wanted: StreamID) -> Position? {
        let position = lowerBound(wanted)
        return isValid(position) && id(at: position) == wanted ? position : nil
    }

    /// The last record whose ID is at most `wanted`; not valid when there is none.
    func floor(_ wanted: StreamID) -> Position {
        let position = lowerBound(wanted)
        return isValid(position) && id(at: position) == wanted ? position : self.position(before: position)
    }

    // MARK: Insertion

    /// Makes room for a record with an ID that is not there, writes the ID, and returns the address of the record, the
    /// rest of which is undefined; nil when memory is exhausted.
    mutating func insert(_ newID: StreamID, _ memory: StreamMemory) -> UnsafeMutableRawPointer? {
        var position = end
        if chunkCount > 0 {
            if id(at: lastPosition) < newID {
                position = Position(chunk: chunkCount - 1, record: recordCount(chunk(chunkCount - 1)))
            } else {
                position = lowerBound(newID)
                assert(id(at: position) != newID)
            }
        }
        guard let place = makeRoom(at: position, memory) else { return nil }
        place.storeBytes(of: newID, as: StreamID.self)
        count += 1
        return place
    }

    private mutating func makeRoom(at position: Position, _ memory: StreamMemory) -> UnsafeMutableRawPointer? {
        guard position.chunk < chunkCount else { return makeChunk(at: position.chunk, isFirst: true, memory) }
        var old = chunk(position.chunk)
        let used = recordCount(old)
        if used == capacity(old) {
            if used == StreamIndex.chunkRecordCountMax {
                guard position.record == used, position.chunk == chunkCount - 1 else {
                    return split(at: position, memory)
                }
                return makeChunk(at: chunkCount, isFirst: false, memory)
            }
            let grown = min(2 * used, StreamIndex.chunkRecordCountMax)
            guard let moved = memory.resize(old, from: byteCount(capacity: used), to: byteCount(capacity: grown))
            else { return nil }
            moved.storeBytes(of: UInt32(grown), toByteOffset: 4, as: UInt32.self)
            directory.unsafelyUnwrapped[firstChunk + position.chunk] = moved
            old = moved
        }
        let place = record(old, position.record)
        (place + stride).copyMemory(from: place, byteCount: (used - position.record) * stride)
        setRecordCount(old, used + 1)
        return place
    }

    /// A new chunk with one record; returns that record's address.
    private mutating func makeChunk(
        at index: Int, isFirst: Bool, _ memory: StreamMemory
    ) -> UnsafeMutableRawPointer? {
        let capacity = isFirst ? StreamIndex.chunkRecordCountMin : StreamIndex.chunkRecordCountMax
        guard reserveSlot(memory), let made = memory.allocate(byteCount(capacity: capacity)) else { return nil }
        made.storeBytes(of: 1, as: UInt32.self)
        made.storeBytes(of: UInt32(capacity), toByteOffset: 4, as: UInt32.self)
        insertSlot(made, at: index)
        return record(made, 0)
    }

    /// Moves the upper half of a full chunk to a new one and makes room in the half that `position` is in.
    private mutating func split(at position: Position, _ memory: StreamMemory) -> UnsafeMutableRawPointer? {
        let half = StreamIndex.chunkRecordCountMax / 2
        let full = chunk(position.chunk)
        let capacity = StreamIndex.chunkRecordCountMax
        guard reserveSlot(memory), let upper = memory.allocate(byteCount(capacity: capacity)) else { return nil }
        upper.storeBytes(of: UInt32(capacity - half), as: UInt32.self)
        upper.storeBytes(of: UInt32(capacity), toByteOffset: 4, as: UInt32.self)
        record(upper, 0).copyMemory(from: record(full, half), byteCount: (capacity - half) * stride)
        setRecordCount(full, half)
        insertSlot(upper, at: position.chunk + 1)
        let isUpper = position.record > half
        return makeRoom(
            at: Position(
                chunk: isUpper ? position.chunk + 1 : position.chunk, record: position.record - (isUpper ? half : 0)),
            memory)
    }

    /// Makes sure that the directory has room for one more; false when memory is exhausted.
    private mutating func reserveSlot(_ memory: StreamMemory) -> Bool {
        if firstChunk + chunkCount < directoryCapacity { return true }
        if let directory, firstChunk > directoryCapacity / 2 {
            directory.update(from: directory + firstChunk, count: chunkCount)
            firstChunk = 0
            return true
        }
        let grown = max(1, 2 * directoryCapacity)
        let slotByteCount = MemoryLayout<UnsafeMutableRawPointer>.stride
        // A long one is moved by the system, page table by page table.
        if let directory, firstChunk == 0 {
            guard let moved = memory.resize(
                directory, from: directoryCapacity * slotByteCount, to: grown * slotByteCount)
            else { return false }
            self.directory = moved.bindMemory(to: UnsafeMutableRawPointer.self, capacity: grown)
            directoryCapacity = grown
            return true
        }
        guard let made = memory.allocate(grown * slotByteCount) else { return false }
        let slots = made.bindMemory(to: UnsafeMutableRawPointer.self, capacity: grown)
        if let directory {
            slots.update(from: directory + firstChunk, count: chunkCount)
            memory.deallocate(directory, directoryCapacity * slotByteCount)
        }
        directory = slots
        directoryCapacity = grown
        firstChunk = 0
        return true
    }

    /// Enters a chunk; there is room for one more.
    private mutating func insertSlot(_ chunk: UnsafeMutableRawPointer, at index: Int) {
        guard let directory else { return }
        let place = directory + (firstChunk + index)
        (place + 1).update(from: place, count: chunkCount - index)
        place.pointee = chunk
        chunkCount += 1
    }

    // MARK: Removal

    /// Removes the record at a position, which then is that of the next one or of the end.
    mutating func remove(at position: Position, _ memory: StreamMemory) -> Position {
        let old = chunk(position.chunk)
        let left = recordCount(old) - 1
        count -= 1
        guard left > 0 else {
            removeChunk(at: position.chunk, memory)
            return Position(chunk: position.chunk, record: 0)
        }
        let place = record(old, position.record)
        place.copyMemory(from: place + stride, byteCount: (left - position.record) * stride)
        setRecordCount(old, left)
        guard left < StreamIndex.chunkRecordCountMax / 4 else { return normalised(position) }
        return merged(around: position, memory)
    }

    /// The next chunk's first record in place of one behind the chunk's last.
    private func normalised(_ position: Position) -> Position {
        position.record < recordCount(chunk(position.chunk))
            ? position : Position(chunk: position.chunk + 1, record: 0)
    }

    /// Joins a thin chunk with the one after or before it, when both together fill half a chunk at most.
    private mutating func merged(around position: Position, _ memory: StreamMemory) -> Position {
        for index in [position.chunk, position.chunk - 1] where index >= 0 && index + 1 < chunkCount {
            let (lower, upper) = (chunk(index), chunk(index + 1))
            let (lowerCount, upperCount) = (recordCount(lower), recordCount(upper))
            guard lowerCount + upperCount <= min(capacity(lower), StreamIndex.chunkRecordCountMax / 2) else {
                continue
            }
            record(lower, lowerCount).copyMemory(from: record(upper, 0), byteCount: upperCount * stride)
            setRecordCount(lower, lowerCount + upperCount)
            removeChunk(at: index + 1, memory)
            let isUpper = position.chunk != index
            return normalised(Position(chunk: index, record: position.record + (isUpper ? lowerCount : 0)))
        }
        return normalised(position)
    }

    /// Frees a chunk, whatever is in it; its records are not counted any more by the caller.
    private mutating func removeChunk(at index: Int, _ memory: StreamMemory) {
        guard let directory else { return }
        let old = chunk(index)
        memory.deallocate(old, byteCount(capacity: capacity(old)))
        chunkCount -= 1
        if index == 0 {
            firstChunk += 1
        } else {
            let place = directory + (firstChunk + index)
            place.update(from: place + 1, count: chunkCount - index)
        }
        guard chunkCount == 0 else { return }
        memory.deallocate(directory, directoryCapacity * MemoryLayout<UnsafeMutableRawPointer>.stride)
        self.directory = nil
        (directoryCapacity, firstChunk) = (0, 0)
    }

    /// Frees the last chunk with its records and returns how many bytes that were; 0 when there is none.
    mutating func removeLastChunk(_ memory: StreamMemory) -> Int {
        guard chunkCount > 0 else { return 0 }
        let last = chunk(chunkCount - 1)
        let byteCount = byteCount(capacity: capacity(last))
        count -= recordCount(last)
        removeChunk(at: chunkCount - 1, memory)
        return byteCount
    }

    mutating func removeAll(_ memory: StreamMemory) { while removeLastChunk(memory) > 0 {} }

    // MARK: Copies and checks

    /// A copy whose records are the same bytes, in full chunks; nil when memory is exhausted.
    func copy(_ memory: StreamMemory) -> StreamIndex? {
        var copy = StreamIndex(stride: stride)
        var position = start
        while isValid(position) {
            let old = record(at: position)
            guard let new = copy.insert(old.load(as: StreamID.self), memory) else {
                copy.removeAll(memory)
                return nil
            }
            new.copyMemory(from: old, byteCount: stride)
            position = self.position(after: position)
        }
        return copy
    }

    /// Walks the records and traps when something does not hold.
    func checkInvariants() {
        var (counted, previous) = (0, StreamID?.none)
        precondition(firstChunk + chunkCount <= directoryCapacity)
        precondition((directory == nil) == (chunkCount == 0), "without chunks there is no directory")
        for index in 0..<chunkCount {
            let chunk = chunk(index)
            let used = recordCount(chunk)
            precondition(used > 0 && used <= capacity(chunk) && capacity(chunk) <= StreamIndex.chunkRecordCountMax)
            for record in 0..<used {
                let own = id(chunk, record)
                if let previous { precondition(previous < own, "IDs grow") }
                previous = own
            }
            counted += used
        }
        precondition(counted == count)
    }
}
