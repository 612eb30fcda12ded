// A pseudoterminal with a shell on its inner side, on a thread of its own, and a person's view of the outer side.

import Foundation
import KedisShell

final class Pseudoterminal {
    private let outer: Int32
    private let inner: Int32
    private(set) var screen: Screen
    private let finished = DispatchSemaphore(value: 0)
    private let result = Box()

    // Unsafe: written by the shell's thread before it signals, read after that.
    private final class Box: @unchecked Sendable { var status: Int32? }

    init?(columnCount: Int, historyPath: String? = nil, backend: @escaping @Sendable () -> ShellBackend) {
        setenv("TERM", "xterm", 1)
        guard let pair = openPair() else { return nil }
        (outer, inner) = pair
        var size = winsize(ws_row: 24, ws_col: UInt16(columnCount), ws_xpixel: 0, ws_ypixel: 0)
        guard ioctl(outer, UInt(TIOCSWINSZ), &size) == 0 else { return nil }
        screen = Screen(columnCount: columnCount)
        let (inner, result, finished) = (inner, result, finished)
        Thread.detachNewThread {
            var options = Shell.Options(historyPath: historyPath)
            (options.input, options.output) = (inner, inner)
            result.status = Shell(backend: backend(), options: options).runInteractive()
            finished.signal()
        }
    }

    deinit {
        close(outer)
        close(inner)
    }

    func type(_ text: String) {
        // A long write may end in its midst: at a signal, or when a ring goes that another test made on this thread.
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(outer, $0.baseAddress, $0.count) }
            if count > 0 { rest = rest.dropFirst(count) } else if errno != EINTR { return }
        }
    }

    /// Reads until the screen is as wanted; false after a minute.
    func wait(_ isReached: (Screen) -> Bool) -> Bool {
        let deadline = Date(timeIntervalSinceNow: 60)
        while !isReached(screen) {
            guard Date() < deadline else { return false }
            var request = pollfd(fd: outer, events: Int16(POLLIN), revents: 0)
            guard poll(&request, 1, 100) > 0 else { continue }
            var buffer = [UInt8](repeating: 0, count: 4_096)
            let count = read(outer, &buffer, buffer.count)
            if count > 0 { screen.feed(Array(buffer[..<count])) }
        }
        return true
    }

    /// Waits until the row of the cursor reads as given, to its end or to the cursor.
    func waitForLine(_ text: String) -> Bool {
        wait { $0.lines[$0.row] == text }
    }

    func clearGrey() { screen.grey = "" }

    /// The shell's exit status, nil if it does not leave within a minute.
    func status() -> Int32? {
        finished.wait(timeout: .now() + 60) == .success ? result.status : nil
    }

    /// True if the terminal's mode is what it was before the shell.
    var isCooked: Bool {
        var mode = termios()
        return tcgetattr(inner, &mode) == 0 && mode.c_lflag & tcflag_t(ICANON) != 0
            && mode.c_lflag & tcflag_t(ECHO) != 0
    }
}

/// The two sides of a new pseudoterminal.
private func openPair() -> (outer: Int32, inner: Int32)? {
    #if os(Linux)
        // The C library's functions for this are hidden from Swift by a feature macro: ask the kernel.
        let outer = open("/dev/ptmx", O_RDWR | O_NOCTTY)
        var (isLocked, number): (Int32, UInt32) = (0, 0)
        let (setLock, getNumber): (UInt, UInt) = (0x4004_5431, 0x8004_5430)
        guard outer >= 0, ioctl(outer, setLock, &isLocked) == 0, ioctl(outer, getNumber, &number) == 0 else {
            return nil
        }
        let inner = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY)
    #else
        let outer = posix_openpt(O_RDWR | O_NOCTTY)
        guard outer >= 0, grantpt(outer) == 0, unlockpt(outer) == 0, let name = ptsname(outer) else { return nil }
        let inner = open(name, O_RDWR | O_NOCTTY)
    #endif
    return inner >= 0 ? (outer, inner) : nil
}
