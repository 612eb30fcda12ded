// A directory as a whole: filled with copies, taken apart, checked.

extension BlockDirectory {
    // MARK: Copies

    /// Enters the next block of a copy, in the order of hashes, `hash` being its lowest one. The block that the
    /// directory was made with stays the caller's; ``takeLast()`` gives it where no other was entered. False when
    /// memory is exhausted.
    mutating func enterCopy(_ block: Block, _ hash: UInt64, bitCount: Int) -> Bool {
        guard prepare(hash, bitCount: bitCount) else { return false }
        enter(block, hash, bitCount: bitCount)
        return true
    }

    /// After the last block of a copy.
    mutating func endCopy() {
        for index in 0..<1 << rootDepth {
            root[index].deepestCount = Self.deepestCount(root[index].entries, depth: Int(root[index].depth))
        }
    }

    // MARK: The end

    /// Takes the last block out for good, until there is none. The directory is for nothing else then, and its memory
    /// goes with the blocks.
    mutating func takeLast() -> Block? {
        var state = releasing ?? (1 << rootDepth, 0, nil)
        var found: Block?
        while state.rootCount > 0, found == nil {
            let page = root[state.rootCount - 1]
            if state.entryCount == 0 { state.entryCount = 1 << Int(page.depth) }
            let block = page.entries[state.entryCount - 1]
            // In a copy that was not finished a block may have several pages.
            if block != state.last { found = block }
            state.last = block
            repeat { state.entryCount -= 1 } while state.entryCount > 0 && page.entries[state.entryCount - 1] == block
            guard state.entryCount == 0 else { continue }
            deallocate(page.entries, count: 1 << Int(page.depth))
            state.rootCount -= 1 << (rootDepth - Int(page.sharedBitCount))
            if state.rootCount == 0 { deallocate(root, count: 1 << rootDepth) }
        }
        releasing = state
        return found
    }

    // MARK: Invariants

    /// Traps when something does not hold; calls `visit` with every block, its lowest hash and the bits that it shares.
    func checkInvariants(_ visit: (Block, _ hash: UInt64, _ bitCount: Int) -> Void) {
        var sums = (deepestPages: 0, bitCountMax: 0, byteCount: 0)
        var index = 0
        while index < 1 << rootDepth {
            let page = root[index]
            let width = 1 << (rootDepth - Int(page.sharedBitCount))
            precondition(index & (width - 1) == 0, "a page has a whole part of the root")
            for entry in index..<index + width { precondition(root[entry].entries == page.entries) }
            check(page, hash: rootDepth == 0 ? 0 : UInt64(index) << UInt64(64 - rootDepth), visit)
            if Int(page.sharedBitCount) == rootDepth { sums.deepestPages += 1 }
            sums.bitCountMax = max(sums.bitCountMax, page.bitCount)
            sums.byteCount += allocatedByteCount(page.entries, count: 1 << Int(page.depth))
            index += width
        }
        precondition(sums.deepestPages == deepestPageCount && sums.bitCountMax == bitCountMax)
        precondition(sums.byteCount + allocatedByteCount(root, count: 1 << rootDepth) == byteCount)
    }

    private func allocatedByteCount<Element>(_ memory: UnsafeMutablePointer<Element>, count: Int) -> Int {
        isRoom(memory) ? 0 : count * MemoryLayout<Element>.stride + Self.overheadByteCount
    }

    private func check(_ page: Page, hash: UInt64, _ visit: (Block, UInt64, Int) -> Void) {
        precondition(Int(page.depth) <= Self.pageDepthMax)
        precondition(page.deepestCount == Self.deepestCount(page.entries, depth: Int(page.depth)))
        let count = 1 << Int(page.depth)
        var entry = 0
        while entry < count {
            var width = 1
            while entry + width < count, page.entries[entry + width] == page.entries[entry] { width += 1 }
            precondition(width & (width - 1) == 0 && entry & (width - 1) == 0, "a block has a whole part of a page")
            let offset = page.bitCount == 0 ? 0 : UInt64(entry) << UInt64(64 - page.bitCount)
            visit(page.entries[entry], hash | offset, page.bitCount - width.trailingZeroBitCount)
            entry += width
        }
    }
}
