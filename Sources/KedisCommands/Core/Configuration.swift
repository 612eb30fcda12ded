// The configuration that the engine works with.

package import Synchronization

package final class Configuration: Sendable {
    /// `proto-max-bulk-len`
    package let bulkByteCountMax = Atomic<Int>(512 << 20)
    /// `client-query-buffer-limit`
    package let queryBufferByteCountMax = Atomic<Int>(1 << 30)

    package init() {}
}
