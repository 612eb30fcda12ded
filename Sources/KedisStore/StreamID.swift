// The ID of a stream entry: milliseconds and a sequence number, compared in that order. A plain value of 16 bytes.

/// An ID, `milliseconds-sequence`.
package struct StreamID: Comparable, Hashable, BitwiseCopyable, Sendable {
    package var milliseconds: UInt64
    package var sequence: UInt64

    @inlinable
    package init(_ milliseconds: UInt64, _ sequence: UInt64) {
        self.milliseconds = milliseconds
        self.sequence = sequence
    }

    package static let zero = StreamID(0, 0)
    package static let last = StreamID(.max, .max)
    package static let byteCount = 16

    @inline(__always)
    package static func < (left: StreamID, right: StreamID) -> Bool {
        left.milliseconds != right.milliseconds
            ? left.milliseconds < right.milliseconds : left.sequence < right.sequence
    }

    /// The ID after it; nil for the last one.
    package var next: StreamID? {
        if sequence < .max { return StreamID(milliseconds, sequence + 1) }
        return milliseconds < .max ? StreamID(milliseconds + 1, 0) : nil
    }

    /// The ID before it; nil for the first one.
    package var previous: StreamID? {
        if sequence > 0 { return StreamID(milliseconds, sequence - 1) }
        return milliseconds > 0 ? StreamID(milliseconds - 1, .max) : nil
    }

    /// As files and payloads have it: both numbers, highest byte first.
    package init(bigEndianAt address: UnsafeRawPointer) {
        milliseconds = UInt64(bigEndian: address.loadUnaligned(as: UInt64.self))
        sequence = UInt64(bigEndian: address.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }

    package func storeBigEndian(at address: UnsafeMutableRawPointer) {
        address.storeBytes(of: milliseconds.bigEndian, as: UInt64.self)
        address.storeBytes(of: sequence.bigEndian, toByteOffset: 8, as: UInt64.self)
    }
}
