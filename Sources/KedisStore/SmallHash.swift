// Hashes that fit their cells: packed entries in pairs, in the order in which the fields came.
//
//      ┌─────────────┬───────┬───────┬───────┬───────┬─ …
//      │ entry count │ field │ value │ field │ value │       bare entries: PackedEntry.swift
//      │ 2 bytes     │       │       │       │       │
//      └─────────────┴───────┴───────┴───────┴───────┴─ …
//
// Functions on memory of others. A field is spelled in one way only, so that two are equal when their entries are: see
// `isSound`. Cost: O(bytes) a search.

import CKedis
import KedisUtilities

/// When a hash is small: `hash-max-listpack-entries` and `hash-max-listpack-value`.
package struct HashLimits: Equatable, Sendable {
    package var fieldCountMax: Int
    /// Of a field or a value.
    package var byteCountMax: Int

    package init(fieldCountMax: Int = 512, byteCountMax: Int = 64) {
        self.fieldCountMax = fieldCountMax
        self.byteCountMax = byteCountMax
    }

    @inline(__always)
    func allow(_ field: ByteView, _ value: ByteView) -> Bool {
        field.count <= byteCountMax && value.count <= byteCountMax
    }
}

/// The packed entries of a field and its value.
struct SmallHashPair {
    let fieldAddress: UnsafeRawPointer
    let valueAddress: UnsafeRawPointer

    @inline(__always)
    init(at address: UnsafeRawPointer) {
        fieldAddress = address
        valueAddress = address + PackedEntry.bareByteCount(at: address)
    }

    var field: StringValue { PackedEntry.value(at: fieldAddress) }
    var value: StringValue { PackedEntry.value(at: valueAddress) }

    @inline(__always)
    var end: UnsafeRawPointer { valueAddress + PackedEntry.bareByteCount(at: valueAddress) }
}

struct SmallHash {
    static let countByteCount = 2

    let bytes: ByteView

    init(_ bytes: ByteView) { self.bytes = bytes }

    /// Two for each field.
    var entryCount: Int { Int(UnsafeRawPointer(bytes.base).loadUnaligned(as: UInt16.self)) }

    var fieldCount: Int { entryCount / 2 }

    /// The bare entries.
    var run: ByteView { bytes[SmallHash.countByteCount..<bytes.count] }

    private var start: UnsafeRawPointer { UnsafeRawPointer(bytes.base) + SmallHash.countByteCount }
    private var end: UnsafeRawPointer { UnsafeRawPointer(bytes.base) + bytes.count }

    /// From the beginning of the bytes.
    func offset(of address: UnsafeRawPointer) -> Int { address - UnsafeRawPointer(bytes.base) }

    @inline(__always)
    func forEach(_ body: (SmallHashPair) -> Bool) {
        var address = start
        let end = end
        while address < end {
            let pair = SmallHashPair(at: address)
            guard body(pair) else { return }
            address = pair.end
        }
    }

    @inline(__always)
    func find(_ field: ByteView) -> SmallHashPair? {
        var found: SmallHashPair?
        switch packedValue(field) {
        case .bytes(let bytes) where bytes.count < 64:
            // Short strings have a header of one byte, so most fields are passed over by looking at it.
            let form = 0x80 | UInt8(truncatingIfNeeded: bytes.count)
            forEach { pair in
                guard pair.fieldAddress.load(as: UInt8.self) == form,
                    kedis_equal(pair.fieldAddress + 1, bytes.base, bytes.count) != 0
                else { return true }
                found = pair
                return false
            }
        case .bytes(let bytes):
            forEach { pair in
                if case .bytes(let own) = pair.field, own == bytes { found = pair }
                return found == nil
            }
        case .integer(let integer):
            forEach { pair in
                if case .integer(let own) = pair.field, own == integer { found = pair }
                return found == nil
            }
        }
        return found
    }

    /// The pair at a position below ``fieldCount``.
    func pair(at position: Int) -> SmallHashPair {
        var pair = SmallHashPair(at: start)
        for _ in 0..<position { pair = SmallHashPair(at: pair.end) }
        return pair
    }

    /// Walks the hash and traps when something does not hold.
    func checkInvariants() {
        var count = 0
        var address = start
        while address < end {
            address += PackedEntry.bareByteCount(at: address)
            count += 1
        }
        precondition(address == end && count == entryCount, "a hash has the entries that are counted")
        precondition(count > 0 && count % 2 == 0, "fields have values")
        let whole = [UInt8](unsafeUninitializedCapacity: PackedEntry.completedByteCount(run)) { buffer, byteCount in
            byteCount = buffer.count
            if let base = buffer.baseAddress { PackedEntry.complete(run, to: base) }
        }
        precondition(whole.withUnsafeBytes { packedEntryCount(ByteView($0)) } == count, "entries are well formed")
    }

    // MARK: Foreign runs

    /// Whether a run of well-formed entries of another writer can be a small hash as it is: not of too many fields (how
    /// long they are does not matter, as in Redis), fields spelled as Kedis does, none there twice. O(bytes).
    static func isSound(_ run: ByteView, count: Int, limits: HashLimits) -> Bool {
        guard count / 2 <= limits.fieldCountMax, count <= Int(UInt16.max),
            PackedEntry.strippedByteCount(run) + countByteCount <= CellHeader.inlineByteCountMax
        else { return false }
        var isSound = true
        forEachPackedEntry(run) { value in
            guard isSound, case .bytes(let bytes) = value else { return }
            if bytes.count <= 20, parseInteger(bytes) != nil { isSound = false }
        }
        return isSound && !hasTwice(run)
    }

    /// Whether a field may be there twice.
    private static func hasTwice(_ run: ByteView) -> Bool {
        var hashes: [UInt64] = []
        var isField = true
        forEachPackedEntry(run) { value in
            if isField { hashes.append(value.withBytes { hashBytes($0, seed: HashSeed(0, 0)) }) }
            isField.toggle()
        }
        hashes.sort()
        return zip(hashes, hashes.dropFirst()).contains { $0 == $1 }
    }
}
