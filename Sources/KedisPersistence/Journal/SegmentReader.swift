// Reading one segment: its header, its records, and what is intact behind a place where it cannot be read.
//
// Owns the open file and a window of its bytes. One thread. Memory: 256 KiB, or the longest record while it is read.
// Nothing in the file is trusted: a length counts only when it fits the file, a record only when its checksum is right.

import KedisUtilities

struct SegmentReader: ~Copyable {
    static let windowByteCount = 256 << 10

    enum Read {
        /// An intact record of any sequence, and all its bytes. The view is valid until the reader is used again.
        case record(RecordHeader, bytes: ByteView)
        /// The file ends here.
        case end
        case unreadable
    }

    let path: String
    let byteCount: Int
    private let file: FileHandle
    private let fileSystem: FileSystem
    private var window: UnsafeMutableRawPointer
    private var windowCapacity = SegmentReader.windowByteCount
    private var windowStart = 0
    private var windowCount = 0
    private var seed = CRC32C()
    private var mark: UInt32 = 0

    init(path: String, fileSystem: FileSystem) throws(JournalError) {
        self.path = path
        self.fileSystem = fileSystem
        guard let window = allocateBuffer(byteCount: Self.windowByteCount) else { throw .outOfMemory(path: path) }
        do {
            (file, byteCount) = try fileSystem.openForReading(path)
        } catch {
            deallocateBuffer(window)
            throw .system(error)
        }
        self.window = window
    }

    deinit {
        deallocateBuffer(window)
        try? fileSystem.close(file)
    }

    /// So many bytes from `offset` on, all of which the file has. Valid until the reader is used again.
    mutating func view(_ offset: Int, _ count: Int) throws(JournalError) -> ByteView {
        assert(offset >= 0 && count >= 0 && offset + count <= byteCount)
        if offset < windowStart || offset + count > windowStart + windowCount { try fill(offset, count) }
        return ByteView(UnsafeRawBufferPointer(start: window + (offset - windowStart), count: count))
    }

    /// Bytes are read anew from here on, as they are now.
    mutating func forget() { windowCount = 0 }

    /// Moves the window to `offset` and reads at least `count` bytes.
    private mutating func fill(_ offset: Int, _ count: Int) throws(JournalError) {
        try resize(for: count)
        windowStart = offset
        windowCount = 0
        while windowCount < count {
            let room = UnsafeMutableRawBufferPointer(
                start: window + windowCount, count: min(windowCapacity, byteCount - offset) - windowCount)
            let place = offset + windowCount
            do throws(SystemError) {
                let got = try fileSystem.retrying { () throws(SystemError) in
                    try fileSystem.readAt(file, place, room)
                }
                // A file that was longer a moment ago is being changed by somebody else.
                guard got > 0, got <= room.count else { throw SystemError.unreadable(path) }
                windowCount += got
            } catch {
                windowCount = 0
                throw .system(error)
            }
        }
    }

    /// A window for `count` bytes, and no longer a large one when a small one does.
    private mutating func resize(for count: Int) throws(JournalError) {
        let wanted = max(count, Self.windowByteCount)
        guard wanted > windowCapacity || windowCapacity > 4 * wanted else { return }
        windowCount = 0
        guard let memory = allocateBuffer(byteCount: wanted) else { throw .outOfMemory(path: path) }
        deallocateBuffer(window)
        window = memory
        windowCapacity = wanted
    }

    /// Reads and checks the header; from then on records can be read.
    mutating func readHeader() throws(JournalError) -> SegmentHeader {
        do {
            let header = try SegmentHeader(try headerBytes())
            seed = header.identifier.seed
            mark = header.identifier.mark
            return header
        } catch let fault as SegmentHeader.Fault {
            if case .version(let version) = fault { throw .newerVersion(path: path, version: version) }
            let sequence = JournalNames.segmentSequence(path.split(separator: "/").last.map(String.init) ?? "") ?? 0
            throw .damaged(JournalDamage(kind: .header, path: path, offset: 0, sequence: sequence))
        } catch let error as JournalError {
            throw error
        } catch {
            throw .damaged(JournalDamage(kind: .header, path: path, offset: 0, sequence: 0))
        }
    }

