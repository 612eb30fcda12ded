// What keys and values can be in a program: in the store they are bytes.

/// A type that keys and values can be given as and read as.
///
/// The store keeps bytes; text is UTF-8, numbers are decimal text, so that `INCR` and its kind work on them.
public protocol KedisValue: Sendable {
    /// The bytes that the store gets.
    var kedisBytes: [UInt8] { get }

    /// The value that `kedisBytes` stand for, or nil when they stand for none.
    init?(kedisBytes: [UInt8])
}

extension String: KedisValue {
    public var kedisBytes: [UInt8] { Array(utf8) }

    /// The text, or nil when the bytes are not UTF-8.
    public init?(kedisBytes: [UInt8]) {
        self.init(validating: kedisBytes, as: UTF8.self)
    }
}

extension [UInt8]: KedisValue {
    public var kedisBytes: [UInt8] { self }

    public init?(kedisBytes: [UInt8]) { self = kedisBytes }
}

extension Int: KedisValue {
    public var kedisBytes: [UInt8] { Array(String(self).utf8) }

    /// The number, or nil when the bytes are not a decimal number of 64 bits.
    public init?(kedisBytes: [UInt8]) {
        self.init(String(decoding: kedisBytes, as: UTF8.self))
    }
}

extension Int64: KedisValue {
    public var kedisBytes: [UInt8] { Array(String(self).utf8) }

    /// The number, or nil when the bytes are not a decimal number of 64 bits.
    public init?(kedisBytes: [UInt8]) {
        self.init(String(decoding: kedisBytes, as: UTF8.self))
    }
}

extension Double: KedisValue {
    /// The shortest text that is read back as the same number.
    public var kedisBytes: [UInt8] { Array(description.utf8) }

    /// The number, or nil when the bytes are not one.
    public init?(kedisBytes: [UInt8]) {
        self.init(String(decoding: kedisBytes, as: UTF8.self))
    }
}
