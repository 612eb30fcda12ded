// Reads the RDB format, item by item, from a source that gives bytes in pieces: a file of any size takes one buffer.
//
// Nothing in the bytes is believed: every length is held against what the file can still hold before memory is taken
// for it, and everything that cannot be is an error with the offset of its item (RDBError), never a trap.
//
// Ownership: the reader owns its buffer and the scratch for keys and decompressed values; views in an item are valid
// until the next call. One thread. Memory: the buffer (256 KiB) or, for larger strings, the string and what it
// decompresses to. Cost: a value is not copied here unless it is compressed; the checksum takes about 1 ns a byte.

package import KedisStore
package import KedisUtilities

/// What a file is made of, in the order in which it comes.
package enum RDBItem {
    /// A fact about the writer.
    case auxiliary(name: ByteView, value: ByteView)
    case selectDatabase(UInt64)
    /// Hints: the keys and the deadlines of the database.
    case databaseSize(keyCount: UInt64, deadlineCount: UInt64)
    /// The code of a library of functions.
    case function(code: ByteView)
    case entry(RDBEntry)
    /// The end of the data; the checksum was right or absent.
    case end
}

/// A value: a string, or what kind of collection follows. Its parts are then to be read by the function that is named
/// here; ``RDBReader/load(_:as:deadlineMilliseconds:in:limits:)`` puts any of them into the store.
package enum RDBValue {
    case string(StringValue)
    /// ``RDBReader/nextListPart()``
    case list
    /// A sorted set: its parts come from ``RDBReader/nextSortedSetPart()``.
    case sortedSet
    /// A set: its parts come from ``RDBReader/nextSetPart()``.
    case set
    /// A hash: its parts come from ``RDBReader/nextHashPart()``.
    case hash
    /// A stream: its parts come from ``RDBReader/nextStreamPart()``.
    case stream
}

/// A key with its value.
package struct RDBEntry {
    package let key: ByteView
    package let value: RDBValue
    /// When it expires, in milliseconds since 1970; may lie before.
    package let deadlineMilliseconds: Int64?
    /// How long it was not used, in seconds, when the writer evicts by age.
    package let idleSeconds: UInt64?
    /// How often it was used, on a logarithmic scale, when the writer evicts by frequency.
    package let frequency: UInt8?
}

