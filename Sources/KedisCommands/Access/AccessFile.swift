// Files of users (`aclfile`): a line `user NAME rule …` for each, blank lines, nothing else.
//
// Read as a whole before anything is changed; all that is wrong is told, in one line. Texts and the way lines are cut
// are those of redis-server 7.0.15: blanks separate, quotes mean nothing.

import KedisUtilities

/// What is wrong with a file, or with `user` directives.
package struct AccessFileError: Error, Equatable, Sendable, CustomStringConvertible {
    package var text: [UInt8]

    package var description: String { String(decoding: text, as: UTF8.self) }
}

struct AccessFile {
    let path: String
    let reader: AccessRules
    private var problems: [UInt8] = []

    init(path: String, reader: AccessRules) {
        self.path = path
        self.reader = reader
    }

    /// Problems beyond these bytes are not told.
    private static let problemByteCountMax = 64 << 10

    /// The users in the order of their lines.
    mutating func users(
        in text: [UInt8]
    ) throws(AccessFileError) -> [(name: [UInt8], definition: UserDefinition)] {
        var users: [(name: [UInt8], definition: UserDefinition)] = []
        var names: Set<[UInt8]> = []
        var number = 0
        for line in text.split(separator: 0x0A, omittingEmptySubsequences: false) {
            number += 1
            let words = trimmed(line, " \t\r").split(separator: 0x20, omittingEmptySubsequences: false).map(Array.init)
            guard words != [[]] else { continue }
            guard words[0] == Array("user".utf8), words.count > 1 else {
                note("\(path):\(number) should start with user keyword followed by the username. ")
                continue
            }
            let name = words[1]
            if name.withView(hasBlanks) {
                note("'\(path):\(number): username '\(name.text)' contains invalid characters. ")
            } else if !names.insert(name).inserted {
                note("WARNING: Duplicate user '\(name.text)' found on line \(number). ")
            } else if names.count > AccessControl.userCountMax {
                note("\(path):\(number): There are too many users. ")
            } else {
                users.append((name, definition(Array(words.dropFirst(2)), number)))
            }
        }
        guard problems.isEmpty else {
            let end = "WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
            throw AccessFileError(text: problems + Array(end.utf8))
        }
        return users
    }

    private mutating func definition(_ words: [[UInt8]], _ number: Int) -> UserDefinition {
        var definition = reader.emptyDefinition
        guard case .success(let rules) = mergeSelectors(words) else {
            note("\(path):\(number): Unmatched parenthesis in selector definition.")
            return definition
        }
        var hasError = false
        for rule in rules.map({ trimmed($0[...], "\t\r") }) {
            do throws(AccessChangeError) {
                try reader.apply([rule], to: &definition)
            } catch {
                guard case .rule(_, let problem) = error else { continue }
                if problem == .unknownCommand {
                    // No secrets in these: the rule is told.
                    note("\(path):\(number): Error in applying operation '\(rule.text)': \(problem.text). ")
                } else if !hasError {
                    // The first one only, which may be the reason of others.
                    note("\(path):\(number): \(problem.text). ")
                    hasError = true
                }
            }
        }
        return definition
    }

    private mutating func note(_ problem: String) {
        if problems.count < Self.problemByteCountMax { problems += Array(problem.utf8) }
    }

    private func trimmed(_ bytes: ArraySlice<UInt8>, _ blanks: StaticString) -> [UInt8] {
        let blanks = ByteView(blanks).bytes
        let start = bytes.firstIndex { !blanks.contains($0) } ?? bytes.endIndex
        let end = bytes.lastIndex { !blanks.contains($0) }.map { $0 + 1 } ?? start
        return Array(bytes[start..<max(start, end)])
    }
}

extension Array where Element == UInt8 {
    fileprivate var text: String { String(decoding: self, as: UTF8.self) }
}
