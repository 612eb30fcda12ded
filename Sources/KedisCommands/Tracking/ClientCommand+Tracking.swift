// CLIENT TRACKING, CACHING, TRACKINGINFO and GETREDIR: client-side caching, as TrackingTable.swift does it.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

extension ClientCommand {
    static let trackingSpecs: [CommandSpec] = [
        CommandSpec(
            "CACHING", summary: "Says whether the server remembers what the next command reads.", since: "6.0.0",
            group: .connection, arity: 3, flags: [.noScript, .loading, .stale],
            arguments: [.oneOf("mode", [.token("YES"), .token("NO")])], replies: [.ok], handler: caching
        ),
        CommandSpec(
            "GETREDIR", summary: "Returns the connection that gets the invalidations of this one.", since: "6.0.0",
            group: .connection, arity: 2, flags: [.noScript, .loading, .stale],
            replies: [.integer("the number of the connection; 0 for this one, -1 without tracking")],
            handler: redirection
        ),
        CommandSpec(
            "TRACKING", summary: "Lets the server tell when keys change that the connection has read.", since: "6.0.0",
            group: .connection, complexity: "O(1), and for OFF O(N), N being the number of prefixes", arity: -3,
            flags: [.noScript, .loading, .stale],
            arguments: [
                .oneOf("status", [.token("ON"), .token("OFF")]),
                ArgumentSpec("client-id", .integer, token: "REDIRECT", isOptional: true),
                ArgumentSpec(
                    "prefix", .string, token: "PREFIX", isOptional: true, isMultiple: true, repeatsToken: true),
                .token("BCAST", optional: true), .token("OPTIN", optional: true), .token("OPTOUT", optional: true),
                .token("NOLOOP", optional: true),
            ],
            replies: [.ok], handler: tracking
        ),
        CommandSpec(
            "TRACKINGINFO", summary: "Tells how the connection tracks keys.", since: "6.2.0", group: .connection,
            arity: 2, flags: [.noScript, .loading, .stale], replies: [.map("flags, redirection and prefixes")],
            handler: trackingInformation
        ),
    ]

    // MARK: CLIENT TRACKING

    static func tracking(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let state = try readOptions(call)
        let argument = call.arguments[2]
        if argument.equalsIgnoringCase("ON") {
            try turnOn(&call, state)
        } else if argument.equalsIgnoringCase("OFF") {
            call.engine.endTracking(call.client)
        } else {
            throw .syntax
        }
        reply.ok()
    }

    private static func readOptions(_ call: borrowing CommandCall) throws(CommandError) -> TrackingClient.State {
        let arguments = call.arguments
        var state = TrackingClient.State()
        var index = 3
        while index < arguments.count {
            let option = arguments[index]
            let hasMore = index + 1 < arguments.count
            if option.equalsIgnoringCase("REDIRECT"), hasMore {
                index += 1
                guard state.redirect == nil else {
                    throw .literal("ERR A client can only redirect to a single other client")
                }
                guard let record = call.engine.clients.find(try call.integer(at: index)) else {
                    throw .literal("ERR The client ID you want redirect to does not exist")
                }
                state.redirect = record
            } else if option.equalsIgnoringCase("BCAST") {
                state.options.insert(.broadcasting)
            } else if option.equalsIgnoringCase("OPTIN") {
                state.options.insert(.optIn)
            } else if option.equalsIgnoringCase("OPTOUT") {
                state.options.insert(.optOut)
            } else if option.equalsIgnoringCase("NOLOOP") {
                state.options.insert(.noLoop)
            } else if option.equalsIgnoringCase("PREFIX"), hasMore {
                index += 1
                state.prefixes.append(arguments[index].bytes)
            } else {
                throw .syntax
            }
            index += 1
        }
        return state
    }

    private static func turnOn(_ call: inout CommandCall, _ wanted: TrackingClient.State) throws(CommandError) {
        let current = call.client.pointee.tracking?.current ?? TrackingClient.State()
        try check(wanted, current)
        var state = wanted
        if state.options.contains(.broadcasting), state.prefixes.isEmpty { state.prefixes = [[]] }
        let record = call.clientRecord
        let client = call.client.pointee.tracking ?? TrackingClient(record)
        call.client.pointee.tracking = client
        record.tracking.withLock { $0 = client }
        call.engine.tracking.turnOn(client, state)
        if state.options.contains(.broadcasting) {
            call.client.pointee.followUp.remove(.tracking)
        } else {
            call.client.pointee.followUp.insert(.tracking)
        }
    }

