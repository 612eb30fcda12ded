// The deadlines of one table: a hierarchical timing wheel that holds a fingerprint for each and no deadline.
//
//      level 0     128 slots of 16 ms       the next 2 s
//      level 1     128 slots of 1,024 ms    the next 2 minutes
//      level 2     128 slots of 65.5 s      the next 2 hours
//      …
//      level 9     128 slots of 9 million years
//      due list    what popDue gives next: slots of level 0 that have ended
//      early list  what it gives then: slots of higher levels, to be spread over finer ones
//
//      slot        tail block ─▶ head block ─▶ … ─▶ tail block      a ring, so that two rings join in O(1)
//
// Time is cut into ticks of 16 ms, and `position` is the tick that has not ended. A deadline goes to the finest level
// that reaches it; a level's slots are used in turn, 128 of them, where 64 make one of the level above. So a slot of a
// higher level is spread a whole slot before it begins: what is due is never behind a million entries that must be
// looked at first. The wheel never knows more than the table: whoever takes a fingerprint looks up the keys that have
// it, and their real deadlines decide: gone, stale, or pushed again, which puts them into a finer slot. An entry of
// level 0 is given at most 16 ms late.
//
// When the clock goes back, nothing happens until a deadline is pushed that lies ahead of the clock and behind
// `position`. Then `position` goes back too, and slots that its levels no longer reach join the early list: given
// early, which the caller's look at the deadline makes harmless.
//
// Ownership: the wheel owns its memory (WheelBlockPool). Guarded by the stripe's lock.
// Invariants: see TimingWheel+Invariants.swift.
// Cost: 4.4 to 5.3 bytes an entry in wheels of 16,000, 512 bytes for each level in use, nothing when empty; push and
// popDue are O(1), the first one after time has passed O(levels · 128) however much it was.

