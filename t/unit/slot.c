
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_slot.c"

#include "tap.h"


/* the reader of replies is tested elsewhere: a list is all that it makes */

ngx_ws_bus_reply_t *
ngx_ws_bus_reply_at(const ngx_ws_bus_reply_t *reply, ngx_uint_t i)
{
    ngx_ws_bus_reply_t  *element;

    if (reply->type != NGX_WS_BUS_REPLY_ARRAY) {
        return NULL;
    }

    for (element = reply->first; element && i; i--) {
        element = element->next;
    }

    return element;
}


typedef struct {
    const char  *text;
    ngx_uint_t   slot;
} slot_case_t;


typedef struct {
    const char                  *text;
    ngx_int_t                    rc;
    ngx_ws_bus_slot_redirect_e   type;
    ngx_uint_t                   slot;
    const char                  *host;
    in_port_t                    port;
} redirect_case_t;


static uint16_t reference(const u_char *p, size_t len);
static ngx_ws_bus_reply_t *integer(int64_t n);
static ngx_ws_bus_reply_t *string(const char *text);
static ngx_ws_bus_reply_t *array(ngx_uint_t n, ...);
static void release(ngx_ws_bus_reply_t *reply);
static void test_known(void);
static void test_crc(void);
static void test_redirect(void);
static void test_range(void);
static void test_bad_range(void);


/* by CLUSTER KEYSLOT of a server */

static const slot_case_t  slots[] = {
    { "", 0 },
    { "123456789", 12739 },
    { "foo", 12182 },
    { "{foo}", 12182 },
    { "ws_bus:{foo}:log", 12182 },
    { "a{foo}{bar}", 12182 },
    { "foo{}", 5542 },
    { "foo{}{bar}", 8363 },
    { "foo{bar", 15278 },
    { "{{foo}", 13308 },
};


static const redirect_case_t  redirects[] = {
    { "MOVED 3999 127.0.0.1:6381", NGX_OK, NGX_WS_BUS_SLOT_MOVED, 3999,
      "127.0.0.1", 6381 },
    { "ASK 16383 redis-2.example:7000", NGX_OK, NGX_WS_BUS_SLOT_ASK, 16383,
      "redis-2.example", 7000 },
    { "MOVED 0 ::1:6379", NGX_OK, NGX_WS_BUS_SLOT_MOVED, 0, "::1", 6379 },
    { "MOVED 1 :6379", NGX_OK, NGX_WS_BUS_SLOT_MOVED, 1, "", 6379 },
    { "MOVED 1 ?:6379", NGX_OK, NGX_WS_BUS_SLOT_MOVED, 1, "", 6379 },
    { "MOVED 1 a:65535", NGX_OK, NGX_WS_BUS_SLOT_MOVED, 1, "a", 65535 },
    { "MOVED 16384 a:1", NGX_DECLINED, 0, 0, NULL, 0 },
    { "MOVED 1 a:65536", NGX_DECLINED, 0, 0, NULL, 0 },
    { "MOVED 1 a:0", NGX_DECLINED, 0, 0, NULL, 0 },
    { "MOVED 1 a:", NGX_DECLINED, 0, 0, NULL, 0 },
    { "MOVED 1 a:1 ", NGX_DECLINED, 0, 0, NULL, 0 },
    { "MOVED 1 a", NGX_DECLINED, 0, 0, NULL, 0 },
    { "MOVED 1 ", NGX_DECLINED, 0, 0, NULL, 0 },
    { "MOVED 1", NGX_DECLINED, 0, 0, NULL, 0 },
    { "MOVED  1 a:1", NGX_DECLINED, 0, 0, NULL, 0 },
    { "MOVED -1 a:1", NGX_DECLINED, 0, 0, NULL, 0 },
    { "MOVED 99999999999999999999 a:1", NGX_DECLINED, 0, 0, NULL, 0 },
    { "MOVED ", NGX_DECLINED, 0, 0, NULL, 0 },
    { "MOVED", NGX_DECLINED, 0, 0, NULL, 0 },
    { "ASK ", NGX_DECLINED, 0, 0, NULL, 0 },
    { "ASKING 1 a:1", NGX_DECLINED, 0, 0, NULL, 0 },
    { "moved 1 a:1", NGX_DECLINED, 0, 0, NULL, 0 },
    { "CLUSTERDOWN Hash slot not served", NGX_DECLINED, 0, 0, NULL, 0 },
    { "", NGX_DECLINED, 0, 0, NULL, 0 },
};


static uint16_t
reference(const u_char *p, size_t len)
{
    int       i;
    uint16_t  crc;

    crc = 0;

    while (len--) {
        crc ^= (uint16_t) (*p++ << 8);

        for (i = 0; i < 8; i++) {
            crc = (uint16_t) ((crc & 0x8000) ? (crc << 1) ^ 0x1021
                                             : crc << 1);
        }
    }

    return crc;
}


static ngx_ws_bus_reply_t *
integer(int64_t n)
{
    ngx_ws_bus_reply_t  *reply;

    reply = calloc(1, sizeof(ngx_ws_bus_reply_t));
    reply->type = NGX_WS_BUS_REPLY_INTEGER;
    reply->integer = n;

    return reply;
}


static ngx_ws_bus_reply_t *
string(const char *text)
{
    ngx_ws_bus_reply_t  *reply;

    reply = calloc(1, sizeof(ngx_ws_bus_reply_t));

    if (text == NULL) {
        reply->type = NGX_WS_BUS_REPLY_NIL;
        return reply;
    }

    reply->type = NGX_WS_BUS_REPLY_STRING;
    reply->str.data = (u_char *) text;
    reply->str.len = strlen(text);

    return reply;
}


