// The files of this machine with troubles that a test makes while a program uses them: a call that fails, syncs that
// fail, that take long, or that do not come back until the test lets them.
//
// Threads: any.

package import KedisPersistence
import KedisStore
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

package final class TroubledFiles: Sendable {
    private struct State: Sendable {
        var callCount = 0
        var failingCall: Int?
        var failingCode: Int32 = EIO
        var syncsFail = false
        var holdsSyncs = false
        var heldCount = 0
        var syncMicroseconds = 0
    }

    private let state = Locked(State())

    package init() {}

    // MARK: What a test controls

    /// The calls so far.
    package var callCount: Int { state.withLock { $0.callCount } }

    /// Has the call fail that comes so many calls from now (1: the next); nil takes that back.
    package func fail(afterCalls count: Int?, code: Int32 = EIO) {
        state.withLock { state in
            state.failingCall = count.map { state.callCount + $0 }
            state.failingCode = code
        }
    }

    /// Syncs of files fail.
    package func setSyncsFail(_ fail: Bool) { state.withLock { $0.syncsFail = fail } }

    /// Syncs of files do not come back until this is taken back.
    package func setHoldsSyncs(_ holds: Bool) { state.withLock { $0.holdsSyncs = holds } }

    /// How many syncs are held now.
    package var heldCount: Int { state.withLock { $0.heldCount } }

    /// Syncs of files take so long.
    package func setSyncMicroseconds(_ microseconds: Int) { state.withLock { $0.syncMicroseconds = microseconds } }

    // MARK: Calls

    private func call(_ operation: String, _ path: String) throws(SystemError) {
        let code: Int32? = state.withLock { state in
            state.callCount += 1
            return state.callCount == state.failingCall ? state.failingCode : nil
        }
        if let code { throw SystemError(operation: operation, path: path, code: code) }
    }

    private func synchronize(_ path: String) throws(SystemError) {
        try call("fsync", path)
        let (pause, fails) = state.withLock { state in
            if state.holdsSyncs { state.heldCount += 1 }
            return (state.syncMicroseconds, state.syncsFail)
        }
        if fails { throw SystemError(operation: "fsync", path: path, code: EIO) }
        if pause > 0 { TestFiles.sleep(microseconds: pause) }
        while state.withLock({ $0.holdsSyncs }) { TestFiles.sleep(milliseconds: 1) }
        state.withLock { $0.heldCount = 0 }
    }

    /// What a program gets.
    package var fileSystem: FileSystem {
        let real = FileSystem.system
        var files = real
        files.open = { [self] (path, mode) throws(SystemError) in
            try call("open", path)
            return try real.open(path, mode)
        }
        files.write = { [self] (file, bytes) throws(SystemError) in
            try call("write", file.path)
            return try real.write(file, bytes)
        }
        files.writeZeros = { [self] (file, range) throws(SystemError) in
            try call("write", file.path)
            return try real.writeZeros(file, range)
        }
        files.synchronize = { [self] (file) throws(SystemError) in
            try synchronize(file.path)
            try real.synchronize(file)
        }
        files.synchronizeData = { [self] (file) throws(SystemError) in
            try synchronize(file.path)
            try real.synchronizeData(file)
        }
        files.writeOut = { [self] (file, range, waits) throws(SystemError) in
            if waits { try synchronize(file.path) }
            try real.writeOut(file, range, waits)
        }
        files.rename = { [self] (source, target) throws(SystemError) in
            try call("rename", target)
            try real.rename(source, target)
        }
        files.synchronizeDirectory = { [self] (path) throws(SystemError) in
            try call("fsync", path)
            try real.synchronizeDirectory(path)
        }
        files.names = { [self] (path) throws(SystemError) in
            try call("open", path)
            return try real.names(path)
        }
        files.makeDirectory = { [self] (path) throws(SystemError) in
            try call("mkdir", path)
            try real.makeDirectory(path)
        }
        return files
    }
}
