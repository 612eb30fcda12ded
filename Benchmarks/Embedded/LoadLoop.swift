// The load generator's loop: sends pipelines when they are due, and waits for answers between.
//
// One thread owns all of it. Pipelines go to the connections in turn. A connection that cannot take its pipeline yet
// (thousands unanswered, or the socket is full) holds up the schedule, not the clock: what waits counts as waiting.
// Times of answers are read after each read from a socket, so the generator's own work counts as the server's, never
// the other way round. The loop ends with an error when the server closes a connection or is silent for 10 s.

#if os(Linux)
import BenchmarkSupport
import CKedis
import KedisUtilities

struct LoadError: Error, CustomStringConvertible {
    let description: String
}

final class LoadLoop {
    /// From when a request was due until it was answered, in nanoseconds.
    private(set) var waits = Histogram()
    /// From when a pipeline was due until it was sent.
    private(set) var lateness = Histogram()
    private(set) var errorCount = 0
    /// The generator's processor time over the time that passed.
    private(set) var processorShare = 0.0

    private let shape: LoadShape
    private let connections: [LoadConnection]
    private let requests: LoadRequests
    private let epoll: Int32
    private let events: UnsafeMutableRawPointer
    private var unansweredCount = 0
    private var measuredFrom: UInt64 = 0
    private var measuredUntil: UInt64 = 0

    private static let eventCount: Int32 = 64
    private static let patienceNanoseconds: UInt64 = 10_000_000_000
    /// Pipelines that are sent before answers are looked for again.
    private static let burst = 16

    init(port: UInt16, connectionCount: Int, _ shape: LoadShape) throws {
        self.shape = shape
        requests = LoadRequests(shape)
        epoll = kedis_epoll_make()
        events = .allocate(byteCount: kedis_event_room(Int(Self.eventCount)), alignment: 8)
        let epoll = epoll
        connections = try (0..<connectionCount).map { index in
            let connection = try LoadConnection(port: port, pipeline: shape.pipeline)
            guard
                kedis_epoll_add(
                    epoll, connection.descriptor, kedis_event_input | kedis_event_output, true, UInt64(index))
            else { throw LoadError(description: "a connection cannot be watched") }
            return connection
        }
    }

    deinit { events.deallocate() }

    // MARK: At a fixed rate

    func run(requestsPerSecond: Double) throws {
        let interval = Double(shape.pipeline) * 1e9 / requestsPerSecond
        let length = shape.warmupNanoseconds + shape.measuredNanoseconds
        let total = Int(Double(length) / interval)
        let start = begin()
        var sentCount = 0
        while sentCount < total || unansweredCount > 0 {
            let due = start + UInt64(Double(sentCount) * interval)
            let now = monotonicNanoseconds()
            guard now < measuredUntil + Self.patienceNanoseconds else {
                throw LoadError(description: "\(unansweredCount) pipelines are not answered: the rate is too high")
            }
            var wait: UInt64 = 1_000_000
            if sentCount < total, due > now { wait = min(wait, due - now) }
            if sentCount < total, due <= now {
                let count = sendDue(from: sentCount, until: total, start, interval)
                sentCount += count
                // With nothing sent the connection whose turn it is must be served first.
                if count > 0 { wait = 0 }
            }
            try collect(waitNanoseconds: Int64(wait)) { _ in }
        }
        finish(start)
    }

    /// Sends the pipelines that are due, some at most, and returns how many.
    private func sendDue(from first: Int, until total: Int, _ start: UInt64, _ interval: Double) -> Int {
        var count = 0
        while count < Self.burst, first + count < total {
            let due = start + UInt64(Double(first + count) * interval)
            let now = monotonicNanoseconds()
            guard due <= now, send(on: connections[(first + count) % connections.count], due: due) else { break }
            if isMeasured(due) { lateness.record(monotonicNanoseconds() - due) }
            count += 1
        }
        return count
    }

    // MARK: As fast as it goes

    func runSaturating() throws {
        let start = begin()
        for connection in connections { _ = send(on: connection, due: monotonicNanoseconds()) }
        while unansweredCount > 0 {
            guard monotonicNanoseconds() < measuredUntil + Self.patienceNanoseconds else {
                throw LoadError(description: "\(unansweredCount) pipelines are not answered")
            }
            try collect(waitNanoseconds: 100_000_000) { connection in
                let now = monotonicNanoseconds()
                if now < self.measuredUntil { _ = self.send(on: connection, due: now) }
            }
        }
        finish(start)
    }

    // MARK: Parts

    private func begin() -> UInt64 {
        let start = monotonicNanoseconds()
        measuredFrom = start + shape.warmupNanoseconds
        measuredUntil = measuredFrom + shape.measuredNanoseconds
        processorShare = Double(benchmark_thread_cpu_nanoseconds())
        return start
    }

    private func finish(_ start: UInt64) {
        let spent = Double(benchmark_thread_cpu_nanoseconds()) - processorShare
        processorShare = spent / Double(max(1, monotonicNanoseconds() - start))
    }

    private func isMeasured(_ due: UInt64) -> Bool { due >= measuredFrom && due < measuredUntil }

    private func send(on connection: LoadConnection, due: UInt64) -> Bool {
        guard connection.hasRoom else { return false }
        connection.send(requests.next(), due: due)
        unansweredCount += 1
        return true
    }

    /// Takes what was answered, after waiting so long for it at most. `answered` is told when a connection's oldest
    /// pipeline is done.
    private func collect(waitNanoseconds: Int64, _ answered: (LoadConnection) -> Void) throws {
        let count = kedis_epoll_wait(epoll, events, Self.eventCount, waitNanoseconds)
        guard count > 0 else { return }
        for index in 0..<count {
            let connection = connections[Int(kedis_event_token(events, index))]
            let flags = kedis_event_flags(events, index)
            if flags & kedis_event_output != 0 { connection.flush() }
            guard flags & (kedis_event_input | kedis_event_broken) != 0 else { continue }
            try collect(from: connection, answered)
        }
    }

    private func collect(from connection: LoadConnection, _ answered: (LoadConnection) -> Void) throws {
        var goesOn = true
        while goesOn {
            goesOn = try connection.receive()
            let now = monotonicNanoseconds()
            errorCount += connection.takeErrorCount()
            while let part = connection.takeAnswered() {
                // When it was answered decides in the closed loop, where due is when it was sent.
                if isMeasured(part.due) {
                    for _ in 0..<part.requestCount { waits.record(now - part.due) }
                }
                guard part.isWhole else { continue }
                unansweredCount -= 1
                answered(connection)
            }
        }
    }
}
#endif
