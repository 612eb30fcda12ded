// One connection of a client: its socket, what encrypts it, and the replies that have begun to arrive.
//
// Owned by one `WireClient`; used by one thread.

import KedisProtocol

final class WireConnection {
    private let socket: Socket
    private let encryption: (any WireEncryption)?
    private var decoder = ReplyDecoder()
    private var chunk = [UInt8](repeating: 0, count: 65_536)

    /// Connects, and does the handshake when there is something to encrypt with.
    init(
        _ endpoint: WireEndpoint, encryption: (any WireEncryption)?, _ patience: WirePatience
    ) throws(WireError) {
        socket = try Socket(endpoint)
        self.encryption = encryption
        guard let encryption else { return }
        try encryption.begin()
        try socket.sendAll(encryption.takeOutgoing())
        while !encryption.isEstablished {
            guard try receive(patience) > 0, !encryption.isEnded else {
                throw WireError(message: "the server closed the connection during the handshake of TLS")
            }
        }
    }

    func send(_ bytes: [UInt8]) throws(WireError) {
        guard let encryption else { return try socket.sendAll(bytes) }
        try encryption.send(bytes)
        try socket.sendAll(encryption.takeOutgoing())
    }

    /// Waits for the next reply or push.
    func nextReply(_ patience: WirePatience) throws(WireError) -> Reply {
        while true {
            do {
                if let reply = try decoder.next() { return reply }
            } catch {
                // An alert of TLS: the answer of its port to who speaks something else.
                let isAlert = encryption == nil && chunk[0] == 0x15 && chunk[1] == 0x03
                guard !isAlert else { throw WireError(message: "the server speaks TLS on this port (--tls)") }
                throw WireError(message: "Protocol error: \(error.message)")
            }
            let isEnded = encryption?.isEnded ?? false
            let byteCount = isEnded ? 0 : try receive(patience)
            if byteCount == 0 { throw WireError(message: "Server closed the connection") }
        }
    }

    /// False if the server has closed the connection or it is broken; does not wait.
    func isAlive() -> Bool {
        guard let encryption else { return socket.isAlive() }
        // What has arrived may be the end of the connection, or only news of TLS. Who sends on and on is alive.
        for _ in 0..<16 where socket.hasBytes() {
            do throws(WireError) {
                guard try receive(WirePatience()) > 0 else { return false }
            } catch {
                return false
            }
        }
        return !encryption.isEnded
    }

    /// Waits for bytes and takes them. Returns how many there were; 0 at the end.
    private func receive(_ patience: WirePatience) throws(WireError) -> Int {
        let count = try socket.receive(into: &chunk, patience)
        guard count > 0 else { return 0 }
        guard let encryption else {
            chunk.withUnsafeBytes { decoder.append(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
            return count
        }
        defer { encryption.takeIncoming().withUnsafeBytes { decoder.append($0) } }
        do throws(WireError) {
            try encryption.receive(Array(chunk[..<count]))
        } catch {
            // The server is told why, if it still listens.
            try? socket.sendAll(encryption.takeOutgoing())
            throw error
        }
        try socket.sendAll(encryption.takeOutgoing())
        return count
    }
}
