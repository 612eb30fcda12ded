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
    /// A number; what is beyond the range counts as its end.
    case clampedInteger(ClosedRange<Int64>)
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
    /// Percentages between blanks.
    case percentiles
    /// Bytes, or with `%` that part of `maxmemory`; 0 for no limit.
    case memoryOrPercentage
    /// So many numbers between blanks.
    case integers(count: Int, ClosedRange<Int64>)
    /// Processors as the kernel writes sets of them: `0-3,8`, `0-7:2`; empty for all.
    case processors
    /// Text with `{variables}`.
    case titleTemplate
    /// Words of these, the first of them for none.
    case flags([String])
    /// Letters of classes of keyspace events.
    case keyspaceEvents

    /// Whether a line of a file may give several words.
    package var takesSeveralWords: Bool {
        switch self {
        case .list, .saveRules, .outputLimits, .percentiles, .integers, .flags: true
        default: false
        }
    }
}

/// What a directive does here.
package enum DirectiveEffect: Sendable {
    /// What its summary says.
    case full
    /// Nothing, and needs to do nothing: why. Accepted because many files and tools set it.
    case nothing(String)
    /// Only these values are accepted, because there is nothing else here: what is missing.
    case only([String], String)
}

/// Who may change a directive, and when.
package enum DirectiveMutability: Sendable {
    /// CONFIG SET may.
    case atRunTime
    /// Files and arguments only.
    case atStart
    /// CONFIG SET only where `enable-protected-configs` lets it.
    case protected
    /// Files and arguments only, and CONFIG does not know it.
    case inFiles
}

package struct DirectiveSpec: Sendable {
    package let name: String
    package let otherNames: [String]
    package let kind: DirectiveKind
    package let defaultValue: String
    package let mutability: DirectiveMutability
    package let summary: String
    package private(set) var effect = DirectiveEffect.full

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

    /// Usual ones, which CONFIG SET changes.
    static func number(
        _ name: String, _ value: Int64, _ range: ClosedRange<Int64>, _ summary: String
    ) -> DirectiveSpec {
        DirectiveSpec(name, .integer(range), default: String(value), .atRunTime, summary)
    }

    static func flag(_ name: String, _ value: String, _ summary: String) -> DirectiveSpec {
        DirectiveSpec(name, .boolean, default: value, .atRunTime, summary)
    }

    static func text(_ name: String, _ summary: String) -> DirectiveSpec {
        DirectiveSpec(name, .text, default: "", .atRunTime, summary)
    }

    /// The same directive, which does nothing because of `reason`.
    func withoutEffect(_ reason: String) -> DirectiveSpec {
        var result = self
        result.effect = .nothing(reason)
        return result
    }

    /// The same directive, which has its default and takes no other value: `reason` says what is missing.
    func fixed(_ values: [String]? = nil, because reason: String) -> DirectiveSpec {
        var result = self
        result.effect = .only(values ?? [defaultValue], reason)
        return result
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
        let value = try normaliseByKind(text, previous: previous)
        if case .only(let values, let reason) = effect, !values.contains(value) {
            let list = values.map { $0.isEmpty ? "''" : "'\($0)'" }.joined(separator: ", ")
            throw DirectiveReason(text: "\(reason): only \(list) is accepted")
        }
        return value
    }

    private func normaliseByKind(_ text: String, previous: String) throws(DirectiveReason) -> String {
        switch kind {
        case .boolean: try normaliseBoolean(text)
        case .integer(let range): try normaliseInteger(text, range)
        case .clampedInteger(let range):
            try normaliseInteger(text, anyCount).withBytes(parseInteger)
                .map { String(min(max($0, range.lowerBound), range.upperBound)) } ?? text
        case .octal(let range): try normaliseOctal(text, range)
        case .memory(let range): try normaliseMemory(text, range)
        case .memoryLimit: try normaliseMemoryLimit(text)
        case .enumeration(let names): try normaliseName(text, names)
        case .text: try normaliseText(text)
        case .list: words(of: text).joined(separator: " ")
        case .saveRules: try normaliseSaveRules(text)
        case .percentiles: try normalisePercentiles(text)
        case .outputLimits: try OutputLimits(previous).changed(by: text).text
        case .memoryOrPercentage: try normaliseMemoryOrPercentage(text)
        case .integers(let count, let range): try normaliseIntegers(text, count, range)
        case .processors: try normaliseProcessors(text)
        case .titleTemplate: try normaliseTemplate(text)
        case .flags(let names): try normaliseFlags(text, names)
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

    private func normaliseMemoryOrPercentage(_ text: String) throws(DirectiveReason) -> String {
        let isPercentage = text.hasSuffix("%")
        let number = isPercentage ? String(text.dropLast()).withBytes(parseInteger) : text.withBytes(parseMemorySize)
        guard let number, number >= 0 else {
            throw DirectiveReason(text: "argument must be a memory or percent value")
        }
        guard isPercentage, number > 0 else { return String(number) }
        guard number <= 100 else { throw DirectiveReason(text: "percentage argument must be less or equal to 100") }
        return "\(number)%"
    }

    private func normaliseFlags(_ text: String, _ names: [String]) throws(DirectiveReason) -> String {
        let given = words(of: text.asciiLowercase)
        guard !given.isEmpty, given.allSatisfy(names.contains) else {
            let list = names.joined(separator: ", ")
            throw DirectiveReason(text: "argument(s) must be one of the following: \(list)")
        }
        guard !given.contains("save") || !given.contains("nosave") else {
            throw DirectiveReason(text: "shutdown options SAVE and NOSAVE can't be used simultaneously")
        }
        let kept = names.dropFirst().filter(given.contains)
        return kept.isEmpty ? names[0] : kept.joined(separator: " ")
    }

    private func normaliseIntegers(
        _ text: String, _ count: Int, _ range: ClosedRange<Int64>
    ) throws(DirectiveReason) -> String {
        let numbers = words(of: text).map { $0.withBytes(parseInteger) }
        guard numbers.count == count else { throw DirectiveReason(text: "wrong number of arguments") }
        var result: [String] = []
        for number in numbers {
            guard let number, range.contains(number) else {
                throw DirectiveReason(
                    text: "Invalid \(name), elements must be between \(range.lowerBound) and \(range.upperBound).")
            }
            result.append(String(number))
        }
        return result.joined(separator: " ")
    }

    private func normaliseProcessors(_ text: String) throws(DirectiveReason) -> String {
        guard processorSet(text) != nil else {
            throw DirectiveReason(text: "argument must be a list of processors such as 0-3,8")
        }
        return text
    }

    private func normaliseTemplate(_ text: String) throws(DirectiveReason) -> String {
        guard TitleTemplate(text) != nil else {
            throw DirectiveReason(text: "template format is invalid or contains unknown variables")
        }
        return text
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
