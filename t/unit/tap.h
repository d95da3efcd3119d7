
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _TAP_H_INCLUDED_
#define _TAP_H_INCLUDED_


#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


/*
 * Test Anything Protocol.  tap_ok() prints one test point and returns its
 * condition; checks by the thousand are counted with tap_each(), which prints
 * only its first failures, and closed by one tap_all().  main() ends with
 * "return tap_done();".
 */

#define TAP_SHOWN  5

#define tap_is(got, want, ...)                                                \
    tap_compare((long long) (got), (long long) (want), __VA_ARGS__)


static int   tap_count;
static int   tap_failed;

static long  tap_each_count;
static long  tap_each_failed;


static inline void __attribute__((format(printf, 1, 2)))
tap_diag(const char *fmt, ...)
{
    va_list  args;

    printf("# ");

    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);

    printf("\n");
}


static inline int __attribute__((format(printf, 2, 3)))
tap_ok(int cond, const char *fmt, ...)
{
    va_list  args;

    tap_count++;

    if (!cond) {
        tap_failed++;
    }

    printf("%sok %d - ", cond ? "" : "not ", tap_count);

    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);

    printf("\n");
    fflush(stdout);

    return cond;
}


static inline int __attribute__((format(printf, 3, 4)))
tap_compare(long long got, long long want, const char *fmt, ...)
{
    char     name[512];
    va_list  args;

    va_start(args, fmt);
    vsnprintf(name, sizeof(name), fmt, args);
    va_end(args);

    if (!tap_ok(got == want, "%s", name)) {
        tap_diag("got %lld, expected %lld", got, want);
    }

    return got == want;
}


static inline int __attribute__((format(printf, 2, 3)))
tap_each(int cond, const char *fmt, ...)
{
    va_list  args;

    tap_each_count++;

    if (cond) {
        return 1;
    }

    if (tap_each_failed++ < TAP_SHOWN) {
        printf("# failed: ");

        va_start(args, fmt);
        vprintf(fmt, args);
        va_end(args);

        printf("\n");
    }

    return 0;
}


static inline int
tap_all(const char *name)
{
    int  cond;

    cond = tap_each_count > 0 && tap_each_failed == 0;

    tap_ok(cond, "%s, %ld checks", name, tap_each_count);

    if (tap_each_failed) {
        tap_diag("%ld of them failed", tap_each_failed);
    }

    tap_each_count = 0;
    tap_each_failed = 0;

    return cond;
}


/* bytes of a hexadecimal string, spaces ignored; dst has room for them */

static inline size_t
tap_hex(unsigned char *dst, const char *hex)
{
    size_t        n;
    unsigned int  byte;

    n = 0;

    while (*hex) {

        if (*hex == ' ') {
            hex++;
            continue;
        }

        if (sscanf(hex, "%2x", &byte) != 1 || hex[1] == '\0') {
            fprintf(stderr, "bad hexadecimal string \"%s\"\n", hex);
            exit(2);
        }

        dst[n++] = (unsigned char) byte;
        hex += 2;
    }

    return n;
}


static inline int
tap_done(void)
{
    printf("1..%d\n", tap_count);

    if (tap_failed) {
        tap_diag("%d of %d failed", tap_failed, tap_count);
    }

    return tap_failed || tap_count == 0;
}


#endif /* _TAP_H_INCLUDED_ */
