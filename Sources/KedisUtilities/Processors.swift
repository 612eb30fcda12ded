// Which processors a thread runs on.

import CKedis

/// Binds the calling thread, and those that it starts later, to `processors`; false with `errno` when that fails.
package func bindThread(to processors: Set<Int>) -> Bool {
    var bits = [UInt8](repeating: 0, count: 128)
    for processor in processors where processor >= 0 && processor / 8 < bits.count {
        bits[processor / 8] |= 1 << UInt8(processor % 8)
    }
    return kedis_bind_thread(bits, bits.count)
}
