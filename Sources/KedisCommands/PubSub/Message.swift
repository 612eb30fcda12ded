// A message: bytes that clients get beside the replies to their own commands, made once and shared by all receivers.
//
// Ownership: counted, immutable. Threads: any. Cost: one allocation beside the object, whose refusal is an answer; a
// receiver copies the bytes into its output.

package import KedisProtocol
import KedisStore
import KedisUtilities

package final class Message: @unchecked Sendable {
    // Sendable: immutable after init.

    private let memory: UnsafeMutablePointer<UInt8>
    let byteCount: Int
    private let form: Form

    /// How the bytes become what a client gets.
    enum Form: Sendable {
        /// As they are.
        case plain
        /// An array, which is a push for clients of RESP3: they differ in the first byte.
        case push
        /// Keys, or nothing for all of them; what goes before depends on the client: Tracking/.
        case invalidation
    }

    /// Copies `bytes`. Nil when memory is refused.
    init?(_ bytes: ByteView, form: Form) {
        guard let memory = allocateBuffer(byteCount: bytes.count) else { return nil }
        memory.copyMemory(from: bytes.base, byteCount: bytes.count)
        self.memory = memory.bindMemory(to: UInt8.self, capacity: max(1, bytes.count))
        byteCount = bytes.count
        self.form = form
    }

    /// What a publication looks like: its kind (`message`, `pmessage`, `smessage`), then `parts`.
    init?(kind: StaticString, _ parts: [ByteView]) {
        let size = Message.byteCount(of: ByteView(kind)) + parts.reduce(4) { $0 + Message.byteCount(of: $1) }
        guard let memory = allocateBuffer(byteCount: size) else { return nil }
        self.memory = memory.bindMemory(to: UInt8.self, capacity: size)
        byteCount = size
        form = .push
        var end = self.memory
        func put(_ byte: UInt8) {
            end.pointee = byte
            end += 1
        }
        func line(_ type: UInt8, _ value: Int) {
            put(type)
            end += formatInteger(Int64(value), into: end)
            put(0x0D)
            put(0x0A)
        }
        func bulk(_ bytes: ByteView) {
            line(0x24, bytes.count)
            UnsafeMutableRawPointer(end).copyMemory(from: bytes.base, byteCount: bytes.count)
            end += bytes.count
            put(0x0D)
            put(0x0A)
        }
        line(0x2A, parts.count + 1)
        bulk(ByteView(kind))
        for part in parts { bulk(part) }
        assert(end == self.memory + size)
    }

    deinit { deallocateBuffer(memory) }

    private static func byteCount(of bytes: ByteView) -> Int { bytes.count + decimalDigitCount(Int64(bytes.count)) + 5 }

    /// - Parameter isSubscriber: the client listens to channels, which is how one of RESP2 hears of invalidations.
    package func append(to output: inout ReplyWriter, isSubscriber: Bool) {
        let view = ByteView(base: UnsafePointer(memory), count: byteCount)
        switch form {
        case .push where output.version == .resp3:
            output.raw(">")
            output.raw(view[1..<byteCount])
        case .plain, .push: output.raw(view)
        case .invalidation: appendInvalidation(view, to: &output, isSubscriber)
        }
    }

    private func appendInvalidation(_ keys: ByteView, to output: inout ReplyWriter, _ isSubscriber: Bool) {
        if output.version == .resp3 {
            output.push(2)
            output.bulk("invalidate")
        } else {
            guard isSubscriber else { return }
            output.array(3)
            output.bulk("message")
            output.bulk("__redis__:invalidate")
        }
        if keys.isEmpty { output.null() } else { output.raw(keys) }
    }
}
