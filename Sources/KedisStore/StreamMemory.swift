// Memory of one stream: from malloc, counted by the store's `MemorySource` and by the stream itself.
//
// Ownership: a counter in the stream's header; what is allocated belongs to who asked for it. Guarded by the stripe's
// lock. Nil when memory is exhausted, nothing being changed then.

import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What a stream has taken, in its header.
struct StreamMemoryCounter {
    var byteCount = 0
}

/// A handle on the counter of a stream.
struct StreamMemory {
    let source: UnsafeMutablePointer<MemorySource>
    let counter: UnsafeMutablePointer<StreamMemoryCounter>

    /// What malloc adds to a block.
    static let blockByteCount = 8

    func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer? {
        guard source.pointee.reserve(byteCount) else { return nil }
        guard let memory = malloc(byteCount) else {
            source.pointee.release(byteCount)
            return nil
        }
        counter.pointee.byteCount += byteCount + StreamMemory.blockByteCount
        return memory
    }

    /// Makes a block larger or smaller; nil, the block being as it was, when memory is exhausted.
    func resize(_ memory: UnsafeMutableRawPointer, from old: Int, to new: Int) -> UnsafeMutableRawPointer? {
        guard new <= old || source.pointee.reserve(new - old) else { return nil }
        guard let moved = realloc(memory, new) else {
            if new > old { source.pointee.release(new - old) }
            return nil
        }
        if new < old { source.pointee.release(old - new) }
        counter.pointee.byteCount += new - old
        return moved
    }

    func deallocate(_ memory: UnsafeMutableRawPointer, _ byteCount: Int) {
        free(memory)
        forget(byteCount)
    }

    /// A block is somebody else's from now on.
    func forget(_ byteCount: Int) {
        source.pointee.release(byteCount)
        counter.pointee.byteCount -= byteCount + StreamMemory.blockByteCount
    }
}
