// The vocabulary of RDB files (docs/formats/rdb.md): versions, opcodes, value types, and what can be wrong with a file.
//
// Values only; nothing is owned. Numbers are facts of the format that Redis writes up to 7.4.

package import KedisUtilities

package enum RDBFormat {
    /// The version that is written: the one of Redis 7.0, which everything since then reads.
    package static let writtenVersion = 10
    /// The newest version that is read: the one of Redis 7.4 and 8.
    package static let newestVersion = 12
    /// The version that brought deadlines of fields.
    static let fieldDeadlinesVersion = 12
    /// Files below this version end without a checksum.
    static let checksumVersion = 5
    static let magic: StaticString = "REDIS"
    static let headerByteCount = 9
    static let checksumByteCount = 8
    /// Strings up to this length are not worth compressing.
    static let incompressibleByteCountMax = 20
    /// Only strings up to this length can be an integer encoding: the digits and sign of an Int32.
    static let integerTextByteCountMax = 11
    /// Keys are limited to what a client can send: 512 MiB.
    static let keyByteCountMax = 512 << 20
}

/// The bytes between entries. Everything below them is the type of a value.
enum RDBOpcode {
    static let slotInfo: UInt8 = 244
    static let function: UInt8 = 245
    static let functionOfPrerelease: UInt8 = 246
    static let moduleAuxiliary: UInt8 = 247
    static let idle: UInt8 = 248
    static let frequency: UInt8 = 249
    static let auxiliary: UInt8 = 250
    static let resizeDatabase: UInt8 = 251
    static let expireTimeMilliseconds: UInt8 = 252
    static let expireTimeSeconds: UInt8 = 253
    static let selectDatabase: UInt8 = 254
    static let end: UInt8 = 255
}

/// The last six bits of a length whose first two are set: how a string is encoded.
enum RDBStringEncoding {
    static let int8: UInt8 = 0
    static let int16: UInt8 = 1
    static let int32: UInt8 = 2
    static let lzf: UInt8 = 3
}

let rdbStringType: UInt8 = 0

/// The kinds of values that are read, each in all the types in which it can be stored.
enum RDBValueKind {
    case string
    case list
    case sortedSet
    case set
    case hash
    case stream

    init?(type: UInt8) {
        switch type {
        case rdbStringType: self = .string
        case _ where RDBListType.isList(type): self = .list
        case _ where RDBSortedSetType.isSortedSet(type): self = .sortedSet
        case _ where RDBSetType.isSet(type): self = .set
        case _ where RDBHashType.isHash(type): self = .hash
        case _ where RDBStreamType.isStream(type): self = .stream
        default: return nil
        }
    }
}

/// What a value type that is not loaded yet is called in messages, or nil for a number that Redis up to 7.4 does not
/// use.
func rdbTypeName(_ type: UInt8) -> String? {
    switch type {
    case 6, 7: "a module's value"
    case 22, 23: "a hash of a prerelease of Redis 7.4"
    default: nil
    }
}

/// Why a file in RDB format could not be read, and where.
package struct RDBError: Error, Equatable, Sendable {
    /// From the start of the file, in bytes: where the item begins that could not be read.
    package let offset: Int
    package let reason: Reason

    package enum Reason: Equatable, Sendable {
        case notRDB
        case newerVersion(Int)
        case unsupportedVersion(Int)
        /// The file ends before `neededByteCount` bytes that must follow.
        case truncated(neededByteCount: Int)
        case badLength(UInt8)
        case lengthTooLarge(UInt64)
        case badStringEncoding(UInt8)
        case badCompression
        /// A collection is empty or damaged.
        case badCollection
        case unknownOpcode(UInt8)
        /// A value type that is not loaded yet: its name with its article, and the key.
        case unsupportedType(name: String, key: String)
        case module(String)
        case prereleaseFunctions
        case badChecksum(stored: UInt64, computed: UInt64)
        case databaseOutOfRange(index: UInt64, databaseCount: Int)
        case duplicateKey(String)
        case trailingBytes(Int)
        case outOfMemory(byteCount: Int)
        /// The source failed with this `errno`.
        case readFailed(Int32)
    }

    package init(offset: Int, reason: Reason) {
        self.offset = offset
        self.reason = reason
    }
}

extension RDBError: CustomStringConvertible {
    /// One line: where and what.
    package var description: String { "at byte \(offset): \(explanation)" }

    /// What is wrong, for people.
    package var explanation: String {
        switch reason {
        case .notRDB: "this is no RDB file: it does not start with REDIS and a version"
        case .newerVersion(let version):
            "RDB version \(version) is newer than \(RDBFormat.newestVersion), the newest that Kedis reads"
        case .unsupportedVersion(let version): "there is no RDB version \(version)"
        case .truncated(let needed): "the file ends early: \(needed) more bytes are needed here"
        case .badLength(let byte): "a length cannot start with the byte \(byte)"
        case .lengthTooLarge(let length): "the length \(length) is larger than anything that the file could hold"
        case .badStringEncoding(let encoding): "a string has the unknown encoding \(encoding)"
        case .badCompression: "a compressed string is damaged"
        case .badCollection: "a collection is empty or damaged"
        case .unknownOpcode(let opcode): "the byte \(opcode) is no type and no opcode that this version of Kedis knows"
        case .unsupportedType(let name, let key):
            "the key '\(key)' holds \(name), which this version of Kedis cannot load yet"
        case .module(let name): "data of the module '\(name)', which Kedis cannot load"
        case .prereleaseFunctions: "functions in the form of a release candidate of Redis 7.0, which nothing else reads"
        case .badChecksum(let stored, let computed):
            "the checksum is wrong: the file says \(hexadecimal(stored)), its bytes give \(hexadecimal(computed))"
        case .databaseOutOfRange(let index, let count):
            "the file has a database \(index), but this server has \(count): start it with more databases"
        case .duplicateKey(let key): "the key '\(key)' is there twice"
        case .trailingBytes(let count): "\(count) bytes follow the end of the data"
        case .outOfMemory(let byteCount): "no memory for \(byteCount) bytes"
        case .readFailed(let code): "reading failed with error \(code)"
        }
    }

    private func hexadecimal(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// A key as messages show it: what cannot be printed is replaced, what is long is cut.
package func rdbKeyText(_ key: ByteView) -> String {
    let shown = key[0..<min(64, key.count)]
    let printable = shown.buffer.map { $0 >= 0x20 && $0 < 0x7f ? $0 : 0x3f }
    return String(decoding: printable, as: UTF8.self) + (key.count > shown.count ? "…" : "")
}
