// What Swift cannot say, or not fast enough: each function states its reason.
#ifndef CKEDIS_H
#define CKEDIS_H

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __APPLE__
#include <malloc/malloc.h>
#else
#include <malloc.h>
#endif
#ifdef __APPLE__
#include <xlocale.h>
#endif

#include "CKedisBits.h"
#include "CKedisChecksum.h"
#include "CKedisClock.h"
#include "CKedisEvents.h"
#include "CKedisFiles.h"
#include "CKedisFutex.h"
#include "CKedisMemory.h"
#include "CKedisRegisters.h"
#include "CKedisRing.h"
#include "CKedisTags.h"
#include "CKedisThread.h"
#include "CKedisTrim.h"

// The usable bytes of a block from malloc. The platform's C module leaves this header out.
static inline size_t kedis_allocated_size(void *block) {
#ifdef __APPLE__
    return malloc_size(block);
#else
    return malloc_usable_size(block);
#endif
}

// Swift has no prefetch instruction.
static inline void kedis_prefetch(const void *address) { __builtin_prefetch(address, 0, 3); }

// The same for a line that will be written, and which other cores may have. By name, as the builtin loads it to be read
// where the compiler has to reckon with the first x86-64 processors (for which this is no operation).
static inline void kedis_prefetch_write(const void *address) {
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)address));
#else
    __builtin_prefetch(address, 1, 3);
#endif
}

// Makes the calling thread read and write numbers as the C locale does and returns what to hand to
// kedis_leave_c_locale. Needed because strtod and snprintf follow the locale of the program that embeds Kedis, where
// the decimal point may be a comma; in C because the locale is made once, without a lock, through an atomic pointer.
static inline locale_t kedis_enter_c_locale(void) {
    static locale_t shared;
    locale_t wanted = __atomic_load_n(&shared, __ATOMIC_ACQUIRE);
    if (!wanted) {
        locale_t made = newlocale(LC_ALL_MASK, "C", (locale_t)0);
        if (!made) return (locale_t)0;
        if (__atomic_compare_exchange_n(&shared, &wanted, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            wanted = made;
        } else {
            freelocale(made);
        }
    }
    return uselocale(wanted);
}

static inline void kedis_leave_c_locale(locale_t previous) {
    if (previous) uselocale(previous);
}

// Reads a double from `count` bytes followed by a NUL: false unless strtod takes them all, on NaN, overflow and
// underflow to zero. In C because HUGE_VAL, errno and fpclassify are macros that Swift imports badly or not at all.
static inline bool kedis_parse_double(const char *text, size_t count, double *value) {
    char *end = NULL;
    locale_t previous = kedis_enter_c_locale();
    errno = 0;
    double result = strtod(text, &end);
    bool out_of_range = errno == ERANGE && (isinf(result) || fpclassify(result) == FP_ZERO);
    kedis_leave_c_locale(previous);
    if ((size_t)(end - text) != count || out_of_range || isnan(result)) return false;
    *value = result;
    return true;
}

// As kedis_parse_double, with what strtod does beyond it: white space in front, and numbers out of range.
static inline bool kedis_parse_any_double(const char *text, size_t count, double *value) {
    char *end = NULL;
    locale_t previous = kedis_enter_c_locale();
    double result = strtod(text, &end);
    kedis_leave_c_locale(previous);
    if ((size_t)(end - text) != count || isnan(result)) return false;
    *value = result;
    return true;
}

// Writes a double with 17 significant digits and returns the byte count, below `capacity`. In C because snprintf is
// variadic, which Swift cannot call, and because its bytes are part of the protocol.
static inline size_t kedis_format_double(char *buffer, size_t capacity, double value) {
    locale_t previous = kedis_enter_c_locale();
    int count = snprintf(buffer, capacity, "%.17g", value);
    kedis_leave_c_locale(previous);
    return count < 0 || (size_t)count >= capacity ? 0 : (size_t)count;
}

// Writes a double with so many decimal places, as `%.*f` does, and returns the byte count,
// below `capacity`.
static inline size_t kedis_format_fixed(char *buffer, size_t capacity, double value, int places) {
    locale_t previous = kedis_enter_c_locale();
    int count = snprintf(buffer, capacity, "%.*f", places, value);
    kedis_leave_c_locale(previous);
    return count < 0 || (size_t)count >= capacity ? 0 : (size_t)count;
}

// A long double as plain memory. In C, like all functions on it, because Swift has no such type outside x86
// (Float80) while INCRBYFLOAT's results are defined by its width: 80 bits on x86-64, 128 on Linux arm64, 64 on Apple.
typedef struct {
    uint64_t words[2];
} kedis_long_double;

_Static_assert(sizeof(long double) <= sizeof(kedis_long_double), "a long double fits its box");

static inline kedis_long_double kedis_long_double_box(long double value) {
    kedis_long_double box = {{0, 0}};
    memcpy(&box, &value, sizeof value);
    return box;
}

static inline long double kedis_long_double_unbox(kedis_long_double box) {
    long double value;
    memcpy(&value, &box, sizeof value);
    return value;
}

// As kedis_parse_double.
static inline bool kedis_long_double_parse(const char *text, size_t count, kedis_long_double *value) {
    char *end = NULL;
    locale_t previous = kedis_enter_c_locale();
    errno = 0;
    long double result = strtold(text, &end);
    bool out_of_range = errno == ERANGE && (isinf(result) || fpclassify(result) == FP_ZERO);
    kedis_leave_c_locale(previous);
    if ((size_t)(end - text) != count || out_of_range || isnan(result)) return false;
    *value = kedis_long_double_box(result);
    return true;
}

static inline kedis_long_double kedis_long_double_from_double(double value) {
    return kedis_long_double_box((long double)value);
}

static inline kedis_long_double kedis_long_double_from_integer(int64_t value) {
    return kedis_long_double_box((long double)value);
}

static inline kedis_long_double kedis_long_double_add(kedis_long_double a, kedis_long_double b) {
    return kedis_long_double_box(kedis_long_double_unbox(a) + kedis_long_double_unbox(b));
}

/// `value * scale`, rounded up, in `*result`; false when it is too large, and the least integer when it is too small.
static inline bool kedis_long_double_scaled_up(kedis_long_double value, int64_t scale, int64_t *result) {
    long double scaled = kedis_long_double_unbox(value) * (long double)scale;
    // Not `<= INT64_MAX`: where a long double is a double, that is 2^63.
    if (!(scaled < 9223372036854775808.0L)) return false;
    if (scaled <= -9223372036854775808.0L) {
        *result = INT64_MIN;
        return true;
    }
    *result = (int64_t)scaled;
    if ((long double)*result < scaled && *result < INT64_MAX) *result += 1;
    return true;
}

static inline bool kedis_long_double_is_nan(kedis_long_double value) {
    return isnan(kedis_long_double_unbox(value));
}

static inline bool kedis_long_double_is_finite(kedis_long_double value) {
    return isfinite(kedis_long_double_unbox(value));
}

// Writes 17 decimal places and returns the byte count, or 0 when `capacity` does not hold them and a NUL.
static inline size_t kedis_long_double_format(char *buffer, size_t capacity, kedis_long_double value) {
    locale_t previous = kedis_enter_c_locale();
    int count = snprintf(buffer, capacity, "%.17Lf", kedis_long_double_unbox(value));
    kedis_leave_c_locale(previous);
    return count < 0 || (size_t)count >= capacity ? 0 : (size_t)count;
}

#endif
