// ASCII without locales: command names, options and directives ignore the case of A-Z and of nothing else.
//
// Cost: one compare and one select a byte.

/// `byte` with A-Z replaced by a-z; every other byte as it is.
@inlinable
package func asciiLowercased(_ byte: UInt8) -> UInt8 {
    byte &- 0x41 < 26 ? byte | 0x20 : byte
}

/// `byte` with a-z replaced by A-Z; every other byte as it is.
@inlinable
package func asciiUppercased(_ byte: UInt8) -> UInt8 {
    byte &- 0x61 < 26 ? byte & 0xdf : byte
}

/// Whether `byte` is one of 0-9.
@inlinable
package func isASCIIDigit(_ byte: UInt8) -> Bool {
    byte &- 0x30 < 10
}

/// Whether `byte` is what C's `isspace` calls white space: a blank or one of tab, line feed, vertical tab, form feed
/// and carriage return.
@inlinable
package func isASCIISpace(_ byte: UInt8) -> Bool {
    byte == 0x20 || byte &- 0x09 < 5
}
