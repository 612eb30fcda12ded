// The sizes of cells: a cell takes the smallest class that holds it.
//
//      up to 512 bytes     a class every 8 bytes: at most 7 bytes are lost
//      above               8 classes for each doubling: at most an eighth is lost
//
// Sizes are counted in units of 8 bytes, which is also the alignment of every cell.

enum SizeClass {
    static let unitByteCount = 8
    /// The largest cell: header, deadline, a key of 1 KiB and a value of 16 KiB less a byte each, 2,178 units, rounded
    /// up.
    static let unitCountMax = 2304
    private static let fineUnitCount = 64
    static let count = 64 + 41

    /// The class of a cell of `units`, 1 to ``unitCountMax``.
    @inline(__always)
    static func index(units: Int) -> Int {
        assert(units > 0 && units <= unitCountMax)
        return units <= fineUnitCount ? units &- 1 : coarseIndex(units: units)
    }

    private static func coarseIndex(units: Int) -> Int {
        let exponent = 63 &- (units &- 1).leadingZeroBitCount
        return fineUnitCount &+ (exponent &- 6) &* 8 &+ ((units &- 1) >> (exponent &- 3)) &- 8
    }

    /// The units of a class: what a cell of it takes.
    @inline(__always)
    static func units(ofClass index: Int) -> Int {
        index < fineUnitCount ? index &+ 1 : coarseUnits(ofClass: index)
    }

    private static func coarseUnits(ofClass index: Int) -> Int {
        let step = index &- fineUnitCount
        return (9 &+ (step & 7)) << (3 &+ (step >> 3))
    }

    /// What a cell of `units` really takes, in units.
    @inline(__always)
    static func rounded(units: Int) -> Int { self.units(ofClass: index(units: units)) }
}
