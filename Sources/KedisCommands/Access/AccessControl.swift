// Access control: the users of an engine, who is one of them, and what became of attempts to do more than allowed.
//
//      ACL SETUSER ─▶ rules ─▶ a new snapshot (UserRules) in the user ─▶ the generation moves on
//      a session ─▶ sees another generation before its next batch ─▶ takes the snapshot of its user (Session+Access)
//
// Ownership: the engine's. Threads: any; the table of users, the snapshot in a user and the log have locks of their
// own, and changes happen one after another under `changing`. Cost: nothing on the data path but the load of the
// generation.
// Bounds: `userCountMax`, and those of a definition (UserDefinition.swift).

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

/// A user. Whoever is logged in keeps it; its rules are replaced as a whole.
package final class User: Sendable {
    let name: [UInt8]
    private let state: Locked<UserRules>
    /// It was deleted, or another one has its name since ACL LOAD: its clients go.
    let isRemoved = Atomic<Bool>(false)

    init(name: [UInt8], _ rules: UserRules) {
        self.name = name
        state = Locked(rules)
    }

    var rules: UserRules {
        get { state.withLock { $0 } }
        set { state.withLock { $0 = newValue } }
    }

    static let defaultName: [UInt8] = Array("default".utf8)
}

package final class AccessControl: Sendable {
    let table: CommandTable
    private let configuration: Configuration
    private let host: Host
    /// The user of new clients; it is never removed.
    let defaultUser: User
    /// Moves on with every change of a user.
    let generation = Atomic<UInt64>(1)
    let log: AccessLog
    private let users: Locked<[[UInt8]: User]>
    private let changing = Locked<Void>(())

    /// More users than these are refused.
    static let userCountMax = 100_000

    /// One user, `default`, with the password of `requirepass`, if there is one.
    init(table: CommandTable, configuration: Configuration, host: Host) {
        self.table = table
        self.configuration = configuration
        self.host = host
        let standard = UserRules(.standard(commandCount: table.entries.count), table)
        let user = User(name: User.defaultName, standard)
        defaultUser = user
        users = Locked([user.name: user])
        log = AccessLog(configuration)
        setDefaultPassword(configuration.text("requirepass"))
    }

    var reader: AccessRules {
        AccessRules(
            table: table, digest: host.digest,
            givesAllChannels: configuration.text("acl-pubsub-default") == "allchannels")
    }

    // MARK: Reading

    func find(_ name: [UInt8]) -> User? { users.withLock { $0[name] } }

    /// All users, by the bytes of their names.
    var all: [User] { users.withLock { $0.values.map { $0 } }.sorted { $0.name.lexicographicallyPrecedes($1.name) } }

    /// The user `default` has no password, whether it is on or not: protected mode then lets nobody in from elsewhere.
    package var admitsAnybody: Bool { defaultUser.rules.definition.needsNoPassword }

    /// New clients must say who they are.
    package var needsAuthentication: Bool { !defaultUser.rules.definition.letsAnybodyIn }

    /// The user, if the password is right and it may log in. The password is hashed for names that do not exist, too.
    func authenticate(_ name: ByteView, _ password: ByteView) -> User? {
        let user = find(name.bytes)
        let definition = (user ?? defaultUser).rules.definition
        let hash = host.digest(password).map { hexadecimalDigits(of: $0) }
        var isRight = false
        for known in definition.passwords {
            let isMatch = hash.map { isEqualInConstantTime($0, known) } ?? false
            isRight = isMatch || isRight
        }
        guard let user, definition.isEnabled, definition.needsNoPassword || isRight else { return nil }
        return user
    }

    // MARK: Changing

    /// ACL SETUSER: applies all rules, or none. Clients of the user that lose a channel are closed.
    func setUser(_ name: [UInt8], _ rules: [[UInt8]], clients: ClientRegistry) throws(AccessChangeError) {
        let merged: [[UInt8]]
        do { merged = try mergeSelectors(rules).get() } catch { throw .unmatchedParenthesis(error.start) }
        try changing.withLock { _ throws(AccessChangeError) in
            let user = find(name)
            let reader = reader
            var definition = user?.rules.definition ?? reader.emptyDefinition
            try reader.apply(merged, to: &definition)
            guard let user else { return try add(User(name: name, UserRules(definition, table))) }
            let before = user.rules
            user.rules = UserRules(definition, table)
            noteChange()
            closeListeners(of: user, before: before, clients)
        }
    }

    private func add(_ user: User) throws(AccessChangeError) {
        let isAdded = users.withLock { users in
            guard users.count < Self.userCountMax else { return false }
            users[user.name] = user
            return true
        }
        guard isAdded else { throw .tooManyUsers }
        noteChange()
    }

    private func noteChange() { generation.wrappingAdd(1, ordering: .releasing) }

    /// ACL DELUSER: removes users, whose clients are closed; returns how many there were. `default` is not among them.
    func delete(_ names: [[UInt8]], clients: ClientRegistry) -> Int {
        changing.withLock { _ in
            let removed = users.withLock { users in names.compactMap { users.removeValue(forKey: $0) } }
            close(removed, clients)
            return removed.count
        }
    }

    /// ACL LOAD: puts these users in the place of all that there are. `default` stays the same user with other rules,
    /// as new when it is not among them; clients of all others are closed.
    func replaceAll(_ definitions: [(name: [UInt8], definition: UserDefinition)], clients: ClientRegistry) {
        changing.withLock { _ in
            var new: [[UInt8]: User] = [User.defaultName: defaultUser]
            var standard = UserDefinition.standard(commandCount: table.entries.count)
            for (name, definition) in definitions {
                if name == User.defaultName {
                    standard = definition
                } else {
                    new[name] = User(name: name, UserRules(definition, table))
                }
            }
            let before = defaultUser.rules
            defaultUser.rules = UserRules(standard, table)
            let users = new
            let old = self.users.withLock { current in
                defer { current = users }
                return current
            }
            close(old.values.filter { $0 !== defaultUser }, clients)
            closeListeners(of: defaultUser, before: before, clients)
        }
    }

    /// `requirepass`: the only password of `default`; none when empty.
    func setDefaultPassword(_ password: String) {
        changing.withLock { _ in
            var definition = defaultUser.rules.definition
            setPassword(password, of: &definition)
            guard definition != defaultUser.rules.definition else { return }
            defaultUser.rules = UserRules(definition, table)
            noteChange()
        }
    }

    /// The user `default` as the configuration makes it without a line about it.
    var standardDefinition: UserDefinition {
        var definition = UserDefinition.standard(commandCount: table.entries.count)
        setPassword(configuration.text("requirepass"), of: &definition)
        return definition
    }

    private func setPassword(_ password: String, of definition: inout UserDefinition) {
        definition.passwords = []
        definition.needsNoPassword = password.isEmpty
        // Without SHA-256 there is no right password then.
        if !password.isEmpty, let hash = try? Array(password.utf8).withView(reader.hash) {
            definition.passwords = [hash]
        }
    }

    // MARK: Clients

    private func close(_ removed: [User], _ clients: ClientRegistry) {
        for user in removed { user.isRemoved.store(true, ordering: .relaxed) }
        noteChange()
        guard !removed.isEmpty else { return }
        let identifiers = Set(removed.map(ObjectIdentifier.init))
        for record in clients.all where identifiers.contains(ObjectIdentifier(record.currentUser)) { record.kill() }
    }

    /// Has the clients of a user looked at by their own threads when it may have lost a channel: PubSub/Postbox.swift.
    private func closeListeners(of user: User, before: UserRules, _ clients: ClientRegistry) {
        let after = user.rules
        guard !after.hasAllChannels else { return }
        let kept = Set(after.definition.allSelectors.flatMap(\.channels))
        let had = before.definition.allSelectors.flatMap(\.channels)
        let isSuperset = !before.hasAllChannels && had.allSatisfy(kept.contains)
        guard !isSuperset else { return }
        for record in clients.all where record.currentUser === user { record.postbox.send(.closeIfRevoked(record)) }
    }

    // MARK: Files

    /// The path of `aclfile`, "" for none.
    package var filePath: String { configuration.text("aclfile") }

    /// At the start of a server: the users of the configuration, or those of the file.
    package func loadAtStart(clients: ClientRegistry) throws(AccessFileError) {
        let declared = configuration.declaredUsers
        guard !filePath.isEmpty else { return try load(declared, clients) }
        guard declared.isEmpty else {
            let text = "users are defined in the configuration and in an aclfile: only one of both can be"
            throw AccessFileError(text: Array(text.utf8))
        }
        if !configuration.text("requirepass").isEmpty {
            host.log(.warning, "requirepass means nothing beside an aclfile: the file says what is the default user's")
        }
        try loadFile(clients: clients)
    }

    private func load(_ declared: [UserDeclaration], _ clients: ClientRegistry) throws(AccessFileError) {
        guard !declared.isEmpty else { return }
        var definitions = [(name: User.defaultName, definition: defaultUser.rules.definition)]
        for user in declared {
            let name = String(decoding: user.name, as: UTF8.self)
            var definition = reader.emptyDefinition
            do throws(AccessChangeError) {
                try reader.apply(user.rules, to: &definition)
            } catch {
                throw AccessFileError(text: Array("user '\(name)': ".utf8) + error.text)
            }
            if !definition.isEnabled {
                host.log(.notice, "The user '\(name)' is off: there is no 'on' among its rules. Is that meant?")
            }
            if user.name == User.defaultName { definitions.removeFirst() }
            definitions.append((user.name, definition))
        }
        replaceAll(definitions, clients: clients)
    }

    /// ACL LOAD: replaces all users by those of the file, or changes nothing and throws all that is wrong with it.
    package func loadFile(clients: ClientRegistry) throws(AccessFileError) {
        let path = filePath
        let text: [UInt8]
        switch host.readAccessFile(path) {
        case .success(let bytes): text = bytes
        case .failure(let error):
            throw AccessFileError(text: Array("Error loading ACLs, opening file '\(path)': \(error.text)".utf8))
        }
        var file = AccessFile(path: path, reader: reader)
        replaceAll(try file.users(in: text), clients: clients)
    }

    /// ACL SAVE: nil, or what went wrong.
    func saveFile() -> String? {
        changing.withLock { _ in
            var text: [UInt8] = []
            for user in all { text += user.rules.definition.line(name: user.name) + [0x0A] }
            return host.writeAccessFile(filePath, text)
        }
    }
}

