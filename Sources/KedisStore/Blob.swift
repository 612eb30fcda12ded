// A run of bytes outside the arena: strings from 16 KiB, keys from 1 KiB. A cell holds its address.
//
//      0            8            16           24           32
//      ┌────────────┬────────────┬────────────┬────────────┬──────────── … ┐
//      │ references │ bytes      │ capacity   │ hash       │ content       │
//      └────────────┴────────────┴────────────┴────────────┴──────────── … ┘
//
// The hash is a key's: what splits a segment hashes all its keys again, which must not take longer with long keys.
//
// Ownership: counted, because copies of a key share its blob until one of them is changed (`isUnique`). The count is
// atomic: two stripes can hold the same blob. The content is changed only by the one holder, under its stripe's lock.
// Memory is malloc's; freeing more than 1 MiB is background work (Reclaimer.swift).

import CKedis
import KedisUtilities
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

struct Blob {
    private struct Header: ~Copyable {
        let references: Atomic<Int>
        var byteCount: Int
        var capacity: Int
        var hash: UInt64
    }

    private static let headerByteCount = 32
    /// From this size on a value is a blob, and a key.
    static let valueByteCountMin = 16 << 10
    static let keyByteCountMin = 1 << 10

    let address: UnsafeMutableRawPointer

    init(_ address: UnsafeMutableRawPointer) { self.address = address }

    /// A blob with one reference, its content undefined or zero; nil when memory is exhausted. Zeroes cost nothing in
    /// large ones: they come so from the system.
    static func make(
        byteCount: Int, capacity: Int, isZeroed: Bool = false, from source: UnsafeMutablePointer<MemorySource>
    ) -> Blob? {
        assert(capacity >= byteCount)
        let (total, overflow) = capacity.addingReportingOverflow(headerByteCount)
        guard !overflow, source.pointee.reserve(total) else { return nil }
        guard let address = isZeroed ? calloc(1, total) : malloc(total) else {
            source.pointee.release(total)
            return nil
        }
        address.assumingMemoryBound(to: Header.self)
            .initialize(to: Header(references: Atomic(1), byteCount: byteCount, capacity: capacity, hash: 0))
        return Blob(address)
    }

    private var header: UnsafeMutablePointer<Header> { address.assumingMemoryBound(to: Header.self) }

    var byteCount: Int {
        get { header.pointee.byteCount }
        nonmutating set { header.pointee.byteCount = newValue }
    }

    var capacity: Int { header.pointee.capacity }

    /// Of a blob that is a key.
    var hash: UInt64 {
        get { header.pointee.hash }
        nonmutating set { header.pointee.hash = newValue }
    }

    var content: UnsafeMutableRawPointer { address + Blob.headerByteCount }

    var view: ByteView { ByteView(base: content.assumingMemoryBound(to: UInt8.self), count: byteCount) }

    /// What it takes from the allocator, in bytes.
    var allocatedByteCount: Int { Blob.headerByteCount + capacity + 8 }

    /// Whether nobody else holds it, so that it may be changed.
    var isUnique: Bool { header.pointee.references.load(ordering: .acquiring) == 1 }

    func retain() { header.pointee.references.wrappingAdd(1, ordering: .relaxed) }

    /// Drops a reference; true when it was the last one, and the caller frees the blob.
    func dropReference() -> Bool {
        header.pointee.references.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0
    }

    /// Frees a blob without references.
    func deallocate(to source: UnsafeMutablePointer<MemorySource>) {
        source.pointee.release(Blob.headerByteCount + capacity)
        free(address)
    }

    // What the reclaimer notes in a blob that waits to be freed, whose content and references are gone.

    /// The blob behind it.
    var nextWaiting: Blob? {
        get { UnsafeMutableRawPointer(bitPattern: header.pointee.byteCount).map { Blob($0) } }
        nonmutating set { header.pointee.byteCount = newValue.map { Int(bitPattern: $0.address) } ?? 0 }
    }

    /// How far its pages were given back.
    var discardedByteCount: Int {
        get { header.pointee.references.load(ordering: .relaxed) }
        nonmutating set { header.pointee.references.store(newValue, ordering: .relaxed) }
    }

    /// Gives the pages in the middle of a large blob without references back to the system, `limit` bytes from
    /// `offset`; returns how far it is, or nil at the end. What is left is small to free.
    func discard(from offset: Int, limit: Int) -> Int? {
        let page = MemorySource.pageByteCount
        let start = (Int(bitPattern: address) + Blob.headerByteCount + page - 1) & ~(page - 1)
        let end = (Int(bitPattern: address) + Blob.headerByteCount + capacity) & ~(page - 1)
        let from = start + offset
        guard from < end, let pointer = UnsafeMutableRawPointer(bitPattern: from) else { return nil }
        let count = min(limit, end - from)
        kedis_discard(pointer, count)
        return offset + count
    }

    /// The same content in a block with room for `capacity` bytes, moved; nil when memory is exhausted, the blob then
    /// being as it was. The blob is unique.
    func resized(capacity: Int, from source: UnsafeMutablePointer<MemorySource>) -> Blob? {
        let added = capacity - self.capacity
        if added > 0, !source.pointee.reserve(added) { return nil }
        guard let moved = realloc(address, Blob.headerByteCount + capacity) else {
            if added > 0 { source.pointee.release(added) }
            return nil
        }
        if added < 0 { source.pointee.release(-added) }
        let blob = Blob(moved)
        blob.header.pointee.capacity = capacity
        return blob
    }
}
