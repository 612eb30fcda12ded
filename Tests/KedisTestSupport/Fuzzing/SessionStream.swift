// What one connection received in one step, as replies and messages apart.
//
// A message (published, or an invalidation) may stand anywhere: redis-server 7.0 puts those of a client to itself before
// its reply or in the midst of EXEC's replies, where a decoder would count them as elements. So the bytes are taken
// token by token: frames of messages go out, everything else stays as it is. Confirmations of SUBSCRIBE and the like are
// replies. Never fails: bytes that are no RESP stay where they are.

import KedisProtocol

package struct SessionStream: Equatable {
    /// Bytes without messages.
    package var replies: [UInt8] = []
    /// Frames of published messages, in order.
    package var messages: [[UInt8]] = []
    /// Frames of invalidations, in order.
    package var invalidations: [[UInt8]] = []

    package init(_ bytes: [UInt8]) {
        var index = 0
        var confirmations: [[UInt8]] = []
        while index < bytes.count {
            let frame = Self.frame(bytes, at: index)
            let end = frame?.end ?? Self.token(bytes, at: index)?.end ?? bytes.count
            let piece = Array(bytes[index..<end])
            if frame?.kind != .confirmation { flush(&confirmations) }
            switch frame?.kind {
            case .confirmation: confirmations.append(piece)
            case .invalidation: invalidations.append(piece)
            case .message: messages.append(piece)
            case nil: replies += piece
            }
            index = end
        }
        flush(&confirmations)
    }

    /// `order of unsubscriptions`: the channels of several confirmations, sorted, and what was left after each of them.
    private mutating func flush(_ confirmations: inout [[UInt8]]) {
        guard !confirmations.isEmpty else { return }
        let parts = confirmations.map { frame in
            let end = (frame.lastIndex(of: 0x3A)).map { Int($0) } ?? frame.count
            return (channel: Array(frame[..<end]), count: Array(frame[end...]))
        }
        replies += parts.map(\.channel).sorted { $0.lexicographicallyPrecedes($1) }.flatMap { $0 }
        replies += parts.flatMap(\.count)
        confirmations = []
    }

    // MARK: Tokens

    private enum Kind { case message, invalidation, confirmation }

    /// A token at `index`: its end, its type, and the number of values that follow it as its own.
    private static func token(_ bytes: [UInt8], at index: Int) -> (end: Int, type: UInt8, count: Int)? {
        guard let lineEnd = bytes[index...].firstIndex(of: 0x0A) else { return nil }
        let type = bytes[index]
        let number = Int(String(decoding: bytes[(index + 1)..<max(index + 1, lineEnd - 1)], as: UTF8.self)) ?? 0
        switch type {
        case UInt8(ascii: "$"), UInt8(ascii: "="):
            guard number >= 0 else { return (lineEnd + 1, type, 0) }
            let end = lineEnd + 1 + number + 2
            return end <= bytes.count ? (end, type, 0) : nil
        case UInt8(ascii: "*"), UInt8(ascii: ">"), UInt8(ascii: "~"): return (lineEnd + 1, type, max(0, number))
        case UInt8(ascii: "%"): return (lineEnd + 1, type, 2 * max(0, number))
        default: return (lineEnd + 1, type, 0)
        }
    }

    private static let names: [[UInt8]: Kind] = [
        Array("message".utf8): .message, Array("pmessage".utf8): .message, Array("smessage".utf8): .message,
        Array("invalidate".utf8): .invalidation, Array("tracking-redir-broken".utf8): .invalidation,
        Array("unsubscribe".utf8): .confirmation, Array("punsubscribe".utf8): .confirmation,
        Array("sunsubscribe".utf8): .confirmation,
    ]
    private static let channel = Array("__redis__:invalidate".utf8)

    /// The frame of a message at `index`, if there is one.
    private static func frame(_ bytes: [UInt8], at index: Int) -> (kind: Kind, end: Int)? {
        guard let head = token(bytes, at: index), head.type == UInt8(ascii: "*") || head.type == UInt8(ascii: ">"),
            (2...4).contains(head.count), head.end < bytes.count, let word = text(bytes, at: head.end),
            var kind = names[word]
        else { return nil }
        var end = head.end
        var missing = head.count
        while missing > 0 {
            guard end < bytes.count, let token = token(bytes, at: end) else { return nil }
            if head.count == 3, missing == 2, kind == .message, text(bytes, at: end) == channel { kind = .invalidation }
            end = token.end
            missing += token.count - 1
        }
        return (kind, end)
    }

    /// The bytes of a bulk string at `index`.
    private static func text(_ bytes: [UInt8], at index: Int) -> [UInt8]? {
        guard bytes[index] == UInt8(ascii: "$"), let token = token(bytes, at: index),
            let start = bytes[index...].firstIndex(of: 0x0A), token.end - 2 > start
        else { return nil }
        return Array(bytes[(start + 1)..<(token.end - 2)])
    }
}
