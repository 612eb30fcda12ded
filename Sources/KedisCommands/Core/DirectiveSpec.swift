// What a directive of the configuration is: name, kind, default. The directives themselves stand in
// DirectiveTable.swift.
//
// Values are normalised once, when they are set: sizes become bytes, `YES` becomes `yes`. Cost: allocates, which only
// CONFIG and the start do.

import KedisUtilities

/// What a directive may be set to.
package enum DirectiveKind: Sendable {
    /// `yes` or `no`.
    case boolean
    case integer(ClosedRange<Int64>)
    /// File permissions, written in base 8.
    case octal(ClosedRange<Int64>)
    /// Bytes, or a number with a unit such as `64mb`.
    case memory(ClosedRange<Int64>)
    /// Bytes or a number with a unit, 0 for no limit; what is beyond 64 bits counts as the most that they hold.
    case memoryLimit
    case enumeration([String])
    case text
    /// Words between blanks.
    case list
    /// Pairs of seconds and changes.
    case saveRules
    /// Groups of class, hard limit, soft limit and seconds.
    case outputLimits
    /// Letters of classes of keyspace events.
    case keyspaceEvents

    /// Whether a line of a file may give several words.
    package var takesSeveralWords: Bool {
        switch self {
        case .list, .saveRules, .outputLimits: true
        default: false
        }
    }
}

/// Who may change a directive, and when.
package enum DirectiveMutability: Sendable {
    /// CONFIG SET may.
    case atRunTime
    /// Files and arguments only.
    case atStart
    /// CONFIG SET only where `enable-protected-configs` lets it.
    case protected
}

package struct DirectiveSpec: Sendable {
    package let name: String
    package let otherNames: [String]
    package let kind: DirectiveKind
    package let defaultValue: String
    package let mutability: DirectiveMutability
    package let summary: String

    init(
        _ name: String, otherNames: [String] = [], _ kind: DirectiveKind, default defaultValue: String,
        _ mutability: DirectiveMutability, _ summary: String
    ) {
        self.name = name
        self.otherNames = otherNames
        self.kind = kind
        self.defaultValue = defaultValue
        self.mutability = mutability
        self.summary = summary
    }
}

/// Why a value was refused: one sentence for people.
struct DirectiveReason: Error {
    var text: String
}

extension DirectiveSpec {
    /// The value in the form that CONFIG GET shows. `previous` is what stands: classes of output limits that `text`
    /// does not name keep their limits.
    func normalise(_ text: String, previous: String) throws(DirectiveReason) -> String {
        switch kind {
        case .boolean: try normaliseBoolean(text)
        case .integer(let range): try normaliseInteger(text, range)
        case .octal(let range): try normaliseOctal(text, range)
        case .memory(let range): try normaliseMemory(text, range)
        case .memoryLimit: try normaliseMemoryLimit(text)
        case .enumeration(let names): try normaliseName(text, names)
        case .text: try normaliseText(text)
        case .list: words(of: text).joined(separator: " ")
        case .saveRules: try normaliseSaveRules(text)
        case .outputLimits: try OutputLimits(previous).changed(by: text).text
        case .keyspaceEvents: try normaliseKeyspaceEvents(text)
        }
    }

    private func normaliseBoolean(_ text: String) throws(DirectiveReason) -> String {
        let value = text.asciiLowercase
        guard value == "yes" || value == "no" else { throw DirectiveReason(text: "argument must be 'yes' or 'no'") }
        return value
    }

    private func normaliseInteger(_ text: String, _ range: ClosedRange<Int64>) throws(DirectiveReason) -> String {
        guard let value = text.withBytes(parseInteger) else {
            throw DirectiveReason(text: "argument couldn't be parsed into an integer")
        }
        return String(try bounded(value, range))
    }

    private func normaliseKeyspaceEvents(_ text: String) throws(DirectiveReason) -> String {
        guard let classes = KeyspaceEventClasses(text) else {
            throw DirectiveReason(text: "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
        }
        return classes.text
    }

    private func normaliseOctal(_ text: String, _ range: ClosedRange<Int64>) throws(DirectiveReason) -> String {
        guard let value = Int64(text, radix: 8) else {
            throw DirectiveReason(text: "argument couldn't be parsed into an integer")
        }
        guard range.contains(value) else {
            let low = String(range.lowerBound, radix: 8), high = String(range.upperBound, radix: 8)
            throw DirectiveReason(text: "argument must be between \(low) and \(high) inclusive")
        }
        return String(value, radix: 8)
    }

    private func normaliseMemory(_ text: String, _ range: ClosedRange<Int64>) throws(DirectiveReason) -> String {
        guard let value = text.withBytes(parseMemorySize) else {
            throw DirectiveReason(text: "argument must be a memory value")
        }
        return String(try bounded(value, range))
    }

    /// As Redis reads it: without a digit it is 0.
    private func normaliseMemoryLimit(_ text: String) throws(DirectiveReason) -> String {
        guard let value = text.withBytes(parseMemoryLimit) else {
            throw DirectiveReason(text: "argument must be a memory value")
        }
        return String(value)
    }

    private func bounded(_ value: Int64, _ range: ClosedRange<Int64>) throws(DirectiveReason) -> Int64 {
        guard range.contains(value) else {
            throw DirectiveReason(
                text: "argument must be between \(range.lowerBound) and \(range.upperBound) inclusive")
        }
        return value
    }

    private func normaliseName(_ text: String, _ names: [String]) throws(DirectiveReason) -> String {
        let value = text.asciiLowercase
        guard names.contains(value) else {
            let list = names.joined(separator: ", ")
            throw DirectiveReason(text: "argument(s) must be one of the following: \(list)")
        }
        return value
    }

    private func normaliseText(_ text: String) throws(DirectiveReason) -> String {
        if name == "dbfilename", text.isEmpty || text.utf8.contains(0x2F) {
            throw DirectiveReason(text: "dbfilename can't be a path, just a filename")
        }
        if text.utf8.contains(0) { throw DirectiveReason(text: "argument has a NUL byte in it") }
        return text
    }

    private func normaliseSaveRules(_ text: String) throws(DirectiveReason) -> String {
        let words = words(of: text)
        let invalid = DirectiveReason(text: "Invalid save parameters")
        guard words.count % 2 == 0 else { throw invalid }
        var numbers: [String] = []
        for (index, word) in words.enumerated() {
            // Seconds from 1, changes from 0.
            let least: Int64 = index % 2 == 0 ? 1 : 0
            guard let number = word.withBytes(parseInteger), number >= least, number <= Int64(Int32.max) else {
                throw invalid
            }
            numbers.append(String(number))
        }
        return numbers.joined(separator: " ")
    }
}

/// The words of a value between blanks.
func words(of text: String) -> [String] {
    text.utf8.split { isASCIISpace($0) }.map { String(Substring($0)) }
}

extension String {
    func withBytes<Result>(_ body: (ByteView) -> Result) -> Result {
        var copy = self
        return copy.withUTF8 { body(ByteView(UnsafeRawBufferPointer($0))) }
    }

    /// A-Z as a-z, all else as it is.
    var asciiLowercase: String { String(decoding: utf8.map(asciiLowercased), as: UTF8.self) }
}
