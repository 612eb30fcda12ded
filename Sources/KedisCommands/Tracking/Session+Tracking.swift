// What a session whose client tracks does after each command: remembers what was read.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

extension Session {
    /// Remembers the keys of a command that has read them, still under their locks.
    @inline(never)
    func rememberSlowly(_ entry: UnsafePointer<CommandEntry>, keyRange: Range<Int>) {
        guard entry.pointee.flags.contains(.readOnly), !keyRange.isEmpty, let tracking = client.pointee.tracking else {
            return
        }
        let read = UnsafeBufferPointer(start: keys.base + keyRange.lowerBound, count: keyRange.count)
        engine.tracking.remember(read, for: tracking, caching: client.pointee.caching)
    }

    /// CLIENT CACHING was about one command, or one transaction.
    func endCaching(_ entry: UnsafePointer<CommandEntry>) {
        guard client.pointee.transaction == nil, entry.pointee.containerName != "client" else { return }
        client.pointee.caching = nil
    }

    /// After a read: what is beyond the limit is forgotten. Nothing is locked.
    @inline(never)
    func limitTrackingSlowly() {
        let limit = engine.configuration.trackedKeyCountMax.load(ordering: .relaxed)
        engine.tracking.limit(to: limit, engine.store, using: &client.pointee.random)
    }
}

extension Engine {
    func endTracking(_ client: UnsafeMutablePointer<ClientState>) {
        guard let tracking = client.pointee.tracking else { return }
        self.tracking.turnOff(tracking)
        client.pointee.followUp.remove(.tracking)
        client.pointee.caching = nil
    }
}
