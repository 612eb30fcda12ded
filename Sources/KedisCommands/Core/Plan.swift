// The stages between parser and handler: resolve a name to its entry, find the keys, know the stripes.
//
// The session and EXPLAIN call the same functions. Nothing here locks or changes anything.

import KedisProtocol
import KedisStore
import KedisUtilities

/// Finds the entry for a request, its subcommand resolved, and checks the number of arguments.
@inline(__always)
func resolve(_ arguments: ArgumentList, in names: CommandNames) throws(CommandError) -> UnsafePointer<CommandEntry> {
    guard var entry = names.command(arguments[0]) else { throw unknownCommand(arguments) }
    if entry.pointee.hasSubcommands { entry = try resolveSubcommandSlowly(arguments, of: entry) }
    guard entry.pointee.accepts(argumentCount: arguments.count) else { throw .wrongArity(entry) }
    return entry
}

@inline(never)
private func resolveSubcommandSlowly(
    _ arguments: ArgumentList, of entry: UnsafePointer<CommandEntry>
) throws(CommandError) -> UnsafePointer<CommandEntry> {
    guard arguments.count > 1 else {
        // Some do something by themselves.
        guard entry.pointee.handler == nil else { return entry }
        throw .wrongArity(entry)
    }
    guard let subcommand = entry.pointee.subcommand(arguments[1]) else { throw unknownSubcommand(arguments) }
    return subcommand
}

/// "ERR unknown command 'X', with args beginning with: 'a' 'b' ", the lengths bounded as in Redis.
@inline(never)
private func unknownCommand(_ arguments: ArgumentList) -> CommandError {
    var text: [UInt8] = ByteView("ERR unknown command '").bytes
    text += sanitized(arguments[0], byteCountMax: 128)
    text += ByteView("', with args beginning with: ").buffer
    var used = 0
    for index in 1..<max(1, arguments.count) where used < 128 {
        let piece = [0x27] + sanitized(arguments[index], byteCountMax: 128 - used) + [0x27, 0x20]
        text += piece
        used += piece.count
    }
    return .text(text)
}

@inline(never)
private func unknownSubcommand(_ arguments: ArgumentList) -> CommandError {
    var text: [UInt8] = ByteView("ERR unknown subcommand '").bytes
    text += sanitized(arguments[1], byteCountMax: 128)
    text += ByteView("'. Try ").buffer
    text += sanitized(arguments[0], byteCountMax: 128).map(asciiUppercased)
    text += ByteView(" HELP.").buffer
    return .text(text)
}

/// The first bytes of an argument, as the error texts print it: up to a zero byte.
func sanitized(_ argument: ByteView, byteCountMax: Int) -> [UInt8] {
    let end = min(argument.firstIndex(of: 0) ?? argument.count, byteCountMax)
    return argument[0..<max(0, end)].bytes
}

/// The hashed keys of a batch. Owned by the session, emptied between batches.
struct KeyBuffer: ~Copyable {
    private(set) var base: UnsafeMutablePointer<Key>
    private var capacity = KeyBuffer.initialCapacity
    private(set) var count = 0

    /// For a connection that sends one request at a time, which keeps them; a pipeline makes it grow once.
    private static let initialCapacity = 8

    init() { base = smallBuffer(Key.self, capacity: Self.initialCapacity) }

    deinit { deallocateBuffer(base) }

    /// Makes room for `keyCount` more keys; false when memory is exhausted.
    @inline(__always)
    mutating func reserve(_ keyCount: Int) -> Bool {
        capacity - count >= keyCount || resizeSlowly(max(capacity * 2, count + keyCount))
    }

    /// Appends a key, for which there is room.
    @inline(__always)
    mutating func append(_ key: Key) {
        assert(count < capacity)
        base[count] = key
        count += 1
    }

    /// Forgets the keys from the one at `index` on.
    mutating func removeLast(from index: Int) {
        assert(index <= count)
        count = index
    }

    mutating func removeAll() {
        count = 0
        if capacity > 4096 { _ = resizeSlowly(Self.initialCapacity) }
    }

    @inline(never)
    private mutating func resizeSlowly(_ newCapacity: Int) -> Bool {
        guard let moved = resizeBuffer(base, capacity: newCapacity) else { return false }
        base = moved
        capacity = newCapacity
        return true
    }
}

/// Appends the keys of a request to `keys` and returns the stripes to lock for it. O(keys).
@inline(__always)
func plan(
    _ entry: UnsafePointer<CommandEntry>, _ arguments: ArgumentList, in store: StoreHandle, into keys: inout KeyBuffer
) throws(CommandError) -> StripeSet {
    guard !entry.pointee.isSingleKeyed else { return try planKey(arguments[1], in: store, into: &keys) }
    guard !entry.pointee.isKeyless else { return StripeSet() }
    return try planSeveral(entry, arguments, in: store, into: &keys)
}

@inline(__always)
private func planKey(
    _ argument: ByteView, in store: StoreHandle, into keys: inout KeyBuffer
) throws(CommandError) -> StripeSet {
    guard keys.reserve(1) else { throw .outOfMemory }
    let key = Key(argument, seed: store.seed)
    keys.append(key)
    store.prefetchLock(ofStripe: key.stripeIndex)
    var stripes = StripeSet()
    stripes.insert(key.stripeIndex)
    return stripes
}

private func planSeveral(
    _ entry: UnsafePointer<CommandEntry>, _ arguments: ArgumentList, in store: StoreHandle, into keys: inout KeyBuffer
) throws(CommandError) -> StripeSet {
    var stripes = StripeSet()
    switch entry.pointee.keyPlan {
    case .none:
        break
    case .single:
        stripes = try planKey(arguments[1], in: store, into: &keys)
    case .range(let first, let last, let step):
        guard keys.reserve(arguments.count) else { throw .outOfMemory }
        let end = last >= 0 ? last : arguments.count + last
        var index = first
        while index <= end, index < arguments.count {
            let key = Key(arguments[index], seed: store.seed)
            keys.append(key)
            stripes.insert(key.stripeIndex)
            index += step
        }
    case .specs(let specs):
        try planBySpecsSlowly(specs, arguments, in: store, into: &keys, &stripes)
    }
    switch entry.pointee.locks {
    case .keys: return stripes
    case .allStripes: return .all
    case .allStripesWhen(let needsAll): return needsAll(arguments) ? .all : stripes
    case .none: return StripeSet()
    }
}

@inline(never)
private func planBySpecsSlowly(
    _ specs: [KeySpec], _ arguments: ArgumentList, in store: StoreHandle, into keys: inout KeyBuffer,
    _ stripes: inout StripeSet
) throws(CommandError) {
    // No spec names an argument twice.
    guard keys.reserve(specs.count * arguments.count) else { throw .outOfMemory }
    for spec in specs where !spec.access.contains(.notKey) {
        _ = spec.forEachKeyIndex(in: arguments) { index in
            let key = Key(arguments[index], seed: store.seed)
            keys.append(key)
            stripes.insert(key.stripeIndex)
        }
    }
}
