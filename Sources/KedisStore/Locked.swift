// A value behind a lock of our own, for state that threads share off the data path (clients, directives, saving).
//
// Ownership: it owns the value, which is reached only inside `withLock`. Cost: the lock of a stripe (StripeLock), and
// the value's memory of its own.
//
// Not the standard library's Mutex: the thread sanitizer does not see into that one and reports races between threads
// that hold it in turn (Swift 6.3.1, 2026-11), which would bury the true ones.

@usableFromInline
package struct Locked<Value>: ~Copyable, @unchecked Sendable {
    // Sendable: the value is only touched under the lock, and what goes in or out is sent.

    @usableFromInline let lock = StripeLock()
    @usableFromInline let value: UnsafeMutablePointer<Value>

    @inlinable
    package init(_ value: consuming sending Value) {
        self.value = .allocate(capacity: 1)
        self.value.initialize(to: value)
    }

    @inlinable
    deinit {
        value.deinitialize(count: 1)
        value.deallocate()
    }

    /// Calls `body` with the value while no other thread has it. Not recursive; keep it short.
    @inlinable
    package borrowing func withLock<Result: ~Copyable, Failure: Error>(
        _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
        lock.lock()
        defer { lock.unlock() }
        return try body(&value.pointee)
    }
}
