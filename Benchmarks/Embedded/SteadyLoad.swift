// A program's other thread: GETs and SETs on a database while something big happens, and the longest wait of each.

import Kedis
import KedisUtilities

/// Keys that the load uses and that nothing else touches.
let steadyKeyCount = 100_000

extension KedisConnection {
    func execute(bytes arguments: [UInt8]...) -> Reply { execute(arguments) }

    func set(_ prefix: Prefix, _ index: Int) {
        let reply = execute(bytes: Array("SET".utf8), itemArray(prefix, index), itemArray(.value, index))
        if case .error(let text) = reply { preconditionFailure(String(decoding: text, as: UTF8.self)) }
    }

    /// The number of keys in the database.
    var keyCount: Int {
        guard case .integer(let count) = execute(bytes: Array("DBSIZE".utf8)) else { return -1 }
        return Int(count)
    }

    /// The figure that `maxmemory` is compared with.
    var usedByteCount: Int {
        guard case .bulk(let text) = execute("INFO", "memory") else { return -1 }
        let line = String(decoding: text, as: UTF8.self).split(whereSeparator: \.isNewline)
            .first { $0.hasPrefix("used_memory:") }
        return line.flatMap { Int($0.dropFirst("used_memory:".utf8.count)) } ?? -1
    }
}

/// GETs and SETs of the steady keys, alternately, until it is stopped.
func startSteadyLoad(on database: KedisDatabase) -> RepeatingThread<WaitRecorder> {
    RepeatingThread { goesOn in
        let connection = database.connect()
        var random = RandomGenerator(seed: 4)
        var waits = WaitRecorder()
        while goesOn() {
            let index = random.next(below: steadyKeyCount)
            recordGetAndSet(connection, itemArray(.key, index), itemArray(.value, index), &waits)
        }
        return waits
    }
}

private let (getName, setName) = (Array("GET".utf8), Array("SET".utf8))

/// Reads a key and sets it, and notes how long either took.
func recordGetAndSet(_ connection: KedisConnection, _ key: [UInt8], _ value: [UInt8], _ waits: inout WaitRecorder) {
    var start = monotonicNanoseconds()
    _ = connection.execute(bytes: getName, key)
    waits.record(from: start, to: monotonicNanoseconds())
    start = monotonicNanoseconds()
    _ = connection.execute(bytes: setName, key, value)
    waits.record(from: start, to: monotonicNanoseconds())
}

func milliseconds(_ nanoseconds: UInt64) -> Figure { .decimal(Double(nanoseconds) / 1e6, digits: 2) }
