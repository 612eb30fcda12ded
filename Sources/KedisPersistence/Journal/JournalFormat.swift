// The bytes of the journal: names of files, the header of a segment, the header of a record. docs/formats/journal.md
// is the same as a page.
//
//     segment   ┌ header 64 ─┬ record ┬ record ┬ … ┬ zeros ┐
//     record    ┌ length 4 ┬ checksum 4 ┬ sequence 8 ┬ milliseconds 8 ┬ durable 8 ┐
//               └ database 4 ┬ flags 1 ┬ mark 3 ┬ payload ─────────────────────────┘
//
// All numbers are little-endian. The checksum of a record begins with that of the journal's identifier, and its mark is
// three bytes of it: nothing that a client has stored, and no record of another journal, passes for a record of this
// one. Plain values without ownership; any thread.

import KedisUtilities

/// The random bytes that all segments of a journal have in common.
package struct JournalIdentifier: Equatable, Sendable {
    package static let byteCount = 16

    let low: UInt64
    let high: UInt64

    /// From 16 bytes.
    init(_ bytes: ByteView) {
        assert(bytes.count == Self.byteCount)
        low = bytes.littleEndian(at: 0)
        high = bytes.littleEndian(at: 8)
    }

    package init(low: UInt64, high: UInt64) {
        self.low = low
        self.high = high
    }

    /// A new one.
    package static func random() -> JournalIdentifier { JournalIdentifier(low: systemEntropy(), high: systemEntropy()) }

    /// Twenty hexadecimal digits of it, for snapshots to name it by.
    var text: String {
        func digits(_ number: UInt64, _ count: Int) -> String {
            let text = String(number, radix: 16)
            return (String(repeating: "0", count: max(0, count - text.utf8.count)) + text).suffix(count).description
        }
        return digits(low, 16) + digits(high, 4)
    }

    /// What the checksum of every record begins with.
    var seed: CRC32C {
        var crc = CRC32C()
        withUnsafeBytes(of: (low.littleEndian, high.littleEndian)) { crc.update(ByteView($0)) }
        return crc
    }

    /// Three bytes, shifted to where they stand beside the flags.
    var mark: UInt32 { UInt32(truncatingIfNeeded: low) << 8 }
}

/// What a record says about itself beside its payload.
struct RecordFlags {
    /// The last thing in a segment whose journal was closed: all records before are on disk.
    static let closing: UInt8 = 1
    /// The last thing in a segment that has a successor, which begins with this sequence.
    static let continued: UInt8 = 2
    static let known: UInt8 = 3
}

/// The 40 bytes in front of a payload.
struct RecordHeader: Equatable {
    static let byteCount = 40
    /// No payload is longer: 2 GiB.
    static let payloadByteCountMax = 1 << 31

    var payloadByteCount: Int
    var checksum: UInt32 = 0
    var sequence: UInt64
    var milliseconds: Int64
    /// The highest sequence that was known to be on disk when this was encoded.
    var durable: UInt64
    var database: UInt32
    var flags: UInt8
    var mark: UInt32

    var byteCount: Int { Self.byteCount + payloadByteCount }

    init(
        payloadByteCount: Int, sequence: UInt64, milliseconds: Int64, durable: UInt64, database: UInt32, flags: UInt8,
        mark: UInt32
    ) {
        self.payloadByteCount = payloadByteCount
        self.sequence = sequence
        self.milliseconds = milliseconds
        self.durable = durable
        self.database = database
        self.flags = flags
        self.mark = mark
    }

    /// Reads 40 bytes, whatever they say.
    init(_ bytes: ByteView) {
        assert(bytes.count >= Self.byteCount)
        payloadByteCount = Int(bytes.littleEndian(at: 0) as UInt32)
        checksum = bytes.littleEndian(at: 4)
        sequence = bytes.littleEndian(at: 8)
        milliseconds = bytes.littleEndian(at: 16)
        durable = bytes.littleEndian(at: 24)
        database = bytes.littleEndian(at: 32)
        let word: UInt32 = bytes.littleEndian(at: 36)
        flags = UInt8(truncatingIfNeeded: word)
        mark = word & ~0xff
    }

