// Goal: the timing wheel loses nothing, gives nothing for ever and nothing late, whatever the clock does; and its
// memory stays within its bounds. Random tests print their seed.

import KedisTestSupport
import KedisUtilities
import Testing

@testable import KedisStore

/// A wheel with what its table would know: the real deadline of each fingerprint.
private struct WheelWalk: ~Copyable {
    var wheel = TimingWheel()
    var deadlines: [UInt32: Int64] = [:]
    var now: Int64
    var nextFingerprint: UInt32 = 0
    /// The latest time so far: behind it, an entry may be given twice, because the wheel goes back only when it must.
    var latest: Int64 = 0
    /// How often the wheel gave an entry that was not due.
    var earlyCount = 0
    var checksEachStep = true

    init(now: Int64) { self.now = now }

    mutating func push(_ deadline: Int64) {
        nextFingerprint &+= 1
        deadlines[nextFingerprint] = deadline
        push(nextFingerprint, deadline)
    }

    mutating func push(_ fingerprint: UInt32, _ deadline: Int64) {
        let isPushed = wheel.push(deadlineMilliseconds: deadline, fingerprint: fingerprint, nowMilliseconds: now)
        #expect(isPushed)
        check()
    }

    /// Takes entries as the expiry tick does, at most `limit`; true when nothing more is due at this time.
    mutating func drain(limit: Int = .max) -> Bool {
        var again: [UInt32: Int] = [:]
        latest = max(latest, now)
        for _ in 0..<limit {
            guard let fingerprint = wheel.popDue(nowMilliseconds: now) else { return true }
            guard let deadline = deadlines[fingerprint] else {
                Issue.record("an entry that is not in the wheel")
                return true
            }
            if deadline <= now {
                deadlines[fingerprint] = nil
            } else {
                earlyCount += 1
                again[fingerprint, default: 0] += 1
                let givenCount = again[fingerprint, default: 0]
                #expect(givenCount <= (now < latest ? 2 : 1), "given too often at one time")
                push(fingerprint, deadline)
                if givenCount > 5 { return true }
            }
            check()
        }
        return false
    }

    /// What must hold after everything due was taken.
    func checkNothingIsLate() {
        let count = wheel.count
        #expect(count == deadlines.count)
        guard let earliest = deadlines.values.min() else {
            let (hint, byteCount) = (wheel.nextDueMilliseconds, wheel.allocatedByteCount)
            #expect(hint == .max && byteCount == 0)
            return
        }
        #expect(earliest > now || earliest >> 4 == now >> 4, "late by \(now - earliest) ms")
        let slotEnd = earliest >> 4 >= Int64.max >> 4 ? Int64.max : ((earliest >> 4) + 1) << 4
        let hint = wheel.nextDueMilliseconds
        #expect(hint <= slotEnd && hint > now)
    }

    func check() {
        guard checksEachStep else { return }
        wheel.checkInvariants()
        let count = wheel.count
        #expect(count <= deadlines.count)
    }
}

@Suite("Timing wheel")
struct TimingWheelTests {
    /// How far a random deadline or time step goes: every order of magnitude, and the edges of slots.
    private func distance(_ generator: inout RandomGenerator) -> Int64 {
        switch generator.next(below: 8) {
        case 0: Int64(generator.next(below: 17))
        case 1: Int64(generator.next(below: 200))
        case 2...4: Int64(generator.next(below: 100_000))
        case 5: Int64(truncatingIfNeeded: generator.next() >> UInt64(1 + generator.next(below: 63)))
        default: (1 << Int64(4 + 6 * generator.next(below: 9))) + Int64(generator.next(below: 35)) - 17
        }
    }

    private func later(_ time: Int64, by distance: Int64) -> Int64 {
        let (sum, overflow) = time.addingReportingOverflow(distance)
        return overflow ? .max : sum
    }

