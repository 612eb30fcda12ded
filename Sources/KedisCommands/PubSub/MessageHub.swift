// Publish and subscribe: who wants what is published where.
//
//   channel ─ hash ─▶ shard (lock) ─▶ topic ─▶ branches ─▶ postbox of a loop ─▶ its members
//                                        │ one for each loop that has subscribers
//
// A publisher finds the branches under the shard's lock and posts one piece of mail to each; the loops deliver it to
// their own clients. So the messages of one publisher arrive in their order, and a publication costs the publisher the
// same for one subscriber of a loop and for ten thousand.
//
// Threads: topics and their branches are guarded by their table; members of a branch belong to its postbox's thread.
// Cost of a publication without subscribers: a hash and a lookup under a lock of its shard.

import KedisStore
import KedisUtilities
import Synchronization

/// The three kinds of names to subscribe to.
package enum TopicKind: Int, CaseIterable, Sendable {
    case channel, pattern, shardChannel
}

/// A name that somebody is subscribed to.
final class Topic: @unchecked Sendable {
    // Sendable: what changes is guarded by the table.

    let kind: TopicKind
    let name: [UInt8]
    let hash: UInt64
    fileprivate(set) var branches: [Branch] = []
    fileprivate(set) var subscriberCount = 0
    /// Topics whose names have the same hash.
    fileprivate var next: Topic?

    init(_ kind: TopicKind, _ name: ByteView, hash: UInt64) {
        self.kind = kind
        self.name = name.bytes
        self.hash = hash
    }

    func isNamed(_ other: ByteView) -> Bool { name.withUnsafeBytes { ByteView($0) == other } }
}

/// The subscribers of a topic that share a postbox.
final class Branch: @unchecked Sendable {
    // Sendable: `index` is guarded by the topic's table, `members` belongs to the postbox's thread.

    let topic: Topic
    let postbox: Postbox
    /// Its place among the topic's branches.
    fileprivate var index: Int
    private var members: [Subscription] = []
    /// A publication was lost: Postbox.swift.
    let isOverflowing = Atomic<Bool>(false)

    init(_ topic: Topic, _ postbox: Postbox, index: Int) {
        self.topic = topic
        self.postbox = postbox
        self.index = index
    }

    var isEmpty: Bool { members.isEmpty }

    /// Members neither come nor go meanwhile. With the number of a piece of mail only those that were there before it.
    func forEachMember(at number: UInt64 = .max, _ body: (ClientRecord) -> Void) {
        for member in members where member.firstMail <= number { body(member.record) }
    }

    func add(_ subscription: Subscription) {
        subscription.index = members.count
        members.append(subscription)
    }

    func remove(_ subscription: Subscription) {
        let last = members.removeLast()
        guard last !== subscription else { return }
        members[subscription.index] = last
        last.index = subscription.index
    }
}

/// One client's subscription to one topic. Touched by the client's thread only.
final class Subscription {
    let branch: Branch
    let record: ClientRecord
    /// Which of the client's subscriptions it is: they are listed in their order.
    let number: Int
    /// The number of the first piece of mail that is for it: Postbox.swift.
    let firstMail: UInt64
    fileprivate(set) var index = 0

    init(_ branch: Branch, _ record: ClientRecord, number: Int, firstMail: UInt64) {
        self.firstMail = firstMail
        self.branch = branch
        self.record = record
        self.number = number
    }
}

/// The topics of one kind, in shards.
final class TopicTable: Sendable {
    fileprivate struct Shard {
        var topics: [UInt64: Topic] = [:]
    }

    let kind: TopicKind
    private let seed: HashSeed
    private let shards: FixedShards
    private let topicCount = Atomic<Int>(0)

    private struct FixedShards: @unchecked Sendable {
        // Sendable: an array that never changes, of locks.
        let shards: UnsafeMutablePointer<Locked<Shard>>

        init() {
            shards = .allocate(capacity: TopicTable.shardCount)
            for index in 0..<TopicTable.shardCount { (shards + index).initialize(to: Locked(Shard())) }
        }
    }

    private static let shardCount = 32

    init(_ kind: TopicKind, seed: HashSeed) {
        self.kind = kind
        self.seed = seed
        shards = FixedShards()
    }

    deinit {
        shards.shards.deinitialize(count: Self.shardCount)
        shards.shards.deallocate()
    }

    var count: Int { topicCount.load(ordering: .relaxed) }

    private func withShard<Result>(_ hash: UInt64, _ body: (inout Shard) -> Result) -> Result {
        nonisolated(unsafe) var result: Result?
        shards.shards[Int(truncatingIfNeeded: hash >> 32) & (Self.shardCount - 1)].withLock { result = body(&$0) }
        return result.unsafelyUnwrapped
    }

    /// What to post a publication to, and the number of subscribers.
    func branches(of name: ByteView) -> (topic: Topic, branches: [Branch], subscriberCount: Int)? {
        let hash = hashBytes(name, seed: seed)
        return withShard(hash) { shard in
            guard let topic = shard.find(name, hash) else { return nil }
            return (topic, topic.branches, topic.subscriberCount)
        }
    }

    func subscriberCount(of name: ByteView) -> Int {
        let hash = hashBytes(name, seed: seed)
        return withShard(hash) { $0.find(name, hash)?.subscriberCount ?? 0 }
    }

