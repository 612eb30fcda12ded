// Executes the records of a journal again, at the times that they were made.
//
// An engine of its own on the store, with a clock that stands where the record says, and a session on it: the commands
// are the same code as ever. Nothing is refused there but what the store has no memory for: no users, no limits of
// memory, no pauses. One thread, before the store serves anybody.

import KedisProtocol
package import KedisStore
package import KedisUtilities
import Synchronization

/// Why a record cannot be executed.
package struct ReplayError: Error, Equatable, CustomStringConvertible {
    package let description: String
    /// Which of the requests that were executed together, from 0; nil where that is not known.
    package var requestIndex: Int?
}

package struct JournalReplay: ~Copyable {
    private let time: ReplayTime
    private let engine: Engine
    private var session: Session
    private var errorCount: UInt64 = 0
    /// Records of the same time and database that wait to be executed together.
    private var pending: [UInt8] = []
    private var pendingMilliseconds: Int64 = 0
    private var pendingDatabase = 0
    private static let pendingByteCountMax = 32 << 10

    private final class ReplayTime: Sendable {
        let milliseconds = Atomic<Int64>(0)
    }

    /// - Parameters:
    ///   - configuration: of the engine that the store is for; what is about encodings is taken from it.
    ///   - table: all commands, under their own names; made when it is not given.
    package init(store: Store, configuration: Configuration, table: CommandTable? = nil) {
        let time = ReplayTime()
        self.time = time
        let clock = EngineClock(
            wallMicroseconds: { time.milliseconds.load(ordering: .relaxed) &* 1000 }, monotonicNanoseconds: { 0 })
        let own = Configuration()
        for one in configuration.directives where Self.isAboutEncodings(one.spec.name) {
            own.settle(one.spec.name, one.value)
        }
        own.settle("save", "")
        // What was taken once is taken again.
        own.settle("proto-max-bulk-len", String(Int64.max))
        own.settle("client-query-buffer-limit", String(Int64.max))
        own.settle("client-output-buffer-limit", "normal 0 0 0 slave 0 0 0 pubsub 0 0 0")
        own.settle("enable-debug-command", "yes")
        engine = Engine(store: store, configuration: own, clock: clock, seed: 0, table: table, isForReplay: true)
        session = Session(engine: engine)
        session.client.pointee.deniesBlocking = true
    }

    private static func isAboutEncodings(_ name: String) -> Bool {
        ["hash-", "list-", "set-", "zset-", "stream-", "hll-"].contains { name.hasPrefix($0) }
    }

    /// Commands that were executed.
    package var commandCount: UInt64 { engine.statistics.traffic.totals.commands }

    /// Executes a record, now or with those that follow.
    package mutating func add(
        _ effects: ByteView, databaseIndex: Int, milliseconds: Int64
    ) throws(ReplayError) {
        let isAlike = milliseconds == pendingMilliseconds && databaseIndex == pendingDatabase
        if !pending.isEmpty, !isAlike || pending.count + effects.count > Self.pendingByteCountMax { try flush() }
        (pendingMilliseconds, pendingDatabase) = (milliseconds, databaseIndex)
        if effects.count >= Self.pendingByteCountMax { return try execute(effects) }
        pending.append(contentsOf: effects.buffer)
    }

    /// Executes what waits.
    package mutating func flush() throws(ReplayError) {
        guard !pending.isEmpty else { return }
        let bytes = pending
        pending.removeAll(keepingCapacity: true)
        var problem: ReplayError?
        bytes.withUnsafeBytes { buffer in
            do throws(ReplayError) { try execute(ByteView(buffer)) } catch { problem = error }
        }
        if let problem { throw problem }
    }

    private mutating func execute(_ effects: ByteView) throws(ReplayError) {
        guard pendingDatabase >= 0, pendingDatabase < engine.store.databaseCount else {
            throw ReplayError(description: "there is no database \(pendingDatabase) (`databases`)")
        }
        time.milliseconds.store(pendingMilliseconds, ordering: .relaxed)
        session.client.pointee.databaseIndex = pendingDatabase
        session.receive(effects.raw)
        try check(isFirst: true)
        while session.isPaused {
            session.output.removeAll()
            session.resume()
            try check(isFirst: false)
        }
        session.output.removeAll()
        guard !session.isClosing, !session.hasPendingInput else {
            throw ReplayError(description: "a record does not end with a whole request")
        }
    }

    /// Replies are errors only when the data is not what it was. `isFirst` says that no replies were taken before.
    private mutating func check(isFirst: Bool) throws(ReplayError) {
        let count = engine.statistics.errorReplies.load(ordering: .relaxed)
        guard count == errorCount else {
            errorCount = count
            let text = session.output.bytes.buffer.split(separator: 0x0A).first { $0.first == 0x2D } ?? []
            throw ReplayError(
                description: "a command of a record was answered with \(String(decoding: text, as: UTF8.self))",
                requestIndex: isFirst ? indexOfError : nil)
        }
    }

    /// Of the replies, the first that is an error or has one.
    private var indexOfError: Int? {
        var decoder = ReplyDecoder()
        decoder.append(Array(session.output.bytes.buffer))
        var index = 0
        while let reply = (try? decoder.next()) ?? nil {
            switch reply {
            case .error: return index
            case .array(let parts) where parts.contains(where: { if case .error = $0 { true } else { false } }):
                return index
            default: index += 1
            }
        }
        return nil
    }
}
