// Goal: whatever the disk does, what was said to be on disk is there, and what is recovered is what was appended, in
// order, whole. Method: seeded lives of a process on a simulated disk beside a model (JournalModel.swift).
//
//     KEDIS_JOURNAL_SECONDS=600 swift test --filter JournalCrash

import KedisTestSupport
import KedisUtilities
import Testing

@Suite("A journal survives crashes")
struct JournalCrashTests {
    @Test("Crashes at any call, failing and full disks, lost power: nothing promised is lost, nothing else appears")
    func crashes() throws {
        let rounds = CrashRounds("journal crashes", seconds: 3) { seed in
            let model = JournalModel(seed: seed)
            for _ in 0..<5 {
                try model.start(mayCrash: true)
                try model.live(stepMax: 60)
            }
            try model.start(mayCrash: false)
            return model.counts
        }
        if let problem = rounds.problem { return _ = Issue.record("\(problem)") }
        guard !rounds.isSingle else { return }
        let events = [
            "base", "base used", "close", "close failed", "crash in recovery", "cut", "failed step",
            "fault in recovery",
            "power lost", "segments removed", "start",
        ]
        for event in events { #expect(rounds.counts[event, default: 0] > 0, "\(event) never happens") }
    }

    @Test("A crash at each call of a life in turn, and at each call of the recovery behind it")
    func everyCall() throws {
        var lives = 0
        let seedCount = reducedWhenSanitized(40)
        for seed in 1...UInt64(seedCount) {
            // The same seed does the same things, so that the crash comes a call later each time, until there is none.
            var (call, comes) = (1, true)
            while comes {
                let model = JournalModel(seed: seed)
                try model.start(mayCrash: false)
                comes = try model.live(stepMax: 60, crashCall: call)
                try model.start(mayCrash: false)
                (lives, call) = (lives + 1, call + 1)
            }
            (call, comes) = (1, true)
            while comes {
                let model = JournalModel(seed: seed)
                try model.start(mayCrash: false)
                _ = try model.live(stepMax: 60, crashCall: 30)
                comes = try model.start(crashCall: call)
                (lives, call) = (lives + 1, call + 1)
            }
        }
        print("journal crashes: \(lives) lives, each with a crash at another call")
        #expect(lives > 30 * seedCount)
    }
}
