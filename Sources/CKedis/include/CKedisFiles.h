// What the platform's module hides about files. Without the system's headers, whose types would be this module's then;
// the function is in CKedisFiles.c.
#ifndef CKEDIS_FILES_H
#define CKEDIS_FILES_H

#include <stdbool.h>
#include <stdint.h>

// Has the disk begin with these bytes of a file, or (`waits`) waits until it is through with them. False with `errno`
// when that fails; ENOSYS where the system has no such call.
bool kedis_write_out(int descriptor, int64_t offset, int64_t byte_count, bool waits);

#endif
