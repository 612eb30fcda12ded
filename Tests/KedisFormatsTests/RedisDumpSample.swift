// What redis-server 7.0.15 answered to DUMP for a value that it compressed: the type, the marks and two counts of a
// compressed string, its 93 bytes, the version, the checksum.

enum RedisDumpSample {
    static let value = [UInt8]((0..<12).map { "line \($0) of the compressed value, " }.joined().utf8)
    static let payload: [UInt8] = bytes(
        """
        00c3405d4182\
        1f6c696e652030206f662074686520636f6d707265737365642076616c75652c20006c401f0031e0161f0032e0161f0033e0\
        161f0034e0161f0035e0161f0036e0161f0037e0161f0038e0161f0039e0161f0031e11840e11041012c20\
        0a00050aa3104bb1a17d
        """)
    static let compressed = Array(payload[6..<99])

    private static func bytes(_ hexadecimal: String) -> [UInt8] {
        let digits = Array(hexadecimal)
        return stride(from: 0, to: digits.count, by: 2).compactMap { UInt8(String(digits[$0...$0 + 1]), radix: 16) }
    }
}
