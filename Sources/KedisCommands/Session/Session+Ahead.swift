// Input that a session plans before it gets it: a transport that has read from several connections has the first
// commands of each planned, and executes them together (SessionGroup.swift).
//
//      planAhead(bytes) ─▶ maybe executed in a group ─▶ receive(the same bytes) goes on behind what was executed, or
//                                                        │  with what was planned, or from the start
//                                                        └▶ forgetPlan(), when they will not come
//
// Only short commands on keys are planned, of clients that nothing stands in the way of; the first other one ends the
// plan. What may change meanwhile (rules, states of the engine, the client's own state) is looked at again before
// anything is executed; if it has changed, nothing was planned. Ownership and threads: the session's. Invariant: the
// bytes stay where they are until one of the two ends of a plan, because the batch points into them. Cost: as planning
// in `receive`, which then is not done again.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

/// What is in the batch of input that the session will get.
struct AheadPlan {
    /// How long the input is that was planned; 0 for none.
    var byteCount = 0
    /// It was executed as well.
    var isExecuted = false

    @inline(__always)
    var isEmpty: Bool { byteCount == 0 }
}

extension Session {
    /// Takes the first commands of `bytes` into the batch, up to one that is not like nearly all. The caller gives the
    /// session the same bytes next, where they are.
    @inline(__always)
    package mutating func planAhead(_ bytes: UnsafeRawBufferPointer) {
        guard ahead.isEmpty, pending.isEmpty, !isBlocked, !isHeld, !isClosing, parser.isIdle else { return }
        assert(batch.count == 0 && partialArgumentCount == 0)
        limitInput()
        followAccess()
        batch.begin(conditions: engine.conditions)
        guard batch.conditions.isEmpty, client.pointee.conditions.isEmpty else { return }
        let input = ByteView(bytes)
        var position = 0
        while position < input.count, batch.count < Batch.capacity {
            let rest = input[position..<input.count]
            guard rest[0] == 0x2A else { break }
            let firstArgument = arguments.count
            guard case .request(let byteCount, let argumentCount) = parser.next(rest, into: &arguments) else {
                parser.forget()
                arguments.removeLast(from: firstArgument)
                break
            }
            guard planPlainly(base: rest.base, firstArgument: firstArgument, argumentCount: argumentCount) else {
                arguments.removeLast(from: firstArgument)
                break
            }
            position &+= byteCount
        }
        ahead = AheadPlan(byteCount: position)
    }

    /// Takes a short command on keys into the batch; false for any other.
    @inline(__always)
    private mutating func planPlainly(base: UnsafePointer<UInt8>, firstArgument: Int, argumentCount: Int) -> Bool {
        let list = arguments.list(from: firstArgument, count: argumentCount, base: base)
        guard let entry = names.command(list[0]), entry.pointee.isBatchable,
            entry.pointee.accepts(argumentCount: argumentCount), !entry.pointee.cost.mayTakeLong(list)
        else { return false }
        let firstKey = keys.count
        let stripes: StripeSet
        do throws(CommandError) {
            stripes = try plan(entry, list, in: store, into: &keys)
        } catch {
            return false
        }
        batch.append(
            Batch.Item(
                entry: entry, base: base, firstArgument: firstArgument, argumentCount: argumentCount,
                firstKey: firstKey, keyCount: keys.count - firstKey, stripes: stripes))
        return true
    }

    /// Whether what was planned may still be executed as it is.
    @inline(__always)
    var isPlanCurrent: Bool {
        batch.count > 0 && !ahead.isExecuted && engine.conditions == batch.conditions
            && client.pointee.conditions.isEmpty && !isBlocked && !isHeld && !isClosing
            && engine.access.generation.load(ordering: .relaxed) == client.pointee.access.generation
    }

    /// The input has come: from where on it is to be processed.
    @inline(__always)
    mutating func takeAhead() -> Int {
        let byteCount = ahead.byteCount
        if !ahead.isExecuted {
            // Others have executed something since.
            makeRoom()
            guard isPlanCurrent else {
                forgetPlan()
                return 0
            }
        }
        ahead = AheadPlan()
        if batch.count == Batch.capacity { flush() }
        return byteCount
    }

    /// The input has come and must wait: how much of it was executed.
    @inline(never)
    mutating func endAheadSlowly() -> Int {
        let executedByteCount = ahead.isExecuted ? ahead.byteCount : 0
        forgetPlan()
        if output.hasOverflowed { closeForOutputSlowly(isLimited: output.overflow == .limit) }
        return executedByteCount
    }

    /// The input will not come, or come from elsewhere.
    package mutating func forgetPlan() {
        guard !ahead.isEmpty else { return }
        if ahead.isExecuted { publish() }
        ahead = AheadPlan()
        emptyBatch()
        forgetArguments()
    }

    package var hasExecutedAhead: Bool { ahead.isExecuted }

    /// Executes what was planned, under the locks of a group. `interest` is what leaves groups.
    @inline(__always)
    mutating func executeAhead(held: StripeSet, _ interest: Interest, nowMilliseconds: Int64) {
        limitOutput()
        batch.nowMilliseconds = nowMilliseconds
        if !interest.isEmpty {
            batch.holdsReplies = interest.holdsReplies
            if interest.hasJournal, isChanging { beginJournalSlowly() }
        }
        _ = executePlanned(keyRange: 0..<keys.count, held: held, began: ticks)
        if batch.isJournalled { commitSlowly(held: held) }
        if batch.holdsReplies { noteNeededSlowly(concernsAll: false) }
        emptyBatch()
        forgetArguments()
        ahead.isExecuted = true
    }
}
