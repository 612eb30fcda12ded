// The bytes of a request that is not complete yet.
//
// Ownership: the session. Used only when a read ends inside a request: whole requests are parsed where they arrived.
// Cost: appending copies; taking from the front moves the rest, once a read. Memory that is refused is told to the
// session, which gives the request up.

import KedisUtilities

struct InputBuffer: ~Copyable {
    private var base: UnsafeMutablePointer<UInt8>?
    private(set) var capacity = 0
    private(set) var count = 0

    init() {}

    deinit { deallocateBuffer(base) }

    var isEmpty: Bool { count == 0 }

    var view: ByteView {
        guard let base else { return .empty }
        return ByteView(base: UnsafePointer(base), count: count)
    }

    /// Appends `bytes`; `expectedByteCount` more are known to follow, and room is made for them at once. False when
    /// memory is exhausted: nothing was appended then.
    mutating func append(_ bytes: ByteView, expectedByteCount: Int = 0) -> Bool {
        guard bytes.count > 0 else { return true }
        if capacity - count < bytes.count, !growSlowly(bytes.count, expectedByteCount) { return false }
        guard let base else { return false }
        UnsafeMutableRawPointer(base + count).copyMemory(from: bytes.base, byteCount: bytes.count)
        count += bytes.count
        return true
    }

    /// Drops the first `byteCount` bytes.
    mutating func removeFirst(_ byteCount: Int) {
        assert(byteCount <= count)
        guard byteCount > 0, let base else { return }
        count -= byteCount
        if count > 0 {
            base.update(from: base + byteCount, count: count)
        } else if capacity > 1 << 16 {
            deallocateBuffer(base)
            self.base = nil
            capacity = 0
        }
    }

    @inline(never)
    private mutating func growSlowly(_ byteCount: Int, _ expectedByteCount: Int) -> Bool {
        // A peer can announce 512 MB and send nothing: believe it only as far as it has sent.
        let expected = min(expectedByteCount, max(1 << 20, count))
        let needed = count + byteCount
        let wanted = max(256, max(needed + expected, capacity * 2))
        for newCapacity in [wanted, needed] {
            guard let moved = resizeBuffer(base, capacity: newCapacity) else { continue }
            base = moved
            capacity = newCapacity
            return true
        }
        return false
    }
}