/// Why ACL SETUSER is refused.
enum AccessChangeError: Error, Equatable, Sendable {
    case unmatchedParenthesis([UInt8])
    case rule([UInt8], AccessRuleError)
    case tooManyUsers

    /// The text behind the code of the error.
    var text: [UInt8] {
        switch self {
        case .unmatchedParenthesis(let start):
            Array("Unmatched parenthesis in acl selector starting at '".utf8) + start + Array("'.".utf8)
        case .rule(let rule, let error):
            Array("Error in ACL SETUSER modifier '".utf8) + rule + Array("': ".utf8) + ByteView(error.text).buffer
        case .tooManyUsers: Array("There are too many users".utf8)
        }
    }
}

extension AccessRules {
    /// Applies rules whose selectors are together.
    func apply(_ rules: [[UInt8]], to definition: inout UserDefinition) throws(AccessChangeError) {
        for rule in rules {
            do throws(AccessRuleError) {
                try rule.withView { view throws(AccessRuleError) in try apply(view, to: &definition) }
                guard definition.byteCount <= UserDefinition.byteCountMax else { throw .tooManyRules }
            } catch {
                throw .rule(rule, error)
            }
        }
    }
}

/// Compares without telling by the time that it takes where the first difference is. Both have the same length, which
/// is no secret.
func isEqualInConstantTime(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    guard left.count == right.count else { return false }
    var difference: UInt8 = 0
    for index in left.indices { difference |= left[index] ^ right[index] }
    return difference == 0
}
