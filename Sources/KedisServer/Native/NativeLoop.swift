// An event loop of our own for plain sockets on Linux: one thread, one epoll instance.
//
//   epoll_wait ─▶ each ready source: one read, its commands ─▶ sources listed in the round before ─▶ replies are sent
//        ▲                                                                                                   │
//        └────────── sources taken out go ◀── tasks of other threads ◀── timers ◀── what waited for its turn ◀┘
//
// Sockets tell once that there is more (edge-triggered), so they cost no system call but their reads and writes: a read
// that does not fill the buffer has emptied the socket. One buffer serves all reads of the loop; a connection that says
// nothing holds none.
//
// Ownership: ServerLoops has the loops; a loop keeps its sources. Threads: `execute` and `isCurrent` any; everything
// else the loop's own. Wake-ups: whoever brings a task writes to the bell only if the loop sleeps and nobody else has
// done so. Cost of a round beside its sources: one wait, one reading of the clock, one atomic exchange.

#if os(Linux)

import CKedis
import KedisCommands
import KedisPersistence
import KedisStore
import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

final class NativeLoop: ServerLoop, @unchecked Sendable {
    // Sendable: what any thread touches is atomic, locked or constant; the rest is the loop's thread's alone.

    private let epoll: Int32
    private let bell: Int32
    private let inbox = Locked(Inbox())
    /// Something lies in the inbox. Set before `isAsleep` is looked at, as the loop looks here after it has set that.
    private let hasTasks = Atomic<Bool>(false)
    private let isAsleep = Atomic<Bool>(false)
    private let threadNumber = Atomic<UInt>(0)

    /// What connections read into, one after the other.
    private(set) var readAhead = ReadAhead()
    private var group = SessionGroup()
    /// More than one source is ready in this round.
    private var isCrowded = false
    private let events: UnsafeMutableRawPointer
    private var sources = EventSources()
    private let timers = NativeTimers()
    /// Tokens of sources that go on in the next round without an event.
    private var listed: [UInt64] = []
    private var going: [UInt64] = []
    private var later: [() -> Void] = []
    private var afterwards: [() -> Void] = []
    /// Taken out in this round.
    private var removed: [EventSource] = []
    private var roundEnd: (() -> Void)?
    private var isRoundEndRequested = false
    private var isStopping = false
    private let usesRing: Bool
    /// What receives and sends, if that is wanted and the system has such a thing.
    private(set) var ring: SystemRing?
    private(set) var roundNumber: UInt64 = 0
    /// The epoll instance may have events that the ring tells of no more.
    private var hasEvents = false
    private var gathering: Gathering
    /// Events of the round before.
    private var eventCount = 0

    private struct Inbox {
        var tasks: [@Sendable () -> Void] = []
        /// Set with the wish that the loop ends; called when it has.
        var hasEnded: (@Sendable () -> Void)?
        var isOver = false
    }

    private static let eventCountMax = 512
    private static let bellToken = UInt64.max

    /// Makes a loop and starts its thread, which the system calls `name`.
    init(name: String, usesRing: Bool = false, gathering trial: GatheringTrial) throws(StartError) {
        self.usesRing = usesRing
        gathering = Gathering(trial)
        epoll = kedis_epoll_make()
        bell = kedis_bell_make()
        events = .allocate(byteCount: kedis_event_room(Self.eventCountMax), alignment: 16)
        // An edge for each ring: nothing has to be read.
        guard epoll >= 0, bell >= 0, kedis_epoll_add(epoll, bell, kedis_event_input, true, Self.bellToken),
            startThread({ [self] in run(name) })
        else { throw StartError("cannot start an event loop: \(systemText())") }
    }

    deinit {
        // Not earlier: whoever still has the loop may ring.
        if epoll >= 0 { close(epoll) }
        if bell >= 0 { close(bell) }
        events.deallocate()
    }

    // MARK: Any thread

    var isCurrent: Bool { threadNumber.load(ordering: .relaxed) == currentThreadNumber() }

    func execute(_ task: @escaping @Sendable () -> Void) {
        let isOver = inbox.withLock { inbox in
            if !inbox.isOver { inbox.tasks.append(task) }
            return inbox.isOver
        }
        if !isOver { noteTasks() }
    }

    private func noteTasks() {
        hasTasks.store(true, ordering: .sequentiallyConsistent)
        guard isAsleep.load(ordering: .sequentiallyConsistent) else { return }
        if isAsleep.exchange(false, ordering: .sequentiallyConsistent) { kedis_bell_ring(bell) }
    }

    /// Ends the loop and waits for it. Its sources are gone by then; what was to be executed later is dropped.
    func shutDown() async {
        await withCheckedContinuation { continuation in
            let isOver = inbox.withLock { inbox in
                if !inbox.isOver { inbox.hasEnded = { continuation.resume() } }
                return inbox.isOver
            }
            if isOver { continuation.resume() } else { noteTasks() }
        }
    }

    // MARK: The round

