// How many entries a consumer group has read and has still to read, as far as that is known.
//
// A stream counts what was ever added. Where nothing was deleted by XDEL behind a group's last ID, the group's own
// count is right; else only the counts of the first and the last entry are known. Source: redis-server 7.0.15.

extension Stream {
    /// Whether an entry between `first` and the end was ever deleted by XDEL: then nobody can count them.
    package func hasDeletions(from first: StreamID) -> Bool {
        count > 0 && maxDeletedID != .zero && first <= maxDeletedID
    }

    /// How many entries were added up to `id`; nil when nobody knows.
    package func readCount(upTo id: StreamID) -> Int64? {
        let added = Int64(bitPattern: addedCount)
        if added == 0 { return 0 }
        if count == 0, id <= lastID { return added }
        if id == lastID { return added }
        if id > lastID { return nil }
        guard maxDeletedID == .zero || maxDeletedID < firstID else { return nil }
        if id < firstID { return added &- Int64(count) }
        return id == firstID ? added &- Int64(count) &+ 1 : nil
    }

    /// How many entries a group has still to read; nil when nobody knows.
    package func lag(of group: StreamGroup) -> Int64? {
        let added = Int64(bitPattern: addedCount)
        if added == 0 { return 0 }
        if group.readCount != StreamGroup.unknownReadCount, !hasDeletions(from: group.lastID) {
            return added &- group.readCount
        }
        return readCount(upTo: group.lastID).map { added &- $0 }
    }

    /// Notes that a group has read the entry `id`, which is beyond its last.
    package func advance(_ group: StreamGroup, to id: StreamID) {
        if group.readCount != StreamGroup.unknownReadCount, !hasDeletions(from: id) {
            group.readCount &+= 1
        } else if addedCount > 0 {
            group.readCount = readCount(upTo: id) ?? StreamGroup.unknownReadCount
        }
        group.lastID = id
    }
}
