// Batches: several pipelined commands, one plan, one locking.
//
// Commands are collected as the parser yields them. A batch is executed when it is full, when a command cannot share it
// (it asks for other locks or changes the session), and at the end of the input.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

/// The commands that wait for their locks, and what the run through one read's input has counted.
struct Batch: ~Copyable {
    /// A resolved, admitted and planned command.
    struct Item {
        var entry: UnsafePointer<CommandEntry>
        var base: UnsafePointer<UInt8>
        var firstArgument: Int
        var argumentCount: Int
        var firstKey: Int
        var keyCount: Int
        var stripes: StripeSet
    }

    static let capacity = 16
    /// More lines in flight than these would push each other out of the first-level cache.
    static let prefetchCountMax = 64

    let items: UnsafeMutablePointer<Item>
    var count = 0
    var stripes = StripeSet()
    /// The time at which the last batch had its locks.
    var nowMilliseconds: Int64 = 0
    /// The engine's states when the read began.
    private(set) var conditions: AdmissionCondition = []
    var executedCount = 0
    var errorCount = 0
    var lastCommand = -1
    /// Some of its commands look for elements in collections.
    var hasElements = false
    /// What they look for.
    var elements = ElementPrefetch()
    /// Somebody wants to know what this batch does, and the locks are wide enough to serve who waits for its keys.
    var isObserved = false
    /// Somebody wants to see the commands, and these are to be told that they were shown some: see MonitorRegistry.
    var isMonitored = false
    var bells: [Postbox] = []
    /// One of the commands may take long: CommandCost.swift.
    var hasLongCommand = false
    /// What it changes is written down: Journal/EffectScribe.swift.
    var isJournalled = false
    /// Replies wait for the journal.
    var holdsReplies = false
    /// Clients are paused: what is due stays in its place.
    var keepsDueKeys = false

    init() { items = .allocate(capacity: Batch.capacity) }

    deinit { items.deallocate() }

    /// Whether one of the commands reads or writes data, and not only tells of the server.
    var isAboutData: Bool {
        (0..<count).contains {
            let entry = items[$0].entry
            return !entry.pointee.flags.isDisjoint(with: [.write, .readOnly]) || entry.pointee.fullName == "explain"
        }
    }

    /// It holds no stripe of what it shows: EXPLAIN ANALYZE locks by itself.
    var locksByItself: Bool {
        count > 0 && (items[0].entry.pointee.walksKeyspace || items[0].entry.pointee.fullName == "explain")
    }

    /// Takes a command; there is room.
    @inline(__always)
    mutating func append(_ item: Item) {
        items[count] = item
        count += 1
        if item.entry.pointee.elements != .none { hasElements = true }
        stripes.formUnion(item.stripes)
    }

    mutating func begin(conditions: AdmissionCondition) {
        assert(count == 0)
        self.conditions = conditions
        executedCount = 0
        errorCount = 0
    }
}

extension Session {
    /// Takes a request whose ranges count from `base`: into the batch when it can share it, else the batch is executed
    /// first and then this one alone. Inline requests are alone: the parser reuses their memory.
    @inline(__always)
    mutating func add(base: UnsafePointer<UInt8>, firstArgument: Int, argumentCount: Int, isInline: Bool) {
        let list = arguments.list(from: firstArgument, count: argumentCount, base: base)
        let entry: UnsafePointer<CommandEntry>
        let firstKey: Int
        let stripes: StripeSet
        do throws(CommandError) {
            entry = try resolve(list, in: names)
            if !entry.pointee.isBatchable || isInline {
                executeBatch()
                if isPostponed { return forgetArguments() }
                guard hasRoomForCopies(entry, list) else { throw .outOfMemory }
            }
            if batch.count == 0 {
                makeRoom()
                followAccess()
            }
            if let refusal = admission(of: entry, list) { return refuseSlowly(refusal, of: entry, list) }
            if client.pointee.conditions.contains(.inTransaction) {
                if engine.interest.current.isPaused, mustWaitSlowly(entry) {
                    postpone(entry)
                    return forgetArguments()
                }
                if try queueSlowly(entry, list) { return forgetArguments() }
            }
            firstKey = keys.count
            stripes = try plan(entry, list, in: store, into: &keys)
        } catch {
            executeBatch()
            if !isPostponed { reject(error, list) }
            return forgetArguments()
        }
        batch.append(
            Batch.Item(
                entry: entry, base: base, firstArgument: firstArgument, argumentCount: argumentCount,
                firstKey: firstKey, keyCount: keys.count - firstKey, stripes: stripes))
        if entry.pointee.cost.mayTakeLong(list) { batch.hasLongCommand = true }
        if batch.count == Batch.capacity || !entry.pointee.isBatchable || isInline { flush() }
    }

