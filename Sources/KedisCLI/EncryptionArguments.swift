// The options of `kedis cli` about TLS, under the names that redis-cli gives them.

import ArgumentParser
import KedisServer
import KedisShell

struct EncryptionArguments: ParsableArguments {
    @Flag(help: "Connect with TLS.")
    var tls = false

    @Option(name: .customLong("cacert"), help: "The file with the certificates of authorities to trust, as PEM.")
    var authorityFile: String?

    @Option(name: .customLong("cacertdir"), help: "A folder of such files; without both, the system's are trusted.")
    var authorityFolder: String?

    @Option(name: .customLong("cert"), help: "The file with the client's certificate, as PEM.")
    var certificateFile: String?

    @Option(name: .customLong("key"), help: "The file with its key, as PEM.")
    var keyFile: String?

    @Flag(name: .customLong("insecure"), help: "Do not check who the server is.")
    var isInsecure = false

    @Option(name: .customLong("sni"), help: "The name of the host that the server is asked for.")
    var serverName: String?

    @Option(name: .customLong("tls-ciphers"), help: "The ciphers up to TLS 1.2, as a list of OpenSSL.")
    var ciphers: String?

    func validate() throws {
        if (certificateFile == nil) != (keyFile == nil) { throw ValidationError("--cert and --key belong together.") }
    }

    /// Has connections encrypted when that is wanted, here or by the server's address (`isForced`).
    func prepare(_ options: inout WireClient.Options, isForced: Bool) throws {
        guard tls || isForced else { return }
        guard case .tcp(let host, _) = options.endpoint else {
            complain("TLS is for TCP: a Unix socket has no TLS")
            throw ExitCode.failure
        }
        let settings = EncryptionOptions(
            authorityFile: authorityFile, authorityFolder: authorityFolder, certificateFile: certificateFile,
            keyFile: keyFile, isInsecure: isInsecure, serverName: serverName, ciphers: ciphers)
        do throws(TLSProblem) {
            let context = try settings.makeContext()
            let name = serverName
            options.makeEncryption = { () throws(WireError) in
                try EncryptedWire(context, host: host, serverName: name)
            }
        } catch {
            complain(error.text)
            throw ExitCode.failure
        }
    }
}
