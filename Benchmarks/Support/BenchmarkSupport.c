// Counts calls of the allocator by standing before glibc's, and reads the process's figures from /proc.
//
// A definition in the executable comes before the one in libc.so for all libraries of the process, so Swift's runtime
// is counted too. Each call is forwarded to the allocator's own name; freeing is not counted and stays glibc's. Cost:
// an increment in thread-local storage for each call. The sanitizers' own allocators are left alone.

#define _GNU_SOURCE
#include "BenchmarkSupport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define BENCHMARK_SANITIZED 1
#endif
#endif

#if defined(__linux__) && defined(__GLIBC__) && !defined(BENCHMARK_SANITIZED)

static __thread int64_t allocation_count;

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size) {
    allocation_count++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    allocation_count++;
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size) {
    allocation_count++;
    return __libc_realloc(block, size);
}

void *memalign(size_t alignment, size_t size) {
    allocation_count++;
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    allocation_count++;
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **result, size_t alignment, size_t size) {
    allocation_count++;
    if (alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0) return EINVAL;
    void *block = __libc_memalign(alignment, size);
    if (!block) return ENOMEM;
    *result = block;
    return 0;
}

int64_t benchmark_allocation_count(void) { return allocation_count; }

#else

int64_t benchmark_allocation_count(void) { return -1; }

#endif

uint64_t benchmark_process_cpu_nanoseconds(void) {
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int64_t benchmark_thread_cpu_nanoseconds(void) {
    struct timespec time;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) != 0) return 0;
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int64_t benchmark_thread_delay_nanoseconds(void) {
    // Opened once for each thread that asks, and left open: a benchmark has few threads.
    static __thread int file = -2;
    if (file == -2) file = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    char text[96];
    ssize_t count = file < 0 ? -1 : pread(file, text, sizeof text - 1, 0);
    if (count <= 0) return -1;
    text[count] = 0;
    // Time on a processor, time waiting for one, number of time slices.
    char *second = strchr(text, ' ');
    return second ? strtoll(second, NULL, 10) : -1;
}

void benchmark_sharpen_timers(void) {
#ifdef __linux__
    (void)prctl(PR_SET_TIMERSLACK, 1UL);
#endif
}

// The number behind `label` in a file of lines, -1 when there is none.
static int64_t labelled_number(const char *path, const char *label, int fields_before) {
    FILE *file = fopen(path, "r");
    if (!file) return -1;
    char line[512];
    int64_t result = -1;
    while (result < 0 && fgets(line, sizeof line, file)) {
        if (strncmp(line, label, strlen(label)) != 0) continue;
        char *position = line + strlen(label);
        long long number = -1;
        for (int field = 0; field <= fields_before; field++) number = strtoll(position, &position, 10);
        result = number;
    }
    fclose(file);
    return result;
}

static int64_t kibibytes(const char *label) {
    int64_t number = labelled_number("/proc/self/smaps_rollup", label, 0);
    return number < 0 ? -1 : number * 1024;
}

int64_t benchmark_exact_resident_bytes(void) { return kibibytes("Rss:"); }
int64_t benchmark_huge_page_bytes(void) { return kibibytes("AnonHugePages:"); }

int64_t benchmark_quick_resident_bytes(void) {
    // The second field of the only line.
    int64_t pages = labelled_number("/proc/self/statm", "", 1);
    return pages < 0 ? -1 : pages * (int64_t)sysconf(_SC_PAGESIZE);
}

int64_t benchmark_stolen_milliseconds(void) {
    // user, nice, system, idle, iowait, irq, softirq, steal
    int64_t ticks = labelled_number("/proc/stat", "cpu ", 7);
    return ticks < 0 ? -1 : ticks * 1000 / (int64_t)sysconf(_SC_CLK_TCK);
}
