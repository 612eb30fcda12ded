// Rounds of lives that may crash, each from a seed of its own, as long as `KEDIS_JOURNAL_SECONDS` says; or the one round
// that `KEDIS_JOURNAL_ROUND` names.

import KedisUtilities

package struct CrashRounds {
    /// What happened, and how often.
    package private(set) var counts: [String: Int] = [:]
    /// Of the round that failed: its seed, and why.
    package private(set) var problem: String?
    /// One round was asked for.
    package let isSingle: Bool

    /// - Parameters:
    ///   - name: what the seeds are drawn and the counts are printed by.
    ///   - seconds: for how long without `KEDIS_JOURNAL_SECONDS`.
    ///   - round: lives from a seed; returns what happened.
    package init(_ name: String, seconds: UInt64, _ round: (_ seed: UInt64) throws -> [String: Int]) {
        var seeds = RandomGenerator.forTest(name)
        let seconds = TestFiles.environment("KEDIS_JOURNAL_SECONDS").flatMap { UInt64($0) } ?? seconds
        let fixed = TestFiles.environment("KEDIS_JOURNAL_ROUND").flatMap { UInt64($0) }
        isSingle = fixed != nil
        let end = monotonicNanoseconds() + seconds * 1_000_000_000
        var roundCount = 0
        while monotonicNanoseconds() < end {
            let seed = fixed ?? seeds.next()
            do {
                counts.merge(try round(seed)) { $0 + $1 }
            } catch {
                problem = "round \(seed) (KEDIS_JOURNAL_ROUND): \(error)"
                return
            }
            roundCount += 1
            if isSingle { break }
        }
        print("\(name): \(roundCount) rounds, \(counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" })")
    }
}
