// What a session will look for, from input that it has not got yet: a transport that has read from several connections
// lets all of them begin to load before the first executes, so that their cache misses overlap as those of a pipeline
// do.

import KedisStore
import KedisUtilities

extension Session {
    /// Begins to load what the first command of `input` is most likely about, its second argument; the hash that
    /// ``goOnLoading(_:)`` takes a while later, or 0 when there is no telling.
    @inline(__always)
    package func beginLoading(_ input: UnsafeRawBufferPointer) -> UInt64 {
        guard pending.isEmpty, !isBlocked, !isHeld, let key = likelyKey(ByteView(input)) else { return 0 }
        let hash = hashBytes(key, seed: store.seed)
        store.prefetchBuckets(ofHash: hash, databaseIndex: client.pointee.databaseIndex)
        return hash
    }

    @inline(__always)
    package func goOnLoading(_ hash: UInt64) {
        if hash != 0 { store.prefetchCell(ofHash: hash, databaseIndex: client.pointee.databaseIndex) }
    }

    /// The second argument of a request, `*3␍␊$3␍␊SET␍␊$1␍␊k␍␊…`, as far as it is all there.
    private func likelyKey(_ input: ByteView) -> ByteView? {
        guard input.count > 4, input[0] == 0x2A, input[3] == 0x0A, var position = argument(input, 4)?.end else {
            return nil
        }
        position += 2
        guard let key = argument(input, position) else { return nil }
        return input[key.start..<key.end]
    }

    /// Where the argument whose header begins at `start` lies; of up to 99 bytes.
    @inline(__always)
    private func argument(_ input: ByteView, _ start: Int) -> (start: Int, end: Int)? {
        guard start + 5 <= input.count, input[start] == 0x24 else { return nil }
        var count = Int(input[start + 1]) - 0x30, position = start + 2
        if input[position] != 0x0D {
            count = 10 * count + Int(input[position]) - 0x30
            position += 1
        }
        guard (1...99).contains(count), position + 2 + count <= input.count else { return nil }
        return (position + 2, position + 2 + count)
    }
}
