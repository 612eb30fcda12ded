// The terminal of the process: raw mode, its window's size, reading and writing bytes.
//
// Owns nothing but the mode: it is changed only between `enterRawMode` and `leaveRawMode` and is given back on every
// way out: return, exit, SIGTERM, SIGHUP, SIGINT (unless `Interruption` has it), SIGQUIT and SIGTSTP. One process has
// one terminal in raw mode at a time, used by one thread; the state for the signal handler is therefore global.

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

private typealias SignalHandler = @convention(c) (Int32) -> Void

// Unsafe: written before the handlers are installed and read by them and by `exit`; never by two threads at once.
// On the heap: as a global this structure gets 57 bytes of its 60 (Swift 6.3.1, 2026-11; its padding is left out of the
// static initial value), and tcgetattr would write past it.
private nonisolated(unsafe) let originalMode = {
    let mode = UnsafeMutablePointer<termios>.allocate(capacity: 1)
    mode.initialize(to: termios())
    return mode
}()
private nonisolated(unsafe) var rawDescriptor: Int32 = -1
private nonisolated(unsafe) var previousHandlers: (SignalHandler?, SignalHandler?, SignalHandler?, SignalHandler?)
private nonisolated(unsafe) var isExitHandlerInstalled = false

private func restoreMode() {
    guard rawDescriptor >= 0 else { return }
    _ = tcsetattr(rawDescriptor, TCSANOW, originalMode)
    rawDescriptor = -1
}

/// Gives the mode back, then lets the signal do what it did before the shell took it.
private func restoreAndForward(_ number: Int32) {
    restoreMode()
    removeHandlers()
    _ = raise(number)
}

private func removeHandlers() {
    _ = signal(SIGTERM, previousHandlers.0)
    _ = signal(SIGHUP, previousHandlers.1)
    if !Interruption.isArmed { _ = signal(SIGINT, previousHandlers.2) }
    _ = signal(SIGQUIT, previousHandlers.3)
}

package struct Terminal: Sendable {
    package let input: Int32
    package let output: Int32

    package init(input: Int32, output: Int32) {
        self.input = input
        self.output = output
    }

    /// True if both ends are a terminal that understands cursor movement.
    package var isEditable: Bool {
        guard isatty(input) == 1, isatty(output) == 1 else { return false }
        let name = getenv("TERM").map { String(cString: $0) } ?? ""
        return !["", "dumb", "cons25", "emacs"].contains(name)
    }

    /// The window's size in characters; 80 by 24 where it is unknown.
    package var windowSize: (columnCount: Int, rowCount: Int) {
        var size = winsize()
        guard ioctl(output, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return (80, 24) }
        return (Int(size.ws_col), size.ws_row > 0 ? Int(size.ws_row) : 24)
    }

    /// Keys arrive one by one and unseen from here on. False if this is no terminal.
    package func enterRawMode() -> Bool {
        guard rawDescriptor < 0, tcgetattr(input, originalMode) == 0 else { return false }
        var mode = originalMode.pointee
        mode.c_iflag &= ~tcflag_t(BRKINT | ICRNL | INPCK | ISTRIP | IXON)
        mode.c_cflag |= tcflag_t(CS8)
        mode.c_lflag &= ~tcflag_t(ECHO | ICANON | IEXTEN | ISIG)
        withUnsafeMutableBytes(of: &mode.c_cc) { characters in
            characters[Int(VMIN)] = 1
            characters[Int(VTIME)] = 0
        }
        installHandlers()
        guard tcsetattr(input, TCSADRAIN, &mode) == 0 else { return false }
        rawDescriptor = input
        write("\u{1B}[?2004h")
        return true
    }

    package func leaveRawMode() {
        guard rawDescriptor == input else { return }
        write("\u{1B}[?2004l")
        restoreMode()
        removeHandlers()
    }

    private func installHandlers() {
        previousHandlers = (
            signal(SIGTERM, restoreAndForward), signal(SIGHUP, restoreAndForward),
            Interruption.isArmed ? nil : signal(SIGINT, restoreAndForward), signal(SIGQUIT, restoreAndForward)
        )
        guard !isExitHandlerInstalled else { return }
        isExitHandlerInstalled = true
        atexit { restoreMode() }
    }

    /// Stops the process as Ctrl-Z does outside raw mode; returns when it is continued.
    package func suspend() {
        leaveRawMode()
        _ = raise(SIGTSTP)
        _ = enterRawMode()
    }

    /// Waits for bytes, at most `milliseconds` (-1: for ever). True if some can be read, or the input has ended.
    package func waitForInput(milliseconds: Int32) -> Bool {
        var request = pollfd(fd: input, events: Int16(POLLIN), revents: 0)
        while true {
            let count = poll(&request, 1, milliseconds)
            if count >= 0 { return count > 0 }
            guard errno == EINTR else { return false }
        }
    }

    /// The bytes that are there, after waiting for at least one. Nil at the end of input.
    package func read() -> [UInt8]? {
        readBytes(from: input)
    }

    package func write(_ text: String) {
        _ = writeBytes(Array(text.utf8), to: output)
    }
}

/// Reads what is there, after waiting for at least one byte. Nil at the end or after an error.
func readBytes(from descriptor: Int32, limit: Int = 65_536) -> [UInt8]? {
    while true {
        var count = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: limit) { buffer, initializedCount in
            count = read(descriptor, buffer.baseAddress, buffer.count)
            initializedCount = max(0, count)
        }
        if count > 0 { return bytes }
        guard count < 0, errno == EINTR else { return nil }
    }
}

/// Writes all bytes. False if the other end is gone or the device is full.
func writeBytes(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
    bytes.withUnsafeBytes { buffer in
        var rest = buffer[...]
        while !rest.isEmpty {
            let count = write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
            if count > 0 {
                rest = rest.dropFirst(count)
            } else if errno == EAGAIN {
                var request = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                _ = poll(&request, 1, -1)
            } else if errno != EINTR {
                return false
            }
        }
        return true
    }
}
