// The seam between a client's connection and what encrypts it. The shell itself knows no TLS: who makes it brings one.

/// What encrypts one connection: bytes in, bytes out, no I/O. Used by one thread.
package protocol WireEncryption: AnyObject {
    /// The handshake is done, as far as this side can know.
    var isEstablished: Bool { get }
    /// The server has said that nothing more comes.
    var isEnded: Bool { get }

    /// Begins the handshake.
    func begin() throws(WireError)
    /// Takes what has come from the server.
    func receive(_ bytes: [UInt8]) throws(WireError)
    /// Encrypts what is to go to the server.
    func send(_ bytes: [UInt8]) throws(WireError)
    /// What is to go to the socket, now and once.
    func takeOutgoing() -> [UInt8]
    /// What the server has said, once.
    func takeIncoming() -> [UInt8]
}
