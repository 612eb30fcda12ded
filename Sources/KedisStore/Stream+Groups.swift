// The groups of a stream: made, found, removed, copied.

package import KedisUtilities

extension Stream {
    package var groupCount: Int { header.pointee.groups.count }

    /// The group at an index, in the order of names.
    package func group(_ index: Int) -> StreamGroup {
        StreamGroup(address: header.pointee.groups.item(index), memory: memory)
    }

    package func group(named name: ByteView) -> StreamGroup? {
        header.pointee.groups.find(name).map { StreamGroup(address: $0, memory: memory) }
    }

    /// A new group, whose name is not there.
    @discardableResult
    package func makeGroup(
        _ name: ByteView, lastID: StreamID, readCount: Int64
    ) throws(StoreError) -> StreamGroup {
        let factByteCount = MemoryLayout<StreamGroup.Header>.stride
        guard name.count <= Int(UInt32.max) - 1024,
            let address = StreamItem.make(name, factByteCount: factByteCount, memory)
        else { throw .outOfMemory }
        let item = StreamItem(
            nameOffset: UInt32(factByteCount), nameByteCount: UInt32(truncatingIfNeeded: name.count))
        address.bindMemory(to: StreamGroup.Header.self, capacity: 1).initialize(
            to: StreamGroup.Header(
                item: item, lastID: lastID, readCount: readCount, pending: StreamIndex(stride: StreamPending.stride),
                consumers: StreamTable()))
        guard header.pointee.groups.insert(address, memory) else {
            memory.deallocate(address, factByteCount + name.count)
            throw .outOfMemory
        }
        return StreamGroup(address: address, memory: memory)
    }

    /// Removes a group with all that is in it. O(pending / 128 + consumers).
    package func removeGroup(_ group: StreamGroup) {
        guard let index = header.pointee.groups.index(of: group.name) else { return }
        while !group.isReleased { _ = group.releaseSome() }
        header.pointee.groups.remove(at: index, memory)
        memory.deallocate(group.address, StreamItem.byteCount(of: group.address))
    }

    var lastGroup: StreamGroup? { groupCount > 0 ? group(groupCount - 1) : nil }

    /// Makes the groups of another stream anew here; false when memory is exhausted.
    func copyGroups(of other: Stream) -> Bool {
        for index in 0..<other.groupCount {
            guard copy(other.group(index)) else { return false }
        }
        return true
    }

    private func copy(_ other: StreamGroup) -> Bool {
        guard let group = try? makeGroup(other.name, lastID: other.lastID, readCount: other.readCount) else {
            return false
        }
        for index in 0..<other.consumerCount {
            let old = other.consumer(index)
            guard
                let new = try? group.makeConsumer(
                    old.name, seenMilliseconds: old.seenMilliseconds, activeMilliseconds: old.activeMilliseconds),
                let pending = old.header.pointee.pending.copy(memory)
            else { return false }
            new.header.pointee.pending = pending
            old.header.pointee.twin = new.address
        }
        guard let pending = other.header.pointee.pending.copy(memory) else { return false }
        group.header.pointee.pending = pending
        var position = pending.start
        while pending.isValid(position) {
            let record = pending.record(at: position).assumingMemoryBound(to: StreamPending.self)
            record.pointee.consumerAddress = record.pointee.consumer?.header.pointee.twin
            position = pending.position(after: position)
        }
        return true
    }
}