    /// Answers a request that may not be executed, after those before it.
    @inline(never)
    private mutating func refuseSlowly(
        _ refusal: Refusal, of entry: UnsafePointer<CommandEntry>, _ list: ArgumentList
    ) {
        executeBatch()
        if !isPostponed { reject(note(refusal, of: entry, list), list) }
        forgetArguments()
    }

    /// Commands on keys take their arguments as they lie; those on sessions and the server make strings and arrays of
    /// them, whose refusal would end the process. No argument's copies take more than some times its bytes.
    private func hasRoomForCopies(_ entry: UnsafePointer<CommandEntry>, _ list: ArgumentList) -> Bool {
        switch entry.pointee.locks {
        case .keys, .allStripesWhen: return true
        case .allStripes, .none: break
        }
        let byteCount = list.byteCount
        return byteCount < 64 << 10 || hasHeadroom(beside: 8 * byteCount)
    }

    /// Why `entry` may not run; nil admits. What waits in the batch may free the memory that this command lacks, so it
    /// is executed before memory is the reason.
    @inline(__always)
    private mutating func admission(of entry: UnsafePointer<CommandEntry>, _ list: ArgumentList) -> Refusal? {
        let conditions = batch.conditions.union(client.pointee.conditions)
        guard let refusal = admit(entry, list, of: client, under: conditions) else { return nil }
        guard batch.count > 0, conditions.contains(.memoryExhausted) else { return refusal }
        return admissionAfterBatchSlowly(of: entry, list)
    }

    @inline(never)
    private mutating func admissionAfterBatchSlowly(
        of entry: UnsafePointer<CommandEntry>, _ list: ArgumentList
    ) -> Refusal? {
        executeBatch()
        makeRoom()
        return admit(entry, list, of: client, under: batch.conditions.union(client.pointee.conditions))
    }

    /// Executes the batch and forgets its arguments; those of an incomplete request behind it stay.
    mutating func flush() {
        executeBatch()
        forgetArguments()
    }

    /// Sees to it before a batch, while nothing is locked, that used memory fits `maxmemory`. Without a limit it is one
    /// load.
    @inline(__always)
    func makeRoom() {
        let limit = engine.configuration.memoryByteCountMax.load(ordering: .relaxed)
        guard limit > 0 || client.pointee.conditions.contains(.memoryExhausted) else { return }
        makeRoomSlowly()
    }

    @inline(never)
    private func makeRoomSlowly() {
        if engine.makeRoom(using: &client.pointee.random) == .impossible {
            client.pointee.conditions.insert(.memoryExhausted)
        } else {
            client.pointee.conditions.remove(.memoryExhausted)
        }
    }

    mutating func forgetArguments() {
        if partialArgumentCount == 0 {
            arguments.removeAll()
        } else {
            arguments.removeFirst(arguments.count - partialArgumentCount)
        }
    }

