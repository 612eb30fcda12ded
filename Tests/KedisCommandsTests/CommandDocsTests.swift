// docs/commands says what the specs say, docs/configuration.md what the table of directives says. KEDIS_WRITE_DOCS=1 writes the pages (scripts/generate-command-docs), without it they are compared.

import KedisCommands
import KedisProtocol
import KedisTestSupport
import Testing

@Suite("Pages of commands")
struct CommandDocsTests {
    private static let folder = "\(TestFiles.packageRoot)/docs/commands"

    @Test("The pages are those that the specs give")
    func pagesAreUpToDate() throws {
        let pages = CommandPages.make(allCommandSpecs)
        if TestFiles.environment("KEDIS_WRITE_DOCS") == "1" {
            for (name, text) in pages { _ = TestFiles.write(text, to: "\(Self.folder)/\(name)") }
        }
        for (name, text) in pages.sorted(by: { $0.key < $1.key }) {
            let written = TestFiles.read("\(Self.folder)/\(name)").map { String(decoding: $0, as: UTF8.self) }
            #expect(written == text, "docs/commands/\(name) is out of date: run scripts/generate-command-docs")
        }
        let names = TestFiles.list(below: Self.folder, suffix: ".md").compactMap { $0.split(separator: "/").last.map(String.init) }
        #expect(Set(names) == Set(pages.keys), "a page of a group that is gone")
    }

    @Test("The page of the configuration is the one that the directives give")
    func configurationIsUpToDate() {
        let path = "\(TestFiles.packageRoot)/docs/configuration.md"
        let text = ConfigurationPage.make(Configuration.specs)
        if TestFiles.environment("KEDIS_WRITE_DOCS") == "1" { _ = TestFiles.write(text, to: path) }
        let written = TestFiles.read(path).map { String(decoding: $0, as: UTF8.self) }
        #expect(written == text, "docs/configuration.md is out of date: run scripts/generate-command-docs")
    }

    /// The directives of redis.conf 7.2, other names too.
    private static let redisDirectives = """
        acl-pubsub-default aclfile acllog-max-len active-defrag-cycle-max active-defrag-cycle-min \
        active-defrag-ignore-bytes active-defrag-max-scan-fields active-defrag-threshold-lower \
        active-defrag-threshold-upper active-expire-effort activedefrag activerehashing always-show-logo aof-disable-auto-gc \
        aof-load-truncated aof-rewrite-incremental-fsync aof-timestamp-enabled aof-use-rdb-preamble aof_rewrite_cpulist \
        appenddirname appendfilename appendfsync appendonly auto-aof-rewrite-min-size auto-aof-rewrite-percentage bgsave_cpulist \
        bind bind-source-addr bio_cpulist busy-reply-threshold client-output-buffer-limit client-query-buffer-limit \
        cluster-allow-pubsubshard-when-down cluster-allow-reads-when-down cluster-allow-replica-migration \
        cluster-announce-bus-port cluster-announce-hostname cluster-announce-human-nodename cluster-announce-ip \
        cluster-announce-port cluster-announce-tls-port cluster-config-file cluster-enabled cluster-link-sendbuf-limit \
        cluster-migration-barrier cluster-node-timeout cluster-port cluster-preferred-endpoint-type \
        cluster-replica-no-failover cluster-replica-validity-factor cluster-require-full-coverage \
        cluster-slave-no-failover cluster-slave-validity-factor crash-log-enabled crash-memcheck-enabled daemonize \
        databases dbfilename dir disable-thp dynamic-hz enable-debug-command enable-module-command \
        enable-protected-configs hash-max-listpack-entries hash-max-listpack-value hash-max-ziplist-entries \
        hash-max-ziplist-value hll-sparse-max-bytes hz ignore-warnings io-threads io-threads-do-reads jemalloc-bg-thread \
        latency-monitor-threshold latency-tracking latency-tracking-info-percentiles lazyfree-lazy-eviction \
        lazyfree-lazy-expire lazyfree-lazy-server-del lazyfree-lazy-user-del lazyfree-lazy-user-flush \
        lfu-decay-time lfu-log-factor list-compress-depth list-max-listpack-size list-max-ziplist-size loadmodule \
        locale-collate logfile loglevel lua-time-limit masterauth masteruser maxclients maxmemory maxmemory-clients \
        maxmemory-eviction-tenacity maxmemory-policy maxmemory-samples min-replicas-max-lag min-replicas-to-write \
        min-slaves-max-lag min-slaves-to-write no-appendfsync-on-rewrite notify-keyspace-events oom-score-adj \
        oom-score-adj-values pidfile port proc-title-template propagation-error-behavior protected-mode \
        proto-max-bulk-len rdb-del-sync-files rdb-save-incremental-fsync rdbchecksum rdbcompression rename-command \
        repl-backlog-size repl-backlog-ttl repl-disable-tcp-nodelay repl-diskless-load repl-diskless-sync \
        repl-diskless-sync-delay repl-diskless-sync-max-replicas repl-ping-replica-period repl-ping-slave-period \
        repl-timeout replica-announce-ip replica-announce-port replica-announced replica-ignore-disk-write-errors \
        replica-ignore-maxmemory replica-lazy-flush replica-priority replica-read-only replica-serve-stale-data \
        replicaof requirepass sanitize-dump-payload save server_cpulist set-max-intset-entries \
        set-max-listpack-entries set-max-listpack-value set-proc-title shutdown-on-sigint shutdown-on-sigterm \
        shutdown-timeout slave-announce-ip slave-announce-port slave-ignore-maxmemory slave-lazy-flush \
        slave-priority slave-read-only slave-serve-stale-data slaveof slowlog-log-slower-than slowlog-max-len \
        socket-mark-id stop-writes-on-bgsave-error stream-node-max-bytes stream-node-max-entries supervised syslog-enabled \
        syslog-facility syslog-ident tcp-backlog tcp-keepalive timeout tls-auth-clients tls-ca-cert-dir \
        tls-ca-cert-file tls-cert-file tls-ciphers tls-ciphersuites tls-client-cert-file tls-client-key-file \
        tls-client-key-file-pass tls-cluster tls-dh-params-file tls-key-file tls-key-file-pass tls-port \
        tls-prefer-server-ciphers tls-protocols tls-replication tls-session-cache-size tls-session-cache-timeout \
        tls-session-caching tracking-table-max-keys unixsocket unixsocketperm user zset-max-listpack-entries \
        zset-max-listpack-value zset-max-ziplist-entries zset-max-ziplist-value
        """

