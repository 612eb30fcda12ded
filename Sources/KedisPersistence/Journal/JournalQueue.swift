// The records in memory: all that are not known to be on disk, encoded, in the order of their sequences.
//
// A list of blocks. Any thread appends to the last one under the lock; the journal's thread reads what was appended
// before it last looked, without the lock, and gives blocks back when all of their records are on disk. Records do not
// span blocks, so that a block's end is a record's end. A large record has a block of its own and is copied there
// before the lock is taken.
//
// Memory: the bytes of the records, a block of 256 KiB at least, and a few spare ones. Cost of an append: two short
// checksums, a lock, a copy of the payload. The system's refusal of memory cannot be an answer here, since the data was
// changed already: the queue then is lost (`loss`), which the journal tells as a failure that stays.

import KedisStore
import KedisUtilities
import Synchronization

/// A block, in front of its bytes. Fields change under the queue's lock.
struct JournalBlock {
    var next: UnsafeMutablePointer<JournalBlock>?
    let capacity: Int
    var byteCount = 0
    /// Of the last record in it.
    var lastSequence: UInt64 = 0
    /// Its records go to a new segment. Only before it has been read from.
    var beginsSegment = false

    static let headerByteCount = MemoryLayout<JournalBlock>.stride

    static func make(capacity: Int) -> UnsafeMutablePointer<JournalBlock>? {
        guard let memory = allocateBuffer(byteCount: headerByteCount + capacity) else { return nil }
        let block = memory.bindMemory(to: JournalBlock.self, capacity: 1)
        block.initialize(to: JournalBlock(capacity: capacity))
        return block
    }
}

typealias JournalBlockPointer = UnsafeMutablePointer<JournalBlock>

extension JournalBlockPointer {
    var bytes: UnsafeMutableRawPointer { UnsafeMutableRawPointer(self) + JournalBlock.headerByteCount }
}

/// A place between two records.
struct JournalPosition: Equatable {
    var block: JournalBlockPointer
    var offset: Int
    /// Of the record before.
    var sequence: UInt64
}

/// Whole records that lie in one block.
struct JournalSlice {
    var bytes: ByteView
    /// Behind the last of them.
    var end: JournalPosition
}

struct JournalQueue: ~Copyable, @unchecked Sendable {
    // Sendable: blocks and state change under the lock; what the lock does not guard is the thread's alone.

    static let usualBlockByteCount = 256 << 10
    static let spareBlockMax = 16
    /// A record of this size has a block of its own, unless blocks are larger.
    static let largeRecordByteCount = 64 << 10

    private struct State {
        /// Where the next record goes.
        var tail: JournalBlockPointer
        var spare: JournalBlockPointer?
        var spareCount = 0
        var nextSequence: UInt64
        /// Why records are not kept any more.
        var loss: String?
        /// The journal's thread has nothing to do until something is appended.
        var isIdle = false
    }

    private let lock = StripeLock()
    private let state: UnsafeMutablePointer<State>
    private let identifier: JournalIdentifier
    private let seed: CRC32C
    private let mark: UInt32
    private let blockByteCount: Int
    private let largeByteCount: Int
    /// The oldest block. Only touched by the journal's thread.
    private let head: UnsafeMutablePointer<JournalBlockPointer>
    /// The bytes of all records ever appended.
    let appendedByteCount = Atomic<Int>(0)
    let appendedSequence: Atomic<UInt64>

    /// An empty queue whose first record gets `firstSequence`; nil when there is no memory for a block.
    init?(identifier: JournalIdentifier, firstSequence: UInt64, blockByteCount: Int) {
        guard let block = JournalBlock.make(capacity: blockByteCount) else { return nil }
        self.identifier = identifier
        self.blockByteCount = blockByteCount
        largeByteCount = min(Self.largeRecordByteCount, blockByteCount)
        seed = identifier.seed
        mark = identifier.mark
        state = .allocate(capacity: 1)
        state.initialize(to: State(tail: block, nextSequence: firstSequence))
        head = .allocate(capacity: 1)
        head.initialize(to: block)
        appendedSequence = Atomic(firstSequence &- 1)
    }

    deinit {
        var next: JournalBlockPointer? = head.pointee
        while let block = next {
            next = block.pointee.next
            deallocateBuffer(block)
        }
        next = state.pointee.spare
        while let block = next {
            next = block.pointee.next
            deallocateBuffer(block)
        }
        head.deallocate()
        state.deinitialize(count: 1)
        state.deallocate()
    }

    /// Calls `body` with the state while no other thread has it.
    @inline(__always)
    private func withState<Result>(_ body: (inout State) -> Result) -> Result {
        lock.lock()
        defer { lock.unlock() }
        return body(&state.pointee)
    }

    // MARK: Appending

