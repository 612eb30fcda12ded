// Where the keys are among a command's arguments: what the plan, COMMAND GETKEYS and ACL checks derive keys from.
//
// Source: the key specifications page of Redis.

package import KedisProtocol
import KedisUtilities

/// How a command uses a key.
package struct KeyAccess: OptionSet, Sendable {
    package let rawValue: UInt16

    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let readOnly = KeyAccess(rawValue: 1 << 0)
    package static let readWrite = KeyAccess(rawValue: 1 << 1)
    package static let overwrite = KeyAccess(rawValue: 1 << 2)
    package static let remove = KeyAccess(rawValue: 1 << 3)
    package static let access = KeyAccess(rawValue: 1 << 4)
    package static let update = KeyAccess(rawValue: 1 << 5)
    package static let insert = KeyAccess(rawValue: 1 << 6)
    package static let delete = KeyAccess(rawValue: 1 << 7)
    package static let notKey = KeyAccess(rawValue: 1 << 8)
    package static let incomplete = KeyAccess(rawValue: 1 << 9)
    package static let variableFlags = KeyAccess(rawValue: 1 << 10)

    static let names: [(flag: KeyAccess, name: StaticString)] = [
        (.readOnly, "RO"), (.readWrite, "RW"), (.overwrite, "OW"), (.remove, "RM"), (.access, "access"),
        (.update, "update"), (.insert, "insert"), (.delete, "delete"), (.notKey, "not_key"),
        (.incomplete, "incomplete"), (.variableFlags, "variable_flags"),
    ]
}

/// A run of keys: where it begins and how it goes on.
package struct KeySpec: Sendable {
    package enum Begin: Sendable {
        /// At this argument.
        case index(Int)
        /// Behind this word, looked for from this argument on (from the end when negative).
        case keyword(String, from: Int)
        /// Where only the command's own options tell.
        case unknown
    }

    package enum Find: Sendable {
        /// Up to `last` (counted from the first key; from the end when negative: -1 is the last argument, and `limit` n
        /// then stops at the n-th part of the rest), every `step`-th argument.
        case range(last: Int, step: Int, limit: Int)
        /// As many as the argument at `countIndex` says, from `first` on, both counted from where the run begins.
        case count(countIndex: Int, first: Int, step: Int)
        /// At the argument that the command's options name, if any. Clients are told that it is unknown.
        case byOptions(@Sendable (ArgumentList) -> Int?)
        /// Keys that follow from the data: no plan can find them.
        case unknown
    }

    package var access: KeyAccess
    package var begin: Begin
    package var find: Find
    package var note: String?
    /// The arguments that are keys, where the rest of the spec, which clients are told, is only the usual form.
    var chosenKeys: (@Sendable (ArgumentList) -> Range<Int>)?

    package init(_ access: KeyAccess, begin: Begin, find: Find, note: String? = nil) {
        self.access = access
        self.begin = begin
        self.find = find
        self.note = note
    }

    /// One key at `index`.
    package static func one(_ access: KeyAccess, at index: Int = 1) -> KeySpec {
        KeySpec(access, begin: .index(index), find: .range(last: 0, step: 1, limit: 0))
    }

    /// All arguments from `index` on, every `step`-th of them.
    package static func rest(_ access: KeyAccess, from index: Int = 1, step: Int = 1) -> KeySpec {
        KeySpec(access, begin: .index(index), find: .range(last: -1, step: step, limit: 0))
    }

    /// Calls `body` with the index of each key among `arguments`; false when the arguments do not fit the spec.
    func forEachKeyIndex(in arguments: borrowing ArgumentList, _ body: (Int) -> Void) -> Bool {
        if let chosenKeys {
            for index in chosenKeys(copy arguments).clamped(to: 0..<arguments.count) { body(index) }
            return true
        }
        if case .byOptions(let findIndex) = find {
            guard let index = findIndex(copy arguments), index < arguments.count else { return false }
            body(index)
            return true
        }
        guard let first = firstIndex(in: arguments) else { return false }
        switch find {
        case .unknown, .byOptions: return false
        case .range(let last, let step, let limit):
            var end = last >= 0 ? first + last : arguments.count + last
            if last < 0, limit > 1 { end = first + (arguments.count - first) / limit + last }
            guard first < arguments.count, end < arguments.count else { return false }
            var index = first
            while index <= end {
                body(index)
                index += step
            }
            return true
        case .count(let countIndex, let firstKey, let step):
            guard first + countIndex < arguments.count, let count = parseInteger(arguments[first + countIndex]),
                count > 0, count <= Int64(arguments.count)
            else { return false }
            let start = first + firstKey
            guard start + (Int(count) - 1) * step < arguments.count else { return false }
            for offset in 0..<Int(count) { body(start + offset * step) }
            return true
        }
    }

    private func firstIndex(in arguments: borrowing ArgumentList) -> Int? {
        switch begin {
        case .unknown: return nil
        case .index(let index):
            return index < arguments.count ? index : nil
        case .keyword(let word, let from):
            var index = from > 0 ? from : arguments.count + from
            let step = from > 0 ? 1 : -1
            while index > 0, index < arguments.count {
                if arguments[index].equalsIgnoringCase(text: word) {
                    return index + 1 < arguments.count ? index + 1 : nil
                }
                index += step
            }
            return nil
        }
    }
}

extension ByteView {
    /// True when the bytes are `text`, ASCII case aside.
    func equalsIgnoringCase(text: String) -> Bool {
        var text = text
        return text.withUTF8 { equalsIgnoringCase(ByteView(UnsafeRawBufferPointer($0))) }
    }
}
