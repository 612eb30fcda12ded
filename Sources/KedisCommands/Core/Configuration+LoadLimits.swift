// Which values are packed when they are loaded, from the directives of all types: for snapshots and RESTORE.

package import KedisFormats
import KedisStore
import Synchronization

extension Configuration {
    package var loadLimits: LoadLimits {
        LoadLimits(
            list: PackLimit(setting: listPackSetting.load(ordering: .relaxed)), set: setLimits,
            sortedSet: sortedSetLimits, hash: hashLimits)
    }
}
