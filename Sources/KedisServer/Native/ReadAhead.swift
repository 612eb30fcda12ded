// Short reads of one round whose commands wait for some more reads, so that all are executed together and their cache
// misses overlap (KedisCommands/Session/SessionGroup.swift).
//
//   read a ─▶ plan a ─▶ read b ─▶ plan b … ─▶ execute a, b, … as a group ─▶ go on with the rest of a, of b, …
//
// Ownership: the loop's. Threads: the loop's. Bounds: `countMax` reads of `byteCountMax` bytes, of one round. Measured
// (2-core EPYC, Linux 6.18, 2026-11): with a million keys and 50 connections that send one request at a time, a tenth
// of the server's time was the lookup's cache misses.

#if os(Linux)

import KedisCommands

struct ReadAhead: ~Copyable {
    struct Read {
        let token: UInt64
        let start: UnsafeMutableRawPointer
        let byteCount: Int
        /// Of the loop's ring, -1 without one.
        let buffer: Int32
    }

    /// What one read takes at most, and so what a connection gets of a round.
    static let readByteCountMax = 64 << 10
    /// The longest read that waits, about a batch of short requests: others have cache misses of their own to overlap,
    /// or values that take longer than a lookup.
    static let byteCountMax = 2048
    static let countMax = SessionGroup.countMax

    private let buffer: UnsafeMutableRawPointer
    private let reads: UnsafeMutablePointer<Read>
    private(set) var count = 0
    /// Where the next read goes.
    private(set) var room: UnsafeMutableRawPointer

    init() {
        buffer = .allocate(byteCount: Self.readByteCountMax + Self.countMax * Self.byteCountMax, alignment: 64)
        reads = .allocate(capacity: Self.countMax)
        room = buffer
    }

    deinit {
        buffer.deallocate()
        reads.deallocate()
    }

    /// Puts off what was read into `room`.
    @inline(__always)
    mutating func add(token: UInt64, byteCount: Int) {
        add(Read(token: token, start: room, byteCount: byteCount, buffer: -1))
        room += (byteCount + 63) & ~63
    }

    @inline(__always)
    mutating func add(_ read: Read) {
        (reads + count).initialize(to: read)
        count += 1
    }

    @inline(__always)
    subscript(index: Int) -> Read { reads[index] }

    mutating func removeAll() {
        count = 0
        room = buffer
    }
}

#endif
