// A borrowed run of bytes: the argument of a command, a key, a value, a piece of a file.
//
// Ownership: none. A view is valid as long as the memory that it was made from: for arguments until the session has
// executed its batch, for stored values until the stripe's lock is released or the entry is changed. Views are never
// stored. Cost: two words, passed in registers; no reference counting.

/// A borrowed, immutable run of bytes (a pointer and a count, in bytes).
///
/// Reading out of range is a bug in Kedis: it is asserted in debug builds and unchecked in release builds, so every
/// caller validates its indices against ``count`` first.
@frozen
@usableFromInline
package struct ByteView: BitwiseCopyable, @unchecked Sendable {
    // Sendable: a view is a plain address; whoever sends it guarantees the lifetime of what it points at.

    @usableFromInline package let base: UnsafePointer<UInt8>
    @usableFromInline package let count: Int

    /// Makes a view of `count` bytes at `base`. `base` may dangle when `count` is 0.
    @inlinable
    package init(base: UnsafePointer<UInt8>, count: Int) {
        assert(count >= 0)
        self.base = base
        self.count = count
    }

    /// Makes a view of the bytes of `buffer`, which must outlive the view.
    @inlinable
    package init(_ buffer: UnsafeRawBufferPointer) {
        if let base = buffer.baseAddress {
            self.init(base: base.assumingMemoryBound(to: UInt8.self), count: buffer.count)
        } else {
            self.init(base: ByteView.nowhere, count: 0)
        }
    }

    /// Makes a view of the bytes of a literal, which live as long as the program.
    @inlinable
    package init(_ literal: StaticString) {
        self.init(base: literal.utf8Start, count: literal.utf8CodeUnitCount)
    }

    /// An aligned address that is never read: the base of empty views.
    @inlinable
    package static var nowhere: UnsafePointer<UInt8> {
        UnsafePointer(bitPattern: 64).unsafelyUnwrapped
    }

    @inlinable
    package static var empty: ByteView { ByteView(base: nowhere, count: 0) }

    @inlinable
    package var isEmpty: Bool { count == 0 }

    /// The byte at `index`, which must be in `0..<count`.
    @inlinable
    package subscript(index: Int) -> UInt8 {
        assert(index >= 0 && index < count)
        return base[index]
    }

    /// The view of `range`, which must lie in `0..<count`.
    @inlinable
    package subscript(range: Range<Int>) -> ByteView {
        assert(range.lowerBound >= 0 && range.upperBound <= count)
        return ByteView(base: base + range.lowerBound, count: range.count)
    }

    @inlinable
    package var raw: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

    @inlinable
    package var buffer: UnsafeBufferPointer<UInt8> { UnsafeBufferPointer(start: base, count: count) }

    /// A copy of the bytes. Allocates: not for the data path.
    @inlinable
    package var bytes: [UInt8] { [UInt8](buffer) }

    /// The bytes as text, damaged UTF-8 repaired. Allocates: for messages and tools only.
    package var text: String { String(decoding: buffer, as: UTF8.self) }
}

/// Copies `bytes` to memory that may overlap them. Up to 16 bytes in two parts, both read before one is written: a call
/// of the C library's function costs more than that.
@inlinable
@inline(__always)
package func copyBytes(from bytes: ByteView, to target: UnsafeMutablePointer<UInt8>) {
    let (source, destination) = (UnsafeRawPointer(bytes.base), UnsafeMutableRawPointer(target))
    let count = bytes.count
    if count > 16 {
        destination.copyMemory(from: source, byteCount: count)
    } else if count >= 8 {
        let end = source.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
        destination.storeBytes(of: source.loadUnaligned(as: UInt64.self), as: UInt64.self)
        destination.storeBytes(of: end, toByteOffset: count &- 8, as: UInt64.self)
    } else if count >= 4 {
        let end = source.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self)
        destination.storeBytes(of: source.loadUnaligned(as: UInt32.self), as: UInt32.self)
        destination.storeBytes(of: end, toByteOffset: count &- 4, as: UInt32.self)
    } else if count > 0 {
        let (middle, last) = (bytes.base[count >> 1], bytes.base[count &- 1])
        target[0] = bytes.base[0]
        target[count >> 1] = middle
        target[count &- 1] = last
    }
}

extension ByteView: ExpressibleByStringLiteral {
    /// A view of a literal's bytes, so that functions over views can be called with text.
    @inlinable
    package init(stringLiteral literal: StaticString) { self.init(literal) }
}
