// A connection's socket on a loop with a ring: bytes come in buffers of the ring, without a read.
//
//   receive, once ─▶ completion with bytes ─▶ commands            nothing is to be read: what has come is kept
//        ▲                  the last one: is begun anew ┘           (`unread`), and the receive is cancelled
//
// Ownership and threads: as NativeSocket. Invariants: bytes go to the connection in the order in which they came: at
// most one completion of a socket is put off (ReadAhead.swift), and nothing passes those that are kept. A descriptor is
// closed only when the system has taken all requests that name it, for another socket may have its number next.
// Bounds: a round executes what one read may take; what comes until a cancellation holds is at most what the ring has
// buffers for.

#if os(Linux)

import CKedis
import KedisCommands
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

final class RingSocket: NativeSocket {
    /// A receive is with the system, and whether it was cancelled: a last completion follows.
    private var isArmed = false
    private var isCancelled = false
    /// The round in which something was executed last, and how many bytes in it.
    private var roundNumber: UInt64 = 0
    private var roundByteCount = 0
    /// The loop has a completion whose commands were put off.
    private var isPutOff = false
    /// Bytes that came while nothing was to be read.
    private var unread = ByteQueue()
    /// How the peer's side has ended: 0, or an error's number, negative.
    private var end: Int32?
    /// Epoll tells when the socket takes output again.
    private var isOutputWatched = false

    private var ring: SystemRing? { loop.ring }

    override func startReceiving() -> Bool {
        loop.add(self)
        if let ring { arm(ring) }
        return true
    }

    /// Receives, unless what has come before waits, or that is done already.
    private func arm(_ ring: SystemRing) {
        guard !isArmed, end == nil, isReading, unread.byteCount == 0, descriptor >= 0 else { return }
        isArmed = true
        isCancelled = false
        ring.receive(descriptor, token: token)
    }

    private func cancel() {
        guard isArmed, !isCancelled, let ring else { return }
        isCancelled = true
        ring.cancel(token: token)
    }

    override func stopReceiving() {
        if isOutputWatched { loop.suspend(descriptor) }
        guard isArmed else { return }
        cancel()
        ring?.submit()
    }

    // MARK: Input

    override func complete(_ completion: kedis_completion, on loop: NativeLoop, _ ring: SystemRing) -> Bool {
        if isPutOff { loop.executeReads() }
        if !completion.has_more { isArmed = false }
        guard descriptor >= 0 else { return false }
        if completion.result > 0 { return take(completion, loop, ring) }
        if !Self.isPassing(completion.result) {
            end = completion.result
            if unread.byteCount == 0, isReading { finish() }
        } else {
            arm(ring)
        }
        return false
    }

    /// Ends a receive, but says nothing about the connection.
    private static func isPassing(_ result: Int32) -> Bool {
        switch -result {
        case ENOBUFS, ECANCELED, EINTR, EAGAIN: true
        default: false
        }
    }

    /// True when the buffer is still needed.
    @inline(__always)
    private func take(_ completion: kedis_completion, _ loop: NativeLoop, _ ring: SystemRing) -> Bool {
        let input = ring.bytes(completion)
        guard isReading, unread.byteCount == 0, hasTurn(byteCount: input.count, loop) else {
            keep(input)
            return false
        }
        arm(ring)
        if loop.putOff(self, input, buffer: completion.buffer) {
            isPutOff = true
            connection.planAhead(input)
            return true
        }
        connection.receive(input)
        connection.readIsComplete()
        return false
    }

    /// A connection gets as much of a round as one that reads.
    @inline(__always)
    private func hasTurn(byteCount: Int, _ loop: NativeLoop) -> Bool {
        if roundNumber != loop.roundNumber {
            roundNumber = loop.roundNumber
            roundByteCount = 0
        }
        roundByteCount += byteCount
        return roundByteCount <= ReadAhead.readByteCountMax
    }

    override func join(_ group: inout SessionGroup) {
        if isReading, unread.byteCount == 0 { connection.join(&group) }
    }

    override func execute(_ input: UnsafeRawBufferPointer, on loop: NativeLoop) {
        isPutOff = false
        guard isReading && unread.byteCount == 0 || connection.session.pointee.hasExecutedAhead else {
            connection.session.pointee.forgetPlan()
            return keep(input)
        }
        connection.receive(input)
        connection.readIsComplete()
    }

    /// What comes behind it has to wait, so the system is to keep it.
    @inline(never)
    private func keep(_ input: UnsafeRawBufferPointer) {
        guard unread.append(ByteView(input)) else { return connection.close() }
        cancel()
        if isReading { goOnLater(kedis_event_input) }
    }

    /// The peer has ended its side, or the connection is broken.
    private func finish() {
        if end == 0 { connection.peerHasEnded() } else { connection.close() }
    }

    override func readingHasChanged() {
        guard isReading else { return cancel() }
        if unread.byteCount > 0 || end != nil { goOnLater(kedis_event_input) } else if let ring { arm(ring) }
    }

    /// Its turn has come again, or the connection is broken.
    override func read(_ flags: UInt32) {
        guard flags & kedis_event_input != 0 else { return leaveUnread(flags) }
        guard isReading, descriptor >= 0 else { return }
        let next = unread.next
        if next.count > 0 {
            let count = min(next.count, ReadAhead.readByteCountMax)
            connection.receive(next[0..<count].raw)
            unread.removeFirst(count)
            connection.readIsComplete()
        }
        guard isReading, descriptor >= 0 else { return }
        if unread.byteCount > 0 { return goOnLater(kedis_event_input) }
        if end != nil { finish() } else if let ring { arm(ring) }
    }

    // MARK: Output

    override func queue(_ bytes: ByteView) -> Bool {
        guard super.queue(bytes) else { return false }
        if !isOutputWatched { isOutputWatched = loop.watchOutput(self, descriptor) }
        return isOutputWatched
    }
}

#endif
