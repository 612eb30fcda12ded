// What a native loop waits for: sources, and the table that says which source an event is for.
//
// An event carries a token: the place in the table and the generation of that place. A source that is taken out while
// events for it are on their way leaves a place of another generation, so they reach nobody, whoever has the place or
// the descriptor by then.
//
// Ownership: the table keeps its sources. Threads: the loop's alone. Cost: 16 bytes a source; an event costs a
// comparison, and no reference is counted.

#if os(Linux)

import CKedis
import KedisCommands

/// Something that becomes ready: a socket, or one that listens.
class EventSource {
    /// Its place and generation, while the loop knows it.
    fileprivate(set) final var token: UInt64 = .max

    /// The system says that it is ready, with flags of `kedis_event_input` and so on.
    func isReady(_ flags: UInt32) {}

    /// The next round has begun: see ``NativeLoop/listForNextRound(_:)``.
    func goOn() {}

    /// Something was received for it, or its receive has ended (SystemRing.swift). True when the buffer is still
    /// needed, because what it has was put off. Loop and ring come along because one that is kept is counted for each
    /// use.
    func complete(_ completion: kedis_completion, on loop: NativeLoop, _ ring: SystemRing) -> Bool { false }

    /// See ReadAhead.swift: what was planned for it is about to be executed; and it executes what was read.
    func join(_ group: inout SessionGroup) {}
    func execute(_ input: UnsafeRawBufferPointer, on loop: NativeLoop) {}

    /// The round in which it was taken out is over: nothing of it is running.
    func wasRemoved() {}
}

struct EventSources: ~Copyable {
    private struct Entry {
        var source: Unmanaged<EventSource>?
        var generation: UInt32 = 0
        /// The next free place, -1 behind the last.
        var nextFree: Int32 = -1
    }

    private var entries: UnsafeMutablePointer<Entry>
    private var capacity = 64
    private var usedCount = 0
    private var firstFree: Int32 = -1

    init() { entries = .allocate(capacity: capacity) }

    deinit {
        for index in 0..<usedCount { entries[index].source?.release() }
        entries.deallocate()
    }

    /// The source that `token` was given for; nil when it was taken out since.
    @inline(__always)
    subscript(token: UInt64) -> Unmanaged<EventSource>? {
        let index = Int(truncatingIfNeeded: token & 0xFFFF_FFFF)
        let generation = UInt32(truncatingIfNeeded: token >> 32)
        guard index < usedCount, entries[index].generation == generation else { return nil }
        return entries[index].source
    }

    /// Gives a source a place, and its token.
    mutating func add(_ source: EventSource) {
        let index: Int
        if firstFree >= 0 {
            index = Int(firstFree)
            firstFree = entries[index].nextFree
        } else {
            if usedCount == capacity { growSlowly() }
            index = usedCount
            (entries + index).initialize(to: Entry())
            usedCount += 1
        }
        entries[index].source = Unmanaged.passRetained(source)
        source.token = UInt64(entries[index].generation) << 32 | UInt64(index)
    }

    /// Takes a source out, if it is there.
    mutating func remove(_ source: EventSource) {
        guard let found = self[source.token] else { return }
        let index = Int(truncatingIfNeeded: source.token & 0xFFFF_FFFF)
        entries[index].source = nil
        // The bits above it mark what is no source.
        entries[index].generation = (entries[index].generation &+ 1) & 0x3FFF_FFFF
        entries[index].nextFree = firstFree
        firstFree = Int32(truncatingIfNeeded: index)
        source.token = .max
        found.release()
    }

    @inline(never)
    private mutating func growSlowly() {
        let more = UnsafeMutablePointer<Entry>.allocate(capacity: 2 * capacity)
        more.moveInitialize(from: entries, count: usedCount)
        entries.deallocate()
        entries = more
        capacity *= 2
    }
}

#endif
