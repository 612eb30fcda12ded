// The options of HSETEX and SADDEX: under which condition members are set, and until when they stay.

import KedisProtocol
import KedisStore
import KedisUtilities

struct MemberSetOptions {
    enum Condition {
        case none, noneIsThere, allAreThere
    }

    var condition = Condition.none
    /// What the members' deadlines become; nil while no option said so, which takes them away.
    var deadline: DeadlineUpdate?
    /// The arguments behind the number of members: members, of hashes with their values.
    var members = 0..<0

    /// What the deadlines become.
    var update: DeadlineUpdate { deadline ?? .clear }

    /// Whether the members go at once.
    func isPast(_ nowMilliseconds: Int64) -> Bool {
        if case .set(let milliseconds) = deadline { milliseconds <= nowMilliseconds } else { false }
    }

    init(_ call: borrowing CommandCall, _ family: MemberFamily) throws(CommandError) {
        let arguments = call.arguments
        var index = 2
        while index < arguments.count {
            let option = arguments[index]
            if option.equalsIgnoringCase(family.token) {
                try takeMembers(call, family, from: index + 1)
                return
            }
            if let form = DeadlineForm(option: option) {
                guard deadline == nil else { throw .severalDeadlines }
                guard index + 1 < arguments.count else { throw .literal("ERR missing expire time") }
                deadline = .set(try call.memberDeadlineMilliseconds(at: index + 1, as: form))
                index += 2
                continue
            }
            if option.equalsIgnoringCase("KEEPTTL") {
                guard deadline == nil else { throw .severalDeadlines }
                deadline = .keep
            } else if let named = MemberSetOptions.condition(option, family) {
                guard case .none = condition else {
                    throw .literal(
                        family == .hash
                            ? "ERR Only one of FXX or FNX arguments can be specified"
                            : "ERR Only one of MXX or MNX arguments can be specified")
                }
                condition = named
            } else {
                throw .joined("ERR unknown argument: ", option[0..<(option.firstIndex(of: 0) ?? option.count)])
            }
            index += 1
        }
        throw .joined("ERR Mandatory argument ", family.token, " is missing or not at the right position")
    }

    private static func condition(_ option: ByteView, _ family: MemberFamily) -> Condition? {
        if option.equalsIgnoringCase(family == .hash ? "FNX" : "MNX") { return .noneIsThere }
        if option.equalsIgnoringCase(family == .hash ? "FXX" : "MXX") { return .allAreThere }
        return nil
    }

    private mutating func takeMembers(
        _ call: borrowing CommandCall, _ family: MemberFamily, from index: Int
    ) throws(CommandError) {
        let width = family == .hash ? 2 : 1
        members = index + 1..<max(index + 1, call.arguments.count)
        guard index < call.arguments.count, members.count >= width else { throw .wrongArity(call.entry) }
        guard let count = parseInteger(call.arguments[index]), count > 0, count <= Int64(Int32.max) else {
            throw .literal(family == .hash ? "ERR invalid number of fields" : "ERR invalid number of members")
        }
        guard members.count == Int(count) * width else { throw .wrongArity(call.entry) }
    }

    /// Whether the condition allows to set them, `contains` telling of a member whether it is there.
    func allows(_ call: borrowing CommandCall, _ family: MemberFamily, contains: (ByteView) -> Bool) -> Bool {
        if case .none = condition { return true }
        for index in stride(from: members.lowerBound, to: members.upperBound, by: family == .hash ? 2 : 1) {
            let isThere = contains(call.arguments[index])
            if case .noneIsThere = condition, isThere { return false }
            if case .allAreThere = condition, !isThere { return false }
        }
        return true
    }

    /// The arguments as COMMAND DOCS describes them.
    static func arguments(_ family: MemberFamily) -> [ArgumentSpec] {
        let tokens = family == .hash ? ["FNX", "FXX"] : ["MNX", "MXX"]
        var members = family.membersArgument
        if family == .hash {
            members.arguments[1] = .block(
                "data", multiple: true, [ArgumentSpec("field", .string), ArgumentSpec("value", .string)])
        }
        return [
            .key(), .oneOf("condition", optional: true, tokens.map { .token($0) }),
            .oneOf("expiration", optional: true, DeadlineForm.arguments() + [.token("KEEPTTL")]), members,
        ]
    }
}

extension CommandError {
    fileprivate static var severalDeadlines: CommandError {
        .literal("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified")
    }
}
