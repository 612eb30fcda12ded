// The options of the commands that search a geo index, in the order in which Redis looks at them.

import KedisProtocol
import KedisStore
import KedisUtilities

enum GeoSearchForm: Equatable {
    case search, searchStore
    case radius(isReadOnly: Bool)
    case radiusByMember(isReadOnly: Bool)

    /// Where the options begin.
    fileprivate var optionIndex: Int {
        switch self {
        case .search: 2
        case .searchStore: 3
        case .radius: 6
        case .radiusByMember: 5
        }
    }

    var storeEvent: StaticString { isSearch ? "geosearchstore" : "georadiusstore" }

    fileprivate var isSearch: Bool { self == .search || self == .searchStore }

    fileprivate var mayStore: Bool { self == .radius(isReadOnly: false) || self == .radiusByMember(isReadOnly: false) }
}

struct GeoSearchOptions {
    /// Nil when there is no index: then it may be that its centre is not known.
    private(set) var shape: GeoShape?
    private(set) var order = GeoOrder.none
    private(set) var count: Int?
    /// The first matches that are found will do.
    private(set) var isAny = false
    private(set) var withDistance = false
    private(set) var withHash = false
    private(set) var withPosition = false
    private(set) var destination: Key?
    private(set) var storesDistance = false

    private var centre: GeoPosition?
    private var extent: (extent: GeoShape.Extent, unit: GeoUnit)?
    private var isFromMember = false
    private var isFromPosition = false
    private var isByRadius = false
    private var isByBox = false
    /// The argument that names the destination.
    private var destinationIndex: Int?

    /// Reads the arguments of a call whose index, if there is one, is looked up already.
    init(_ call: borrowing CommandCall, _ form: GeoSearchForm, _ index: SortedSetValue?) throws(CommandError) {
        try takeCircle(call, form, index)
        var argument = form.optionIndex
        while argument < call.arguments.count {
            argument += try takeOption(call, form, index, at: argument)
        }
        try checkCombination(call, form)
        if count != nil, order == .none, !isAny { order = .ascending }
        if form == .searchStore {
            destination = call.key(0)
        } else if let destinationIndex {
            destination = try call.plannedKey(at: destinationIndex)
        }
        guard let centre, let extent, index != nil else { return }
        shape = GeoShape(centre: centre, extent: extent.extent, metresPerUnit: extent.unit.metres)
    }

    /// The centre and the radius of GEORADIUS and GEORADIUSBYMEMBER, which stand in front of the options.
    private mutating func takeCircle(
        _ call: borrowing CommandCall, _ form: GeoSearchForm, _ index: SortedSetValue?
    ) throws(CommandError) {
        switch form {
        case .search, .searchStore: break
        case .radius:
            centre = try call.position(at: 2)
            extent = try call.circle(at: 4)
        case .radiusByMember:
            guard let index else { return }
            centre = try index.knownPosition(of: call.arguments[2])
            extent = try call.circle(at: 3)
        }
    }

    /// Takes the option at `index` and returns how many arguments it has.
    private mutating func takeOption(
        _ call: borrowing CommandCall, _ form: GeoSearchForm, _ index: SortedSetValue?, at argument: Int
    ) throws(CommandError) -> Int {
        let option = call.arguments[argument]
        let following = call.arguments.count - argument - 1
        if takeFlag(option) { return 1 }
        if option.equalsIgnoringCase("COUNT"), following >= 1 {
            let value = try call.integer(at: argument + 1)
            guard value > 0 else { throw .literal("ERR COUNT must be > 0") }
            count = Int(value)
            return 2
        }
        if form.mayStore, following >= 1 {
            let isDistance = option.equalsIgnoringCase("STOREDIST")
            if isDistance || option.equalsIgnoringCase("STORE") {
                destinationIndex = argument + 1
                storesDistance = isDistance
                return 2
            }
        }
        if form == .searchStore, option.equalsIgnoringCase("STOREDIST") {
            storesDistance = true
            return 1
        }
        guard form.isSearch else { throw .syntax }
        return try takeShape(call, index, option, following, at: argument)
    }