    /// What an append did.
    struct Appended {
        var sequence: UInt64
        /// The thread is to be woken: it was idle, or has a loss to tell of.
        var wasIdle: Bool
    }

    /// Appends one record whose payload is `pieces` one after another. `takesIdleness` says that the caller wakes the
    /// thread when it was idle.
    func append(
        _ pieces: UnsafeBufferPointer<ByteView>, databaseIndex: Int, milliseconds: Int64,
        durable: borrowing Atomic<UInt64>,
        takesIdleness: Bool
    ) -> Appended {
        var crc = seed
        var payloadByteCount = 0
        for piece in pieces {
            crc.update(piece)
            payloadByteCount += piece.count
        }
        var header = RecordHeader(
            payloadByteCount: payloadByteCount, sequence: 0, milliseconds: milliseconds, durable: 0,
            database: UInt32(truncatingIfNeeded: databaseIndex), flags: 0, mark: mark)
        var ownBlock: JournalBlockPointer?
        if header.byteCount >= largeByteCount {
            guard let block = makeLargeBlock(pieces, payloadByteCount) else { return lose("no memory for a record") }
            ownBlock = block
        }
        return withState { state in
            header.sequence = state.nextSequence
            header.durable = durable.load(ordering: .relaxed)
            state.nextSequence &+= 1
            appendedSequence.store(header.sequence, ordering: .releasing)
            guard let block = target(for: header.byteCount, ownBlock, &state) else {
                return Appended(sequence: header.sequence, wasIdle: true)
            }
            let target = block.bytes + block.pointee.byteCount
            if ownBlock == nil { Self.copy(pieces, to: target + RecordHeader.byteCount) }
            header.encode(to: target, continuing: crc)
            block.pointee.byteCount += header.byteCount
            block.pointee.lastSequence = header.sequence
            appendedByteCount.wrappingAdd(header.byteCount, ordering: .relaxed)
            let wasIdle = state.isIdle && takesIdleness
            if wasIdle { state.isIdle = false }
            return Appended(sequence: header.sequence, wasIdle: wasIdle)
        }
    }

    private static func copy(_ pieces: UnsafeBufferPointer<ByteView>, to start: UnsafeMutableRawPointer) {
        var target = start.assumingMemoryBound(to: UInt8.self)
        for piece in pieces {
            copyBytes(from: piece, to: target)
            target += piece.count
        }
    }

    /// The block with room for a record; nil when the queue is lost. Under the lock.
    @inline(__always)
    private func target(
        for byteCount: Int, _ ownBlock: JournalBlockPointer?, _ state: inout State
    ) -> JournalBlockPointer? {
        let tail = state.tail
        if ownBlock == nil, state.loss == nil, tail.pointee.capacity &- tail.pointee.byteCount >= byteCount {
            return tail
        }
        return targetSlowly(ownBlock, &state)
    }

    @inline(never)
    private func targetSlowly(_ ownBlock: JournalBlockPointer?, _ state: inout State) -> JournalBlockPointer? {
        if state.loss == nil, let block = ownBlock ?? takeSpare(&state) ?? JournalBlock.make(capacity: blockByteCount) {
            link(block, &state)
            return block
        }
        if state.loss == nil { state.loss = "no memory for a record" }
        deallocateBuffer(ownBlock)
        return nil
    }

    private func link(_ block: JournalBlockPointer, _ state: inout State) {
        state.tail.pointee.next = block
        state.tail = block
    }

    private func takeSpare(_ state: inout State) -> JournalBlockPointer? {
        guard let block = state.spare else { return nil }
        state.spare = block.pointee.next
        state.spareCount -= 1
        block.pointee.next = nil
        return block
    }

    private func makeLargeBlock(
        _ pieces: UnsafeBufferPointer<ByteView>, _ payloadByteCount: Int
    ) -> JournalBlockPointer? {
        guard payloadByteCount <= RecordHeader.payloadByteCountMax,
            let block = JournalBlock.make(capacity: RecordHeader.byteCount + payloadByteCount)
        else { return nil }
        Self.copy(pieces, to: block.bytes + RecordHeader.byteCount)
        return block
    }

    /// Counts a record that cannot be kept: from here on none is.
    @inline(never)
    func lose(_ reason: String) -> Appended {
        withState { state in
            if state.loss == nil { state.loss = reason }
            let sequence = state.nextSequence
            state.nextSequence &+= 1
            appendedSequence.store(sequence, ordering: .releasing)
            return Appended(sequence: sequence, wasIdle: true)
        }
    }

    /// Why records are lost; nil while none is.
    var loss: String? { withState { $0.loss } }

