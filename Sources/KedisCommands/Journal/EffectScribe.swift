// Writes down what the commands of a batch have changed, in requests that change the same when they are executed again.
//
// Most commands are written as they came, under their first name: what they do follows from the data, from the time,
// which the record has, and from their arguments. Those that choose (SPOP, the first of several keys) or leave a choice
// to the layout of the data (trimming `~` of streams) write down themselves what became of it. A command that failed
// half-way is written as the values that its keys have now.
//
// Owner: an EffectObserver, so one for each session that executes. Threads: the session's. Memory: a buffer that is as
// large as the largest batch, given back when it was large.

import KedisFormats
import KedisProtocol
import KedisStore
import KedisUtilities

final class EffectScribe {
    private var writer = ReplyWriter()
    /// The database at the beginning, and the one that the last request left selected.
    private var firstDatabase = 0
    private var database = 0
    private var isEmpty = true
    /// The slots of the keys that changed (JournalPort), or all, as far as replies are held.
    private var slots: [Int] = []
    private var concernsAll = false
    /// The command that runs has written down its effects itself.
    private var hasOwnWords = false
    /// No memory for what a value was.
    private var hasLost = false

    // MARK: Commands that say it themselves

    /// Writes a request for the command that runs, which then is not written as it came.
    func write(_ name: StaticString, _ key: Key, databaseIndex: Int) {
        select(databaseIndex)
        hasOwnWords = true
        writer.array(2)
        writer.bulk(ByteView(name))
        writer.bulk(key.bytes)
    }

    /// The same with a member behind the key.
    func write(_ name: StaticString, _ key: Key, databaseIndex: Int, _ member: StringValue) {
        select(databaseIndex)
        hasOwnWords = true
        writer.array(3)
        writer.bulk(ByteView(name))
        writer.bulk(key.bytes)
        writer.bulk(member)
    }

    /// The same with a number behind the key.
    func write(_ name: StaticString, _ key: Key, databaseIndex: Int, count: Int64) {
        select(databaseIndex)
        hasOwnWords = true
        writer.array(3)
        writer.bulk(ByteView(name))
        writer.bulk(key.bytes)
        writer.bulk(integer: count)
    }

    /// What is left of a stream, whose oldest entries went.
    func writeTrim(_ key: Key, databaseIndex: Int, countMax: Int) {
        select(databaseIndex)
        hasOwnWords = true
        writer.array(5)
        writer.bulk("XTRIM")
        writer.bulk(key.bytes)
        writer.bulk("MAXLEN")
        writer.bulk("=")
        writer.bulk(integer: Int64(countMax))
    }

    /// The same with an ID of a stream behind the key.
    func write(
        _ name: StaticString, _ key: Key, databaseIndex: Int, id: StreamID, _ list: ArgumentList, from first: Int
    ) {
        select(databaseIndex)
        hasOwnWords = true
        writer.array(3 + list.count - first)
        writer.bulk(ByteView(name))
        writer.bulk(key.bytes)
        writer.streamID(id)
        for index in first..<list.count { writer.bulk(list[index]) }
    }

    /// Where the writing has come to.
    struct Mark {
        fileprivate var count: Int
        fileprivate var database: Int
        fileprivate var isEmpty: Bool
        fileprivate var hasOwnWords: Bool
    }

    var mark: Mark { Mark(count: writer.count, database: database, isEmpty: isEmpty, hasOwnWords: hasOwnWords) }

    /// What was written since has not come about.
    func forget(since mark: Mark) {
        writer.truncate(to: mark.count)
        (database, isEmpty, hasOwnWords) = (mark.database, mark.isEmpty, mark.hasOwnWords)
    }

    // MARK: All others

    /// After a command, under its locks.
    func note(_ call: borrowing CommandCall, hasFailed: Bool) {
        defer { hasOwnWords = false }
        guard call.effects.changeCount > 0 else { return }
        noteSlots(call)
        // What a command wrote down before it failed is true as well.
        if hasFailed { return writeValues(call) }
        guard !hasOwnWords else { return }
        select(call.keyspace.databaseIndex)
        let list = call.arguments
        writer.array(list.count)
        // A command may have another name here (rename-command), and no other there.
        let container = call.entry.pointee.containerName
        writer.bulk(container.isEmpty ? call.entry.pointee.fullName : container)
        for index in 1..<list.count { writer.bulk(list[index]) }
    }

    private func noteSlots(_ call: borrowing CommandCall) {
        guard call.engine.interest.current.holdsReplies else { return }
        if call.keyCount == 0 { concernsAll = true }
        for index in 0..<call.keyCount { slots.append(JournalPort.slot(of: call.key(index))) }
    }

    /// The keys of a command as they are now.
    private func writeValues(_ call: borrowing CommandCall) {
        for index in 0..<call.keyCount {
            let key = call.key(index)
            guard let entry = call.keyspace.peek(key) else {
                write("DEL", key, databaseIndex: call.keyspace.databaseIndex)
                continue
            }
            guard let payload = DumpPayload(of: entry, compressesStrings: false) else {
                hasLost = true
                return
            }
            select(call.keyspace.databaseIndex)
            let deadline = entry.deadlineMilliseconds
            writer.array(6)
            writer.bulk("RESTORE")
            writer.bulk(key.bytes)
            writer.bulk(integer: deadline == noDeadline ? 0 : deadline)
            writer.bulk(payload.bytes)
            writer.bulk("REPLACE")
            writer.bulk("ABSTTL")
        }
    }

    private func select(_ databaseIndex: Int) {
        if isEmpty {
            isEmpty = false
            firstDatabase = databaseIndex
        } else if database != databaseIndex {
            writer.array(2)
            writer.bulk("SELECT")
            writer.bulk(integer: Int64(databaseIndex))
        }
        database = databaseIndex
    }

    // MARK: The record

    /// Hands over what was written, before the stripes are unlocked.
    func commit(to port: JournalPort, milliseconds: Int64, held: StripeSet) {
        guard !isEmpty else { return slots.removeAll(keepingCapacity: true) }
        isEmpty = true
        if writer.hasOverflowed || hasLost {
            hasLost = false
            port.noteLoss()
        } else {
            let sequence = port.append(writer.bytes, databaseIndex: firstDatabase, milliseconds: milliseconds)
            if concernsAll { port.note(sequence, all: held) }
            for slot in slots { port.note(sequence, slot: slot) }
        }
        writer.removeAll()
        slots.removeAll(keepingCapacity: slots.capacity <= 1024)
        concernsAll = false
    }
}

extension CommandCall {
    /// Who writes down what this command does; nil while there is no journal.
    var scribe: EffectScribe? { effects.observer?.takeUnretainedValue().scribe }
}
