// Writes down what the commands of a batch have changed, in requests that change the same when they are executed again.
//
// Most commands are written as they came, under their first name: what they do follows from the data, from the time,
// which the record has, and from their arguments. Those that choose (SPOP, the first of several keys) or leave a choice
// to the layout of the data (trimming `~` of streams) write down themselves what became of it. A command that failed
// half-way is written as the values that its keys have now.
//
// Owner: each session that executes, and who serves in the background. Threads: the owner's. Memory: a buffer that is
// as large as the largest batch, given back when it was large. A handle: the data path counts no references, and checks
// no access.

import KedisFormats
import KedisProtocol
import KedisStore
import KedisUtilities

struct EffectScribe {
    private let notes: UnsafeMutablePointer<EffectNotes>

    init() {
        notes = .allocate(capacity: 1)
        notes.initialize(to: EffectNotes())
    }

    /// The owner is gone.
    func release() {
        notes.deinitialize(count: 1)
        notes.deallocate()
    }

    /// Writes a request for the command that runs, which then is not written as it came.
    func write(_ name: StaticString, _ key: Key, databaseIndex: Int) {
        notes.pointee.begin(name, key, databaseIndex, argumentCount: 2)
    }

    /// The same with a member behind the key.
    func write(_ name: StaticString, _ key: Key, databaseIndex: Int, _ member: StringValue) {
        notes.pointee.begin(name, key, databaseIndex, argumentCount: 3)
        notes.pointee.writer.bulk(member)
    }

    /// The same with a number behind the key.
    func write(_ name: StaticString, _ key: Key, databaseIndex: Int, count: Int64) {
        notes.pointee.begin(name, key, databaseIndex, argumentCount: 3)
        notes.pointee.writer.bulk(integer: count)
    }

    /// What is left of a stream, whose oldest entries went.
    func writeTrim(_ key: Key, databaseIndex: Int, countMax: Int) {
        notes.pointee.begin("XTRIM", key, databaseIndex, argumentCount: 5)
        notes.pointee.writer.bulk("MAXLEN")
        notes.pointee.writer.bulk("=")
        notes.pointee.writer.bulk(integer: Int64(countMax))
    }

    /// The same as ``write(_:_:databaseIndex:)`` with an ID of a stream and arguments behind the key.
    func write(
        _ name: StaticString, _ key: Key, databaseIndex: Int, id: StreamID, _ list: ArgumentList, from first: Int
    ) {
        notes.pointee.begin(name, key, databaseIndex, argumentCount: 3 + list.count - first)
        notes.pointee.writer.streamID(id)
        for index in first..<list.count { notes.pointee.writer.bulk(list[index]) }
    }

    /// A command has ended, under its locks.
    @inline(__always)
    func note(_ call: borrowing CommandCall, hasFailed: Bool) {
        if call.effects.changeCount > 0 {
            notes.pointee.note(call, hasFailed: hasFailed)
        } else if hasFailed, notes.pointee.hasOwnWords {
            notes.pointee.forgetCommand()
        }
        notes.pointee.hasOwnWords = false
    }

    /// Hands over what was written, before the stripes `held` are unlocked.
    func commit(to port: JournalPort, milliseconds: Int64, held: StripeSet) {
        notes.pointee.commit(to: port, milliseconds: milliseconds, held: held)
    }
}

/// What was written down of a batch.
struct EffectNotes: ~Copyable {
    /// A record that would be longer is not written: the journal begins anew instead (`JournalSink.noteLoss`).
    private static let byteCountMax = 1 << 30

    fileprivate init() {
        writer = ReplyWriter()
        writer.byteCountMax = Self.byteCountMax
    }

    fileprivate var writer: ReplyWriter
    /// The database at the beginning, and the one that the last request left selected.
    private var firstDatabase = 0
    private var database = 0
    private var isEmpty = true
    /// The slots of the keys that changed (JournalPort), or all, as far as replies are held.
    private var slots: [Int] = []
    private var concernsAll = false
    /// The command that runs has written down its effects itself.
    fileprivate var hasOwnWords = false
    /// Where the words of the command that runs begin.
    private var commandMark: Mark?
    /// No memory for what a value was.
    private var hasLost = false

    /// Begins a request for the command that runs.
    fileprivate mutating func begin(_ name: StaticString, _ key: Key, _ databaseIndex: Int, argumentCount: Int) {
        if !hasOwnWords { commandMark = Mark(count: writer.count, database: database, isEmpty: isEmpty) }
        select(databaseIndex)
        hasOwnWords = true
        writer.array(argumentCount)
        writer.bulk(ByteView(name))
        writer.bulk(key.bytes)
    }

    /// Where the writing had come to.
    private struct Mark {
        var count: Int
        var database: Int
        var isEmpty: Bool
    }

    /// The command that runs has failed, and nothing of what it wrote down has come about.
    fileprivate mutating func forgetCommand() {
        guard let mark = commandMark else { return }
        writer.truncate(to: mark.count)
        (database, isEmpty) = (mark.database, mark.isEmpty)
    }

    // MARK: All others

    /// After a command that has changed something, under its locks.
    fileprivate mutating func note(_ call: borrowing CommandCall, hasFailed: Bool) {
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

    private mutating func noteSlots(_ call: borrowing CommandCall) {
        guard call.engine.interest.current.holdsReplies else { return }
        if call.keyCount == 0 { concernsAll = true }
        for index in 0..<call.keyCount { slots.append(JournalPort.slot(of: call.key(index))) }
    }

    /// The keys of a command as they are now.
    private mutating func writeValues(_ call: borrowing CommandCall) {
        for index in 0..<call.keyCount {
            let key = call.key(index)
            guard let entry = call.keyspace.peek(key) else {
                begin("DEL", key, call.keyspace.databaseIndex, argumentCount: 2)
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

    private mutating func select(_ databaseIndex: Int) {
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

    fileprivate mutating func commit(to port: JournalPort, milliseconds: Int64, held: StripeSet) {
        guard !isEmpty || hasLost else {
            slots.removeAll(keepingCapacity: true)
            concernsAll = false
            return
        }
        // A record ends where it began: replay executes several of them together.
        if database != firstDatabase { select(firstDatabase) }
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
    var scribe: EffectScribe? { effects.scribe }
}
