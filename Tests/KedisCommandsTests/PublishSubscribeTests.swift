// Goal: messages reach all who subscribed, once and in each publisher's order, whatever threads do; nothing is left of
// who has gone; and a publication costs nothing that it need not. Method: threads with sessions of their own, and counts.

import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

@testable import KedisCommands

/// The texts of the messages in what a session was sent.
private func messages(_ bytes: [UInt8]) -> [String] {
    var decoder = ReplyDecoder()
    decoder.append(bytes)
    var texts: [String] = []
    while let reply = try? decoder.next() {
        guard case .push(let parts) = reply, case .bulk(let kind) = parts[0], case .bulk(let text) = parts.last,
            kind == Array("message".utf8) || kind == Array("pmessage".utf8)
        else { continue }
        texts.append(String(decoding: text, as: UTF8.self))
    }
    return texts
}

@Suite("Publish and subscribe")
struct PublishSubscribeTests {
    @Test("Of 4 publishers on threads of their own, every subscriber gets every message once, in each one's order")
    func orderOfPublishers() throws {
        let engine = Engine.forTest()
        let (publisherCount, messageCount) = (4, 2_000)
        let goOn = Atomic<Bool>(true)
        let mistakes = Locked<[String]>([])
        let readyCount = Atomic<Int>(0)
        onThreads(publisherCount + 4) { thread in
            if thread < publisherCount {
                let session = TestSession(engine)
                while readyCount.load(ordering: .acquiring) < 4 {}
                for index in 0..<messageCount {
                    _ = try? session.call("PUBLISH", "channel:\(index % 3)", "\(thread) \(index)")
                }
                if readyCount.add(1, ordering: .acquiringAndReleasing).newValue == 4 + publisherCount {
                    goOn.store(false, ordering: .releasing)
                }
                return
            }
            let session = TestSession(engine, version: .resp3)
            // Half of them by a pattern.
            _ = try? thread % 2 == 0
                ? session.call("PSUBSCRIBE", "chan*")
                : session.call("SUBSCRIBE", "channel:0", "channel:1", "channel:2")
            readyCount.add(1, ordering: .acquiringAndReleasing)
            var next = Array(repeating: 0, count: publisherCount)
            func take() {
                for text in messages(session.send([])) {
                    let words = text.split(separator: " ").compactMap { Int($0) }
                    if words.count != 2 || next[words[0]] != words[1] {
                        mistakes.withLock { $0.append("\(text) instead of \(next)") }
                    } else {
                        next[words[0]] += 1
                    }
                }
            }
            while goOn.load(ordering: .acquiring) { take() }
            take()
            if next != Array(repeating: messageCount, count: publisherCount) {
                mistakes.withLock { $0.append("got \(next)") }
            }
        }
        #expect(mistakes.withLock { $0.prefix(5).joined(separator: "; ") } == "")
    }

    @Test("Clients that come and go while others publish leave nothing behind")
    func comingAndGoing() throws {
        let engine = Engine.forTest()
        let seed = RandomGenerator.forTest("coming and going")
        onThreads(4) { thread in
            var generator = seed
            for _ in 0...thread { _ = generator.next() }
            var sessions: [TestSession] = []
            for _ in 0..<1_000 {
                switch generator.next(below: 4) {
                case 0: sessions.append(TestSession(engine))
                case 1 where !sessions.isEmpty: sessions.remove(at: generator.next(below: sessions.count))
                case 2 where !sessions.isEmpty:
                    let session = sessions[generator.next(below: sessions.count)]
                    let command = ["SUBSCRIBE", "PSUBSCRIBE", "UNSUBSCRIBE", "SSUBSCRIBE"][generator.next(below: 4)]
                    _ = try? session.call(command, "c\(generator.next(below: 5))*")
                default: _ = try? TestSession(engine).call("PUBLISH", "c\(generator.next(below: 5))*", "x")
                }
            }
        }
        #expect(engine.hub.channels.count == 0)
        #expect(engine.hub.patterns.count == 0)
        #expect(engine.hub.shardChannels.count == 0)
        #expect(try TestSession(engine).call("PUBSUB", "CHANNELS") == .array([]))
    }

