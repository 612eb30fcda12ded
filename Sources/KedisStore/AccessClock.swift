// The 24 bits of a cell that say when, or how often, it was used.
//
//      last use (LRU)      seconds since 1970, low 24 bits: wraps after 194 days
//      frequency (LFU)     16 bits of minutes since 1970, then a counter of 8 bits
//
// The counter is logarithmic: the higher it is, the less likely an access raises it (after Morris 1978); it loses
// a step for each period without access. Source: the documentation of Redis on eviction, whose figures these are.

import KedisUtilities

enum AccessClock {
    private static let mask: UInt32 = 0xFF_FFFF
    /// A new key starts with some accesses, so that it is not the first to go.
    private static let counterStart: UInt32 = 5

    // MARK: Last use

    @inline(__always)
    static func seconds(nowMilliseconds: Int64) -> UInt32 {
        UInt32(truncatingIfNeeded: nowMilliseconds / 1000) & mask
    }

    static func idleSeconds(_ clock: UInt32, nowMilliseconds: Int64) -> UInt32 {
        let idle = (seconds(nowMilliseconds: nowMilliseconds) &- clock) & mask
        // A clock that was set back shows times of use in the future: those were not long ago.
        return idle > mask / 2 + mask / 4 ? 0 : idle
    }

    /// The clock of what was not used for so long; longer than it can say is as long as it can.
    static func idle(_ idleSeconds: Int64, nowMilliseconds: Int64) -> UInt32 {
        let idle = UInt32(min(max(0, idleSeconds), Int64(mask / 2)))
        return (seconds(nowMilliseconds: nowMilliseconds) &- idle) & mask
    }

    // MARK: Frequency

    static func frequent(_ counter: UInt8, nowMilliseconds: Int64) -> UInt32 {
        minutes(nowMilliseconds) << 8 | UInt32(counter)
    }

    static func startOfFrequency(nowMilliseconds: Int64) -> UInt32 {
        minutes(nowMilliseconds) << 8 | counterStart
    }

    private static func minutes(_ nowMilliseconds: Int64) -> UInt32 {
        UInt32(truncatingIfNeeded: nowMilliseconds / 60_000) & 0xFFFF
    }

    /// The counter after what it lost since the last access.
    static func frequency(_ clock: UInt32, decayMinutes: UInt32, nowMilliseconds: Int64) -> UInt32 {
        let counter = clock & 0xFF
        guard decayMinutes > 0 else { return counter }
        let elapsed = (minutes(nowMilliseconds) &- clock >> 8) & 0xFFFF
        return counter - min(counter, elapsed / decayMinutes)
    }

    /// The clock after an access.
    static func used(
        _ clock: UInt32, tracking: AccessTracking, nowMilliseconds: Int64, using generator: inout RandomGenerator
    ) -> UInt32 {
        let decayMinutes = UInt32(clamping: tracking.decayMinutes)
        var counter = frequency(clock, decayMinutes: decayMinutes, nowMilliseconds: nowMilliseconds)
        if counter < 255 {
            let base = UInt64(counter > counterStart ? counter - counterStart : 0)
            let odds = base &* UInt64(max(0, tracking.logFactor)) &+ 1
            if generator.next(below: odds) == 0 { counter += 1 }
        }
        return minutes(nowMilliseconds) << 8 | counter
    }
}
