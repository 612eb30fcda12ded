// The family of generic commands.

let genericCommands: [CommandSpec] = []
