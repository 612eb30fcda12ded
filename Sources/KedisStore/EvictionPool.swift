// Candidates for eviction that were sampled earlier and not needed then: the best of many samples is close to the best
// of all. One pool for each stripe, guarded by its lock. Cost: 16 candidates of 32 bytes.

struct EvictionPool {
    struct Candidate {
        var databaseIndex: Int
        var hash: UInt64
        var reference: UInt32
        /// As it was seen: a key that was used since is no candidate any more.
        var accessClock: UInt32
        /// The higher, the sooner it should go. Comparable over time.
        var score: Int64
    }

    static let capacity = 16

    /// Best last.
    private var candidates: [Candidate] = []
    private var policy = EvictionPolicy.noEviction

    /// Forgets candidates that another policy had chosen.
    mutating func prepare(for policy: EvictionPolicy) {
        guard policy != self.policy else { return }
        self.policy = policy
        candidates.removeAll()
    }

    mutating func offer(_ candidate: Candidate) {
        if candidates.count == Self.capacity {
            guard candidate.score > candidates[0].score else { return }
        }
        let isKnown = candidates.contains {
            $0.reference == candidate.reference && $0.databaseIndex == candidate.databaseIndex
        }
        guard !isKnown else { return }
        if candidates.count == Self.capacity { candidates.removeFirst() }
        let index = candidates.firstIndex { $0.score > candidate.score } ?? candidates.count
        candidates.insert(candidate, at: index)
    }

    mutating func takeBest() -> Candidate? { candidates.popLast() }
}
