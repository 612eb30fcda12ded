// A connection's socket on a native loop: reads into the loop's buffer, sends what the socket did not take at once.
//
// The system tells once each time that there is more to read or more room (edge-triggered). So what it has told is kept
// (`isReadable`) while nothing is to be read, and a socket that still has something goes on in the next round: one read
// a round is what a connection gets, however much its peer sends.
//
// Ownership: the loop keeps the socket until it is closed and the round is over; the socket owns descriptor, connection
// and queue. Threads: the loop's. Cost: a read is one system call; nothing is told to the system but at the beginning.

#if os(Linux)

import CKedis
import KedisCommands
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

class NativeSocket: EventSource, ConnectionTransport {
    // Unowned and unchecked: the loop keeps the socket, never the other way round, and ends after it.
    final unowned(unsafe) let loop: NativeLoop
    final let connection: Connection
    final private(set) var descriptor: Int32
    private var output = ByteQueue()
    final private(set) var isReading = true
    /// The system has told of something that was not read.
    private var isReadable = false
    /// What it has told of the peer's end, once and for all.
    private var endFlags: UInt32 = 0
    /// All was read up to the end.
    private var isAtEnd = false
    private var closesWhenSent = false
    /// It goes on in the next round, with these flags.
    private var isListed = false
    private var listedFlags: UInt32 = 0

    /// Pieces of the queue that are sent before others have their turn.
    private static let sentPiecesMax = 4

    required init(
        server: ServerContext, clients: LoopClients, loop: NativeLoop, endpoint: ClientEndpoint,
        identifier: Int64? = nil
    ) {
        self.loop = loop
        descriptor = endpoint.descriptor
        connection = Connection(server: server, clients: clients, endpoint: endpoint, identifier: identifier)
    }

    /// Begins to read. On the loop's thread, once.
    func begin() {
        connection.begin(self)
        if !startReceiving() { connection.close() }
    }

    func startReceiving() -> Bool {
        let flags = kedis_event_input | kedis_event_output | kedis_event_peer_ended
        return loop.add(self, descriptor, flags, isEdge: true)
    }

    /// The socket will be closed.
    func stopReceiving() {}

    // MARK: Events

    override func isReady(_ flags: UInt32) {
        if isListed { listedFlags |= flags } else { take(flags) }
    }

    override func goOn() {
        isListed = false
        let flags = listedFlags
        listedFlags = 0
        take(flags)
    }

    final func goOnLater(_ flags: UInt32) {
        listedFlags |= flags
        guard !isListed, descriptor >= 0 else { return }
        isListed = true
        loop.listForNextRound(self)
    }

    @inline(__always)
    private func take(_ flags: UInt32) {
        if flags & kedis_event_output != 0, output.byteCount > 0 { sendQueued() }
        if flags & ~kedis_event_output != 0 { read(flags) }
    }

    func read(_ flags: UInt32) {
        endFlags |= flags & (kedis_event_broken | kedis_event_peer_ended)
        isReadable = true
        guard isReading, !isAtEnd, descriptor >= 0 else { return leaveUnread(flags) }
        loop.makeRoom()
        let room = loop.readAhead.room
        let count = kedis_receive(descriptor, room, ReadAhead.readByteCountMax)
        guard count > 0 else { return endReading(count) }
        // A read that does not fill the buffer has emptied the socket, unless the peer has ended behind it. (So do
        // urgent data and descriptors that are sent along; whoever sends them, which no client does, sends on.)
        isReadable = count == ReadAhead.readByteCountMax || endFlags != 0
        let input = UnsafeRawBufferPointer(start: room, count: count)
        if loop.putOff(self, byteCount: count) {
            connection.planAhead(input)
        } else {
            execute(input, on: loop)
        }
    }

    override func join(_ group: inout SessionGroup) { connection.join(&group) }

    override func execute(_ input: UnsafeRawBufferPointer, on loop: NativeLoop) {
        connection.receive(input)
        connection.readIsComplete()
        if isReadable, isReading { goOnLater(kedis_event_input) }
    }

    /// Nothing is to be read now. A connection that is broken takes nothing either, so it ends. One whose peer has only
    /// closed it may still have something to read.
    @inline(never)
    final func leaveUnread(_ flags: UInt32) {
        if flags & kedis_event_error != 0, descriptor >= 0 { connection.close() }
    }

    /// Nothing was read: the peer has ended its side, there is nothing, or the connection is broken.
    @inline(never)
    private func endReading(_ count: Int) {
        if count == 0 {
            isAtEnd = true
            return connection.peerHasEnded()
        }
        switch errno {
        case EAGAIN, EWOULDBLOCK: isReadable = false
        case EINTR: goOnLater(kedis_event_input)
        default: connection.close()
        }
    }

    // MARK: What the connection wants

    var isActive: Bool { descriptor >= 0 }

    var queuedByteCount: Int { output.byteCount }

    final func setReading(_ isOn: Bool) {
        isReading = isOn
        readingHasChanged()
    }

    func readingHasChanged() {
        if isReading, isReadable, !isAtEnd { goOnLater(kedis_event_input) }
    }

    func queue(_ bytes: ByteView) -> Bool { output.append(bytes) }

    func closeWhenSent() { closesWhenSent = true }

    func close() {
        guard descriptor >= 0 else { return }
        stopReceiving()
        loop.remove(self)
        closeDescriptor(descriptor)
        descriptor = -1
        output = ByteQueue()
        connection.socketIsGone()
    }

    override func wasRemoved() { connection.end() }

    // MARK: Sending

    /// Sends what waits, as far as the socket takes it.
    @inline(never)
    private func sendQueued() {
        var sentByteCount = 0, isBroken = false
        for number in 0... {
            let next = output.next
            guard next.count > 0 else { break }
            guard number < Self.sentPiecesMax else {
                goOnLater(kedis_event_output)
                break
            }
            let count = kedis_send(descriptor, next.base, next.count)
            if count < 0 {
                isBroken = errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR
                if errno == EINTR { goOnLater(kedis_event_output) }
                break
            }
            output.removeFirst(count)
            sentByteCount += count
            if count < next.count { break }
        }
        if isBroken { return connection.close() }
        if sentByteCount > 0 { connection.wasSent(sentByteCount) }
        if closesWhenSent, output.byteCount == 0 { close() }
    }
}

/// The C function, whose name a method above hides.
private func closeDescriptor(_ descriptor: Int32) { close(descriptor) }

#endif
