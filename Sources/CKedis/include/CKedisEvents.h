// Readiness of sockets on Linux. In C because the platform's module hides some of these calls and the system's record
// of an event is packed. Without the system's headers, whose types would be this module's then; the functions are in
// CKedisEvents.c.
#ifndef CKEDIS_EVENTS_H
#define CKEDIS_EVENTS_H

#ifdef __linux__

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The system's record of an event: `struct epoll_event`.
#ifdef __x86_64__
struct __attribute__((packed)) kedis_event { uint32_t flags; uint64_t token; };
#else
struct kedis_event { uint32_t flags; uint64_t token; };
#endif

// EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLERR and EPOLLHUP, EPOLLRDHUP.
static const uint32_t kedis_event_input = 0x001;
static const uint32_t kedis_event_output = 0x004;
static const uint32_t kedis_event_error = 0x008;
static const uint32_t kedis_event_broken = 0x008 | 0x010;
static const uint32_t kedis_event_peer_ended = 0x2000;

// Room for `count` events.
static inline size_t kedis_event_room(size_t count) { return count * sizeof(struct kedis_event); }

static inline uint64_t kedis_event_token(const void *events, int index) {
    return ((const struct kedis_event *)events)[index].token;
}

static inline uint32_t kedis_event_flags(const void *events, int index) {
    return ((const struct kedis_event *)events)[index].flags;
}

// An epoll instance, or -1 with `errno`.
int kedis_epoll_make(void);

// Says from now on, with `token`, when `descriptor` becomes ready in a way of `flags`; `is_edge`: once each time that
// more becomes ready, else as long as it is. False with `errno` when that fails.
bool kedis_epoll_add(int epoll, int descriptor, uint32_t flags, bool is_edge, uint64_t token);

void kedis_epoll_remove(int epoll, int descriptor);

// Waits for at most so many nanoseconds, for ever when they are negative. The number of events, or -1 with `errno`.
// Linux before 5.11 counts in milliseconds: waits are rounded up there.
int kedis_epoll_wait(int epoll, void *events, int count, int64_t nanoseconds);

// Something that wakes who waits for its input, or -1 with `errno`.
int kedis_bell_make(void);
void kedis_bell_ring(int bell);

// Bytes that were there, 0 at the end of what the peer sends, -1 with `errno`.
ptrdiff_t kedis_receive(int descriptor, void *buffer, size_t byte_count);

// Bytes that the system took, or -1 with `errno`. A broken connection raises no signal.
ptrdiff_t kedis_send(int descriptor, const void *bytes, size_t byte_count);

// A connection that came in, which never blocks, and its peer's address; -1 with `errno`.
int kedis_accept(int descriptor, void *address, uint32_t *byte_count);

// Sleeps for less than a second, exactly as long in a thread of ours.
void kedis_sleep(uint64_t nanoseconds);

// Makes the calling thread one of ours: names it, as far as 15 bytes go, and lets its alarms come in time.
void kedis_begin_thread(const char *name);

#endif
#endif