package struct RDBReader: ~Copyable {
    package static let standardBufferByteCount = 256 << 10

    /// Of the file: known after ``readHeader()``.
    package private(set) var version = 0
    var input: RDBInput
    /// The list that is being read.
    var list: RDBListCursor?
    /// The sorted set that is being read.
    var sortedSet: RDBSortedSetCursor?
    var memberScratch = RDBScratch()
    /// The set that is being read.
    var set: RDBListCursor?
    /// The hash that is being read.
    var hash: RDBHashCursor?
    /// The stream that is being read.
    var stream: RDBStreamCursor?
    /// Whether a member of the value had a deadline: one of whose members all are due is gone when it is loaded.
    package internal(set) var hasMemberDeadlines = false
    private var keyScratch = RDBScratch()
    private var valueScratch = RDBScratch()
    /// The name of a group or a consumer, which outlives what follows it.
    var nameScratch = RDBScratch()

    /// Makes a reader of `byteCount` bytes (nil: not known beforehand, memory is then taken as bytes arrive).
    ///
    /// `fill` writes at most as many bytes as its buffer holds and returns their count, 0 at the end, or the negated
    /// `errno` of a failure.
    package init(
        byteCount: Int?, bufferByteCount: Int = RDBReader.standardBufferByteCount,
        fill: @escaping (UnsafeMutableRawBufferPointer) -> Int
    ) {
        input = RDBInput(byteCount: byteCount, bufferByteCount: bufferByteCount, fill: fill)
    }

    /// How many bytes were read.
    package var offset: Int { input.offset }

    /// Reads the magic and the version, once and first.
    package mutating func readHeader() throws(RDBError) {
        input.beginItem()
        let magic = RDBFormat.magic.utf8CodeUnitCount
        do {
            try input.need(RDBFormat.headerByteCount)
        } catch {
            if case .truncated = error.reason { throw RDBError(offset: 0, reason: .notRDB) }
            throw error
        }
        let header = input.take(RDBFormat.headerByteCount)
        guard header.hasPrefix(ByteView(RDBFormat.magic)),
            let number = parseUnsignedInteger(header[magic..<header.count])
        else {
            throw input.error(.notRDB)
        }
        version = Int(truncatingIfNeeded: number)
        if version > RDBFormat.newestVersion { throw input.error(.newerVersion(version)) }
        if version < 1 { throw input.error(.unsupportedVersion(version)) }
    }

    /// Reads the next item. After ``RDBItem/end`` there is none.
    package mutating func next() throws(RDBError) -> RDBItem {
        // Whoever did not want the value has left it.
        try skipValue()
        input.beginItem()
        var attributes = Attributes()
        while true {
            let opcode = try input.readByte()
            switch opcode {
            case RDBOpcode.expireTimeSeconds:
                let seconds = Int32(truncatingIfNeeded: try input.readLittleEndian(byteCount: 4))
                attributes.deadlineMilliseconds = Int64(seconds) * 1000
            case RDBOpcode.expireTimeMilliseconds:
                attributes.deadlineMilliseconds = Int64(bitPattern: try input.readLittleEndian(byteCount: 8))
            case RDBOpcode.idle:
                attributes.idleSeconds = try input.readLength()
            case RDBOpcode.frequency:
                attributes.frequency = try input.readByte()
            case RDBOpcode.slotInfo:
                // Hints of a server in a cluster: a slot, its keys, those with a deadline.
                for _ in 0..<3 { _ = try input.readLength() }
            case rdbStringType:
                return .entry(try readEntry(attributes))
            default:
                guard let kind = RDBValueKind(type: opcode) else { return try readOther(opcode) }
                let key = try readKey()
                return .entry(attributes.entry(key, try beginValue(kind, type: opcode)))
            }
        }
    }

    /// What may stand before an entry.
    private struct Attributes {
        var deadlineMilliseconds: Int64?
        var idleSeconds: UInt64?
        var frequency: UInt8?

        func entry(_ key: ByteView, _ value: RDBValue) -> RDBEntry {
            RDBEntry(
                key: key, value: value, deadlineMilliseconds: deadlineMilliseconds, idleSeconds: idleSeconds,
                frequency: frequency
            )
        }
    }

    private mutating func readEntry(_ attributes: Attributes) throws(RDBError) -> RDBEntry {
        let key = try readKey()
        return attributes.entry(key, .string(try readValue()))
    }

    /// Everything that comes seldom.
    @inline(never)
    private mutating func readOther(_ opcode: UInt8) throws(RDBError) -> RDBItem {
        switch opcode {
        case RDBOpcode.auxiliary:
            let name = try readKey()
            return .auxiliary(name: name, value: try readBytes())
        case RDBOpcode.selectDatabase:
            return .selectDatabase(try input.readLength())
        case RDBOpcode.resizeDatabase:
            return .databaseSize(keyCount: try input.readLength(), deadlineCount: try input.readLength())
        case RDBOpcode.function:
            return .function(code: try readBytes())
        case RDBOpcode.functionOfPrerelease:
            throw input.error(.prereleaseFunctions)
        case RDBOpcode.moduleAuxiliary:
            throw input.error(.module(moduleName(try input.readLength())))
        case RDBOpcode.end:
            try input.readChecksum(isThere: version >= RDBFormat.checksumVersion)
            return .end
        default:
            guard let name = rdbTypeName(opcode) else { throw input.error(.unknownOpcode(opcode)) }
            throw input.error(.unsupportedType(name: name, key: rdbKeyText(try readKey())))
        }
    }

    /// The name in a module's 64-bit number: nine characters of six bits each above ten bits of version.
    private func moduleName(_ number: UInt64) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        return String((0..<9).map { alphabet[Int(truncatingIfNeeded: number >> UInt64(58 - 6 * $0) & 63)] })
    }

    // MARK: Strings

    /// Reads a string that outlives the one that follows it.
    mutating func readKey() throws(RDBError) -> ByteView {
        let value = try readValue()
        let byteCount = value.byteCount
        guard byteCount <= RDBFormat.keyByteCountMax else { throw input.error(.lengthTooLarge(UInt64(byteCount))) }
        guard keyScratch.reserve(byteCount) else { throw input.error(.outOfMemory(byteCount: byteCount)) }
        return spell(value, in: keyScratch.base)
    }

    /// Reads a string as bytes, whatever its encoding.
    mutating func readBytes() throws(RDBError) -> ByteView {
        let value = try readValue()
        if case .bytes(let bytes) = value { return bytes }
        guard valueScratch.reserve(20) else { throw input.error(.outOfMemory(byteCount: 20)) }
        return spell(value, in: valueScratch.base)
    }

    func spell(_ value: StringValue, in destination: UnsafeMutableRawPointer) -> ByteView {
        let target = destination.assumingMemoryBound(to: UInt8.self)
        switch value {
        case .integer(let integer):
            return ByteView(base: target, count: formatInteger(integer, into: target))
        case .bytes(let bytes):
            target.update(from: bytes.base, count: bytes.count)
            return ByteView(base: target, count: bytes.count)
        }
    }

    /// Reads a string: a view of the buffer or of the value's scratch, or the integer that it is encoded as.
    mutating func readValue() throws(RDBError) -> StringValue {
        let first = try input.readByte()
        guard first & 0xC0 == 0xC0 else {
            return .bytes(try input.readBytes(byteCount: try input.readLength(startingWith: first)))
        }
        switch first & 0x3F {
        case RDBStringEncoding.int8:
            return .integer(Int64(Int8(bitPattern: try input.readByte())))
        case RDBStringEncoding.int16:
            return .integer(Int64(Int16(truncatingIfNeeded: try input.readLittleEndian(byteCount: 2))))
        case RDBStringEncoding.int32:
            return .integer(Int64(Int32(truncatingIfNeeded: try input.readLittleEndian(byteCount: 4))))
        case RDBStringEncoding.lzf:
            return .bytes(try readCompressed())
        default:
            throw input.error(.badStringEncoding(first & 0x3F))
        }
    }

    private mutating func readCompressed() throws(RDBError) -> ByteView {
        let storedLength = try input.readLength()
        let claimedLength = try input.readLength()
        let compressed = try input.readBytes(byteCount: storedLength)
        // Three bytes can stand for at most 264, so a damaged count cannot ask for more than 88 times what is there.
        guard claimedLength <= UInt64(compressed.count) * 88, let byteCount = Int(exactly: claimedLength) else {
            throw input.error(.badCompression)
        }
        guard valueScratch.reserve(byteCount) else { throw input.error(.outOfMemory(byteCount: byteCount)) }
        let room = UnsafeMutableRawBufferPointer(start: valueScratch.base, count: byteCount)
        guard lzfDecompress(compressed, byteCount: byteCount, into: room) else { throw input.error(.badCompression) }
        return valueScratch.view(0..<byteCount)
    }
}