import CKedis

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct TimingWheel: ~Copyable {
    struct Level {
        /// A bit for each slot that has entries.
        var occupied: UInt128 = 0
        /// 128 tail blocks, made when the level is first used.
        var tails: UnsafeMutablePointer<UInt32>?
    }

    /// The level, slot and block at which compaction goes on; the block is the one before the next to be looked at.
    struct CompactionCursor {
        var level = 0
        var slot = 0
        var block = WheelBlockPool.none
    }

    static let tickMillisecondsLog2: UInt64 = 4
    /// Ten levels of 6 bits hold any Int64 of milliseconds, so there is nothing beyond the top level.
    static let levelCount = 10
    static let slotCount: UInt64 = 128

    var pool: WheelBlockPool
    var levels: UnsafeMutablePointer<Level>?
    private(set) var position: UInt64 = 0
    private(set) var count = 0
    var dueTail = WheelBlockPool.none
    var earlyTail = WheelBlockPool.none
    private var levelByteCount = 0
    var compaction = CompactionCursor()

    /// - Parameter source: where large wheels get their pages; nil for malloc.
    init(source: UnsafeMutablePointer<MemorySource>? = nil) { pool = WheelBlockPool(source: source) }

    deinit { Self.release(levels) }

    /// All memory of the wheel, in bytes as the allocator counts them. O(1).
    var allocatedByteCount: Int { pool.allocatedByteCount + levelByteCount }

    /// The earliest time at which `popDue` may give something: no entry comes earlier. `Int64.min` while the lists have
    /// entries, `Int64.max` when there are none. O(levels).
    var nextDueMilliseconds: Int64 {
        guard count > 0 else { return .max }
        guard dueTail == WheelBlockPool.none, earlyTail == WheelBlockPool.none else { return .min }
        guard let levels else { return .max }
        var earliest = UInt64.max
        for level in 0..<Self.levelCount where levels[level].occupied != 0 {
            let shift = Self.shift(level)
            let first = position >> shift
            let ahead = UInt64(Self.inTurn(levels[level].occupied, from: first).trailingZeroBitCount)
            // Level 0 when the slot has ended, the others a slot before it begins.
            earliest = min(earliest, level == 0 ? first + ahead + 1 : (first + ahead - 1) << shift)
        }
        return earliest == .max ? .max : Self.milliseconds(ofTick: earliest)
    }

    private static func shift(_ level: Int) -> UInt64 { UInt64(truncatingIfNeeded: level &* 6) }

    /// The bits of a level's slots so that the slot `first` is the lowest and those after it follow.
    private static func inTurn(_ slots: UInt128, from first: UInt64) -> UInt128 {
        let count = UInt128(first & (slotCount - 1))
        return count == 0 ? slots : slots >> count | slots << (128 - count)
    }

    // MARK: Adding

    /// Adds an entry; false when there is no memory (the key then expires on access only). What is due already is given
    /// by the next popDue. O(1), plus passing the time since the last call.
    mutating func push(deadlineMilliseconds: Int64, fingerprint: UInt32, nowMilliseconds: Int64) -> Bool {
        passTime(to: nowMilliseconds)
        if deadlineMilliseconds <= nowMilliseconds || deadlineMilliseconds < 0 {
            guard pool.append(fingerprint, to: &dueTail) else { return false }
            count += 1
            return true
        }
        // The last tick ends with the end of time.
        let tick = min(Self.tick(of: deadlineMilliseconds), Self.tick(of: .max) - 1)
        if tick < position { rewindSlowly(to: Self.tick(of: nowMilliseconds)) }
        var level = 0
        while (tick >> Self.shift(level)) &- (position >> Self.shift(level)) >= Self.slotCount { level += 1 }
        let slot = Int(truncatingIfNeeded: (tick >> Self.shift(level)) & (Self.slotCount - 1))
        guard let tails = levels?[level].tails ?? makeLevelSlowly(level), let levels else { return false }
        let bit: UInt128 = 1 << UInt128(truncatingIfNeeded: slot)
        var tail = levels[level].occupied & bit == 0 ? WheelBlockPool.none : tails[slot]
        guard pool.append(fingerprint, to: &tail) else { return false }
        tails[slot] = tail
        levels[level].occupied |= bit
        count += 1
        return true
    }

    // MARK: Taking

    /// Takes one entry that is due or else one whose slot must be spread over finer ones; nil when there is none. An
    /// entry that the caller pushes again, because it is not due yet, is not given a second time at the same `now`
    /// (once more when the clock has gone back). O(1), plus passing the time since the last call.
    mutating func popDue(nowMilliseconds: Int64) -> UInt32? {
        guard count > 0 else { return nil }
        passTime(to: nowMilliseconds)
        let fingerprint: UInt32
        if dueTail != WheelBlockPool.none {
            (fingerprint, dueTail) = take(from: dueTail)
        } else if earlyTail != WheelBlockPool.none {
            (fingerprint, earlyTail) = take(from: earlyTail)
        } else {
            return nil
        }
        if count == 0 { removeAll() }
        return fingerprint
    }

    @inline(__always)
    private mutating func take(from tail: UInt32) -> (fingerprint: UInt32, tail: UInt32) {
        let head = pool.next(tail)
        let words = pool.words(head)
        let entryCount = Int(words[15] >> 28)
        assert(entryCount > 0, "a block without entries in a ring")
        let fingerprint = words[entryCount - 1]
        words[15] &-= 1 << 28
        count -= 1
        guard entryCount == 1 else { return (fingerprint, tail) }
        let isLast = head == tail
        if !isLast { pool.setNext(tail, pool.next(head)) }
        pool.give(head)
        return (fingerprint, isLast ? WheelBlockPool.none : tail)
    }

    // MARK: Time

    static func tick(of milliseconds: Int64) -> UInt64 {
        // The end of time ends its tick too, so that everything is due then.
        if milliseconds == .max { return 1 << (63 - tickMillisecondsLog2) }
        return UInt64(max(0, milliseconds)) >> tickMillisecondsLog2
    }

    static func milliseconds(ofTick tick: UInt64) -> Int64 {
        tick >= 1 << (63 - tickMillisecondsLog2) ? .max : Int64(truncatingIfNeeded: tick << tickMillisecondsLog2)
    }

    @inline(__always)
    private mutating func passTime(to nowMilliseconds: Int64) {
        let tick = Self.tick(of: nowMilliseconds)
        if count == 0 {
            if pool.chunkNumberCount > 0 { removeAll() }
            position = tick
        } else if tick > position {
            advance(to: tick)
        }
    }

    /// Moves the slots that have ended (level 0) to the due list, and those that begin with the next one (above) to the
    /// early list.
    private mutating func advance(to tick: UInt64) {
        for level in 0..<Self.levelCount {
            let (from, to) = (position >> Self.shift(level), tick >> Self.shift(level))
            if level == 0 {
                dueTail = move(level, distances: 0..<min(Self.slotCount, to - from), to: dueTail)
                continue
            }
            // Above, both lie in the same slot: nothing new is near.
            guard to > from else { break }
            earlyTail = move(level, distances: 0..<min(Self.slotCount, to + 2 - from), to: earlyTail)
        }
        position = tick
    }

    @inline(never)
    private mutating func rewindSlowly(to tick: UInt64) {
        for level in 0..<Self.levelCount {
            let back = (position >> Self.shift(level)) - (tick >> Self.shift(level))
            // Its last slots are now too far ahead.
            let kept = Self.slotCount - min(Self.slotCount, back)
            earlyTail = move(level, distances: kept..<Self.slotCount, to: earlyTail)
        }
        position = tick
    }

    /// Joins the rings of the slots that lie so far ahead of the position to the list that ends with `end`, nearest
    /// first; returns the list's new end.
    private mutating func move(_ level: Int, distances: Range<UInt64>, to end: UInt32) -> UInt32 {
        guard let levels, let tails = levels[level].tails, !distances.isEmpty else { return end }
        var list = end
        let first = position >> Self.shift(level)
        let mask: UInt128 = distances.count == 128 ? .max : (1 << UInt128(distances.count) - 1)
        var moving = Self.inTurn(levels[level].occupied, from: first) & (mask << UInt128(distances.lowerBound))
        while moving != 0 {
            let distance = UInt64(moving.trailingZeroBitCount)
            moving &= moving &- 1
            let slot = Int(truncatingIfNeeded: (first + distance) & (Self.slotCount - 1))
            levels[level].occupied &= ~(1 << UInt128(truncatingIfNeeded: slot))
            let tail = tails[slot]
            if list != WheelBlockPool.none {
                let head = pool.next(list)
                pool.setNext(list, pool.next(tail))
                pool.setNext(tail, head)
            }
            list = tail
            if compaction.level == level, compaction.slot == slot { compaction.block = WheelBlockPool.none }
        }
        return list
    }

    // MARK: Memory

    @inline(never)
    private mutating func makeLevelSlowly(_ level: Int) -> UnsafeMutablePointer<UInt32>? {
        if levels == nil {
            guard let memory = malloc(Self.levelCount * MemoryLayout<Level>.stride) else { return nil }
            let made = memory.assumingMemoryBound(to: Level.self)
            made.initialize(repeating: Level(), count: Self.levelCount)
            levels = made
            levelByteCount += kedis_allocated_size(memory)
        }
        guard let levels, let memory = malloc(Int(Self.slotCount) * MemoryLayout<UInt32>.stride) else { return nil }
        levels[level].tails = memory.assumingMemoryBound(to: UInt32.self)
        levelByteCount += kedis_allocated_size(memory)
        return levels[level].tails
    }

    /// Drops all entries and all memory. O(chunks of memory).
    mutating func removeAll() {
        pool.removeAll()
        forgetEntries()
    }

    /// Drops all entries and frees at most `limit` pieces of 4 KiB; true while there is more to free. For wheels that
    /// are replaced: until it returns false, pushing starts by freeing the rest at once.
    mutating func releaseSome(limit: Int) -> Bool {
        forgetEntries()
        return pool.releaseSome(limit: limit)
    }

    private mutating func forgetEntries() {
        Self.release(levels)
        levels = nil
        levelByteCount = 0
        count = 0
        dueTail = WheelBlockPool.none
        earlyTail = WheelBlockPool.none
        compaction = CompactionCursor()
    }

    private static func release(_ levels: UnsafeMutablePointer<Level>?) {
        guard let levels else { return }
        for level in 0..<levelCount { free(levels[level].tails) }
        free(levels)
    }
}