    @inline(__always)
    private mutating func executeBatch() {
        guard batch.count > 0 else { return }
        var stripes = batch.stripes
        let isSampled =
            observabilitySwitches.pointee.samplesStages.load(ordering: .relaxed) && stageSample.takesNext()
        let watchesLocks = observabilitySwitches.pointee.watchesLocks.load(ordering: .relaxed)
        let lockBegan = isSampled || watchesLocks ? ticks : 0
        if isSampled || watchesLocks || !mayBeSplit {
            store.lock(stripes)
        } else if !store.tryLock(stripes) {
            executeInPartsSlowly()
            guard batch.count > 0 else { return }
            store.lock(stripes)
        }
        if !engine.interest.current.isEmpty {
            if engine.interest.current.isPaused { cutBatchSlowly() }
            batch.holdsReplies = engine.interest.current.holdsReplies
            stripes = observeSlowly(held: stripes)
        }
        // Under the locks: waiting for them, or the command before, may have taken longer than a key had to live.
        batch.nowMilliseconds = engine.clock.wallMilliseconds
        if batch.count > 1 {
            let first = UnsafeBufferPointer(start: keys.base, count: min(keys.count, Batch.prefetchCountMax))
            if batch.hasElements {
                prefetchElements(of: first)
            } else {
                store.prefetch(first, databaseIndex: client.pointee.databaseIndex)
            }
        }
        let began = ticks
        let commandCount = batch.count
        // Those before it were a part's.
        let ended = executePlanned(keyRange: batch.items[0].firstKey..<keys.count, held: stripes, began: began)
        if batch.hasLongCommand, observabilitySwitches.pointee.seeksBigKeys.load(ordering: .relaxed) {
            measureKeysSlowly(held: stripes)
        }
        if batch.isJournalled { commitSlowly(held: stripes) }
        if batch.holdsReplies {
            noteNeededSlowly(concernsAll: (stripes == .all || batch.locksByItself) && batch.isAboutData)
        }
        store.unlock(stripes)
        if batch.isObserved { endServiceSlowly() }
        if batch.isMonitored { ringMonitorsSlowly() }
        if watchesLocks { noteLockWaitSlowly(lockBegan: lockBegan, began: began) }
        if isSampled {
            noteStagesSlowly(lockBegan: lockBegan, began: began, ended: ended, commandCount: commandCount)
        }
        emptyBatch()
    }

    /// Executes the commands of the batch, whose stripes are held and whose keys are those in `keyRange`. Returns the
    /// tick at which the last one was done.
    @inline(__always)
    mutating func executePlanned(keyRange: Range<Int>, held: StripeSet, began: UInt64) -> UInt64 {
        let copyCount = store.snapshotCopyCount
        let ended = executeItems(held: held, began: began)
        if keySampler.takesAny(
            of: keyRange.count, interval: observabilitySwitches.pointee.keyInterval.load(ordering: .relaxed))
        {
            sampleKeysSlowly(keyRange, held: held)
        }
        if copyCount != store.snapshotCopyCount { noteCopiesSlowly() }
        return ended
    }

    @inline(__always)
    mutating func emptyBatch() {
        batch.count = 0
        batch.hasLongCommand = false
        batch.keepsDueKeys = false
        batch.isJournalled = false
        batch.holdsReplies = false
        batch.hasElements = false
        batch.stripes = StripeSet()
        keys.removeAll()
    }

    /// Copies were left for a snapshot while the batch was executed: by itself if it may change anything, or by another
    /// thread.
    @inline(never)
    mutating func noteCopiesSlowly() {
        if isChanging { hasLeftCopies = true }
    }

    /// The call of the first command, in whose place the others follow: most of it is the batch's.
    @inline(__always)
    func makeCall(held: StripeSet) -> CommandCall {
        var keyspace = store.keyspace(
            client.pointee.databaseIndex, nowMilliseconds: batch.nowMilliseconds, held: held
        )
        keyspace.leavesAccessClock = client.pointee.leavesAccessClock
        // Nothing that writes, and puts keys in the place of those that are due, is left in the batch then.
        keyspace.keepsDueKeys = batch.keepsDueKeys
        let first = batch.items[0]
        var call = CommandCall(
            arguments: arguments.list(from: first.firstArgument, count: first.argumentCount, base: first.base),
            keyspace: keyspace, keyBase: UnsafePointer(keys.base + first.firstKey), keyCount: first.keyCount,
            entry: first.entry, client: client, engine: engineReference
        )
        if batch.isObserved { observeSlowly(&call.effects) }
        if batch.isJournalled { call.effects.scribe = scribe }
        return call
    }

