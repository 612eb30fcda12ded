// The specs of commands agree with themselves: what COMMAND, help and documentation derive from them makes sense.

import KedisCommands
import KedisUtilities
import Testing

/// A spec with its place, shown by its name in test reports.
struct SpecCase: Sendable, CustomTestStringConvertible {
    let spec: CommandSpec
    let container: CommandSpec?

    var testDescription: String { (container.map { "\($0.name) " } ?? "") + spec.name }

    /// Commands and subcommands.
    static let all: [SpecCase] = allCommandSpecs.flatMap { spec in
        [SpecCase(spec: spec, container: nil)] + spec.subcommands.map { SpecCase(spec: $0, container: spec) }
    }
}

extension ArgumentSpec {
    /// The least number of words that it takes in a request.
    fileprivate var wordCountMin: Int {
        if isOptional { return 0 }
        let own = switch kind {
        case .oneOf: arguments.map(\.wordCountMin).min() ?? 0
        case .block: arguments.map(\.wordCountMin).reduce(0, +)
        default: 1
        }
        return own + (token != nil && kind != .pureToken ? 1 : 0)
    }

    /// Whether it can take more words than the least.
    fileprivate var isElastic: Bool { isOptional || isMultiple || arguments.contains(where: \.isElastic) }

    /// The argument and those within it.
    var flattened: [ArgumentSpec] { [self] + arguments.flatMap(\.flattened) }
}

@Suite("Specs of commands")
struct CommandSpecTests {
    @Test("A spec has a name, a summary, and something that executes it", arguments: SpecCase.all)
    func isComplete(specCase: SpecCase) {
        let spec = specCase.spec
        #expect(spec.name == spec.name.uppercased() && !spec.name.isEmpty && !spec.name.contains(" "))
        #expect(spec.summary.hasSuffix("."), "a summary is a sentence")
        #expect(spec.summary.first?.isUppercase == true)
        #expect(spec.handler != nil || !spec.subcommands.isEmpty, "no handler and no subcommands")
        #expect(!spec.replies.isEmpty || !spec.subcommands.isEmpty, "no replies")
        #expect(spec.since.split(separator: ".").count == 3)
        #expect(specCase.container == nil || spec.subcommands.isEmpty, "subcommands nest once")
        #expect(spec.arity != 0)
    }

    @Test("The number of arguments fits their description", arguments: SpecCase.all)
    func arityFitsArguments(specCase: SpecCase) {
        let spec = specCase.spec
        let own = specCase.container == nil ? 1 : 2
        let least = own + spec.arguments.map(\.wordCountMin).reduce(0, +)
        if spec.arity > 0 {
            #expect(spec.arity == least)
            let isElastic = spec.arguments.contains(where: \.isElastic)
            #expect(!isElastic, "elastic arguments, but an exact number")
        } else {
            // Redis calls the sources of PFMERGE and the members of the two needed, and takes the commands without any.
            let isMore = ["PFMERGE", "GEOHASH", "GEOPOS"].contains(spec.name)
            #expect(least <= -spec.arity + (isMore ? 1 : 0))
        }
    }

    @Test("Each run of keys belongs to an argument, and each key argument to a run", arguments: SpecCase.all)
    func keysFitArguments(specCase: SpecCase) {
        let spec = specCase.spec
        let keyArguments = spec.arguments.flatMap(\.flattened).filter { $0.kind == .key || $0.keySpecIndex != nil }
        let indices = Set(keyArguments.compactMap(\.keySpecIndex))
        #expect(indices.count == Set(keyArguments.map(\.keySpecIndex)).count, "a key argument without its run")
        // Shard channels are found as keys are, and are none.
        #expect(indices == Set(spec.keys.indices.filter { !spec.keys[$0].access.contains(.notKey) }))
    }

    @Test("Names are different, subcommands' too")
    func namesAreUnique() {
        #expect(Set(allCommandSpecs.map(\.name)).count == allCommandSpecs.count)
        for spec in allCommandSpecs {
            #expect(Set(spec.subcommands.map(\.name)).count == spec.subcommands.count, "\(spec.name)")
        }
    }

    @Test("A command that writes says so of one of its keys, and a reader of none", arguments: SpecCase.all)
    func accessFitsFlags(specCase: SpecCase) {
        let spec = specCase.spec
        let changes: KeyAccess = [.readWrite, .overwrite, .remove]
        // XREADGROUP changes what is pending, and Redis calls its keys read-only.
        if spec.flags.contains(.write), !spec.keys.isEmpty, spec.name != "XREADGROUP" {
            let changed = spec.keys.filter { !$0.access.isDisjoint(with: changes) }
            #expect(!changed.isEmpty)
        }
        // PFCOUNT keeps its estimate in the value, which nobody can tell from its replies.
        if spec.flags.contains(.readOnly), spec.name != "PFCOUNT" {
            let changed = spec.keys.filter { !$0.access.isDisjoint(with: changes) }
            #expect(changed.isEmpty)
        }
    }
}
