// The compression of strings in RDB files: the LZF format, as liblzf reads and writes it.
//
// The stream is a sequence of
//   000lllll                    followed by l+1 bytes to copy
//   LLLooooo oooooooo           L = 1…6: copy L+2 bytes from o+1 bytes back in the output
//   111ooooo llllllll oooooooo  the same for l+9 bytes
// Copies may overlap their own output. Neither count is in the stream: whoever stores it stores both.
//
// Ownership: inputs are borrowed, the compressed bytes are a new array. Damaged input gives false, never a trap or an
// access outside the two buffers. Cost: one pass; compressing takes a table for the call, of 8 KiB, from inputs
// of 64 KiB on of 64.

package import KedisUtilities

private let maximumLiteralCount = 32
private let maximumDistance = 1 << 13
private let maximumMatchCount = 2 + 7 + 255
private let minimumMatchCount = 3

/// Compresses `input`, or gives nil when the result would not be at least 4 bytes shorter: then it is not worth it.
package func lzfCompress(_ input: ByteView) -> [UInt8]? {
    let result = [UInt8](unsafeUninitializedCapacity: max(0, input.count - 4)) { buffer, count in
        if let base = buffer.baseAddress { count = lzfCompress(input, into: base) }
    }
    return result.isEmpty ? nil : result
}