    private mutating func headerBytes() throws(JournalError) -> ByteView {
        try view(0, min(byteCount, SegmentHeader.byteCount))
    }

    /// The record that begins at `offset`.
    mutating func record(at offset: Int) throws(JournalError) -> Read {
        let room = byteCount - offset
        if room == 0 { return .end }
        guard room >= RecordHeader.byteCount else { return .unreadable }
        let header = RecordHeader(try view(offset, RecordHeader.byteCount))
        guard header.isPlausible(mark: mark, room: room) else { return .unreadable }
        let bytes = try view(offset, header.byteCount)
        var crc = seed
        crc.update(bytes[RecordHeader.byteCount..<bytes.count])
        let checksum = RecordHeader.checksum(of: UnsafeRawPointer(bytes.base), continuing: crc)
        guard checksum == header.checksum else { return .unreadable }
        return .record(header, bytes: bytes)
    }

    /// Where the record `sequence` begins, all records before it having been read already.
    mutating func offset(of sequence: UInt64, first: UInt64) throws(JournalError) -> Int {
        var offset = SegmentHeader.byteCount
        var next = first
        while next < sequence, offset + RecordHeader.byteCount <= byteCount {
            let header = RecordHeader(try view(offset, RecordHeader.byteCount))
            guard header.isPlausible(mark: mark, room: byteCount - offset) else { break }
            offset += header.byteCount
            next += 1
        }
        return offset
    }

    /// How many bytes there are from `offset` on, but for zeros at the end of the file: room that was made before there
    /// was anything to write.
    mutating func byteCount(from offset: Int) throws(JournalError) -> Int { max(0, try byteCountWithoutRoom - offset) }

    /// The file's length without the zeros at its end. Cost: that of reading those, and a page.
    var byteCountWithoutRoom: Int {
        mutating get throws(JournalError) {
            var end = byteCount
            while end > 0 {
                let start = max(0, end - (end == byteCount ? 4096 : Self.windowByteCount))
                let bytes = try view(start, end - start)
                if let last = (0..<bytes.count).last(where: { bytes[$0] != 0 }) { return start + last + 1 }
                end = start
            }
            return 0
        }
    }

    /// Whether the file has become longer since it was opened: somebody writes it.
    func hasGrown() throws(JournalError) -> Bool {
        do {
            return try fileSystem.retrying { () throws(SystemError) in try fileSystem.size(file) } > byteCount
        } catch {
            throw .system(error)
        }
    }

    // MARK: Behind an unreadable record

    /// What the intact records from `start` on say, wherever they begin, if their sequence is higher than `sequence`:
    /// the highest sequence that was on disk, or 0. One look at each byte; only what has the journal's mark in its
    /// place is looked at closer.
    mutating func durableSequence(behind start: Int, above sequence: UInt64) throws(JournalError) -> UInt64 {
        var durable: UInt64 = 0
        var offset = start
        while let found = try nextCandidate(from: offset, above: sequence) {
            if case .record(let header, _) = try record(at: found) {
                durable = max(durable, header.durable)
                offset = found + header.byteCount
            } else {
                offset = found + 1
            }
        }
        return durable
    }

    private mutating func nextCandidate(from start: Int, above sequence: UInt64) throws(JournalError) -> Int? {
        var offset = start
        while byteCount - offset >= RecordHeader.byteCount {
            let bytes = try view(offset, min(Self.windowByteCount, byteCount - offset))
            var index = 0
            while index <= bytes.count - RecordHeader.byteCount {
                let word: UInt32 = bytes.littleEndian(at: index + 36)
                if word & ~0xff == mark {
                    let header = RecordHeader(bytes[index..<index + RecordHeader.byteCount])
                    // A record takes 40 bytes at least, so that no sequence in this file can be further away.
                    let isNear = header.sequence > sequence && header.sequence - sequence <= UInt64(byteCount)
                    if isNear, header.isPlausible(mark: mark, room: byteCount - offset - index) {
                        return offset + index
                    }
                }
                index += 1
            }
            offset += index
        }
        return nil
    }
}
