// Messages in a program: what is published, as an asynchronous sequence.
//
//   publisher ─▶ postbox ─▶ bell ─▶ the task that awaits wakes ─▶ takes all mail, under the lock ─▶ next()
//
// Nothing runs between: a message costs its receiver no thread, and its publisher what it costs with a server. With
// `always` what was taken waits until the records that were there then are on disk, as messages of a server do. What is
// not read waits in the postbox, whose limit is 256 MiB; then the subscription ends with an error, so that a reader
// never misses a message without knowing.
//
// Ownership: the sequence owns a connection that is subscribed, and keeps the database alive. Threads: any; of several
// iterators each message goes to one.

import KedisCommands
import KedisDurability
import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

/// A message that was published on a channel.
public struct KedisMessage: Sendable, Equatable {
    public let channel: [UInt8]
    /// The pattern that the channel matches, for who listens to patterns.
    public let pattern: [UInt8]?
    public let payload: [UInt8]

    /// The payload as a value, or nil when it is none.
    public func payload<Value: KedisValue>(as type: Value.Type) -> Value? { Value(kedisBytes: payload) }

    /// From what a client of RESP3 gets; nil for anything but a publication.
    fileprivate init?(_ reply: Reply) {
        guard case .push(let parts) = reply else { return nil }
        let fields = parts.compactMap { if case .bulk(let bytes) = $0 { bytes } else { nil } }
        guard fields.count == parts.count, let kind = fields.first else { return nil }
        switch (String(decoding: kind, as: UTF8.self), fields.count) {
        case ("message", 3): (pattern, channel, payload) = (nil, fields[1], fields[2])
        case ("pmessage", 4): (pattern, channel, payload) = (fields[1], fields[2], fields[3])
        default: return nil
        }
    }
}

/// What is published on some channels, from the moment that the sequence was made by
/// ``KedisDatabase/messages(of:matching:)``.
///
/// ```swift
/// for try await message in try database.messages(of: ["news"]) {
///     print(message.payload(as: String.self) ?? "")
/// }
/// ```
///
/// It ends when the database is closed or the task is cancelled, and throws ``KedisError/missedMessages`` when more
/// than 256 MiB wait to be read, or the subscription is ended from outside (CLIENT KILL, a change of users).
public final class KedisMessages: AsyncSequence, Sendable {
    public typealias Element = KedisMessage
    public typealias Failure = KedisError

    private let listener: Locked<Listener>
    private let bell: Bell
    private let lifecycle: KedisDatabase.Lifecycle

    init(
        _ database: KedisDatabase, _ lifecycle: KedisDatabase.Lifecycle, channels: [[UInt8]], patterns: [[UInt8]]
    ) throws(KedisError) {
        let bell = Bell()
        self.bell = bell
        self.lifecycle = lifecycle
        listener = Locked(try Listener(database.connect { bell.ring() }, channels: channels, patterns: patterns))
    }

    public func makeAsyncIterator() -> Iterator { Iterator(messages: self) }

    public struct Iterator: AsyncIteratorProtocol {
        fileprivate let messages: KedisMessages

        /// The next message; nil when the database is closed or the task cancelled.
        public mutating func next() async throws(KedisError) -> KedisMessage? {
            try await messages.next()
        }
    }

    fileprivate func next() async throws(KedisError) -> KedisMessage? {
        while !Task.isCancelled, !lifecycle.isClosed.load(ordering: .acquiring) {
            switch listener.withLock({ $0.take() }) {
            case .message(let message, let isLast):
                // Another task may wait for those behind it.
                if !isLast { bell.ring() }
                return message
            case .lost: throw .missedMessages
            case .held(let gate, let sequence, let isAnnounced):
                if !isAnnounced.value.exchange(true, ordering: .acquiringAndReleasing) {
                    gate.whenDurable(sequence) { [bell] in
                        isAnnounced.value.store(false, ordering: .releasing)
                        bell.ring()
                    }
                }
                await bell.wait()
            case .none: await bell.wait()
            }
        }
        // Others that wait for the same are to see it, too.
        bell.ring()
        return nil
    }
}

