// HyperLogLog: how many distinct elements were seen, estimated from 16384 registers with an error of 0.81 %.
//
// Works on the bytes of a string value, in the form in which Redis stores it, so that strings, dumps and replicas can
// be exchanged with it. Sources: Flajolet, Fusy, Gandouet and Meunier, "HyperLogLog" (2007); Heule, Nunkesser and Hall,
// "HyperLogLog in Practice" (2013) for the sparse form; Ertl, "New cardinality estimation algorithms for HyperLogLog
// sketches" (2017) for the estimate.
//
//      0        4          5          8                       16
//      ┌────────┬──────────┬──────────┬───────────────────────┬──────────────────────────── … ┐
//      │ "HYLL" │ encoding │ 3 unused │ cached cardinality    │ registers                     │
//      └────────┴──────────┴──────────┴───────────────────────┴──────────────────────────── … ┘
//
// The cardinality is little-endian; its top bit says that it is stale. Dense (encoding 0): 6 bits a register, lowest
// bits first, 12288 bytes. Sparse (encoding 1): runs, HyperLogLogSparse.swift.
//
// Ownership: none, all memory is the caller's. The bytes come from clients and may be anything: whoever has a view
// whose format is known (``HyperLogLog/format(of:)``) can call everything here; what the registers of a sparse one say
// is checked while they are read, and a damaged one gives nil or false. Cost: a dense merge is 512 steps of 32
// registers with vectors, 2048 of 8 without.

import CKedis

