// Lines of the configuration that are no directives with a value: `rename-command` and `user`. Any number of each;
// CONFIG GET knows nothing of them.

import KedisStore
import KedisUtilities

/// `rename-command`
package struct CommandRename: Equatable, Sendable {
    package var name: String
    /// Empty: nobody can call the command any more.
    package var newName: String
}

/// `user`: a name and its rules.
package struct UserDeclaration: Equatable, Sendable {
    package var name: [UInt8]
    package var rules: [[UInt8]]
}

/// What the configuration declares beside directives.
struct Declarations {
    var renames: [CommandRename] = []
    var users: [UserDeclaration] = []
}

extension Configuration {
    package var renames: [CommandRename] { declarations.withLock { $0.renames } }

    package var declaredUsers: [UserDeclaration] { declarations.withLock { $0.users } }

    /// Takes a line that is no directive; false for a directive.
    func declare(_ name: String, _ arguments: [String]) throws(ConfigurationError) -> Bool {
        switch name.asciiLowercase {
        case "rename-command":
            guard arguments.count == 2 else { throw .refused(name: name, reason: "wrong number of arguments") }
            try rename(arguments[0], to: arguments[1])
        case "user": try declareUser(arguments.map { Array($0.utf8) })
        default: return false
        }
        return true
    }

    // MARK: Names of commands

    /// `rename-command`: from the start on the command has this name only, or none when it is empty.
    func rename(_ name: String, to newName: String) throws(ConfigurationError) {
        let refuse = { (reason: String) in ConfigurationError.refused(name: "rename-command", reason: reason) }
        try declarations.withLock { (declarations) throws(ConfigurationError) in
            var names = Set(allCommandSpecs.map(\.name))
            for rename in declarations.renames {
                names.remove(rename.name.asciiUppercase)
                names.insert(rename.newName.asciiUppercase)
            }
            guard !name.isEmpty, names.contains(name.asciiUppercase) else {
                throw refuse("No such command in rename-command")
            }
            guard newName.isEmpty || !names.contains(newName.asciiUppercase) else {
                throw refuse("Target command name already exists")
            }
            declarations.renames.append(CommandRename(name: name, newName: newName))
        }
    }

    // MARK: Users

    /// Rules are tried on a user that goes, so that their errors are told where they stand.
    private static let trialRules = AccessRules(
        table: CommandTable(allCommandSpecs), digest: { _ in Array(repeating: 0, count: 32) }, givesAllChannels: false)

    /// `user NAME rule …`
    package func declareUser(_ words: [[UInt8]]) throws(ConfigurationError) {
        guard let name = words.first else { throw .refused(name: "user", reason: "wrong number of arguments") }
        func refuse(_ word: [UInt8], _ text: String) -> ConfigurationError {
            let word = String(decoding: word, as: UTF8.self)
            return .refused(name: "user", reason: "Error in user declaration '\(word)': \(text)")
        }
        guard !name.withView(hasBlanks) else { throw refuse(name, "Spaces not allowed in ACL usernames") }
        let rules: [[UInt8]]
        switch mergeSelectors(Array(words.dropFirst())) {
        case .success(let merged): rules = merged
        case .failure(let error): throw refuse(error.start, "Unmatched parenthesis in acl selector")
        }
        var trial = Self.trialRules.emptyDefinition
        do throws(AccessChangeError) {
            try Self.trialRules.apply(rules, to: &trial)
        } catch {
            guard case .rule(let rule, let problem) = error else { throw refuse(name, "it is not understood") }
            throw refuse(rule, "\(problem.text)")
        }
        let isNew = declarations.withLock { declarations in
            guard !declarations.users.contains(where: { $0.name == name }) else { return false }
            declarations.users.append(UserDeclaration(name: name, rules: rules))
            return true
        }
        guard isNew else {
            throw refuse(name, "Duplicate user found. A user can only be defined once in config files")
        }
    }
}

extension String {
    /// a-z as A-Z, all else as it is.
    var asciiUppercase: String { String(decoding: utf8.map(asciiUppercased), as: UTF8.self) }
}
