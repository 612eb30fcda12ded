// The configuration: every directive's value as text, and as atomics what the data path reads.
//
// Ownership: the engine's; one for each store. Threads: any; texts are behind a mutex, hot values are atomics that
// follow the texts. Invariant: texts are valid and normalised. No I/O: who sets directives applies them
// (Host.applyConfiguration). CONFIG SET, files and arguments go through the same checks.

package import KedisStore
package import KedisUtilities
package import Synchronization

/// Why a directive could not be set.
package enum ConfigurationError: Error, Equatable, Sendable {
    case unknown(name: String)
    case refused(name: String, reason: String)

    /// What is wrong, without the name.
    package var reason: String {
        switch self {
        case .unknown(let name): "unknown directive '\(name)'"
        case .refused(_, let reason): reason
        }
    }

    /// The reply of CONFIG SET.
    package var commandText: String {
        switch self {
        case .unknown(let name): "ERR Unknown option or number of arguments for CONFIG SET - '\(name)'"
        case .refused(let name, let reason):
            "ERR CONFIG SET failed (possibly related to argument '\(name)') - \(reason)"
        }
    }
}

/// A directive as it is now.
package struct DirectiveState: Sendable {
    package let spec: DirectiveSpec
    package let value: String
    /// Set by a file, an argument or CONFIG SET.
    package let isGiven: Bool
}

/// A directive that was valid but cannot be applied.
package struct ConfigurationProblem: Error, Equatable, Sendable {
    package var name: String
    package var reason: String

    package init(name: String, reason: String) {
        self.name = name
        self.reason = reason
    }
}

