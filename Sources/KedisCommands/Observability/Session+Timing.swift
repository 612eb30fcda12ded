// What a batch takes, and each command of it: for INFO commandstats, the histograms, the slow log, the latency monitor.
//
// A reading of the clock costs 10 ns, a pipelined GET takes 100. So a batch is timed in one of two ways:
//
//      one by one   ├──SET──┼─GET─┼─GET─┼──SET──┤     a reading after each command: exact
//      in runs      ├──SET──┼─GET───GET─┼──SET──┤     a reading after each run of equal commands, which share its time
//
// One by one go: batches of up to 4 commands; those with a command that may take long by itself (CommandCost.swift);
// those that serve waiting clients; all of a session for a while after one of its runs took oddly long or replied much;
// all, when somebody asks for events under 1 ms (`slowlog-log-slower-than`); and 1 in 8 of the rest.
//
// So calls and times are exact, of a run as of a command. Histograms take what was timed one by one, the 1 in 8 with
// the weight of 8: percentiles are those of single commands, in pipelines too. A command that is slow is always noted:
// in a run nobody is expected to be, and if the run was, its first command is entered with the number of the others.
//
// Cost: two readings for a batch, and one for each command of 1 in 8.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

/// Chooses how the next batch of a session is timed.
struct TimingChoice {
    /// So many batches are timed one by one, because one was odd.
    private var oddBatchCount: UInt16 = 0
    private var number: UInt32

    /// Batches of so many commands cost little to be timed one by one.
    private static let smallCount = 4
    private static let period: UInt32 = 8
    private static let oddBatchCountMax: UInt16 = 64
    /// Who wants to know of events shorter than this gets them exactly.
    private static let fineNanoseconds: UInt64 = 1_000_000
    /// A run that takes longer is odd: 16 short commands take a few microseconds.
    static let oddRunNanoseconds: UInt64 = 100_000
    /// A batch that replies more is odd, too: its commands are not alike.
    static let oddReplyByteCount = 16 << 10

    /// Sessions begin at different places of the period, so that short-lived ones are sampled as others are.
    init(clientIdentifier: Int64) { number = UInt32(truncatingIfNeeded: clientIdentifier) }

    /// How many batches the next one stands for when it is timed one by one; 0 for one that is timed in runs.
    @inline(__always)
    mutating func weight(commandCount: Int, mustBeExact: Bool, slowNanoseconds: UInt64) -> UInt64 {
        number &+= 1
        if commandCount <= Self.smallCount || mustBeExact || slowNanoseconds < Self.fineNanoseconds { return 1 }
        if oddBatchCount > 0 {
            oddBatchCount -= 1
            return 1
        }
        return number % Self.period == 0 ? UInt64(Self.period) : 0
    }

    mutating func noteOddity() { oddBatchCount = Self.oddBatchCountMax }
}

extension Session {
    @inline(__always)
    var ticks: UInt64 { tickClock?.now ?? engine.clock.monotonicNanoseconds() }

    @inline(__always)
    func nanoseconds(from start: UInt64, to end: UInt64) -> UInt64 {
        tickClock?.nanoseconds(from: start, to: end) ?? (end > start ? end &- start : 0)
    }

    private var switches: UnsafeMutablePointer<ObservabilitySwitches> { observabilitySwitches }

    /// Executes the commands of the batch, whose stripes are held, and notes what they took. Returns the tick at which
    /// the last one was done.
    @inline(__always)
    mutating func executeItems(held: StripeSet, began: UInt64) -> UInt64 {
        var call = makeCall(held: held)
        if batch.count == 1 { return executeAlone(&call, held: held, began: began) }
        let slow = switches.pointee.slowNanoseconds.load(ordering: .relaxed)
        let weight = timing.weight(
            commandCount: batch.count, mustBeExact: batch.hasLongCommand || batch.isObserved, slowNanoseconds: slow)
        return weight > 0
            ? executeOneByOne(&call, held: held, began: began, weight: weight)
            : executeInRuns(&call, held: held, began: began)
    }

    @inline(__always)
    private mutating func executeAlone(_ call: inout CommandCall, held: StripeSet, began: UInt64) -> UInt64 {
        execute(batch.items[0], &call, held: held)
        let end = ticks
        let time = nanoseconds(from: began, to: end)
        if waiter != nil {
            startTimingSlowly(time)
        } else {
            noteExecution(batch.items[0].entry, arguments(of: batch.items[0]), nanoseconds: time)
        }
        return end
    }

    private mutating func executeOneByOne(
        _ call: inout CommandCall, held: StripeSet, began: UInt64, weight: UInt64
    ) -> UInt64 {
        withUnsafeTemporaryAllocation(of: UInt64.self, capacity: Batch.capacity) { times in
            let ended = executeOneByOne(&call, held: held, began: began, times)
            guard switches.pointee.tracksLatency.load(ordering: .relaxed) else { return ended }
            // All of them at the end: each change of a counter waits for what was stored before.
            for index in 0..<batch.count {
                counters.noteDuration(
                    batch.items[index].entry.pointee.identifier, nanoseconds: times[index], weight: weight)
            }
            return ended
        }
    }

    @inline(__always)
    private mutating func executeOneByOne(
        _ call: inout CommandCall, held: StripeSet, began: UInt64, _ times: UnsafeMutableBufferPointer<UInt64>
    ) -> UInt64 {
        var before = began
        var runCount = 0
        var runNanoseconds: UInt64 = 0
        for index in 0..<batch.count {
            let item = batch.items[index]
            execute(item, &call, held: held)
            let now = ticks
            let time = nanoseconds(from: before, to: now)
            before = now
            let identifier = item.entry.pointee.identifier
            times[index] = time
            if time >= switches.pointee.slowNanoseconds.load(ordering: .relaxed) {
                noteSlowly(item.entry, arguments(of: item), nanoseconds: time)
            }
            runCount += 1
            runNanoseconds &+= time
            guard isLastOfRun(index) else { continue }
            counters.noteCalls(identifier, count: runCount, nanoseconds: runNanoseconds)
            runCount = 0
            runNanoseconds = 0
        }
        return before
    }