    @Test("Random deadlines under a clock that runs, leaps and goes back", arguments: [12, 400, 6000])
    func model(entryCountMax: Int) {
        var generator = RandomGenerator.forTest("timing wheel of \(entryCountMax)")
        for round in 0..<12 {
            var walk = WheelWalk(now: round == 0 ? 0 : 1_700_000_000_000 + Int64(generator.next(below: 1 << 40)))
            walk.checksEachStep = entryCountMax < 1000
            for _ in 0..<1500 {
                if generator.next(below: 2) == 0 {
                    for _ in 0..<max(1, entryCountMax / 200) where walk.deadlines.count < entryCountMax {
                        pushRandomly(&walk, &generator)
                    }
                } else {
                    passTime(&walk, &generator)
                }
                _ = walk.wheel.compactSome(limit: 1 + generator.next(below: 20))
                let isDone = walk.drain(limit: generator.next(below: 3) == 0 ? generator.next(below: 5) : .max)
                if isDone { walk.checkNothingIsLate() }
                if walk.checksEachStep || generator.next(below: 4) == 0 { walk.wheel.checkInvariants() }
            }
            walk.now = .max
            let isDone = walk.drain()
            #expect(isDone)
            walk.checkNothingIsLate()
            let leftCount = walk.deadlines.count
            #expect(leftCount == 0)
        }
    }

    private func pushRandomly(_ walk: inout WheelWalk, _ generator: inout RandomGenerator) {
        let ahead = distance(&generator)
        walk.push(generator.next(below: 12) == 0 ? walk.now - min(ahead, walk.now) : later(walk.now, by: ahead))
    }

    private func passTime(_ walk: inout WheelWalk, _ generator: inout RandomGenerator) {
        switch generator.next(below: 60) {
        case 0..<36: walk.now = later(walk.now, by: Int64(generator.next(below: 40)))
        case 36..<46: walk.now = later(walk.now, by: Int64(generator.next(below: 5000)))
        case 46: walk.now = later(walk.now, by: distance(&generator))
        case 47..<59: walk.now -= min(walk.now, Int64(generator.next(below: 40)))
        default: walk.now -= min(walk.now, distance(&generator))
        }
        if walk.now > Int64.max / 2 { walk.now = 1_700_000_000_000 }
    }

    @Test("Ticks of 10 ms give every entry within 26 ms of its deadline, and not before")
    func lateness() {
        var generator = RandomGenerator.forTest("lateness")
        var walk = WheelWalk(now: 1_700_000_000_007)
        walk.checksEachStep = false
        let start = walk.now
        for _ in 0..<20_000 { walk.push(start + 1 + Int64(generator.next(below: 150_000))) }
        walk.wheel.checkInvariants()
        while walk.wheel.count > 0, walk.now < start + 200_000 {
            walk.now += 10
            let isDone = walk.drain()
            #expect(isDone)
            walk.checkNothingIsLate()
            if walk.now % 1000 < 10 { walk.wheel.checkInvariants() }
        }
        let leftCount = walk.deadlines.count
        #expect(leftCount == 0)
        // From level 2 an entry comes down through level 1 to level 0.
        let earlyCount = walk.earlyCount
        #expect(earlyCount <= 20_000 * 2 + 1000)
    }

    @Test("The hint is when something is given: nothing before, and at that time what is due or to be spread")
    func hint() {
        var generator = RandomGenerator.forTest("next due")
        for _ in 0..<200 {
            var walk = WheelWalk(now: 1_700_000_000_000 + Int64(generator.next(below: 1 << 30)))
            walk.push(later(walk.now, by: 1 + max(0, distance(&generator))))
            while walk.wheel.count > 0 {
                let hint = walk.wheel.nextDueMilliseconds
                let before = walk.wheel.popDue(nowMilliseconds: hint - 1)
                #expect(before == nil)
                walk.now = hint
                let due = walk.wheel.popDue(nowMilliseconds: hint)
                guard let due, let deadline = walk.deadlines[due] else {
                    Issue.record("nothing came at \(hint)")
                    return
                }
                if deadline > hint {
                    walk.push(due, deadline)
                } else {
                    #expect(hint == .max || hint - deadline <= 16)
                }
            }
        }
    }

