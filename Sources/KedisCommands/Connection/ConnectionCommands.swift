// The family of connection commands.

let connectionCommands: [CommandSpec] = []
