// Long work of which a thread does what it can that gets a processor when nobody else wants it.
//
//      who has the work    works, holding locks ── waits ──────────────────────────── works …
//                                       │            │      ▲            ▲
//                          inBackground ▼            ▼      │ inForeground
//      the background      waits ───── reads and encodes what is its own ─┴── waits …
//
// A thread that yields to all others must hold nothing that they want: it may be stopped with it for as long as the
// processors are busy. So it computes, with memory of its own from the allocator at most, and asks for everything else:
// locks, files, memory that others gave or get. One of the two works, the other waits: what they share needs no lock.
// Each may ask the other for a part at any depth.
//
// Linux with the GNU library, whose threads allocate apart from each other, has such a class of threads (SCHED_IDLE);
// elsewhere, and where no thread is to be had, who has the work does all of it.
//
// Ownership: who has the work. Cost: a thread once it is wanted; two switches for each part, some 10 microseconds.

import CKedis
import Synchronization

package final class BackgroundThread: @unchecked Sendable {
    // Sendable: see above; `turn` hands over from one to the other.

    private static let foreground: UInt32 = 0
    private static let background: UInt32 = 1
    private static let ended: UInt32 = 2
    /// So much time without getting more of a processor than one part in so many is too much.
    private static let starvingNanoseconds: UInt64 = 200_000_000
    private static let starvingShare: UInt64 = 20

    /// Who works, or that all is over.
    private let turn = Atomic<UInt32>(BackgroundThread.foreground)
    // Of who works.
    /// What the other one is asked for; nil when it is done.
    private var part: (() -> Void)?
    private var isStarted = false
    private var isRefused = false
    /// When the background was last told to go on, by who told it: it may be a while until it does.
    private var toldNanoseconds: UInt64 = 0
    /// What it wanted to work since it was last seen to be well, and had worked then.
    private var wantedNanoseconds: UInt64 = 0
    private var wellProcessorNanoseconds: UInt64 = 0

    /// What the background ever spent on processors, in nanoseconds.
    package private(set) var processorNanoseconds: UInt64 = 0

    /// Whether it gets no processor, so that the rest has to be done in the foreground.
    package private(set) var isStarved = false

    /// Whether nobody else wants a processor, so that there is nobody to yield to. Who has the work says so.
    package var isAlone = true

    /// Whether it yields to others, once it has done something.
    package var yields: Bool { isStarted && !isRefused }

    private init() {}

    /// Gives `body` a background for its work.
    package static func with<Result>(_ body: (BackgroundThread) -> Result) -> Result {
        let thread = BackgroundThread()
        defer { if thread.isStarted { thread.pass(ended) } }
        return body(thread)
    }

    // MARK: Parts

    /// Does a part in the foreground, wherever it is asked for.
    package func inForeground(_ part: () -> Void) {
        isInForeground ? part() : ask(Self.foreground, part)
    }

    /// Does a part in the background, if there is one.
    package func inBackground(_ part: () -> Void) {
        guard isInForeground, isStarted || start(), !isRefused else { return part() }
        ask(Self.background, part)
    }

    /// Whether the caller, who works, is in the foreground.
    package var isInForeground: Bool { isTurn(of: Self.foreground) }

    private func isTurn(of side: UInt32) -> Bool { turn.load(ordering: .relaxed) == side }

    /// Has the other side do a part. What it asks for meanwhile is done here.
    private func ask(_ other: UInt32, _ part: () -> Void) {
        withoutActuallyEscaping(part) { part in
            self.part = part
            handOver(to: other)
            while self.part != nil {
                runPart()
                handOver(to: other)
            }
        }
    }

    /// In a function of its own, so that nobody has a reference to the part when it is told to be done.
    @inline(never)
    private func runPart() {
        let part = self.part
        self.part = nil
        part?()
    }

    /// Returns when it is this side's turn again, or all is over.
    private func handOver(to other: UInt32) {
        if other == Self.background { toldNanoseconds = monotonicNanoseconds() } else { noteWorked() }
        pass(other)
        wait(while: other)
    }

    private func noteWorked() {
        processorNanoseconds = processorNanosecondsOfThread()
        wantedNanoseconds += monotonicNanoseconds() &- toldNanoseconds
        guard wantedNanoseconds > Self.starvingNanoseconds else { return }
        let worked = processorNanoseconds &- wellProcessorNanoseconds
        if worked < wantedNanoseconds / Self.starvingShare { isStarved = true }
        (wantedNanoseconds, wellProcessorNanoseconds) = (0, processorNanoseconds)
    }

    // MARK: The thread

    private func start() -> Bool {
        isStarted = startThread { [self] in
            wait(while: Self.foreground)
            if !isTurn(of: Self.ended) { isRefused = !kedis_yield_to_all_threads() }
            while !isTurn(of: Self.ended) {
                runPart()
                handOver(to: Self.foreground)
            }
        }
        return isStarted
    }

    private func pass(_ next: UInt32) {
        turn.store(next, ordering: .releasing)
        withUnsafePointer(to: turn) { kedis_futex_wake_one(UnsafeMutableRawPointer(mutating: $0)) }
    }

    private func wait(while current: UInt32) {
        while turn.load(ordering: .acquiring) == current {
            withUnsafePointer(to: turn) { kedis_futex_wait(UnsafeMutableRawPointer(mutating: $0), current) }
        }
    }
}
