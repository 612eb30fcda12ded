// Which keys of a table are looked at when: its timing wheel, kept small.
//
// The wheel knows 32 bits of each hash and no deadline (TimingWheel.swift). When an entry fires, every key with those
// bits is looked at, and its real deadline decides: due, or entered again, or the entry was stale. So deleting or
// persisting a key, or moving its deadline to later, costs the wheel nothing.
//
// Stale entries are dropped by rebuilding: once they outnumber what is live, a fresh wheel takes all new entries while
// a walk over the table, some keys with each push, enters the deadlines that are there; the old wheel fires on
// meanwhile and is freed at the end. Cost: 4.4 to 5.3 bytes a deadline, at most as much again for stale entries.

import KedisUtilities

struct ExpirySchedule: ~Copyable {
    var wheel: TimingWheel
    /// The wheel that is being replaced, or freed.
    var retired: TimingWheel
    /// How far the walk is, in hash space with the stripe's bits; nil while there is none.
    var rebuiltUpTo: UInt64?
    /// Deadlines for which there was no memory, at most: their keys expire when they are met, until a rebuild that
    /// begins once there is memory again.
    private(set) var lostCount = 0
    private var lostCountBeforeRebuild = 0
    /// The last deadline found no memory.
    var isWithoutMemory = false

    init(source: UnsafeMutablePointer<MemorySource>) {
        wheel = TimingWheel(source: source)
        retired = TimingWheel(source: source)
    }

    var count: Int { wheel.count + retired.count }
    var byteCount: Int { wheel.allocatedByteCount + retired.allocatedByteCount }

    /// The earliest time at which something may be due, or `Int64.max`.
    var nextDueMilliseconds: Int64 { min(wheel.nextDueMilliseconds, retired.nextDueMilliseconds) }

    mutating func push(_ deadlineMilliseconds: Int64, fingerprint: UInt32, nowMilliseconds: Int64) {
        let isPushed = wheel.push(
            deadlineMilliseconds: deadlineMilliseconds, fingerprint: fingerprint, nowMilliseconds: nowMilliseconds)
        isWithoutMemory = !isPushed
        if !isPushed { lostCount += 1 }
    }

    /// Whether keys without an entry can have one now.
    var canFindLost: Bool { lostCount > 0 && !isWithoutMemory }

    mutating func beginRebuild(from threshold: UInt64) {
        swap(&wheel, &retired)
        rebuiltUpTo = threshold
        lostCountBeforeRebuild = lostCount
    }

    mutating func endRebuild() {
        rebuiltUpTo = nil
        lostCount -= lostCountBeforeRebuild
        lostCountBeforeRebuild = 0
    }

    mutating func popDue(nowMilliseconds: Int64) -> UInt32? {
        wheel.popDue(nowMilliseconds: nowMilliseconds) ?? retired.popDue(nowMilliseconds: nowMilliseconds)
    }
}

extension Table {
    /// Keys that one push looks at while the wheel is rebuilt.
    private static let rebuildStepCount = 32

    // MARK: Fingerprints

    /// The 32 bits by which a wheel knows a key: the 24 below the stripe's, which find the home, and the tag.
    @inline(__always)
    static func fingerprint(of hash: UInt64) -> UInt32 {
        UInt32(truncatingIfNeeded: hash &>> 34) &<< 8 | UInt32(tag(of: hash))
    }

    /// The smallest hash with a fingerprint, without the stripe's bits, and with its tag.
    @inline(__always)
    static func lowestHash(of fingerprint: UInt32) -> UInt64 {
        UInt64(fingerprint &>> 8) &<< 34 | UInt64(fingerprint & 0xFF)
    }

    /// Calls `body` with every place whose key has this fingerprint or, at times, another one with the same home and
    /// tag; `body` answers false to stop, and must when it changed the table.
    func forEachCandidate(_ fingerprint: UInt32, _ body: (Place) -> Bool) {
        guard let directory else { return }
        let lowest = Table.lowestHash(of: fingerprint)
        let tag = Table.tag(of: lowest)
        let segment = segment(of: lowest, in: directory)
        // In tables of more than 256 segments the 24 bits leave some homes open.
        let homes = segment.home(of: lowest)...segment.home(of: lowest | (1 << 34 - 1))
        for home in homes {
            let (own, neighbour) = (segment.bucket(home), segment.neighbour(ofHome: home))
            guard give(own, own.match(tag) & own.own, body) else { return }
            guard give(neighbour, neighbour.match(tag) & neighbour.displaced, body) else { return }
            guard own.overflowCount > 0 else { continue }
            for index in Segment.homeCount..<Segment.bucketCount {
                let stash = segment.bucket(index)
                guard give(stash, stash.match(tag) & stash.taken, body) else { return }
            }
        }
    }

