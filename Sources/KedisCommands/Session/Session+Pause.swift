// A session whose client waits for the end of a pause (PauseGate.swift): the command that must wait and everything
// behind it stay in the input, and for its transport it is blocked as by BLPOP (Session+Blocking.swift).

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

extension Session {
    /// Whether `entry` has to wait for the end of a pause; the session then is to take nothing of its request.
    @inline(never)
    mutating func mustWaitSlowly(_ entry: UnsafePointer<CommandEntry>) -> Bool {
        engine.pause.postpones(entry, of: client, nowNanoseconds: engine.clock.monotonicNanoseconds())
    }

    /// Under the locks of the batch, while something is paused: cuts it before its first command that has to wait.
    @inline(never)
    mutating func cutBatchSlowly() {
        batch.keepsDueKeys = engine.pause.isActive(nowNanoseconds: engine.clock.monotonicNanoseconds())
        for index in 0..<batch.count where mustWaitSlowly(batch.items[index].entry) {
            let item = batch.items[index]
            batch.count = index
            keys.removeLast(from: item.firstKey)
            return postpone(item.entry, from: item.base)
        }
    }

    /// The client is to wait with the request at `start`; nil is the one that is being taken.
    mutating func postpone(_ entry: UnsafePointer<CommandEntry>, from start: UnsafePointer<UInt8>? = nil) {
        isPostponed = true
        client.pointee.record.lastCommand.store(entry.pointee.identifier, ordering: .relaxed)
        postponedStart = start
    }

    /// Enters the client among those who wait. Nothing is locked.
    @inline(never)
    mutating func enterPauseSlowly() {
        let record = client.pointee.record
        record.isBlocked.store(true, ordering: .relaxed)
        engine.pause.enter(record)
        // The pause may have ended meanwhile, and woken nobody.
        if !engine.pause.isActive(nowNanoseconds: engine.clock.monotonicNanoseconds()) {
            engine.pause.leave(record)
            record.wake()
        }
    }

    /// How much of `input` is executed, when the request at `position` and maybe some before it were not.
    @inline(never)
    mutating func takeBackSlowly(_ input: ByteView, position: Int) -> Int {
        enterPauseSlowly()
        parser.forget()
        partialArgumentCount = 0
        arguments.removeAll()
        guard let start = postponedStart, start >= input.base, start - input.base < input.count else { return position }
        return min(position, start - input.base)
    }

    /// The client goes on with what it waited with.
    mutating func endPostponement() {
        isPostponed = false
        postponedStart = nil
        client.pointee.record.isBlocked.store(false, ordering: .relaxed)
        engine.pause.leave(client.pointee.record)
    }
}
