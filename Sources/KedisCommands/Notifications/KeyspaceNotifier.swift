// Keyspace notifications: what happens to keys, published to whoever listens to `__keyspace@0__:key` or
// `__keyevent@0__:event`.
//
//   command ─▶ effects ─▶ EffectObserver ─┐
//   store: a key expires, goes, is new ───┴▶ notify ─▶ the hub ─▶ postboxes
//
// It is called under the lock of the key's stripe, so that the notifications of a key come in the order of its changes.
//
// Threads: any. Cost: nothing while `notify-keyspace-events` is empty (Interest.swift); else a lookup for each channel,
// and a message for each that has subscribers.

import KedisStore
import KedisUtilities
import Synchronization

package final class KeyspaceNotifier: Sendable {
    private let hub: MessageHub
    private let interest: InterestWord
    private let rawClasses = Atomic<UInt32>(0)

    init(_ hub: MessageHub, _ interest: InterestWord) {
        self.hub = hub
        self.interest = interest
    }

    var classes: KeyspaceEventClasses { KeyspaceEventClasses(rawValue: rawClasses.load(ordering: .relaxed)) }

    func set(_ classes: KeyspaceEventClasses) {
        rawClasses.store(classes.rawValue, ordering: .relaxed)
        interest.setNotifications(classes.isOn)
    }

    /// What a command has done to a key. The caller rings `bells` when it holds no stripe.
    func notify(_ event: StaticString, key: ByteView, databaseIndex: Int, bells: inout [Postbox]) {
        let classes = classes
        guard classes.isOn, !classes.isDisjoint(with: KeyspaceEventClasses(ofEvent: event)) else { return }
        publish(ByteView(event), key, databaseIndex, classes, &bells)
    }

    /// What has happened to a key in the store, by itself or beside a command.
    func notify(_ event: KeyEvent, key: ByteView, databaseIndex: Int) {
        let classes = classes
        guard classes.isOn else { return }
        let (name, eventClass) = Self.description(of: event)
        guard classes.contains(eventClass) else { return }
        var bells: [Postbox] = []
        publish(ByteView(name), key, databaseIndex, classes, &bells)
        for postbox in bells { postbox.ring() }
    }

    private static func description(of event: KeyEvent) -> (StaticString, KeyspaceEventClasses) {
        switch event {
        case .expired: ("expired", .expired)
        case .evicted: ("evicted", .evicted)
        case .membersExpired(.set, _): ("sexpired", .set)
        case .membersExpired(.sortedSet, _): ("zexpired", .sortedSet)
        case .membersExpired: ("hexpired", .hash)
        case .emptied: ("del", .generic)
        case .created: ("new", .created)
        case .missed: ("keymiss", .missed)
        }
    }

    private func publish(
        _ event: ByteView, _ key: ByteView, _ databaseIndex: Int, _ classes: KeyspaceEventClasses,
        _ bells: inout [Postbox]
    ) {
        if classes.contains(.keyspaceChannels) {
            publish(event, to: key, "__keyspace@", databaseIndex, &bells)
        }
        if classes.contains(.eventChannels) {
            publish(key, to: event, "__keyevent@", databaseIndex, &bells)
        }
    }

    /// Without memory nobody is notified: notifications are best effort.
    private func publish(
        _ payload: ByteView, to name: ByteView, _ prefix: StaticString, _ databaseIndex: Int, _ bells: inout [Postbox]
    ) {
        let head = ByteView(prefix)
        let digitCountMax = 20
        let byteCountMax = head.count + digitCountMax + 3 + name.count
        guard let memory = allocateBuffer(byteCount: byteCountMax) else { return }
        defer { deallocateBuffer(memory) }
        let channel = memory.bindMemory(to: UInt8.self, capacity: byteCountMax)
        var count = 0
        func put(_ bytes: ByteView) {
            UnsafeMutableRawPointer(channel + count).copyMemory(from: bytes.base, byteCount: bytes.count)
            count += bytes.count
        }
        put(head)
        count += formatInteger(Int64(databaseIndex), into: channel + count)
        put("__:")
        put(name)
        _ = hub.publish(payload, to: ByteView(base: UnsafePointer(channel), count: count), from: nil, bells: &bells)
    }
}
