// Goal: a native loop loses no task and no wake-up, keeps the order of timers, gives connections their turn, and tells
// no source of another one's events. Method: loops on threads of their own, driven by many threads, pipes and clocks;
// timers and the queue of output against plain arrays.

#if os(Linux)

import CKedis
import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

@testable import KedisServer

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

@Suite("The native event loop")
struct NativeLoopTests {
    private final class Log: Sendable {
        let entries = Locked<[Int]>([])

        func note(_ entry: Int) { entries.withLock { $0.append(entry) } }

        var all: [Int] { entries.withLock { $0 } }
    }

    /// The two ends of a connection, neither of which blocks.
    private static func pair() throws -> (near: Int32, far: Int32) {
        let ends = try makeSocketPair()
        for end in [ends.near, ends.far] { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
        return ends
    }

    /// Whether a loop has a ring: where that may be, all is tried with one as well.
    static let kinds = SystemRing.isUsable ? [false, true] : [false]

    private static func withLoop(_ usesRing: Bool, _ body: (NativeLoop) async throws -> Void) async throws {
        let loop = try NativeLoop(name: "test-loop", usesRing: usesRing, gathering: GatheringTrial { 0 })
        do {
            try await body(loop)
        } catch {
            await loop.shutDown()
            throw error
        }
        await loop.shutDown()
    }

    // MARK: Tasks

    @Test("Tasks of many threads all run, those of a thread in their order, and none waits for the next event", arguments: kinds)
    func tasks(usesRing: Bool) async throws {
        try await Self.withLoop(usesRing) { loop in
            let (threadCount, taskCount) = (6, 20_000)
            let last = (0..<threadCount).map { _ in Log() }
            let (ranCount, disorderCount) = (Counter(), Counter())
            let threads = (0..<threadCount).map { number in
                TestThread {
                    for index in 0..<taskCount {
                        loop.execute {
                            let isNext = last[number].entries.withLock { entries in
                                defer { entries = [index] }
                                return (entries.first ?? -1) == index - 1
                            }
                            if !isNext { disorderCount.add() }
                            ranCount.add()
                        }
                        // The loop falls asleep now and then, and at every point.
                        if index % 97 == number { usleep(UInt32(index % 50)) }
                    }
                }
            }
            for thread in threads { thread.join() }
            // Nothing else wakes it.
            #expect(eventually { ranCount.value == threadCount * taskCount })
            #expect(disorderCount.value == 0)
        }
    }

    @Test("Each task of a thread that waits for it wakes a loop that sleeps", arguments: kinds)
    func wakeUps(usesRing: Bool) async throws {
        try await Self.withLoop(usesRing) { loop in
            let answers = Counter()
            let start = monotonicNanoseconds()
            for round in 1...3_000 {
                loop.execute { answers.add() }
                while answers.value < round, monotonicNanoseconds() - start < 60_000_000_000 { sched_yield() }
            }
            #expect(answers.value == 3_000)
        }
    }

    @Test("The loop knows its own thread, and after its end drops what it is given", arguments: kinds)
    func end(usesRing: Bool) async throws {
        let loop = try NativeLoop(name: "test-loop", usesRing: usesRing, gathering: GatheringTrial { 0 })
        let isCurrent = Counter()
        await loop.run { if loop.isCurrent { isCurrent.add() } }
        #expect(isCurrent.value == 1 && !loop.isCurrent)
        await loop.shutDown()
        loop.execute { isCurrent.add() }
        TestFiles.sleep(milliseconds: 20)
        #expect(isCurrent.value == 1)
        await loop.shutDown()
    }

    // MARK: Timers

    @Test("Timers run at their time, in order, unless they are cancelled; one may set another", arguments: kinds)
    func timers(usesRing: Bool) async throws {
        try await Self.withLoop(usesRing) { loop in
            let log = Log()
            let start = monotonicNanoseconds()
            await loop.run {
                for (index, delay) in [40, 10, 30, 10, 20, 0].enumerated() {
                    _ = loop.schedule(inMilliseconds: Int64(delay)) { log.note(index) }
                }
                loop.schedule(inMilliseconds: 15) { log.note(100) }.cancel()
                _ = loop.schedule(inMilliseconds: 25) {
                    log.note(6)
                    _ = loop.schedule(inNanoseconds: 0) { log.note(7) }
                }
            }
            #expect(eventually { log.all.count == 8 })
            #expect(log.all == [5, 1, 3, 4, 6, 7, 2, 0])
            #expect(monotonicNanoseconds() - start >= 40_000_000, "a timer came early")
        }
    }

    @Test("Any timers, set and cancelled in any order, come in the order of their times")
    func randomTimers() {
        var random = RandomGenerator.forTest("timers of a native loop")
        for _ in 0..<200 {
            let timers = NativeTimers()
            let log = Log()
            var model: [(time: UInt64, number: Int)] = []
            var set: [(number: Int, timer: NativeTimer)] = []
            for number in 0..<60 {
                let time = UInt64(random.next(below: 20))
                set.append((number, timers.set(atNanoseconds: time) { log.note(number) }))
                model.append((time, number))
                if random.next(below: 2) == 0, !set.isEmpty {
                    let gone = set.remove(at: random.next(below: set.count))
                    gone.timer.cancel()
                    model.removeAll { $0.number == gone.number }
                }
                #expect(timers.earliestNanoseconds == model.map(\.time).min() ?? .max)
            }
            let now = UInt64(random.next(below: 25))
            timers.run(nowNanoseconds: now)
            let due = model.filter { $0.time <= now }.sorted { ($0.time, $0.number) < ($1.time, $1.number) }
            #expect(log.all == due.map(\.number))
            timers.run(nowNanoseconds: .max)
            #expect(log.all.count == model.count)
        }
    }

    // MARK: Sources

    /// Reads a byte each time that it is told, or does something else.
    private final class Source: EventSource, @unchecked Sendable {
        // Sendable: touched on its loop only, but for the counter.

        let descriptor: Int32
        let told = Counter()
        var action: (() -> Void)?

        init(_ descriptor: Int32) { self.descriptor = descriptor }

        override func isReady(_ flags: UInt32) {
            told.add()
            var byte: UInt8 = 0
            while recv(descriptor, &byte, 1, 0) > 0 {}
            action?()
        }
    }

    @Test("A source that was taken out while its event was on its way is told nothing, nor is who has its place", arguments: kinds)
    func staleEvents(usesRing: Bool) async throws {
        try await Self.withLoop(usesRing) { loop in
            for _ in 0..<50 {
                let (first, second) = (try Self.pair(), try Self.pair())
                let (one, two) = (Source(first.near), Source(second.near))
                let replacement = Source(second.near)
                await loop.run {
                    #expect(loop.add(one, one.descriptor, kedis_event_input, isEdge: true))
                    #expect(loop.add(two, two.descriptor, kedis_event_input, isEdge: true))
                    // Whichever comes first takes out the other, whose place and descriptor somebody else gets, who
                    // was told of nothing yet.
                    one.action = {
                        guard two.told.value == 0 else { return }
                        loop.remove(two)
                        #expect(loop.add(replacement, first.far, kedis_event_input, isEdge: true))
                    }
                    // Both are ready when the loop looks next.
                    #expect(write(first.far, "x", 1) == 1 && write(second.far, "x", 1) == 1)
                }
                #expect(eventually { one.told.value == 1 })
                await loop.run {}
                #expect(two.told.value + one.told.value <= 2 && replacement.told.value == 0)
                await loop.run {
                    for source in [one, two, replacement] { loop.remove(source) }
                    for end in [first.near, first.far, second.near, second.far] { close(end) }
                }
            }
        }
    }

    @Test("Work in turns keeps no source waiting, and its own turns come while sources are busy", arguments: kinds)
    func turns(usesRing: Bool) async throws {
        try await Self.withLoop(usesRing) { loop in
            let ends = try Self.pair()
            let source = Source(ends.near)
            let turnCount = Counter(), isOver = Counter()
            @Sendable func turn() {
                turnCount.add()
                usleep(100)
                if isOver.value == 0 { loop.nextRound { turn() } }
            }
            await loop.run {
                #expect(loop.add(source, source.descriptor, kedis_event_input, isEdge: true))
                loop.nextRound { turn() }
            }
            for round in 1...100 {
                let before = turnCount.value
                #expect(write(ends.far, "x", 1) == 1)
                #expect(eventually { source.told.value >= round })
                #expect(eventually { turnCount.value > before })
            }
            isOver.add()
            await loop.run {
                loop.remove(source)
                close(ends.near)
                close(ends.far)
            }
        }
    }

    // MARK: Output that waits

    @Test("The queue of output gives out what was put in, whatever the sizes")
    func queue() {
        var random = RandomGenerator.forTest("queue of output")
        // What is put in has the same bytes again after a prime number of them, so each piece of it is a part of this.
        let period = 65_521
        let sizes = [1, 100, 20_000, 1_500_000]
        var stream = (0..<period).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        while stream.count < period + sizes[3] { stream += stream }
        stream.withUnsafeBytes { stream in
            for _ in 0..<20 {
                var queue = ByteQueue()
                var (begin, end) = (0, 0)
                for _ in 0..<200 {
                    if random.next(below: 3) > 0 {
                        let count = random.next(below: sizes[random.next(below: 4)]) + 1
                        guard end - begin < 4_000_000 else { continue }
                        let bytes = stream[(end % period)..<(end % period + count)]
                        let isTaken = queue.append(ByteView(UnsafeRawBufferPointer(rebasing: bytes)))
                        #expect(isTaken)
                        end += count
                    } else {
                        let next = queue.next
                        #expect(next.count > 0 || begin == end)
                        guard next.count > 0 else { continue }
                        let count = random.next(below: min(next.count, sizes[3])) + 1
                        let expected = stream[(begin % period)..<(begin % period + count)]
                        #expect(next[0..<count] == ByteView(UnsafeRawBufferPointer(rebasing: expected)))
                        queue.removeFirst(count)
                        begin += count
                    }
                    #expect(queue.byteCount == end - begin)
                }
            }
        }
    }
}

/// Counts on any thread.
private final class Counter: Sendable {
    private let count = Atomic<Int>(0)

    var value: Int { count.load(ordering: .sequentiallyConsistent) }

    func add() { count.add(1, ordering: .sequentiallyConsistent) }
}

#endif
