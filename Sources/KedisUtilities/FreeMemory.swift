// What malloc keeps for reuse, given back to the system on demand.

import CKedis

/// Has the C library give back the memory that it keeps for reuse, where it can (MEMORY PURGE). O(its heaps), each of
/// which it locks meanwhile.
package func releaseFreeMemory() { kedis_release_free_memory() }
