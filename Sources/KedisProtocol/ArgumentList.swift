// The arguments of one request: views into the bytes that the client sent.

public import KedisUtilities

/// Where an argument lies, in bytes from the start of its request.
@frozen
@usableFromInline
package struct ArgumentRange: Sendable {
    @usableFromInline package var offset: Int
    @usableFromInline package var count: Int

    @inlinable
    package init(offset: Int, count: Int) {
        self.offset = offset
        self.count = count
    }
}

/// A borrowed argument vector: the command's name is at index 0. Valid until the batch was executed.
@frozen
@usableFromInline
package struct ArgumentList {
    @usableFromInline let base: UnsafePointer<UInt8>
    @usableFromInline let ranges: UnsafePointer<ArgumentRange>
    @usableFromInline package let count: Int

    @inlinable
    package init(base: UnsafePointer<UInt8>, ranges: UnsafePointer<ArgumentRange>, count: Int) {
        self.base = base
        self.ranges = ranges
        self.count = count
    }

    /// The argument at `index`, which must be in `0..<count`.
    @inlinable
    package subscript(index: Int) -> ByteView {
        assert(index >= 0 && index < count)
        let range = ranges[index]
        return ByteView(base: base + range.offset, count: range.count)
    }

    /// The bytes up to the end of the last argument. There is at least one argument.
    package var byteCount: Int { ranges[count - 1].offset + ranges[count - 1].count }

    /// The arguments from `start` on, as a list of their own.
    @inlinable
    package func dropFirst(_ start: Int) -> ArgumentList {
        assert(start >= 0 && start <= count)
        return ArgumentList(base: base, ranges: ranges + start, count: count - start)
    }
}
