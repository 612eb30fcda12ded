// Output that a socket did not take, or input that nobody takes yet: pieces of at most 1 MiB, each freed when it was
// taken, so that a long reply goes as its peer takes it. What is short fills up the last piece first.
//
// Ownership: a socket's; it owns its pieces. Threads: the loop's. Bounds: the connection's (`client-output-…`). Cost: a
// copy of what waits; nothing when nothing does.

import KedisCommands
import KedisUtilities

struct ByteQueue: ~Copyable {
    private struct Piece {
        let base: UnsafeMutablePointer<UInt8>
        let capacity: Int
        var start = 0
        var end = 0
    }

    private var pieces: [Piece] = []
    /// Pieces before this one were sent.
    private var first = 0
    private(set) var byteCount = 0

    /// What a piece has room for at least: for the next short replies.
    private static let pieceByteCountMin = 16 << 10

    init() {}

    deinit { for piece in pieces[first...] { deallocateBuffer(piece.base) } }

    /// Copies `bytes`; false when there is no memory for them.
    mutating func append(_ bytes: ByteView) -> Bool {
        var rest = bytes
        if first < pieces.count {
            let last = pieces.count - 1
            rest = rest[fill(last, rest)..<rest.count]
        }
        while rest.count > 0 {
            let capacity = min(ClientMemory.outputPieceByteCount, max(rest.count, Self.pieceByteCountMin))
            guard let memory: UnsafeMutablePointer<UInt8> = resizeBuffer(nil, capacity: capacity) else { return false }
            pieces.append(Piece(base: memory, capacity: capacity))
            rest = rest[fill(pieces.count - 1, rest)..<rest.count]
        }
        return true
    }

    /// Copies as much as a piece has room for; returns how much that is.
    private mutating func fill(_ index: Int, _ bytes: ByteView) -> Int {
        let count = min(bytes.count, pieces[index].capacity - pieces[index].end)
        guard count > 0 else { return 0 }
        (pieces[index].base + pieces[index].end).update(from: bytes.base, count: count)
        pieces[index].end += count
        byteCount += count
        return count
    }

    /// What is to be sent next: empty when nothing waits.
    var next: ByteView {
        guard first < pieces.count else { return .empty }
        let piece = pieces[first]
        return ByteView(base: UnsafePointer(piece.base + piece.start), count: piece.end - piece.start)
    }

    /// The first `count` bytes of ``next`` were sent.
    mutating func removeFirst(_ count: Int) {
        pieces[first].start += count
        byteCount -= count
        guard pieces[first].start == pieces[first].end else { return }
        deallocateBuffer(pieces[first].base)
        first += 1
        if first == pieces.count {
            pieces = []
            first = 0
        } else if first == 64 {
            pieces.removeFirst(first)
            first = 0
        }
    }
}