    /// The names of all topics, as they are one shard after another.
    var names: [[UInt8]] {
        (0..<Self.shardCount).flatMap { index in
            withShard(UInt64(index) << 32) { shard in
                shard.topics.values.flatMap { first in sequence(first: first, next: \.next).map(\.name) }
            }
        }
    }

    /// Subscribes a client; its thread's call.
    func add(_ name: ByteView, for record: ClientRecord, number: Int) -> Subscription {
        let hash = hashBytes(name, seed: seed)
        // Before any publisher sees the client: what it counts the client for comes after.
        let firstMail = record.postbox.nextNumber
        let branch = withShard(hash) { shard in
            let topic = shard.find(name, hash) ?? makeTopic(name, hash, in: &shard)
            topic.subscriberCount += 1
            return topic.branch(for: record.postbox)
        }
        let subscription = Subscription(branch, record, number: number, firstMail: firstMail)
        branch.add(subscription)
        return subscription
    }

    private func makeTopic(_ name: ByteView, _ hash: UInt64, in shard: inout Shard) -> Topic {
        let topic = Topic(kind, name, hash: hash)
        topic.next = shard.topics[hash]
        shard.topics[hash] = topic
        topicCount.add(1, ordering: .relaxed)
        return topic
    }

    /// Ends a subscription; its client's thread's call. True when it was the topic's last.
    @discardableResult
    func remove(_ subscription: Subscription) -> Bool {
        let branch = subscription.branch
        let topic = branch.topic
        branch.remove(subscription)
        return withShard(topic.hash) { shard in
            topic.subscriberCount -= 1
            if branch.isEmpty { topic.remove(branch) }
            guard topic.branches.isEmpty else { return false }
            shard.remove(topic)
            topicCount.subtract(1, ordering: .relaxed)
            return true
        }
    }
}

extension TopicTable.Shard {
    fileprivate func find(_ name: ByteView, _ hash: UInt64) -> Topic? {
        var topic = topics[hash]
        while let current = topic, !current.isNamed(name) { topic = current.next }
        return topic
    }

    fileprivate mutating func remove(_ topic: Topic) {
        guard let first = topics[topic.hash] else { return }
        if first === topic {
            topics[topic.hash] = topic.next
        } else {
            var previous = first
            while let next = previous.next, next !== topic { previous = next }
            previous.next = topic.next
        }
    }
}

extension Topic {
    /// The branch of a postbox. One that is a client's own has none yet, as a client subscribes once.
    fileprivate func branch(for postbox: Postbox) -> Branch {
        if postbox.isShared, let branch = branches.first(where: { $0.postbox === postbox }) { return branch }
        let branch = Branch(self, postbox, index: branches.count)
        branches.append(branch)
        return branch
    }

    fileprivate func remove(_ branch: Branch) {
        let last = branches.removeLast()
        guard last !== branch else { return }
        branches[branch.index] = last
        last.index = branch.index
    }
}

package final class MessageHub: Sendable {
    let channels: TopicTable
    let shardChannels: TopicTable
    let patterns: PatternTable

    init(seed: HashSeed) {
        channels = TopicTable(.channel, seed: seed)
        shardChannels = TopicTable(.shardChannel, seed: seed)
        patterns = PatternTable(seed: seed)
    }

    /// Publishes to a channel, and returns how many clients get it; nil when there is no memory for the message.
    ///
    /// - Parameters:
    ///   - publisher: gets what it subscribed to itself by ``ClientState/push(_:)``: its replies are on their way.
    ///   - bells: gets the postboxes to ring; the caller does it when it holds no stripe.
    func publish(
        _ payload: ByteView, to channel: ByteView, kind: TopicKind = .channel,
        from publisher: UnsafeMutablePointer<ClientState>?, bells: inout [Postbox]
    ) -> Int? {
        var receiverCount = 0
        let table = kind == .shardChannel ? shardChannels : channels
        if let (topic, branches, count) = table.branches(of: channel) {
            let name: StaticString = kind == .shardChannel ? "smessage" : "message"
            guard let message = Message(kind: name, [channel, payload]) else { return nil }
            deliver(message, topic, branches, from: publisher, &bells)
            receiverCount += count
        }
        guard kind == .channel, patterns.count > 0 else { return receiverCount }
        for (topic, branches, count) in patterns.branches(matching: channel) {
            let message = topic.name.withUnsafeBytes {
                Message(kind: "pmessage", [ByteView($0), channel, payload])
            }
            guard let message else { return nil }
            deliver(message, topic, branches, from: publisher, &bells)
            receiverCount += count
        }
        return receiverCount
    }

    private func deliver(
        _ message: Message, _ topic: Topic, _ branches: [Branch], from publisher: UnsafeMutablePointer<ClientState>?,
        _ bells: inout [Postbox]
    ) {
        var exception: ClientRecord?
        if let publisher, publisher.pointee.subscriptions?.contains(topic) == true {
            exception = publisher.pointee.record
            publisher.pointee.push(message)
        }
        for branch in branches where branch.postbox.post(.publication(message, branch, except: exception)) {
            bells.append(branch.postbox)
        }
    }
}