    @Test("10,000 subscribers of one channel that share a postbox are one piece of mail")
    func tenThousandSubscribers() throws {
        let engine = Engine.forTest()
        let counter = Counter()
        let postbox = Postbox(isShared: true) { counter.value.add(1, ordering: .relaxed) }
        let sessions = (0..<10_000).map { _ in SharedSession(engine, postbox) }
        for session in sessions { session.send("SUBSCRIBE all") }
        let publisher = TestSession(engine)
        #expect(try publisher.call("PUBLISH", "all", "hello") == .integer(10_000))
        #expect(try publisher.call("PUBLISH", "all", "again") == .integer(10_000))
        #expect(counter.value.load(ordering: .relaxed) == 1)
        postbox.deliver()
        #expect(sessions.allSatisfy { messages($0.taken) == ["hello", "again"] })
        // Each leaves at once, however many there are.
        for session in sessions { session.send("UNSUBSCRIBE all") }
        #expect(engine.hub.channels.count == 0)
    }

    @Test("Who subscribes gets nothing that was published before, be it by the same transaction")
    func lateSubscriber() throws {
        let engine = Engine.forTest()
        let postbox = Postbox(isShared: true)
        let (early, late) = (SharedSession(engine, postbox), SharedSession(engine, postbox))
        early.send("SUBSCRIBE c")
        for request in ["MULTI", "PUBLISH c one", "SUBSCRIBE c", "EXEC"] { late.send(request) }
        _ = try TestSession(engine).call("PUBLISH", "c", "two")
        postbox.deliver()
        #expect(messages(early.taken) == ["one", "two"])
        #expect(messages(late.taken) == ["two"])
    }

    private final class Counter: Sendable { let value = Atomic<Int>(0) }

    @Test("CLIENT REPLY silences replies, not confirmations and messages")
    func silenced() throws {
        let engine = Engine.forTest()
        let session = TestSession(engine, version: .resp3)
        let silenced = session.send(Array("CLIENT REPLY OFF\r\nSUBSCRIBE c\r\nPING\r\n".utf8))
        #expect(String(decoding: silenced, as: UTF8.self) == ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n")
        _ = try TestSession(engine).call("PUBLISH", "c", "hello")
        #expect(messages(session.send([])) == ["hello"])
    }

    @Test("A postbox that nobody empties is bounded: its subscribers are closed instead")
    func boundedPostbox() throws {
        let engine = Engine.forTest()
        let postbox = Postbox(isShared: true)
        let session = SharedSession(engine, postbox)
        session.send("SUBSCRIBE all")
        let publisher = TestSession(engine)
        let text = String(repeating: "x", count: 8 << 20)
        for _ in 0..<40 { _ = try publisher.call("PUBLISH", "all", text) }
        postbox.deliver()
        #expect(session.isClosed)
        #expect(session.messageCount == 31)
    }

    @Test("Publications that a pattern cannot match look at no pattern")
    func patternsByTheirBeginnings() throws {
        let engine = Engine.forTest()
        let session = TestSession(engine, version: .resp3)
        for index in 0..<10_000 { _ = try session.call("PSUBSCRIBE", "prefix:\(index):*") }
        let publisher = TestSession(engine)
        #expect(try publisher.call("PUBLISH", "other:1:x", "x") == .integer(0))
        #expect(engine.hub.patterns.candidateCount(of: "other:1:x") == 0)
        #expect(try publisher.call("PUBLISH", "prefix:77:x", "x") == .integer(1))
        #expect(engine.hub.patterns.candidateCount(of: "prefix:77:x") == 1)
    }
}

/// A session that shares its postbox with others, as those of an event loop do.
private final class SharedSession {
    private var session: Session
    private(set) var taken: [UInt8] = []
    private(set) var messageCount = 0
    private(set) var isClosed = false

    init(_ engine: Engine, _ postbox: Postbox) {
        session = Session(engine: engine, version: .resp3, postbox: postbox)
        session.client.pointee.record.receive = { [unowned self] mail in
            switch mail {
            case .message(let message):
                messageCount += 1
                session.deliver(message)
                taken += session.output.bytes.bytes
                session.output.removeAll()
            case .wake: break
            case .close: isClosed = true
            }
        }
    }

    deinit { session.client.pointee.record.receive = nil }

    func send(_ words: String) {
        let bytes = RespRunner.encode(words.split(separator: " ").map { Array($0.utf8) })
        bytes.withUnsafeBytes { session.receive($0) }
        session.output.removeAll()
    }
}
