// Goal: a store with a journal that begins anew while it is written to loses nothing that was said to be on disk, and
// what comes back is what was there behind some record, whole. Method: seeded lives on a simulated disk beside a model
// (StoreCrashModel.swift).
//
//     KEDIS_JOURNAL_SECONDS=600 swift test --filter StoreCrash

import KedisTestSupport
import KedisUtilities
import Testing

@Suite("A store with a journal survives crashes")
struct StoreCrashTests {
    private static let seconds = TestFiles.environment("KEDIS_JOURNAL_SECONDS").flatMap { UInt64($0) } ?? 3

    @Test("Crashes at any call, bad and full disks, lost power, compaction under writes: a state of the past, whole")
    func crashes() throws {
        var seeds = RandomGenerator.forTest("store crashes")
        let fixed = TestFiles.environment("KEDIS_JOURNAL_ROUND").flatMap { UInt64($0) }
        let end = monotonicNanoseconds() + Self.seconds * 1_000_000_000
        var counts: [String: Int] = [:]
        var rounds = 0
        while monotonicNanoseconds() < end {
            let seed = fixed ?? seeds.next()
            let model = StoreCrashModel(seed: seed)
            do {
                for _ in 0..<4 {
                    try model.start(mayCrash: true)
                    try model.liveAndMayCrash()
                }
                try model.start(mayCrash: false)
                try model.checkHistory()
            } catch {
                Issue.record("round \(seed) (KEDIS_JOURNAL_ROUND): \(error)")
                return
            }
            counts.merge(model.counts) { $0 + $1 }
            rounds += 1
            if fixed != nil { break }
        }
        print("store crashes: \(rounds) rounds, \(counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" })")
        guard fixed == nil, !isSanitized else { return }
        let events = [
            "back", "base", "base used", "compared", "crash in recovery", "cut", "failed step", "no base", "power lost",
        ]
        for event in events { #expect(counts[event, default: 0] > 0, "\(event) never happens") }
    }

    @Test("A crash at each call of a life with compaction in turn, and at each call of the recovery behind it")
    func everyCall() throws {
        var lives = 0
        let seedCount = isSanitized ? 1 : 4
        for seed in 1...UInt64(seedCount) {
            for isRecovery in [false, true] {
                var (call, comes) = (1, true)
                while comes {
                    let model = StoreCrashModel(seed: seed)
                    do {
                        try model.start(mayCrash: false)
                        let inLife = try model.live(stepMax: 60, crashCall: isRecovery ? 60 : call)
                        let inRecovery = try model.start(mayCrash: false, crashCall: isRecovery ? call : nil)
                        comes = isRecovery ? inRecovery : inLife
                        try model.checkHistory()
                    } catch {
                        Issue.record("seed \(seed), \(isRecovery ? "recovery" : "life"), call \(call): \(error)")
                        return
                    }
                    (lives, call) = (lives + 1, call + 1)
                }
            }
        }
        print("store crashes: \(lives) lives, each with a crash at another call")
        #expect(lives > 20 * seedCount)
    }
}