/// The same to `output`, which has room for 4 bytes less than the input; how many bytes that took, 0 for none.
package func lzfCompress(_ input: ByteView, into output: UnsafeMutablePointer<UInt8>) -> Int {
    // Positions are kept in 32 bits; values are at most 512 MiB.
    guard input.count > 4 && input.count < Int(UInt32.max) else { return 0 }
    var encoder = LZFEncoder(input: input, output: output, capacity: input.count - 4)
    // Clearing a table takes as long as compressing some hundred bytes.
    let isDone =
        input.count < Int(UInt16.max) ? encoder.run(UInt16.self, bitCountMax: 12)
        : encoder.run(UInt32.self, bitCountMax: 14)
    return isDone ? encoder.outputCount : 0
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

    /// Encodes the input with a table of up to 2^`bitCountMax` positions; false when it does not fit.
    @inline(__always)
    mutating func run<Position: FixedWidthInteger>(_ type: Position.Type, bitCountMax: Int) -> Bool {
        let bitCount = min(bitCountMax, max(8, Int.bitWidth - input.count.leadingZeroBitCount))
        return withUnsafeTemporaryAllocation(of: Position.self, capacity: 1 << bitCount) { table in
            guard let base = table.baseAddress else { return false }
            base.initialize(repeating: 0, count: 1 << bitCount)
            return encode(table: base, shift: UInt32(truncatingIfNeeded: 32 - bitCount))
        }
    }

    /// `table` maps hashes of three bytes to positions, all 0 now: the bytes tell whether they are the same.
    @inline(__always)
    private mutating func encode<Position: FixedWidthInteger>(
        table: UnsafeMutablePointer<Position>, shift: UInt32
    ) -> Bool {
        // Nothing is before the first.
        var position = 1
        var literalStart = 0
        // The last three bytes are literals, so that four can be read everywhere.
        while position &+ 4 <= input.count {
            let word = word(at: position)
            let slot = slot(of: word, shift)
            let candidate = Int(truncatingIfNeeded: table[slot])
            table[slot] = Position(truncatingIfNeeded: position)
            guard (word ^ self.word(at: candidate)) & 0xFF_FFFF == 0, position &- candidate <= maximumDistance else {
                // The longer nothing repeats, the larger the steps: incompressible data passes quickly.
                position &+= 1 &+ (position &- literalStart) >> 6
                continue
            }
            let matchCount = countMatch(candidate, position)
            guard writeMatch(matchCount, distance: position &- candidate, behind: literalStart..<position) else {
                return false
            }
            position &+= matchCount
            literalStart = position
            // The last bytes of a match are likely to start the next one.
            if position &+ 2 <= input.count {
                table[self.slot(of: self.word(at: position &- 2), shift)] = Position(truncatingIfNeeded: position &- 2)
            }
        }
        return writeLiterals(literalStart..<input.count)
    }

    /// Four bytes, the first the lowest.
    @inline(__always)
    private func word(at position: Int) -> UInt32 {
        UInt32(littleEndian: UnsafeRawPointer(input.base + position).loadUnaligned(as: UInt32.self))
    }

    /// The slot of the first three bytes of a word.
    @inline(__always)
    private func slot(of word: UInt32, _ shift: UInt32) -> Int {
        Int(truncatingIfNeeded: ((word & 0xFF_FFFF) &* 0x9e37_79b1) &>> shift)
    }

    /// How many bytes at `position` repeat those at `candidate`, which comes before: three at least.
    @inline(__always)
    private func countMatch(_ candidate: Int, _ position: Int) -> Int {
        let limit = min(input.count &- position, maximumMatchCount)
        let (left, right) = (UnsafeRawPointer(input.base + candidate), UnsafeRawPointer(input.base + position))
        var count = minimumMatchCount
        while count &+ 8 <= limit {
            let difference =
                left.loadUnaligned(fromByteOffset: count, as: UInt64.self)
                ^ right.loadUnaligned(fromByteOffset: count, as: UInt64.self)
            if difference != 0 { return count &+ UInt64(littleEndian: difference).trailingZeroBitCount >> 3 }
            count &+= 8
        }
        while count < limit, input[candidate &+ count] == input[position &+ count] { count &+= 1 }
        return count
    }

    private mutating func writeLiterals(_ range: Range<Int>) -> Bool {
        let runCount = (range.count + maximumLiteralCount - 1) / maximumLiteralCount
        guard range.count + runCount <= capacity - outputCount else { return false }
        var start = range.lowerBound
        while start < range.upperBound {
            let count = min(range.upperBound - start, maximumLiteralCount)
            output[outputCount] = UInt8(truncatingIfNeeded: count - 1)
            UnsafeMutableRawPointer(output + outputCount + 1).copyMemory(from: input.base + start, byteCount: count)
            outputCount += 1 + count
            start += count
        }
        return true
    }

    /// The literals in front of a match, and the match. Mostly they are few, and there is room for more.
    @inline(__always)
    private mutating func writeMatch(_ count: Int, distance: Int, behind literals: Range<Int>) -> Bool {
        guard literals.lowerBound &+ maximumLiteralCount <= input.count, literals.count <= maximumLiteralCount,
            outputCount &+ 1 &+ maximumLiteralCount &+ 3 <= capacity
        else { return writeLiterals(literals) && writeMatch(count, distance: distance) }
        if !literals.isEmpty {
            let target = output + outputCount
            target.pointee = UInt8(truncatingIfNeeded: literals.count &- 1)
            let bytes = UnsafeRawPointer(input.base + literals.lowerBound).loadUnaligned(as: SIMD32<UInt8>.self)
            UnsafeMutableRawPointer(target + 1).storeBytes(of: bytes, as: SIMD32<UInt8>.self)
            outputCount &+= 1 &+ literals.count
        }
        outputCount &+= LZFEncoder.putMatch(count, distance, at: output + outputCount)
        return true
    }

    private mutating func writeMatch(_ count: Int, distance: Int) -> Bool {
        guard capacity - outputCount >= 3 else { return false }
        outputCount += LZFEncoder.putMatch(count, distance, at: output + outputCount)
        return true
    }

    /// Two bytes or three; how many.
    @inline(__always)
    private static func putMatch(_ count: Int, _ distance: Int, at target: UnsafeMutablePointer<UInt8>) -> Int {
        let offset = distance &- 1
        let code = count &- 2
        target.pointee = UInt8(truncatingIfNeeded: min(code, 7) &<< 5 | offset &>> 8)
        guard code >= 7 else {
            target[1] = UInt8(truncatingIfNeeded: offset)
            return 2
        }
        target[1] = UInt8(truncatingIfNeeded: code &- 7)
        target[2] = UInt8(truncatingIfNeeded: offset)
        return 3
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
