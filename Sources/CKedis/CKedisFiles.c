// Calls on files that the platform's module hides.
#ifdef __linux__
#define _GNU_SOURCE
#endif

#include "CKedisFiles.h"

#include <errno.h>
#include <fcntl.h>

bool kedis_write_out(int descriptor, int64_t offset, int64_t byte_count, bool waits) {
#ifdef __linux__
    unsigned flags = waits ? SYNC_FILE_RANGE_WAIT_BEFORE : SYNC_FILE_RANGE_WRITE;
    return sync_file_range(descriptor, offset, byte_count, flags) == 0;
#else
    errno = ENOSYS;
    return false;
#endif
}
