// The command table: from the bytes of a name to the entry that the data path works with.
//
// Built once from the specs, immutable afterwards, shared by all threads. Lookup: the name in two words of lower case,
// a hash of those, then one comparison; open addressing, at most half full. `rename-command` changes the names that
// requests use; in everything else (ACL rules, COMMAND, errors) a command keeps its own.

import KedisProtocol
package import KedisUtilities

/// What the data path knows of a command. Lives in the table's memory, is never copied.
package struct CommandEntry {
    /// The index of the entry: stable in one process, used for counters.
    package let identifier: Int
    /// Has one key, at argument 1, and locks its stripe.
    let isSingleKeyed: Bool
    /// Has no key and locks nothing.
    let isKeyless: Bool
    let hasSubcommands: Bool
    /// May share a plan with the pipelined commands beside it.
    let isBatchable: Bool
    let elements: ElementPlan
    /// Lower case, with its container: `config|get`.
    package let fullName: ByteView
    /// Upper case, without its container.
    let name: ByteView
    package let arity: Int
    package let flags: CommandFlags
    let locks: LockPlan
    let keyPlan: KeyPlan
    /// Locks stripes by itself, so that a transaction needs all of them.
    let walksKeyspace: Bool
    /// Whether calls may take long.
    let cost: CommandCost
    /// Executed in a transaction too, instead of being collected.
    let handlesTransaction: Bool
    let handler: Unmanaged<HandlerBox>?
    package let spec: CommandSpec
    let categories: CommandCategories
    let channelUse: ChannelUse
    /// The container's name in lower case; empty for a command.
    let containerName: ByteView
    /// The entries of the subcommands.
    let subcommands: [UnsafePointer<CommandEntry>]

    /// The subcommand of that name.
    func subcommand(_ name: ByteView) -> UnsafePointer<CommandEntry>? {
        subcommands.first { $0.pointee.name.equalsIgnoringCase(name) }
    }

    func accepts(argumentCount: Int) -> Bool {
        arity >= 0 ? argumentCount == arity : argumentCount >= -arity
    }
}

/// A handler, in memory that never changes: a call counts no references, as it would of a closure in an entry.
final class HandlerBox: Sendable {
    let handler: CommandHandler

    private init(_ handler: @escaping CommandHandler) { self.handler = handler }

    /// The table's, with its entries.
    static func make(_ handler: CommandHandler?) -> Unmanaged<HandlerBox>? {
        handler.map { Unmanaged.passRetained(HandlerBox($0)) }
    }
}

/// The hash table of command names: plain words, so that a lookup costs no reference counting. The command table owns
/// the memory.
struct CommandNames {
    fileprivate struct Slot {
        var start: UInt64 = 0
        var end: UInt64 = 0
        var entry: UnsafePointer<CommandEntry>?
        var name = ByteView.empty
    }

    fileprivate let slots: UnsafeMutablePointer<Slot>
    fileprivate let mask: Int

    /// The memory of the names is the caller's.
    fileprivate init(_ entries: [(name: ByteView, entry: UnsafePointer<CommandEntry>)]) {
        var slotCount = 16
        while slotCount < 2 * entries.count { slotCount *= 2 }
        slots = .allocate(capacity: slotCount)
        slots.initialize(repeating: Slot(), count: slotCount)
        mask = slotCount - 1
        for (name, entry) in entries {
            let (start, end) = Self.words(name)
            var index = Self.hash(start, end) & mask
            while slots[index].entry != nil {
                precondition(!slots[index].name.equalsIgnoringCase(name), "a command is registered twice")
                index = (index + 1) & mask
            }
            slots[index] = Slot(start: start, end: end, entry: entry, name: name)
        }
    }

    /// The command of that name, ASCII case aside. O(1).
    @inline(__always)
    func command(_ name: ByteView) -> UnsafePointer<CommandEntry>? {
        let (start, end) = Self.words(name)
        var index = Self.hash(start, end) & mask
        while let entry = slots[index].entry {
            if slots[index].start == start, slots[index].end == end, slots[index].name.count == name.count,
                name.count <= 16 || slots[index].name.equalsIgnoringCase(name)
            {
                return entry
            }
            index = (index &+ 1) & mask
        }
        return nil
    }