    private func give(_ bucket: Bucket, _ mask: UInt32, _ body: (Place) -> Bool) -> Bool {
        var rest = mask
        while rest != 0 {
            let slot = rest.trailingZeroBitCount
            guard body(Place(bucket: bucket, slot: slot, cell: cell(bucket, slot))) else { return false }
            rest &= rest &- 1
        }
        return true
    }

    // MARK: The schedule

    /// Enters a deadline. Without memory for it the key expires when it is met.
    mutating func schedule(_ deadlineMilliseconds: Int64, fingerprint: UInt32, nowMilliseconds: Int64) {
        let before = expiry.byteCount
        expiry.push(deadlineMilliseconds, fingerprint: fingerprint, nowMilliseconds: nowMilliseconds)
        if expiry.rebuiltUpTo != nil || expiry.retired.allocatedByteCount > 0 {
            rebuildSome(nowMilliseconds: nowMilliseconds)
        } else if hasStaleSchedule || expiry.canFindLost {
            expiry.beginRebuild(from: stripeBits)
        }
        noteBytes(expiry.byteCount - before)
    }

    /// Takes one entry that is due, to be looked at.
    mutating func popDue(nowMilliseconds: Int64) -> UInt32? {
        let before = expiry.byteCount
        let fingerprint = expiry.popDue(nowMilliseconds: nowMilliseconds)
        noteBytes(expiry.byteCount - before)
        return fingerprint
    }

    /// The bits that all hashes of this table begin with.
    var stripeBits: UInt64 { UInt64(stripeIndex) << UInt64(64 - Table.stripeBitCount) }

    /// Whether stale entries outnumber live ones, by so much that a walk over the table is worth it.
    private var hasStaleSchedule: Bool {
        expiry.count > 2 * (deadlineCount + memberDeadlineKeyCount) + count / 8 + 64
    }

    /// A step of the rebuild: some keys of the walk, or some memory of the old wheel.
    private mutating func rebuildSome(nowMilliseconds: Int64) {
        guard let threshold = expiry.rebuiltUpTo else {
            _ = expiry.retired.releaseSome(limit: 16)
            return
        }
        var budget = ScanBudget(keyCount: Table.rebuildStepCount, homeCount: 4 * Table.rebuildStepCount)
        var found: [(deadline: Int64, fingerprint: UInt32)] = []
        var forgottenCount = 0
        let next = scan(from: threshold, budget: &budget) { cell, hash in
            let fingerprint = Table.fingerprint(of: hash)
            let deadline = cell.deadlineMilliseconds
            if deadline != noDeadline { found.append((deadline, fingerprint)) }
            guard cell.header.hasMemberDeadlines else { return }
            if cell.earliestMemberDeadline < .max {
                found.append((cell.earliestMemberDeadline, fingerprint))
            } else {
                cell.header.hasMemberDeadlines = false
                forgottenCount += 1
            }
        }
        memberDeadlineKeyCount -= forgottenCount
        for entry in found {
            expiry.push(entry.deadline, fingerprint: entry.fingerprint, nowMilliseconds: nowMilliseconds)
        }
        work.add(cells: Table.rebuildStepCount - min(0, budget.keyCount), bytes: 0)
        if let next { expiry.rebuiltUpTo = next } else { expiry.endRebuild() }
    }

    /// Background work on the wheels: memory of a retired one, chunks that are nearly empty; false when there is none.
    mutating func compactScheduleSome(nowMilliseconds: Int64) -> Bool {
        let before = expiry.byteCount
        defer { noteBytes(expiry.byteCount - before) }
        if expiry.rebuiltUpTo != nil || expiry.retired.allocatedByteCount > 0 {
            for _ in 0..<8 where expiry.rebuiltUpTo != nil { rebuildSome(nowMilliseconds: nowMilliseconds) }
            if expiry.rebuiltUpTo == nil { _ = expiry.retired.releaseSome(limit: 64) }
            return true
        }
        if expiry.lostCount > 0, expiry.isWithoutMemory, let page = arena.pointee.source.pointee.takePage() {
            arena.pointee.source.pointee.returnPage(page)
            expiry.isWithoutMemory = false
        }
        if hasStaleSchedule || expiry.canFindLost {
            expiry.beginRebuild(from: stripeBits)
            return true
        }
        return expiry.wheel.wantsCompaction && expiry.wheel.compactSome(limit: 64)
    }

    /// Frees the wheels; true when done, for slices.
    mutating func releaseSchedule(limit: Int) -> Bool {
        let before = expiry.byteCount
        expiry.endRebuild()
        let isDone = !expiry.wheel.releaseSome(limit: limit) && !expiry.retired.releaseSome(limit: limit)
        noteBytes(expiry.byteCount - before)
        return isDone
    }
}
