// The operations of handlers, on a store and its model.

import KedisStore
import KedisUtilities
import Testing

extension ModelWalk {
    /// Runs one operation on both.
    mutating func operate() throws {
        let database = randomDatabase()
        let key = randomKey()
        let choice = generator.next(below: 1000)
        // At times the system has no memory: then an operation may fail, and must leave everything as it was.
        let isRefusing = generator.next(below: 20) == 0
        if isRefusing { store.setMemoryByteCountMax(0) }
        store.lock(.all)
        defer {
            store.unlock(.all)
            store.setMemoryByteCountMax(.max)
        }
        do throws(StoreError) {
            try operate(choice, key, in: database)
        } catch {
            guard isRefusing else { throw error }
            note("no memory for it")
            refusedCount += 1
        }
    }

    private mutating func operate(_ choice: Int, _ key: [UInt8], in database: Int) throws(StoreError) {
        let keyspace = store.keyspace(database, nowMilliseconds: model.now, held: .all)
        model.dropDue(database, key)
        switch choice {
        case 0..<500:
            if generator.next(below: 1000) < shape.growth {
                try write(key, in: database, keyspace)
            } else {
                remove(key, in: database, keyspace)
            }
        case 500..<620: try setDeadline(key, in: database, keyspace)
        case 620..<680: try rename(key, in: database, keyspace)
        case 680..<740: try copy(key, in: database, keyspace)
        case 740..<790: try move(key, in: database, keyspace)
        case 790 where generator.next(below: 3) == 0: flush(database, keyspace)
        case 791..<795: swap(database, keyspace)
        case 795..<830: pickRandom(in: database, keyspace)
        default: read(key, in: database, keyspace)
        }
    }

    private mutating func write(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) throws(StoreError) {
        switch generator.next(below: 10) {
        case 0..<6: try set(key, in: database, keyspace)
        case 6..<8: try setInteger(key, in: database, keyspace)
        default: try resize(key, in: database, keyspace)
        }
    }

    private mutating func set(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) throws(StoreError) {
        let bytes = randomBytes()
        let before = model.databases[database][key]?.deadline ?? noDeadline
        let update: DeadlineUpdate
        let deadline: Int64
        switch generator.next(below: 3) {
        case 0: (update, deadline) = (.clear, noDeadline)
        case 1: (update, deadline) = (.keep, before)
        default:
            deadline = randomDeadline()
            update = .set(deadline)
        }
        let isText = generator.next(below: 4) == 0
        note("set \(database) \(show(key)) \(bytes.count) bytes \(update)")
        try withKey(store, key) { (key) throws(StoreError) in
            try withView(bytes) { (bytes) throws(StoreError) in
                if isText {
                    try keyspace.setText(key, bytes, deadline: update)
                } else {
                    try keyspace.setString(key, bytes, deadline: update)
                }
            }
        }
        model.databases[database][key] = ModelValue(bytes: bytes, deadline: deadline)
    }

    private mutating func setInteger(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) throws(StoreError) {
        let value = Int64(bitPattern: generator.next()) >> Int64(generator.next(below: 64))
        note("setInteger \(database) \(show(key)) \(value)")
        let bytes = Array("\(value)".utf8)
        let old = model.databases[database][key]
        try withKey(store, key) { (key) throws(StoreError) in
            if old != nil, let entry = keyspace.write(key), entry.encoding == .integer {
                keyspace.replaceInteger(entry, value)
                return
            }
            try keyspace.setInteger(key, value, deadline: .keep)
        }
        model.databases[database][key] = ModelValue(bytes: bytes, deadline: old?.deadline ?? noDeadline)
    }

    private mutating func resize(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) throws(StoreError) {
        let old = model.databases[database][key]
        let count =
            switch generator.next(below: 8) {
            case 0..<3: generator.next(below: 700)
            case 3 where shape.hasLargeThings && generator.next(below: 4) == 0:
                (16 << 10) - 1 + generator.next(below: 3)
            case 4 where shape.hasLargeThings && generator.next(below: 100) == 0: 1 << 20
            default: (old?.bytes.count ?? 0) + generator.next(below: 9)
            }
        note("resize \(database) \(show(key)) from \(old?.bytes.count ?? -1) to \(count)")
        var bytes = Array((old?.bytes ?? []).prefix(count))
        bytes += [UInt8](repeating: 0, count: count - bytes.count)
        let position = generator.next(below: count)
        let byte = UInt8(truncatingIfNeeded: generator.next())
        try withKey(store, key) { (key) throws(StoreError) in
            let room = try keyspace.resizeString(key, to: count)
            #expect(room.count == count)
            if count > 0 { room[position] = byte }
        }
        if count > 0 { bytes[position] = byte }
        model.databases[database][key] = ModelValue(bytes: bytes, deadline: old?.deadline ?? noDeadline)
    }

