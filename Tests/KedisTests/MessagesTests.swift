// Goal: a program hears what is published, from the moment that it listens, in order, until it stops, the database is
// closed or it is too slow; and what cannot work is refused. Method: publishers on threads, readers as tasks.

import Kedis
import KedisTestSupport
import Testing

@Suite("Messages in a program")
struct MessagesTests {
    @Test("Messages come in order, from the subscription on, of channels and of patterns")
    func order() async throws {
        let database = KedisDatabase()
        #expect(database.execute("PUBLISH", "news", "early") == .integer(0))
        let messages = try database.messages(of: ["news"], matching: ["user:*"])
        #expect(database.execute("PUBLISH", "news", "1") == .integer(1))
        #expect(database.execute("PUBLISH", "user:7", "2") == .integer(1))
        #expect(database.execute("PUBLISH", "other", "3") == .integer(0))
        #expect(database.execute("PUBLISH", "news", "") == .integer(1))
        var iterator = messages.makeAsyncIterator()
        var got: [KedisMessage] = []
        while got.count < 3, let message = try await iterator.next() { got.append(message) }
        #expect(got.map { $0.payload(as: String.self) } == ["1", "2", ""])
        #expect(got.map { String(decoding: $0.channel, as: UTF8.self) } == ["news", "user:7", "news"])
        #expect(got.map { $0.pattern.map { String(decoding: $0, as: UTF8.self) } } == [nil, "user:*", nil])
    }

    @Test("A reader that waits wakes, and each publisher's messages stay in their order")
    func manyPublishers() async throws {
        let database = KedisDatabase()
        let messages = try database.messages(of: ["numbers"])
        let publisherCount = 4, count = 2_000
        let reader = Task {
            var next = [Int](repeating: 0, count: publisherCount)
            for try await message in messages {
                let parts = message.payload(as: String.self)?.split(separator: " ").compactMap { Int($0) } ?? []
                guard parts.count == 2, next[parts[0]] == parts[1] else { return false }
                next[parts[0]] += 1
                if next.allSatisfy({ $0 == count }) { return true }
            }
            return false
        }
        onThreads(publisherCount) { index in
            let connection = database.connect()
            for number in 0..<count { _ = connection.execute("PUBLISH", "numbers", "\(index) \(number)") }
        }
        #expect(try await reader.value)
    }

    @Test("The sequence ends with the database, and with its task", arguments: [true, false])
    func end(closes: Bool) async throws {
        let database = KedisDatabase()
        let messages = try database.messages(of: ["news"])
        let reader = Task {
            var count = 0
            for try await _ in messages { count += 1 }
            return count
        }
        _ = database.execute("PUBLISH", "news", "1")
        if closes { try database.close() } else { reader.cancel() }
        #expect(try await reader.value <= 1)
        if closes {
            #expect(throws: KedisError.self) { try database.messages(of: ["news"]) }
        } else {
            #expect(database.execute("PUBSUB", "NUMSUB", "news") == .array([.bulk(Array("news".utf8)), .integer(1)]))
        }
    }

    @Test("Letting go of the sequence ends the subscription")
    func release() throws {
        let database = KedisDatabase()
        do { _ = try database.messages(of: ["news"], matching: ["n*"]) }
        #expect(database.execute("PUBLISH", "news", "1") == .integer(0))
    }

    @Test("A reader that leaves too much unread is told that it missed messages")
    func overflow() async throws {
        let database = KedisDatabase()
        let messages = try database.messages(of: ["big"])
        let payload = [UInt8](repeating: 120, count: 64 << 20)
        for _ in 0..<5 { _ = database.execute([Array("PUBLISH".utf8), Array("big".utf8), payload]) }
        var iterator = messages.makeAsyncIterator()
        var count = 0
        await #expect(throws: KedisError.missedMessages) {
            while let message = try await iterator.next() {
                #expect(message.payload.count == payload.count)
                count += 1
            }
        }
        #expect((1...4).contains(count))
    }

    @Test("Who may not listen is told so, and who has to wait is subscribed afterwards")
    func refusedAndPostponed() async throws {
        let database = KedisDatabase()
        _ = database.execute("CLIENT", "PAUSE", "50", "ALL")
        let messages = try database.messages(of: ["news"])
        #expect(database.execute("PUBLISH", "news", "1") == .integer(1))
        _ = database.execute("ACL", "SETUSER", "default", "resetchannels")
        #expect(throws: KedisError.self) { try database.messages(of: ["news"]) }
        var iterator = messages.makeAsyncIterator()
        await #expect(throws: KedisError.missedMessages) { while try await iterator.next() != nil {} }
    }

    @Test("Several readers share the messages, and any of them may be cancelled")
    func severalReaders() async throws {
        let database = KedisDatabase()
        let messages = try database.messages(of: ["news"])
        let readers = (0..<4).map { _ in
            Task {
                var count = 0
                for try await _ in messages { count += 1 }
                return count
            }
        }
        for number in 0..<200 { _ = database.execute("PUBLISH", "news", "\(number)") }
        readers[0].cancel()
        _ = try await readers[0].value
        for number in 0..<200 { _ = database.execute("PUBLISH", "news", "\(number)") }
        try await Task.sleep(for: .milliseconds(200))
        try database.close()
        var count = 0
        for reader in readers { count += try await reader.value }
        #expect(count == 400)
    }

    @Test("Events of keys come when they are switched on")
    func keyEvents() async throws {
        let database = KedisDatabase()
        _ = database.execute("CONFIG", "SET", "notify-keyspace-events", "Ex$")
        let messages = try database.messages(of: ["__keyevent@0__:set", "__keyevent@0__:expired"])
        _ = database.execute("SET", "a", "1", "PX", "20")
        var iterator = messages.makeAsyncIterator()
        #expect(try await iterator.next()?.payload(as: String.self) == "a")
        let expired = try await iterator.next()
        #expect(expired.map { String(decoding: $0.channel, as: UTF8.self) } == "__keyevent@0__:expired")
    }

    @Test("Commands that make messages are refused where none can be taken", arguments: [
        ["SUBSCRIBE", "a"], ["PSUBSCRIBE", "a*"], ["SSUBSCRIBE", "a"], ["MONITOR"],
    ])
    func refusal(command: [String]) {
        let database = KedisDatabase()
        let reply = database.connect().execute(command.map { Array($0.utf8) })
        let text = "ERR no messages reach this connection: a program listens with KedisDatabase.messages"
        #expect(reply == .error(Array(text.utf8)))
        #expect(database.execute("PUBSUB", "CHANNELS") == .array([]))
    }
}