    private mutating func executeInRuns(_ call: inout CommandCall, held: StripeSet, began: UInt64) -> UInt64 {
        let replyStart = output.count
        var before = began
        var first = 0
        for index in 0..<batch.count {
            execute(batch.items[index], &call, held: held)
            guard isLastOfRun(index) else { continue }
            let now = ticks
            let time = nanoseconds(from: before, to: now)
            before = now
            counters.noteCalls(
                batch.items[index].entry.pointee.identifier, count: index &+ 1 &- first, nanoseconds: time)
            if time >= TimingChoice.oddRunNanoseconds { noteOddRunSlowly(first...index, nanoseconds: time) }
            first = index + 1
        }
        if output.count &- replyStart > TimingChoice.oddReplyByteCount { timing.noteOddity() }
        return before
    }

    @inline(__always)
    private func isLastOfRun(_ index: Int) -> Bool {
        index &+ 1 == batch.count || batch.items[index &+ 1].entry != batch.items[index].entry
    }

    func arguments(of item: Batch.Item) -> ArgumentList {
        arguments.list(from: item.firstArgument, count: item.argumentCount, base: item.base)
    }

    /// Notes one execution that has ended.
    @inline(__always)
    mutating func noteExecution(
        _ entry: UnsafePointer<CommandEntry>, _ list: ArgumentList, nanoseconds time: UInt64
    ) {
        counters.noteCalls(entry.pointee.identifier, count: 1, nanoseconds: time)
        if switches.pointee.tracksLatency.load(ordering: .relaxed) {
            counters.noteDuration(entry.pointee.identifier, nanoseconds: time, weight: 1)
        }
        if time >= switches.pointee.slowNanoseconds.load(ordering: .relaxed) {
            noteSlowly(entry, list, nanoseconds: time)
        }
    }

    /// The client waits: what the command took so far is noted with what serving it will take.
    @inline(never)
    private mutating func startTimingSlowly(_ time: UInt64) {
        waiter?.firstNanoseconds = time
        batch.executedCount -= 1
    }

    @inline(never)
    private mutating func noteOddRunSlowly(_ run: ClosedRange<Int>, nanoseconds time: UInt64) {
        timing.noteOddity()
        let item = batch.items[run.lowerBound]
        if switches.pointee.tracksLatency.load(ordering: .relaxed) {
            counters.noteDuration(item.entry.pointee.identifier, nanoseconds: time, weight: 1)
        }
        guard time >= switches.pointee.slowNanoseconds.load(ordering: .relaxed) else { return }
        noteSlowly(item.entry, arguments(of: item), followerCount: run.count - 1, nanoseconds: time)
    }

    @inline(never)
    func noteSlowly(
        _ entry: UnsafePointer<CommandEntry>, _ list: ArgumentList, followerCount: Int = 0, nanoseconds time: UInt64
    ) {
        let wallMilliseconds = engine.clock.wallMilliseconds
        let observability = engine.observability
        observability.latency.note(
            entry.pointee.flags.contains(.fast) ? .fastCommand : .command, nanoseconds: time,
            wallMilliseconds: wallMilliseconds)
        guard time >= observability.slowLog.nanosecondsMin.load(ordering: .relaxed),
            !entry.pointee.flags.contains(.skipSlowLog)
        else { return }
        observability.slowLog.add(
            entry, list, followerCount: followerCount, nanoseconds: time, client: client.pointee.record,
            wallMilliseconds: wallMilliseconds)
    }

    /// Notes a command that has waited and is answered now: its first run, and the one that served it.
    @inline(never)
    mutating func noteServiceSlowly(of waiter: Waiter) {
        let service = waiter.serviceNanoseconds
        noteExecution(waiter.entry, waiter.arguments, nanoseconds: waiter.firstNanoseconds &+ service)
        engine.observability.latency.note(
            .commandUnblocking, nanoseconds: service, wallMilliseconds: engine.clock.wallMilliseconds)
        traffic.pointee.noteCommands(1)
    }

    /// Somebody wants to know of batches that wait long for their locks.
    @inline(never)
    func noteLockWaitSlowly(lockBegan: UInt64, began: UInt64) {
        engine.observability.latency.note(
            .lockWait, nanoseconds: nanoseconds(from: lockBegan, to: began),
            wallMilliseconds: engine.clock.wallMilliseconds)
    }

    // MARK: Stages

    /// Notes the stages of a batch that is in the sample, when nothing is locked any more.
    @inline(never)
    func noteStagesSlowly(lockBegan: UInt64, began: UInt64, ended: UInt64, commandCount: Int) {
        let stages = engine.observability.stages
        if stageSample.startTicks != 0 {
            let waited = nanoseconds(from: stageSample.startTicks, to: lockBegan)
            stages.note(.waiting, nanoseconds: waited, commandCount: commandCount)
        }
        stages.note(.lock, nanoseconds: nanoseconds(from: lockBegan, to: began), commandCount: commandCount)
        stages.note(.execution, nanoseconds: nanoseconds(from: began, to: ended), commandCount: commandCount)
    }

    /// A transport says that it samples, and by `start` since when the bytes that it will bring were there: 0 for a
    /// read that is not in the sample.
    package mutating func sampleStages(since start: UInt64) {
        stageSample.isLedByTransport = true
        stageSample.startTicks = start
    }

    /// The commands of the last run through the input.
    package var executedCommandCount: Int { batch.executedCount }
}
