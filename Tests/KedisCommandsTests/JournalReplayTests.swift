// Goal: what a journal keeps of commands gives the same data when it is executed again: of every command, in batches and
// transactions, by those who wait, of what expires and is evicted. Method: an engine whose records are kept; after every
// request they are executed on a store with another seed, and both are compared.

import KedisCommands
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

/// The records of an engine's journal.
final class RecordedJournal: Sendable {
    struct Record: Sendable {
        var effects: [UInt8]
        var databaseIndex: Int
        var milliseconds: Int64
    }

    private let records = Locked<[Record]>([])

    /// Keeps what `engine` does from now on.
    init(_ engine: Engine) {
        engine.store.lock(.all)
        engine.journal.connect(
            JournalSink { [self] effects, databaseIndex, milliseconds in
                let record = Record(effects: effects.bytes, databaseIndex: databaseIndex, milliseconds: milliseconds)
                return records.withLock { records in
                    records.append(record)
                    return UInt64(records.count)
                }
            })
        engine.store.unlock(.all)
    }

    /// The records since the last time.
    func take() -> [Record] {
        records.withLock { records in
            defer { records = [] }
            return records
        }
    }

    var text: String { records.withLock { $0.map { String(decoding: $0.effects, as: UTF8.self) }.joined() } }
}

/// A store that follows a journal.
struct FollowingStore: ~Copyable {
    let store = Store(seed: HashSeed(7, 9))
    private var replay: JournalReplay
    private var limits: [String] = []

    init() {
        replay = JournalReplay(store: store, configuration: Configuration())
    }

    /// Values are laid out as they are there from now on.
    mutating func adopt(_ configuration: Configuration) {
        let limits = ["hll-sparse-max-bytes", "stream-node-max-entries", "stream-node-max-bytes"].map {
            configuration.text($0)
        }
        guard limits != self.limits else { return }
        self.limits = limits
        replay = JournalReplay(store: store, configuration: configuration)
    }

    mutating func follow(_ records: [RecordedJournal.Record]) throws {
        for record in records {
            try record.effects.withUnsafeBytes {
                try replay.add(ByteView($0), databaseIndex: record.databaseIndex, milliseconds: record.milliseconds)
            }
        }
        try replay.flush()
    }
}

extension KeyspaceSnapshot {
    /// PFCOUNT keeps its result in the value, which is no change of it.
    fileprivate var withoutCaches: KeyspaceSnapshot {
        mappingStrings { value in
            guard value.count >= 16, value.starts(with: "HYLL".utf8) else { return value }
            return value[..<8] + [UInt8](repeating: 0, count: 8) + value[16...]
        }
    }
}

@Suite("Journal and replay")
struct JournalReplayTests {
    /// Tools of debugging load an older snapshot, or make data, without telling anybody; WAITAOF answers as there is no
    /// journal.
    private static let left: Set<String> = ["debug", "waitaof"]

    private final class Following {
        var journal: RecordedJournal?
        var follower = FollowingStore()
    }

    @Test("The journal of every command gives the same data again",
        arguments: RespCase.registered.filter { !left.contains($0.name) })
    func everyCommand(respCase: RespCase) throws {
        let following = Following()
        let target = TestEngine.target(
            protocolVersion: 2,
            didProcess: { engine in
                following.follower.adopt(engine.engine.configuration)
                do {
                    try following.follower.follow(following.journal?.take() ?? [])
                } catch {
                    Issue.record("\(respCase): \(error)")
                }
                let now = engine.clock.nowMicroseconds / 1000
                let wanted = KeyspaceSnapshot(of: engine.engine.store, nowMilliseconds: now).restarted.withoutCaches
                let got = KeyspaceSnapshot(of: following.follower.store, nowMilliseconds: now).restarted.withoutCaches
                for difference in got.differences(from: wanted) { Issue.record("\(respCase): \(difference)") }
            },
            didMake: { engine in
                following.journal = RecordedJournal(engine.engine)
                following.follower = FollowingStore()
            })
        try check(respCase, on: target)
    }

