// `rename-command`: a command that has another name here, or none. The table is built with it (CommandTable.swift).

package struct CommandRename: Equatable, Sendable {
    /// Upper case.
    package let name: String
    /// Upper case; nil when nobody can call the command.
    package let newName: String?

    /// The words behind the directive.
    init(_ arguments: [String]) throws(DirectiveReason) {
        guard arguments.count == 2 else { throw DirectiveReason(text: "wrong number of arguments") }
        let name = arguments[0].uppercased()
        guard allCommandSpecs.contains(where: { $0.name == name }) else {
            throw DirectiveReason(text: "No such command in rename-command")
        }
        let newName = arguments[1].uppercased()
        guard newName.utf8.count <= CommandNames.nameByteCountMax else {
            throw DirectiveReason(text: "The new name in rename-command is too long")
        }
        guard newName == name || !allCommandSpecs.contains(where: { $0.name == newName }) else {
            throw DirectiveReason(text: "Target command name already exists")
        }
        self.name = name
        self.newName = newName.isEmpty ? nil : newName
    }
}