    @Test("Deadlines and times at both ends of Int64")
    func boundaries() {
        let times: [Int64] = [
            .min, .min + 1, -1000, -16, -1, 0, 1, 15, 16, 17, 1023, 1024, 1 << 34, 1 << 58, (1 << 58) - 1, .max - 16,
            .max - 15, .max - 1, .max,
        ]
        for now in times {
            for deadline in times {
                var wheel = TimingWheel()
                for fingerprint in [0, UInt32.max] {
                    let isPushed = wheel.push(
                        deadlineMilliseconds: deadline, fingerprint: fingerprint, nowMilliseconds: now)
                    #expect(isPushed)
                    wheel.checkInvariants()
                }
                let first = wheel.popDue(nowMilliseconds: now)
                if deadline <= now || deadline < 0 { #expect(first != nil) } else { #expect(first == nil) }
                wheel.checkInvariants()
                while wheel.popDue(nowMilliseconds: .max) != nil { wheel.checkInvariants() }
                let (count, byteCount) = (wheel.count, wheel.allocatedByteCount)
                #expect(count == 0 && byteCount == 0)
            }
        }
    }

    @Test("A key in the past is given once for each push, and a clock that stepped back gives no key twice")
    func pastAndBack() {
        var walk = WheelWalk(now: 1_700_000_000_000)
        for offset in [5, 500, 70_000, 10_000_000] as [Int64] { walk.push(walk.now + offset) }
        walk.now += 100_000
        let isDone = walk.drain()
        let left = walk.deadlines.count
        #expect(isDone && left == 1)
        walk.now -= 3_600_000
        walk.push(walk.now + 3)
        walk.push(walk.now - 3)
        let isDoneAgain = walk.drain()
        let leftAgain = walk.deadlines.count
        #expect(isDoneAgain && leftAgain == 2)
        walk.now += 20
        let isDoneAtLast = walk.drain()
        let leftAtLast = walk.deadlines.count
        #expect(isDoneAtLast && leftAtLast == 1)
        walk.checkNothingIsLate()
    }
}

@Suite("Timing wheel: memory")
struct TimingWheelMemoryTests {
    private let now: Int64 = 1_700_000_000_000

    private func fill(_ wheel: inout TimingWheel, _ count: Int, within: Int, _ generator: inout RandomGenerator) {
        for _ in 0..<count {
            let isPushed = wheel.push(
                deadlineMilliseconds: now + 1 + Int64(generator.next(below: within)),
                fingerprint: UInt32(truncatingIfNeeded: generator.next()), nowMilliseconds: now)
            #expect(isPushed)
        }
    }

    @Test("An empty wheel has no memory, one entry takes less than 1.5 KiB")
    func small() {
        var generator = RandomGenerator(seed: 1)
        var wheel = TimingWheel()
        #expect(MemoryLayout<TimingWheel>.size <= 176)
        fill(&wheel, 1, within: 1 << 20, &generator)
        let one = wheel.allocatedByteCount
        #expect(one > 0 && one < 1536)
        wheel.removeAll()
        wheel.checkInvariants()
        let none = wheel.allocatedByteCount
        #expect(none == 0)
    }

    @Test(
        "16,000 entries take at most 5.4 bytes each, whatever their deadlines",
        arguments: [900, 60_000, 3_600_000, 86_400_000, 31_536_000_000])
    func bulk(within: Int) {
        var generator = RandomGenerator.forTest("wheel of 16,000 within \(within) ms")
        var wheel = TimingWheel()
        fill(&wheel, 16_000, within: within, &generator)
        wheel.checkInvariants()
        let each = Double(wheel.allocatedByteCount) / 16_000
        print("deadlines within \(within) ms: \(each) bytes each")
        #expect(each <= 5.4)
    }

    @Test("A wheel that always holds about as much stays as large")
    func steady() {
        var generator = RandomGenerator.forTest("steady wheel")
        var wheel = TimingWheel()
        var time = now
        var largest = 0
        for _ in 0..<300_000 {
            time += 1
            for _ in 0..<2 {
                let isPushed = wheel.push(
                    deadlineMilliseconds: time + 1 + Int64(generator.next(below: 20_000)), fingerprint: 7,
                    nowMilliseconds: time)
                #expect(isPushed)
            }
            while wheel.popDue(nowMilliseconds: time) != nil {}
            largest = max(largest, wheel.allocatedByteCount)
        }
        wheel.checkInvariants()
        // At most 40,000 entries are in it at any time.
        #expect(largest < 40_000 * 7)
    }