    private func pipeline(_ lines: String...) -> [UInt8] {
        lines.flatMap { RespRunner.encode($0.split(separator: " ").map { Array($0.utf8) }) }
    }

    @Test("A batch, and a transaction, are one record; what only reads is none")
    func records() throws {
        let engine = Engine.forTest()
        let journal = RecordedJournal(engine)
        let session = TestSession(engine)
        _ = session.send(pipeline("SET a 1", "GET a", "INCR a", "SADD s x"))
        let batch = journal.take()
        #expect(batch.count == 1)
        #expect(
            batch.first.map { String(decoding: $0.effects, as: UTF8.self) }
                == "*3\r\n$3\r\nset\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$4\r\nincr\r\n$1\r\na\r\n"
                + "*3\r\n$4\r\nsadd\r\n$1\r\ns\r\n$1\r\nx\r\n")
        _ = session.send(pipeline("GET a", "SADD s x", "DEL none", "SPOP none"))
        #expect(journal.take().isEmpty)
        _ = session.send(pipeline("MULTI", "SET a 2", "SELECT 3", "SET b 1", "EXEC"))
        let transaction = journal.take()
        #expect(transaction.count == 1 && transaction.first?.databaseIndex == 0)
        #expect(
            transaction.first.map { String(decoding: $0.effects, as: UTF8.self) }?
                .contains("*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*3\r\n$3\r\nset\r\n$1\r\nb") == true)
        let back = Array("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n".utf8)
        #expect(transaction.first?.effects.suffix(back.count) == back[...], "a record ends where it began")
        // One that is discarded leaves nothing.
        _ = session.send(pipeline("WATCH b"))
        _ = TestSession(engine).send(pipeline("SELECT 3", "SET b 2"))
        _ = journal.take()
        _ = session.send(pipeline("MULTI", "SET a 9", "EXEC"))
        #expect(journal.take().isEmpty)
    }

    @Test("Records of one moment that end in other databases are executed where they belong")
    func databases() throws {
        // The clock stands still: all records are executed together.
        let test = TestEngine()
        let journal = RecordedJournal(test.engine)
        var follower = FollowingStore()
        let sessions = (0..<3).map { _ in TestSession(test.engine) }
        for round in 0..<20 {
            for (number, session) in sessions.enumerated() {
                _ = session.send(
                    pipeline("MULTI", "SET x\(round) 1", "SELECT \(number)", "INCR y", "SELECT \(round % 4)", "INCR z", "EXEC"))
                _ = session.send(pipeline("MOVE z 5", "SET z \(round)"))
            }
        }
        try follower.follow(journal.take())
        let now = test.clock.nowMicroseconds / 1000
        let wanted = KeyspaceSnapshot(of: test.engine.store, nowMilliseconds: now).restarted
        #expect(KeyspaceSnapshot(of: follower.store, nowMilliseconds: now).restarted == wanted)
    }

    @Test("Who chooses says what was chosen")
    func choices() throws {
        let engine = Engine.forTest()
        let journal = RecordedJournal(engine)
        let session = TestSession(engine)
        var follower = FollowingStore()
        func compare(_ what: String) throws {
            try follower.follow(journal.take())
            let now = engine.clock.wallMilliseconds
            let wanted = KeyspaceSnapshot(of: engine.store, nowMilliseconds: now).restarted
            #expect(KeyspaceSnapshot(of: follower.store, nowMilliseconds: now).restarted == wanted, "\(what)")
        }
        for (count, popped) in [(5, 2), (600, 3), (2000, 1990), (10, 10), (700, 700), (50, 0)] {
            let members = (0..<count).map { "m\($0)" }.joined(separator: " ")
            _ = session.send(pipeline("SADD s\(count) \(members)", "SPOP s\(count) \(popped)", "SPOP s\(count)"))
            try compare("SPOP of \(popped) of \(count)")
        }
        for index in 0..<300 {
            _ = session.send(pipeline("XADD x MAXLEN ~ 50 * i \(index)", "XADD y NOMKSTREAM MINID ~ 3 * i 1"))
        }
        try compare("XADD with ~")
        _ = session.send(pipeline("XTRIM x MAXLEN ~ 5", "XTRIM x MINID ~ 9999999999999-1 LIMIT 7"))
        try compare("XTRIM with ~")
    }

    @Test("A client that waited is written where it was served")
    func waiting() throws {
        let engine = Engine.forTest()
        let journal = RecordedJournal(engine)
        var follower = FollowingStore()
        let (waiting, other) = (TestSession(engine), TestSession(engine))
        for command in ["BLPOP a b 0", "BLMOVE a c LEFT RIGHT 0", "BRPOP b 0", "BLMPOP 0 2 a b LEFT COUNT 2"] {
            _ = waiting.send(pipeline(command))
            _ = other.send(pipeline("RPUSH b 1 2 3", "MULTI", "RPUSH a x y", "SET t 1", "EXEC", "LPUSH b 0"))
            _ = waiting.collect()
            try follower.follow(journal.take())
            let now = engine.clock.wallMilliseconds
            let wanted = KeyspaceSnapshot(of: engine.store, nowMilliseconds: now).restarted
            #expect(KeyspaceSnapshot(of: follower.store, nowMilliseconds: now).restarted == wanted, "\(command)")
        }
    }

    @Test("What expires and what is evicted is deleted")
    func removals() throws {
        let test = TestEngine()
        let journal = RecordedJournal(test.engine)
        let session = TestSession(test.engine)
        _ = session.send(pipeline("SET gone x PX 5", "SET stays x", "HSET h f v", "HPEXPIRE h 5 FIELDS 1 f"))
        _ = journal.take()
        test.clock.advance(microseconds: 10_000)
        _ = session.send(pipeline("GET gone", "HGET h f"))
        #expect(journal.text.contains("*2\r\n$3\r\nDEL\r\n$4\r\ngone\r\n"))
        _ = test.engine.store.expireDue(nowMilliseconds: test.clock.nowMicroseconds / 1000, limit: 100)
        #expect(journal.text.contains("*2\r\n$3\r\nDEL\r\n$1\r\nh\r\n"))
        _ = journal.take()
        for index in 0..<2000 { _ = session.send(pipeline("SET key:\(index) \(String(repeating: "x", count: 200))")) }
        _ = journal.take()
        _ = session.send(pipeline("CONFIG SET maxmemory-policy allkeys-lru", "CONFIG SET maxmemory 200000", "SET a 1"))
        #expect(journal.text.contains("*2\r\n$3\r\nDEL\r\n"))
    }

    @Test("A record that cannot be executed is an error that says why")
    func damage() throws {
        let engine = Engine.forTest()
        for (text, database, problem) in [
            ("*1\r\n$3\r\nnon\r\n", 0, "unknown command"), ("*2\r\n$3\r\nGET\r\n$1\r\n", 0, "whole request"),
            ("*2\r\n$4\r\nincr\r\n$1\r\na\r\n", 0, "not an integer"), ("*1\r\n$4\r\nPING\r\n", 99, "no database 99"),
            ("*x\r\n", 0, "whole request"),
        ] {
            let store = Store(seed: HashSeed(1, 2))
            var replay = JournalReplay(store: store, configuration: engine.configuration)
            try Array("*3\r\n$3\r\nset\r\n$1\r\na\r\n$1\r\nx\r\n".utf8).withUnsafeBytes {
                try replay.add(ByteView($0), databaseIndex: 0, milliseconds: 1)
            }
            var error: ReplayError?
            Array(text.utf8).withUnsafeBytes { bytes in
                do throws(ReplayError) {
                    try replay.add(ByteView(bytes), databaseIndex: database, milliseconds: 2)
                    try replay.flush()
                } catch let problem {
                    error = problem
                }
            }
            #expect(error?.description.contains(problem) == true, "\(text): \(error.map { "\($0)" } ?? "nothing")")
        }
    }
}
