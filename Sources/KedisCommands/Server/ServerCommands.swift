// The family of server commands.

let serverCommands: [CommandSpec] = [
    DebugCommand.spec,
]
