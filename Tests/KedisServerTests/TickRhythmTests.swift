// Goal: the background looks every 10 ms while requests come or work is near, and seldom otherwise; a request in the
// slow rhythm ends it at once. Method: an event loop whose clock is moved by hand.

import NIOCore
import NIOEmbedded
import Synchronization
import Testing

@testable import KedisServer

@Suite("The rhythm of the background")
struct TickRhythmTests {
    private final class Work: Sendable {
        let tickCount = Atomic<Int>(0)
        let isIdle = Atomic<Bool>(true)
    }

    @Test("Ten times a second while nothing happens, every 10 ms as soon as something does")
    func rhythm() {
        let (loop, rhythm, work) = (EmbeddedEventLoop(), TickRhythm(), Work())
        rhythm.start(on: NIOLoop(loop)) {
            work.tickCount.add(1, ordering: .relaxed)
            return work.isIdle.load(ordering: .relaxed)
        }
        func ticks(in milliseconds: Int64) -> Int {
            let before = work.tickCount.load(ordering: .relaxed)
            for _ in 0..<milliseconds { loop.advanceTime(by: .milliseconds(1)) }
            return work.tickCount.load(ordering: .relaxed) - before
        }
        #expect(ticks(in: 9) == 0)
        #expect(ticks(in: 1) == 1)
        #expect(rhythm.isSlow)
        #expect(ticks(in: 1000) == 10)
        // A request: the next tick comes 10 ms later, and one more to see that no other followed.
        #expect(ticks(in: 37) == 0)
        rhythm.noteInput()
        #expect(!rhythm.isSlow)
        #expect(ticks(in: 10) == 1)
        #expect(ticks(in: 10) == 1)
        #expect(ticks(in: 99) == 0)
        // Requests all the time.
        for _ in 0..<10 {
            rhythm.noteInput()
            #expect(ticks(in: 10) == 1)
        }
        // Work that is near keeps the quick rhythm without any request.
        work.isIdle.store(false, ordering: .relaxed)
        #expect(ticks(in: 200) == 20)
        work.isIdle.store(true, ordering: .relaxed)
        _ = ticks(in: 20)
        #expect(rhythm.isSlow)
        rhythm.stop()
        #expect(ticks(in: 1000) == 0)
    }
}
