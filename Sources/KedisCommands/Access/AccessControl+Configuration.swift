// The users as the configuration's file is to name them: for CONFIG REWRITE.

import KedisUtilities

/// A user as it is now, beside what a file says of it.
package struct UserState: Sendable {
    package let name: [UInt8]
    /// Those of a line of the file, the selectors in one word each.
    package let rules: [[UInt8]]
    /// A file without a line about the user makes the same.
    package let isImplied: Bool
    fileprivate let definition: UserDefinition
    fileprivate let reader: AccessRules

    /// Whether the rules of a line make this user.
    package func isMade(by rules: [[UInt8]]) -> Bool {
        guard case .success(let merged) = mergeSelectors(rules) else { return false }
        var made = reader.emptyDefinition
        guard (try? reader.apply(merged, to: &made)) != nil else { return false }
        return made == definition
    }
}

extension AccessControl {
    /// All users, by the bytes of their names; nil when they are a file's affair.
    package var configurationUsers: [UserState]? {
        guard filePath.isEmpty else { return nil }
        let reader = reader
        let standard = standardDefinition
        return all.map { user in
            let definition = user.rules.definition
            let words = definition.description.split(separator: 0x20).map(Array.init)
            return UserState(
                name: user.name, rules: words, isImplied: user === defaultUser && definition == standard,
                definition: definition, reader: reader)
        }
    }
}
