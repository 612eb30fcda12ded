// What one client is subscribed to, and what it pushes to itself.
//
// Ownership: the client's state. Threads: the session's.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

final class Subscriptions {
    private let hub: MessageHub
    private var byName: [[[UInt8]: Subscription]] = Array(repeating: [:], count: TopicKind.allCases.count)
    private var nextNumber = 0

    init(_ hub: MessageHub) { self.hub = hub }

    func count(of kind: TopicKind) -> Int { byName[kind.rawValue].count }

    var isEmpty: Bool { byName.allSatisfy(\.isEmpty) }

    /// What they take, about: two copies of each name, the objects and their places in tables.
    var allocatedByteCount: Int { nameByteCount * 2 + byName.reduce(0) { $0 + $1.count } * Self.objectByteCount }

    private static let objectByteCount = 320
    private var nameByteCount = 0

    func contains(_ topic: Topic) -> Bool { byName[topic.kind.rawValue][topic.name] != nil }

    /// The names, in the order in which they were subscribed to.
    func names(of kind: TopicKind) -> [[UInt8]] {
        byName[kind.rawValue].values.sorted { $0.number < $1.number }.map(\.branch.topic.name)
    }

    /// Nothing when the client is subscribed already.
    func add(_ kind: TopicKind, _ name: ByteView, _ record: ClientRecord) {
        let bytes = name.bytes
        guard byName[kind.rawValue][bytes] == nil else { return }
        nextNumber += 1
        nameByteCount += bytes.count
        byName[kind.rawValue][bytes] =
            switch kind {
            case .channel: hub.channels.add(name, for: record, number: nextNumber)
            case .shardChannel: hub.shardChannels.add(name, for: record, number: nextNumber)
            case .pattern: hub.patterns.add(name, for: record, number: nextNumber)
            }
    }

    func remove(_ kind: TopicKind, _ name: [UInt8]) {
        guard let subscription = byName[kind.rawValue].removeValue(forKey: name) else { return }
        nameByteCount -= name.count
        switch kind {
        case .channel: hub.channels.remove(subscription)
        case .shardChannel: hub.shardChannels.remove(subscription)
        case .pattern: hub.patterns.remove(subscription)
        }
    }

    /// Whether a user with these rules may listen to all of it.
    func areAllowed(by rules: UserRules) -> Bool {
        TopicKind.allCases.allSatisfy { kind in
            byName[kind.rawValue].keys.allSatisfy { name in
                name.withView { rules.allows($0, asPattern: kind == .pattern) }
            }
        }
    }

    func removeAll() {
        for kind in TopicKind.allCases {
            for name in byName[kind.rawValue].keys { remove(kind, name) }
        }
    }
}

extension ClientState {
    /// Has a message for the client itself follow the reply to the command that runs, or to its transaction.
    mutating func push(_ message: Message) {
        pushes.append(message)
        followUp.insert(.pushes)
    }

    /// Makes known what the client is subscribed to, after a change.
    mutating func noteSubscriptions() {
        noteInterests()
        for kind in TopicKind.allCases {
            record.subscriptionCounts[kind] = subscriptions?.count(of: kind) ?? 0
        }
        isSubscriber = subscriptions?.isEmpty == false
        if isSubscriber, record.protocolVersion.load(ordering: .relaxed) == 2 {
            conditions.insert(.subscribed)
        } else {
            conditions.remove(.subscribed)
        }
    }

    mutating func endSubscriptions() {
        guard let subscriptions else { return }
        subscriptions.removeAll()
        noteSubscriptions()
    }
}
