// A session: bytes of requests in, bytes of replies out. No I/O: a transport reads, feeds, writes.
//
//      receive(bytes) ─▶ parse ─▶ resolve ─▶ admit ─▶ plan ─┐
//                          ▲                                ├─▶ lock ─▶ execute … ─▶ unlock ─▶ output
//                          └── up to 16 fast commands ──────┘
//
// Ownership: one connection, one session, used by one thread at a time. Whole requests are parsed in the bytes that the
// transport read; only the incomplete rest is copied. Pipelined fast commands share one plan: their stripes are locked
// once, their slots and cells are prefetched, then they are executed in order. Cost: no allocation for a command.
//
// Bounds: input that waits (`client-query-buffer-limit`), output of one call of `receive` (`outputPauseByteCount`, then
// the session pauses until the transport has sent it and calls `resume`).

package import KedisProtocol
import KedisStore
package import KedisUtilities
import Synchronization

package struct Session: ~Copyable {
    package let engine: Engine
    // Parts of the engine as plain words: the data path counts no references.
    let store: StoreHandle
    let names: CommandNames
    let engineReference: Unmanaged<Engine>
    package let client: UnsafeMutablePointer<ClientState>
    private let recordReference: Unmanaged<ClientRecord>
    /// The last record of the journal that the replies so far may be about; kept while replies wait for it.
    package internal(set) var neededSequence: UInt64 = 0
    /// Output waits for the journal: input is kept, and not executed.
    package var isHeld = false
    /// The replies that the transport has yet to take.
    package var output: ReplyWriter
    var parser = RequestParser()
    var arguments = ArgumentBuffer()
    var keys = KeyBuffer()
    var pending = InputBuffer()
    var batch = Batch()
    /// What was planned of input that is yet to come: Session+Ahead.swift.
    var ahead = AheadPlan()
    /// Keeps the session where it is, as a table's does: else each method that only reads copied all of it.
    private let staysInPlace = Atomic<Bool>(true)
    /// What the parser said it still needs.
    private var missingByteCount = 0
    /// The clock of durations, and how batches are timed and sampled: Observability/Session+Timing.swift.
    let tickClock: TickClock?
    let counters: CommandShard
    package let traffic: UnsafePointer<TrafficLine>
    let observabilitySwitches: UnsafeMutablePointer<ObservabilitySwitches>
    var timing: TimingChoice
    var stageSample = StageSample()
    var keySampler: KeySampler
    /// Set while the client waits in a blocking command: see Session+Blocking.swift.
    var waiter: Waiter?
    /// The client waits for the end of a pause with a request that begins here: see Session+Pause.swift.
    package internal(set) var isPostponed = false
    var postponedStart: UnsafePointer<UInt8>?
    /// What was executed has left copies for a snapshot: see ``takePressure()``.
    package internal(set) var hasLeftCopies = false
    /// Made when somebody wants to know what commands do for the first time.
    var observer: EffectObserver?
    /// Made when a journal is to have what commands do.
    var scribe: EffectScribe?

    /// Output beyond which a session stops executing until it was sent.
    package static let outputPauseByteCount = 1 << 20

    /// - Parameters:
    ///   - postbox: where others leave what they want of the client; its owner is the session's thread.
    ///   - loopNumber: the number of the event loop that executes the session, for counters of its own.
    ///   - identifier: the client's number, if it was taken before.
    package init(
        engine: Engine, endpoint: ClientEndpoint = .embedded, version: ProtocolVersion = .resp2,
        postbox: Postbox = Postbox(), loopNumber: Int? = nil, identifier: Int64? = nil
    ) {
        self.engine = engine
        store = engine.store.handle
        names = engine.table.names
        engineReference = Unmanaged.passUnretained(engine)
        let record = engine.clients.add(
            endpoint: endpoint, nowMilliseconds: engine.clock.wallMilliseconds, postbox: postbox,
            user: engine.access.defaultUser, identifier: identifier
        )
        recordReference = .passUnretained(record)
        record.protocolVersion.store(Int(version.rawValue), ordering: .relaxed)
        tickClock = engine.clock.ticks
        // Programs that embed the engine seldom have more threads than these.
        let shardNumber = loopNumber ?? Int(truncatingIfNeeded: record.identifier & 7)
        counters = engine.commandStatistics.shard(shardNumber)
        traffic = engine.statistics.traffic.line(shardNumber)
        observabilitySwitches = engine.observability.switches
        timing = TimingChoice(clientIdentifier: record.identifier)
        keySampler = KeySampler(seed: UInt64(bitPattern: record.identifier))
        client = .allocate(capacity: 1)
        client.initialize(
            to: ClientState(
                record: record, random: engine.makeRandomGenerator(), access: ClientAccess(engine.access)))
        client.pointee.becomeDefaultUser(of: engine.access)
        output = ReplyWriter(version: version)
        noteMemorySlowly()
    }

    deinit {
        if let waiter { Self.abandon(waiter, engine) }
        scribe?.release()
        if let watcher = client.pointee.watcher { engine.unwatch(watcher) }
        endListening()
        engine.clients.remove(client.pointee.record)
        client.deinitialize(count: 1)
        client.deallocate()
    }

    /// The transport sends the output, then closes the connection.
    package var isClosing: Bool { client.pointee.isClosing }

    /// Input waits until the output was sent: the transport calls ``resume()`` then, and reads nothing before.
    package var isPaused: Bool { output.count >= Session.outputPauseByteCount && !pending.isEmpty }

    /// Executes every complete request of `bytes` (and of what came before); replies are appended to `output`.
    package mutating func receive(_ bytes: UnsafeRawBufferPointer) {
        var input = ByteView(bytes)
        if !ahead.isEmpty, isBlocked || isHeld || !pending.isEmpty { input = input[endAheadSlowly()..<input.count] }
        if isBlocked || isHeld {
            keep(input)
        } else if pending.isEmpty {
            let consumed = process(input)
            keep(input[consumed..<input.count])
        } else {
            if take(input) { resume() }
        }
    }

    /// Executes one command whose arguments lie in `bytes` at `ranges`, without a parser: for callers in the process.
    /// The reply is appended to `output`. There is at least one argument.
    package mutating func execute(_ bytes: ByteView, _ ranges: [ArgumentRange]) {
        precondition(!ranges.isEmpty)
        batch.begin(conditions: engine.conditions)
        if ranges.allSatisfy({ arguments.append($0) }) {
            add(base: bytes.base, firstArgument: 0, argumentCount: ranges.count, isInline: false)
            flush()
            publish()
            if isPostponed { enterPauseSlowly() }
        } else {
            arguments.removeAll()
            output.commandError(.outOfMemory)
        }
        if output.hasOverflowed {
            output.removeAll()
            output.commandError(.outOfMemory)
        }
    }

    /// Goes on with input that waits, after the output was sent.
    package mutating func resume() {
        guard !isBlocked, !isHeld else { return }
        assert(ahead.isEmpty)
        let consumed = process(pending.view)
        pending.removeFirst(consumed)
        checkQueryBufferLimit()
    }

    private mutating func keep(_ rest: ByteView) {
        guard rest.count > 0, !isClosing else { return }
        if take(rest) { checkQueryBufferLimit() }
    }

    /// Keeps input that waits; false when there is no memory for it.
    private mutating func take(_ input: ByteView) -> Bool {
        if pending.append(input, expectedByteCount: missingByteCount) { return true }
        pending.removeFirst(pending.count)
        closeForMemorySlowly()
        return false
    }

    /// The rest of the request cannot be kept, so there is no telling where the next one begins: nothing more is
    /// executed, and after the error the connection is closed. The input may be in use: it is the caller's.
    @inline(never)
    private mutating func closeForMemorySlowly() {
        output.commandError(.outOfMemory)
        client.pointee.isClosing = true
        logWarning("closed: no memory for its request.")
        // Without room for the error, the replies before it are gone: it would be taken for the first of them.
        if output.hasOverflowed { closeForOutputSlowly(isLimited: output.overflow == .limit) }
    }

    private mutating func checkQueryBufferLimit() {
        noteMemorySlowly()
        let limit = engine.configuration.queryBufferByteCountMax.load(ordering: .relaxed)
        guard pending.count > limit, !isPaused else { return }
        engine.host.log(
            .warning, "Closing client that reached max query buffer length: \(client.pointee.record.endpoint.address)")
        client.pointee.isClosing = true
    }

    /// Parses and executes what is complete in `input`; returns how many bytes were consumed.
    private mutating func process(_ input: ByteView) -> Int {
        limitInput()
        limitOutput()
        var position = ahead.isEmpty ? 0 : takeAhead()
        if position == 0 { batch.begin(conditions: engine.conditions) }
        missingByteCount = 0
        parsing: while position < input.count, !isPostponed, !isClosing, !isBlocked,
            output.count < Session.outputPauseByteCount
        {
            let rest = input[position..<input.count]
            let firstArgument = arguments.count - partialArgumentCount
            if parser.isUnauthenticated != isUnauthenticated { limitInput() }
            let outcome = parser.next(rest, into: &arguments)
            switch outcome {
            case .request(let byteCount, let argumentCount):
                partialArgumentCount = 0
                let isInline = rest[0] != 0x2A
                add(
                    base: isInline ? arguments.withInlineBase { $0 } : rest.base, firstArgument: firstArgument,
                    argumentCount: argumentCount, isInline: isInline
                )
                if isPostponed { break parsing }
                position += byteCount
            case .nothing(let byteCount):
                position += byteCount
            case .incomplete(let missing):
                partialArgumentCount = arguments.count - firstArgument
                missingByteCount = missing
                break parsing
            case .failure(let error):
                flush()
                if error == .memoryExhausted { closeForMemorySlowly() } else { fail(error) }
            }
        }
        flush()
        publish()
        if isPostponed { position = takeBackSlowly(input, position: position) }
        if output.hasOverflowed { closeForOutputSlowly(isLimited: output.overflow == .limit) }
        return isClosing ? input.count : position
    }

    /// What was executed since the last call has left copies for a snapshot that has too much to take: the client is to
    /// be given no time until `Store.isPressedBySnapshot` is false, or a second has passed.
    package mutating func takePressure() -> Bool {
        guard hasLeftCopies else { return false }
        hasLeftCopies = false
        return store.isPressedBySnapshot
    }

    mutating func limitOutput() {
        let limit = engine.configuration.outputByteCountMax(isSubscriber: client.pointee.isSubscriber)
        output.byteCountMax = limit > 0 ? limit : .max
    }

    /// Appends a message from outside to the output.
    package mutating func deliver(_ message: Message) {
        guard !isClosing else { return }
        if engine.interest.current.holdsReplies { neededSequence = engine.journal.appendedSequence }
        limitOutput()
        message.append(to: &output, isSubscriber: client.pointee.isSubscriber)
        if output.hasOverflowed { closeForOutputSlowly(isLimited: output.overflow == .limit) }
    }

    /// The replies of this client passed the hard limit, or memory ran out: they are gone, and so is the client.
    @inline(never)
    mutating func closeForOutputSlowly(isLimited: Bool) {
        output.removeAll()
        client.pointee.isClosing = true
        logWarning(
            isLimited
                ? "scheduled to be closed ASAP for overcoming of output buffer limits."
                : "closed: no memory for its replies.")
    }

    private func logWarning(_ text: String) {
        let record = client.pointee.record
        engine.host.log(.warning, "Client id=\(record.identifier) addr=\(record.endpoint.address) \(text)")
    }

    /// Arguments of the incomplete request at the end of the buffer.
    var partialArgumentCount = 0

    private mutating func fail(_ error: ProtocolError) {
        let text = ByteView("ERR ").bytes + error.text
        text.withUnsafeBytes { output.error(ByteView($0)) }
        client.pointee.isClosing = true
    }

    /// Makes what happened visible to other sessions, once a read.
    mutating func publish() {
        guard batch.executedCount > 0 else { return }
        if let observer, observer.hasBroadcasts { observer.broadcast() }
        if client.pointee.followUp.contains(.tracking) { limitTrackingSlowly() }
        recordReference._withUnsafeGuaranteedRef { record in
            record.lastInteractionMilliseconds.store(batch.nowMilliseconds, ordering: .relaxed)
            record.lastCommand.store(batch.lastCommand, ordering: .relaxed)
            record.databaseIndex.store(client.pointee.databaseIndex, ordering: .relaxed)
            record.memory.replyCapacity.store(output.capacity, ordering: .relaxed)
        }
        traffic.pointee.noteCommands(batch.executedCount)
        if batch.errorCount > 0 {
            engine.statistics.errorReplies.wrappingAdd(UInt64(truncatingIfNeeded: batch.errorCount), ordering: .relaxed)
        }
    }
}
