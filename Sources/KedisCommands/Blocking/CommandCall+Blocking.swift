// Blocking, for handlers: how a command says that it waits, and what it knows when it runs again.

import KedisProtocol
package import KedisStore
import KedisUtilities

extension CommandCall {
    /// Lets the client wait until one of its keys holds a value of `type`. To be thrown, with nothing written:
    ///
    /// ```swift
    /// let timeout = try call.timeout(at: call.arguments.count - 1)     // BZPOPMIN key [key ...] timeout
    /// for index in 0..<call.keyCount {
    ///     guard let entry = try call.awaitedEntry(index, .sortedSet) else { continue }
    ///     return pop(...)
    /// }
    /// throw call.block(for: .sortedSet, timeoutMilliseconds: timeout)
    /// ```
    ///
    /// The session keeps the command and executes nothing else of this client. Whenever a command notes an event of one
    /// of `keys` (`changed`, `notified`) and the key then holds a value of `type`, the handler is **run again** from
    /// the start, by the thread of that command and under the locks of all keys of both, first the client that has
    /// waited longest. What it replies or throws then goes to the client; when it blocks again, the client goes on
    /// waiting, in its old place and with its old deadline. A timeout is answered with a null array.
    ///
    /// In a call that may not wait (`ClientState.deniesBlocking`: transactions, scripts, EXPLAIN ANALYZE) the reply is
    /// `denied` at once.
    ///
    /// - Parameters:
    ///   - keys: the indices of the keys to wait for, all of them by default. The others (the destination of BLMOVE)
    ///     are those that the command may make ready itself: they are locked as well.
    ///   - timeoutMilliseconds: 0 for ever. See ``timeout(at:)`` and ``timeoutMilliseconds(at:)``.
    ///   - alsoWhenRemoved: the handler is also run again when a key was removed, renamed, flushed or got another type
    ///     (XREADGROUP, which then throws its error).
    ///   - memo: numbers that the next run finds in ``blockMemo`` (what `$` of XREAD stood for).
    ///   - durability: what is to be on disk (WAITAOF).
    package mutating func block(
        for type: ValueType, keys: Range<Int>? = nil, timeoutMilliseconds: Int64, denied: DeniedReply = .nullArray,
        alsoWhenRemoved: Bool = false, memo: [UInt64] = [], durability: AwaitedDurability? = nil
    ) -> CommandError {
        if !isRunAgain {
            blockRequest = BlockRequest(
                type: type, keys: keys ?? 0..<keyCount, timeoutMilliseconds: timeoutMilliseconds, denied: denied,
                isForRemovalToo: alsoWhenRemoved, memo: memo, durability: durability)
        }
        return .blocked
    }

    /// The client has waited: a key has become ready, and this run decides whether it is served.
    package var isRunAgain: Bool { waiter != nil }

    /// What the first run left to this one; empty in the first.
    package var blockMemo: [UInt64] { waiter?.takeUnretainedValue().memo ?? [] }

    /// The entry of a key that the command waits for, looked up for a write; nil when there is none. Another type is an
    /// error at first; a client that waits already goes on waiting for it.
    package func awaitedEntry(_ index: Int, _ type: ValueType) throws(CommandError) -> Entry? {
        guard let entry = keyspace.write(keyInLoop(index)) else { return nil }
        if entry.type == type { return entry }
        if isRunAgain { return nil }
        throw .wrongType
    }

    /// A database as a whole has become another one (SWAPDB, FLUSHDB), or all have when nil: whoever waits for a key
    /// there is looked at. All stripes are locked. Counts no change.
    /// - Parameter isFlushed: caches of clients are told, which are by key, whatever the database.
    package mutating func databaseChanged(_ databaseIndex: Int?, isFlushed: Bool) {
        effects.noteDatabase(databaseIndex, keyspace, isFlushed: isFlushed)
    }

    // MARK: Timeouts

    /// The argument at `index` as a timeout in seconds with a fraction, in milliseconds, rounded up.
    package func timeout(at index: Int) throws(CommandError) -> Int64 {
        guard let seconds = LongDouble.parse(arguments[index]) else {
            throw .literal("ERR timeout is not a float or out of range")
        }
        return try checkedTimeout(seconds.roundedUpThousandfold)
    }

    /// The argument at `index` as a timeout in whole milliseconds (XREAD).
    package func timeoutMilliseconds(at index: Int) throws(CommandError) -> Int64 {
        guard let milliseconds = parseInteger(arguments[index]) else {
            throw .literal("ERR timeout is not an integer or out of range")
        }
        return try checkedTimeout(milliseconds)
    }

    private func checkedTimeout(_ milliseconds: Int64?) throws(CommandError) -> Int64 {
        guard let milliseconds else { throw .literal("ERR timeout is out of range") }
        guard milliseconds >= 0 else { throw .literal("ERR timeout is negative") }
        guard isRunAgain || !milliseconds.addingReportingOverflow(nowMilliseconds).overflow else {
            throw .literal("ERR timeout is out of range")
        }
        return milliseconds
    }
}

extension Effects {
    /// From now on `observer`, which lives longer, is told which keys change.
    mutating func observe(_ observer: EffectObserver) {
        self.observer = Unmanaged.passUnretained(observer)
        isObserved = true
    }

    mutating func noteDatabase(_ databaseIndex: Int?, _ keyspace: Keyspace, isFlushed: Bool) {
        observer?.takeUnretainedValue().noteDatabase(databaseIndex, keyspace, isFlushed: isFlushed)
    }
}
