// Goal: a snapshot rests only while others work and nobody waits for it. Method: chunks that took a given time, one
// after the other.

import Testing

@testable import KedisPersistence

@Suite("The pace of a snapshot")
struct SnapshotPaceTests {
    private static let millisecond: UInt64 = 1_000_000

    /// What is rested, in milliseconds, after a chunk that ended at `now`, others having worked for `others` in all.
    private func rest(
        _ pace: inout SnapshotPace, at now: UInt64, others: UInt64, isPressed: Bool = false,
        isYielding: Bool = false
    ) -> Double {
        let nanoseconds = pace.rest(
            nowNanoseconds: now * Self.millisecond, othersNanoseconds: others * Self.millisecond, isPressed: isPressed,
            isYielding: isYielding)
        return Double(nanoseconds) / Double(Self.millisecond)
    }

    @Test("Rests for four times what a chunk took, if others were busy meanwhile")
    func rests() {
        var pace = SnapshotPace(nowNanoseconds: 0, othersNanoseconds: 70 * Self.millisecond)
        #expect(rest(&pace, at: 4, others: 70) == 0)
        #expect(rest(&pace, at: 8, others: 71) == 0, "a little is nothing")
        #expect(rest(&pace, at: 10, others: 73) == 8)
        // The rest was no work, but others worked in it.
        #expect(rest(&pace, at: 20, others: 79) == 8)
        #expect(rest(&pace, at: 30, others: 80) == 0)
        #expect(rest(&pace, at: 31, others: 82) == 4)
    }

    @Test("Rests as long as a chunk took, if it yields to others in any case")
    func yields() {
        var pace = SnapshotPace(nowNanoseconds: 0, othersNanoseconds: 0)
        #expect(rest(&pace, at: 3, others: 3, isYielding: true) == 3)
        #expect(rest(&pace, at: 8, others: 8, isYielding: true) == 2)
        #expect(rest(&pace, at: 12, others: 8, isYielding: true) == 0, "nobody else is there")
    }

    @Test("Not while writers wait for it, and never long")
    func limits() {
        var pace = SnapshotPace(nowNanoseconds: 0, othersNanoseconds: 0)
        #expect(rest(&pace, at: 2, others: 2, isPressed: true) == 0)
        #expect(rest(&pace, at: 5000, others: 5000) == 16)
        #expect(rest(&pace, at: 0, others: 6000) == 0, "a clock that goes back")
        #expect(rest(&pace, at: 5, others: 5999) == 0, "a sum that goes back")
    }
}
