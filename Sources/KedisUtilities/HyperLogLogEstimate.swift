// How many distinct elements a HyperLogLog has seen.
//
// Ertl's improved raw estimator (arXiv:1702.01284, section 2.4): one formula for all cardinalities, without tables of
// empirical corrections; what it needs of the registers is how many of them have each value. The order of the
// operations is fixed, so that the same registers give the same number here and in Redis. Cost: that of
// counting the values of 16384 registers, which the formula itself hardly adds to.

extension HyperLogLog {
    /// The estimate for `bytes`, which have a format, or nil when their registers are damaged.
    package static func cardinality(of bytes: ByteView) -> UInt64? {
        guard format(of: bytes) == .sparse else {
            return withRegisters(of: bytes) { cardinality(ofRegisters: $0) }
        }
        return withCounts { counts in
            let isSound = forEachRun(of: bytes) { run, _ in
                counts[Int(run.value)] &+= UInt32(truncatingIfNeeded: run.length)
            }
            return isSound ? estimate(counts) : nil
        }
    }

    /// The estimate for ``registerCount`` registers of a byte each, below 64.
    package static func cardinality(ofRegisters registers: UnsafePointer<UInt8>) -> UInt64 {
        withCounts { counts in
            count(registers, into: counts)
            return estimate(counts)
        }
    }

    private static let valueCount = 64
    /// Tables that are counted into in turn: neighbours are often equal, and a count must not wait for the one before.
    private static let tableCount = 4

    private static func withCounts<Result>(_ body: (UnsafeMutablePointer<UInt32>) -> Result) -> Result {
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: tableCount * valueCount) { memory in
            let counts = memory.baseAddress.unsafelyUnwrapped
            counts.initialize(repeating: 0, count: tableCount * valueCount)
            return body(counts)
        }
    }

    /// Counts how many registers have each value, into the first table.
    private static func count(_ registers: UnsafePointer<UInt8>, into counts: UnsafeMutablePointer<UInt32>) {
        let base = UnsafeRawPointer(registers)
        let mask = UInt64(valueCount - 1)
        for offset in stride(from: 0, to: registerCount, by: 8) {
            var word = base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            for _ in 0..<2 {
                counts[Int(truncatingIfNeeded: word & mask)] &+= 1
                counts[valueCount &+ Int(truncatingIfNeeded: word >> 8 & mask)] &+= 1
                counts[2 &* valueCount &+ Int(truncatingIfNeeded: word >> 16 & mask)] &+= 1
                counts[3 &* valueCount &+ Int(truncatingIfNeeded: word >> 24 & mask)] &+= 1
                word >>= 32
            }
        }
        for value in 0..<valueCount {
            for table in 1..<tableCount { counts[value] &+= counts[table * valueCount + value] }
        }
    }

    // MARK: The estimator

    private static func estimate(_ counts: UnsafePointer<UInt32>) -> UInt64 {
        let registerCount = Double(registerCount)
        let saturated = Double(counts[rankBitCount + 1])
        var sum = registerCount * tau((registerCount - saturated) / registerCount)
        for value in stride(from: rankBitCount, to: 0, by: -1) {
            sum += Double(counts[value])
            sum *= 0.5
        }
        sum += registerCount * sigma(Double(counts[0]) / registerCount)
        // 1 / (2 ln 2), the constant of the estimator for many registers.
        let estimate = (0.721347520444481703680 * registerCount * registerCount / sum).rounded()
        // Only registers that no element can have set give so much: it is said like in Redis, as a number beyond any.
        return estimate < 0x1p63 ? UInt64(max(estimate, 0)) : 1 << 63
    }

    private static func sigma(_ start: Double) -> Double {
        guard start < 1 else { return .infinity }
        var power = start
        var weight = 1.0
        var sum = start
        while true {
            power *= power
            let before = sum
            sum += power * weight
            weight += weight
            if sum == before { return sum }
        }
    }

    private static func tau(_ start: Double) -> Double {
        guard start > 0, start < 1 else { return 0 }
        var root = start
        var weight = 1.0
        var sum = 1 - start
        while true {
            root = root.squareRoot()
            let before = sum
            weight *= 0.5
            sum -= (1 - root) * (1 - root) * weight
            if sum == before { return sum / 3 }
        }
    }
}
