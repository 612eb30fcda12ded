// A reply as a value: what clients of the protocol (the shell, the embedding API, the tests) work with.
//
// The engine never builds one: handlers write bytes through `ReplyWriter`. Cost: an array per aggregate, an array per
// string; made by `ReplyDecoder`.

/// One reply of a Redis-compatible server, RESP2 or RESP3, as it was on the wire.
///
/// Source: the RESP2 and RESP3 specifications.
public indirect enum Reply: Equatable, Sendable {
    /// `+OK`
    case simple([UInt8])
    /// `-ERR …`: the text without the dash, its first word being the code.
    case error([UInt8])
    /// `:1`
    case integer(Int64)
    /// `$3 foo`
    case bulk([UInt8])
    /// `$-1` (RESP2) or `_` (RESP3).
    case null
    /// `*-1` (RESP2 only).
    case nullArray
    /// `*2 …`
    case array([Reply])
    /// `%2 …` (RESP3): the entries in wire order.
    case map([Entry])
    /// `~2 …` (RESP3)
    case set([Reply])
    /// `>2 …` (RESP3)
    case push([Reply])
    /// `,1.5` (RESP3): the text as sent, since its form is part of the protocol.
    case double([UInt8])
    /// `#t` (RESP3)
    case boolean(Bool)
    /// `(123…` (RESP3): the digits.
    case bigNumber([UInt8])
    /// `=15 txt:…` (RESP3): a three-byte format and the text.
    case verbatim(format: [UInt8], text: [UInt8])

    /// A key and its value in a map reply.
    public struct Entry: Equatable, Sendable {
        public var key: Reply
        public var value: Reply

        public init(key: Reply, value: Reply) {
            self.key = key
            self.value = value
        }
    }
}