    private static func check(
        _ wanted: TrackingClient.State, _ current: TrackingClient.State
    ) throws(CommandError) {
        let options = wanted.options
        guard options.contains(.broadcasting) || wanted.prefixes.isEmpty else {
            throw .literal("ERR PREFIX option requires BCAST mode to be enabled")
        }
        if current.isOn, current.options.contains(.broadcasting) != options.contains(.broadcasting) {
            throw .literal(
                """
                ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
                re-enabling it with a different mode.
                """
            )
        }
        if options.contains(.broadcasting), !options.isDisjoint(with: [.optIn, .optOut]) {
            throw .literal("ERR OPTIN and OPTOUT are not compatible with BCAST")
        }
        guard !options.isSuperset(of: [.optIn, .optOut]) else {
            throw .literal("ERR You can't specify both OPTIN mode and OPTOUT mode")
        }
        let switchesOption =
            options.contains(.optIn) && current.options.contains(.optOut)
            || options.contains(.optOut) && current.options.contains(.optIn)
        guard !switchesOption else {
            throw .literal(
                """
                ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
                re-enabling it with a different mode.
                """
            )
        }
        try checkPrefixes(wanted.prefixes, current.prefixes)
    }

    /// Prefixes of one client must not overlap: a change would be told twice.
    private static func checkPrefixes(_ wanted: [[UInt8]], _ current: [[UInt8]]) throws(CommandError) {
        func overlap(_ first: [UInt8], _ second: [UInt8]) -> Bool {
            first.starts(with: second) || second.starts(with: first)
        }
        // The least one of several is named.
        let current = current.sorted { $0.lexicographicallyPrecedes($1) }
        for (index, prefix) in wanted.enumerated() {
            if let other = current.first(where: { overlap($0, prefix) }) {
                throw overlapError(prefix, "' overlaps with an existing prefix '", other)
            }
            if let other = wanted[(index + 1)...].first(where: { overlap($0, prefix) }) {
                throw overlapError(prefix, "' overlaps with another provided prefix '", other)
            }
        }
    }

    private static func overlapError(_ prefix: [UInt8], _ text: StaticString, _ other: [UInt8]) -> CommandError {
        .text(
            Array("ERR Prefix '".utf8) + prefix + ByteView(text).bytes + other
                + Array("'. Prefixes for a single client must not overlap.".utf8))
    }

    // MARK: CLIENT CACHING

    static func caching(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let state = call.client.pointee.tracking?.current ?? TrackingClient.State()
        let options = state.options
        guard state.isOn else {
            throw .literal(
                """
                ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
                enabled
                """
            )
        }
        if call.arguments[2].equalsIgnoringCase("YES") {
            guard options.contains(.optIn) else {
                throw .literal("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
            }
            call.client.pointee.caching = true
        } else if call.arguments[2].equalsIgnoringCase("NO") {
            guard options.contains(.optOut) else {
                throw .literal("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
            }
            call.client.pointee.caching = false
        } else {
            throw .syntax
        }
        reply.ok()
    }

    // MARK: What is

    static func redirection(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        reply.integer(redirection(call))
    }

    private static func redirection(_ call: borrowing CommandCall) -> Int64 {
        guard let state = call.client.pointee.tracking?.current, state.isOn else { return -1 }
        return state.redirect?.identifier ?? 0
    }

    static func trackingInformation(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let client = call.client.pointee.tracking
        let state = client?.current ?? TrackingClient.State()
        var flags: [StaticString] = [state.isOn ? "on" : "off"]
        if state.options.contains(.broadcasting) { flags.append("bcast") }
        let caching = call.client.pointee.caching
        if state.options.contains(.optIn) {
            flags.append("optin")
            if caching == true { flags.append("caching-yes") }
        }
        if state.options.contains(.optOut) {
            flags.append("optout")
            if caching == false { flags.append("caching-no") }
        }
        if state.options.contains(.noLoop) { flags.append("noloop") }
        if client?.isBroken.load(ordering: .relaxed) == true { flags.append("broken_redirect") }
        reply.map(3)
        reply.bulk("flags")
        reply.set(flags.count)
        for flag in flags { reply.bulk(ByteView(flag)) }
        reply.bulk("redirect")
        reply.integer(redirection(call))
        reply.bulk("prefixes")
        let prefixes = state.prefixes.sorted { $0.lexicographicallyPrecedes($1) }
        reply.array(prefixes.count)
        for prefix in prefixes { prefix.withUnsafeBytes { reply.bulk(ByteView($0)) } }
    }
}
