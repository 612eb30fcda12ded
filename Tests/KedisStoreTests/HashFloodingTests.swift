// Goal: keys that were chosen to fall together under a known hash cost no more than others, because the hash is keyed
// with a random seed; and even with a seed that is known nothing traps.
//
// Method: under the seed (0, 0), 16-byte keys that begin with the hash's first constant all have the same hash: their
// first factor is zero. The tables that 1 M of them make are compared with those of 1 M random keys by shape: with
// either kind, another seed changes each count by at most 1.7 times its root (standard deviation over 12 seeds, when the
// key count is a power of two, so that no segment is about to split), and keys that fall together change it many times over.

import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("Hash flooding")
struct HashFloodingTests {
    private static let constant: UInt64 = 0x6a09_e667_f3bc_c909

    private static func craftedKey(_ index: Int) -> [UInt8] {
        withUnsafeBytes(of: constant.littleEndian) { Array($0) }
            + withUnsafeBytes(of: UInt64(index).littleEndian) { Array($0) }
    }

    private func hash(_ key: [UInt8], _ seed: HashSeed) -> UInt64 {
        key.withUnsafeBytes { hashBytes(ByteView($0), seed: seed) }
    }

    private func fill(_ count: Int, seed: HashSeed, _ name: (Int) -> [UInt8]) throws -> TableStatistics {
        let store = Store(databaseCount: 1, seed: seed)
        store.lock(.all)
        for index in 0..<count { try put(store, name(index), []) }
        for index in stride(from: 0, to: count, by: 1000) { #expect(get(store, name(index)) == []) }
        store.unlock(.all)
        #expect(store.keyspace(0, nowMilliseconds: 1000).count == count)
        return store.tableStatistics(databaseIndex: 0)
    }

    @Test("The crafted keys do fall together without a secret seed, and do not with one")
    func construction() {
        let expected = hash(Self.craftedKey(0), HashSeed(0, 0))
        for index in 0..<100_000 { #expect(hash(Self.craftedKey(index), HashSeed(0, 0)) == expected) }
        let seed = HashSeed(systemEntropy(), systemEntropy())
        let hashes = Set((0..<100_000).map { hash(Self.craftedKey($0), seed) })
        #expect(hashes.count == 100_000)
        // They fall into the stripes as random keys do: 1563 each on average, 40 more or less.
        var stripes = [Int](repeating: 0, count: Store.stripeCount)
        for hash in hashes { stripes[Int(hash >> 58)] += 1 }
        #expect(stripes.allSatisfy { abs($0 - 1563) < 300 }, "\(stripes)")
    }

    @Test("Keys of one hash and one length that differ in one byte are told apart")
    func differenceInOneByte() throws {
        let store = Store(databaseCount: 1, seed: HashSeed(0, 0))
        store.lock(.all)
        defer { store.unlock(.all) }
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        for byteCount in 0...70 {
            // Another hash for each length: only keys of the same one are compared.
            let hash = UInt64(byteCount) << 40
            var name = [UInt8](repeating: 0x61, count: byteCount)
            try name.withUnsafeBytes { try keyspace.setInteger(Key(ByteView($0), hash: hash), 1) }
            #expect(name.withUnsafeBytes { keyspace.peek(Key(ByteView($0), hash: hash)) != nil })
            for position in 0..<byteCount {
                name[position] ^= 0x80
                #expect(name.withUnsafeBytes { keyspace.peek(Key(ByteView($0), hash: hash)) == nil })
                name[position] ^= 0x80
            }
        }
    }

    /// Six times the standard deviation of the difference of two such counts.
    private func isLike(_ count: Int, _ other: Int) -> Bool {
        abs(count - other) <= 30 || Double(abs(count - other)) <= 15 * Double(other).squareRoot()
    }

    @Test("1 M crafted keys make the same tables as 1 M random ones")
    func flood() throws {
        var generator = testGenerator("hash flooding")
        let count = isSanitized ? 1 << 17 : 1 << 20
        let seed = HashSeed(generator.next(), generator.next())
        let crafted = try fill(count, seed: seed, Self.craftedKey)
        let words = (0..<count).map { _ in (generator.next(), generator.next()) }
        let random = try fill(count, seed: seed) { index in withUnsafeBytes(of: words[index]) { Array($0) } }
        print("crafted: \(crafted)\nrandom: \(random)")
        #expect(crafted.keyCount == count && random.keyCount == count)
        #expect(crafted.segmentsByDepth.count == random.segmentsByDepth.count)
        #expect(isLike(crafted.segmentCount, random.segmentCount))
        #expect(isLike(crafted.neighbourKeyCount, random.neighbourKeyCount))
        // The stash holds what is looked for longest.
        #expect(isLike(crafted.stashKeyCount, random.stashKeyCount))
        for (fill, bucketCount) in crafted.bucketsByFill.enumerated() {
            #expect(isLike(bucketCount, random.bucketsByFill[fill]), "buckets with \(fill) keys")
        }
    }

    @Test("Who knows the seed gets an error at the worst: nothing traps, what was stored stays")
    func knownSeed() throws {
        let store = Store(databaseCount: 1, seed: HashSeed(0, 0))
        var stored: [Int] = []
        store.lock(.all)
        defer { store.unlock(.all) }
        for index in 0..<3000 {
            guard (try? put(store, Self.craftedKey(index), Array("\(index)".utf8))) != nil else { continue }
            stored.append(index)
        }
        print("\(stored.count) keys with one hash were stored")
        // At least what one bucket, its neighbour and the stash hold.
        #expect(stored.count > 60)
        for index in stored { #expect(get(store, Self.craftedKey(index)) == Array("\(index)".utf8)) }
        // Other keys go on as before.
        for index in 0..<3000 { try put(store, Array("other:\(index)".utf8), [1]) }
        for index in stored {
            let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
            let isRemoved = withKey(store, Self.craftedKey(index)) { keyspace.remove($0) }
            #expect(isRemoved)
        }
        #expect(store.keyspace(0, nowMilliseconds: 1000, held: .all).count == 3000)
        try put(store, Self.craftedKey(0), [2])
    }
}
