// An encoded snapshot in memory, between the moment that the locks are released and the moment that it is on disk.
//
// Ownership: owns its pieces, freed one by one while they are drained. One thread at a time. Memory: the bytes given.

import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

final class MemoryChunks {
    private var pieces: [UnsafeMutableRawBufferPointer] = []
    /// Whether there was no memory for a piece.
    private(set) var isExhausted = false

    deinit {
        for piece in pieces { free(piece.baseAddress) }
    }

    /// Keeps a copy of `bytes`; false when memory is exhausted.
    func append(_ bytes: ByteView) -> Bool {
        guard !isExhausted, let memory = malloc(max(1, bytes.count)) else {
            isExhausted = true
            return false
        }
        memory.copyMemory(from: bytes.base, byteCount: bytes.count)
        pieces.append(UnsafeMutableRawBufferPointer(start: memory, count: bytes.count))
        return true
    }

    /// Gives every piece in order and frees it, until `body` answers false.
    func drain(_ body: (ByteView) -> Bool) {
        let taken = pieces
        pieces = []
        var isAccepted = true
        for piece in taken {
            if isAccepted { isAccepted = body(ByteView(UnsafeRawBufferPointer(piece))) }
            free(piece.baseAddress)
        }
    }
}
