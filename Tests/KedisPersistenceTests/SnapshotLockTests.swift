// Goal: two stores never write one snapshot. Method: take the lock twice, give it back, take it where nothing can be.

import KedisPersistence
import KedisTestSupport
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite("The lock of a snapshot")
struct SnapshotLockTests {
    @Test("A lock that is held is refused, with its owner's number; one that was given back is given again")
    func exclusive() throws {
        var template = Array("/tmp/kedis-lock-XXXXXX".utf8CString)
        let folder = try #require(mkdtemp(&template).map { String(cString: $0) })
        defer {
            unlink(folder + "/.dump.rdb.lock")
            rmdir(folder)
        }
        let path = folder + "/dump.rdb"
        let first = try #require(try SnapshotLock.acquire(forSnapshot: path))
        #expect(throws: SnapshotLockError.inUse(path: path, processIdentifier: getpid())) {
            _ = try SnapshotLock.acquire(forSnapshot: path)
        }
        first.release()
        first.release()
        let second = try #require(try SnapshotLock.acquire(forSnapshot: path))
        second.release()
    }

    @Test("A directory that is not there is an error that names it")
    func missingDirectory() {
        #expect(throws: SnapshotLockError.noDirectory(path: "/nowhere/at/all")) {
            _ = try SnapshotLock.acquire(forSnapshot: "/nowhere/at/all/dump.rdb")
        }
    }
}
