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
    /// Appends a record, and returns its sequence. Takes no lock of the store, and does not wait for the disk.
    ///
    /// - Parameters:
    ///   - effects: whole requests in RESP.
    ///   - databaseIndex: what is selected at their beginning.
    ///   - milliseconds: the time that they are executed at.
    package var append: @Sendable (_ effects: ByteView, _ databaseIndex: Int, _ milliseconds: Int64) -> UInt64
    /// The sequence of the last record.
    package var appendedSequence: @Sendable () -> UInt64
    /// What a command has changed could not be written down for want of memory: the journal has a hole.
    package var noteLoss: @Sendable () -> Void

    package init(
        append: @escaping @Sendable (ByteView, Int, Int64) -> UInt64,
        appendedSequence: @escaping @Sendable () -> UInt64 = { 0 }, noteLoss: @escaping @Sendable () -> Void = {}
    ) {
        self.append = append
        self.appendedSequence = appendedSequence
        self.noteLoss = noteLoss
    }
}

package final class JournalPort: @unchecked Sendable {
    // Sendable: `sink` is written with all stripes locked, and read with one of them; a stripe's sequence is used with
    // its lock.

    private var sink: JournalSink?
    private let interest: InterestWord
    /// Of each stripe, the last record that may be about its keys.
    private let lastSequences: UnsafeMutablePointer<UInt64>

    init(_ interest: InterestWord) {
        self.interest = interest
        lastSequences = .allocate(capacity: Store.stripeCount)
        lastSequences.initialize(repeating: 0, count: Store.stripeCount)
    }

    deinit { lastSequences.deallocate() }

    /// From now on effects go to `sink`, or nowhere. All stripes are locked.
    package func connect(_ sink: JournalSink?) {
        self.sink = sink
        lastSequences.update(repeating: 0, count: Store.stripeCount)
        interest.setJournal(sink != nil)
    }

    /// Whether sessions keep account of the records that their replies are about (`Session.neededSequence`), so that
    /// no reply leaves before them.
    package func setHoldsReplies(_ isOn: Bool) { interest.setHoldsReplies(isOn) }

    /// Appends a record; `held` are the stripes of all that is in it, locked.
    func append(_ effects: ByteView, databaseIndex: Int, milliseconds: Int64, held: StripeSet) {
        guard let sink else { return }
        let sequence = sink.append(effects, databaseIndex, milliseconds)
        held.forEach { lastSequences[$0] = sequence }
    }

    /// The last record that what was read in the stripes `held`, which are locked, may be about.
    func lastSequence(held: StripeSet) -> UInt64 {
        var result: UInt64 = 0
        held.forEach { result = max(result, lastSequences[$0]) }
        return result
    }

    /// The last record of all. The caller holds a stripe, or the sink does not change any more.
    var appendedSequence: UInt64 { sink?.appendedSequence() ?? 0 }

    func noteLoss() { sink?.noteLoss() }

    /// What has happened to a key without a command: it goes because it is due, or in the way, or members of it do. Its
    /// stripe is locked.
    @inline(never)
    func note(_ event: KeyEvent, key: Key, databaseIndex: Int, milliseconds: Int64) {
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
        writer.bulk(key.bytes)
        guard !writer.hasOverflowed else { return noteLoss() }
        var held = StripeSet()
        held.insert(key.stripeIndex)
        append(writer.bytes, databaseIndex: databaseIndex, milliseconds: milliseconds, held: held)
    }
}
