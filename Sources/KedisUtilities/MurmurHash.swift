// MurmurHash64A of Austin Appleby (public domain): the hash that the stored form of a HyperLogLog is bound to.
//
// For that alone: it is neither keyed nor safe from chosen input (Hashing.swift has the hash of keys). Little-endian
// words whatever the machine, so that the result can be stored. Cost: two multiplications for each 8 bytes.

/// The hash of `bytes` under `seed`. O(N).
package func murmurHash64A(_ bytes: ByteView, seed: UInt64) -> UInt64 {
    let factor: UInt64 = 0xc6a4_a793_5bd1_e995
    let base = UnsafeRawPointer(bytes.base)
    let wordByteCount = bytes.count & ~7
    var hash = seed ^ (UInt64(truncatingIfNeeded: bytes.count) &* factor)
    var offset = 0
    while offset < wordByteCount {
        var word = UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) &* factor
        word ^= word >> 47
        hash = (hash ^ (word &* factor)) &* factor
        offset &+= 8
    }
    if offset < bytes.count {
        var rest: UInt64 = 0
        var index = bytes.count
        while index > offset {
            index &-= 1
            rest = rest << 8 | UInt64(bytes.base[index])
        }
        hash = (hash ^ rest) &* factor
    }
    hash = (hash ^ (hash >> 47)) &* factor
    return hash ^ (hash >> 47)
}
