// How bytes become readable text, by the rules that users know from redis-cli. The way back is `splitArguments`.
//
// Pure functions, linear in their input. Any bytes are accepted.

package import KedisUtilities

private let hexDigits = Array("0123456789abcdef".utf8)

/// The bytes in double quotes, everything but printable ASCII escaped; `splitArguments` reads it back.
package func quoted(_ bytes: [UInt8]) -> String {
    var output: [UInt8] = []
    appendQuoted(bytes, to: &output)
    return String(decoding: output, as: UTF8.self)
}

package func appendQuoted(_ bytes: [UInt8], to output: inout [UInt8]) {
    bytes.withUnsafeBytes { appendQuoted(ByteView($0), to: &output) }
}

package func appendQuoted(_ bytes: ByteView, to output: inout [UInt8]) {
    output.append(UInt8(ascii: "\""))
    for byte in bytes.raw {
        switch byte {
        case UInt8(ascii: "\\"), UInt8(ascii: "\""): output += [UInt8(ascii: "\\"), byte]
        case 10: output += Array("\\n".utf8)
        case 13: output += Array("\\r".utf8)
        case 9: output += Array("\\t".utf8)
        case 7: output += Array("\\a".utf8)
        case 8: output += Array("\\b".utf8)
        case 32...126: output.append(byte)
        default: output += [UInt8(ascii: "\\"), UInt8(ascii: "x"), hexDigits[Int(byte >> 4)], hexDigits[Int(byte & 15)]]
        }
    }
    output.append(UInt8(ascii: "\""))
}
