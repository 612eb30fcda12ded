// Goal: a directory of blocks finds the block of every hash while it grows to many pages and shrinks back, whatever
// hashes come and while memory is refused, and gives all of it back. Method: blocks of four hashes at most beside a
// directory, random and skewed hashes, the invariants on the way.

import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

@testable import KedisStore

@Suite("Directories of blocks")
struct BlockDirectoryTests {
    @Test("Every hash has its block, from one block to many pages and back", arguments: [false, true])
    func model(isSkewed: Bool) {
        let generator = RandomGenerator.forTest("block directory, skewed \(isSkewed)")
        let walk = DirectoryWalk(isSkewed: isSkewed, generator: generator)
        let count = reducedWhenSanitized(40_000)
        for _ in 0..<2 {
            for step in 0..<count {
                walk.insert()
                if step % 7 == 0 { walk.removeOne() }
            }
            walk.check()
            walk.copyAndCompare()
            while walk.hashCount > 3 { walk.removeOne() }
            walk.check()
        }
        #expect(walk.pageCountSeen > (isSanitized ? 0 : 8))
        walk.finish()
    }

    @Test("A refused change leaves the directory as it was", arguments: [false, true])
    func refused(isSkewed: Bool) {
        let generator = RandomGenerator.forTest("block directory without memory, skewed \(isSkewed)")
        let walk = DirectoryWalk(isSkewed: isSkewed, generator: generator)
        walk.refusesSometimes = true
        for step in 0..<reducedWhenSanitized(40_000) {
            walk.insert()
            if step % 1000 == 0 { walk.check() }
        }
        walk.copyAndCompare()
        while walk.hashCount > 100 { walk.removeOne() }
        #expect(walk.refusedCount > 0)
        walk.finish()
    }

    @Test("However many blocks there are, a change copies a few pages at most")
    func boundedWork() {
        let walk = DirectoryWalk(isSkewed: false, generator: .forTest("work of a block directory"))
        var mostTaken = 0
        for _ in 0..<reducedWhenSanitized(200_000) {
            let (before, rootBefore) = (walk.directory.byteCount, walk.rootByteCount)
            walk.insert()
            mostTaken = max(mostTaken, walk.directory.byteCount - before - (walk.rootByteCount - rootBefore))
        }
        // A page that is split into two, one of which doubles.
        #expect(mostTaken < 24 << 10)
        // The root is as deep as the five hashes that are most alike want it: beside the pages it is small.
        #expect(walk.rootByteCount < walk.directory.byteCount / 2)
        walk.finish()
    }
}

/// Blocks of hashes, and the directory that finds them.
private final class DirectoryWalk {
    private struct Block {
        var bitCount: Int
        var hashes: Set<UInt64>
    }

    var rootByteCount: Int { MemoryLayout<BlockDirectory.Page>.stride << directory.rootDepth }

    private static let hashCountMax = 4
    private let source: UnsafeMutablePointer<MemorySource>
    private let room = UnsafeMutableRawPointer.allocate(byteCount: BlockDirectory.roomByteCount, alignment: 8)
    private var blocks: [UnsafeMutableRawPointer: Block] = [:]
    private var hashes: [UInt64] = []
    private var generator: RandomGenerator
    private let isSkewed: Bool
    private(set) var directory: BlockDirectory
    var refusesSometimes = false
    private(set) var refusedCount = 0
    /// Pages that there must have been: none has more than 1,024 entries.
    private(set) var pageCountSeen = 0

