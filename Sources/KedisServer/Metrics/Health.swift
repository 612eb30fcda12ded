// Whether the server can serve, for /healthz.
//
// Up means: it has loaded its data and listens, it is not leaving, and each event loop has run within the last seconds.
// What a restart would make worse (snapshots that fail, memory that is short) is no illness here: metrics tell of it.
//
// Ownership: the server's. Threads: any, atomics. Cost: an event loop notes the time as often as it checks its
// clients (`hz`, ten times a second).

import KedisUtilities
import Synchronization

final class Health: Sendable {
    enum Phase: Int {
        case starting
        case serving
        case stopping
    }

    private let phase = Atomic<Int>(Phase.starting.rawValue)
    private let beats: Beats

    /// An event loop that has not run for so long is stuck: what keeps it is no request.
    static let silenceNanosecondsMax: UInt64 = 5_000_000_000

    init(loopCount: Int) { beats = Beats(count: loopCount) }

    func enter(_ new: Phase) { phase.store(new.rawValue, ordering: .relaxed) }

    /// An event loop runs.
    func noteBeat(ofLoop number: Int) { beats.set(number, monotonicNanoseconds()) }

    /// Why the server cannot serve; nil when it can.
    func complaint(nowNanoseconds: UInt64 = monotonicNanoseconds()) -> String? {
        switch Phase(rawValue: phase.load(ordering: .relaxed)) {
        case .starting: return "starting"
        case .stopping: return "stopping"
        case .serving, nil: break
        }
        for number in 0..<beats.count {
            let beat = beats[number]
            // No beat yet: it has just begun to listen.
            guard beat > 0, nowNanoseconds > beat, nowNanoseconds - beat > Self.silenceNanosecondsMax else { continue }
            return "event loop \(number) has not run for \((nowNanoseconds - beat) / 1_000_000) ms"
        }
        return nil
    }
}

/// When each loop was last seen, 0 for never.
private final class Beats: @unchecked Sendable {
    // Sendable: the memory holds atomics only, and lives as long as the object.

    let count: Int
    private let times: UnsafeMutablePointer<Atomic<UInt64>>

    init(count: Int) {
        self.count = count
        times = .allocate(capacity: max(1, count))
        for index in 0..<count { (times + index).initialize(to: Atomic(0)) }
    }

    deinit {
        times.deinitialize(count: count)
        times.deallocate()
    }

    subscript(_ number: Int) -> UInt64 { times[number].load(ordering: .relaxed) }

    func set(_ number: Int, _ nanoseconds: UInt64) {
        guard number >= 0, number < count else { return }
        times[number].store(nanoseconds, ordering: .relaxed)
    }
}
