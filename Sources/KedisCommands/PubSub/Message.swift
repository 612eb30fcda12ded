// A message: bytes that clients get beside the replies to their own commands, made once and shared by all receivers.
//
// Ownership: counted, immutable. Threads: any. Cost: one allocation beside the object, whose refusal is an answer; a
// receiver copies the bytes into its output.

import KedisProtocol
import KedisStore
import KedisUtilities

package final class Message: @unchecked Sendable {
    // Sendable: immutable after init.

    private let memory: UnsafeMutablePointer<UInt8>
    let byteCount: Int
    /// The first byte is `*` for clients of RESP2 and `>` for those of RESP3.
    private let isPush: Bool

    /// Copies `bytes`; with `isPush` they are an array of RESP2 that is a push in RESP3. Nil when memory is refused.
    init?(_ bytes: ByteView, isPush: Bool) {
        guard let memory = allocateBuffer(byteCount: bytes.count) else { return nil }
        memory.copyMemory(from: bytes.base, byteCount: bytes.count)
        self.memory = memory.bindMemory(to: UInt8.self, capacity: max(1, bytes.count))
        byteCount = bytes.count
        self.isPush = isPush
    }

    /// What a publication looks like: its kind (`message`, `pmessage`, `smessage`), then `parts`.
    init?(kind: StaticString, _ parts: [ByteView]) {
        let size = Message.byteCount(of: ByteView(kind)) + parts.reduce(4) { $0 + Message.byteCount(of: $1) }
        guard let memory = allocateBuffer(byteCount: size) else { return nil }
        self.memory = memory.bindMemory(to: UInt8.self, capacity: size)
        byteCount = size
        isPush = true
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

    func append(to output: inout ReplyWriter) {
        let view = ByteView(base: UnsafePointer(memory), count: byteCount)
        guard isPush, output.version == .resp3 else { return output.raw(view) }
        output.raw(">")
        output.raw(view[1..<byteCount])
    }
}
