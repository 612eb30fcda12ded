// The bytes of a request that is not complete yet.
//
// Ownership: the session. Used only when a read ends inside a request: whole requests are parsed where they arrived.
// Cost: appending copies; taking from the front moves the rest, once a read.

import KedisUtilities

struct InputBuffer: ~Copyable {
    private var base: UnsafeMutablePointer<UInt8>?
    private var capacity = 0
    private(set) var count = 0

    init() {}

    deinit { base?.deallocate() }

    var isEmpty: Bool { count == 0 }

    var view: ByteView {
        guard let base else { return .empty }
        return ByteView(base: UnsafePointer(base), count: count)
    }

    /// Appends `bytes`; `expectedByteCount` more are known to follow, and room is made for them at once.
    mutating func append(_ bytes: ByteView, expectedByteCount: Int = 0) {
        guard bytes.count > 0 else { return }
        if capacity - count < bytes.count { growSlowly(bytes.count, expectedByteCount) }
        guard let base else { return }
        UnsafeMutableRawPointer(base + count).copyMemory(from: bytes.base, byteCount: bytes.count)
        count += bytes.count
    }

    /// Drops the first `byteCount` bytes.
    mutating func removeFirst(_ byteCount: Int) {
        assert(byteCount <= count)
        guard byteCount > 0, let base else { return }
        count -= byteCount
        if count > 0 {
            base.update(from: base + byteCount, count: count)
        } else if capacity > 1 << 16 {
            base.deallocate()
            self.base = nil
            capacity = 0
        }
    }

    @inline(never)
    private mutating func growSlowly(_ byteCount: Int, _ expectedByteCount: Int) {
        // A peer can announce 512 MB and send nothing: believe it only as far as it has sent.
        let expected = min(expectedByteCount, max(1 << 20, count))
        let newCapacity = max(256, max(count + byteCount + expected, capacity * 2))
        let moved = UnsafeMutablePointer<UInt8>.allocate(capacity: newCapacity)
        if let base {
            moved.update(from: base, count: count)
            base.deallocate()
        }
        base = moved
        capacity = newCapacity
    }
}
