// Walking a table in hash order.
//
// A range of homes is gathered from its first slot up to the first empty slot behind its last one, because a key lies
// between its home and the next empty slot. Only keys whose hash is in the asked range are given, so growing and
// shrinking between two calls neither hides nor repeats a key that stays.

extension Table {
    /// Calls `body` with the slot index of every key whose hash is at least `lowerHash`, stopping after a whole group
    /// of homes once `budget` slots were visited. Returns the hash threshold to go on from, or nil at the table's end.
    ///
    /// `body` must not change the table. Hashes are those of one stripe: the top 6 bits are equal in all of them.
    func scan(from lowerHash: UInt64, budget: Int, _ body: (Int) -> Void) -> UInt64? {
        guard let slots, count > 0 else { return nil }
        let first = home(of: lowerHash)
        // Any budget may be asked for: it is bounded before it is added.
        let end = first + min(slotCount - first, max(1, budget))
        gather(slots, homes: first..<end, lowerHash: lowerHash, body)
        guard end < slotCount else { return nil }
        let stripe = lowerHash & (0x3F << 58)
        return stripe | UInt64(truncatingIfNeeded: end) << UInt64(truncatingIfNeeded: 58 - slotCountLog2)
    }

    private func gather(
        _ slots: UnsafeMutablePointer<Slot>, homes: Range<Int>, lowerHash: UInt64, _ body: (Int) -> Void
    ) {
        var position = homes.lowerBound
        while position - homes.lowerBound < slotCount {
            let index = position & mask
            if slots[index].cell == nil {
                if position >= homes.upperBound { return }
            } else {
                let hash = slots[index].hash
                if homes.contains(home(of: hash)), hash >= lowerHash { body(index) }
            }
            position += 1
        }
    }

    /// Calls `body` with every slot index that holds a key, in slot order. `body` must not change the table.
    func forEachSlot(_ body: (Int) -> Void) {
        guard let slots else { return }
        for index in 0..<slotCount where slots[index].cell != nil { body(index) }
    }

    /// Walks the table and asserts its invariants. For tests.
    func checkInvariants() {
        expiryQueue.checkInvariants()
        var found = 0
        var withDeadline = 0
        var byteCount = 0
        forEachSlot { index in
            let cell = cell(at: index)
            found += 1
            byteCount += cell.allocatedByteCount
            if cell.header.pointee.deadlineMilliseconds != noDeadline { withDeadline += 1 }
            precondition(
                find(Key(cell.key, hash: slots.unsafelyUnwrapped[index].hash)) == index,
                "a key is not where it is found")
        }
        precondition(found == count)
        precondition(withDeadline == deadlineCount)
        precondition(byteCount == cellByteCount)
        precondition(expiryQueue.count >= deadlineCount, "a deadline without a queue entry")
    }
}
