// Broadcasting: clients that hear of every change of a key that begins with one of their prefixes. Nothing is kept
// for them; what a read of a client's requests has changed is told in one message for each prefix.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

/// A key that has changed, and who has changed it.
struct ChangedKey {
    let bytes: [UInt8]
    let author: ClientRecord?
}

final class TrackingPrefixes: Sendable {
    private struct Entry {
        let prefix: [UInt8]
        var clients: [TrackingClient] = []
    }

    private let entries = Locked<[Entry]>([])
    private let entryCount = Atomic<Int>(0)

    var count: Int { entryCount.load(ordering: .relaxed) }

    func add(_ prefix: [UInt8], _ client: TrackingClient) {
        entries.withLock { entries in
            if let index = entries.firstIndex(where: { $0.prefix == prefix }) {
                if !entries[index].clients.contains(where: { $0 === client }) { entries[index].clients.append(client) }
            } else {
                entries.append(Entry(prefix: prefix, clients: [client]))
            }
            entryCount.store(entries.count, ordering: .relaxed)
        }
    }

    func remove(_ prefix: [UInt8], _ client: TrackingClient) {
        entries.withLock { entries in
            guard let index = entries.firstIndex(where: { $0.prefix == prefix }) else { return }
            entries[index].clients.removeAll { $0 === client }
            if entries[index].clients.isEmpty { entries.remove(at: index) }
            entryCount.store(entries.count, ordering: .relaxed)
        }
    }

    /// Tells of keys that have changed. The caller rings `bells` when it holds no stripe.
    func broadcast(_ changed: [ChangedKey], _ bells: inout [Postbox]) {
        let snapshot = entries.withLock { $0 }
        for entry in snapshot {
            let keys = changed.filter { $0.bytes.starts(with: entry.prefix) }
            guard !keys.isEmpty, let all = Self.message(keys) else { continue }
            for client in entry.clients {
                var message: Message? = all
                if client.current.options.contains(.noLoop), keys.contains(where: { $0.author === client.record }) {
                    message = Self.message(keys.filter { $0.author !== client.record })
                }
                if let message { client.post(message, &bells) }
            }
        }
    }

    /// Each key once, in the order of their bytes.
    private static func message(_ keys: [ChangedKey]) -> Message? {
        var names: [[UInt8]] = []
        for key in keys.map(\.bytes).sorted(by: { $0.lexicographicallyPrecedes($1) }) where key != names.last {
            names.append(key)
        }
        guard !names.isEmpty else { return nil }
        return Message.invalidation(keyCount: names.count) { text in
            for name in names { name.withUnsafeBytes { text.bulk(ByteView($0)) } }
        }
    }
}
