// One call of a command: what a handler gets.
//
// Lives on the stack of the thread that executes the batch. Everything in it is borrowed: arguments and keys until the
// batch is done, the client until its session ends. The stripes of the keys are locked while the handler runs.

package import KedisProtocol
package import KedisStore
import KedisUtilities

package struct CommandCall: ~Copyable {
    /// The arguments, the command's name at index 0.
    package private(set) var arguments: ArgumentList
    /// The database that the client has selected, at the time of the batch.
    package var keyspace: Keyspace
    /// The keys in the order of the key specs, hashed.
    private var keyBase: UnsafePointer<Key>
    package private(set) var keyCount: Int
    package private(set) var entry: UnsafePointer<CommandEntry>
    package let client: UnsafeMutablePointer<ClientState>
    /// Not counted: the session keeps the engine alive.
    private let engineReference: Unmanaged<Engine>
    package var effects = Effects()
    /// The waiter whose command runs again; nil in a first run. Lives as long as the call.
    let waiter: Unmanaged<Waiter>?
    /// Set by `block`.
    var blockRequest: BlockRequest?

    init(
        arguments: ArgumentList, keyspace: Keyspace, keyBase: UnsafePointer<Key>, keyCount: Int,
        entry: UnsafePointer<CommandEntry>, client: UnsafeMutablePointer<ClientState>, engine: Unmanaged<Engine>,
        waiter: Unmanaged<Waiter>? = nil
    ) {
        self.arguments = arguments
        self.keyspace = keyspace
        self.keyBase = keyBase
        self.keyCount = keyCount
        self.entry = entry
        self.client = client
        engineReference = engine
        self.waiter = waiter
    }

    /// The next command of the same batch, in the place of one that is done.
    @inline(__always)
    mutating func begin(
        arguments: ArgumentList, keyBase: UnsafePointer<Key>, keyCount: Int, entry: UnsafePointer<CommandEntry>
    ) {
        self.arguments = arguments
        self.keyBase = keyBase
        self.keyCount = keyCount
        self.entry = entry
        effects.begin()
        if blockRequest != nil { blockRequest = nil }
    }

    package var engine: Engine { engineReference.takeUnretainedValue() }

    /// What `read` says of the configuration: without counting references, which are atomic, and all threads'.
    @inline(__always)
    func setting<Value>(_ read: (borrowing Configuration) -> Value) -> Value {
        engineReference._withUnsafeGuaranteedRef { read($0.configuration) }
    }

    package var nowMilliseconds: Int64 { keyspace.nowMilliseconds }

    /// The first key.
    package var key: Key { key(0) }

    /// The key at `index` in the order of the key specs.
    package func key(_ index: Int) -> Key {
        assert(index >= 0 && index < keyCount)
        return keyBase[index]
    }

    /// The key at `index` for a loop over all of them: every 16th call starts to load what the next 16 lookups touch,
    /// so that their cache misses overlap.
    @inline(__always)
    package func keyInLoop(_ index: Int) -> Key {
        if index & (Self.prefetchCount - 1) == 0, keyCount > 1 {
            let count = min(Self.prefetchCount, keyCount - index)
            keyspace.prefetch(UnsafeBufferPointer(start: keyBase + index, count: count))
        }
        return key(index)
    }

    private static let prefetchCount = 16

    /// The argument at `index` as an integer.
    package func integer(at index: Int) throws(CommandError) -> Int64 {
        guard let value = parseInteger(arguments[index]) else { throw .notAnInteger }
        return value
    }

    /// Notes that the command changed `key`: counted for the save rules, given to EXPLAIN, journal and notifications.
    package mutating func changed(_ key: Key, _ event: StaticString) {
        effects.note(event, key: key, databaseIndex: keyspace.databaseIndex)
    }

    /// Notes a change beside the value of `key` (groups of a stream): counted and notified, but neither those who watch
    /// the key nor caches hear of it.
    package mutating func changedBeside(_ key: Key, _ event: StaticString) {
        effects.noteBeside(event, key: key, databaseIndex: keyspace.databaseIndex)
    }

    /// Notes an event that is part of a change that is counted already (`expire` of SET … EX, the two of RENAME).
    package mutating func notified(_ key: Key, _ event: StaticString, databaseIndex: Int? = nil) {
        effects.noteEvent(event, key: key, databaseIndex: databaseIndex ?? keyspace.databaseIndex)
    }
}

/// What a command did, collected while it runs and applied before its stripes are unlocked.
package struct Effects {
    /// The number of changes, as `rdb_changes_since_last_save` counts them.
    package private(set) var changeCount = 0
    /// Somebody wants to know the keys.
    var isObserved = false
    /// Writes down what is changed, while there is a journal.
    var scribe: EffectScribe?
    /// Told of the keys that change, while anybody wants to know: see EffectObserver.swift.
    var observer: Unmanaged<EffectObserver>?
    /// Keeps the events, for EXPLAIN ANALYZE.
    private(set) var recorder: EventRecorder?

    /// Nothing has been done yet; who wants to know stays.
    @inline(__always)
    mutating func begin() { changeCount = 0 }

    /// From now on the events are kept.
    mutating func record() {
        recorder = EventRecorder()
        isObserved = true
    }

    mutating func note(_ name: StaticString, key: Key, databaseIndex: Int) {
        changeCount += 1
        noteEvent(name, key: key, databaseIndex: databaseIndex)
    }

    mutating func noteEvent(_ name: StaticString, key: Key, databaseIndex: Int) {
        if isObserved { observeSlowly(name, key, databaseIndex) }
    }

    mutating func noteBeside(_ name: StaticString, key: Key, databaseIndex: Int) {
        changeCount += 1
        if isObserved { observeSlowly(name, key, databaseIndex, isBeside: true) }
    }

    /// Counts changes that belong to no single key (FLUSHALL, SWAPDB).
    mutating func noteChanges(_ count: Int) { changeCount += count }

    @inline(never)
    private mutating func observeSlowly(
        _ name: StaticString, _ key: Key, _ databaseIndex: Int, isBeside: Bool = false
    ) {
        observer?.takeUnretainedValue().note(name, key, databaseIndex: databaseIndex, isBeside: isBeside)
        recorder?.events.append(EventRecorder.Event(name: name, key: key.bytes.bytes, databaseIndex: databaseIndex))
    }
}

/// The events of a call, in their order.
package final class EventRecorder {
    struct Event {
        var name: StaticString
        var key: [UInt8]
        var databaseIndex: Int
    }

    fileprivate(set) var events: [Event] = []
}
