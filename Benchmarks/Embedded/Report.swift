// What a benchmark prints: rows under a header, or a JSON object for each row with the same names.

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A figure in a row.
enum Figure {
    case text(String)
    case count(Int)
    case decimal(Double, digits: Int)
    /// A limit and whether the row's figure keeps it.
    case goal(Goal, Double)
    case none

    var text: String {
        switch self {
        case .text(let text): text
        case .count(let count): String(count)
        case .decimal(let value, let digits): fixed(value, digits)
        case .goal(let goal, let value): goal.text + (goal.isKept(by: value) ? " kept" : " MISSED")
        case .none: "-"
        }
    }

    var json: String {
        switch self {
        case .text(let text): "\"\(text)\""
        case .count, .decimal: text
        case .goal: "\"\(text)\""
        case .none: "null"
        }
    }
}

enum Goal {
    case atMost(Double)
    case atLeast(Double)
    case within(Double, Double)

    var text: String {
        switch self {
        case .atMost(let limit): "<= \(number(limit))"
        case .atLeast(let limit): ">= \(number(limit))"
        case .within(let low, let high): "\(number(low)) to \(number(high))"
        }
    }

    func isKept(by value: Double) -> Bool {
        switch self {
        case .atMost(let limit): value <= limit
        case .atLeast(let limit): value >= limit
        case .within(let low, let high): value >= low && value <= high
        }
    }

    private func number(_ value: Double) -> String { value == value.rounded() ? fixed(value, 0) : "\(value)" }
}

struct Report {
    let name: String
    let columns: [String]
    let isJSON: Bool
    private let widths: [Int]

    /// - Parameter columns: their names; behind a `:` the least width may stand.
    init(_ name: String, _ columns: [String], isJSON: Bool) {
        self.name = name
        self.isJSON = isJSON
        var names: [String] = [], widths: [Int] = []
        for column in columns {
            let parts = column.split(separator: ":")
            names.append(String(parts[0]))
            widths.append(max(parts[0].count, parts.count > 1 ? Int(parts[1]) ?? 8 : 8))
        }
        self.columns = names
        self.widths = widths
        if !isJSON { show(names) }
    }

    func row(_ figures: [Figure]) {
        precondition(figures.count == columns.count)
        if isJSON {
            let fields = zip(columns, figures).map { "\"\(Self.identifier($0))\": \($1.json)" }
            print("{\"benchmark\": \"\(name)\", " + fields.joined(separator: ", ") + "}")
        } else {
            show(figures.map(\.text))
        }
        fflush(nil)
    }

    /// Explains a table; no part of the machine's output.
    func note(_ text: String) {
        if !isJSON { print(text) }
        fflush(nil)
    }

    private func show(_ texts: [String]) {
        let parts = zip(texts, widths).map { String(repeating: " ", count: max(0, $1 - $0.count)) + $0 }
        print(parts.joined(separator: "  "))
    }

    private static func identifier(_ column: String) -> String {
        String(column.map { $0.isLetter || $0.isNumber ? $0 : "_" })
    }
}

/// `value` with `digits` places.
func fixed(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite, value.magnitude < 1e15 else { return "\(value)" }
    var scale = 1
    for _ in 0..<digits { scale *= 10 }
    let scaled = Int((value.magnitude * Double(scale)).rounded())
    let sign = value < 0 && scaled > 0 ? "-" : ""
    guard digits > 0 else { return sign + String(scaled) }
    let fraction = String(scaled % scale)
    return sign + String(scaled / scale) + "." + String(repeating: "0", count: digits - fraction.count) + fraction
}

func median(_ values: [Double]) -> Double {
    guard !values.isEmpty else { return 0 }
    let sorted = values.sorted()
    return sorted.count % 2 == 1
        ? sorted[sorted.count / 2] : (sorted[sorted.count / 2 - 1] + sorted[sorted.count / 2]) / 2
}

func mebibytes(_ byteCount: Int) -> Figure { .decimal(Double(byteCount) / 1_048_576, digits: 1) }