    private func run(_ name: String) {
        threadNumber.store(currentThreadNumber(), ordering: .relaxed)
        name.withCString { kedis_begin_thread($0) }
        if usesRing { ring = SystemRing() }
        ring?.watch(epoll)
        var now = monotonicNanoseconds()
        while !isStopping {
            let count = wait(nowNanoseconds: now)
            roundNumber &+= 1
            if !listed.isEmpty { swap(&listed, &going) }
            isCrowded = Int(count) + going.count + (ring?.arrived.count ?? 0) > 1
            if let ring { completeArrived(ring) }
            for index in 0..<count { dispatch(index) }
            eventCount = Int(count)
            if !going.isEmpty { goOn() }
            if readAhead.count > 0 { executeReads() }
            endRound()
            if !later.isEmpty { takeTurns() }
            now = monotonicNanoseconds()
            gathering.endRound(nowNanoseconds: now, workedNanoseconds: processorNanosecondsOfThread())
            if timers.earliestNanoseconds <= now || hasTasks.load(ordering: .acquiring) {
                runOther(nowNanoseconds: now)
                now = monotonicNanoseconds()
            }
            if !removed.isEmpty { letGo() }
        }
        end()
    }

    @inline(never)
    private func runOther(nowNanoseconds now: UInt64) {
        if timers.earliestNanoseconds <= now { timers.run(nowNanoseconds: now) }
        if hasTasks.load(ordering: .acquiring) { runTasks() }
        // They may have read from nobody, but sent to many.
        if isRoundEndRequested { endRound() }
    }

    /// Waits until something is ready or a timer is due, not at all when there is more to do.
    private func wait(nowNanoseconds now: UInt64) -> Int32 {
        var limit: Int64 = -1
        let earliest = timers.earliestNanoseconds
        if !listed.isEmpty || !later.isEmpty || earliest <= now || hasEvents || ring?.arrived.isEmpty == false {
            limit = 0
        } else if earliest != .max {
            limit = Int64(clamping: earliest - now)
        }
        guard limit != 0 else { return lookForEvents(nanoseconds: 0) }
        let gathered = gathering.nanoseconds
        if gathered > 0, ring == nil, eventCount < gathering.enough {
            // Tasks of other threads wait for the end of the round.
            kedis_sleep(limit < 0 ? gathered : min(gathered, UInt64(limit)))
            let count = lookForEvents(nanoseconds: 0)
            if count > 0 { return count }
        }
        isAsleep.store(true, ordering: .sequentiallyConsistent)
        if hasTasks.load(ordering: .sequentiallyConsistent) { limit = 0 }
        defer { isAsleep.store(false, ordering: .relaxed) }
        return lookForEvents(nanoseconds: limit)
    }

    @inline(__always)
    private func epollWait(nanoseconds limit: Int64) -> Int32 {
        // A signal that has come is nobody's here.
        max(0, kedis_epoll_wait(epoll, events, Int32(Self.eventCountMax), limit))
    }

    private func lookForEvents(nanoseconds limit: Int64) -> Int32 {
        guard let ring else { return epollWait(nanoseconds: limit) }
        ring.wait(nanoseconds: limit, gathering: gathering.nanoseconds, enough: gathering.enough)
        guard hasEvents else { return 0 }
        // The ring tells of new events only: until there are none, they are looked for.
        let count = epollWait(nanoseconds: 0)
        hasEvents = count > 0
        return count
    }

    /// What the ring has received.
    private func completeArrived(_ ring: SystemRing) {
        // What comes meanwhile is the next round's.
        let count = ring.arrived.count
        for index in 0..<count {
            let completion = ring.arrived[index]
            guard completion.token != SystemRing.eventsToken else {
                hasEvents = true
                if !completion.has_more { ring.watch(epoll) }
                continue
            }
            gathering.noteEvent(token: completion.token)
            let isKept = sources[completion.token]?._withUnsafeGuaranteedRef {
                $0.complete(completion, on: self, ring)
            }
            if isKept != true, completion.buffer >= 0 { ring.giveBack(buffer: completion.buffer) }
        }
        ring.removeArrived(count)
    }

    @inline(__always)
    private func dispatch(_ index: Int32) {
        let flags = kedis_event_flags(events, index)
        let token = kedis_event_token(events, index)
        gathering.noteEvent(token: token)
        sources[token]?._withUnsafeGuaranteedRef { $0.isReady(flags) }
    }

    private func goOn() {
        for token in going { sources[token]?._withUnsafeGuaranteedRef { $0.goOn() } }
        going.removeAll(keepingCapacity: true)
    }

    /// Puts off the commands of a short read if others follow it; false when they are to be executed now.
    @inline(__always)
    func putOff(_ source: EventSource, byteCount: Int) -> Bool {
        guard isCrowded, byteCount <= ReadAhead.byteCountMax else { return false }
        readAhead.add(token: source.token, byteCount: byteCount)
        return true
    }

