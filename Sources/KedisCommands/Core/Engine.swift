// The engine: store, command table, configuration and clients, shared by all sessions and threads.
//
// Immutable but for atomics and what its members guard themselves. No I/O: see Host.

package import KedisStore
import KedisUtilities
package import Synchronization

/// The times that the engine asks for. A test gives its own.
package struct EngineClock: Sendable {
    /// Since 1970: deadlines and TIME.
    package var wallMicroseconds: @Sendable () -> Int64
    /// For durations only.
    package var monotonicNanoseconds: @Sendable () -> UInt64

    package init(
        wallMicroseconds: @escaping @Sendable () -> Int64, monotonicNanoseconds: @escaping @Sendable () -> UInt64
    ) {
        self.wallMicroseconds = wallMicroseconds
        self.monotonicNanoseconds = monotonicNanoseconds
    }

    package static var system: EngineClock {
        EngineClock(
            wallMicroseconds: { KedisUtilities.wallClockMicroseconds() },
            monotonicNanoseconds: { KedisUtilities.monotonicNanoseconds() }
        )
    }

    package var wallMilliseconds: Int64 { wallMicroseconds() / 1000 }
}

package final class Engine: Sendable {
    package let store: Store
    package let table: CommandTable
    package let configuration: Configuration
    package let host: Host
    package let clock: EngineClock
    package let clients: ClientRegistry
    package let statistics = EngineStatistics()
    /// DEBUG SET-ACTIVE-EXPIRE: whether the background tick removes what is due.
    package let isActiveExpiryEnabled = Atomic<Bool>(true)
    /// Seeds the random generators of sessions, one after another.
    private let nextSeed: Atomic<UInt64>
    private let conditionBits = Atomic<UInt32>(0)

    /// - Parameter seed: makes random picks repeatable; the store has its own.
    package init(
        store: Store, configuration: Configuration = Configuration(), host: Host = Host(), clock: EngineClock = .system,
        seed: UInt64, table: CommandTable = CommandTable(allCommandSpecs)
    ) {
        self.store = store
        self.configuration = configuration
        self.host = host
        self.clock = clock
        self.table = table
        nextSeed = Atomic(seed)
        clients = ClientRegistry()
    }

    /// States in which some commands are refused.
    package var conditions: AdmissionCondition {
        AdmissionCondition(rawValue: conditionBits.load(ordering: .relaxed))
    }

    package func set(_ condition: AdmissionCondition, to isOn: Bool) {
        if isOn {
            conditionBits.bitwiseOr(condition.rawValue, ordering: .relaxed)
        } else {
            conditionBits.bitwiseAnd(~condition.rawValue, ordering: .relaxed)
        }
    }

    func makeRandomGenerator() -> RandomGenerator {
        RandomGenerator(seed: nextSeed.wrappingAdd(0x9E37_79B9_7F4A_7C15, ordering: .relaxed).newValue)
    }
}

/// Counters that INFO shows. Sessions add to them once a batch.
package final class EngineStatistics: Sendable {
    package let commandsProcessed = Atomic<UInt64>(0)
    package let connectionsReceived = Atomic<UInt64>(0)
    package let connectionsRejected = Atomic<UInt64>(0)
    package let inputByteCount = Atomic<UInt64>(0)
    package let outputByteCount = Atomic<UInt64>(0)
    package let errorReplies = Atomic<UInt64>(0)

    package init() {}

    /// CONFIG RESETSTAT
    package func reset() {
        commandsProcessed.store(0, ordering: .relaxed)
        connectionsReceived.store(0, ordering: .relaxed)
        connectionsRejected.store(0, ordering: .relaxed)
        inputByteCount.store(0, ordering: .relaxed)
        outputByteCount.store(0, ordering: .relaxed)
        errorReplies.store(0, ordering: .relaxed)
    }
}
