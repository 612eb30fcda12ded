// Glob patterns as KEYS, SCAN, PSUBSCRIBE and CONFIG GET understand them.
//
// `*` any bytes, `?` any byte, `[a-c]` a byte of a class, `[^a-c]` one outside it, `\` takes the next byte as it is. No
// pattern is an error: an unterminated class ends with the pattern, a backslash at the end is a backslash.
// Two corners are kept as they are in Redis: `*` does not match the empty text (KEYS, SCAN and the like test for a
// lone star themselves), and ranges compare bytes as signed numbers, as C does on x86.
//
// Cost: no allocation and no recursion. Every element but `*` takes exactly one byte of text, so when a match fails
// only the last `*` can help by taking more: time is at most pattern × text, never exponential.

/// Whether the whole of `text` matches `pattern`; `ignoringCase` makes A-Z and a-z the same.
package func matchGlob(pattern: ByteView, text: ByteView, ignoringCase: Bool) -> Bool {
    guard text.count > 0 else { return pattern.isEmpty }
    var patternIndex = 0
    var textIndex = 0
    /// Where to go on when a match fails: behind the last star, which then takes one byte more.
    var afterStar: Int?
    var starTextIndex = 0
    while textIndex < text.count {
        if patternIndex < pattern.count {
            if pattern[patternIndex] == 0x2a {
                patternIndex += 1
                if patternIndex == pattern.count { return true }
                afterStar = patternIndex
                starTextIndex = textIndex
                continue
            }
            let element = matchElement(pattern, at: patternIndex, byte: text[textIndex], ignoringCase: ignoringCase)
            if element.matches {
                patternIndex = element.next
                textIndex += 1
                continue
            }
        }
        guard let restart = afterStar else { return false }
        starTextIndex += 1
        textIndex = starTextIndex
        patternIndex = restart
    }
    while patternIndex < pattern.count && pattern[patternIndex] == 0x2a { patternIndex += 1 }
    return patternIndex == pattern.count
}

/// One element of a pattern, tried on one byte.
private struct ElementMatch {
    var matches: Bool
    /// The index behind the element.
    var next: Int
}

/// Tries the element at `index`, which is in range and no star.
@inline(__always)
private func matchElement(_ pattern: ByteView, at index: Int, byte: UInt8, ignoringCase: Bool) -> ElementMatch {
    var index = index
    switch pattern[index] {
    case 0x3f:
        return ElementMatch(matches: true, next: index + 1)
    case 0x5b:
        return matchClass(pattern, from: index + 1, byte: byte, ignoringCase: ignoringCase)
    case 0x5c where index + 1 < pattern.count:
        index += 1
    default:
        break
    }
    let matches = isSame(pattern[index], byte, ignoringCase: ignoringCase)
    return ElementMatch(matches: matches, next: index + 1)
}

/// Tries the class whose bracket is before `start`.
private func matchClass(_ pattern: ByteView, from start: Int, byte: UInt8, ignoringCase: Bool) -> ElementMatch {
    var index = start
    let isNegated = index < pattern.count && pattern[index] == 0x5e
    if isNegated { index += 1 }
    var matches = false
    while index < pattern.count && pattern[index] != 0x5d {
        let left = pattern.count - index
        if left >= 2 && pattern[index] == 0x5c {
            // An escaped byte keeps its case whatever the caller asked for.
            if pattern[index + 1] == byte { matches = true }
            index += 2
        } else if left >= 3 && pattern[index + 1] == 0x2d {
            if isInRange(byte, pattern[index], pattern[index + 2], ignoringCase: ignoringCase) { matches = true }
            index += 3
        } else {
            if isSame(pattern[index], byte, ignoringCase: ignoringCase) { matches = true }
            index += 1
        }
    }
    // Behind the closing bracket, if there is one.
    return ElementMatch(matches: matches != isNegated, next: min(index + 1, pattern.count))
}

@inline(__always)
private func isSame(_ left: UInt8, _ right: UInt8, ignoringCase: Bool) -> Bool {
    left == right || ignoringCase && asciiLowercased(left) == asciiLowercased(right)
}

/// Whether `byte` lies between two bytes, given in either order. The order is settled before the case is folded.
private func isInRange(_ byte: UInt8, _ one: UInt8, _ other: UInt8, ignoringCase: Bool) -> Bool {
    let isAscending = Int8(bitPattern: one) <= Int8(bitPattern: other)
    var low = isAscending ? one : other
    var high = isAscending ? other : one
    var byte = byte
    if ignoringCase {
        low = asciiLowercased(low)
        high = asciiLowercased(high)
        byte = asciiLowercased(byte)
    }
    return Int8(bitPattern: byte) >= Int8(bitPattern: low) && Int8(bitPattern: byte) <= Int8(bitPattern: high)
}
