// Streams in RDB files: written as Redis 7.0 does, read as every version since 5.0 wrote them.
//
//      type 15    nodes, facts, groups                                                       (5.0 to 6.2)
//      type 19    also the first and the greatest deleted ID, entries added and read         (7.0; written)
//      type 21    also when a consumer was last active                                       (7.2)
//
//      nodes   so many times the ID, 16 bytes, and a listpack                   (StreamNode.swift says what is in it)
//      facts   entries, last ID; from 19 on: first ID, greatest deleted ID, entries added
//      groups  so many times a name, the last ID, from 19 on entries read,
//              pending: so many times an ID, when it was delivered, how often
//              consumers: so many times a name, when seen, from 21 on when active, and so many IDs of what is pending
//
// A stream is read in parts, so that one of any size takes the memory of its largest part. Numbers of IDs are lengths,
// IDs of pending entries and keys of nodes are 16 bytes, highest first, times are 8 bytes, lowest first.

package import KedisStore
package import KedisUtilities

enum RDBStreamType {
    static let first: UInt8 = 15
    static let withCounts: UInt8 = 19
    static let withActivity: UInt8 = 21
    /// What Redis 7.0 reads: when a consumer was active is not in it.
    static let written = withCounts

    static func isStream(_ type: UInt8) -> Bool { type == first || type == withCounts || type == withActivity }
}

/// What of the stream comes next.
struct RDBStreamCursor {
    var type: UInt8
    /// Parts that are still to be read, the innermost first.
    var nodeCount: UInt64
    var hasFacts = true
    var assignedCount: UInt64 = 0
    var pendingCount: UInt64 = 0
    /// Nil while it was not read.
    var consumerCount: UInt64? = 0
    var groupCount: UInt64 = 0
}

/// A part of a stream.
package enum RDBStreamPart {
    case node(StreamID, ByteView)
    /// What stands behind the nodes.
    case facts(StreamFacts)
    /// A group; what is pending in it and its consumers follow.
    case group(name: ByteView, lastID: StreamID, readCount: Int64?)
    case pending(StreamID, deliveredMilliseconds: Int64, deliveryCount: UInt64)
    /// A consumer of the group; what is pending at it follows.
    case consumer(name: ByteView, seenMilliseconds: Int64, activeMilliseconds: Int64)
    case assigned(StreamID)
}

extension RDBReader {
    /// Begins a stream, whose parts ``nextStreamPart()`` gives.
    mutating func beginStream(type: UInt8) throws(RDBError) {
        stream = RDBStreamCursor(type: type, nodeCount: try input.readLength())
    }

    /// The next part of the stream that was begun by the last item; nil at its end. Views are valid until the next
    /// call.
    package mutating func nextStreamPart() throws(RDBError) -> RDBStreamPart? {
        guard var cursor = stream else { return nil }
        let part = try nextPart(&cursor)
        stream = part == nil ? nil : cursor
        return part
    }

    private mutating func nextPart(_ cursor: inout RDBStreamCursor) throws(RDBError) -> RDBStreamPart? {
        if cursor.nodeCount > 0 {
            cursor.nodeCount -= 1
            let key = try readBytes()
            guard key.count == StreamID.byteCount else { throw input.error(.badCollection) }
            let id = StreamID(bigEndianAt: key.base)
            guard let (run, _) = ListpackFrame.run(in: try readBytes()) else { throw input.error(.badCollection) }
            return .node(id, run)
        }
        if cursor.hasFacts {
            cursor.hasFacts = false
            return .facts(try readFacts(&cursor))
        }
        if cursor.assignedCount > 0 {
            cursor.assignedCount -= 1
            return .assigned(try readID())
        }
        if cursor.pendingCount > 0 {
            cursor.pendingCount -= 1
            let id = try readID()
            let delivered = Int64(bitPattern: try input.readLittleEndian(byteCount: 8))
            return .pending(id, deliveredMilliseconds: delivered, deliveryCount: try input.readLength())
        }
        return try nextOwner(&cursor)
    }

    private mutating func nextOwner(_ cursor: inout RDBStreamCursor) throws(RDBError) -> RDBStreamPart? {
        let consumerCount: UInt64
        if let known = cursor.consumerCount { consumerCount = known } else { consumerCount = try input.readLength() }
        cursor.consumerCount = consumerCount
        if consumerCount > 0 {
            cursor.consumerCount = consumerCount - 1
            let name = try readOwnerName()
            let seen = Int64(bitPattern: try input.readLittleEndian(byteCount: 8))
            let hasActivity = cursor.type >= RDBStreamType.withActivity
            let active = hasActivity ? Int64(bitPattern: try input.readLittleEndian(byteCount: 8)) : seen
            cursor.assignedCount = try input.readLength()
            return .consumer(name: name, seenMilliseconds: seen, activeMilliseconds: active)
        }
        guard cursor.groupCount > 0 else { return nil }
        cursor.groupCount -= 1
        let name = try readOwnerName()
        let lastID = StreamID(try input.readLength(), try input.readLength())
        let readCount = cursor.type >= RDBStreamType.withCounts ? Int64(bitPattern: try input.readLength()) : nil
        cursor.pendingCount = try input.readLength()
        cursor.consumerCount = nil
        return .group(name: name, lastID: lastID, readCount: readCount)
    }

    private mutating func readFacts(_ cursor: inout RDBStreamCursor) throws(RDBError) -> StreamFacts {
        let count = try input.readLength()
        var facts = StreamFacts(count: count, lastID: StreamID(try input.readLength(), try input.readLength()))
        if cursor.type >= RDBStreamType.withCounts {
            // The first ID is that of the first entry.
            _ = (try input.readLength(), try input.readLength())
            facts.maxDeletedID = StreamID(try input.readLength(), try input.readLength())
            facts.addedCount = try input.readLength()
        }
        cursor.groupCount = try input.readLength()
        return facts
    }

