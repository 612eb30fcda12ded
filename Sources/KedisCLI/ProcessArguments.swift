// The process's arguments and its standard error, as bytes.

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The last `count` arguments of the process, as the bytes that they are: a value need not be UTF-8.
func rawArguments(last count: Int) -> [[UInt8]] {
    let total = Int(CommandLine.argc)
    return (max(0, total - count)..<total).compactMap { index in
        CommandLine.unsafeArgv[index].map { argument in
            Array(UnsafeRawBufferPointer(start: argument, count: strlen(argument)))
        }
    }
}

/// Prints a message for a person to standard error.
func complain(_ message: String) {
    let line = Array("kedis: \(message)\n".utf8)
    _ = line.withUnsafeBytes { write(2, $0.baseAddress, $0.count) }
}
