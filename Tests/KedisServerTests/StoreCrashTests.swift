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
    @Test("Crashes at any call, bad and full disks, lost power, compaction under writes: a state of the past, whole")
    func crashes() throws {
        let rounds = CrashRounds("store crashes", seconds: 3) { seed in
            let model = StoreCrashModel(seed: seed)
            for _ in 0..<4 {
                try model.start(mayCrash: true)
                try model.liveAndMayCrash()
            }
            try model.start(mayCrash: false)
            try model.checkHistory()
            return model.counts
        }
        if let problem = rounds.problem { return _ = Issue.record("\(problem)") }
        guard !rounds.isSingle, !isSanitized else { return }
        let events = [
            "back", "base", "base used", "compared", "crash in recovery", "cut", "failed step", "no base", "power lost",
        ]
        for event in events { #expect(rounds.counts[event, default: 0] > 0, "\(event) never happens") }
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
