// The process's arguments and its standard error, as bytes; which arguments are a command of the store.

import ArgumentParser

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

/// How many of the arguments that the parser did not take as options are the command: those behind `--`, or all.
///
/// The parser passes on everything from the first argument that it does not know. Only a word begins a command: an
/// option there is a request for help or a mistake, and must not reach the store.
/// - Parameter helpNames: the options that ask for the help of `program`.
func commandLength<Program: ParsableCommand>(
    _ passed: [String], of program: Program.Type, helpNames: Set<String> = ["--help", "-h"]
) throws -> Int {
    guard let first = passed.first else { return 0 }
    if first == "--" { return passed.count - 1 }
    if helpNames.contains(first) { throw CleanExit.helpRequest(program) }
    if first.hasPrefix("-"), first.count > 1 {
        throw ValidationError("Unknown option '\(first)'. (Behind '--' it would be a command.)")
    }
    return passed.count
}

/// Prints a message for a person to standard error.
func complain(_ message: String, as program: String = "kedis: ") {
    let line = Array("\(program)\(message)\n".utf8)
    _ = line.withUnsafeBytes { write(2, $0.baseAddress, $0.count) }
}
