// Drawing from a wheel at random: which keys have a deadline, where few have one.
//
// Blocks are drawn, not entries: each holds up to 15 deadlines that are close together. Stale entries are among them.

import KedisUtilities

extension ExpirySchedule {
    /// Calls `body` with the fingerprints of one block chosen at random; with none when the draw meets no block. O(1).
    func forEachInRandomBlock(
        using generator: inout RandomGenerator, _ body: (_ fingerprint: UInt32, inout RandomGenerator) -> Void
    ) {
        let isRetired = retired.count > 0 && generator.next(below: count) >= wheel.count
        if isRetired {
            retired.pool.forEachInRandomBlock(using: &generator, body)
        } else {
            wheel.pool.forEachInRandomBlock(using: &generator, body)
        }
    }
}

extension WheelBlockPool {
    fileprivate func forEachInRandomBlock(
        using generator: inout RandomGenerator, _ body: (_ fingerprint: UInt32, inout RandomGenerator) -> Void
    ) {
        guard let block = randomBlock(using: &generator) else { return }
        let words = words(block)
        for index in 0..<entryCount(block) { body(words[index], &generator) }
    }

    /// A block in use; nil when none is met.
    private func randomBlock(using generator: inout RandomGenerator) -> UInt32? {
        guard usedBlockCount > 0 else { return nil }
        let number = generator.next(below: chunkNumberCount)
        let chunk = chunk(UInt32(truncatingIfNeeded: number))
        guard chunk.pointee.memory != nil else { return nil }
        let index = generator.next(below: blockCount(ofChunk: number))
        guard chunk.pointee.freeMask & 1 << UInt64(index) == 0 else { return nil }
        return UInt32(truncatingIfNeeded: number << 6 | index)
    }
}
