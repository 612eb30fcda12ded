// The family of commands that show the engine at work.

let explainCommands: [CommandSpec] = [
    ExplainCommand.spec
]
