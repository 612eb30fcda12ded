// Goal: of files that were being written, those go whose process has ended, and no other. Method: names of all kinds in
// a folder; files that this process, or a child of it, writes at the moment.

import KedisTestSupport
import Testing

@testable import KedisPersistence

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite("Files that a killed process has left")
struct TemporaryFilesTests {
    /// Beyond what the system gives out.
    private let deadProcess = 99_999_999

    @Test(
        "Names are ours when they say process and number, and nothing else",
        arguments: [
            ("temp-7-1.rdb", true), ("temp-7-12.kjl", true), ("temp-7-1.acl", true), ("temp-7-1.conf", true),
            ("temp-7.rdb", false), ("temp-7-1", false), ("temp-7-1.rdb.old", false), ("temp-07-1.rdb", false),
            ("temp-7-01.rdb", false), ("temp--7-1.rdb", false), ("temp-7-1-2.rdb", false), ("temp-7-x.rdb", false),
            ("temp-0-1.rdb", false), ("temp-7-0.rdb", false), ("temp-+7-1.rdb", false), ("temp-7-1.aof", false),
            ("temp-rewriteaof-7.aof", false), ("Temp-7-1.rdb", false), ("temp-99999999999-1.rdb", false), ("", false),
        ])
    func names(name: String, isOurs: Bool) { #expect((TemporaryName(name) != nil) == isOurs) }

    @Test("What nobody writes goes; what is somebody's, or may be, stays")
    func removal() throws {
        let folder = try TestFolder()
        let names = ["temp-\(deadProcess)-1.rdb", "temp-\(deadProcess)-2.kjl", "temp-\(getpid())-99999999.rdb"]
        let kept = [
            "temp-\(getppid())-1.rdb", "temp-1-1.rdb", "dump.rdb", "temp-\(deadProcess).rdb", "x.rdb",
        ]
        for name in names + kept { #expect(TestFiles.write("x", to: folder.file(name))) }
        symlink(folder.file("dump.rdb"), folder.file("temp-\(deadProcess)-3.rdb"))
        mkdir(folder.file("temp-\(deadProcess)-4.rdb"), 0o755)
        // This process writes one, as a store beside this one might.
        let mine = try ReplacementFile(replacing: folder.file("other.rdb"), fileSystem: .system)
        #expect(Set(removeLeftoverFiles(in: folder.path)) == Set(names))
        for name in kept { #expect(TestFiles.read(folder.file(name)) != nil, "\(name)") }
        #expect(TestFiles.read(mine.temporaryPath) != nil)
        try mine.commit()
        #expect(removeLeftoverFiles(in: folder.path) == [])
        #expect(TestFiles.read(folder.file("other.rdb")) == [])
        #expect(removeLeftoverFiles(in: folder.file("nowhere")) == [])
        rmdir(folder.file("temp-\(deadProcess)-4.rdb"))
    }

    @Test("A file that somebody has locked stays, whatever number it has: processes of a container have others")
    func locked() throws {
        let folder = try TestFolder()
        let path = folder.file("temp-\(deadProcess)-1.rdb")
        let file = try FileSystem.system.open(path, .create)
        #expect(removeLeftoverFiles(in: folder.path) == [])
        try FileSystem.system.close(file)
        #expect(removeLeftoverFiles(in: folder.path) == ["temp-\(deadProcess)-1.rdb"])
        #expect(folder.names == [])
    }
}