/// The connection that is subscribed, and the messages that it has taken out of its postbox. One thread at a time.
private final class Listener {
    enum Outcome {
        case none
        /// And whether no other one has been taken out of the postbox.
        case message(KedisMessage, isLast: Bool)
        /// There are some, which must not be told of before this record is on disk.
        case held(DurabilityGate, UInt64, isAnnounced: Flag)
        /// The subscription was cut off: a message did not fit in the postbox, or somebody has closed the client.
        case lost
    }

    final class Flag: Sendable {
        let value = Atomic<Bool>(false)
    }

    private let connection: KedisConnection
    private let inbox = Inbox()
    /// Somebody rings when what is held may be told.
    private let isAnnounced = Flag()

    /// What the postbox has delivered.
    private final class Inbox {
        var messages: [Message] = []
        var takenCount = 0
        var isCutOff = false
        /// The last record that the messages may be about.
        var neededSequence: UInt64 = 0
    }

    init(_ connection: KedisConnection, channels: [[UInt8]], patterns: [[UInt8]]) throws(KedisError) {
        self.connection = connection
        connection.record.receive = { [inbox] mail in
            switch mail {
            case .message(let message): inbox.messages.append(message)
            case .close: inbox.isCutOff = true
            case .wake: break
            }
        }
        try subscribe("SUBSCRIBE", channels)
        try subscribe("PSUBSCRIBE", patterns)
        // Between the two, messages may have come already.
        noteNeeded()
    }

    deinit { connection.record.receive = nil }

    private func subscribe(_ command: String, _ names: [[UInt8]]) throws(KedisError) {
        guard !names.isEmpty else { return }
        if case .error(let text) = connection.execute([Array(command.utf8)] + names) {
            throw .command(String(decoding: text, as: UTF8.self))
        }
    }

    /// With `always`, what is there may be about all records that are.
    private func noteNeeded() {
        if connection.gate.isOn.load(ordering: .relaxed) { inbox.neededSequence = connection.appendedSequence }
    }

    func take() -> Outcome {
        if inbox.takenCount == inbox.messages.count {
            inbox.messages.removeAll()
            inbox.takenCount = 0
            connection.record.postbox.deliver()
            noteNeeded()
        }
        if inbox.takenCount < inbox.messages.count, !connection.gate.isDurable(inbox.neededSequence) {
            return .held(connection.gate, inbox.neededSequence, isAnnounced: isAnnounced)
        }
        while inbox.takenCount < inbox.messages.count {
            inbox.takenCount += 1
            guard let reply = decoded(inbox.messages[inbox.takenCount - 1]) else {
                inbox.isCutOff = true
                return .lost
            }
            let isLast = inbox.takenCount == inbox.messages.count
            if let message = KedisMessage(reply) { return .message(message, isLast: isLast) }
        }
        return inbox.isCutOff ? .lost : .none
    }

    private func decoded(_ message: Message) -> Reply? {
        var output = ReplyWriter(version: .resp3)
        message.append(to: &output, isSubscriber: true)
        var decoder = ReplyDecoder()
        decoder.append(output.bytes.raw)
        // What the engine wrote decodes, if there was memory for it.
        return try? decoder.next()
    }
}

/// Wakes tasks that wait: kept until one has come, when none waits.
private final class Bell: Sendable {
    private struct State {
        var isRung = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Locked(State())

    func ring() {
        let waiting = state.withLock { state in
            let waiting = state.waiting
            state.waiting = []
            state.isRung = waiting.isEmpty
            return waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    /// Returns when it was rung, or the task is cancelled.
    func wait() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isRung = state.withLock { state in
                    // A task that is cancelled later finds itself in the list.
                    guard !state.isRung, !Task.isCancelled else {
                        state.isRung = false
                        return true
                    }
                    state.waiting.append(continuation)
                    return false
                }
                if isRung { continuation.resume() }
            }
        } onCancel: {
            ring()
        }
    }
}
