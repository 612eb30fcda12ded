// Memory whose refusal is an answer: of buffers that a client, a peer or a file can make grow.
//
// Arrays and `UnsafeMutablePointer.allocate` end the process when the system refuses. What grows with input comes from
// here instead, and a refusal goes up to the command or the connection that asked. From `probedByteCountMin` on, an
// allocation also leaves `headroomByteCount` of address space to everything that cannot say no: small arrays, strings,
// the buffers of the transport. Threads: any. Cost: a look at the system takes some microseconds, for large ones only,
// and once for each `unprobedByteCountMax` bytes of them.

import CKedis
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Address space that large allocations leave to small ones.
private let headroomByteCount = 16 << 20
/// What is large.
private let probedByteCountMin = 16 << 10
/// What all threads together may allocate between two looks: about so much of the headroom can be gone unseen.
private let unprobedByteCountMax: UInt = 1 << 20
/// What was ever granted. What was freed is not taken off: then there is a look too many, not one too few.
private let grantedByteCount = Atomic<UInt>(0)

/// Whether the system would give `byteCount` bytes, and headroom beside them. For those who cannot take a refusal: what
/// they allocate then should be far smaller than the headroom, as other threads ask too.
@inline(never)
package func hasHeadroom(beside byteCount: Int) -> Bool {
    let (total, overflow) = byteCount.addingReportingOverflow(headroomByteCount)
    guard !overflow, let probe = kedis_map(total) else { return false }
    kedis_unmap(probe, total)
    return true
}

/// Whether `byteCount` bytes may be allocated now, which is for buffers that come and go all the time: it looks for
/// headroom once for each MiB that was granted, and always from 1 MiB on.
@inline(never)
package func mayAllocate(byteCount: Int) -> Bool {
    let before = grantedByteCount.load(ordering: .relaxed)
    let sum = before &+ UInt(truncatingIfNeeded: byteCount)
    if before / unprobedByteCountMax != sum / unprobedByteCountMax, !hasHeadroom(beside: byteCount) { return false }
    // A refused one is not counted: until others are freed, one of its size is refused again.
    grantedByteCount.wrappingAdd(UInt(truncatingIfNeeded: byteCount), ordering: .relaxed)
    return true
}

/// Memory from malloc, to be given to ``deallocateBuffer(_:)``; nil when memory is exhausted.
package func allocateBuffer(byteCount: Int, isZeroed: Bool = false) -> UnsafeMutableRawPointer? {
    guard byteCount < probedByteCountMin || mayAllocate(byteCount: byteCount) else { return nil }
    return isZeroed ? calloc(1, max(1, byteCount)) : malloc(max(1, byteCount))
}

@usableFromInline
package func deallocateBuffer(_ memory: UnsafeMutableRawPointer?) { free(memory) }

/// Gives a buffer of ``allocateBuffer(byteCount:isZeroed:)`` room for `capacity` elements, those in it being kept; nil
/// when memory is exhausted, the buffer then being as it was. Nil as `memory` is an empty buffer. Large ones keep their
/// pages and are not copied, where the system can do so.
@usableFromInline
package func resizeBuffer<Element: BitwiseCopyable>(
    _ memory: UnsafeMutablePointer<Element>?, capacity: Int
) -> UnsafeMutablePointer<Element>? {
    let (byteCount, overflow) = capacity.multipliedReportingOverflow(by: MemoryLayout<Element>.stride)
    guard !overflow, byteCount < probedByteCountMin || mayAllocate(byteCount: byteCount) else { return nil }
    return realloc(memory, max(1, byteCount))?.bindMemory(to: Element.self, capacity: capacity)
}

/// A buffer for a few elements, which the headroom is for: without even that there is nothing left to answer with.
package func smallBuffer<Element: BitwiseCopyable>(
    _ type: Element.Type, capacity: Int
) -> UnsafeMutablePointer<Element> {
    guard let memory: UnsafeMutablePointer<Element> = resizeBuffer(nil, capacity: capacity) else {
        preconditionFailure("no memory for \(capacity) elements")
    }
    return memory
}
