// The bytes under the reader of RDB files: a buffer that is filled from a source, the offset, and the checksum.
//
//      ┌──────────────┬───────────────┬──────────────┐
//      │ consumed     │ to be read    │ free         │   bufferOffset is the offset of the first byte in the file;
//      └──────────────┴───────────────┴──────────────┘   the checksum is taken of what is consumed, when it is dropped
//                     start           end
//
// Ownership: owns the buffer. Views point into it and are valid until the next read. Cost: as the buffer, see
// RDBReader.

import KedisUtilities

struct RDBInput: ~Copyable {
    private let byteCount: Int?
    private let standardCapacity: Int
    private let fill: (UnsafeMutableRawBufferPointer) -> Int
    private var buffer = RDBScratch()
    private var start = 0
    private var end = 0
    private var bufferOffset = 0
    private var checksum = CRC64()
    /// Where in the buffer the bytes begin that are not in the checksum yet.
    private var checksumStart = 0
    /// Where the item begins that is being read: what errors name.
    private var itemOffset = 0

    init(byteCount: Int?, bufferByteCount: Int, fill: @escaping (UnsafeMutableRawBufferPointer) -> Int) {
        self.byteCount = byteCount
        self.fill = fill
        standardCapacity = max(64, bufferByteCount)
    }

    var offset: Int { bufferOffset + start }

    /// The bytes behind those that were read, if it is known how many there are.
    var remainingByteCount: Int? { byteCount.map { $0 - offset } }

    mutating func beginItem() { itemOffset = offset }

    func error(_ reason: RDBError.Reason) -> RDBError { RDBError(offset: itemOffset, reason: reason) }

    // MARK: Reading

    /// Makes sure that `needed` bytes can be taken.
    @inline(__always)
    mutating func need(_ needed: Int) throws(RDBError) {
        if end - start < needed { try fillSlowly(needed) }
    }

    /// Takes bytes that were asked for with ``need(_:)``.
    @inline(__always)
    mutating func take(_ count: Int) -> ByteView {
        assert(count <= end - start)
        let view = buffer.view(start..<start + count)
        start += count
        return view
    }

    mutating func readByte() throws(RDBError) -> UInt8 {
        try need(1)
        return take(1)[0]
    }

    mutating func readLittleEndian(byteCount: Int) throws(RDBError) -> UInt64 {
        try need(byteCount)
        let bytes = take(byteCount)
        var value: UInt64 = 0
        for index in 0..<byteCount { value |= UInt64(bytes[index]) << UInt64(8 * index) }
        return value
    }

    private mutating func readBigEndian(byteCount: Int) throws(RDBError) -> UInt64 {
        try need(byteCount)
        let bytes = take(byteCount)
        var value: UInt64 = 0
        for index in 0..<byteCount { value = value << 8 | UInt64(bytes[index]) }
        return value
    }

    mutating func readLength() throws(RDBError) -> UInt64 {
        try readLength(startingWith: try readByte())
    }

    /// Reads the rest of a length whose first byte was read; the string encodings are no lengths.
    mutating func readLength(startingWith first: UInt8) throws(RDBError) -> UInt64 {
        switch first {
        case 0..<0x40: return UInt64(first)
        case 0x40..<0x80: return UInt64(first & 0x3F) << 8 | UInt64(try readByte())
        case 0x80: return try readBigEndian(byteCount: 4)
        case 0x81: return try readBigEndian(byteCount: 8)
        default: throw error(.badLength(first))
        }
    }

    /// Takes `length` bytes in one piece; more than the file can hold is an error before memory is taken.
    mutating func readBytes(byteCount length: UInt64) throws(RDBError) -> ByteView {
        guard let count = Int(exactly: length), count <= Int.max / 4 else { throw error(.lengthTooLarge(length)) }
        if let byteCount, count > max(0, byteCount - offset) { throw error(.truncated(neededByteCount: count)) }
        try need(count)
        return take(count)
    }

    /// Reads the checksum, if the version has one, and compares it; 0 stands for none.
    mutating func readChecksum(isThere: Bool) throws(RDBError) {
        takeChecksum()
        let computed = checksum.value
        guard isThere else { return }
        let stored = try readLittleEndian(byteCount: RDBFormat.checksumByteCount)
        if stored != 0, stored != computed { throw error(.badChecksum(stored: stored, computed: computed)) }
    }

    // MARK: Filling

    @inline(never)
    private mutating func fillSlowly(_ needed: Int) throws(RDBError) {
        if let byteCount, needed > max(0, byteCount - offset) { throw error(.truncated(neededByteCount: needed)) }
        takeChecksum()
        try compact(needed)
        while end < needed {
            if end == buffer.capacity { try resizeBuffer(to: min(needed, buffer.capacity * 2)) }
            let free = UnsafeMutableRawBufferPointer(start: buffer.base + end, count: buffer.capacity - end)
            let count = fill(free)
            if count < 0 { throw error(.readFailed(Int32(truncatingIfNeeded: 0 &- count))) }
            guard count > 0, count <= free.count else { throw error(.truncated(neededByteCount: needed - end)) }
            end += count
        }
    }

    /// Moves what is to be read to the buffer's start, and gives back a buffer that a large string had made grow.
    private mutating func compact(_ needed: Int) throws(RDBError) {
        let rest = end - start
        if rest > 0, start > 0 { (buffer.base).copyMemory(from: buffer.base + start, byteCount: rest) }
        bufferOffset += start
        checksumStart = 0
        start = 0
        end = rest
        let isOversized = buffer.capacity > standardCapacity && max(rest, needed) <= standardCapacity
        if isOversized || buffer.capacity == 0 { try resizeBuffer(to: standardCapacity) }
    }

    private mutating func resizeBuffer(to capacity: Int) throws(RDBError) {
        guard buffer.resize(to: capacity, keeping: end) else { throw error(.outOfMemory(byteCount: capacity)) }
    }

    private mutating func takeChecksum() {
        checksum.update(buffer.view(checksumStart..<start))
        checksumStart = start
    }
}
