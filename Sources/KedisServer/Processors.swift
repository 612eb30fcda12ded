// `server_cpulist` and `bgsave_cpulist`: which processors the threads of the server run on. Threads inherit those of
// the thread that starts them.

import KedisCommands
import KedisUtilities

/// Binds the calling thread to the processors of `list`; nothing when it is empty. Nil, or the system's words.
func bindThread(toProcessors list: String) -> String? {
    guard let processors = processorSet(list), !processors.isEmpty else { return nil }
    return bindThread(to: processors) ? nil : systemText()
}
