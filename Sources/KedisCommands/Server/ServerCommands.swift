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
    SlowLogCommand.spec,
    LatencyCommand.spec,
    MonitorCommand.spec,
    HotKeysCommand.spec,
    BigKeysCommand.spec,
    ModuleCommand.spec,
    BackgroundSaveCommand.rewriteSpec,
]