package enum HyperLogLog {
    package static let registerCount = 1 << indexBitCount
    package static let headerByteCount = 16
    package static let denseByteCount = headerByteCount + registerCount * 6 / 8
    /// A sparse one has at most two bytes for each register.
    package static let sparseByteCountMax = headerByteCount + 2 * registerCount
    static let indexBitCount = 14
    /// The bits of a hash that are left for the run of zeros.
    static let rankBitCount = 64 - indexBitCount

    package enum Format: UInt8, Sendable {
        case dense = 0
        case sparse = 1
    }

    private static let magic: StaticString = "HYLL"
    private static let hashSeed: UInt64 = 0xadc8_3b19

    // MARK: Header

    /// How the registers are stored, or nil when `bytes` are no HyperLogLog.
    package static func format(of bytes: ByteView) -> Format? {
        guard bytes.count >= headerByteCount, bytes[0..<4] == ByteView(magic), let format = Format(rawValue: bytes[4])
        else { return nil }
        return format == .sparse || bytes.count == denseByteCount ? format : nil
    }

    /// The cardinality that was computed last, or nil when registers have changed since. Of bytes with a format.
    package static func cachedCardinality(of bytes: ByteView) -> UInt64? {
        guard bytes[15] & 0x80 == 0 else { return nil }
        return UInt64(littleEndian: bytes.raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }

    package static func setCachedCardinality(_ cardinality: UInt64, in bytes: UnsafeMutablePointer<UInt8>) {
        UnsafeMutableRawPointer(bytes).storeBytes(of: cardinality.littleEndian, toByteOffset: 8, as: UInt64.self)
    }

    package static func markStale(_ bytes: UnsafeMutablePointer<UInt8>) { bytes[15] |= 0x80 }

    /// Writes a HyperLogLog that has seen nothing, sparse, into memory of at least 18 bytes; returns its length.
    package static func writeEmpty(to bytes: UnsafeMutablePointer<UInt8>) -> Int {
        bytes.update(repeating: 0, count: headerByteCount)
        for index in 0..<4 { bytes[index] = magic.utf8Start[index] }
        bytes[4] = Format.sparse.rawValue
        let registers = SparseRun.zeros(registerCount)
        registers.write(to: bytes + headerByteCount)
        return headerByteCount + registers.byteCount
    }

    // MARK: Elements

    /// What an element says: a register, and the rank (1 to 51) that the register must have at least.
    package struct Observation: Equatable, Sendable {
        package let index: Int
        package let rank: UInt8

        package init(index: Int, rank: UInt8) {
            assert(index >= 0 && index < registerCount && rank >= 1 && rank < 64)
            self.index = index
            self.rank = rank
        }

        /// The low bits of the hash choose the register; the rank is the place of the lowest one among the others.
        package init(_ element: ByteView) {
            let hash = murmurHash64A(element, seed: hashSeed)
            index = Int(truncatingIfNeeded: hash & UInt64(registerCount - 1))
            let rest = hash >> UInt64(indexBitCount) | 1 << UInt64(rankBitCount)
            rank = UInt8(truncatingIfNeeded: rest.trailingZeroBitCount + 1)
        }
    }

    // MARK: Dense registers

    /// The register at `index` of a dense one.
    package static func denseRegister(_ index: Int, in bytes: UnsafePointer<UInt8>) -> UInt8 {
        let (byte, shift) = densePlace(index)
        // The last register ends with its byte: nothing beyond it is read.
        let high = shift > 2 ? UInt16(bytes[byte + 1]) << 8 : 0
        return UInt8(truncatingIfNeeded: (UInt16(bytes[byte]) | high) >> shift) & 63
    }

    /// Raises a register of a dense one; false when it was as high. The cardinality's mark is the caller's.
    package static func raiseDense(_ observation: Observation, in bytes: UnsafeMutablePointer<UInt8>) -> Bool {
        guard denseRegister(observation.index, in: bytes) < observation.rank else { return false }
        let (byte, shift) = densePlace(observation.index)
        let mask = UInt16(63) << shift
        let value = UInt16(observation.rank) << shift
        bytes[byte] = bytes[byte] & ~UInt8(truncatingIfNeeded: mask) | UInt8(truncatingIfNeeded: value)
        if shift > 2 {
            bytes[byte + 1] =
                bytes[byte + 1] & ~UInt8(truncatingIfNeeded: mask >> 8) | UInt8(truncatingIfNeeded: value >> 8)
        }
        return true
    }

    /// The byte in the string where a register begins, and the bit in it.
    private static func densePlace(_ index: Int) -> (byte: Int, shift: UInt16) {
        assert(index >= 0 && index < registerCount)
        return (headerByteCount + index * 6 / 8, UInt16(truncatingIfNeeded: index * 6 & 7))
    }

    // MARK: Registers of a byte each

    /// Raises each of ``registerCount`` bytes to the register of `bytes`, which have a format; false when those are
    /// damaged, some bytes being raised then.
    package static func merge(_ bytes: ByteView, into registers: UnsafeMutablePointer<UInt8>) -> Bool {
        guard format(of: bytes) == .dense else { return mergeSparse(bytes, into: registers) }
        kedis_registers_merge(registers, bytes.base + headerByteCount)
        return true
    }

    /// What ``merge(_:into:)`` does with a dense one on processors without vectors: for tests.
    package static func mergeDenseInWords(_ bytes: ByteView, into registers: UnsafeMutablePointer<UInt8>) {
        kedis_registers_merge_words(registers, bytes.base + headerByteCount)
    }

    private static func mergeSparse(_ bytes: ByteView, into registers: UnsafeMutablePointer<UInt8>) -> Bool {
        forEachRun(of: bytes) { run, first in
            guard run.value > 0 else { return }
            for index in first..<first + run.length where registers[index] < run.value { registers[index] = run.value }
        }
    }

    /// Packs registers (below 64) behind the header of `bytes`, which have room for a dense one, and says so there.
    package static func writeDense(
        _ registers: UnsafePointer<UInt8>, to bytes: UnsafeMutablePointer<UInt8>
    ) {
        bytes[4] = Format.dense.rawValue
        kedis_registers_pack(bytes + headerByteCount, registers)
    }

    /// Calls `body` with the registers of `bytes`, which have a format, a byte each; nil when those are damaged.
    package static func withRegisters<Result>(
        of bytes: ByteView, _ body: (UnsafeMutablePointer<UInt8>) -> Result
    ) -> Result? {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: registerCount) { memory in
            let registers = memory.baseAddress.unsafelyUnwrapped
            registers.initialize(repeating: 0, count: registerCount)
            return merge(bytes, into: registers) ? body(registers) : nil
        }
    }
}
