
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_query.c"

#include "fuzz.h"

#include <strings.h>


static int find(const uint8_t *data, size_t size, const char *name,
    char *value, size_t room);
static int number(const char *text, uint64_t *n);
static void check_wait(const uint8_t *data, size_t size);


/*
 * The input is a query string.  What is understood of it is compared with
 * what the C library makes of its parts.
 */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int                  ok;
    char                *value, again[128];
    uint64_t             n;
    ngx_int_t            rc;
    ngx_str_t            args;
    ngx_ws_bus_query_t   q, r;

    args.data = (u_char *) data;
    args.len = size;

    rc = ngx_ws_bus_query_position(&args, &q);

    fuzz_check(rc == NGX_OK || rc == NGX_ERROR);

    value = fuzz_alloc(size + 1);

    ok = 1;

    if (find(data, size, "last", value, size + 1)) {
        ok = number(value, &n) == 0;
        fuzz_check(!ok || (q.has_last && q.last == n));
        fuzz_check(ok || (rc == NGX_ERROR && !q.has_last_seq));

    } else {
        fuzz_check(!q.has_last);
    }

    if (ok && find(data, size, "last_seq", value, size + 1)) {
        ok = number(value, &n) == 0;
        fuzz_check(q.has_last_seq && (!ok || q.last_seq == n));

    } else {
        fuzz_check(!q.has_last_seq);
    }

    fuzz_check((rc == NGX_OK) == ok);

    if (ok && find(data, size, "epoch", value, size + 1)) {
        ok = strlen(value) == 16
             && strspn(value, "0123456789abcdefABCDEF") == 16;

        fuzz_check(q.has_epoch == (unsigned) ok);
        fuzz_check(!ok || q.epoch == strtoull(value, NULL, 16));
    }

    free(value);

    check_wait(data, size);

    if (rc != NGX_OK) {
        return 0;
    }

    /* what was understood can be written, and is understood again */

    args.data = (u_char *) again;
    args.len = 0;

    if (q.has_last) {
        args.len += sprintf(again, "last=%llu", (unsigned long long) q.last);
    }

    if (q.has_last_seq) {
        args.len += sprintf(again + args.len, "&last_seq=%llu",
                            (unsigned long long) q.last_seq);
    }

    if (q.has_epoch) {
        args.len += sprintf(again + args.len, "&epoch=%016llx",
                            (unsigned long long) q.epoch);
    }

    fuzz_check(ngx_ws_bus_query_position(&args, &r) == NGX_OK);
    fuzz_check(r.has_last == q.has_last && r.has_last_seq == q.has_last_seq
               && r.has_epoch == q.has_epoch && r.last == q.last
               && r.last_seq == q.last_seq
               && (!r.has_epoch || r.epoch == q.epoch));

    return 0;
}


static void
check_wait(const uint8_t *data, size_t size)
{
    char       *value;
    uint64_t    n;
    ngx_int_t   rc;
    ngx_str_t   args;

    args.data = (u_char *) data;
    args.len = size;

    rc = ngx_ws_bus_query_wait(&args, 60);

    value = fuzz_alloc(size + 1);

    if (!find(data, size, "wait", value, size + 1)) {
        fuzz_check(rc == NGX_DECLINED);

    } else if (number(value, &n) != 0) {
        fuzz_check(rc == NGX_ERROR);

    } else {
        fuzz_check(rc == (ngx_int_t) (n < 60 ? n : 60));
    }

    free(value);
}


/* the value of the first argument of this name, as a string; 0: none */

static int
find(const uint8_t *data, size_t size, const char *name, char *value,
    size_t room)
{
    char  *copy, *p, *end;

    copy = fuzz_alloc(size + 2);
    p = copy;

    if (size) {
        memcpy(copy, data, size);
    }

    copy[size] = '&';

    while (p < copy + size) {
        end = memchr(p, '&', copy + size + 1 - p);

        if ((size_t) (end - p) > strlen(name)
            && strncasecmp(p, name, strlen(name)) == 0
            && p[strlen(name)] == '=')
        {
            p += strlen(name) + 1;

            /* a zero byte is no digit */

            for ( ; p < end; p++, value++, room--) {
                fuzz_check(room > 1);
                *value = *p ? *p : '?';
            }

            *value = '\0';
            free(copy);

            return 1;
        }

        p = end + 1;
    }

    free(copy);

    return 0;
}


static int
number(const char *text, uint64_t *n)
{
    size_t  zeros;

    if (*text == '\0' || strspn(text, "0123456789") != strlen(text)) {
        return -1;
    }

    zeros = strspn(text, "0");

    if (strlen(text + zeros) > 19) {
        return -1;
    }

    *n = strtoull(text, NULL, 10);

    return *n > 0x7fffffffffffffffULL ? -1 : 0;
}