    /// The next record begins a segment; returns its sequence. Without memory for a block it goes where it would have
    /// gone anyway.
    func beginSegment() -> UInt64 {
        withState { state in
            if state.loss == nil, state.tail.pointee.byteCount > 0,
                let block = takeSpare(&state) ?? JournalBlock.make(capacity: blockByteCount)
            {
                link(block, &state)
            }
            if state.tail.pointee.byteCount == 0 { state.tail.pointee.beginsSegment = true }
            return state.nextSequence
        }
    }

    // MARK: The journal's thread

    /// The place of the first record, before anything was taken.
    func start(sequence: UInt64) -> JournalPosition {
        JournalPosition(block: head.pointee, offset: 0, sequence: sequence)
    }

    enum Taken {
        case slice(JournalSlice)
        /// The next record begins a segment, from this place on.
        case segment(JournalPosition)
        case nothing
    }

    /// The records that follow `position` in its block, or in the next one that has any: one that was to begin a
    /// segment stays empty when a large record follows, in a block of its own. `passesMark` takes the place of a mark
    /// as the beginning that it asks for.
    func take(from position: JournalPosition, passesMark: Bool = false) -> Taken {
        withState { _ in
            var place = position
            while true {
                if place.offset == 0, place.block.pointee.beginsSegment {
                    guard passesMark else { return .segment(place) }
                    place.block.pointee.beginsSegment = false
                }
                if place.block.pointee.byteCount > place.offset { break }
                guard let next = place.block.pointee.next else { return .nothing }
                place = JournalPosition(block: next, offset: 0, sequence: place.sequence)
            }
            let end = place.block.pointee.byteCount
            let bytes = UnsafeRawBufferPointer(start: place.block.bytes + place.offset, count: end - place.offset)
            return .slice(
                JournalSlice(
                    bytes: ByteView(bytes),
                    end: JournalPosition(block: place.block, offset: end, sequence: place.block.pointee.lastSequence)))
        }
    }

    /// Gives back what lies before `position`: it is on disk. Returns where that place is now.
    func release(before position: JournalPosition) -> JournalPosition {
        while head.pointee != position.block {
            let block = head.pointee
            guard let next = block.pointee.next else { break }
            head.pointee = next
            recycle(block)
        }
        let (place, isLarge) = withState { state in restart(position, &state) }
        if isLarge {
            head.pointee = place.block
            deallocateBuffer(position.block)
        }
        return place
    }

    /// The last block is begun anew when all of it is on disk: its memory is in the cache. One of a large record is
    /// followed by one of the usual size, and no longer wanted. Under the lock.
    private func restart(_ position: JournalPosition, _ state: inout State) -> (JournalPosition, isLarge: Bool) {
        guard state.tail == position.block, position.offset == position.block.pointee.byteCount else {
            return (position, false)
        }
        var place = JournalPosition(block: position.block, offset: 0, sequence: position.sequence)
        if position.block.pointee.capacity == blockByteCount {
            place.block.pointee.byteCount = 0
            return (place, false)
        }
        guard let block = takeSpare(&state) ?? JournalBlock.make(capacity: blockByteCount) else {
            return (position, false)
        }
        link(block, &state)
        place.block = block
        return (place, true)
    }

    private func recycle(_ block: JournalBlockPointer) {
        let isKept = withState { state in
            guard block.pointee.capacity == blockByteCount, state.spareCount < Self.spareBlockMax else { return false }
            block.initialize(to: JournalBlock(next: state.spare, capacity: blockByteCount))
            state.spare = block
            state.spareCount += 1
            return true
        }
        if !isKept { deallocateBuffer(block) }
    }

    /// Declares the thread idle if nothing follows `position`; then the next append says so.
    func becomeIdle(at position: JournalPosition) -> Bool {
        withState { state in
            let isEverythingTaken =
                state.tail == position.block && position.offset == position.block.pointee.byteCount
                && !(position.offset == 0 && position.block.pointee.beginsSegment)
            state.isIdle = isEverythingTaken
            return isEverythingTaken
        }
    }

    func endIdleness() {
        withState { $0.isIdle = false }
    }

    /// Sees to it that an append finds a spare block instead of asking the system under the lock.
    func prepareSpare() {
        guard withState({ $0.spareCount == 0 && $0.tail.pointee.byteCount > blockByteCount / 2 }),
            let block = JournalBlock.make(capacity: blockByteCount)
        else { return }
        recycle(block)
    }

    /// A record without a payload that is not part of the queue: a mark at the end of a segment.
    func markRecord(flags: UInt8, sequence: UInt64, durable: UInt64, milliseconds: Int64) -> [UInt8] {
        let header = RecordHeader(
            payloadByteCount: 0, sequence: sequence, milliseconds: milliseconds, durable: durable, database: 0,
            flags: flags, mark: mark)
        return header.markBytes(continuing: seed)
    }
}
