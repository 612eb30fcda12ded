// What anybody wants to know of what commands do, as one word that a batch reads once under its locks: if nobody wants
// anything, which is nearly always, effects cost nothing.
//
//      ┌──────────────────┬───────────────────┬────────┐
//      │ waiters          │ watching clients  │ flags  │    counts, because each comes and goes by itself; the
//      │ 24 bits          │ 24                │ 16     │
//      └──────────────────┴───────────────────┴────────┘    highest flag: clients are paused
//
// Threads: atomic. Whoever waits for a key, or watches it, counts itself under the lock of the key's stripe, so that a
// batch that holds it sees the count. Cost: a line of its own, which only changes of interest write.

import Synchronization

/// What is wanted, at one moment.
package struct Interest: Sendable {
    fileprivate static let waiterUnit: UInt64 = 1
    fileprivate static let waiterMask: UInt64 = (1 << 24) - 1
    fileprivate static let watcherUnit: UInt64 = 1 << 24
    fileprivate static let watcherMask: UInt64 = waiterMask << 24
    fileprivate static let pauseBit: UInt64 = 1 << 63

    fileprivate static let notifications: UInt64 = 1 << 48

    fileprivate static let tracking: UInt64 = 1 << 49

    fileprivate static let monitors: UInt64 = 1 << 50

    fileprivate static let journal: UInt64 = 1 << 51
    fileprivate static let heldReplies: UInt64 = 1 << 52

    /// What is not about which keys change.
    private static let others = monitors | pauseBit | journal | heldReplies

    fileprivate let bits: UInt64

    init(bits: UInt64 = 0) { self.bits = bits }

    @inline(__always)
    var isEmpty: Bool { bits == 0 }

    /// Somebody waits for a key: Blocking/Serving.swift.
    package var hasWaiters: Bool { bits & Interest.waiterMask != 0 }

    /// Somebody watches a key: Transactions/WatchTable.swift.
    package var hasWatchers: Bool { bits & Interest.watcherMask != 0 }

    /// Commands may have to wait: Session/PauseGate.swift.
    package var isPaused: Bool { bits & Interest.pauseBit != 0 }

    /// Clients track what they read, or all changes: Tracking/TrackingTable.swift.
    var hasTracking: Bool { bits & Interest.tracking != 0 }

    /// Keyspace notifications are on: Notifications/KeyspaceNotifier.swift.
    var hasNotifications: Bool { bits & Interest.notifications != 0 }

    /// Somebody wants to see every command: Observability/MonitorRegistry.swift.
    package var hasMonitors: Bool { bits & Interest.monitors != 0 }

    /// What commands change is written down: Journal/EffectScribe.swift.
    package var hasJournal: Bool { bits & Interest.journal != 0 }

    /// Replies wait until what they are about is on disk: Journal/JournalPort.swift.
    package var holdsReplies: Bool { bits & Interest.heldReplies != 0 }

    /// Nobody wants to know more than what is written to the journal: batches of several sessions may be executed
    /// together.
    @inline(__always)
    var leavesGroups: Bool { bits & ~(Interest.journal | Interest.heldReplies) == 0 }

    /// Somebody wants to know which keys change.
    var concernsEffects: Bool { bits & ~Interest.others != 0 }
}

package final class InterestWord: Sendable {
    private let padding: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0)
    private let word = Atomic<UInt64>(0)
    private let morePadding: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0, 0)

    @inline(__always)
    package var current: Interest { Interest(bits: word.load(ordering: .relaxed)) }

    func addWaiter() { word.wrappingAdd(Interest.waiterUnit, ordering: .relaxed) }

    func removeWaiter() { word.wrappingSubtract(Interest.waiterUnit, ordering: .relaxed) }

    func setNotifications(_ isOn: Bool) { set(Interest.notifications, to: isOn) }

    func setTracking(_ isOn: Bool) { set(Interest.tracking, to: isOn) }

    /// One caller at a time.
    func setMonitors(_ isOn: Bool) { set(Interest.monitors, to: isOn) }

    /// All stripes are locked.
    func setJournal(_ isOn: Bool) { set(Interest.journal, to: isOn) }

    func setHoldsReplies(_ isOn: Bool) { set(Interest.heldReplies, to: isOn) }

    private func set(_ flag: UInt64, to isOn: Bool) {
        if isOn {
            word.bitwiseOr(flag, ordering: .relaxed)
        } else {
            word.bitwiseAnd(~flag, ordering: .relaxed)
        }
    }

    func addWatcher() { word.wrappingAdd(Interest.watcherUnit, ordering: .relaxed) }

    func removeWatcher() { word.wrappingSubtract(Interest.watcherUnit, ordering: .relaxed) }

    func setPaused(_ isOn: Bool) { set(Interest.pauseBit, to: isOn) }
}
