// MONITOR: the clients that are told of every command, as it is executed.
//
//   a command was run, its stripes still held ─▶ one line ─▶ a Message ─▶ the postbox of each monitor's event loop
//                                                                    └▶ after its own reply, to the client itself
//
// Ownership: the engine's. Threads: any; a lock guards the list, and the word of interests says whether it is empty, so
// that commands cost nothing then. Lines are posted under the locks of the command's stripes: commands on one key are
// shown in the order in which they were executed. Bounds: output limits of the monitors, as for any client.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

final class MonitorRegistry: Sendable {
    private let interest: InterestWord
    private let records = Locked<[ClientRecord]>([])

    init(_ interest: InterestWord) { self.interest = interest }

    /// Adds a client; false when it is there already.
    func add(_ record: ClientRecord) -> Bool {
        guard !record.isMonitor.exchange(true, ordering: .relaxed) else { return false }
        records.withLock { records in
            records.append(record)
            interest.setMonitors(true)
        }
        return true
    }

    func remove(_ record: ClientRecord) {
        guard record.isMonitor.exchange(false, ordering: .relaxed) else { return }
        records.withLock { records in
            records.removeAll { $0 === record }
            interest.setMonitors(!records.isEmpty)
        }
    }

    var count: Int { records.withLock { $0.count } }

    /// Posts a line to all monitors but `exception`; returns those of their postboxes that are to be rung.
    func post(_ message: Message, except exception: ClientRecord) -> [Postbox] {
        records.withLock { records in
            var bells: [Postbox] = []
            for record in records where record !== exception {
                if record.postbox.post(.message(message, record)) { bells.append(record.postbox) }
            }
            return bells
        }
    }
}

/// The line for a command: `+1700000000.123456 [0 127.0.0.1:51234] "SET" "name" "Kar\x00thik"`.
struct MonitorLine {
    private(set) var bytes: [UInt8]

    init(
        _ entry: UnsafePointer<CommandEntry>, _ arguments: ArgumentList, client: ClientRecord, databaseIndex: Int,
        wallMicroseconds: Int64
    ) {
        let fraction = String(wallMicroseconds % 1_000_000)
        let zeros = String(repeating: "0", count: max(0, 6 - fraction.utf8.count))
        let address = client.endpoint.isUnixSocket ? "unix:\(client.endpoint.socketPath)" : client.endpoint.address
        bytes = Array("+\(wallMicroseconds / 1_000_000).\(zeros)\(fraction) [\(databaseIndex) \(address)]".utf8)
        bytes.reserveCapacity(bytes.count + arguments.byteCount + 4 * arguments.count)
        let redaction = Redaction(entry, arguments)
        for index in 0..<arguments.count {
            bytes.append(0x20)
            appendQuoted(redaction.hides(index) ? ByteView(Redaction.text) : arguments[index], to: &bytes)
        }
        bytes += [0x0D, 0x0A]
    }

    /// Room that the line takes at most: a byte becomes four.
    static func byteCountMax(_ arguments: ArgumentList) -> Int { 4 * arguments.byteCount + 256 }
}

extension ClientEndpoint {
    /// The path of a Unix socket, which `address` has with `:0` behind it.
    fileprivate var socketPath: Substring { address.hasSuffix(":0") ? address.dropLast(2) : Substring(address) }
}

extension ClientState {
    /// The client is told of commands no more.
    mutating func endMonitoring(_ monitors: MonitorRegistry) {
        monitors.remove(record)
        conditions.remove(.monitoring)
    }
}

extension Session {
    /// Shows a command that was run to those who want to see all. Its stripes are held.
    @inline(never)
    mutating func showToMonitorsSlowly(_ entry: UnsafePointer<CommandEntry>, _ arguments: ArgumentList) {
        guard entry.pointee.flags.isDisjoint(with: [.admin, .skipMonitor]) else { return }
        let record = client.pointee.record
        guard mayAllocate(byteCount: MonitorLine.byteCountMax(arguments)) else { return }
        let line = MonitorLine(
            entry, arguments, client: record, databaseIndex: client.pointee.databaseIndex,
            wallMicroseconds: engine.clock.wallMicroseconds())
        // Without memory for it there is no message; the monitors miss a line.
        guard let message = line.bytes.withUnsafeBytes({ Message(ByteView($0), form: .plain) }) else { return }
        let bells = engine.observability.monitors.post(message, except: record)
        if record.isMonitor.load(ordering: .relaxed) { client.pointee.push(message) }
        // Nobody is rung under a lock.
        if batch.bells.isEmpty { batch.bells = bells } else { batch.bells += bells }
    }

    /// Rings those who got lines, when nothing is locked any more.
    @inline(never)
    mutating func ringMonitorsSlowly() {
        batch.isMonitored = false
        let bells = batch.bells
        batch.bells = []
        for bell in bells { bell.ring() }
    }
}
