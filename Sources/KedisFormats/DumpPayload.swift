// The payload of DUMP and RESTORE: one value without its key, as RDB files store it, with a footer.
//
//      ┌──────┬─────────┬───────────┬─────────┬────────┐
//      │ type │ value   │ deadlines │ version │ CRC-64 │    version and checksum are little-endian; the checksum is
//      │ 1    │         │ if any    │ 2       │ 8      │    that of all bytes before it, and is never absent
//      └──────┴─────────┴───────────┴─────────┴────────┘
//
// Deadlines of members follow the value of a set or sorted set (RDBMemberDeadlines.swift); a hash has them in it.
//
// Ownership: a payload owns its bytes. One thread. Source: the pages of DUMP and RESTORE, and redis-server's payloads.

package import KedisStore
package import KedisUtilities

package struct DumpPayload: ~Copyable {
    static let footerByteCount = 2 + RDBFormat.checksumByteCount
    private static let chunkByteCount = 4 << 10

    /// The bytes as they grow; the writer's sink shares them.
    private final class Buffer {
        var base: UnsafeMutablePointer<UInt8>?
        var capacity = 0
        var count = 0

        deinit { deallocateBuffer(base) }

        func append(_ bytes: ByteView) -> Bool {
            let (needed, overflow) = count.addingReportingOverflow(bytes.count)
            guard !overflow else { return false }
            if needed > capacity {
                let wanted = max(needed, min(capacity, Int.max / 2) * 2, 256)
                guard let grown = resizeBuffer(base, capacity: wanted) else { return false }
                base = grown
                capacity = wanted
            }
            guard let base else { return false }
            (base + count).update(from: bytes.base, count: bytes.count)
            count = needed
            return true
        }
    }

    private let buffer = Buffer()

    /// Encodes the value of an entry; nil when there is no memory for it. O(value).
    package init?(of entry: Entry, compressesStrings: Bool) {
        let buffer = buffer
        var writer = RDBWriter(
            options: RDBOptions(compressesStrings: compressesStrings), chunkByteCount: DumpPayload.chunkByteCount
        ) { buffer.append($0) }
        writer.writePayload(of: entry)
        if writer.isFailed { return nil }
    }

    /// Valid as long as the payload.
    package var bytes: ByteView {
        guard let base = buffer.base else { return .empty }
        return ByteView(base: base, count: buffer.count)
    }

    /// Whether bytes end with a version that is read and the right checksum. O(bytes).
    package static func isGenuine(_ bytes: ByteView) -> Bool {
        guard bytes.count >= footerByteCount else { return false }
        let end = UnsafeRawPointer(bytes.base) + bytes.count
        let version = UInt16(littleEndian: (end - footerByteCount).loadUnaligned(as: UInt16.self))
        guard version <= RDBFormat.newestVersion else { return false }
        let stored = UInt64(littleEndian: (end - RDBFormat.checksumByteCount).loadUnaligned(as: UInt64.self))
        var checksum = CRC64()
        checksum.update(bytes[0..<bytes.count - RDBFormat.checksumByteCount])
        return checksum.value == stored
    }
}

extension RDBReader {
    /// A reader of a payload that is genuine and outlives it: to call ``readPayloadValue()`` once. A value that ends
    /// early goes on in the footer, as in Redis.
    package init(payload bytes: ByteView) {
        var offset = 0
        let bufferByteCount = min(bytes.count, RDBReader.standardBufferByteCount)
        self.init(byteCount: bytes.count, bufferByteCount: bufferByteCount) { room in
            let count = min(room.count, bytes.count - offset)
            room.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes.raw[offset..<offset + count]))
            offset += count
            return count
        }
    }

    /// Reads the type of a payload and what begins its value: for
    /// ``load(_:as:deadlineMilliseconds:in:limits:)``. What follows the value is not looked at, as in Redis.
    package mutating func readPayloadValue() throws(RDBError) -> RDBValue {
        input.beginItem()
        let type = try input.readByte()
        guard let kind = RDBValueKind(type: type) else { throw input.error(.unknownOpcode(type)) }
        return try beginValue(kind, type: type)
    }

    /// The fact of this name that comes next, behind the value of a payload; nil when something else does.
    mutating func nextPayloadFact(_ name: StaticString) throws(RDBError) -> ByteView? {
        try skipValue()
        input.beginItem()
        guard let rest = input.remainingByteCount, rest > DumpPayload.footerByteCount,
            try input.readByte() == RDBOpcode.auxiliary, try readKey() == ByteView(name)
        else { return nil }
        return try readBytes()
    }
}
