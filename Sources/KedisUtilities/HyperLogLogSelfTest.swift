// The test behind PFSELFTEST: the same elements in both forms, the merges of this processor, the error of the estimate.
//
// Deterministic. Cost: about 10 ms, most of it for the sparse runs.

extension HyperLogLog {
    /// Nil, or what does not hold on this machine.
    package static func selfTest() -> StaticString? {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 2 * sparseByteCountMax) { memory in
            var dense = HyperLogLogEditor(
                nil, in: UnsafeMutableBufferPointer(rebasing: memory[..<sparseByteCountMax]), sparseByteCountMax: 0)
            var sparse = HyperLogLogEditor(
                nil, in: UnsafeMutableBufferPointer(rebasing: memory[sparseByteCountMax...]),
                sparseByteCountMax: sparseByteCountMax)
            var elementCount: UInt64 = 0
            // Ranks beyond 32, which end the sparse form, come with thousands of millions of elements.
            for target in [100, 500, 2_000] as [UInt64] {
                while elementCount < target {
                    elementCount += 1
                    let observation = observation(of: elementCount)
                    let changes = (dense.raise(observation), sparse.raise(observation))
                    guard changes.0 == changes.1 else { return "sparse and dense registers change differently" }
                }
                if let failure = compare(dense.view, sparse.view, elementCount) { return failure }
            }
            return nil
        }
    }

    private static func observation(of element: UInt64) -> Observation {
        withUnsafeBytes(of: element.littleEndian) { Observation(ByteView($0)) }
    }

    private static func compare(_ dense: ByteView, _ sparse: ByteView, _ elementCount: UInt64) -> StaticString? {
        guard let cardinality = cardinality(of: dense), cardinality == self.cardinality(of: sparse) else {
            return "the estimates of the sparse and the dense form differ"
        }
        // Eight standard errors of the method, and a little for small numbers.
        let error = abs(Double(cardinality) - Double(elementCount))
        guard error <= 8 * 1.04 / Double(registerCount).squareRoot() * Double(elementCount) + 2 else {
            return "the estimate is too far off"
        }
        return withRegisters(of: sparse) { registers in
            let isEqual = (0..<registerCount).allSatisfy { denseRegister($0, in: dense.base) == registers[$0] }
            guard isEqual else { return "the registers of the sparse and the dense form differ" }
            return withRegisters(of: dense) { unpacked in
                let isEqual = (0..<registerCount).allSatisfy { unpacked[$0] == registers[$0] }
                return isEqual ? nil : "the merge of dense registers is wrong"
            } ?? nil
        } ?? nil
    }
}