    /// The first and the last 8 bytes of a name in lower case, which overlap in one of less than 16: up to there they
    /// and the length are the whole name.
    @inline(__always)
    fileprivate static func words(_ name: ByteView) -> (start: UInt64, end: UInt64) {
        let base = UnsafeRawPointer(name.base)
        let count = name.count
        if count >= 8 {
            return (
                lowercased(base.loadUnaligned(as: UInt64.self)),
                lowercased(base.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self))
            )
        }
        if count >= 4 {
            let low = UInt64(base.loadUnaligned(as: UInt32.self))
            let high = UInt64(base.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self))
            return (lowercased(low << 32 | high), 0)
        }
        guard count > 0 else { return (0, 0) }
        let bytes = UInt64(name[0]) << 16 | UInt64(name[count >> 1]) << 8 | UInt64(name[count &- 1])
        return (lowercased(bytes), 0)
    }

    /// Eight bytes at once: those from A to Z, and only those, get bit 5. Added to 7 bits, a byte's eighth bit tells
    /// whether it is at least A, and whether it is beyond Z.
    @inline(__always)
    private static func lowercased(_ word: UInt64) -> UInt64 {
        let (ones, highBits): (UInt64, UInt64) = (0x0101_0101_0101_0101, 0x8080_8080_8080_8080)
        let low = word & ~highBits
        let isAtLeastA = low &+ ones &* (0x80 - 0x41)
        let isBeyondZ = low &+ ones &* (0x80 - 0x5B)
        let isUpper = isAtLeastA & ~isBeyondZ & ~word & highBits
        return word | isUpper >> 2
    }

    @inline(__always)
    fileprivate static func hash(_ start: UInt64, _ end: UInt64) -> Int {
        let product = (start ^ end &* 0x9E37_79B9_7F4A_7C15) &* 0xC2B2_AE3D_27D4_EB4F
        return Int(truncatingIfNeeded: product >> 40)
    }
}

/// How the plan finds the keys: the frequent forms without looking at the specs.
enum KeyPlan: Sendable {
    case none
    /// One key at argument 1.
    case single
    /// From `first` to `last` (from the end when negative), every `step`-th.
    case range(first: Int, last: Int, step: Int)
    /// By the specs.
    case specs([KeySpec])

    init(_ specs: [KeySpec]) {
        guard let only = specs.first else {
            self = .none
            return
        }
        guard specs.count == 1, case .index(let first) = only.begin, case .range(let last, let step, 0) = only.find
        else {
            self = .specs(specs)
            return
        }
        if first == 1, last == 0 {
            self = .single
        } else {
            self = .range(first: first, last: last >= 0 ? first + last : last, step: step)
        }
    }
}

