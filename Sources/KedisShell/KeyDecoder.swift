// Bytes of a terminal to keys: UTF-8 characters, control keys, the escape sequences of xterm, rxvt and the Linux
// console, pasted text between brackets.
//
// A pure state machine; unknown sequences are swallowed whole. A lone escape key cannot be told from the start of a
// sequence by its byte: the caller waits a moment and calls `flush`. Memory: a sequence's and a paste's limits.

package enum Key: Equatable, Sendable {
    case text(String)
    case pasted(String)
    /// A control key, named by its letter in upper case: Ctrl-A is `control("A")`.
    case control(Character)
    case enter, tab, backTab, escape, backspace, delete
    case left, right, up, down, home, end
    case wordLeft, wordRight, cutWordLeft, cutWordRight
}

package struct KeyDecoder: Sendable {
    private enum State: Sendable {
        case ground
        case character([UInt8], missing: Int)
        case escape
        case sequence([UInt8])
        case application
        case paste
    }

    /// The most bytes of one paste; the rest is dropped.
    private static let pasteLimit = 1 << 20
    private static let sequenceLimit = 32
    private static let pasteEnd = Array("\u{1B}[201~".utf8)

    private var state = State.ground
    /// What has come of a paste; beside the state, where a byte can be added without a copy.
    private var pastedBytes: [UInt8] = []

    package init() {}

    /// True if an escape byte waits for what makes it a sequence.
    package var isAmbiguous: Bool {
        if case .escape = state { true } else { false }
    }

    /// The key that is meant if nothing follows.
    package mutating func flush() -> Key? {
        guard isAmbiguous else { return nil }
        state = .ground
        return .escape
    }

    package mutating func feed(_ byte: UInt8) -> Key? {
        switch state {
        case .ground: return ground(byte)
        case .character(let bytes, let missing): return character(bytes, missing, byte)
        case .escape: return escape(byte)
        case .sequence(let bytes): return sequence(bytes, byte)
        case .application:
            state = .ground
            return KeyDecoder.cursorKey(byte, isWordwise: false)
        case .paste: return paste(byte)
        }
    }

    private mutating func ground(_ byte: UInt8) -> Key? {
        switch byte {
        case 9: return .tab
        case 10, 13: return .enter
        case 8, 127: return .backspace
        case 27:
            state = .escape
            return nil
        case 1...26: return .control(Character(Unicode.Scalar(byte + 64)))
        case 32...126: return .text(String(Unicode.Scalar(byte)))
        case 0xC2...0xDF: state = .character([byte], missing: 1)
        case 0xE0...0xEF: state = .character([byte], missing: 2)
        case 0xF0...0xF4: state = .character([byte], missing: 3)
        default: break
        }
        return nil
    }

    private mutating func character(_ bytes: [UInt8], _ missing: Int, _ byte: UInt8) -> Key? {
        guard byte & 0xC0 == 0x80 else {
            // A damaged character: drop it, and take the byte as the start of something new.
            state = .ground
            return ground(byte)
        }
        guard missing == 1 else {
            state = .character(bytes + [byte], missing: missing - 1)
            return nil
        }
        state = .ground
        return .text(String(decoding: bytes + [byte], as: UTF8.self))
    }

    private mutating func escape(_ byte: UInt8) -> Key? {
        state = .ground
        switch byte {
        case UInt8(ascii: "["): state = .sequence([])
        case UInt8(ascii: "O"): state = .application
        case UInt8(ascii: "b"), UInt8(ascii: "B"): return .wordLeft
        case UInt8(ascii: "f"), UInt8(ascii: "F"): return .wordRight
        case UInt8(ascii: "d"), UInt8(ascii: "D"): return .cutWordRight
        case 8, 127: return .cutWordLeft
        case 27:
            state = .escape
            return .escape
        default: break
        }
        return nil
    }

    private mutating func sequence(_ bytes: [UInt8], _ byte: UInt8) -> Key? {
        guard (0x40...0x7E).contains(byte) else {
            let isHopeless = bytes.count >= KeyDecoder.sequenceLimit || byte < 32
            state = isHopeless ? .ground : .sequence(bytes + [byte])
            return nil
        }
        state = .ground
        if byte == UInt8(ascii: "~") { return numberedKey(String(decoding: bytes, as: UTF8.self)) }
        if byte == UInt8(ascii: "Z") { return .backTab }
        // A modifier (`1;5C`: Ctrl, `1;3C`: Alt) makes a move go by words.
        return KeyDecoder.cursorKey(byte, isWordwise: bytes.contains(UInt8(ascii: ";")))
    }

    private mutating func numberedKey(_ parameters: String) -> Key? {
        switch parameters.split(separator: ";").first {
        case "1", "7": return .home
        case "4", "8": return .end
        case "3": return .delete
        case "200":
            state = .paste
            return nil
        default: return nil
        }
    }

    private static func cursorKey(_ byte: UInt8, isWordwise: Bool) -> Key? {
        switch byte {
        case UInt8(ascii: "A"): .up
        case UInt8(ascii: "B"): .down
        case UInt8(ascii: "C"): isWordwise ? .wordRight : .right
        case UInt8(ascii: "D"): isWordwise ? .wordLeft : .left
        case UInt8(ascii: "H"): .home
        case UInt8(ascii: "F"): .end
        default: nil
        }
    }

    private mutating func paste(_ byte: UInt8) -> Key? {
        let end = KeyDecoder.pasteEnd
        pastedBytes.append(byte)
        if byte == end.last, pastedBytes.suffix(end.count).elementsEqual(end) {
            let text = String(decoding: pastedBytes.dropLast(end.count), as: UTF8.self)
            (state, pastedBytes) = (.ground, [])
            return .pasted(text)
        }
        if pastedBytes.count > KeyDecoder.pasteLimit { pastedBytes.remove(at: KeyDecoder.pasteLimit - end.count) }
        return nil
    }
}
