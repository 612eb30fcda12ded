// The family of server commands.

let serverCommands: [CommandSpec] = [
    DebugCommand.spec,
    CommandCommand.spec,
    ConfigCommand.spec,
    InfoCommand.spec,
    MemoryCommand.spec,
    SaveCommand.spec,
    BackgroundSaveCommand.spec,
    LastSaveCommand.spec,
    ShutdownCommand.spec,
    TimeCommand.spec,
    LolwutCommand.spec,
    ModuleCommand.spec,
    BackgroundSaveCommand.rewriteSpec,
]
