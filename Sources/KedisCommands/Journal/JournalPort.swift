// Where the effects of commands go that are to outlive the process: the engine's side of a journal.
//
//      batch under its locks ─▶ commands ─▶ EffectScribe collects ─▶ JournalPort ─▶ the sink's one record ─▶ unlock
//
// A record holds what one batch, or one transaction, has changed: all or nothing of it is there after a crash. It is
// appended before the stripes are unlocked, so records have the order in which conflicting changes were made. Each has
// the time that its commands went by: executing them again at that time gives the same, deadlines included.
//
// Threads: the sink is set with all stripes locked and used with at least one; who holds none asks a copy under a lock.

import KedisProtocol
import KedisStore
package import KedisUtilities
import Synchronization

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
    /// That of the last one which is on disk; 0 while the journal has a hole.
    package var durableSequence: @Sendable () -> UInt64
    /// What a command has changed could not be written down for want of memory: the journal has a hole.
    package var noteLoss: @Sendable () -> Void

    package init(
        append: @escaping @Sendable (ByteView, Int, Int64) -> UInt64,
        appendedSequence: @escaping @Sendable () -> UInt64 = { 0 },
        durableSequence: @escaping @Sendable () -> UInt64 = { 0 }, noteLoss: @escaping @Sendable () -> Void = {}
    ) {
        self.append = append
        self.appendedSequence = appendedSequence
        self.durableSequence = durableSequence
        self.noteLoss = noteLoss
    }
}

package final class JournalPort: @unchecked Sendable {
    // Sendable: `sink` is written with all stripes locked, and read with one of them; a stripe's sequence is used with
    // its lock.

    private var sink: JournalSink?
    /// The same, for those who hold no stripe.
    private let shared = Locked<JournalSink?>(nil)
    private let interest: InterestWord
    /// Of each slot, which the first bits of a key's hash name, the last record that may be about its keys: kept while
    /// replies are held. Those of a stripe lie together.
    private var slots: UnsafeMutablePointer<UInt64>?
    /// Of each stripe, the last record about all of it.
    private var floors: UnsafeMutablePointer<UInt64>?

    /// Clients that wait until a record is on disk.
    let durabilityWaiters = Locked<[Waiter]>([])

    /// Up to this record, whose keys they are about is not known.
    private let unknownSequence = Atomic<UInt64>(0)

    /// 256 slots for each stripe: who reads a key that is not written seldom waits for another one that is.
    private static let slotBits: UInt64 = 14
    private static let slotCount = 1 << slotBits

    init(_ interest: InterestWord) { self.interest = interest }

    deinit {
        slots?.deallocate()
        floors?.deallocate()
    }

    static func slot(of key: Key) -> Int { Int(truncatingIfNeeded: key.hash >> (64 - slotBits)) }

    /// From now on effects go to `sink`, or nowhere. All stripes are locked.
    package func connect(_ sink: JournalSink?) {
        self.sink = sink
        shared.withLock { $0 = sink }
        if slots == nil {
            slots = .allocate(capacity: Self.slotCount)
            slots?.initialize(repeating: 0, count: Self.slotCount)
            floors = .allocate(capacity: Store.stripeCount)
            floors?.initialize(repeating: 0, count: Store.stripeCount)
        }
        interest.setJournal(sink != nil)
    }

    /// Whether sessions keep account of the records that their replies are about (`Session.neededSequence`), so that
    /// no reply leaves before them. What was begun before the change is held or not, as it comes.
    package func setHoldsReplies(_ isOn: Bool) {
        guard interest.current.holdsReplies != isOn else { return }
        // Which keys the records until now are about, nobody has kept.
        if isOn { unknownSequence.store(appendedSequence, ordering: .relaxed) }
        interest.setHoldsReplies(isOn)
        // Those of batches that had begun are among them.
        if isOn { unknownSequence.store(appendedSequence, ordering: .relaxed) }
    }

    /// Appends a record and returns its sequence; the stripes of all that is in it are locked.
    func append(_ effects: ByteView, databaseIndex: Int, milliseconds: Int64) -> UInt64 {
        sink?.append(effects, databaseIndex, milliseconds) ?? 0
    }

    /// A record is about the keys of a slot, whose stripe is locked.
    func note(_ sequence: UInt64, slot: Int) { slots?[slot] = sequence }

    /// A record is about all that is in the stripes `held`, which are locked.
    func note(_ sequence: UInt64, all held: StripeSet) { held.forEach { floors?[$0] = sequence } }

    /// The last record that what was read of `keys`, whose stripes are locked, may be about.
    func lastSequence(of keys: UnsafeBufferPointer<Key>) -> UInt64 {
        var result = unknownSequence.load(ordering: .relaxed)
        guard let slots, let floors else { return result }
        for key in keys { result = max(result, slots[Self.slot(of: key)], floors[key.stripeIndex]) }
        return result
    }

    /// The last record of all.
    package var appendedSequence: UInt64 { shared.withLock { $0 }?.appendedSequence() ?? 0 }

    /// The last record that is on disk; 0 without a journal.
    var durableSequence: UInt64 { shared.withLock { $0 }?.durableSequence() ?? 0 }

    func noteLoss() { sink?.noteLoss() }

    /// What has happened to a key without a command: it goes because it is due, or in the way, or members of it do. Its
    /// stripe is locked.
    @inline(never)
    func note(_ event: KeyEvent, key: Key, databaseIndex: Int, milliseconds: Int64) {
        let name: ByteView
        var milliseconds = milliseconds
        switch event {
        case .expired, .evicted, .emptied: name = "DEL"
        // Members go when somebody looks at the value after their time: not later than who has done so.
        case .membersExpired(let type, let nowMilliseconds):
            name = type == .hash ? "HLEN" : type == .set ? "SCARD" : "ZCARD"
            milliseconds = nowMilliseconds
        case .created, .missed: return
        }
        var writer = ReplyWriter()
        writer.array(2)
        writer.bulk(name)
        writer.bulk(key.bytes)
        guard !writer.hasOverflowed else { return noteLoss() }
        let sequence = append(writer.bytes, databaseIndex: databaseIndex, milliseconds: milliseconds)
        note(sequence, slot: Self.slot(of: key))
    }
}
