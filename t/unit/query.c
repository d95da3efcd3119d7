
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_query.c"

#include "tap.h"


typedef struct {
    const char  *args;
    ngx_int_t    rc;
    unsigned     has_last:1;
    unsigned     has_last_seq:1;
    unsigned     has_epoch:1;
    uint64_t     last;
    uint64_t     last_seq;
    uint64_t     epoch;
} position_case_t;


typedef struct {
    const char  *args;
    ngx_int_t    wait;
} wait_case_t;


static void test_positions(void);
static void test_waits(void);
static ngx_str_t copy_of(const char *text);


static const position_case_t  positions[] = {
    { "", NGX_OK, 0, 0, 0, 0, 0, 0 },
    { "x=1&y", NGX_OK, 0, 0, 0, 0, 0, 0 },
    { "last=5", NGX_OK, 1, 0, 0, 5, 0, 0 },
    { "last_seq=5", NGX_OK, 0, 1, 0, 0, 5, 0 },
    { "last_seq=5&last=6", NGX_OK, 1, 1, 0, 6, 5, 0 },
    { "LAST=5&Last_Seq=6&Epoch=00000000000000fF", NGX_OK, 1, 1, 1, 5, 6,
      0xff },
    { "last=1&last=2", NGX_OK, 1, 0, 0, 1, 0, 0 },
    { "last&last=2", NGX_OK, 1, 0, 0, 2, 0, 0 },
    { "&&last=2&&", NGX_OK, 1, 0, 0, 2, 0, 0 },
    { "xlast=2", NGX_OK, 0, 0, 0, 0, 0, 0 },
    { "x=last=2", NGX_OK, 0, 0, 0, 0, 0, 0 },
    { "lastx=2", NGX_OK, 0, 0, 0, 0, 0, 0 },
    { "las", NGX_OK, 0, 0, 0, 0, 0, 0 },
    { "last", NGX_OK, 0, 0, 0, 0, 0, 0 },
    { "last=", NGX_ERROR, 0, 0, 0, 0, 0, 0 },
    { "last=&last=1", NGX_ERROR, 0, 0, 0, 0, 0, 0 },
    { "last=-1", NGX_ERROR, 0, 0, 0, 0, 0, 0 },
    { "last=1.0", NGX_ERROR, 0, 0, 0, 0, 0, 0 },
    { "last=%31", NGX_ERROR, 0, 0, 0, 0, 0, 0 },
    { "last=+1", NGX_ERROR, 0, 0, 0, 0, 0, 0 },
    { "last= 1", NGX_ERROR, 0, 0, 0, 0, 0, 0 },
    { "last=00", NGX_OK, 1, 0, 0, 0, 0, 0 },
    { "last_seq=x", NGX_ERROR, 0, 1, 0, 0, 0, 0 },
    { "last_seq=", NGX_ERROR, 0, 1, 0, 0, 0, 0 },
    { "last_seq=x&last=y", NGX_ERROR, 0, 0, 0, 0, 0, 0 },
    { "last_seq=9223372036854775807", NGX_OK, 0, 1, 0, 0,
      0x7fffffffffffffffULL, 0 },
    { "last_seq=9223372036854775808", NGX_ERROR, 0, 1, 0, 0, 0, 0 },
    { "last_seq=99999999999999999999999", NGX_ERROR, 0, 1, 0, 0, 0, 0 },
    { "epoch=0123456789abcdef", NGX_OK, 0, 0, 1, 0, 0,
      0x0123456789abcdefULL },
    { "epoch=ffffffffffffffff", NGX_OK, 0, 0, 1, 0, 0,
      0xffffffffffffffffULL },
    { "epoch=0123456789abcde", NGX_OK, 0, 0, 0, 0, 0, 0 },
    { "epoch=0123456789abcdef0", NGX_OK, 0, 0, 0, 0, 0, 0 },
    { "epoch=0123456789abcdeg", NGX_OK, 0, 0, 0, 0, 0, 0 },
    { "epoch=", NGX_OK, 0, 0, 0, 0, 0, 0 },
    { "epoch=x&epoch=0123456789abcdef", NGX_OK, 0, 0, 0, 0, 0, 0 }
};


static const wait_case_t  waits[] = {
    { "", NGX_DECLINED },
    { "wait", NGX_DECLINED },
    { "await=1", NGX_DECLINED },
    { "wait=", NGX_ERROR },
    { "wait=x", NGX_ERROR },
    { "wait=-1", NGX_ERROR },
    { "wait=0", 0 },
    { "wait=20", 20 },
    { "wait=60", 60 },
    { "wait=61", 60 },
    { "wait=9223372036854775807", 60 },
    { "wait=9223372036854775808", NGX_ERROR },
    { "x=1&WAIT=3&wait=4", 3 }
};


int
main(void)
{
    test_positions();
    test_waits();

    return tap_done();
}


static void
test_positions(void)
{
    size_t                  i;
    ngx_int_t               rc;
    ngx_str_t               args;
    ngx_ws_bus_query_t      q;
    const position_case_t  *c;

    for (i = 0; i < sizeof(positions) / sizeof(positions[0]); i++) {
        c = &positions[i];
        args = copy_of(c->args);

        rc = ngx_ws_bus_query_position(&args, &q);

        tap_ok(rc == c->rc && q.has_last_seq == c->has_last_seq
               && (rc != NGX_OK
                   || (q.has_last == c->has_last
                       && q.has_epoch == c->has_epoch
                       && q.last == c->last && q.last_seq == c->last_seq
                       && (!q.has_epoch || q.epoch == c->epoch))),
               "\"%s\"", c->args);

        free(args.data);
    }
}


static void
test_waits(void)
{
    size_t     i;
    ngx_str_t  args;

    for (i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        args = copy_of(waits[i].args);

        tap_is(ngx_ws_bus_query_wait(&args, 60), waits[i].wait, "\"%s\"",
               waits[i].args);

        free(args.data);
    }
}


/* without a zero byte, for ASan to see a read beyond */

static ngx_str_t
copy_of(const char *text)
{
    ngx_str_t  s;

    s.len = strlen(text);
    s.data = malloc(s.len ? s.len : 1);
    memcpy(s.data, text, s.len);

    return s;
}
