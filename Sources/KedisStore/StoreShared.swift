// What all stripes of a store share, at an address that stays: settings that the data path reads, the source of memory,
// and what waits to be freed.

import Synchronization

struct StoreShared: ~Copyable {
    let stripes: UnsafeMutablePointer<Stripe>
    let source: UnsafeMutablePointer<MemorySource>
    let reclaimer: Reclaimer
    /// `AccessTracking` in one word: the top bit counts frequencies, 31 bits of log factor, 32 of decay minutes.
    private let trackingWord = Atomic<UInt64>(StoreShared.word(of: AccessTracking()))
    /// Bit 0: keys that are created are reported, bit 1: those that are missed.
    private let reports = Atomic<UInt8>(0)
    /// The snapshot that is being taken. Changed under all locks.
    var snapshot: Unmanaged<StoreSnapshot>?
    let snapshotPressure = SnapshotPressure()
    /// Held by the one thread that frees what waits.
    let isReclaiming = Atomic<Bool>(false)
    /// Cells are moved together in the background.
    let isDefragmenting = Atomic<Bool>(true)
    /// The stripe at which the next slice of maintenance begins.
    let nextStripe = Atomic<Int>(0)
    /// How many more allocations copies for snapshots get; a test lowers it to see what a refusing system does.
    let snapshotAllocationCount = Atomic<Int>(.max)

    init(stripes: UnsafeMutablePointer<Stripe>) {
        self.stripes = stripes
        source = .allocate(capacity: 1)
        source.initialize(to: MemorySource())
        reclaimer = Reclaimer(source: source)
    }

    deinit {
        source.pointee.unmapPages()
        source.deinitialize(count: 1)
        source.deallocate()
    }

    @inline(__always)
    var countsFrequency: Bool { trackingWord.load(ordering: .relaxed) >> 63 != 0 }

    var reportsCreated: Bool { reports.load(ordering: .relaxed) & 1 != 0 }

    var reportsMissed: Bool { reports.load(ordering: .relaxed) & 2 != 0 }

    func setReports(created: Bool, missed: Bool) {
        reports.store((created ? 1 : 0) | (missed ? 2 : 0), ordering: .relaxed)
    }

    var tracking: AccessTracking {
        let word = trackingWord.load(ordering: .relaxed)
        var tracking = AccessTracking()
        tracking.countsFrequency = word >> 63 != 0
        tracking.logFactor = Int(word >> 32 & 0x7FFF_FFFF)
        tracking.decayMinutes = Int(word & 0xFFFF_FFFF)
        return tracking
    }

    func setTracking(_ tracking: AccessTracking) {
        trackingWord.store(StoreShared.word(of: tracking), ordering: .relaxed)
    }

    private static func word(of tracking: AccessTracking) -> UInt64 {
        (tracking.countsFrequency ? 1 << 63 : 0)
            | UInt64(min(UInt32(clamping: tracking.logFactor), 0x7FFF_FFFF)) << 32
            | UInt64(UInt32(clamping: tracking.decayMinutes))
    }
}