    /// Executes a command of the batch, in the place of the one before.
    @inline(__always)
    mutating func execute(_ item: Batch.Item, _ call: inout CommandCall, held: StripeSet) {
        call.begin(
            arguments: arguments.list(from: item.firstArgument, count: item.argumentCount, base: item.base),
            keyBase: UnsafePointer(keys.base + item.firstKey), keyCount: item.keyCount, entry: item.entry)
        let mark = output.count
        let hasBlocked = run(&call)
        if batch.isObserved { serveSlowly(held: held) }
        if batch.isMonitored {
            showToMonitorsSlowly(
                item.entry, arguments.list(from: item.firstArgument, count: item.argumentCount, base: item.base))
        }
        // The reply of a client that waits comes later, and its mode is looked at then.
        if !client.pointee.followUp.isEmpty { followUpSlowly(item, from: mark, hasBlocked) }
        batch.executedCount += 1
        batch.lastCommand = item.entry.pointee.identifier
    }

    /// Runs a command of a transaction, whose stripes are held.
    mutating func run(
        _ entry: UnsafePointer<CommandEntry>, _ list: ArgumentList, keyRange: Range<Int>, held: StripeSet
    ) {
        var keyspace = store.keyspace(
            client.pointee.databaseIndex, nowMilliseconds: batch.nowMilliseconds, held: held
        )
        keyspace.leavesAccessClock = client.pointee.leavesAccessClock
        keyspace.keepsDueKeys = batch.keepsDueKeys
        var call = CommandCall(
            arguments: list, keyspace: keyspace, keyBase: UnsafePointer(keys.base + keyRange.lowerBound),
            keyCount: keyRange.count, entry: entry, client: client, engine: engineReference
        )
        if batch.isObserved { observeSlowly(&call.effects) }
        if batch.isJournalled { call.effects.scribe = scribe }
        _ = run(&call)
    }

    /// Runs a command whose stripes are held, and applies its effects; true when the client waits.
    @inline(__always)
    private mutating func run(_ call: inout CommandCall) -> Bool {
        let mark = output.count
        var outcome = runHandler(&call, &output)
        applyEffects(&call)
        if batch.isJournalled { scribe?.note(call, hasFailed: outcome == .failed || output.hasOverflowed) }
        if outcome == .blocked, !startWaitingSlowly(call) { outcome = .failed }
        if outcome == .failed {
            counters.noteFailure(call.entry.pointee.identifier)
            countErrorSlowly(at: mark)
        }
        return outcome == .blocked
    }

    @inline(never)
    private mutating func followUpSlowly(_ item: Batch.Item, from mark: Int, _ hasBlocked: Bool) {
        if client.pointee.followUp.contains(.tracking) {
            rememberSlowly(item.entry, keyRange: item.firstKey..<item.firstKey + item.keyCount)
            if !hasBlocked { endCaching(item.entry) }
        }
        guard !hasBlocked else { return }
        followUpSlowly(from: mark, isPush: item.entry.pointee.flags.contains(.repliesWithPush))
    }

    /// What is to be done after the command whose reply begins at `mark`.
    @inline(never)
    mutating func followUpSlowly(from mark: Int, isPush: Bool = false) {
        mute(from: isPush ? output.count : mark)
        guard client.pointee.followUp.contains(.pushes) else { return }
        client.pointee.followUp.remove(.pushes)
        let isSubscriber = client.pointee.isSubscriber
        for message in client.pointee.pushes { message.append(to: &output, isSubscriber: isSubscriber) }
        client.pointee.pushes.removeAll()
    }

    /// CLIENT REPLY OFF and SKIP: drops the reply that was just written.
    private mutating func mute(from mark: Int) {
        switch client.pointee.replyMode {
        case .on: break
        case .off: output.truncate(to: mark)
        case .skipNext:
            output.truncate(to: mark)
            client.pointee.replyMode = .skipping
        case .skipping:
            output.truncate(to: mark)
            client.pointee.replyMode = .on
        }
    }

