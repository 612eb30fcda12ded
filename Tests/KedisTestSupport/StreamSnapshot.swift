// A stream with all its groups as one value that two snapshots compare: without when consumers were last active, which
// files that redis-server 7.0 reads do not have.

package import KedisProtocol
package import KedisStore
import KedisUtilities

package enum StreamSnapshot {
    package static func reply(_ stream: KedisStore.Stream) -> Reply {
        var entries: [Reply] = []
        stream.forEach { entry in
            var pieces: [Reply] = [id(entry.id)]
            entry.forEach { field, value in
                pieces.append(.bulk(field.withBytes { $0.bytes }))
                pieces.append(.bulk(value.withBytes { $0.bytes }))
            }
            entries.append(.array(pieces))
            return true
        }
        let groups = (0..<stream.groupCount).map { reply(stream.group($0)) }
        return .array([
            id(stream.lastID), id(stream.firstID), id(stream.maxDeletedID),
            .integer(Int64(bitPattern: stream.addedCount)), .integer(Int64(stream.nodeCount)), .array(entries),
            .array(groups),
        ])
    }

    private static func reply(_ group: StreamGroup) -> Reply {
        var pending: [Reply] = []
        group.forEachPending { one in
            pending.append(
                .array([
                    id(one.id), .bulk(one.consumer?.name.bytes ?? []), .integer(one.deliveredMilliseconds),
                    .integer(Int64(bitPattern: one.deliveryCount)),
                ]))
            return true
        }
        let consumers = (0..<group.consumerCount).map { index -> Reply in
            let consumer = group.consumer(index)
            var ids: [Reply] = []
            consumer.forEachPendingID { ids.append(id($0)) }
            return .array([.bulk(consumer.name.bytes), .integer(consumer.seenMilliseconds), .array(ids)])
        }
        return .array([
            .bulk(group.name.bytes), id(group.lastID), .integer(group.readCount), .array(pending), .array(consumers),
        ])
    }

    private static func id(_ id: StreamID) -> Reply { .bulk(Array("\(id.milliseconds)-\(id.sequence)".utf8)) }

    /// A reply of XINFO without when consumers were active.
    package static func withoutActivity(_ reply: Reply) -> Reply {
        guard case .array(let parts) = reply else { return reply }
        var kept: [Reply] = []
        for part in parts {
            let isActivity = kept.last == .bulk(Array("active-time".utf8))
            kept.append(isActivity ? .integer(0) : withoutActivity(part))
        }
        return .array(kept)
    }
}