    /// Whether these can be the fields of a record of the journal with this mark, `room` bytes being left from its
    /// first byte on. Cheap: the checksum is not looked at.
    func isPlausible(mark expectedMark: UInt32, room: Int) -> Bool {
        mark == expectedMark && payloadByteCount <= Self.payloadByteCountMax && byteCount <= room && sequence > durable
            && flags & ~RecordFlags.known == 0 && (flags == 0 || payloadByteCount == 0)
    }

    /// Writes the 40 bytes. `crc` is the checksum so far: the identifier, then the payload.
    func encode(to target: UnsafeMutableRawPointer, continuing crc: CRC32C) {
        target.storeBytes(of: UInt32(truncatingIfNeeded: payloadByteCount).littleEndian, as: UInt32.self)
        target.storeBytes(of: sequence.littleEndian, toByteOffset: 8, as: UInt64.self)
        target.storeBytes(of: milliseconds.littleEndian, toByteOffset: 16, as: Int64.self)
        target.storeBytes(of: durable.littleEndian, toByteOffset: 24, as: UInt64.self)
        target.storeBytes(of: database.littleEndian, toByteOffset: 32, as: UInt32.self)
        target.storeBytes(of: (mark | UInt32(flags)).littleEndian, toByteOffset: 36, as: UInt32.self)
        let checksum = Self.checksum(of: UnsafeRawPointer(target), continuing: crc)
        target.storeBytes(of: checksum.littleEndian, toByteOffset: 4, as: UInt32.self)
    }

    /// The bytes of a record without a payload: a mark.
    func markBytes(continuing crc: CRC32C) -> [UInt8] {
        assert(payloadByteCount == 0)
        return [UInt8](unsafeUninitializedCapacity: Self.byteCount) { buffer, count in
            if let base = buffer.baseAddress { encode(to: base, continuing: crc) }
            count = Self.byteCount
        }
    }

    /// The checksum of a record whose header lies at `header`: identifier, payload, then the header's other fields. The
    /// payload comes before the fields so that it can be summed up before the sequence is known.
    static func checksum(of header: UnsafeRawPointer, continuing crc: CRC32C) -> UInt32 {
        var crc = crc
        let view = ByteView(UnsafeRawBufferPointer(start: header, count: byteCount))
        crc.update(view[8..<byteCount])
        crc.update(view[0..<4])
        return crc.value
    }
}

/// The 64 bytes that a segment begins with. A segment takes its name only when they are on disk, so a segment whose
/// header is not right is damaged.
struct SegmentHeader: Equatable {
    static let byteCount = 64
    static let magic: UInt64 = 0x4c4e_4a53_4944_454b  // "KEDISJNL"
    static let version: UInt32 = 1
    /// No sequence is higher, so that sums of them cannot overflow.
    static let sequenceMax: UInt64 = 1 << 62

    var identifier: JournalIdentifier
    /// The sequence of its first record. All records before it are on disk: a segment is begun only then.
    var firstSequence: UInt64
    var createdMilliseconds: Int64
    /// The records up to this one that the segment holds were on disk before it had its name.
    var durable: UInt64

    /// Why bytes are no header.
    enum Fault: Error, Equatable {
        case damaged
        case version(UInt32)
    }

    init(identifier: JournalIdentifier, firstSequence: UInt64, createdMilliseconds: Int64, durable: UInt64) {
        self.identifier = identifier
        self.firstSequence = firstSequence
        self.createdMilliseconds = createdMilliseconds
        self.durable = durable
    }

    init(_ bytes: ByteView) throws(Fault) {
        guard bytes.count >= Self.byteCount, bytes.littleEndian(at: 0) == Self.magic else { throw .damaged }
        var crc = CRC32C()
        crc.update(bytes[0..<60])
        guard crc.value == bytes.littleEndian(at: 60) as UInt32 else { throw .damaged }
        let version: UInt32 = bytes.littleEndian(at: 8)
        guard version == Self.version else { throw .version(version) }
        identifier = JournalIdentifier(bytes[16..<32])
        firstSequence = bytes.littleEndian(at: 32)
        createdMilliseconds = bytes.littleEndian(at: 40)
        durable = bytes.littleEndian(at: 48)
        guard firstSequence > 0, firstSequence <= Self.sequenceMax, durable < Self.sequenceMax else { throw .damaged }
    }

