// A loop's ring of requests to the system (io_uring): all sockets are received from without asking for each, and the
// replies of a round leave with one call.
//
//   enter ─▶ completions: bytes in buffers of the ring ─▶ commands ─▶ sends are queued ─▶ submit ─▶ their results
//
// A receive stays with the system and takes a buffer of the ring whenever bytes come; the buffer goes back once its
// commands were executed. When no buffer is free, receives end and are begun anew. Sends never wait for room in their
// socket, so each is complete when `submit` comes back.
//
// Ownership: the loop's. Threads: the loop's alone, which has made it. Bounds: `bufferCount` buffers. Cost: a request
// is 64 bytes of shared memory, a completion 16.

#if os(Linux)

import CKedis
import KedisUtilities

final class SystemRing {
    private let ring: OpaquePointer
    /// Completions that are yet to be looked at, but for those of sends.
    private(set) var arrived: [kedis_completion] = []

    private static let requestCount: UInt32 = 512
    private static let bufferCount: UInt32 = 256
    private static let bufferByteCount: UInt32 = 16 << 10

    /// What tokens of requests are about; sources have those without such a bit (EventSources.swift).
    private static let sendMark: UInt64 = 1 << 63
    static let eventsToken: UInt64 = 1 << 62
    private static let cancelToken = UInt64.max

    /// Nil with `errno` where there is no such thing, or it is not permitted.
    init?() {
        guard let ring = kedis_ring_make(Self.requestCount, Self.bufferCount, Self.bufferByteCount) else {
            return nil
        }
        self.ring = ring
    }

    deinit { kedis_ring_free(ring) }

    /// Whether this process may have one; `errno` otherwise.
    static var isUsable: Bool { SystemRing().map { kedis_ring_enter($0.ring, 0, 0) } ?? false }

    private func makeRoom() {
        if !kedis_ring_has_room(ring) { submit() }
    }

    // MARK: Receiving

    /// Receives until a completion says that there is no more.
    func receive(_ descriptor: Int32, token: UInt64) {
        makeRoom()
        kedis_ring_receive(ring, descriptor, token)
    }

    /// Ends the receive with this token: its last completion follows.
    func cancel(token: UInt64) {
        makeRoom()
        kedis_ring_cancel(ring, token)
    }

    /// Tells with ``eventsToken`` when an epoll instance has events, each time that it gets some.
    func watch(_ epoll: Int32) {
        makeRoom()
        kedis_ring_poll(ring, epoll, Self.eventsToken)
    }

    /// What was received with a completion, until its buffer is given back.
    @inline(__always)
    func bytes(_ completion: kedis_completion) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: kedis_ring_buffer(ring, completion.buffer), count: Int(completion.result))
    }

    @inline(__always)
    func giveBack(buffer: Int32) { kedis_ring_give_back(ring, buffer) }

    // MARK: Waiting

    /// Hands over what was queued and waits until something has completed, or so many nanoseconds have passed, for
    /// ever when they are negative. The first `gathering` of these it waits for so many completions as are `enough`.
    func wait(nanoseconds: Int64, gathering: UInt64 = 0, enough: Int = 1) {
        if gathering > 0, nanoseconds != 0 {
            _ = kedis_ring_gather(ring, UInt32(truncatingIfNeeded: enough), gathering, nanoseconds)
        } else {
            _ = kedis_ring_enter(ring, nanoseconds == 0 ? 0 : 1, nanoseconds)
        }
        collect { _, _ in }
    }

    /// The first ones were looked at.
    func removeArrived(_ count: Int) {
        if count == arrived.count { arrived.removeAll(keepingCapacity: true) } else { arrived.removeFirst(count) }
    }

    /// Takes all completions; sends go to `sent`, and how many those were is returned.
    @discardableResult @inline(__always)
    private func collect(_ sent: (_ token: Int, _ result: Int) -> Void) -> Int {
        let count = kedis_ring_completion_count(ring)
        var sentCount = 0
        for index in 0..<count {
            let completion = kedis_ring_completion(ring, index)
            if completion.token == Self.cancelToken { continue }
            if completion.token & Self.sendMark != 0 {
                sent(Int(truncatingIfNeeded: completion.token & ~Self.sendMark), Int(completion.result))
                sentCount += 1
            } else {
                arrived.append(completion)
            }
        }
        kedis_ring_remove_completions(ring, count)
        return sentCount
    }

    /// Hands over all that was queued: the system takes nothing only while it has no memory.
    @inline(never)
    func submit() {
        repeat {
            _ = kedis_ring_enter(ring, 0, 0)
            collect { _, _ in }
        } while kedis_ring_is_pending(ring)
    }

    // MARK: Sending

    /// See ``ServerLoop/sendTogether(count:request:result:)``.
    @inline(__always)
    func sendTogether(count: Int, request: (Int) -> SendRequest?, result: (Int, Int) -> Void) {
        var index = 0
        while index < count {
            makeRoom()
            var queuedCount = 0
            while index < count, kedis_ring_has_room(ring) {
                if let one = request(index) {
                    kedis_ring_send(
                        ring, one.descriptor, one.bytes.base, UInt32(truncatingIfNeeded: one.bytes.count),
                        Self.sendMark | UInt64(truncatingIfNeeded: index))
                    queuedCount += 1
                }
                index += 1
            }
            _ = kedis_ring_submit(ring)
            queuedCount -= collect(result)
            while queuedCount > 0 {
                // Completions that found no room come only to who waits; and what the system did not take is offered
                // again.
                _ = kedis_ring_enter(ring, 0, 0)
                queuedCount -= collect(result)
            }
        }
    }
}

#endif