    private mutating func readID() throws(RDBError) -> StreamID {
        StreamID(bigEndianAt: try input.readBytes(byteCount: UInt64(StreamID.byteCount)).base)
    }

    /// The name of a group or a consumer.
    private mutating func readOwnerName() throws(RDBError) -> ByteView {
        let value = try readValue()
        guard nameScratch.reserve(value.byteCount) else {
            throw input.error(.outOfMemory(byteCount: value.byteCount))
        }
        return spell(value, in: nameScratch.base)
    }

    // MARK: Loading

    /// Puts the stream that was begun under `key`, where nothing is.
    mutating func loadStream(as key: Key, in keyspace: Keyspace) throws(RDBError) {
        let editor: StreamEditor
        do throws(StoreError) {
            editor = try keyspace.makeStream(key)
        } catch {
            throw input.error(.outOfMemory(byteCount: 0))
        }
        defer { editor.finish() }
        let stream = editor.stream
        var group: StreamGroup?
        var consumer: StreamConsumer?
        while let part = try nextStreamPart() {
            var isSound = true
            try storing(byteCount: part.byteCount) { () throws(StoreError) in
                isSound = try stream.load(part, &group, &consumer)
            }
            guard isSound else { throw input.error(.badCollection) }
        }
        if let group, !group.isAssigned { throw input.error(.badCollection) }
    }
}

extension RDBStreamPart {
    fileprivate var byteCount: Int {
        switch self {
        case .node(_, let run): run.count
        case .group(let name, _, _), .consumer(let name, _, _): name.count
        default: StreamID.byteCount
        }
    }
}

extension Stream {
    /// Takes over a part; false when it is damaged or does not fit the others.
    fileprivate func load(
        _ part: RDBStreamPart, _ group: inout StreamGroup?, _ consumer: inout StreamConsumer?
    ) throws(StoreError) -> Bool {
        switch part {
        case .node(let id, let run): return try loadNode(id, run)
        case .facts(let facts): return loadFacts(facts)
        case .group(let name, let lastID, let known):
            if let group, !group.isAssigned { return false }
            guard self.group(named: name) == nil, known.map({ $0 >= StreamGroup.unknownReadCount }) ?? true else {
                return false
            }
            let readCount = known ?? readCount(upTo: lastID) ?? StreamGroup.unknownReadCount
            group = try makeGroup(name, lastID: lastID, readCount: readCount)
        case .pending(let id, let deliveredMilliseconds, let deliveryCount):
            guard let group else { return false }
            return try group.loadPending(
                id, deliveredMilliseconds: deliveredMilliseconds, deliveryCount: deliveryCount)
        case .consumer(let name, let seenMilliseconds, let activeMilliseconds):
            guard let group, group.consumer(named: name) == nil else { return false }
            consumer = try group.makeConsumer(
                name, seenMilliseconds: seenMilliseconds, activeMilliseconds: activeMilliseconds)
        case .assigned(let id):
            guard let group, let consumer else { return false }
            return try group.assign(id, to: consumer)
        }
        return true
    }
}

extension RDBWriter {
    /// Writes a stream without its type.
    mutating func writeStream(_ stream: Stream) {
        writeLength(stream.nodeCount)
        stream.forEachNode { id, run in
            withBigEndian(id) { writer, bytes in writer.writeString(bytes) }
            writeListpack(run, count: wellFormedPackedEntryCount(run))
            return !isFailed
        }
        writeLength(stream.count)
        writeNumbers(of: stream.lastID)
        writeNumbers(of: stream.firstID)
        writeNumbers(of: stream.maxDeletedID)
        writeLength(stream.addedCount)
        writeLength(stream.groupCount)
        for index in 0..<stream.groupCount where !isFailed { writeGroup(stream.group(index)) }
    }

    private mutating func writeGroup(_ group: StreamGroup) {
        writeString(group.name)
        writeNumbers(of: group.lastID)
        writeLength(UInt64(bitPattern: group.readCount))
        writeLength(group.pendingCount)
        group.forEachPending { pending in
            withBigEndian(pending.id) { writer, bytes in writer.append(bytes) }
            appendLittleEndian(UInt64(bitPattern: pending.deliveredMilliseconds), byteCount: 8)
            writeLength(pending.deliveryCount)
            return !isFailed
        }
        writeLength(group.consumerCount)
        for index in 0..<group.consumerCount where !isFailed {
            let consumer = group.consumer(index)
            writeString(consumer.name)
            appendLittleEndian(UInt64(bitPattern: consumer.seenMilliseconds), byteCount: 8)
            writeLength(consumer.pendingCount)
            consumer.forEachPendingID { id in withBigEndian(id) { writer, bytes in writer.append(bytes) } }
        }
    }

    private mutating func writeNumbers(of id: StreamID) {
        writeLength(id.milliseconds)
        writeLength(id.sequence)
    }

    /// Gives the 16 bytes of an ID to `body`.
    private mutating func withBigEndian(_ id: StreamID, _ body: (inout RDBWriter, ByteView) -> Void) {
        withUnsafeTemporaryAllocation(byteCount: StreamID.byteCount, alignment: 8) { room in
            guard let base = room.baseAddress else { return }
            id.storeBigEndian(at: base)
            body(&self, ByteView(UnsafeRawBufferPointer(room)))
        }
    }
}