package final class CommandTable: @unchecked Sendable {
    // Sendable: immutable after init.

    /// The commands in the order of registration, without subcommands and without those whose name was taken away.
    package let commands: [UnsafePointer<CommandEntry>]
    /// Commands and subcommands: `identifier` is the index.
    package let entries: [UnsafePointer<CommandEntry>]
    /// From names to entries, for the data path.
    let names: CommandNames
    /// From the names that commands have by themselves, all of them.
    private let originalNames: CommandNames
    /// What renamed commands are called.
    private let newNames: [ByteView]

    /// Builds the table of `specs`, whose names are all different; `renames` are valid: see `Configuration.rename`.
    package init(_ specs: [CommandSpec], renames: [CommandRename] = []) {
        var entries: [UnsafePointer<CommandEntry>] = []
        let all = specs.map { Self.makeEntry($0, container: nil, &entries) }
        self.entries = entries
        let original = all.map { (name: $0.pointee.name, entry: $0) }
        originalNames = CommandNames(original)
        guard !renames.isEmpty else {
            commands = all
            names = CommandNames(original)
            newNames = []
            return
        }
        let called = Self.apply(renames, to: original)
        newNames = called.map(\.name)
        names = CommandNames(called)
        commands = called.map(\.entry)
    }

    /// Under which names commands are called, in memory of their own; without those that have none any more.
    private static func apply(
        _ renames: [CommandRename], to original: [(name: ByteView, entry: UnsafePointer<CommandEntry>)]
    ) -> [(name: ByteView, entry: UnsafePointer<CommandEntry>)] {
        var called = original.map { (name: $0.name.text, entry: $0.entry) }
        for rename in renames {
            guard let index = called.firstIndex(where: { $0.name == rename.name.asciiUppercase }) else { continue }
            called[index].name = rename.newName.asciiUppercase
        }
        return called.filter { !$0.name.isEmpty }.map { (permanentCopy($0.name), $0.entry) }
    }

    deinit {
        for entry in entries {
            entry.pointee.fullName.base.deallocate()
            entry.pointee.name.base.deallocate()
            entry.pointee.handler?.release()
            UnsafeMutablePointer(mutating: entry).deinitialize(count: 1)
            entry.deallocate()
        }
        for name in newNames { name.base.deallocate() }
        names.slots.deallocate()
        originalNames.slots.deallocate()
    }

    /// The command of that name, ASCII case aside. O(1).
    package func command(_ name: ByteView) -> UnsafePointer<CommandEntry>? { names.command(name) }

    /// The subcommand of that name.
    package func subcommand(_ name: ByteView, of entry: UnsafePointer<CommandEntry>) -> UnsafePointer<CommandEntry>? {
        entry.pointee.subcommand(name)
    }

    /// The entry for `get` or `config|get`.
    package func find(fullName: ByteView) -> UnsafePointer<CommandEntry>? { find(fullName, in: names) }

    /// The same by the names that commands have by themselves.
    package func find(originalName: ByteView) -> UnsafePointer<CommandEntry>? { find(originalName, in: originalNames) }

    private func find(_ name: ByteView, in names: CommandNames) -> UnsafePointer<CommandEntry>? {
        guard let bar = name.firstIndex(of: 0x7C) else { return names.command(name) }
        guard let container = names.command(name[0..<bar]) else { return nil }
        return subcommand(name[bar + 1..<name.count], of: container)
    }

    private static func makeEntry(
        _ spec: CommandSpec, container: ByteView?, _ entries: inout [UnsafePointer<CommandEntry>]
    ) -> UnsafePointer<CommandEntry> {
        let lower = spec.name.lowercased()
        let fullName = permanentCopy(container.map { $0.text + "|" + lower } ?? lower)
        let subcommands = spec.subcommands.map { makeEntry($0, container: fullName, &entries) }
        let entry = UnsafeMutablePointer<CommandEntry>.allocate(capacity: 1)
        entry.initialize(
            to: CommandEntry(
                identifier: entries.count, isSingleKeyed: isSingleKeyed(spec), isKeyless: isKeyless(spec),
                hasSubcommands: !subcommands.isEmpty, isBatchable: isBatchable(spec), elements: ElementPlan(spec),
                fullName: fullName, name: permanentCopy(spec.name), arity: spec.arity, flags: spec.flags,
                locks: spec.locks, keyPlan: KeyPlan(spec.keys), walksKeyspace: walksKeyspace(spec),
                cost: CommandCost(spec),
                handlesTransaction: transactionNames.contains(fullName.text), handler: HandlerBox.make(spec.handler),
                spec: spec,
                categories: CommandCategories(spec), channelUse: ChannelUse(commandName: fullName),
                containerName: container ?? .empty, subcommands: subcommands
            )
        )
        entries.append(UnsafePointer(entry))
        return UnsafePointer(entry)
    }

    private static func isSingleKeyed(_ spec: CommandSpec) -> Bool {
        guard case .keys = spec.locks, case .single = KeyPlan(spec.keys) else { return false }
        return true
    }

    private static func isKeyless(_ spec: CommandSpec) -> Bool {
        guard case .keys = spec.locks, case .none = KeyPlan(spec.keys) else { return false }
        return true
    }

    /// Fast commands on keys go into batches, and those on one string; what changes the session, may wait or asks for
    /// other locks is executed alone.
    private static func isBatchable(_ spec: CommandSpec) -> Bool {
        guard spec.subcommands.isEmpty, spec.group != .transactions, case .keys = spec.locks else { return false }
        guard !spec.flags.contains(.blocking) else { return false }
        if spec.group == .string || spec.group == .bitmap, case .single = KeyPlan(spec.keys) { return true }
        guard spec.flags.contains(.fast) else { return false }
        return spec.group != .connection || spec.name == "PING" || spec.name == "ECHO"
    }

    private static let transactionNames: Set = ["multi", "exec", "discard", "watch", "quit", "reset"]

    private static func walksKeyspace(_ spec: CommandSpec) -> Bool {
        guard case .none = spec.locks else { return false }
        return spec.group == .generic || spec.group == .server
    }

    private static func permanentCopy(_ text: String) -> ByteView {
        let bytes = Array(text.utf8)
        let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, bytes.count))
        memory.update(from: bytes, count: bytes.count)
        return ByteView(base: memory, count: bytes.count)
    }
}
