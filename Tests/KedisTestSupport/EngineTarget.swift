// The engine in this process as a target of `.resp` files: sessions without a network, a clock that only moves when a
// file says so, a host that remembers instead of doing.
//
// Deterministic: seeds are fixed, nothing waits. Used by one thread.

package import KedisCommands
import KedisPersistence
import KedisProtocol
package import KedisStore
import KedisUtilities
import Synchronization

/// Time that stands still until it is told to go on.
package final class TestClock: Sendable {
    private let microseconds: Atomic<Int64>

    package init(startMicroseconds: Int64 = 1_800_000_000_000_000) {
        microseconds = Atomic(startMicroseconds)
    }

    package var nowMicroseconds: Int64 { microseconds.load(ordering: .relaxed) }

    package func advance(microseconds count: Int64) {
        microseconds.add(max(0, count), ordering: .relaxed)
    }

    package var engineClock: EngineClock {
        EngineClock(
            wallMicroseconds: { self.nowMicroseconds },
            monotonicNanoseconds: { UInt64(clamping: self.nowMicroseconds) &* 1000 }
        )
    }
}

/// An engine with an empty store, and sessions on it.
package final class TestEngine {
    package let clock = TestClock()
    package let engine: Engine

    package init(store: Store = Store(seed: HashSeed(1, 2))) {
        let clock = clock
        let lastSaveSeconds = Atomic64(clock.nowMicroseconds / 1_000_000)
        var host = Host()
        let snapshot = TestSnapshot()
        host.save = { store, held in
            lastSaveSeconds.value = clock.nowMicroseconds / 1_000_000
            return snapshot.save(store, held, nowMilliseconds: clock.nowMicroseconds / 1000)
        }
        host.load = { store, held, replacesKeys in
            snapshot.load(store, held, replacesKeys, nowMilliseconds: clock.nowMicroseconds / 1000)
        }
        host.persistenceStatus = {
            var status = PersistenceStatus()
            status.lastSaveSeconds = lastSaveSeconds.value
            return status
        }
        host.sleep = { clock.advance(microseconds: $0) }
        host.digest = { sha256($0) }
        // As the oracle is started: see OracleServer.
        let configuration = Configuration()
        configuration.settle("save", "")
        configuration.settle("enable-debug-command", "yes")
        engine = Engine(
            store: store, configuration: configuration, host: host, clock: clock.engineClock, seed: 3
        )
    }

    /// A new session as a connection.
    package func connect(protocolVersion: Int) -> RespPeer {
        let box = SessionBox(engine: engine, version: protocolVersion == 3 ? .resp3 : .resp2)
        var peer = RespPeer.inProcess({ box.process($0) }, collect: { box.process([]) })
        peer.close = { box.end() }
        return peer
    }

    /// An engine as a target. `! fresh` starts with another engine. `didMake` gets each engine before anything else,
    /// `didProcess` after every request.
    package static func target(
        protocolVersion: Int, didProcess: ((TestEngine) -> Void)? = nil, didMake: ((TestEngine) -> Void)? = nil
    ) -> RespTarget {
        var current = TestEngine()
        didMake?(current)
        var target = RespTarget(
            name: "the engine in process", protocolVersion: protocolVersion,
            connect: {
                var peer = current.connect(protocolVersion: protocolVersion)
                guard let didProcess else { return peer }
                peer.send = { [send = peer.send] in
                    send($0)
                    didProcess(current)
                }
                return peer
            },
            sleep: { current.clock.advance(microseconds: Int64($0) * 1000) }
        )
        target.renew = {
            current = TestEngine()
            didMake?(current)
        }
        return target
    }
}

/// The snapshot of a test's engine: a file in a folder of its own, which goes with it.
private final class TestSnapshot: Sendable {
    private let folder = TestFiles.makeTemporaryFolder()

    deinit { if let folder { TestFiles.removeTemporaryFolder(folder) } }

    func save(_ store: Store, _ held: StripeSet, nowMilliseconds: Int64) -> String? {
        guard let folder else { return "no folder" }
        do {
            _ = try saveSnapshot(of: store, held: held, to: "\(folder)/dump.rdb", nowMilliseconds: nowMilliseconds)
            return nil
        } catch {
            return "\(error)"
        }
    }

    func load(_ store: Store, _ held: StripeSet, _ replacesKeys: Bool, nowMilliseconds: Int64) -> String? {
        guard let folder else { return "no folder" }
        do {
            let summary = try loadSnapshot(
                into: store, held: held, from: "\(folder)/dump.rdb", nowMilliseconds: nowMilliseconds,
                replacesKeys: replacesKeys)
            return summary == nil ? "no snapshot" : nil
        } catch {
            return "\(error)"
        }
    }
}

/// An atomic that closures can share.
private final class Atomic64: Sendable {
    private let atomic: Atomic<Int64>

    init(_ value: Int64) { atomic = Atomic(value) }

    var value: Int64 {
        get { atomic.load(ordering: .relaxed) }
        set { atomic.store(newValue, ordering: .relaxed) }
    }
}

/// Owns a session; the transport of tests.
private final class SessionBox {
    private var session: Session?
    private let postbox = Postbox()
    private var isKilled = false

    init(engine: Engine, version: ProtocolVersion) {
        let session = Session(engine: engine, version: version, postbox: postbox)
        let record = session.client.pointee.record
        self.session = consume session
        record.receive = { [unowned self] mail in
            switch mail {
            case .message(let message): self.session?.deliver(message)
            case .wake: break
            case .close: isKilled = true
            }
        }
    }

    func process(_ bytes: [UInt8]) -> (replies: [UInt8], isClosed: Bool) {
        postbox.deliver()
        guard session != nil, !isKilled else {
            end()
            return ([], true)
        }
        let now = session?.engine.clock.monotonicNanoseconds() ?? 0
        if session?.expireWaiting(nowNanoseconds: now) == true { session?.resume() }
        bytes.withUnsafeBytes { session?.receive($0) }
        var replies = takeOutput()
        while session?.isPaused == true {
            session?.resume()
            replies += takeOutput()
        }
        let isClosed = session?.isClosing ?? true
        if isClosed { end() }
        return (replies, isClosed)
    }

    private func takeOutput() -> [UInt8] {
        let bytes = session?.output.bytes.bytes ?? []
        session?.output.removeAll()
        return bytes
    }

    func end() {
        session?.client.pointee.record.receive = nil
        session = nil
    }
}
