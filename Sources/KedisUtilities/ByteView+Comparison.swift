// Comparing and searching borrowed bytes.
//
// Ownership: none, as for every view. Cost: short keys are compared inline, eight bytes a step; from 64 bytes on the C
// library's vectorised routine takes over. Order is that of unsigned bytes, a prefix first.

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

extension ByteView: Equatable {
    /// Whether both views hold the same bytes.
    @inlinable
    package static func == (left: ByteView, right: ByteView) -> Bool {
        guard left.count == right.count else { return false }
        let count = left.count
        if count >= 64 { return left.equalsLong(right) }
        let a = UnsafeRawPointer(left.base)
        let b = UnsafeRawPointer(right.base)
        if count >= 8 {
            var offset = 0
            while offset < count &- 8 {
                if loadWord(a, offset) != loadWord(b, offset) { return false }
                offset &+= 8
            }
            // The last step overlaps the one before instead of going byte by byte.
            return loadWord(a, count &- 8) == loadWord(b, count &- 8)
        }
        var index = 0
        while index < count {
            if left.base[index] != right.base[index] { return false }
            index &+= 1
        }
        return true
    }

    @inlinable
    @inline(__always)
    static func loadWord(_ base: UnsafeRawPointer, _ offset: Int) -> UInt64 {
        base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    }

    /// The slow path of `==`; the counts are equal.
    @usableFromInline
    @inline(never)
    func equalsLong(_ other: ByteView) -> Bool {
        memcmp(base, other.base, count) == 0
    }
}

extension ByteView: Comparable {
    /// Whether `left` comes first in byte order.
    @usableFromInline
    package static func < (left: ByteView, right: ByteView) -> Bool {
        let common = memcmp(left.base, right.base, min(left.count, right.count))
        return common == 0 ? left.count < right.count : common < 0
    }
}

extension ByteView {
    /// Whether the bytes are those of `other`, A-Z and a-z being the same.
    @inlinable
    package func equalsIgnoringCase(_ other: ByteView) -> Bool {
        guard count == other.count else { return false }
        var index = 0
        while index < count {
            if asciiLowercased(base[index]) != asciiLowercased(other.base[index]) { return false }
            index &+= 1
        }
        return true
    }

    @inlinable
    package func hasPrefix(_ prefix: ByteView) -> Bool {
        count >= prefix.count && ByteView(base: base, count: prefix.count) == prefix
    }

    /// The index of the first `byte`, or nil.
    package func firstIndex(of byte: UInt8) -> Int? {
        guard count > 0, let found = memchr(base, Int32(byte), count) else { return nil }
        return UnsafeRawPointer(found) - UnsafeRawPointer(base)
    }
}