package final class Configuration: Sendable {
    private struct State {
        var texts: [String]
        /// Set by a file, an argument or CONFIG SET.
        var isGiven: [Bool]
    }

    private let state: Locked<State>
    /// Held from reading the state to replacing it: two changes at once must not undo each other.
    private let changing = Locked<Void>(())
    /// `rename-command` and `user`: Configuration+Access.swift.
    let declarations = Locked(Declarations())
    /// Names in lower case, other names too.
    private let indices: [String: Int]

    /// `proto-max-bulk-len`, where it is larger than any string can be: ``stringByteCountMax``.
    package let bulkByteCountMax = Atomic<Int>(512 << 20)
    /// The longest string, whatever is configured: lengths of keys have 32 bits, and sums of lengths must fit an Int.
    package static let stringByteCountMax = Int(UInt32.max)
    /// `hll-sparse-max-bytes`
    package let hyperLogLogSparseByteCountMax = Atomic<Int>(0)
    /// `tracking-table-max-keys`; 0 for no limit.
    let trackedKeyCountMax = Atomic<Int>(0)
    /// `client-query-buffer-limit`
    package let queryBufferByteCountMax = Atomic<Int>(1 << 30)
    /// `client-output-buffer-limit`
    private let normalOutputLimits = HotOutputLimits()
    private let subscriberOutputLimits = HotOutputLimits()
    /// `client-output-pause-limit`
    package let outputPauseByteCount = Atomic<Int>(0)
    /// `client-output-stall-timeout`; 0 for never.
    package let outputStallSeconds = Atomic<Int>(0)
    /// `timeout`; 0 for never.
    package let idleTimeoutSeconds = Atomic<Int>(0)
    /// `maxclients`
    package let clientCountMax = Atomic<Int>(0)
    /// `protected-mode`
    package let isProtected = Atomic<Bool>(true)
    /// `maxmemory`; 0 for none.
    package let memoryByteCountMax = Atomic<Int>(0)
    /// `maxmemory-clients`; 0 for none.
    package let clientMemoryByteCountMax = Atomic<Int>(0)
    /// `activedefrag`
    package let isDefragmenting = Atomic<Bool>(true)
    /// `active-defrag-cycle-max`
    package let maintenancePercentage = Atomic<Int>(25)
    /// `hz`, within what it may be, and `dynamic-hz`.
    package let checksPerSecond = Atomic<Int>(10)
    package let raisesChecksPerSecond = Atomic<Bool>(true)
    /// `tcp-keepalive`; 0 for none.
    package let keepAliveSeconds = Atomic<Int>(0)
    /// `maxmemory-samples`, at most ``evictionSampleCountMax``.
    package let evictionSampleCount = Atomic<Int>(5)
    package static let evictionSampleCountMax = 64
    /// `maxmemory-eviction-tenacity` as the time that one batch of commands may spend on making room.
    package let evictionNanosecondsMax = Atomic<UInt64>(0)
    private let evictionPolicyValue = Atomic<UInt8>(EvictionPolicy.noEviction.rawValue)
    /// `list-max-listpack-size`
    package let listPackSetting = Atomic<Int>(-2)
    /// `zset-max-listpack-entries` and `zset-max-listpack-value`
    private let sortedSetPackedCountMax = Atomic<Int>(0)
    private let sortedSetPackedByteCountMax = Atomic<Int>(0)
    /// `set-max-intset-entries`, `set-max-listpack-entries`, `set-max-listpack-value`
    package let setIntegerCountMax = Atomic<Int>(512)
    package let setPackedCountMax = Atomic<Int>(128)
    package let setPackedByteCountMax = Atomic<Int>(64)
    /// `hash-max-listpack-entries`
    let hashPackedCountMax = Atomic<Int>(512)
    /// `hash-max-listpack-value`
    let hashPackedByteCountMax = Atomic<Int>(64)
    /// `stream-node-max-bytes` and `stream-node-max-entries`; 0 for no limit.
    package let streamNodeByteCountMax = Atomic<Int>(4096)
    package let streamNodeEntryCountMax = Atomic<Int>(100)
    /// `acllog-max-len`
    let accessLogCountMax = Atomic<Int>(128)
    /// `loglevel` as an index in debug, verbose, notice, warning, nothing.
    package let logLevelIndex = Atomic<Int>(2)

    package init() {
        var indices: [String: Int] = [:]
        for (index, spec) in directiveTable.enumerated() {
            for name in [spec.name] + spec.otherNames { indices[name] = index }
        }
        self.indices = indices
        state = Locked(State(texts: directiveTable.map(\.defaultValue), isGiven: directiveTable.map { _ in false }))
        refreshHotValues()
    }

    /// All directives, in the order of their table.
    package static var specs: [DirectiveSpec] { directiveTable }

    // MARK: Reading

    /// The value of a directive; "" for a name that does not exist.
    package func text(_ name: String) -> String {
        guard let index = indices[name] else { return "" }
        return state.withLock { $0.texts[index] }
    }

    package func boolean(_ name: String) -> Bool { text(name) == "yes" }

    /// The value of a directive with a number; 0 for others.
    package func integer(_ name: String) -> Int { Int(text(name)) ?? 0 }

    /// `maxmemory-policy`
    package var evictionPolicy: EvictionPolicy {
        EvictionPolicy(rawValue: evictionPolicyValue.load(ordering: .relaxed)) ?? .noEviction
    }

    /// How cells are to record accesses: the policy, `lfu-log-factor` and `lfu-decay-time`.
    package var accessTracking: AccessTracking {
        var tracking = AccessTracking()
        tracking.countsFrequency = evictionPolicy.countsFrequency
        tracking.logFactor = integer("lfu-log-factor")
        tracking.decayMinutes = integer("lfu-decay-time")
        return tracking
    }

    /// How large a sorted set in its cell may be.
    package var sortedSetLimits: SortedSetLimits {
        SortedSetLimits(
            countMax: sortedSetPackedCountMax.load(ordering: .relaxed),
            memberByteCountMax: sortedSetPackedByteCountMax.load(ordering: .relaxed))
    }

    /// Whether the directive was given by anyone, as opposed to its default.
    package func isGiven(_ name: String) -> Bool {
        guard let index = indices[name] else { return false }
        return state.withLock { $0.isGiven[index] }
    }

    package func spec(_ name: String) -> DirectiveSpec? { indices[name.asciiLowercase].map { directiveTable[$0] } }

    /// The directives whose name matches a glob pattern, in any case, as CONFIG GET shows them.
    package func get(_ pattern: ByteView) -> [(name: String, value: String)] {
        let texts = state.withLock { $0.texts }
        var result: [(name: String, value: String)] = []
        for (spec, text) in zip(directiveTable, texts) where spec.mutability != .inFiles {
            for name in [spec.name] + spec.otherNames
            where name.withBytes({ matchGlob(pattern: pattern, text: $0, ignoringCase: true) }) {
                result.append((name, text))
            }
        }
        return result
    }

    /// All directives as they are at one moment, in the order of their table.
    package var directives: [DirectiveState] {
        let state = state.withLock { $0 }
        return directiveTable.indices.map { index in
            DirectiveState(spec: directiveTable[index], value: state.texts[index], isGiven: state.isGiven[index])
        }
    }

    // MARK: Changing

    /// CONFIG SET: sets all of `pairs`, or nothing.
    ///
    /// - Parameters:
    ///   - allowsProtected: whether this client may set protected directives.
    ///   - apply: told the names that were set; what it answers refuses them, and the old values come back. Until it
    ///     has answered, the texts are new and what the data path reads is old: nobody acts on what may be refused.
    ///   - restore: told the same names when the old values are back: what was applied of the new ones is to follow.
    ///   - follow: told them when the new values hold: what it does cannot fail.
    package func set(
        _ pairs: [(name: String, value: String)], allowsProtected: Bool = false,
        apply: ([String]) -> ConfigurationProblem? = { _ in nil }, restore: ([String]) -> Void = { _ in },
        follow: ([String]) -> Void = { _ in }
    ) throws(ConfigurationError) {
        let changes = try resolve(pairs, allowsProtected: allowsProtected)
        try changing.withLock { _ throws(ConfigurationError) in
            let before = state.withLock { $0 }
            var after = before
            for (index, pair) in zip(changes, pairs) {
                try change(&after, index, to: pair.value, as: pair.name)
                after.isGiven[index] = true
            }
            let names = changes.map { directiveTable[$0].name }
            state.withLock { $0 = after }
            if let problem = apply(names) {
                state.withLock { $0 = before }
                restore(names)
                let index = changes.firstIndex { directiveTable[$0].name == problem.name } ?? 0
                throw .refused(name: pairs[index].name, reason: problem.reason)
            }
            refreshHotValues()
            follow(names)
        }
    }

    /// A line of a file or an option of the command line.
    package func configure(_ name: String, _ arguments: [String]) throws(ConfigurationError) {
        if try declare(name, arguments) { return }
        guard let index = indices[name.asciiLowercase] else { throw .unknown(name: name) }
        let spec = directiveTable[index]
        guard arguments.count == 1 || (arguments.count > 1 && spec.kind.takesSeveralWords) else {
            throw .refused(name: name, reason: "wrong number of arguments")
        }
        try changing.withLock { _ throws(ConfigurationError) in
            var after = state.withLock { $0 }
            var value = arguments.joined(separator: " ")
            if case .saveRules = spec.kind, after.isGiven[index], !value.isEmpty {
                // The first line replaces the default, the next ones add to it; an empty one starts again.
                value = after.texts[index] + " " + value
            }
            try change(&after, index, to: value, as: name)
            after.isGiven[index] = true
            replaceState(with: after)
        }
    }

    /// Puts what the surroundings decide in the place of a default (the number of cores, an absolute path).
    package func settle(_ name: String, _ value: String) {
        guard let index = indices[name] else { return }
        changing.withLock { _ in
            state.withLock { $0.texts[index] = value }
            refreshHotValues()
        }
    }

    /// The same for who is told of a change (`apply` of ``set``), while that is going on.
    package func settleWithinChange(_ name: String, _ value: String) {
        guard let index = indices[name] else { return }
        state.withLock { $0.texts[index] = value }
    }

    private func resolve(
        _ pairs: [(name: String, value: String)], allowsProtected: Bool
    ) throws(ConfigurationError) -> [Int] {
        var result: [Int] = []
        for pair in pairs {
            guard let index = indices[pair.name.asciiLowercase] else { throw .unknown(name: pair.name) }
            switch directiveTable[index].mutability {
            case .inFiles: throw .unknown(name: pair.name)
            case .atRunTime: break
            case .atStart: throw .refused(name: pair.name, reason: "can't set immutable config")
            case .protected where !allowsProtected:
                throw .refused(name: pair.name, reason: "can't set protected config")
            case .protected: break
            }
            if result.contains(index) { throw .refused(name: pair.name, reason: "duplicate parameter") }
            result.append(index)
        }
        return result
    }

    private func change(
        _ state: inout State, _ index: Int, to value: String, as name: String
    ) throws(ConfigurationError) {
        let spec = directiveTable[index]
        do throws(DirectiveReason) {
            state.texts[index] = try spec.normalise(value, previous: state.texts[index])
        } catch {
            throw .refused(name: name, reason: error.text)
        }
    }

    private func replaceState(with new: State) {
        state.withLock { $0 = new }
        refreshHotValues()
    }

    /// The bytes of output beyond which a client is closed at once; 0 for no limit.
    @inline(__always)
    package func outputByteCountMax(isSubscriber: Bool) -> Int {
        isSubscriber ? subscriberOutputLimits.hard : normalOutputLimits.hard
    }

    /// The bytes of output beyond which a client is closed when that lasts for `seconds`; 0 for no limit.
    package func softOutputLimit(isSubscriber: Bool) -> (byteCount: Int, seconds: Int) {
        isSubscriber ? subscriberOutputLimits.soft : normalOutputLimits.soft
    }

    private func refreshHotValues() {
        bulkByteCountMax.store(min(integer("proto-max-bulk-len"), Self.stringByteCountMax), ordering: .relaxed)
        hyperLogLogSparseByteCountMax.store(integer("hll-sparse-max-bytes"), ordering: .relaxed)
        trackedKeyCountMax.store(integer("tracking-table-max-keys"), ordering: .relaxed)
        queryBufferByteCountMax.store(integer("client-query-buffer-limit"), ordering: .relaxed)
        let output = OutputLimits(text("client-output-buffer-limit"))
        normalOutputLimits.set(output.normal)
        subscriberOutputLimits.set(output.subscriber)
        outputPauseByteCount.store(integer("client-output-pause-limit"), ordering: .relaxed)
        outputStallSeconds.store(integer("client-output-stall-timeout"), ordering: .relaxed)
        idleTimeoutSeconds.store(integer("timeout"), ordering: .relaxed)
        keepAliveSeconds.store(integer("tcp-keepalive"), ordering: .relaxed)
        checksPerSecond.store(min(max(1, integer("hz")), 500), ordering: .relaxed)
        raisesChecksPerSecond.store(boolean("dynamic-hz"), ordering: .relaxed)
        clientCountMax.store(integer("maxclients"), ordering: .relaxed)
        isProtected.store(boolean("protected-mode"), ordering: .relaxed)
        setIntegerCountMax.store(integer("set-max-intset-entries"), ordering: .relaxed)
        setPackedCountMax.store(integer("set-max-listpack-entries"), ordering: .relaxed)
        setPackedByteCountMax.store(integer("set-max-listpack-value"), ordering: .relaxed)
        listPackSetting.store(integer("list-max-listpack-size"), ordering: .relaxed)
        sortedSetPackedCountMax.store(integer("zset-max-listpack-entries"), ordering: .relaxed)
        sortedSetPackedByteCountMax.store(integer("zset-max-listpack-value"), ordering: .relaxed)
        hashPackedCountMax.store(integer("hash-max-listpack-entries"), ordering: .relaxed)
        hashPackedByteCountMax.store(integer("hash-max-listpack-value"), ordering: .relaxed)
        streamNodeByteCountMax.store(integer("stream-node-max-bytes"), ordering: .relaxed)
        streamNodeEntryCountMax.store(integer("stream-node-max-entries"), ordering: .relaxed)
        refreshMemoryValues()
        accessLogCountMax.store(integer("acllog-max-len"), ordering: .relaxed)
        let levels = ["debug", "verbose", "notice", "warning", "nothing"]
        logLevelIndex.store(levels.firstIndex(of: text("loglevel")) ?? 2, ordering: .relaxed)
    }

    private func refreshMemoryValues() {
        memoryByteCountMax.store(Int(clamping: UInt64(text("maxmemory")) ?? 0), ordering: .relaxed)
        evictionSampleCount.store(
            min(max(1, integer("maxmemory-samples")), Self.evictionSampleCountMax), ordering: .relaxed)
        evictionNanosecondsMax.store(
            evictionNanoseconds(tenacity: integer("maxmemory-eviction-tenacity")), ordering: .relaxed)
        let policy = EvictionPolicy(name: text("maxmemory-policy")) ?? .noEviction
        evictionPolicyValue.store(policy.rawValue, ordering: .relaxed)
        clientMemoryByteCountMax.store(clientMemoryLimit, ordering: .relaxed)
        isDefragmenting.store(boolean("activedefrag"), ordering: .relaxed)
        maintenancePercentage.store(integer("active-defrag-cycle-max"), ordering: .relaxed)
    }

    /// Below this, `maxmemory-clients` would close clients that do nothing unusual.
    private static let clientMemoryByteCountMin = 128 << 10

    private var clientMemoryLimit: Int {
        let text = text("maxmemory-clients")
        var byteCount = Int(text) ?? 0
        if text.hasSuffix("%"), let percentage = Int(text.dropLast()) {
            byteCount = memoryByteCountMax.load(ordering: .relaxed) / 100 * percentage
        }
        return byteCount > 0 ? max(byteCount, Self.clientMemoryByteCountMin) : 0
    }
}
