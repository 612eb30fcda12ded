// A key for a value in the making: what it is to replace stays until it is whole.
//
// It lies in the stripe of the key that it is for, whose lock is held, so nobody else sees it; a rename within a stripe
// passes the value on. O(1) expected: one of 64 names is in the right stripe.

import KedisStore
import KedisUtilities

extension Keyspace {
    /// Calls `body` with a key of the same stripe as `key` that is not there. What is left at it is removed.
    func withScratchKey(
        beside key: Key, _ body: (Key) throws(CommandError) -> Void
    ) throws(CommandError) {
        var name: (UInt64, UInt64) = (0x6863_7461_7263_7320, 0)
        try withUnsafeMutableBytes(of: &name) { (room) throws(CommandError) in
            var number: UInt64 = 0
            while true {
                number &+= 1
                room.storeBytes(of: number, toByteOffset: 8, as: UInt64.self)
                let scratch = self.key(ByteView(UnsafeRawBufferPointer(room)))
                guard scratch.stripeIndex == key.stripeIndex, peek(scratch) == nil else { continue }
                defer { _ = remove(scratch) }
                return try body(scratch)
            }
        }
    }
}
