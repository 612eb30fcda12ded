// The family of stream commands, and what they share: streams looked up and changed, IDs and entries as replies, how
// far groups are.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

let streamCommands: [CommandSpec] = [
    StreamAcknowledgeCommand.spec,
    StreamAddCommand.spec,
    StreamAutoClaimCommand.spec,
    StreamClaimCommand.spec,
    StreamDeleteCommand.spec,
    StreamGroupCommand.spec,
    StreamInfoCommand.spec,
    StreamLengthCommand.spec,
    StreamPendingCommand.spec,
    StreamRangeCommand.spec,
    StreamReadCommand.spec,
    StreamReadCommand.groupSpec,
    StreamRangeCommand.reversedSpec,
    StreamSetIDCommand.spec,
    StreamTrimCommand.spec,
]

extension Entry {
    /// The stream of the entry, or WRONGTYPE.
    @inline(__always)
    func streamValue() throws(CommandError) -> Stream {
        guard type == .stream else { throw .wrongType }
        return stream
    }
}

extension CommandCall {
    /// How large a node of a stream may be: `stream-node-max-bytes` and `stream-node-max-entries`.
    var streamLimit: StreamNodeLimit {
        let configuration = engine.configuration
        return StreamNodeLimit(
            byteCountMax: configuration.streamNodeByteCountMax.load(ordering: .relaxed),
            entryCountMax: configuration.streamNodeEntryCountMax.load(ordering: .relaxed))
    }

    /// The stream at `key` for a change; nil when there is none. `finish()` is the caller's.
    func editableStream(_ key: Key) throws(CommandError) -> StreamEditor? {
        guard let entry = keyspace.write(key) else { return nil }
        guard entry.type == .stream else { throw .wrongType }
        return keyspace.editStream(entry)
    }

    /// As ``editableStream(_:)``, counted as a read.
    func readableStream(_ key: Key) throws(CommandError) -> StreamEditor? {
        guard let entry = keyspace.read(key) else { return nil }
        guard entry.type == .stream else { throw .wrongType }
        return keyspace.editStream(entry)
    }

    /// An argument as error texts print it.
    func printable(_ index: Int) -> ByteView { streamText(arguments[index]) }

    /// The consumer of a group, which is made if need be, and seen now.
    mutating func consumer(
        _ name: ByteView, of group: StreamGroup, _ key: Key
    ) throws(CommandError) -> StreamConsumer {
        if let consumer = group.consumer(named: name) {
            consumer.seenMilliseconds = nowMilliseconds
            return consumer
        }
        let now = nowMilliseconds
        let made = try storing { () throws(StoreError) in try group.makeConsumer(name, seenMilliseconds: now) }
        changedBeside(key, "xgroup-createconsumer")
        return made
    }
}

// MARK: Replies

extension ReplyWriter {
    /// An ID as a bulk string.
    mutating func streamID(_ id: StreamID) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 48) { digits in
            guard let base = digits.baseAddress else { return }
            var count = formatUnsigned(id.milliseconds, into: base)
            base[count] = 0x2D
            count += 1
            count += formatUnsigned(id.sequence, into: base + count)
            bulk(ByteView(base: base, count: count))
        }
    }

    /// An entry: its ID, and an array of fields and values.
    mutating func streamEntry(_ entry: StreamEntry) {
        array(2)
        streamID(entry.id)
        array(2 &* entry.fieldCount)
        entry.forEach { field, value in
            bulk(field)
            bulk(value)
        }
    }

    /// The entries of an interval as an array, at most `countMax` of them, 0 for all; last to first when `isReversed`.
    mutating func streamEntries(
        _ stream: Stream, from first: StreamID = .zero, through last: StreamID = .last, countMax: Int64,
        isReversed: Bool = false
    ) {
        let start = count
        var entryCount = 0
        let body = { (writer: inout ReplyWriter, entry: StreamEntry) -> Bool in
            writer.streamEntry(entry)
            entryCount += 1
            return Int64(entryCount) != countMax && !writer.hasOverflowed
        }
        if isReversed {
            stream.forEachReversed(from: first, through: last) { body(&self, $0) }
        } else {
            stream.forEach(from: first, through: last) { body(&self, $0) }
        }
        insertArrayHeader(at: start, elementCount: entryCount)
    }
}

/// Writes a number as ``formatInteger(_:into:)`` does, beyond what is signed too: up to 20 digits.
@inline(__always)
private func formatUnsigned(_ value: UInt64, into destination: UnsafeMutablePointer<UInt8>) -> Int {
    if let signed = Int64(exactly: value) { return formatInteger(signed, into: destination) }
    let count = formatInteger(Int64(value / 10), into: destination)
    destination[count] = 0x30 + UInt8(value % 10)
    return count + 1
}
