// A connection to a database in the same process: one session, without a wire.
//
// Not Sendable: one thread at a time. Arguments are laid side by side in a buffer that is kept, the session executes
// them in place, and the reply is decoded into a value. Cost of a command: no system call; the reply's own arrays are
// allocated.

import KedisCommands
public import KedisProtocol
import KedisUtilities
import Synchronization

/// A connection of one thread to a ``KedisDatabase``, with a selected database and a protocol version of its own.
public final class KedisConnection {
    private var session: Session
    private var bytes: [UInt8] = []
    private var ranges: [ArgumentRange] = []
    /// Keeps the database alive; nil in its own pool.
    private let owner: KedisDatabase?
    private let lifecycle: KedisDatabase.Lifecycle

    init(engine: Engine, lifecycle: KedisDatabase.Lifecycle, owner: KedisDatabase?) {
        self.owner = owner
        self.lifecycle = lifecycle
        session = Session(engine: engine)
        session.client.pointee.deniesBlocking = true
        bytes.reserveCapacity(256)
    }

    /// The database that SELECT has chosen.
    public var selectedDatabase: Int { session.client.pointee.databaseIndex }

    /// Nothing was changed that the next user would notice.
    var isPristine: Bool {
        let client = session.client.pointee
        let record = client.record
        return client.databaseIndex == 0 && client.replyMode == .on && !client.isClosing
            && session.output.version == .resp2 && !client.leavesAccessClock
            && !record.isNoEvict.load(ordering: .relaxed) && record.hasNoNames
    }

    /// Executes a command.
    ///
    /// - Returns: the reply, which is an error reply when the command was refused or the database is closed; `.null`
    ///   when the command sends none (CLIENT REPLY OFF).
    public func execute(_ arguments: [[UInt8]]) -> Reply {
        guard !lifecycle.isClosed.load(ordering: .acquiring) else { return .error(Array(KedisError.closedText.utf8)) }
        perform(arguments)
        defer { session.output.removeAll() }
        var decoder = ReplyDecoder()
        decoder.append(session.output.bytes.raw)
        // The engine writes whole replies only, so this decodes or there is none.
        return (try? decoder.next()) ?? .null
    }

    /// Executes a command given as text.
    public func execute(_ arguments: String...) -> Reply {
        execute(arguments.map { Array($0.utf8) })
    }

    private func perform(_ arguments: [[UInt8]]) {
        bytes.removeAll(keepingCapacity: bytes.capacity <= 1 << 20)
        ranges.removeAll(keepingCapacity: ranges.capacity <= 4096)
        for argument in arguments {
            ranges.append(ArgumentRange(offset: bytes.count, count: argument.count))
            bytes.append(contentsOf: argument)
        }
        guard !ranges.isEmpty else {
            session.output.error("ERR empty command")
            return
        }
        bytes.withUnsafeBytes { session.execute(ByteView($0), ranges) }
    }
}
