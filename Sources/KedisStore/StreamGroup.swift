// Consumer groups: how far a group has read, who its consumers are, and what was delivered but not acknowledged.
//
//      pending of the group     ID │ delivered at │ deliveries │ consumer      40 bytes each, by ID
//      pending of a consumer    ID                                             16 bytes each, by ID
//
// Both are indexes (StreamIndex.swift). A consumer's says which IDs are its; the facts about them are in the group's.
//
// Ownership: the stream's, see there. Handles are trivially copied and valid until the group or the consumer goes.
// When memory is exhausted a change throws and has changed nothing.
// Cost: a delivery, an acknowledgement, a claim O(log pending); 56 bytes a pending entry.

package import KedisUtilities

/// An entry that was delivered to a consumer and not acknowledged.
package struct StreamPending {
    package let id: StreamID
    /// When it was delivered last, in milliseconds since 1970.
    package var deliveredMilliseconds: Int64
    /// How often it was delivered; any number that a client gave it.
    package var deliveryCount: UInt64
    /// Nil only while a group is being loaded.
    var consumerAddress: UnsafeMutableRawPointer?

    static let stride = 40

    package var consumer: StreamConsumer? { consumerAddress.map { StreamConsumer(address: $0) } }
}

package struct StreamConsumer: Equatable {
    struct Header {
        var item: StreamItem
        var seenMilliseconds: Int64
        var activeMilliseconds: Int64
        var pending: StreamIndex
        /// While its group is copied: the copy.
        var twin: UnsafeMutableRawPointer?
    }

    let address: UnsafeMutableRawPointer

    var header: UnsafeMutablePointer<Header> { address.assumingMemoryBound(to: Header.self) }

    package var name: ByteView { StreamItem.name(of: address) }

    /// When it last asked for anything, in milliseconds since 1970.
    package var seenMilliseconds: Int64 {
        get { header.pointee.seenMilliseconds }
        nonmutating set { header.pointee.seenMilliseconds = newValue }
    }

    /// When it last got anything; -1 for never.
    package var activeMilliseconds: Int64 {
        get { header.pointee.activeMilliseconds }
        nonmutating set { header.pointee.activeMilliseconds = newValue }
    }

    package var pendingCount: Int { header.pointee.pending.count }

    /// The first of its pending IDs that is at least `id`.
    package func nextPendingID(from id: StreamID) -> StreamID? {
        let position = header.pointee.pending.lowerBound(id)
        return header.pointee.pending.isValid(position) ? header.pointee.pending.id(at: position) : nil
    }

    /// Calls `body` with its pending IDs. O(pending).
    package func forEachPendingID(_ body: (StreamID) -> Void) {
        var position = header.pointee.pending.start
        while header.pointee.pending.isValid(position) {
            body(header.pointee.pending.id(at: position))
            position = header.pointee.pending.position(after: position)
        }
    }
}

