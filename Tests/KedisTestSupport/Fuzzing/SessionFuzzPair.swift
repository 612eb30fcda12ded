// `kedis server` and a redis-server, each with several connections, which do the same step by step.
//
// After a step both are settled (SessionSide), and what each connection has received is compared (SessionRules). Bytes
// of Kedis that are late are waited for, so a difference is one of contents or order. Now and then, and at the end,
// the states of connections and the digest of all data are compared too. Used by one thread.

import KedisProtocol
import KedisUtilities

/// A step after which the servers differ.
package struct SessionMismatch {
    package var index: Int
    package var got: String
    package var wanted: String
}

package final class SessionFuzzPair {
    private let folder: String
    private let kedisProcess: KedisProcess
    private var oracleServer: OracleServer
    private let kedis: SessionSide
    private var oracle: SessionSide
    private static let threadCount = 3
    private static let connectionCount = SessionGenerator.connectionCount

    /// What the pair knows of a connection.
    private struct Connection {
        var isWaiting = false
        /// It waits, or did, for one of several keys.
        var waitsForSeveral = false
        var queued: [FuzzCommand] = []
        /// CLIENT REPLY was among its commands since the last EXEC.
        var hasSwitchedReplies = false
        /// Words of its requests since tracking was last turned off.
        var words: Set<String> = []
    }
    private var connections: [Connection] = []
    private var dueKeys: Set<String> = []
    private var staleWords: Set<String> = []
    /// Steps that both were given, by the name of their command.
    package private(set) var counts: [String: Int] = [:]
    /// Sequences that were left because of a difference that is listed, by its name.
    package private(set) var left: [String: Int] = [:]

    package init() throws {
        guard let folder = TestFiles.makeTemporaryFolder() else { throw OracleError(description: "no folder") }
        self.folder = folder
        oracleServer = try OracleServer()
        kedisProcess = try KedisProcess(
            folder: folder,
            directives: ["--save", "", "--enable-debug-command", "yes", "--threads", "\(Self.threadCount)"])
        oracle = try SessionSide(name: "redis-server", port: oracleServer.port, loopCount: 1)
        kedis = try SessionSide(name: "Kedis", port: kedisProcess.port, loopCount: Self.threadCount)
    }

    deinit { TestFiles.removeTemporaryFolder(folder) }

    /// The full names of the commands that redis-server has.
    package func knownNames(of names: [String]) throws -> Set<String> {
        let replies = try oracle.ask(names.map { ["COMMAND", "INFO", $0] })
        return Set(
            zip(names, replies).compactMap { name, reply in
                if case .array(let rows) = reply, case .array? = rows.first { name } else { nil }
            })
    }

    // MARK: Running

    /// Empties both and gives them new connections.
    private func restart() throws {
        let setup = [
            ["FLUSHALL"], ["CONFIG", "SET", "notify-keyspace-events", ""], ["ACL", "DELUSER", "u1", "u2"],
            ["DEBUG", "SET-ACTIVE-EXPIRE", "0"],
        ]
        for side in [kedis, oracle] {
            _ = try side.ask(setup)
            try side.reconnectAll(Self.connectionCount)
        }
        connections = Array(repeating: Connection(), count: Self.connectionCount)
        dueKeys = []
        staleWords = []
    }

    /// Runs steps from an empty state on; the first difference, if any. A redis-server that crashes, and a Kedis that
    /// does not, is replaced: the sequence has no verdict.
    package func run(_ steps: [SessionStep]) throws -> SessionMismatch? {
        do {
            return try runAll(steps)
        } catch {
            // The kernel may still be busy with its end.
            TestFiles.sleep(milliseconds: 500)
            guard !oracleServer.isRunning, kedisProcess.isRunning else { throw error }
            print("redis-server crashed: \(oracleServer.log.suffix(300))")
            left["crash of redis-server", default: 0] += 1
            oracleServer = try OracleServer()
            oracle = try SessionSide(name: "redis-server", port: oracleServer.port, loopCount: 1)
            return nil
        }
    }

    private func runAll(_ steps: [SessionStep]) throws -> SessionMismatch? {
        try restart()
        for (index, step) in steps.enumerated() {
            guard try run(step) else { continue }
            if let mismatch = try compare(step, index) { return try judged(mismatch, step) }
            note(step)
            if (index + 1).isMultiple(of: 20), let mismatch = try compareStates(index) { return mismatch }
        }
        return try compareStates(steps.count - 1)
    }

    /// Gives a step to both; false when its connection waits, and the step would have to as well.
    private func run(_ step: SessionStep) throws -> Bool {
        let connection = step.connection
        if connections[connection].isWaiting, step.action == .request, !step.mayQueueBehindWait {
            connections[connection].isWaiting = try isWaiting(connection)
            if connections[connection].isWaiting { return false }
        }
        // A deadline that begins with EXEC could be over, or not, when the next step comes.
        if step.pauseMilliseconds > 0, try state(connection, "multi=") != "-1" { return false }
        counts[step.name, default: 0] += 1
        if step.pauseMilliseconds > 0 { dueKeys.insert(String(decoding: step.command.arguments[1], as: UTF8.self)) }
        for side in [kedis, oracle] {
            switch step.action {
            case .request: side.send(connection, step.request(side.identifiers))
            case .close: side.close(connection)
            }
        }
        if step.pauseMilliseconds > 0 { TestFiles.sleep(milliseconds: step.pauseMilliseconds) }
        try settle()
        guard step.action == .request, oracle.inboxes[connection].isEmpty, !oracle.isClosed[connection] else {
            return true
        }
        connections[connection].isWaiting = try isWaiting(connection)
        if connections[connection].isWaiting, !step.mayQueueBehindWait {
            connections[connection].waitsForSeveral = step.keyCount > 1
        }
        if connections[connection].isWaiting, step.waitsForMillisecondsOnly { try awaitTimeout(connection) }
        return true
    }

    private func settle() throws {
        try oracle.settle()
        try kedis.settle()
        oracle.collect()
        kedis.collect()
    }

    /// Whether redis-server says that the connection waits in a blocking command.
    private func isWaiting(_ connection: Int) throws -> Bool { try state(connection, "flags=")?.contains("b") == true }

    /// A field of CLIENT LIST, as redis-server tells it.
    private func state(_ connection: Int, _ field: String) throws -> Substring? {
        let reply = try oracle.ask([["CLIENT", "LIST", "ID", "\(oracle.identifiers[connection])"]]).first
        let line = SessionRules.states(reply ?? .null, []).first ?? ""
        return line.split(separator: " ").first { $0.hasPrefix(field) }?.dropFirst(field.count)
    }

    /// Until the time of a blocking command is over.
    private func awaitTimeout(_ connection: Int) throws {
        let end = monotonicNanoseconds() + 5_000_000_000
        while try isWaiting(connection), monotonicNanoseconds() < end { TestFiles.sleep(milliseconds: 5) }
        connections[connection].isWaiting = false
        try settle()
    }

    // MARK: Comparing

    private static let patienceNanoseconds: UInt64 = 400_000_000

    private func compare(_ step: SessionStep, _ index: Int) throws -> SessionMismatch? {
        let end = monotonicNanoseconds() + Self.patienceNanoseconds
        while true {
            guard let connection = firstDifference(step) else { return nil }
            if monotonicNanoseconds() > end {
                return SessionMismatch(
                    index: index, got: describe(kedis, connection), wanted: describe(oracle, connection))
            }
            TestFiles.sleep(milliseconds: 1)
            try settle()
        }
    }

    private func firstDifference(_ step: SessionStep) -> Int? {
        (0..<Self.connectionCount).first { connection in
            // What the client closed gets nothing any more.
            if step.action == .close, connection == step.connection { return false }
            let isOwn = connection == step.connection
            // `end in a transaction`: its client's end cuts the replies of redis-server.
            if step.name == "exec", isOwn, kedis.isClosed[connection], oracle.isClosed[connection],
                kedis.inboxes[connection].starts(with: oracle.inboxes[connection])
            {
                return false
            }
            let exchange = SessionExchange(
                name: step.name, arguments: step.command.arguments, queued: connections[connection].queued,
                isOwn: isOwn,
                rule: step.command.rule, identifiers: (kedis.identifiers, oracle.identifiers),
                dueKeys: dueKeys, staleWords: staleWords, isSomebodyWaiting: connections.contains { $0.isWaiting })
            return kedis.isClosed[connection] != oracle.isClosed[connection]
                || !SessionRules.isSame(kedis.inboxes[connection], oracle.inboxes[connection], exchange)
        }
    }

    private func describe(_ side: SessionSide, _ connection: Int) -> String {
        let replies = SessionRules.decode(side.inboxes[connection])
        let lines = replies.flatMap { $0.respLines() } + (side.isClosed[connection] ? ["(closed)"] : [])
        return "c\(connection) receives:\n" + (lines.isEmpty ? ["nothing"] : lines).joined(separator: "\n")
    }

    /// A difference that is listed and changes data ends a sequence without a verdict.
    private func judged(_ mismatch: SessionMismatch, _ step: SessionStep) throws -> SessionMismatch? {
        let connection = connections[step.connection]
        let isOracleAloneClosed = zip(kedis.isClosed, oracle.isClosed).contains { !$0 && $1 }
        guard
            let name = SessionRules.listedEnd(
                step, hasSwitchedReplies: connection.hasSwitchedReplies,
                isOracleSilent: oracle.inboxes[step.connection].isEmpty && !oracle.isClosed[step.connection],
                isOracleAloneClosed: isOracleAloneClosed,
                waitsForSeveral: connections.contains { $0.isWaiting && $0.waitsForSeveral })
        else { return mismatch }
        left[name, default: 0] += 1
        return nil
    }

    /// What a step has changed of the connections; new ones for those that are closed.
    private func note(_ step: SessionStep) {
        let connection = step.connection
        let replies = SessionStream(oracle.inboxes[connection]).replies
        noteWords(step)
        if step.name == "client|reply" { connections[connection].hasSwitchedReplies = true }
        if step.name == "exec" { connections[connection].hasSwitchedReplies = false }
        if replies == Array("+QUEUED\r\n".utf8) {
            connections[connection].queued.append(step.command)
        } else if ["exec", "discard", "reset"].contains(step.name)
            || step.name == "multi" && replies == Array("+OK\r\n".utf8)
        {
            connections[connection].queued = []
        }
        for index in connections.indices {
            if !SessionStream(oracle.inboxes[index]).replies.isEmpty, index != connection || !step.mayQueueBehindWait {
                connections[index].isWaiting = false
            }
            guard oracle.isClosed[index] || step.action == .close && index == connection else { continue }
            connections[index] = Connection()
            for side in [kedis, oracle] { try? side.reconnect(index) }
        }
        kedis.clearInboxes()
        oracle.clearInboxes()
    }

    /// Remembers what the connection may have read, and that it is of another time once tracking ends.
    private func noteWords(_ step: SessionStep) {
        let connection = step.connection
        connections[connection].words.formUnion(step.command.arguments.map { String(decoding: $0, as: UTF8.self) })
        guard ["reset", "client|tracking", "exec"].contains(step.name) else { return }
        staleWords.formUnion(connections[connection].words)
        connections[connection].words = []
    }

    private static let checkedKeys: [String] = {
        ["s", "b", "p", "l", "h", "t", "z", "g", "x"].flatMap { family in (0..<3).map { "\(family)\($0)" } } + [
            "none", "y0", "y1",
        ]
    }()

    /// Connections as CLIENT LIST tells them, and the digest of all data, after what is due has gone.
    private func compareStates(_ index: Int) throws -> SessionMismatch? {
        func states(_ side: SessionSide) throws -> [String] {
            let requests =
                (0..<3).flatMap { [["SELECT", "\($0)"], ["EXISTS"] + Self.checkedKeys] } + [
                    ["SELECT", "0"], ["DEBUG", "DIGEST"],
                ]
            let data = try side.ask(requests).flatMap { $0.respLines() }
            // What has just expired may end a redirection, which redis-server finds out at the end of its turn.
            try side.settle()
            let list = try side.ask([["CLIENT", "LIST", "ID"] + side.identifiers.map { "\($0)" }]).first
            return data + SessionRules.states(list ?? .null, side.identifiers)
        }
        let (got, wanted) = (try states(kedis), try states(oracle))
        guard got == wanted else {
            let lines = { (side: [String], other: [String]) in
                (["states, where they differ"] + zip(side, other).filter { $0 != $1 }.map(\.0)).joined(separator: "\n")
            }
            return SessionMismatch(index: index, got: lines(got, wanted), wanted: lines(wanted, got))
        }
        try settle()
        let mismatch = try compare(SessionStep(Self.connectionCount, ["EXISTS"]), index)
        kedis.clearInboxes()
        oracle.clearInboxes()
        return mismatch
    }

    /// The shortest part of `steps` that still makes a difference.
    package func shrink(_ steps: [SessionStep]) throws -> [SessionStep] {
        try shortestFailing(steps, seconds: 40) { try run($0)?.index }
    }
}

extension SessionStep {
    /// How many keys a blocking command waits for.
    fileprivate var keyCount: Int {
        switch name {
        case "blpop", "brpop", "bzpopmin", "bzpopmax": command.arguments.count - 2
        case "blmpop", "bzmpop": Int(String(decoding: command.arguments[2], as: UTF8.self)) ?? 1
        case "xread": command.arguments.contains(Array("COUNT".utf8)) ? 2 : 1
        default: 1
        }
    }

    /// A blocking command that gives up by itself soon.
    fileprivate var waitsForMillisecondsOnly: Bool {
        let words = command.arguments.map { String(decoding: $0, as: UTF8.self) }
        if name == "xread" || name == "xreadgroup" { return words.contains("20") }
        return words.contains("0.02")
    }
}