static ngx_ws_bus_reply_t *
array(ngx_uint_t n, ...)
{
    va_list               args;
    ngx_ws_bus_reply_t   *reply, **last;

    reply = calloc(1, sizeof(ngx_ws_bus_reply_t));
    reply->type = NGX_WS_BUS_REPLY_ARRAY;
    reply->n = n;

    last = &reply->first;

    va_start(args, n);

    while (n--) {
        *last = va_arg(args, ngx_ws_bus_reply_t *);
        last = &(*last)->next;
    }

    va_end(args);

    return reply;
}


static void
release(ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_reply_t  *next;

    for ( /* void */ ; reply; reply = next) {
        next = reply->next;

        release(reply->first);
        free(reply);
    }
}


static void
test_known(void)
{
    size_t     i;
    ngx_str_t  key;

    for (i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
        key.data = (u_char *) slots[i].text;
        key.len = strlen(slots[i].text);

        tap_is(ngx_ws_bus_slot(&key), slots[i].slot, "slot of \"%s\"",
               slots[i].text);
    }
}


static void
test_crc(void)
{
    u_char     buf[64];
    size_t     i, j;
    ngx_str_t  key;

    key.data = buf;

    for (i = 0; i < 4096; i++) {
        key.len = i % sizeof(buf);

        for (j = 0; j < key.len; j++) {
            buf[j] = (u_char) (i * 31 + j * 17 + (i >> 5));

            if (buf[j] == '{') {
                buf[j] = 0;
            }
        }

        tap_each(ngx_ws_bus_slot(&key)
                 == reference(buf, key.len) % NGX_WS_BUS_SLOTS,
                 "key %zu", i);
    }

    tap_all("slots are a CRC16 bit by bit");
}


static void
test_redirect(void)
{
    u_char                      *copy;
    size_t                       i;
    ngx_int_t                    rc;
    ngx_str_t                    error;
    const redirect_case_t       *c;
    ngx_ws_bus_slot_redirect_t   r;

    for (i = 0; i < sizeof(redirects) / sizeof(redirects[0]); i++) {
        c = &redirects[i];

        /* memory of its own size, for the sanitizer */

        error.len = strlen(c->text);
        copy = malloc(error.len + !error.len);
        memcpy(copy, c->text, error.len);
        error.data = copy;

        rc = ngx_ws_bus_slot_redirect(&error, &r);

        tap_ok(rc == c->rc
               && (rc != NGX_OK
                   || (r.type == c->type && r.slot == c->slot
                       && r.port == c->port && r.host.len == strlen(c->host)
                       && memcmp(r.host.data, c->host, r.host.len) == 0)),
               "redirect \"%s\"", c->text);

        free(copy);
    }
}


static void
test_range(void)
{
    ngx_ws_bus_reply_t       *answer, *element;
    ngx_ws_bus_slot_range_t   range;

    answer = array(3,
                   array(4, integer(0), integer(5460),
                         array(4, string("127.0.0.1"), integer(7000),
                               string("id"), array(0)),
                         array(2, string("127.0.0.1"), integer(7003))),
                   array(3, integer(5461), integer(5461),
                         array(2, string(NULL), integer(7001))),
                   array(3, integer(5462), integer(16383),
                         array(2, string("?"), integer(65535))));

    element = answer->first;

    tap_ok(ngx_ws_bus_slot_range(&element, &range) == NGX_OK
           && range.first == 0 && range.last == 5460 && range.port == 7000
           && range.host.len == 9
           && memcmp(range.host.data, "127.0.0.1", 9) == 0,
           "a range with replicas and metadata");

    tap_ok(ngx_ws_bus_slot_range(&element, &range) == NGX_OK
           && range.first == 5461 && range.last == 5461
           && range.port == 7001 && range.host.len == 0,
           "a single slot of a node without an address");

    tap_ok(ngx_ws_bus_slot_range(&element, &range) == NGX_OK
           && range.first == 5462 && range.last == 16383
           && range.port == 65535 && range.host.len == 0,
           "an unknown host");

    tap_is(ngx_ws_bus_slot_range(&element, &range), NGX_DONE, "the end");
    tap_is(ngx_ws_bus_slot_range(&element, &range), NGX_DONE, "and again");

    release(answer);
}


static void
test_bad_range(void)
{
    size_t                    i;
    ngx_ws_bus_reply_t       *element;
    ngx_ws_bus_slot_range_t   range;

    ngx_ws_bus_reply_t  *bad[] = {
        integer(1),
        array(0),
        array(2, integer(0), integer(1)),
        array(3, integer(0), integer(1), integer(2)),
        array(3, integer(0), integer(1), array(0)),
        array(3, integer(0), integer(1), array(1, string("a"))),
        array(3, integer(0), integer(1), array(2, string("a"), string("1"))),
        array(3, integer(0), integer(1), array(2, string("a"), integer(0))),
        array(3, integer(0), integer(1),
              array(2, string("a"), integer(65536))),
        array(3, integer(0), integer(1), array(2, integer(1), integer(1))),
        array(3, integer(-1), integer(1), array(2, string("a"), integer(1))),
        array(3, integer(2), integer(1), array(2, string("a"), integer(1))),
        array(3, integer(0), integer(16384),
              array(2, string("a"), integer(1))),
        array(3, string("0"), integer(1), array(2, string("a"), integer(1))),
        array(3, integer(0), string("1"), array(2, string("a"), integer(1))),
    };

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        element = bad[i];

        tap_is(ngx_ws_bus_slot_range(&element, &range), NGX_ERROR,
               "a bad range, %zu", i);

        release(bad[i]);
    }
}


int
main(void)
{
    test_known();
    test_crc();
    test_redirect();
    test_range();
    test_bad_range();

    return tap_done();
}