    init(isSkewed: Bool, generator: RandomGenerator) {
        self.isSkewed = isSkewed
        self.generator = generator
        source = .allocate(capacity: 1)
        source.initialize(to: MemorySource())
        let first = UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 16)
        blocks[first] = Block(bitCount: 0, hashes: [])
        directory = BlockDirectory(first, room: room, from: source)
    }

    var hashCount: Int { hashes.count }

    private func makeBlock(_ block: Block) -> UnsafeMutableRawPointer {
        let address = UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 16)
        blocks[address] = block
        return address
    }

    private func freeBlock(_ address: UnsafeMutableRawPointer) {
        blocks[address] = nil
        address.deallocate()
    }

    private func randomHash() -> UInt64 {
        let hash = generator.next()
        // Half of them begin with up to 6 equal bits: more do not happen, as nobody can choose hashes.
        return isSkewed && generator.next(below: 2) == 0 ? hash >> UInt64(generator.next(below: 7)) : hash
    }

    func insert() {
        let isRefused = refusesSometimes && generator.next(below: 3) == 0
        source.pointee.byteCountMax.store(isRefused ? 0 : .max, ordering: .relaxed)
        let hash = randomHash()
        while true {
            let address = directory.block(hash)
            guard let block = blocks[address] else { preconditionFailure("an unknown block") }
            if block.hashes.count < Self.hashCountMax || block.hashes.contains(hash) || block.bitCount == 60 {
                if blocks[address]?.hashes.insert(hash).inserted == true { hashes.append(hash) }
                return
            }
            let bitCount = block.bitCount + 1
            guard directory.prepare(hash, bitCount: bitCount) else {
                #expect(isRefused && directory.block(hash) == address)
                refusedCount += 1
                return
            }
            let bit = UInt64(1) << UInt64(64 - bitCount)
            let low = makeBlock(Block(bitCount: bitCount, hashes: block.hashes.filter { $0 & bit == 0 }))
            let high = makeBlock(Block(bitCount: bitCount, hashes: block.hashes.filter { $0 & bit != 0 }))
            directory.enterHalves(low, high, hash, bitCount: bitCount)
            freeBlock(address)
            pageCountSeen = max(pageCountSeen, blocks.count / 1024)
        }
    }

    func removeOne() {
        guard !hashes.isEmpty else { return }
        source.pointee.byteCountMax.store(
            refusesSometimes && generator.next(below: 3) == 0 ? 0 : .max, ordering: .relaxed)
        let index = generator.next(below: hashes.count)
        let hash = hashes[index]
        hashes.swapAt(index, hashes.count - 1)
        hashes.removeLast()
        let address = directory.block(hash)
        #expect(blocks[address]?.hashes.remove(hash) == hash)
        join(hash)
    }

    private func join(_ hash: UInt64) {
        let address = directory.block(hash)
        guard let block = blocks[address], block.bitCount > 0 else { return }
        let bit = UInt64(1) << UInt64(64 - block.bitCount)
        let other = directory.block(hash ^ bit)
        guard let neighbour = blocks[other], neighbour.bitCount == block.bitCount,
            block.hashes.count + neighbour.hashes.count <= Self.hashCountMax / 2,
            directory.canJoin(hash, bitCount: block.bitCount)
        else { return }
        let joined = makeBlock(
            Block(bitCount: block.bitCount - 1, hashes: block.hashes.union(neighbour.hashes)))
        directory.enterJoined(joined, hash, bitCount: block.bitCount)
        freeBlock(address)
        freeBlock(other)
    }

    func check() {
        var seen = 0
        var bitCountMax = 0
        directory.checkInvariants { address, hash, bitCount in
            guard let block = blocks[address] else { preconditionFailure("an unknown block") }
            #expect(block.bitCount == bitCount)
            #expect(block.hashes.allSatisfy { bitCount == 0 || ($0 ^ hash) >> UInt64(64 - bitCount) == 0 })
            seen += 1
            bitCountMax = max(bitCountMax, bitCount)
        }
        #expect(seen == blocks.count && bitCountMax <= directory.bitCountMax)
        var walked = 0
        directory.forEach { _ in
            walked += 1
            return true
        }
        #expect(walked == seen)
        #expect(hashes.allSatisfy { blocks[directory.block($0)]?.hashes.contains($0) == true })
    }

    /// A copy has other blocks at the same places; one that was refused in the middle gives each of them once.
    func copyAndCompare() {
        source.pointee.byteCountMax.store(.max, ordering: .relaxed)
        for stop in [Int.max, 0, 1, blocks.count / 2, blocks.count - 1] {
            let place = UnsafeMutableRawPointer.allocate(byteCount: BlockDirectory.roomByteCount, alignment: 8)
            let empty = UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 16)
            var copy = BlockDirectory(empty, room: place, from: source)
            var hash: UInt64 = 0
            var copies: [UnsafeMutableRawPointer] = []
            directory.forEach { address in
                guard copies.count < stop, let block = blocks[address] else { return false }
                let made = UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 16)
                let isEntered = copy.enterCopy(made, hash, bitCount: block.bitCount)
                #expect(isEntered)
                #expect(copy.block(hash) == made && directory.block(hash) == address)
                copies.append(made)
                if block.bitCount > 0 { hash &+= 1 << UInt64(64 - block.bitCount) }
                return true
            }
            if stop >= blocks.count {
                copy.endCopy()
                copy.checkInvariants { _, _, _ in }
            } else {
                copies.append(empty)
            }
            var taken: [UnsafeMutableRawPointer] = []
            while let block = copy.takeLast() { taken.append(block) }
            #expect(taken == copies.reversed() && copy.byteCount == 0)
            for block in Set(copies + [empty]) { block.deallocate() }
            place.deallocate()
        }
    }

    func finish() {
        source.pointee.byteCountMax.store(.max, ordering: .relaxed)
        check()
        while let block = directory.takeLast() {
            #expect(blocks[block] != nil)
            freeBlock(block)
        }
        #expect(blocks.isEmpty && directory.byteCount == 0)
        source.pointee.byteCountMax.store(1, ordering: .relaxed)
        let isAllBack = source.pointee.reserve(1)
        #expect(isAllBack)
        source.deinitialize(count: 1).deallocate()
        room.deallocate()
    }
}
