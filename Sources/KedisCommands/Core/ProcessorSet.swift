// Sets of processors as the kernel's tools write them: numbers and ranges between commas, a range with an optional
// stride behind a colon (`0,2-5,8-14:2`).

import KedisUtilities

/// The most processors that a set can name, as many as the system's own sets have.
package let processorCountMax = 1024

/// The processors of `text`, empty for "all"; nil when it cannot be read.
package func processorSet(_ text: String) -> Set<Int>? {
    var result: Set<Int> = []
    guard !text.isEmpty else { return result }
    for piece in text.utf8.split(separator: 0x2C, omittingEmptySubsequences: false) {
        guard let part = processors(of: String(Substring(piece))) else { return nil }
        result.formUnion(part)
    }
    return result
}

private func processors(of piece: String) -> Set<Int>? {
    let parts = piece.utf8.split(separator: 0x3A, omittingEmptySubsequences: false).map { String(Substring($0)) }
    let ends = parts[0].utf8.split(separator: 0x2D, omittingEmptySubsequences: false).map { String(Substring($0)) }
    guard parts.count <= 2, ends.count <= 2, let first = number(ends[0]) else { return nil }
    guard ends.count == 2 else { return parts.count == 1 ? [first] : nil }
    guard let last = number(ends[1]), last >= first else { return nil }
    guard parts.count == 2 else { return Set(first...last) }
    guard let step = number(parts[1]), step > 0 else { return nil }
    return Set(stride(from: first, through: last, by: step))
}

private func number(_ text: String) -> Int? {
    guard let value = text.withBytes(parseInteger), value >= 0, value < Int64(processorCountMax) else { return nil }
    return Int(value)
}
