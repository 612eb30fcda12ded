// Ticks: the cheapest clock for durations. The processor's counter where there is a steady one, else the system's
// monotonic clock.
//
// A tick has no meaning by itself: only differences do, as nanoseconds, through a rate that is measured once when the
// process begins to count. Threads: any. Cost: 10 ns a reading where `clock_gettime` takes 25, of which 2 ns are ours
// (2-core AMD EPYC under KVM, Swift 6.3.1, 2026-11). Error: the rate is within 0.1 %, or a tenth of what the histograms
// round to.

import CKedis

/// How ticks are read, and what they amount to.
@frozen
@usableFromInline
package struct TickClock: Sendable {
    /// Nanoseconds of 2^32 ticks.
    @usableFromInline let scale: UInt64
    @usableFromInline let usesCounter: Bool

    private init(scale: UInt64, usesCounter: Bool) {
        self.scale = scale
        self.usesCounter = usesCounter
    }

    /// A tick is a nanosecond of the system's monotonic clock.
    package static let monotonic = TickClock(scale: 1 << 32, usesCounter: false)

    /// The best clock of this machine.
    package static let system = measured()

    /// The number of ticks now.
    @inline(__always)
    package var now: UInt64 { usesCounter ? kedis_cycle_counter() : monotonicNanoseconds() }

    /// The nanoseconds between two readings; 0 when they seem to be in the other order, which two processors whose
    /// counters differ by a little can bring about.
    @inline(__always)
    package func nanoseconds(from start: UInt64, to end: UInt64) -> UInt64 {
        guard end > start else { return 0 }
        let product = (end &- start).multipliedFullWidth(by: scale)
        return product.high << 32 | product.low >> 32
    }

    // MARK: The rate

    /// Long beside the error of two readings, short beside the start of a process.
    private static let measureNanoseconds: UInt64 = 200_000

    private static func measured() -> TickClock {
        guard kedis_has_cycle_counter() else { return .monotonic }
        let start = pairedReading()
        var end = start
        while end.nanoseconds &- start.nanoseconds < measureNanoseconds { end = pairedReading() }
        let ticks = end.ticks &- start.ticks
        // Between 10 MHz and 10 GHz: anything else is no clock.
        let elapsed = end.nanoseconds &- start.nanoseconds
        guard ticks > elapsed / 100, ticks < elapsed &* 10, elapsed < 1 << 31 else { return .monotonic }
        return TickClock(scale: (elapsed << 32) / ticks, usesCounter: true)
    }

    /// Both clocks at one moment: of some readings the one that was interrupted least.
    private static func pairedReading() -> (ticks: UInt64, nanoseconds: UInt64) {
        var best = (ticks: UInt64(0), nanoseconds: UInt64(0), width: UInt64.max)
        for _ in 0..<4 {
            let before = kedis_cycle_counter()
            let nanoseconds = monotonicNanoseconds()
            let width = kedis_cycle_counter() &- before
            if width < best.width { best = (before &+ width / 2, nanoseconds, width) }
        }
        return (best.ticks, best.nanoseconds)
    }
}
