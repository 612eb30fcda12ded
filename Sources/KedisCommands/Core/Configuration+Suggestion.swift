// The directive that somebody meant who mistyped one.

extension Configuration {
    /// The name nearest to `name`, when it is near enough to be meant.
    package func suggestion(for name: String) -> String? {
        // Long names cannot be near; the bound keeps the cost of a hostile file small.
        guard name.utf8.count <= 64 else { return nil }
        let wanted = name.asciiLowercase
        var best: (name: String, distance: Int)?
        for spec in Configuration.specs {
            for candidate in [spec.name] + spec.otherNames {
                let distance = editDistance(wanted, candidate)
                if distance < best?.distance ?? .max { best = (candidate, distance) }
            }
        }
        guard let best, best.distance <= max(wanted.utf8.count < 4 ? 1 : 2, wanted.utf8.count / 3) else { return nil }
        return best.name
    }
}

/// Insertions, deletions and replacements of a byte that turn one text into the other. O(product of the lengths).
private func editDistance(_ left: String, _ right: String) -> Int {
    let left = Array(left.utf8), right = Array(right.utf8)
    var row = Array(0...right.count)
    for i in 0..<left.count {
        var diagonal = row[0]
        row[0] = i + 1
        for j in 0..<right.count {
            let replaced = diagonal + (left[i] == right[j] ? 0 : 1)
            diagonal = row[j + 1]
            row[j + 1] = min(replaced, min(row[j], row[j + 1]) + 1)
        }
    }
    return row[right.count]
}