    @Test("Every directive of redis.conf 7.2 is known, once, and at most 20 have no effect")
    func directives() {
        let configuration = Configuration()
        for name in Self.redisDirectives.split(separator: " ") {
            #expect(configuration.spec(String(name)) != nil, "\(name) is not known")
        }
        let names = Configuration.specs.flatMap { [$0.name] + $0.otherNames }
        #expect(Set(names).count == names.count, "a directive is there twice")
        let idle = Configuration.specs.filter {
            if case .nothing = $0.effect { return true }
            return false
        }
        #expect(idle.count <= 20, "\(idle.map(\.name))")
    }

    @Test("Every directive takes its own default, and one that is fixed nothing else and says why")
    func defaults() throws {
        for spec in Configuration.specs {
            let configuration = Configuration()
            if spec.mutability == .inFiles || spec.defaultValue.isEmpty { continue }
            let words = spec.kind.takesSeveralWords ? spec.defaultValue.split(separator: " ").map(String.init) : [spec.defaultValue]
            try configuration.configure(spec.name, words)
            #expect(configuration.text(spec.name) == spec.defaultValue)
        }
        do {
            try Configuration().configure("aof-use-rdb-preamble", ["no"])
            Issue.record("aof-use-rdb-preamble no was accepted")
        } catch {
            #expect(error == .refused(
                name: "aof-use-rdb-preamble", reason: "the journal has a form of its own: only 'yes' is accepted"))
        }
    }

    @Test("redis-server's own directives are known, with its defaults where they mean the same",
        .enabled(if: OracleServer.isUsable, "no redis-server 7.0"))
    func oracleDirectives() throws {
        let server = try OracleServer()
        defer { server.stop() }
        let oracle = try server.connect()
        oracle.send(RespRunner.encode(["CONFIG", "GET", "*"].map { Array($0.utf8) }))
        guard case .reply(.array(let flat)) = oracle.receive(10_000) else { throw ConfigurationError.unknown(name: "*") }
        let configuration = Configuration()
        for index in stride(from: 0, to: flat.count - 1, by: 2) {
            guard case .bulk(let first) = flat[index], case .bulk(let second) = flat[index + 1] else { continue }
            let (name, text) = (String(decoding: first, as: UTF8.self), String(decoding: second, as: UTF8.self))
            guard configuration.spec(name) != nil else {
                Issue.record("\(name) is not known")
                continue
            }
            if Self.ownDefaults.contains(name) { continue }
            #expect(configuration.text(name) == text, "\(name)")
        }
    }

    /// What differs on purpose, depends on the machine, or is set for the oracle.
    private static let ownDefaults: Set = [
        "port", "bind", "save", "dir", "logfile", "enable-debug-command", "activedefrag", "client-output-buffer-limit",
    ]
}
