// What COMMAND INFO says about a command: ten fields, the last one the same about its subcommands. Source: the COMMAND
// page of Redis.

import KedisProtocol
import KedisUtilities

/// The keys of a command as older clients learn them: first, last and step; the key specs say more.
struct LegacyKeyRange {
    var first = 0
    var last = 0
    var step = 0

    /// The one run of keys; of several runs, the first ones as far as they follow each other without a gap.
    init(_ specs: [KeySpec]) {
        if specs.count == 1, case .index(let index) = specs[0].begin, case .range(let last, let step, _) = specs[0].find
        {
            self.first = index
            self.last = last >= 0 ? index + last : last
            self.step = step
            return
        }
        var previousLast = 0
        for spec in specs {
            guard case .index(let index) = spec.begin, case .range(let relativeLast, 1, _) = spec.find,
                previousLast == 0 || previousLast == index - 1
            else { continue }
            let end = relativeLast >= 0 ? index + relativeLast : relativeLast
            first = first == 0 ? index : min(first, index)
            last = last < 0 || end < 0 ? min(last, end) : max(last, end)
            step = 1
            previousLast = end
        }
    }
}

extension ReplyWriter {
    /// The description of a command.
    mutating func commandInformation(_ entry: UnsafePointer<CommandEntry>) {
        let spec = entry.pointee.spec
        let range = LegacyKeyRange(spec.keys)
        array(10)
        bulk(entry.pointee.fullName)
        integer(spec.arity)
        flagNames(
            spec.flags.subtracting(.untold).rawValue.nonzeroBitCount,
            CommandFlags.names.filter { spec.flags.contains($0.flag) }.map(\.name))
        integer(range.first)
        integer(range.last)
        integer(range.step)
        let categories = CommandCategories(spec)
        set(categories.count)
        var names: [StaticString] = []
        categories.forEachPrintedName { names.append($0) }
        for name in names { simple(name) }
        set(spec.tips.count)
        for tip in spec.tips { bulk(text: tip) }
        set(spec.keys.count)
        for key in spec.keys { keySpec(key) }
        set(entry.pointee.subcommands.count)
        for subcommand in entry.pointee.subcommands { commandInformation(subcommand) }
    }

    /// The flags of a use of a key.
    mutating func keyAccess(_ access: KeyAccess) {
        flagNames(access.rawValue.nonzeroBitCount, KeyAccess.names.filter { access.contains($0.flag) }.map(\.name))
    }

    private mutating func flagNames(_ count: Int, _ names: [StaticString]) {
        assert(count == names.count)
        set(names.count)
        for name in names { simple(name) }
    }

    private mutating func keySpec(_ spec: KeySpec) {
        map(spec.note == nil ? 3 : 4)
        if let note = spec.note {
            bulk("notes")
            bulk(text: note)
        }
        bulk("flags")
        keyAccess(spec.access)
        bulk("begin_search")
        switch spec.begin {
        case .index(let index):
            typed("index", fieldCount: 1)
            field("index", index)
        case .keyword(let word, let from):
            typed("keyword", fieldCount: 2)
            bulk("keyword")
            bulk(text: word)
            field("startfrom", from)
        case .unknown: typed("unknown", fieldCount: 0)
        }
        bulk("find_keys")
        switch spec.find {
        case .range(let last, let step, let limit):
            typed("range", fieldCount: 3)
            field("lastkey", last)
            field("keystep", step)
            field("limit", limit)
        case .count(let countIndex, let first, let step):
            typed("keynum", fieldCount: 3)
            field("keynumidx", countIndex)
            field("firstkey", first)
            field("keystep", step)
        case .byOptions, .unknown: typed("unknown", fieldCount: 0)
        }
    }

    /// The head of `{type, spec}`, whose spec has that many fields.
    private mutating func typed(_ type: ByteView, fieldCount: Int) {
        map(2)
        bulk("type")
        bulk(type)
        bulk("spec")
        map(fieldCount)
    }

    private mutating func field(_ name: ByteView, _ value: Int) {
        bulk(name)
        integer(value)
    }
}
