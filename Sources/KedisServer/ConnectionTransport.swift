// What a connection needs of what carries its bytes: a socket of the native loop (NativeSocket), or a channel of
// SwiftNIO (SessionHandler). All on the loop's thread.
//
// Nothing here is called for a command: short replies go to the socket by the connection itself.

import KedisUtilities

protocol ConnectionTransport: AnyObject {
    /// Bytes can be read and written.
    var isActive: Bool { get }

    /// Output that was queued and that the peer's side has not taken, to the byte: a long reply counts as far as it is
    /// left.
    var queuedByteCount: Int { get }

    /// Whether it reads. What the peer sends meanwhile waits in the system.
    func setReading(_ isOn: Bool)

    /// Copies output that the socket did not take and sends it as the peer takes it; `Connection.wasSent` is told of
    /// it. False when there is no memory, the connection then having to be closed.
    func queue(_ output: ByteView) -> Bool

    /// Closes when all that was queued is sent.
    func closeWhenSent()

    /// Closes at once.
    func close()
}