    var bytes: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Self.byteCount) { buffer, count in
            let target = UnsafeMutableRawBufferPointer(buffer)
            target.initializeMemory(as: UInt8.self, repeating: 0)
            target.storeBytes(of: Self.magic.littleEndian, as: UInt64.self)
            target.storeBytes(of: Self.version.littleEndian, toByteOffset: 8, as: UInt32.self)
            target.storeBytes(of: identifier.low.littleEndian, toByteOffset: 16, as: UInt64.self)
            target.storeBytes(of: identifier.high.littleEndian, toByteOffset: 24, as: UInt64.self)
            target.storeBytes(of: firstSequence.littleEndian, toByteOffset: 32, as: UInt64.self)
            target.storeBytes(of: createdMilliseconds.littleEndian, toByteOffset: 40, as: Int64.self)
            target.storeBytes(of: durable.littleEndian, toByteOffset: 48, as: UInt64.self)
            var crc = CRC32C()
            crc.update(ByteView(UnsafeRawBufferPointer(rebasing: target[..<60])))
            target.storeBytes(of: crc.value.littleEndian, toByteOffset: 60, as: UInt32.self)
            count = Self.byteCount
        }
    }
}

/// The names of the journal's files.
enum JournalNames {
    /// `journal-00000000000000000001.kjl`: a segment and the sequence of its first record.
    static func segment(_ firstSequence: UInt64) -> String { "journal-\(digits(firstSequence)).kjl" }

    /// `base-00000000000000000100.rdb`: the state after the record with this sequence.
    static func base(_ sequence: UInt64) -> String { "base-\(digits(sequence)).rdb" }

    /// `base-00000000000000000100.awaited`: what follows this sequence counts only when a base of it, or of a later
    /// one, is there (JournalGeneration.swift).
    static func awaited(_ sequence: UInt64) -> String { "base-\(digits(sequence)).awaited" }

    static func segmentSequence(_ name: String) -> UInt64? { sequence(name, "journal-", ".kjl") }

    /// Half of all sequences are left for what follows a base, whatever its name says.
    static func baseSequence(_ name: String) -> UInt64? {
        sequence(name, "base-", ".rdb").flatMap { $0 <= SegmentHeader.sequenceMax / 2 ? $0 : nil }
    }

    static func awaitedSequence(_ name: String) -> UInt64? {
        sequence(name, "base-", ".awaited").flatMap { $0 <= SegmentHeader.sequenceMax / 2 ? $0 : nil }
    }

    /// What ``ReplacementFile`` calls a file until it is whole.
    static func isTemporary(_ name: String) -> Bool {
        name.hasPrefix("temp-") && (name.hasSuffix(".kjl") || name.hasSuffix(".rdb"))
    }

    private static func digits(_ sequence: UInt64) -> String {
        let text = String(sequence)
        return String(repeating: "0", count: 20 - text.utf8.count) + text
    }

    private static func sequence(_ name: String, _ prefix: String, _ suffix: String) -> UInt64? {
        guard name.hasPrefix(prefix), name.hasSuffix(suffix) else { return nil }
        let digits = name.utf8.dropFirst(prefix.utf8.count).dropLast(suffix.utf8.count)
        guard digits.count == 20, digits.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
        return UInt64(String(decoding: digits, as: UTF8.self)).flatMap { $0 <= SegmentHeader.sequenceMax ? $0 : nil }
    }
}

/// The path of the base snapshot of `sequence` in a journal's directory: the state after the record with that sequence.
/// Whoever writes it (through ``ReplacementFile``) does so when the records up to it are on disk.
package func journalBasePath(directory: String, sequence: UInt64) -> String {
    "\(directory)/\(JournalNames.base(sequence))"
}

extension ByteView {
    /// The number at `offset`, all of whose bytes must lie in the view.
    @inline(__always)
    func littleEndian<Number: FixedWidthInteger & BitwiseCopyable>(at offset: Int) -> Number {
        assert(offset >= 0 && offset + MemoryLayout<Number>.size <= count)
        return Number(littleEndian: raw.loadUnaligned(fromByteOffset: offset, as: Number.self))
    }
}
