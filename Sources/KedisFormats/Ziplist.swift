// Ziplists: how Redis before 7.0 stored small collections, and so do its files. Read only.
//
//      ┌────────────┬────────────┬────────────┬─────────┬─ … ─┬─────┐
//      │ all bytes  │ last entry │ entries    │ entry   │     │ FF  │
//      │ 4          │ 4          │ 2          │         │     │ 1   │
//      └────────────┴────────────┴────────────┴─────────┴─────┴─────┘
//
//      entry     the length of the entry before it (1 byte, or FE and 4), then a form:
//                00pppppp string         01pppppp q  string, 14 bits     10______ and 4 bytes: string
//                C0 Int16   D0 Int32   E0 Int64   F0 Int24   FE Int8     F1 to FD: 0 to 12
//
// Lengths of strings are big-endian, everything else little-endian. Nothing in the bytes is believed.
// Source of the format: the files that redis-server writes.

import KedisStore
import KedisUtilities

struct ZiplistReader {
    private static let headerByteCount = 10
    private let bytes: ByteView
    private var offset = ZiplistReader.headerByteCount
    private var isEnded = false

    /// Nil when the frame is none of a ziplist.
    init?(_ bytes: ByteView) {
        guard bytes.count > ZiplistReader.headerByteCount, bytes[bytes.count - 1] == 0xFF,
            UnsafeRawPointer(bytes.base).loadUnaligned(as: UInt32.self) == bytes.count
        else { return nil }
        self.bytes = bytes
    }

    /// The next value, nil at the end and where the bytes make no sense: see ``isWhole``.
    mutating func next() -> StringValue? {
        guard !isEnded, offset < bytes.count - 1 else { return nil }
        guard let value = decode() else {
            isEnded = true
            return nil
        }
        return value
    }

    /// After the last value: whether all bytes were entries.
    var isWhole: Bool { !isEnded && offset == bytes.count - 1 }

    private mutating func decode() -> StringValue? {
        guard let previous = take(1) else { return nil }
        if previous[0] >= 0xFE, take(4) == nil { return nil }
        guard let form = take(1)?[0] else { return nil }
        switch form >> 6 {
        case 0: return take(Int(form)).map { .bytes($0) }
        case 1:
            guard let low = take(1) else { return nil }
            return take(Int(form & 0x3F) << 8 | Int(low[0])).map { .bytes($0) }
        case 2:
            guard let length = take(4) else { return nil }
            return take(length.buffer.reduce(0) { $0 << 8 | Int($1) }).map { .bytes($0) }
        default: return integer(form)
        }
    }

    private mutating func integer(_ form: UInt8) -> StringValue? {
        switch form {
        case 0xC0: return signed(byteCount: 2)
        case 0xD0: return signed(byteCount: 4)
        case 0xE0: return signed(byteCount: 8)
        case 0xF0: return signed(byteCount: 3)
        case 0xFE: return signed(byteCount: 1)
        case 0xF1...0xFD: return .integer(Int64(form & 0xF) - 1)
        default: return nil
        }
    }

    private mutating func signed(byteCount: Int) -> StringValue? {
        guard let bytes = take(byteCount) else { return nil }
        let word = bytes.buffer.reversed().reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
        let unused = UInt64(64 - 8 * byteCount)
        return .integer(Int64(bitPattern: word << unused) >> Int64(unused))
    }

    /// The next bytes; the last one of all, the end mark, is not among them.
    private mutating func take(_ count: Int) -> ByteView? {
        guard count <= bytes.count - 1 - offset else { return nil }
        defer { offset += count }
        return bytes[offset..<offset + count]
    }
}
