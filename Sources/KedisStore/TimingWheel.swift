// The deadlines of one table: a hierarchical timing wheel that holds a fingerprint for each and no deadline.
//
//      level 0   64 slots of 16 ms      │ the rest of the current 1,024 ms
//      level 1   64 slots of 1,024 ms   │ the rest of the current 65.5 s
//      level 2   64 slots of 65.5 s     │ the rest of the current 70 minutes
//      …
//      level 9   64 slots of 9 million years
//      due list  what popDue gives next
//
//      slot      tail block ─▶ head block ─▶ … ─▶ tail block      a ring, so that two rings join in O(1)
//
// Time is cut into ticks of 16 ms, and `position` is the tick that has not ended. A deadline's tick goes to the highest
// group of 6 bits in which it differs from `position`; that group is its slot. When time goes on, slots of level 0 that
// have ended and slots of higher levels that have begun move to the due list as they are. The wheel never knows more
// than the table: whoever takes a fingerprint looks up the keys that have it, and their real deadlines decide: gone,
// stale, or pushed again, which puts them into a finer slot. An entry of level 0 is given at most 16 ms late.
//
// When the clock goes back, nothing happens until a deadline is pushed that lies ahead of the clock and behind
// `position`. Then `position` goes back too, and slots whose meaning depends on the time in between join the due list:
// they are given early, which the caller's look at the deadline makes harmless.
//
// Ownership: the wheel owns its memory (WheelBlockPool). Guarded by the stripe's lock.
// Invariants: see TimingWheel+Invariants.swift.
// Cost: 4.4 to 4.75 bytes an entry in wheels of 16,000, 256 bytes for each level in use, nothing when empty; push and
// popDue are O(1), the first one after time has passed O(levels · 64) however much it was.

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
        var occupied: UInt64 = 0
        /// 64 tail blocks, made when the level is first used.
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

    var pool: WheelBlockPool
    var levels: UnsafeMutablePointer<Level>?
    private(set) var position: UInt64 = 0
    private(set) var count = 0
    var dueTail = WheelBlockPool.none
    private var levelByteCount = 0
    var compaction = CompactionCursor()

    /// - Parameter source: where large wheels get their pages; nil for malloc.
    init(source: UnsafeMutablePointer<MemorySource>? = nil) { pool = WheelBlockPool(source: source) }

    deinit { Self.release(levels) }

    /// All memory of the wheel, in bytes as the allocator counts them. O(1).
    var allocatedByteCount: Int { pool.allocatedByteCount + levelByteCount }

    /// The earliest time at which `popDue` may give something: no entry comes earlier. `Int64.min` while the due list
    /// has entries, `Int64.max` when there are none. O(levels).
    var nextDueMilliseconds: Int64 {
        guard count > 0 else { return .max }
        guard dueTail == WheelBlockPool.none else { return .min }
        guard let levels else { return .max }
        for level in 0..<Self.levelCount where levels[level].occupied != 0 {
            let shift = UInt64(truncatingIfNeeded: level * 6)
            let slot = UInt64(truncatingIfNeeded: levels[level].occupied.trailingZeroBitCount)
            let start = ((position >> (shift + 6)) << 6 | slot) << shift
            return Self.milliseconds(ofTick: level == 0 ? start + 1 : start)
        }
        return .max
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
        let tick = Self.tick(of: deadlineMilliseconds)
        if tick < position { rewindSlowly(to: Self.tick(of: nowMilliseconds)) }
        let difference = tick ^ position
        let level = difference == 0 ? 0 : (63 - difference.leadingZeroBitCount) / 6
        let slot = Int(truncatingIfNeeded: tick >> UInt64(truncatingIfNeeded: level * 6) & 63)
        guard let tails = levels?[level].tails ?? makeLevelSlowly(level), let levels else { return false }
        let bit: UInt64 = 1 << UInt64(truncatingIfNeeded: slot)
        var tail = levels[level].occupied & bit == 0 ? WheelBlockPool.none : tails[slot]
        guard pool.append(fingerprint, to: &tail) else { return false }
        tails[slot] = tail
        levels[level].occupied |= bit
        count += 1
        return true
    }

    // MARK: Taking

    /// Takes one entry that is due or whose slot must be spread over finer ones; nil when there is none. An entry that
    /// the caller pushes again, because it is not due yet, is not given a second time at the same `now` (once more when
    /// the clock has gone back). O(1), plus passing the time since the last call.
    mutating func popDue(nowMilliseconds: Int64) -> UInt32? {
        guard count > 0 else { return nil }
        passTime(to: nowMilliseconds)
        guard dueTail != WheelBlockPool.none else { return nil }
        let head = pool.next(dueTail)
        let words = pool.words(head)
        let entryCount = Int(words[15] >> 28)
        assert(entryCount > 0, "a block without entries in a ring")
        let fingerprint = words[entryCount - 1]
        words[15] &-= 1 << 28
        count -= 1
        if entryCount == 1 { dropHead(head) }
        if count == 0 { removeAll() }
        return fingerprint
    }

    private mutating func dropHead(_ head: UInt32) {
        if head == dueTail {
            dueTail = WheelBlockPool.none
        } else {
            pool.setNext(dueTail, pool.next(head))
        }
        pool.give(head)
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

    /// Moves the slots that have ended (level 0) or begun (above) to the due list.
    private mutating func advance(to tick: UInt64) {
        for level in 0..<Self.levelCount {
            let shift = UInt64(truncatingIfNeeded: level * 6)
            guard position >> (shift + 6) == tick >> (shift + 6) else {
                moveToDue(level, .max)
                continue
            }
            let index = tick >> shift & 63
            moveToDue(level, level == 0 ? (1 << index) - 1 : .max >> (63 - index))
            // Above, both lie in the same slot: nothing has begun there.
            break
        }
        position = tick
    }

    @inline(never)
    private mutating func rewindSlowly(to tick: UInt64) {
        for level in 0..<Self.levelCount {
            let shift = UInt64(truncatingIfNeeded: level * 6 + 6)
            guard position >> shift != tick >> shift else { break }
            moveToDue(level, .max)
        }
        position = tick
    }

    /// Joins the rings of the slots in `mask` to the due list, earliest first.
    private mutating func moveToDue(_ level: Int, _ mask: UInt64) {
        guard let levels, let tails = levels[level].tails else { return }
        var moving = levels[level].occupied & mask
        levels[level].occupied &= ~mask
        while moving != 0 {
            let slot = moving.trailingZeroBitCount
            moving &= moving &- 1
            let tail = tails[slot]
            if dueTail != WheelBlockPool.none {
                let head = pool.next(dueTail)
                pool.setNext(dueTail, pool.next(tail))
                pool.setNext(tail, head)
            }
            dueTail = tail
            if compaction.level == level, compaction.slot == slot { compaction.block = WheelBlockPool.none }
        }
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
        guard let levels, let memory = malloc(64 * MemoryLayout<UInt32>.stride) else { return nil }
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
        compaction = CompactionCursor()
    }

    private static func release(_ levels: UnsafeMutablePointer<Level>?) {
        guard let levels else { return }
        for level in 0..<levelCount { free(levels[level].tails) }
        free(levels)
    }
}
