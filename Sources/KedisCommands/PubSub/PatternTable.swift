// Patterns that somebody is subscribed to, found by what a channel's name begins with.
//
// A pattern begins with bytes that stand for themselves, up to its first special one. The index has, for each length of
// such a beginning, a table from its hash to the patterns; a channel looks its own beginnings of these lengths up. So
// patterns that begin otherwise cost a publication nothing but one lookup for each length that occurs.
//
// Threads: one lock for changes and for taking the index, which is a value: it is searched outside the lock. Cost: a
// publication while there is no pattern at all is one load.

import KedisStore
import KedisUtilities
import Synchronization

final class PatternTable: Sendable {
    private struct Index {
        /// For each length of beginnings, by their hashes.
        var byLength: [Int: [UInt64: [Topic]]] = [:]

        mutating func add(_ topic: Topic, _ beginning: (count: Int, hash: UInt64)) {
            byLength[beginning.count, default: [:]][beginning.hash, default: []].append(topic)
        }

        mutating func remove(_ topic: Topic, _ beginning: (count: Int, hash: UInt64)) {
            byLength[beginning.count]?[beginning.hash]?.removeAll { $0 === topic }
            if byLength[beginning.count]?[beginning.hash]?.isEmpty == true {
                byLength[beginning.count]?[beginning.hash] = nil
            }
            if byLength[beginning.count]?.isEmpty == true { byLength[beginning.count] = nil }
        }
    }

    private let seed: HashSeed
    private let topics: TopicTable
    private let index = Locked(Index())

    init(seed: HashSeed) {
        self.seed = seed
        topics = TopicTable(.pattern, seed: seed)
    }

    /// The number of different patterns.
    var count: Int { topics.count }

    /// What to post a publication on `channel` to.
    func branches(matching channel: ByteView) -> [(topic: Topic, branches: [Branch], subscriberCount: Int)] {
        var result: [(topic: Topic, branches: [Branch], subscriberCount: Int)] = []
        forEachCandidate(channel) { topic in
            let found = topic.name.withUnsafeBytes { name -> (Topic, [Branch], Int)? in
                let pattern = ByteView(name)
                guard matchGlob(pattern: pattern, text: channel, ignoringCase: false) else { return nil }
                // One that has just ended may still be in the index, beside its successor.
                return topics.branches(of: pattern).flatMap { $0.topic === topic ? $0 : nil }
            }
            if let found { result.append(found) }
        }
        return result
    }

    /// Calls `body` with the patterns that begin as the channel does.
    private func forEachCandidate(_ channel: ByteView, _ body: (Topic) -> Void) {
        let snapshot = index.withLock { $0 }
        for (length, topicsByHash) in snapshot.byLength where length <= channel.count {
            guard let candidates = topicsByHash[hashBytes(channel[0..<length], seed: seed)] else { continue }
            for topic in candidates { body(topic) }
        }
    }

    /// How many patterns a publication looks at: for tests.
    func candidateCount(of channel: ByteView) -> Int {
        var count = 0
        forEachCandidate(channel) { _ in count += 1 }
        return count
    }

    func add(_ pattern: ByteView, for record: ClientRecord, number: Int) -> Subscription {
        let subscription = topics.add(pattern, for: record, number: number)
        let topic = subscription.branch.topic
        let beginning = self.beginning(of: pattern)
        index.withLock { index in
            let known = index.byLength[beginning.count]?[beginning.hash] ?? []
            if !known.contains(where: { $0 === topic }) { index.add(topic, beginning) }
        }
        return subscription
    }

    func remove(_ subscription: Subscription) {
        let topic = subscription.branch.topic
        guard topics.remove(subscription) else { return }
        let beginning = topic.name.withUnsafeBytes { bytes in self.beginning(of: ByteView(bytes)) }
        index.withLock { $0.remove(topic, beginning) }
    }

    private func beginning(of pattern: ByteView) -> (count: Int, hash: UInt64) {
        var count = 0
        while count < pattern.count, !isGlobSpecial(pattern[count]) { count += 1 }
        return (count, hashBytes(pattern[0..<count], seed: seed))
    }
}

/// A byte of a pattern that does not stand for itself.
private func isGlobSpecial(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: "*") || byte == UInt8(ascii: "?") || byte == UInt8(ascii: "[") || byte == UInt8(ascii: "\\")
}
