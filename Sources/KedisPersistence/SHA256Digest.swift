// SHA-256, by swift-crypto: what is kept of passwords.

import Crypto
package import KedisUtilities

/// The 32 bytes of SHA-256 of `bytes`.
@Sendable package func sha256(_ bytes: ByteView) -> [UInt8] {
    var hash = SHA256()
    hash.update(bufferPointer: bytes.raw)
    return hash.finalize().withUnsafeBytes { Array($0) }
}