    private mutating func takeFlag(_ option: ByteView) -> Bool {
        if option.equalsIgnoringCase("WITHDIST") {
            withDistance = true
        } else if option.equalsIgnoringCase("WITHHASH") {
            withHash = true
        } else if option.equalsIgnoringCase("WITHCOORD") {
            withPosition = true
        } else if option.equalsIgnoringCase("ANY") {
            isAny = true
        } else if option.equalsIgnoringCase("ASC") {
            order = .ascending
        } else if option.equalsIgnoringCase("DESC") {
            order = .descending
        } else {
            return false
        }
        return true
    }

    private mutating func takeShape(
        _ call: borrowing CommandCall, _ index: SortedSetValue?, _ option: ByteView, _ following: Int, at argument: Int
    ) throws(CommandError) -> Int {
        if option.equalsIgnoringCase("FROMMEMBER"), following >= 1, !isFromPosition {
            isFromMember = true
            if let index { centre = try index.knownPosition(of: call.arguments[argument + 1]) }
            return 2
        }
        if option.equalsIgnoringCase("FROMLONLAT"), following >= 2, !isFromMember {
            isFromPosition = true
            centre = try call.position(at: argument + 1)
            return 3
        }
        if option.equalsIgnoringCase("BYRADIUS"), following >= 2, !isByBox {
            isByRadius = true
            extent = try call.circle(at: argument + 1)
            return 3
        }
        if option.equalsIgnoringCase("BYBOX"), following >= 3, !isByRadius {
            isByBox = true
            extent = try call.box(at: argument + 1)
            return 4
        }
        throw .syntax
    }

    private func checkCombination(_ call: borrowing CommandCall, _ form: GeoSearchForm) throws(CommandError) {
        if form == .searchStore || destinationIndex != nil, withDistance || withHash || withPosition {
            throw .joined(
                "ERR ", form == .searchStore ? "GEOSEARCHSTORE" : "STORE option in GEORADIUS",
                " is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
        }
        if form.isSearch, !isFromMember, !isFromPosition {
            throw .joined(
                "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for ", call.arguments[0])
        }
        if form.isSearch, !isByRadius, !isByBox {
            throw .joined("ERR exactly one of BYRADIUS and BYBOX can be specified for ", call.arguments[0])
        }
        if isAny, count == nil { throw .literal("ERR the ANY argument requires COUNT argument") }
    }
}

extension SortedSetValue {
    fileprivate func knownPosition(of member: ByteView) throws(CommandError) -> GeoPosition {
        guard let position = position(of: member) else {
            throw .literal("ERR could not decode requested zset member")
        }
        return position
    }
}

extension CommandCall {
    /// A radius and its unit.
    fileprivate func circle(at index: Int) throws(CommandError) -> (extent: GeoShape.Extent, unit: GeoUnit) {
        guard let radius = parseDouble(arguments[index]) else { throw .literal("ERR need numeric radius") }
        guard radius >= 0 else { throw .literal("ERR radius cannot be negative") }
        return (.circle(radius: radius), try GeoUnit(arguments[index + 1]))
    }

    /// Width, height and their unit.
    fileprivate func box(at index: Int) throws(CommandError) -> (extent: GeoShape.Extent, unit: GeoUnit) {
        guard let width = parseDouble(arguments[index]) else { throw .literal("ERR need numeric width") }
        guard let height = parseDouble(arguments[index + 1]) else { throw .literal("ERR need numeric height") }
        guard width >= 0, height >= 0 else { throw .literal("ERR height or width cannot be negative") }
        return (.box(width: width, height: height), try GeoUnit(arguments[index + 2]))
    }

    /// The key at an argument, which is locked: a keyword that stands twice has one key in the plan only.
    fileprivate func plannedKey(at index: Int) throws(CommandError) -> Key {
        let bytes = arguments[index]
        for position in 1..<keyCount where key(position).bytes.raw.elementsEqual(bytes.raw) { return key(position) }
        throw .syntax
    }
}
