// The families of commands: one line for each.

/// Every command, by family.
package let allCommandSpecs: [CommandSpec] = [
    stringCommands,
    bitmapCommands,
    hyperLogLogCommands,
    listCommands,
    setCommands,
    sortedSetCommands,
    geoCommands,
    hashCommands,
    streamCommands,
    genericCommands,
    connectionCommands,
    transactionCommands,
    scriptingCommands,
    publishSubscribeCommands,
    serverCommands,
    accessCommands,
    replicationCommands,
    clusterCommands,
    explainCommands,
].flatMap { $0 }
