// Writes the RDB format: bytes go to a sink in pieces of about a chunk, so a snapshot of any size takes one chunk of
// memory.
//
// Ownership: the writer owns its chunk; views given to the sink are valid during the call. One thread. A sink that
// fails ends the work: later calls do nothing, ``isFailed`` tells, and the sink's owner knows why. Order of calls:
// writeHeader, writeFunction…, then for each database beginDatabase and writeEntry…, then finish. Cost: one copy of
// each byte and its checksum, about 1 ns a byte; compression on top where it is asked for.

package import KedisStore
package import KedisUtilities

package struct RDBOptions: Sendable, Equatable {
    /// Compress strings beyond 20 bytes where that saves space (`rdbcompression`).
    package var compressesStrings = true
    /// End with a CRC-64 instead of eight zero bytes (`rdbchecksum`).
    package var hasChecksum = true

    package init(compressesStrings: Bool = true, hasChecksum: Bool = true) {
        self.compressesStrings = compressesStrings
        self.hasChecksum = hasChecksum
    }
}

package struct RDBWriter: ~Copyable {
    package static let standardChunkByteCount = 256 << 10

    /// The bytes written so far.
    package private(set) var byteCount = 0
    /// Whether the sink refused something.
    package private(set) var isFailed = false

    private let options: RDBOptions
    private let sink: (ByteView) -> Bool
    private let chunk: UnsafeMutablePointer<UInt8>
    private let capacity: Int
    private var count = 0
    private var checksum = CRC64()

    /// Makes a writer. `sink` gets the bytes in order and answers false when it can take no more.
    package init(
        options: RDBOptions = RDBOptions(), chunkByteCount: Int = RDBWriter.standardChunkByteCount,
        sink: @escaping (ByteView) -> Bool
    ) {
        self.options = options
        self.sink = sink
        capacity = max(64, chunkByteCount)
        chunk = .allocate(capacity: capacity)
    }

    deinit { chunk.deallocate() }

    // MARK: The parts of a file

    /// Writes the magic, the version and the facts that Redis expects about the writer.
    package mutating func writeHeader(createdSeconds: Int64, usedMemoryByteCount: Int) {
        append(ByteView(RDBFormat.magic))
        let version = RDBFormat.writtenVersion
        for divisor in [1000, 100, 10, 1] { append(0x30 + UInt8(truncatingIfNeeded: version / divisor % 10)) }
        writeAuxiliary("redis-ver", .bytes(ByteView(redisVersion)))
        writeAuxiliary("redis-bits", .integer(64))
        writeAuxiliary("ctime", .integer(createdSeconds))
        writeAuxiliary("used-mem", .integer(Int64(usedMemoryByteCount)))
        writeAuxiliary("aof-base", .integer(0))
    }

    /// Which journal has what the snapshot has, and up to where it surely has the journal's records. Neither is longer
    /// than what is never compressed, so that both can be found without a parser.
    package mutating func writeJournal(_ identifier: ByteView, place: ByteView) {
        writeAuxiliary("kedis-journal", .bytes(identifier))
        writeAuxiliary("kedis-journal-at", .bytes(place))
    }

    mutating func writeAuxiliary(_ name: StaticString, _ value: StringValue) {
        append(RDBOpcode.auxiliary)
        writeString(ByteView(name))
        writeValue(value)
    }

    /// Writes the code of a library of functions, which Kedis keeps for Redis.
    package mutating func writeFunction(code: ByteView) {
        append(RDBOpcode.function)
        writeString(code)
    }

    /// Goes on with a database that was begun.
    package mutating func resumeDatabase(_ index: Int) {
        append(RDBOpcode.selectDatabase)
        writeLength(index)
    }

    /// Starts a database. The counts are hints for whoever loads the file.
    package mutating func beginDatabase(_ index: Int, keyCount: Int, deadlineCount: Int) {
        resumeDatabase(index)
        append(RDBOpcode.resizeDatabase)
        writeLength(keyCount)
        writeLength(deadlineCount)
    }

    /// Writes an entry of the store.
    package mutating func writeEntry(_ entry: Entry) {
        let type = RDBWriter.valueType(of: entry, withDeadlines: false)
        guard beginEntry(type, entry.key, entry.deadlineMilliseconds) else { return }
        writeContent(of: entry, as: type)
        writeMemberDeadlines(of: entry, key: entry.key)
    }

    /// Writes a key with a string; `deadlineMilliseconds` is ``noDeadline`` or milliseconds since 1970.
    package mutating func writeEntry(key: ByteView, deadlineMilliseconds: Int64, value: StringValue) {
        if beginEntry(rdbStringType, key, deadlineMilliseconds) { writeValue(value) }
    }

    /// Writes what stands before a value; false when the sink takes no more.
    private mutating func beginEntry(_ type: UInt8, _ key: ByteView, _ deadlineMilliseconds: Int64) -> Bool {
        if isFailed { return false }
        if deadlineMilliseconds != noDeadline {
            append(RDBOpcode.expireTimeMilliseconds)
            appendLittleEndian(UInt64(bitPattern: deadlineMilliseconds), byteCount: 8)
        }
        append(type)
        writeString(key)
        return true
    }

    /// Writes the type and the value of an entry and ends as a payload of DUMP does: see DumpPayload.
    mutating func writePayload(of entry: Entry) {
        let type = RDBWriter.valueType(of: entry, withDeadlines: true)
        append(type)
        writeContent(of: entry, as: type)
        let saysDeadlines = type == RDBHashType.deadlines
        if !saysDeadlines { writeMemberDeadlines(of: entry, key: .empty) }
        let version = saysDeadlines ? RDBFormat.fieldDeadlinesVersion : RDBFormat.writtenVersion
        appendLittleEndian(UInt64(version), byteCount: 2)
        takeChecksum()
        emit()
        appendLittleEndian(checksum.value, byteCount: RDBFormat.checksumByteCount)
        emit()
    }

    /// Ends the file and hands everything to the sink; false when the sink refused something.
    package mutating func finish() -> Bool {
        append(RDBOpcode.end)
        takeChecksum()
        appendLittleEndian(options.hasChecksum ? checksum.value : 0, byteCount: RDBFormat.checksumByteCount)
        emit()
        return !isFailed
    }

    // MARK: Values

    package mutating func writeValue(_ value: StringValue) {
        switch value {
        case .integer(let integer): writeInteger(integer)
        case .bytes(let bytes): writeString(bytes)
        }
    }

    /// Writes bytes as a string, as an integer or compressed where that is shorter and loses nothing.
    @inline(__always)
    package mutating func writeString(_ bytes: ByteView) {
        let count = bytes.count
        guard count > RDBFormat.integerTextByteCountMax, count <= RDBFormat.incompressibleByteCountMax else {
            return writeAnyString(bytes)
        }
        // Neither a number nor to be compressed, and its length is a byte.
        if capacity &- self.count <= count { flush() }
        chunk[self.count] = UInt8(truncatingIfNeeded: count)
        copyBytes(from: bytes, to: chunk + self.count + 1)
        self.count &+= 1 &+ count
        byteCount &+= 1 &+ count
    }

    private mutating func writeAnyString(_ bytes: ByteView) {
        if bytes.count <= RDBFormat.integerTextByteCountMax, let integer = parseInteger(bytes),
            writeShortInteger(integer)
        {
            return
        }
        if options.compressesStrings, bytes.count > RDBFormat.incompressibleByteCountMax {
            if bytes.count < RDBWriter.compressedInPlaceByteCountMax, bytes.count <= capacity / 2 {
                if writeCompressedInPlace(bytes) { return }
            } else if let compressed = lzfCompress(bytes) {
                writeCompressedHead(compressed.count, of: bytes.count)
                return compressed.withUnsafeBytes { append(ByteView($0)) }
            }
        }
        writeLength(bytes.count)
        append(bytes)
    }

    /// Longer strings have longer lengths in front of them.
    private static let compressedInPlaceByteCountMax = 1 << 14
    /// What is in front of a compressed string then, at most.
    private static let compressedHeadByteCountMax = 5

    /// Compresses bytes to where they go; false when that does not make them shorter.
    private mutating func writeCompressedInPlace(_ bytes: ByteView) -> Bool {
        if capacity - count < RDBWriter.compressedHeadByteCountMax + bytes.count { flush() }
        let place = chunk + count + RDBWriter.compressedHeadByteCountMax
        let compressedByteCount = lzfCompress(bytes, into: place)
        guard compressedByteCount > 0 else { return false }
        writeCompressedHead(compressedByteCount, of: bytes.count)
        // It took less when the lengths are small.
        let target = chunk + count
        if target != place { UnsafeMutableRawPointer(target).copyMemory(from: place, byteCount: compressedByteCount) }
        count += compressedByteCount
        byteCount += compressedByteCount
        return true
    }

    private mutating func writeCompressedHead(_ compressedByteCount: Int, of byteCount: Int) {
        append(0xC0 | RDBStringEncoding.lzf)
        writeLength(compressedByteCount)
        writeLength(byteCount)
    }

    private mutating func writeInteger(_ value: Int64) {
        if writeShortInteger(value) { return }
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            guard let base = digits.baseAddress else { return }
            let digitCount = formatInteger(value, into: base)
            writeLength(digitCount)
            append(ByteView(base: base, count: digitCount))
        }
    }

    /// Writes a number of at most 32 bits; false, nothing written, for a larger one.
    private mutating func writeShortInteger(_ value: Int64) -> Bool {
        let encoding: UInt8
        if Int8(exactly: value) != nil {
            encoding = RDBStringEncoding.int8
        } else if Int16(exactly: value) != nil {
            encoding = RDBStringEncoding.int16
        } else if Int32(exactly: value) != nil {
            encoding = RDBStringEncoding.int32
        } else {
            return false
        }
        append(0xC0 | encoding)
        appendLittleEndian(UInt64(bitPattern: value), byteCount: 1 << Int(encoding))
        return true
    }

    package mutating func writeLength(_ length: Int) {
        assert(length >= 0)
        writeLength(UInt64(length))
    }

    mutating func writeLength(_ length: UInt64) {
        if length < 1 << 6 {
            append(UInt8(truncatingIfNeeded: length))
        } else if length < 1 << 14 {
            append(0x40 | UInt8(truncatingIfNeeded: length >> 8))
            append(UInt8(truncatingIfNeeded: length))
        } else if length <= UInt64(UInt32.max) {
            append(0x80)
            appendBigEndian(length, byteCount: 4)
        } else {
            append(0x81)
            appendBigEndian(length, byteCount: 8)
        }
    }

    // MARK: Bytes

    /// The lowest `byteCount` bytes of a number, at most 8, the lowest first.
    mutating func appendLittleEndian(_ value: UInt64, byteCount newByteCount: Int) {
        assert(newByteCount <= 8)
        // The whole word is stored, and what is behind its bytes is stored over.
        if capacity - count < 8 { flush() }
        UnsafeMutableRawPointer(chunk + count).storeBytes(of: value.littleEndian, as: UInt64.self)
        count += newByteCount
        byteCount += newByteCount
    }

    private mutating func appendBigEndian(_ value: UInt64, byteCount: Int) {
        appendLittleEndian(value.byteSwapped >> UInt64(64 - 8 * byteCount), byteCount: byteCount)
    }

    private mutating func append(_ byte: UInt8) {
        if count == capacity { flush() }
        chunk[count] = byte
        count += 1
        byteCount += 1
    }

    mutating func append(_ bytes: ByteView) {
        byteCount += bytes.count
        if bytes.count > capacity - count { flush() }
        guard bytes.count <= capacity else {
            // Larger than a chunk: goes to the sink from where it is.
            if options.hasChecksum { checksum.update(bytes) }
            if !isFailed { isFailed = !sink(bytes) }
            return
        }
        copyBytes(from: bytes, to: chunk + count)
        count += bytes.count
    }

    private mutating func flush() {
        takeChecksum()
        emit()
    }

    /// Adds what is in the chunk to the checksum. Called once for each chunk, right before it is emitted or ended.
    private mutating func takeChecksum() {
        if options.hasChecksum { checksum.update(ByteView(base: chunk, count: count)) }
    }

    private mutating func emit() {
        if count > 0, !isFailed { isFailed = !sink(ByteView(base: chunk, count: count)) }
        count = 0
    }
}