    /// Counts the error reply that begins at `mark`, by its code: the first word, which is short, or else ERR.
    @inline(never)
    mutating func countErrorSlowly(at mark: Int) {
        batch.errorCount += 1
        // What overflowed was thrown away, and the mark with it.
        guard !output.hasOverflowed, mark < output.count else { return }
        let text = output.bytes[mark + 1..<output.count]
        let start = text[0..<min(text.count, 32)]
        engine.statistics.noteError(code: start.firstIndex(of: 0x20).map { start[0..<$0] } ?? "ERR")
    }

    /// Whether the line is one of HTTP: a page in a browser must not reach a server on the same machine.
    private func isFromBrowser(_ list: ArgumentList) -> Bool {
        list[0].equalsIgnoringCase("POST") || list[0].equalsIgnoringCase("HOST:")
    }

    /// Answers a request that never reached a handler.
    @inline(never)
    private mutating func reject(_ error: CommandError, _ list: ArgumentList) {
        guard !isFromBrowser(list) else {
            client.pointee.isClosing = true
            return
        }
        let mark = output.count
        output.commandError(rejectionInTransaction(error, list))
        batch.nowMilliseconds = engine.clock.wallMilliseconds
        batch.executedCount += 1
        countErrorSlowly(at: mark)
        // CLIENT LIST shows the last command that was asked for, refused or not: NULL if there is no such command.
        batch.lastCommand = -1
        if let command = engine.table.command(list[0]) {
            let subcommand = list.count > 1 ? engine.table.subcommand(list[1], of: command) : nil
            counters.noteRejection((subcommand ?? command).pointee.identifier)
            let isUnknown = subcommand == nil && list.count > 1 && !command.pointee.subcommands.isEmpty
            if !isUnknown { batch.lastCommand = (subcommand ?? command).pointee.identifier }
            // What CLIENT CACHING said was about this one, refused or not.
            if let subcommand { endCaching(subcommand) } else { endCaching(command) }
        } else if client.pointee.transaction == nil {
            client.pointee.caching = nil
        }
        if !client.pointee.followUp.isEmpty { followUpSlowly(from: mark) }
    }
}

/// What a handler has done.
enum HandlerOutcome {
    case done
    /// The reply is the error that it threw.
    case failed
    /// There is no reply: the client waits, as `CommandCall.blockRequest` says.
    case blocked
}

/// The handler, under the locks.
@inline(__always)
func runHandler(_ call: inout CommandCall, _ reply: inout ReplyWriter) -> HandlerOutcome {
    guard let handler = call.entry.pointee.handler else { return .done }
    return handler._withUnsafeGuaranteedRef { box in
        let mark = reply.count
        do throws(CommandError) {
            try box.handler(&call, &reply)
            return .done
        } catch {
            reply.truncate(to: mark)
            return settleSlowly(error, &call, &reply)
        }
    }
}

@inline(never)
private func settleSlowly(
    _ error: CommandError, _ call: inout CommandCall, _ reply: inout ReplyWriter
) -> HandlerOutcome {
    guard case .blocked = error else {
        reply.commandError(error)
        return .failed
    }
    guard call.client.pointee.deniesBlocking, let request = call.blockRequest else { return .blocked }
    reply.reply(request.denied)
    return .done
}

/// Applies what a command did, still under the locks: the change counter now, journal and notifications as they come.
@inline(__always)
func applyEffects(_ call: inout CommandCall) {
    guard call.effects.changeCount > 0 else { return }
    let stripeIndex = call.keyCount > 0 ? call.key(0).stripeIndex : 0
    call.keyspace.noteChanges(call.effects.changeCount, stripeIndex: stripeIndex)
}

extension ReplyWriter {
    /// `-text` of an error.
    @inline(never)
    mutating func commandError(_ error: CommandError) {
        switch error {
        case .literal(let text): self.error(ByteView(text))
        case .text(let bytes): bytes.withUnsafeBytes { self.error(ByteView($0)) }
        case .blocked: nullArray()
        }
    }
}
