// Which rounds of an event loop are in the sample of stages: some rounds after a check, ten times a second.
//
//      round   the loop wakes up ─▶ reads one connection after the other ─▶ the round ends here
//
// All bytes of a round were there when it began, as far as anybody can tell: so waiting is counted from its first read.
//
// Ownership: one for each loop, `LoopClients` has it. Threads: the loop's alone, `@unchecked Sendable` because it is
// made elsewhere. Cost: a test for each read; a task and some readings of the clock in a round of the sample.

import KedisCommands
import Synchronization

final class LoopStages: @unchecked Sendable {
    // Sendable: everything but `loop` is touched only on the event loop.

    private let loop: any ServerLoop
    private let engine: Engine
    private var roundsLeft = 0
    /// The tick at which the round began that is sampled now; 0 when none is.
    private var startTicks: UInt64 = 0

    /// Rounds of the sample after a check.
    private static let roundsPerCheck = 8

    init(loop: any ServerLoop, engine: Engine) {
        self.loop = loop
        self.engine = engine
    }

    /// The next rounds are in the sample, if anybody wants one. Called by a task.
    func take() {
        guard engine.observability.samplesStages else { return }
        roundsLeft = Self.roundsPerCheck
    }

    /// This round and maybe some more are in the sample.
    @inline(__always)
    var isSampling: Bool { roundsLeft > 0 }

    /// A connection is read: since when its bytes were there, as a tick, or 0 when the round is not in the sample.
    @inline(__always)
    func noteRead() -> UInt64 { roundsLeft > 0 ? noteReadSlowly() : 0 }

    @inline(never)
    private func noteReadSlowly() -> UInt64 {
        guard startTicks == 0 else { return startTicks }
        startTicks = engine.clock.ticksNow
        loop.afterRound { [self] in
            startTicks = 0
            roundsLeft -= 1
        }
        return startTicks
    }
}

/// What a connection knows of a read that is in the sample: its replies have yet to be written.
struct StageWatch {
    private var executedTicks: UInt64 = 0
    private var commandCount = 0

    @inline(__always)
    var isOpen: Bool { executedTicks != 0 }

    /// The commands of a read have been executed.
    mutating func begin(_ engine: Engine, commandCount: Int) {
        if executedTicks == 0 { executedTicks = engine.clock.ticksNow }
        self.commandCount += commandCount
    }

    /// The system has taken all replies.
    mutating func end(_ engine: Engine) {
        let nanoseconds = engine.clock.nanoseconds(from: executedTicks, to: engine.clock.ticksNow)
        engine.observability.stages.note(.write, nanoseconds: nanoseconds, commandCount: commandCount)
        self = StageWatch()
    }
}