    @Test("Memory comes back when most entries have fired, after compaction in slices, and all of it at the end")
    func compaction() {
        var generator = RandomGenerator.forTest("compaction")
        var wheel = TimingWheel()
        var deadlines: [UInt32: Int64] = [:]
        for fingerprint in 0..<UInt32(200_000) {
            // A tenth of them stay for days.
            let within: Int64 = generator.next(below: 10) == 0 ? 500_000_000 : 3_600_000
            let deadline = now + 1 + Int64(generator.next(below: Int(within)))
            deadlines[fingerprint] = deadline
            let isPushed = wheel.push(deadlineMilliseconds: deadline, fingerprint: fingerprint, nowMilliseconds: now)
            #expect(isPushed)
        }
        take(&wheel, &deadlines, at: now + 3_700_000)
        let before = wheel.allocatedByteCount
        var slices = 0
        var fingerprint: UInt32 = 1_000_000
        let isWorthIt = wheel.wantsCompaction
        #expect(isWorthIt)
        while wheel.wantsCompaction, slices < 1000 {
            while wheel.compactSome(limit: 100) {
                slices += 1
                if slices % 5 == 0 { wheel.checkInvariants() }
                // The wheel goes on working in between.
                fingerprint += 1
                deadlines[fingerprint] = now + 3_700_000 + Int64(generator.next(below: 1 << 32))
                let isPushed = wheel.push(
                    deadlineMilliseconds: deadlines[fingerprint] ?? 0, fingerprint: fingerprint,
                    nowMilliseconds: now + 3_700_000)
                #expect(isPushed)
                take(&wheel, &deadlines, at: now + 3_700_000 + Int64(slices * 20_000))
            }
        }
        let after = wheel.allocatedByteCount
        let count = wheel.count
        print("compaction: \(before) to \(after) bytes for \(count) entries in \(slices) slices")
        #expect(Double(after) <= Double(count) * 4.6 * 1.5 + 8192)
        wheel.checkInvariants()
        take(&wheel, &deadlines, at: .max)
        let left = wheel.allocatedByteCount
        #expect(deadlines.isEmpty && left == 0)
    }

    private func take(_ wheel: inout TimingWheel, _ deadlines: inout [UInt32: Int64], at time: Int64) {
        while let fingerprint = wheel.popDue(nowMilliseconds: time) {
            guard let deadline = deadlines[fingerprint] else {
                Issue.record("an entry that is not in the wheel")
                return
            }
            if deadline <= time {
                deadlines[fingerprint] = nil
            } else {
                let isPushed = wheel.push(
                    deadlineMilliseconds: deadline, fingerprint: fingerprint, nowMilliseconds: time)
                #expect(isPushed)
            }
        }
        let count = wheel.count
        #expect(count == deadlines.count)
    }

    @Test("A large wheel is freed in slices, and is usable again at any time")
    func slices() {
        var generator = RandomGenerator.forTest("released wheel")
        var wheel = TimingWheel()
        fill(&wheel, 200_000, within: 1 << 30, &generator)
        wheel.checkInvariants()
        let pieces = wheel.allocatedByteCount / 4096
        var calls = 1
        while wheel.releaseSome(limit: 10) {
            wheel.checkInvariants()
            let count = wheel.count
            #expect(count == 0)
            calls += 1
        }
        #expect(calls >= pieces / 11 && calls <= pieces / 9)
        fill(&wheel, 5000, within: 1 << 30, &generator)
        let isMore = wheel.releaseSome(limit: 1)
        #expect(isMore)
        fill(&wheel, 100, within: 1 << 30, &generator)
        wheel.checkInvariants()
        let (count, byteCount) = (wheel.count, wheel.allocatedByteCount)
        #expect(count == 100 && byteCount < 16 << 10)
    }
}