    /// The same for what the ring has received, whose buffer stays until then.
    @inline(__always)
    func putOff(_ source: EventSource, _ input: UnsafeRawBufferPointer, buffer: Int32) -> Bool {
        guard isCrowded, input.count <= ReadAhead.byteCountMax, let start = input.baseAddress else { return false }
        makeRoom()
        readAhead.add(
            ReadAhead.Read(
                token: source.token, start: UnsafeMutableRawPointer(mutating: start), byteCount: input.count,
                buffer: buffer))
        return true
    }

    /// Executes what was put off, if there is no room for more.
    @inline(__always)
    func makeRoom() {
        if readAhead.count == ReadAhead.countMax { executeReads() }
    }

    func executeReads() {
        guard readAhead.count > 0 else { return }
        for index in 0..<readAhead.count {
            sources[readAhead[index].token]?._withUnsafeGuaranteedRef { $0.join(&group) }
        }
        group.execute()
        for index in 0..<readAhead.count {
            let read = readAhead[index]
            let input = UnsafeRawBufferPointer(start: read.start, count: read.byteCount)
            sources[read.token]?._withUnsafeGuaranteedRef { $0.execute(input, on: self) }
            if read.buffer >= 0 { ring?.giveBack(buffer: read.buffer) }
        }
        readAhead.removeAll()
    }

    private func endRound() {
        if isRoundEndRequested {
            isRoundEndRequested = false
            roundEnd?()
        }
        guard !afterwards.isEmpty else { return }
        let tasks = afterwards
        afterwards = []
        for task in tasks { task() }
    }

    private func takeTurns() {
        let tasks = later
        later = []
        for task in tasks { task() }
    }

    private func runTasks() {
        hasTasks.store(false, ordering: .sequentiallyConsistent)
        let (tasks, isLast) = inbox.withLock { inbox in
            let tasks = inbox.tasks
            inbox.tasks = []
            return (tasks, inbox.hasEnded != nil)
        }
        for task in tasks { task() }
        if isLast { isStopping = true }
    }

    private func letGo() {
        while let source = removed.popLast() { source.wasRemoved() }
    }

    private func end() {
        letGo()
        // Sockets are closed for their peers when their receives have ended.
        ring?.wait(nanoseconds: 0)
        ring = nil
        timers.removeAll()
        later = []
        let (hasEnded, tasks) = inbox.withLock { inbox in
            inbox.isOver = true
            defer { inbox = Inbox(isOver: true) }
            return (inbox.hasEnded, inbox.tasks)
        }
        // Who waits for one of them is told that it is over by its end, as far as it can be.
        for task in tasks { task() }
        hasEnded?()
    }

    // MARK: The loop's thread

    func nextRound(_ task: @escaping () -> Void) { later.append(task) }

    func schedule(inNanoseconds delay: UInt64, _ task: @escaping () -> Void) -> any LoopTimer {
        let time = monotonicNanoseconds().addingReportingOverflow(delay)
        return timers.set(atNanoseconds: time.overflow ? .max : time.partialValue, task)
    }

    func setRoundEnd(_ body: @escaping () -> Void) { roundEnd = body }

    func requestRoundEnd() { isRoundEndRequested = true }

    func afterRound(_ task: @escaping () -> Void) { afterwards.append(task) }

    func sendTogether(count: Int, request: (Int) -> SendRequest?, result: (Int, Int) -> Void) -> Bool {
        guard let ring, count > 1 else { return false }
        ring.sendTogether(count: count, request: request, result: result)
        return true
    }

    /// Has a source told when its descriptor becomes ready; false with `errno` when that cannot be.
    func add(_ source: EventSource, _ descriptor: Int32, _ flags: UInt32, isEdge: Bool) -> Bool {
        sources.add(source)
        if kedis_epoll_add(epoll, descriptor, flags, isEdge, source.token) { return true }
        let code = errno
        sources.remove(source)
        errno = code
        return false
    }

    /// A source whose descriptor the ring receives from.
    func add(_ source: EventSource) { sources.add(source) }

    /// Has a source that the loop knows told when its descriptor takes output again; false with `errno` when that
    /// cannot be.
    func watchOutput(_ source: EventSource, _ descriptor: Int32) -> Bool {
        kedis_epoll_add(epoll, descriptor, kedis_event_output, true, source.token)
    }

    /// A source that is there is told no more, and `wasRemoved` when the round is over. Its descriptor is closed after
    /// this, which ends what the system knows of it.
    func remove(_ source: EventSource) {
        removed.append(source)
        sources.remove(source)
    }

    /// The system tells nothing of a descriptor for a while; ``resume(_:_:_:)`` ends that.
    func suspend(_ descriptor: Int32) { kedis_epoll_remove(epoll, descriptor) }

    /// False with `errno` when that cannot be.
    func resume(_ source: EventSource, _ descriptor: Int32, _ flags: UInt32) -> Bool {
        kedis_epoll_add(epoll, descriptor, flags, false, source.token)
    }

    /// A source goes on in the next round, whether or not there is an event for it.
    func listForNextRound(_ source: EventSource) { listed.append(source.token) }
}

private func currentThreadNumber() -> UInt { UInt(pthread_self()) }

#endif