package struct StreamGroup {
    struct Header {
        var item: StreamItem
        var lastID: StreamID
        var readCount: Int64
        var pending: StreamIndex
        var consumers: StreamTable
    }

    /// What ``readCount`` says when nobody knows.
    package static let unknownReadCount: Int64 = -1

    let address: UnsafeMutableRawPointer
    let memory: StreamMemory

    var header: UnsafeMutablePointer<Header> { address.assumingMemoryBound(to: Header.self) }

    package var name: ByteView { StreamItem.name(of: address) }

    /// The last ID that was delivered.
    package var lastID: StreamID {
        get { header.pointee.lastID }
        nonmutating set { header.pointee.lastID = newValue }
    }

    /// How many entries were read up to there, or ``unknownReadCount``.
    package var readCount: Int64 {
        get { header.pointee.readCount }
        nonmutating set { header.pointee.readCount = newValue }
    }

    // MARK: Consumers

    package var consumerCount: Int { header.pointee.consumers.count }

    package func consumer(_ index: Int) -> StreamConsumer {
        StreamConsumer(address: header.pointee.consumers.item(index))
    }

    package func consumer(named name: ByteView) -> StreamConsumer? {
        header.pointee.consumers.find(name).map { StreamConsumer(address: $0) }
    }

    /// A new consumer, whose name is not there.
    package func makeConsumer(
        _ name: ByteView, seenMilliseconds: Int64, activeMilliseconds: Int64 = -1
    ) throws(StoreError) -> StreamConsumer {
        let factByteCount = MemoryLayout<StreamConsumer.Header>.stride
        guard name.count <= Int(UInt32.max) - 1024,
            let address = StreamItem.make(name, factByteCount: factByteCount, memory)
        else { throw .outOfMemory }
        let item = StreamItem(
            nameOffset: UInt32(factByteCount), nameByteCount: UInt32(truncatingIfNeeded: name.count))
        address.bindMemory(to: StreamConsumer.Header.self, capacity: 1).initialize(
            to: StreamConsumer.Header(
                item: item, seenMilliseconds: seenMilliseconds, activeMilliseconds: activeMilliseconds,
                pending: StreamIndex(stride: StreamID.byteCount)))
        guard header.pointee.consumers.insert(address, memory) else {
            memory.deallocate(address, factByteCount + name.count)
            throw .outOfMemory
        }
        return StreamConsumer(address: address)
    }

    /// Removes a consumer with what is pending at it, and returns how much that was. O(its pending · log all).
    package func removeConsumer(_ consumer: StreamConsumer) -> Int {
        guard let index = header.pointee.consumers.index(of: consumer.name) else { return 0 }
        let count = consumer.pendingCount
        consumer.forEachPendingID { id in
            if let position = header.pointee.pending.find(id) {
                _ = header.pointee.pending.remove(at: position, memory)
            }
        }
        consumer.header.pointee.pending.removeAll(memory)
        header.pointee.consumers.remove(at: index, memory)
        memory.deallocate(consumer.address, StreamItem.byteCount(of: consumer.address))
        return count
    }

    // MARK: Pending

    package var pendingCount: Int { header.pointee.pending.count }

    private func pending(at position: StreamIndex.Position) -> StreamPending {
        header.pointee.pending.record(at: position).load(as: StreamPending.self)
    }

    /// What is pending under an ID.
    package func pending(_ id: StreamID) -> StreamPending? {
        header.pointee.pending.find(id).map { pending(at: $0) }
    }

    package var firstPending: StreamPending? { nextPending(from: .zero) }

    package var lastPending: StreamPending? {
        let position = header.pointee.pending.lastPosition
        return header.pointee.pending.isValid(position) ? pending(at: position) : nil
    }

    /// The first pending entry whose ID is at least `id`.
    package func nextPending(from id: StreamID) -> StreamPending? {
        let position = header.pointee.pending.lowerBound(id)
        return header.pointee.pending.isValid(position) ? pending(at: position) : nil
    }

    /// Calls `body` with what is pending, by ID, until it answers false.
    package func forEachPending(_ body: (StreamPending) -> Bool) {
        var position = header.pointee.pending.start
        while header.pointee.pending.isValid(position) {
            guard body(pending(at: position)) else { return }
            position = header.pointee.pending.position(after: position)
        }
    }

    /// Makes an entry pending at a consumer, or what is pending already that consumer's, with these facts.
    package func deliver(
        _ id: StreamID, to consumer: StreamConsumer, deliveredMilliseconds: Int64, deliveryCount: UInt64
    ) throws(StoreError) {
        let new = StreamPending(
            id: id, deliveredMilliseconds: deliveredMilliseconds, deliveryCount: deliveryCount,
            consumerAddress: consumer.address)
        let position = header.pointee.pending.find(id)
        let before = position.map { pending(at: $0) }
        if before?.consumerAddress != consumer.address {
            guard consumer.header.pointee.pending.insert(id, memory) != nil else { throw .outOfMemory }
        }
        if let position {
            header.pointee.pending.record(at: position).storeBytes(of: new, as: StreamPending.self)
            if let old = before?.consumer, old != consumer { remove(id, from: old) }
            return
        }
        guard let record = header.pointee.pending.insert(id, memory) else {
            remove(id, from: consumer)
            throw .outOfMemory
        }
        record.storeBytes(of: new, as: StreamPending.self)
    }

    /// Notes that a pending entry was delivered once more to who has it.
    package func redeliver(_ id: StreamID, atMilliseconds milliseconds: Int64) {
        guard let position = header.pointee.pending.find(id) else { return }
        var pending = pending(at: position)
        pending.deliveredMilliseconds = milliseconds
        pending.deliveryCount &+= 1
        header.pointee.pending.record(at: position).storeBytes(of: pending, as: StreamPending.self)
    }

    private func remove(_ id: StreamID, from consumer: StreamConsumer) {
        guard let position = consumer.header.pointee.pending.find(id) else { return }
        _ = consumer.header.pointee.pending.remove(at: position, memory)
    }

    /// Forgets that an entry is pending; false when it is not.
    package func acknowledge(_ id: StreamID) -> Bool {
        guard let position = header.pointee.pending.find(id) else { return false }
        if let consumer = pending(at: position).consumer { remove(id, from: consumer) }
        _ = header.pointee.pending.remove(at: position, memory)
        return true
    }

    // MARK: Loading

    /// Enters what a file says is pending, whoever's it is; false when it is there already.
    package func loadPending(
        _ id: StreamID, deliveredMilliseconds: Int64, deliveryCount: UInt64
    ) throws(StoreError) -> Bool {
        guard header.pointee.pending.find(id) == nil else { return false }
        guard let record = header.pointee.pending.insert(id, memory) else { throw .outOfMemory }
        let new = StreamPending(
            id: id, deliveredMilliseconds: deliveredMilliseconds, deliveryCount: deliveryCount, consumerAddress: nil)
        record.storeBytes(of: new, as: StreamPending.self)
        return true
    }

    /// Gives a pending entry of nobody to a consumer; false when there is none.
    package func assign(_ id: StreamID, to consumer: StreamConsumer) throws(StoreError) -> Bool {
        guard let position = header.pointee.pending.find(id) else { return false }
        var pending = pending(at: position)
        guard pending.consumerAddress == nil else { return false }
        guard consumer.header.pointee.pending.insert(id, memory) != nil else { throw .outOfMemory }
        pending.consumerAddress = consumer.address
        header.pointee.pending.record(at: position).storeBytes(of: pending, as: StreamPending.self)
        return true
    }

    /// Whether everything pending is somebody's.
    package var isAssigned: Bool {
        var assigned = 0
        for index in 0..<consumerCount { assigned += consumer(index).pendingCount }
        return assigned == pendingCount
    }

    // MARK: The end

    /// Whether nothing is left but the group itself.
    var isReleased: Bool { header.pointee.pending.isEmpty && consumerCount == 0 }

    /// Frees a part and returns about how many bytes that was.
    func releaseSome() -> Int {
        let freed = header.pointee.pending.removeLastChunk(memory)
        guard freed == 0, consumerCount > 0 else { return max(freed, 1024) }
        let last = consumer(consumerCount - 1)
        let ofConsumer = last.header.pointee.pending.removeLastChunk(memory)
        guard ofConsumer == 0 else { return max(ofConsumer, 1024) }
        header.pointee.consumers.remove(at: consumerCount - 1, memory)
        memory.deallocate(last.address, StreamItem.byteCount(of: last.address))
        return 1024
    }
}
