// Where the effects of commands go that are to outlive the process: the engine's side of a journal.
//
//      batch under its locks ─▶ commands ─▶ EffectScribe collects ─▶ JournalPort ─▶ the sink's one record ─▶ unlock
//
// A record holds what one batch, or one transaction, has changed: all or nothing of it is there after a crash. It is
// appended before the stripes are unlocked, so records have the order in which conflicting changes were made. Each has
// the time that its commands went by: executing them again at that time gives the same, deadlines included.
//
// Threads: the sink is set with all stripes locked and used with at least one.

import KedisProtocol
import KedisStore
package import KedisUtilities

/// A journal, as the engine sees it.
package struct JournalSink: Sendable {
    /// Appends a record. Takes no lock of the store, and does not wait for the disk.
    ///
    /// - Parameters:
    ///   - effects: whole requests in RESP.
    ///   - databaseIndex: what is selected at their beginning.
    ///   - milliseconds: the time that they are executed at.
    package var append: @Sendable (_ effects: ByteView, _ databaseIndex: Int, _ milliseconds: Int64) -> Void
    /// What a command has changed could not be written down for want of memory: the journal has a hole.
    package var noteLoss: @Sendable () -> Void

    package init(
        append: @escaping @Sendable (ByteView, Int, Int64) -> Void, noteLoss: @escaping @Sendable () -> Void = {}
    ) {
        self.append = append
        self.noteLoss = noteLoss
    }
}

package final class JournalPort: @unchecked Sendable {
    // Sendable: `sink` is written with all stripes locked, and read with one of them.

    private var sink: JournalSink?
    private let interest: InterestWord

    init(_ interest: InterestWord) { self.interest = interest }

    /// From now on effects go to `sink`, or nowhere. All stripes are locked.
    package func connect(_ sink: JournalSink?) {
        self.sink = sink
        interest.setJournal(sink != nil)
    }

    /// Appends a record; a stripe of each key in it is locked.
    func append(_ effects: ByteView, databaseIndex: Int, milliseconds: Int64) {
        sink?.append(effects, databaseIndex, milliseconds)
    }

    func noteLoss() { sink?.noteLoss() }

    /// What has happened to a key without a command: it goes because it is due, or in the way, or members of it do. Its
    /// stripe is locked.
    @inline(never)
    func note(_ event: KeyEvent, key: ByteView, databaseIndex: Int, milliseconds: Int64) {
        let name: ByteView
        switch event {
        case .expired, .evicted, .emptied: name = "DEL"
        // Members go when somebody looks at the value after their time.
        case .membersExpired(.hash): name = "HLEN"
        case .membersExpired(.set): name = "SCARD"
        case .membersExpired: name = "ZCARD"
        case .created, .missed: return
        }
        var writer = ReplyWriter()
        writer.array(2)
        writer.bulk(name)
        writer.bulk(key)
        guard !writer.hasOverflowed else { return noteLoss() }
        append(writer.bytes, databaseIndex: databaseIndex, milliseconds: milliseconds)
    }
}
