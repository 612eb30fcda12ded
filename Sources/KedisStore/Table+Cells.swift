// Cells that change their shape: another size of value, a deadline that comes or goes.
//
// In place while the size class stays, else in another cell. Without memory for that nothing is changed.

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

extension Table {
    /// Gives the cell at `place` the shape of `header`, whose key is the same: in place when the size class stays,
    /// else in another cell. What is kept of the value is its first bytes, if `keepingValue`. A deadline stays where it
    /// was and is undefined where there was none. False when memory is exhausted; nothing was changed then.
    mutating func reshape(_ place: inout Place, to header: CellHeader, keepingValue: Bool) -> Bool {
        let old = place.cell.header
        let (oldUnits, units) = (old.units, header.units)
        let kept = keepingValue ? min(old.valueFieldByteCount, header.valueFieldByteCount) : 0
        let movedByteCount = old.keyFieldByteCount + kept
        if SizeClass.index(units: oldUnits) == SizeClass.index(units: units) {
            if old.hasDeadline != header.hasDeadline {
                memmove(place.cell.address + header.keyOffset, place.cell.address + old.keyOffset, movedByteCount)
            }
        } else {
            guard let reference = allocateCell(units: units) else { return false }
            let moved = Cell(arena.pointee.address(reference))
            memcpy(moved.address + header.keyOffset, place.cell.address + old.keyOffset, movedByteCount)
            if old.hasDeadline && header.hasDeadline {
                memcpy(moved.address + CellHeader.byteCount, place.cell.address + CellHeader.byteCount, 8)
            }
            freeCell(place.reference, units: oldUnits)
            place.bucket.setReference(place.slot, reference)
            place.cell = moved
        }
        deadlineCount += (header.hasDeadline ? 1 : 0) - (old.hasDeadline ? 1 : 0)
        memberDeadlineKeyCount += (header.hasMemberDeadlines ? 1 : 0) - (old.hasMemberDeadlines ? 1 : 0)
        place.cell.header = header
        return true
    }

    /// Replaces bytes of a value in its cell: `removedCount` at `offset` of the value give way to `insertedCount`,
    /// which are undefined. False when memory is exhausted; nothing was changed then.
    mutating func splice(_ place: inout Place, at offset: Int, removing removedCount: Int, inserting insertedCount: Int)
        -> Bool
    {
        let old = place.cell.header
        var header = old
        header.valueFieldByteCount = old.valueFieldByteCount - removedCount + insertedCount
        let tailCount = old.valueFieldByteCount - offset - removedCount
        if SizeClass.index(units: old.units) == SizeClass.index(units: header.units) {
            let start = place.cell.valueAddress + offset
            memmove(start + insertedCount, start + removedCount, tailCount)
        } else {
            guard let reference = allocateCell(units: header.units) else { return false }
            let moved = Cell(arena.pointee.address(reference))
            memcpy(moved.address, place.cell.address, old.valueOffset + offset)
            let target = moved.address + old.valueOffset + offset
            memcpy(target + insertedCount, place.cell.valueAddress + offset + removedCount, tailCount)
            freeCell(place.reference, units: old.units)
            place.bucket.setReference(place.slot, reference)
            place.cell = moved
        }
        place.cell.header = header
        return true
    }
}
