// The compression of strings in RDB files: the LZF format, as liblzf reads and writes it.
//
// The stream is a sequence of
//   000lllll                    followed by l+1 bytes to copy
//   LLLooooo oooooooo           L = 1…6: copy L+2 bytes from o+1 bytes back in the output
//   111ooooo llllllll oooooooo  the same for l+9 bytes
// Copies may overlap their own output. Neither count is in the stream: whoever stores it stores both.
//
// Ownership: inputs are borrowed, the compressed bytes are a new array. Damaged input gives false, never a trap or an
// access outside the two buffers. Cost: one pass; compressing takes a table of up to 64 KiB for the call.

package import KedisUtilities

private let maximumLiteralCount = 32
private let maximumDistance = 1 << 13
private let maximumMatchCount = 2 + 7 + 255
private let minimumMatchCount = 3

/// Compresses `input`, or gives nil when the result would not be at least 4 bytes shorter: then it is not worth it.
package func lzfCompress(_ input: ByteView) -> [UInt8]? {
    // Positions are kept in 32 bits; values are at most 512 MiB.
    guard input.count > 4 && input.count < Int(UInt32.max) else { return nil }
    let capacity = input.count - 4
    let tableBits = min(14, max(8, Int.bitWidth - input.count.leadingZeroBitCount))
    let result = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
        guard let base = buffer.baseAddress else { return }
        count = withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 1 << tableBits) { table in
            table.initialize(repeating: 0)
            var encoder = LZFEncoder(input: input, output: base, capacity: capacity)
            return encoder.run(table: table, tableBits: tableBits) ? encoder.outputCount : 0
        }
    }
    return result.isEmpty ? nil : result
}

private struct LZFEncoder {
    let input: ByteView
    let output: UnsafeMutablePointer<UInt8>
    let capacity: Int
    var outputCount = 0

    init(input: ByteView, output: UnsafeMutablePointer<UInt8>, capacity: Int) {
        self.input = input
        self.output = output
        self.capacity = capacity
    }

    /// Encodes the input; false when it does not fit. `table` maps hashes of three bytes to positions + 1, all 0 now.
    mutating func run(table: UnsafeMutableBufferPointer<UInt32>, tableBits: Int) -> Bool {
        var position = 0
        var literalStart = 0
        while position + minimumMatchCount <= input.count {
            let slot = slot(at: position, bits: tableBits)
            let candidate = Int(table[slot]) - 1
            table[slot] = UInt32(truncatingIfNeeded: position + 1)
            let matchCount = candidate < 0 ? 0 : countMatch(candidate, position)
            guard matchCount >= minimumMatchCount else {
                // The longer nothing repeats, the larger the steps: incompressible data passes quickly.
                position += 1 + (position - literalStart) >> 6
                continue
            }
            guard writeLiterals(literalStart..<position), writeMatch(matchCount, distance: position - candidate)
            else { return false }
            position += matchCount
            literalStart = position
            // The last bytes of a match are likely to start the next one.
            if position + 1 <= input.count {
                table[self.slot(at: position - 2, bits: tableBits)] = UInt32(truncatingIfNeeded: position - 1)
            }
        }
        return writeLiterals(literalStart..<input.count)
    }

    /// The slot for the three bytes at `position`, which lie in the input.
    private func slot(at position: Int, bits: Int) -> Int {
        let word =
            UInt32(input[position]) << 16 | UInt32(input[position + 1]) << 8 | UInt32(input[position + 2])
        return Int(truncatingIfNeeded: (word &* 0x9e37_79b1) >> UInt32(truncatingIfNeeded: 32 - bits))
    }

    /// How many bytes at `position` repeat those at `candidate`, which comes before; 0 when that is too far back.
    private func countMatch(_ candidate: Int, _ position: Int) -> Int {
        guard position - candidate <= maximumDistance else { return 0 }
        let limit = min(input.count - position, maximumMatchCount)
        var count = 0
        while count < limit && input[candidate + count] == input[position + count] { count += 1 }
        return count
    }

    private mutating func writeLiterals(_ range: Range<Int>) -> Bool {
        let runCount = (range.count + maximumLiteralCount - 1) / maximumLiteralCount
        guard range.count + runCount <= capacity - outputCount else { return false }
        var start = range.lowerBound
        while start < range.upperBound {
            let count = min(range.upperBound - start, maximumLiteralCount)
            output[outputCount] = UInt8(truncatingIfNeeded: count - 1)
            (output + outputCount + 1).update(from: input.base + start, count: count)
            outputCount += 1 + count
            start += count
        }
        return true
    }

    private mutating func writeMatch(_ count: Int, distance: Int) -> Bool {
        guard capacity - outputCount >= 3 else { return false }
        let offset = distance - 1
        let code = count - 2
        output[outputCount] = UInt8(truncatingIfNeeded: min(code, 7) << 5 | offset >> 8)
        outputCount += 1
        if code >= 7 {
            output[outputCount] = UInt8(truncatingIfNeeded: code - 7)
            outputCount += 1
        }
        output[outputCount] = UInt8(truncatingIfNeeded: offset)
        outputCount += 1
        return true
    }
}

/// Restores what `input` holds into the first `byteCount` bytes of `output`; false when `input` is damaged, does not
/// give exactly `byteCount` bytes, or `output` is too small. Then the contents of `output` mean nothing.
package func lzfDecompress(_ input: ByteView, byteCount: Int, into output: UnsafeMutableRawBufferPointer) -> Bool {
    guard byteCount >= 0 && byteCount <= output.count else { return false }
    guard let base = output.baseAddress, byteCount > 0 else { return byteCount == 0 && input.isEmpty }
    var read = 0
    var written = 0
    while read < input.count {
        let control = Int(input[read])
        read += 1
        if control < maximumLiteralCount {
            let count = control + 1
            guard count <= input.count - read && count <= byteCount - written else { return false }
            (base + written).copyMemory(from: input.base + read, byteCount: count)
            read += count
            written += count
            continue
        }
        var count = control >> 5 + 2
        if count == 9 {
            guard read < input.count else { return false }
            count += Int(input[read])
            read += 1
        }
        guard read < input.count else { return false }
        let distance = (control & 0x1f) << 8 + Int(input[read]) + 1
        read += 1
        guard distance <= written && count <= byteCount - written else { return false }
        copyBack(base + written, distance: distance, count: count)
        written += count
    }
    return written == byteCount
}

/// Copies `count` bytes to `destination` from `distance` bytes before it. Where they overlap, the bytes just written
/// are read again: that is how runs are encoded.
private func copyBack(_ destination: UnsafeMutableRawPointer, distance: Int, count: Int) {
    let source = destination - distance
    if distance >= count {
        destination.copyMemory(from: source, byteCount: count)
        return
    }
    for index in 0..<count {
        let byte = source.load(fromByteOffset: index, as: UInt8.self)
        destination.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
    }
}
