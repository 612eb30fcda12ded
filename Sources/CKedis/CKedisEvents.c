// Calls of the system for a loop over sockets. Those of each round go through `syscall`, which is no cancellation
// point: in a process with several threads a cancellation point costs two atomic instructions more.
#ifdef __linux__

#define _GNU_SOURCE
#include "CKedisEvents.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(struct kedis_event) == sizeof(struct epoll_event), "an event as the system has it");
_Static_assert(offsetof(struct kedis_event, token) == offsetof(struct epoll_event, data), "its token");
_Static_assert(EPOLLIN == 0x001 && EPOLLOUT == 0x004 && EPOLLERR == 0x008 && EPOLLHUP == 0x010, "its flags");
_Static_assert(EPOLLRDHUP == 0x2000, "its flags");

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

int kedis_epoll_make(void) { return epoll_create1(EPOLL_CLOEXEC); }

bool kedis_epoll_add(int epoll, int descriptor, uint32_t flags, bool is_edge, uint64_t token) {
    struct epoll_event event = {.events = flags | (is_edge ? (uint32_t)EPOLLET : 0), .data = {.u64 = token}};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

void kedis_epoll_remove(int epoll, int descriptor) {
    struct epoll_event event = {0};
    (void)epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, &event);
}

int kedis_epoll_wait(int epoll, void *events, int count, int64_t nanoseconds) {
    static bool is_coarse;
    if (nanoseconds > 0 && !__atomic_load_n(&is_coarse, __ATOMIC_RELAXED)) {
        struct { int64_t seconds, nanoseconds; } limit = {nanoseconds / 1000000000, nanoseconds % 1000000000};
        int result = (int)syscall(SYS_epoll_pwait2, epoll, events, count, &limit, (void *)0, (size_t)0);
        // Filters of containers that are older than the call say that it is not permitted.
        if (result >= 0 || (errno != ENOSYS && errno != EPERM)) return result;
        __atomic_store_n(&is_coarse, true, __ATOMIC_RELAXED);
    }
    int64_t milliseconds = nanoseconds < 0 ? -1 : nanoseconds / 1000000 + (nanoseconds % 1000000 != 0);
    if (milliseconds > INT32_MAX) milliseconds = INT32_MAX;
    return (int)syscall(SYS_epoll_pwait, epoll, events, count, (int)milliseconds, (void *)0, (size_t)0);
}

int kedis_bell_make(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

void kedis_bell_ring(int bell) {
    uint64_t one = 1;
    (void)!write(bell, &one, sizeof one);
}

ptrdiff_t kedis_receive(int descriptor, void *buffer, size_t byte_count) {
    return syscall(SYS_recvfrom, descriptor, buffer, byte_count, 0, (void *)0, (void *)0);
}

ptrdiff_t kedis_send(int descriptor, const void *bytes, size_t byte_count) {
    return syscall(SYS_sendto, descriptor, bytes, byte_count, MSG_NOSIGNAL, (void *)0, (size_t)0);
}

int kedis_accept(int descriptor, void *address, uint32_t *byte_count) {
    return (int)syscall(SYS_accept4, descriptor, address, byte_count, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

void kedis_sleep(uint64_t nanoseconds) {
    struct { int64_t seconds, nanoseconds; } limit = {0, (int64_t)nanoseconds};
    (void)syscall(SYS_nanosleep, &limit, (void *)0);
}

void kedis_begin_thread(const char *name) {
    prctl(PR_SET_NAME, name, 0, 0, 0);
    // Alarms may be late by as much: 50 microseconds, if nobody says otherwise.
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
}

#endif
