// A client whose server remembers what it has read, or which hears of all changes: client-side caching.
//
// Made by its first CLIENT TRACKING, and kept by the tables that name it; one that is off gets nothing. Threads: any.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

/// What CLIENT TRACKING chose.
struct TrackingOptions: OptionSet, Sendable {
    let rawValue: UInt8

    /// The server remembers nothing, and tells of every key that begins with a prefix.
    static let broadcasting = TrackingOptions(rawValue: 1 << 0)
    /// Reads are remembered only behind CLIENT CACHING YES.
    static let optIn = TrackingOptions(rawValue: 1 << 1)
    /// Reads are remembered but behind CLIENT CACHING NO.
    static let optOut = TrackingOptions(rawValue: 1 << 2)
    /// Its own changes are not told.
    static let noLoop = TrackingOptions(rawValue: 1 << 3)
}

final class TrackingClient: Sendable {
    struct State {
        var isOn = false
        var options: TrackingOptions = []
        /// Who gets the invalidations instead.
        var redirect: ClientRecord?
        var prefixes: [[UInt8]] = []
    }

    let record: ClientRecord
    private let state = Locked(State())
    /// The client that gets the invalidations has gone, which an invalidation has found out.
    let isBroken = Atomic<Bool>(false)

    init(_ record: ClientRecord) { self.record = record }

    var current: State { state.withLock { $0 } }

    func set(_ new: State) {
        isBroken.store(false, ordering: .relaxed)
        state.withLock { $0 = new }
    }

    var isOn: Bool { state.withLock { $0.isOn } }

    /// It gets its invalidations itself, in RESP3.
    var isOwnListener: Bool {
        state.withLock { $0.isOn && $0.redirect == nil } && record.protocolVersion.load(ordering: .relaxed) == 3
    }

    /// Posts an invalidation to whoever is to get it. The caller rings `bells` when it holds no stripe.
    func post(_ message: Message, _ bells: inout [Postbox]) {
        let (isOn, redirect) = state.withLock { ($0.isOn, $0.redirect) }
        guard isOn else { return }
        guard let redirect else {
            // In RESP2 there is no way to tell.
            guard record.protocolVersion.load(ordering: .relaxed) == 3 else { return }
            if record.postbox.post(.message(message, record)) { bells.append(record.postbox) }
            return
        }
        guard redirect.isGone.load(ordering: .acquiring) else {
            if redirect.postbox.post(.message(message, redirect)) { bells.append(redirect.postbox) }
            return
        }
        isBroken.store(true, ordering: .relaxed)
        guard record.protocolVersion.load(ordering: .relaxed) == 3,
            let broken = Message.brokenRedirect(redirect.identifier),
            record.postbox.post(.message(broken, record))
        else { return }
        bells.append(record.postbox)
    }
}

extension Message {
    /// What invalidates a key.
    static func invalidation(of key: ByteView) -> Message? {
        invalidation(keyCount: 1) { $0.bulk(key) }
    }

    /// What invalidates keys, which `body` writes.
    static func invalidation(keyCount: Int, _ body: (inout ReplyWriter) -> Void) -> Message? {
        var keys = ReplyWriter()
        keys.array(keyCount)
        body(&keys)
        guard !keys.hasOverflowed else { return nil }
        return Message(keys.bytes, form: .invalidation)
    }

    /// What invalidates everything.
    static func invalidationOfAll() -> Message? { Message(.empty, form: .invalidation) }

    fileprivate static func brokenRedirect(_ identifier: Int64) -> Message? {
        var text = ReplyWriter()
        text.push(2)
        text.bulk("tracking-redir-broken")
        text.integer(identifier)
        return Message(text.bytes, form: .push)
    }
}