    private mutating func remove(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) {
        note("remove \(database) \(show(key))")
        let removed = withKey(store, key) { keyspace.remove($0) }
        #expect(removed == (model.databases[database].removeValue(forKey: key) != nil), "\(history)")
    }

    private mutating func setDeadline(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) throws(StoreError) {
        let deadline = generator.next(below: 3) == 0 ? noDeadline : randomDeadline()
        note("setDeadline \(database) \(show(key)) \(deadline)")
        let isThere = try withKey(store, key) { (key) throws(StoreError) in
            guard let entry = keyspace.write(key) else { return false }
            try keyspace.setDeadline(entry, deadline)
            return true
        }
        #expect(isThere == (model.databases[database][key] != nil), "\(history)")
        model.databases[database][key]?.deadline = deadline
    }

    private mutating func rename(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) throws(StoreError) {
        let target = randomKey()
        model.dropDue(database, target)
        note("rename \(database) \(show(key)) to \(show(target))")
        let isDone = try withKey(store, key) { (key) throws(StoreError) in
            try withKey(store, target) { (target) throws(StoreError) in try keyspace.rename(key, to: target) }
        }
        #expect(isDone == (model.databases[database][key] != nil), "\(history)")
        if let value = model.databases[database].removeValue(forKey: key) { model.databases[database][target] = value }
    }

    private mutating func copy(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) throws(StoreError) {
        let target = randomKey()
        let other = randomDatabase()
        model.dropDue(other, target)
        note("copy \(database) \(show(key)) to \(show(target)) in \(other)")
        let isDone = try withKey(store, key) { (key) throws(StoreError) in
            try withKey(store, target) { (target) throws(StoreError) in
                try keyspace.copy(key, to: target, in: keyspace.selecting(other))
            }
        }
        #expect(isDone == (model.databases[database][key] != nil), "\(history)")
        if let value = model.databases[database][key] { model.databases[other][target] = value }
    }

    private mutating func move(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) throws(StoreError) {
        let other = randomDatabase()
        model.dropDue(other, key)
        guard other != database, model.databases[other][key] == nil else { return }
        note("move \(database) \(show(key)) to \(other)")
        let isDone = try withKey(store, key) { (key) throws(StoreError) in
            try keyspace.move(key, to: keyspace.selecting(other))
        }
        #expect(isDone == (model.databases[database][key] != nil), "\(history)")
        model.databases[other][key] = model.databases[database].removeValue(forKey: key)
    }

    private mutating func flush(_ database: Int, _ keyspace: Keyspace) {
        note("flush \(database)")
        #expect(keyspace.removeAll() >= model.databases[database].values.count { model.isLive($0) }, "\(history)")
        model.databases[database] = [:]
        model.hidden[database] = []
    }

    private mutating func swap(_ database: Int, _ keyspace: Keyspace) {
        let other = randomDatabase()
        note("swap \(database) \(other)")
        keyspace.swapDatabases(database, other)
        model.databases.swapAt(database, other)
        model.hidden.swapAt(database, other)
    }

    private mutating func pickRandom(in database: Int, _ keyspace: Keyspace) {
        note("random key of \(database)")
        var name: [UInt8]?
        let isGiven = keyspace.withRandomEntry(using: &generator) { name = $0.key.bytes }
        #expect(isGiven == (name != nil))
        guard let name else { return }
        #expect(model.databases[database][name].map(model.isLive) == true, "a random key that is not there\n\(history)")
    }

    private mutating func read(_ key: [UInt8], in database: Int, _ keyspace: Keyspace) {
        let expected = model.databases[database][key]
        var keyspace = keyspace
        let way = generator.next(below: 4)
        if way == 3 { keyspace.leavesAccessClock = true }
        note("read \(database) \(show(key))")
        let found = withKey(store, key) { key in
            let entry =
                switch way {
                case 0: keyspace.peek(key)
                case 1: keyspace.write(key)
                default: keyspace.read(key)
                }
            return entry.map { entry in
                let frequency = keyspace.accessFrequency(entry)
                #expect(frequency >= 0 && frequency <= 255)
                #expect(entry.memoryByteCount >= key.bytes.count, "\(history)")
                return ModelValue(bytes: storedBytes(entry), deadline: entry.deadlineMilliseconds)
            }
        }
        let isEqual = found == expected
        #expect(isEqual, "\(found?.bytes.count ?? -1) instead of \(expected?.bytes.count ?? -1) bytes\n\(history)")
    }
}
