// Writes replies as bytes, RESP2 or RESP3, into one contiguous buffer.
//
// Ownership: the writer owns its buffer; the session owns the writer; the transport reads `bytes` after a batch and
// then calls `removeAll()`. Single-threaded. Cost: every append is a capacity check and a few stores; the buffer grows
// by doubling and gives memory back when it was grown for a rare large reply. The fast paths are inlinable because
// handlers call them for each element.

public import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The version of the protocol that a client has chosen with HELLO.
@frozen
@usableFromInline
package enum ProtocolVersion: UInt8, Sendable {
    case resp2 = 2
    case resp3 = 3
}

/// An append-only buffer of reply bytes. Source: the RESP2 and RESP3 specifications.
@usableFromInline
package struct ReplyWriter: ~Copyable {
    @usableFromInline package var version: ProtocolVersion
    @usableFromInline var base: UnsafeMutablePointer<UInt8>
    @usableFromInline package var capacity: Int
    /// The number of bytes written so far.
    @usableFromInline package private(set) var count: Int

    /// The most bytes that may wait here. A reply that would pass it, or that memory is refused for, is thrown away
    /// with all that waits, and ``overflow`` says so: whoever owns the writer ends the connection.
    package var byteCountMax = Int.max
    @usableFromInline package private(set) var overflow: Overflow?

    /// Why a reply was thrown away.
    @frozen
    @usableFromInline
    package enum Overflow: Sendable {
        case limit, memory
    }

    @inlinable
    package var hasOverflowed: Bool {
        @inline(__always) get { overflow != nil }
    }

    /// What an idle writer keeps allocated, in bytes.
    @usableFromInline static let initialCapacity = 1024
    /// The most bytes a line-sized reply takes: a type byte, 20 digits, CR LF.
    @usableFromInline static let lineByteCountMax = 32

    package init(version: ProtocolVersion = .resp2) {
        self.version = version
        base = smallBuffer(UInt8.self, capacity: Self.initialCapacity)
        capacity = Self.initialCapacity
        count = 0
    }

    deinit { deallocateBuffer(base) }

    @inlinable
    package var isEmpty: Bool { count == 0 }

    /// What was written, valid until the next change.
    @inlinable
    package var bytes: ByteView { ByteView(base: UnsafePointer(base), count: count) }

    /// Forgets what was written, and memory beyond 64 KiB with it.
    package mutating func removeAll() {
        count = 0
        overflow = nil
        if capacity > 1 << 16 { shrinkSlowly() }
    }

    /// Forgets what was written after the first `byteCount` bytes.
    package mutating func truncate(to byteCount: Int) {
        assert(byteCount >= 0 && (byteCount <= count || hasOverflowed))
        count = min(byteCount, count)
    }

    /// Forgets the first `byteCount` bytes, which the transport has taken.
    package mutating func removeFirst(_ byteCount: Int) {
        assert(byteCount >= 0 && byteCount <= count)
        guard byteCount < count else { return removeAll() }
        base.update(from: base + byteCount, count: count - byteCount)
        count -= byteCount
    }

    // MARK: Replies

    /// `+OK`
    @inlinable
    package mutating func ok() { raw("+OK\r\n") }

    /// `+text`: a literal without CR or LF.
    @inlinable
    package mutating func simple(_ text: StaticString) {
        guard reserve(text.utf8CodeUnitCount + 3) else { return }
        put(0x2B)
        copy(ByteView(text))
        endLine()
    }

    /// `-text`: an error; CR and LF in it become spaces, those at its end are dropped.
    package mutating func error(_ text: ByteView) {
        guard reserve(text.count + 3) else { return }
        put(0x2D)
        var end = text.count
        while end > 0, text[end - 1] == 0x0D || text[end - 1] == 0x0A { end -= 1 }
        for index in 0..<end {
            let byte = text[index]
            put(byte == 0x0D || byte == 0x0A ? 0x20 : byte)
        }
        endLine()
    }

    /// `:value`
    @inlinable
    package mutating func integer(_ value: Int64) { line(0x3A, value) }

    @inlinable
    package mutating func integer(_ value: Int) { line(0x3A, Int64(value)) }

    /// `$count bytes`
    @inlinable
    package mutating func bulk(_ bytes: ByteView) {
        guard reserve(bytes.count &+ Self.lineByteCountMax &+ 2) else { return }
        bulkHeader(bytes.count)
        copy(bytes)
        endLine()
    }

    /// A bulk string of text made at run time: not for the data path.
    package mutating func bulk(text: String) {
        var text = text
        text.withUTF8 { bulk(ByteView(UnsafeRawBufferPointer($0))) }
    }

    /// A bulk string with the digits of `value`.
    @inlinable
    package mutating func bulk(integer value: Int64) {
        guard reserve(2 * Self.lineByteCountMax) else { return }
        lineUnchecked(0x24, Int64(decimalDigitCount(value)))
        count += formatInteger(value, into: base + count)
        endLine()
    }

    /// `$-1`, or `_` in RESP3.
    @inlinable
    package mutating func null() {
        if version == .resp3 { raw("_\r\n") } else { raw("$-1\r\n") }
    }

    /// `*-1`, or `_` in RESP3.
    @inlinable
    package mutating func nullArray() {
        if version == .resp3 { raw("_\r\n") } else { raw("*-1\r\n") }
    }

    /// `*count`: `count` replies follow.
    @inlinable
    package mutating func array(_ count: Int) { line(0x2A, Int64(count)) }

    /// `%count`: `count` pairs of replies follow; a flat array in RESP2.
    @inlinable
    package mutating func map(_ count: Int) {
        if version == .resp3 { line(0x25, Int64(count)) } else { line(0x2A, 2 * Int64(count)) }
    }

    /// `~count`: `count` replies follow; an array in RESP2.
    @inlinable
    package mutating func set(_ count: Int) {
        line(version == .resp3 ? 0x7E : 0x2A, Int64(count))
    }

    /// `>count`: `count` replies follow; an array in RESP2.
    @inlinable
    package mutating func push(_ count: Int) {
        line(version == .resp3 ? 0x3E : 0x2A, Int64(count))
    }

    /// `#t`, or `:1` in RESP2.
    @inlinable
    package mutating func boolean(_ value: Bool) {
        if version == .resp3 {
            raw(value ? "#t\r\n" : "#f\r\n")
        } else {
            raw(value ? ":1\r\n" : ":0\r\n")
        }
    }

    /// `,value`, or a bulk string in RESP2.
    package mutating func double(_ value: Double) {
        guard reserve(formattedDoubleCapacity + Self.lineByteCountMax) else { return }
        if version == .resp3 {
            put(0x2C)
            count += formatDouble(value, into: base + count)
        } else {
            // Behind where a length of two digits would end; one of one digit moves it.
            let text = base + count + 5
            let byteCount = formatDouble(value, into: text)
            put(0x24)
            if byteCount >= 10 { put(0x30 + UInt8(truncatingIfNeeded: byteCount / 10)) }
            put(0x30 + UInt8(truncatingIfNeeded: byteCount % 10))
            endLine()
            memmove(base + count, text, byteCount)
            count += byteCount
        }
        endLine()
    }

    /// `=count txt:text`, or a bulk string in RESP2. `format` has three bytes.
    package mutating func verbatim(_ format: StaticString, _ text: ByteView) {
        guard version == .resp3 else { return bulk(text) }
        assert(format.utf8CodeUnitCount == 3)
        guard reserve(text.count + Self.lineByteCountMax + 6) else { return }
        lineUnchecked(0x3D, Int64(text.count + 4))
        copy(ByteView(format))
        put(0x3A)
        copy(text)
        endLine()
    }

    /// Bytes that are a reply already.
    @inlinable
    package mutating func raw(_ bytes: ByteView) {
        guard reserve(bytes.count) else { return }
        copy(bytes)
    }

    /// Puts the header of an array in front of the `elementCount` replies written since `start`, whose number was not
    /// known before.
    package mutating func insertArrayHeader(at start: Int, elementCount: Int) {
        insertHeader(0x2A, at: start, elementCount)
    }

    /// The same for a set, an array in RESP2.
    package mutating func insertSetHeader(at start: Int, elementCount: Int) {
        insertHeader(version == .resp3 ? 0x7E : 0x2A, at: start, elementCount)
    }

    /// The same for a map, which only RESP3 has.
    package mutating func insertMapHeader(at start: Int, pairCount: Int) { insertHeader(0x25, at: start, pairCount) }

    private mutating func insertHeader(_ type: UInt8, at start: Int, _ elementCount: Int) {
        let end = count
        line(type, Int64(elementCount))
        rotate(from: start, movingToFront: end)
    }

    /// What was written since `end`, a line or two, changes places with what was written between `start` and there.
    package mutating func rotate(from start: Int, movingToFront end: Int) {
        guard start <= end, end < count else {
            assert(hasOverflowed)
            return
        }
        let headerByteCount = count - end
        withUnsafeTemporaryAllocation(byteCount: headerByteCount, alignment: 1) { header in
            header.copyMemory(from: UnsafeRawBufferPointer(start: base + end, count: headerByteCount))
            memmove(base + start + headerByteCount, base + start, end - start)
            UnsafeMutableRawPointer(base + start).copyMemory(
                from: header.baseAddress.unsafelyUnwrapped, byteCount: headerByteCount)
        }
    }

    // MARK: Bytes

    @inlinable
    mutating func line(_ type: UInt8, _ value: Int64) {
        guard reserve(Self.lineByteCountMax) else { return }
        lineUnchecked(type, value)
    }

    /// Writes a header line into space that is reserved. One digit is by far the most frequent.
    @inlinable
    mutating func lineUnchecked(_ type: UInt8, _ value: Int64) {
        if value >= 0 && value < 10 {
            word(0x0A0D_3000 | UInt32(type) | UInt32(truncatingIfNeeded: value) << 8)
            count &+= 4
        } else if UInt64(bitPattern: value) < shortIntegerEnd {
            base[count] = type
            count &+= 1 &+ formatShortInteger(UInt32(truncatingIfNeeded: value), into: base + (count &+ 1))
            endLine()
        } else {
            base[count] = type
            count &+= 1 &+ formatInteger(value, into: base + (count &+ 1))
            endLine()
        }
    }

    /// `$byteCount` into space that is reserved: nearly all lengths have one or two digits.
    @inlinable
    @inline(__always)
    mutating func bulkHeader(_ byteCount: Int) {
        if byteCount < 10 {
            word(0x0A0D_3024 | UInt32(truncatingIfNeeded: byteCount) << 8)
            count &+= 4
        } else if byteCount < 100 {
            let (tens, ones) = (UInt32(truncatingIfNeeded: byteCount / 10), UInt32(truncatingIfNeeded: byteCount % 10))
            word(0x0D30_3024 | tens << 8 | ones << 16)
            base[count &+ 4] = 0x0A
            count &+= 5
        } else {
            lineUnchecked(0x24, Int64(byteCount))
        }
    }

    /// Four bytes, the lowest first, behind what was written.
    @inlinable
    @inline(__always)
    func word(_ bytes: UInt32) {
        UnsafeMutableRawPointer(base + count).storeBytes(of: bytes.littleEndian, as: UInt32.self)
    }

    @inlinable
    mutating func put(_ byte: UInt8) {
        base[count] = byte
        count += 1
    }

    @inlinable
    @inline(__always)
    mutating func copy(_ bytes: ByteView) {
        copyBytes(from: bytes, to: base + count)
        count &+= bytes.count
    }

    @inlinable
    @inline(__always)
    mutating func endLine() {
        let end = UInt16(0x0A0D).littleEndian
        UnsafeMutableRawPointer(base + count).storeBytes(of: end, as: UInt16.self)
        count &+= 2
    }

    /// Makes room for `byteCount` more bytes; false when there is none, and what waited is gone then. Up to
    /// ``initialCapacity`` there always is room.
    @inlinable
    package mutating func reserve(_ byteCount: Int) -> Bool {
        capacity - count >= byteCount || growSlowly(byteCount)
    }

    @usableFromInline
    @inline(never)
    mutating func growSlowly(_ byteCount: Int) -> Bool {
        if overflow == nil {
            if byteCount > byteCountMax - count {
                overflow = .limit
            } else if grow(by: byteCount) {
                return true
            } else {
                overflow = .memory
            }
        }
        // Starts anew in the memory that there is: nothing of it will be sent.
        count = 0
        assert(capacity >= Self.initialCapacity)
        return byteCount <= capacity
    }

    private mutating func grow(by byteCount: Int) -> Bool {
        let (needed, isTooMuch) = count.addingReportingOverflow(byteCount)
        guard !isTooMuch else { return false }
        for newCapacity in [max(min(capacity * 2, byteCountMax), needed), needed] {
            guard let moved = resizeBuffer(base, capacity: newCapacity) else { continue }
            base = moved
            capacity = newCapacity
            return true
        }
        return false
    }

    @inline(never)
    private mutating func shrinkSlowly() {
        // Without memory for a small one the large one stays.
        guard let small: UnsafeMutablePointer<UInt8> = resizeBuffer(nil, capacity: Self.initialCapacity) else { return }
        deallocateBuffer(base)
        base = small
        capacity = Self.initialCapacity
    }
}
