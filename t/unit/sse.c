
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_base64.c"
#include "ngx_ws_bus_sse.c"

#include "tap.h"


#define EPOCH       0x0123456789abcdefULL
#define EPOCH_TEXT  "0123456789abcdef"


typedef struct {
    const char  *name;
    const char  *text;
    const char  *event;
} event_case_t;


typedef struct {
    const char  *id;
    ngx_int_t    rc;
    uint64_t     epoch;
    uint64_t     seq;
} id_case_t;


typedef struct {
    const char  *accept;
    ngx_uint_t   accepted;
} accept_case_t;


static void test_events(void);
static void test_kept(void);
static void test_binary(void);
static void test_every_text(void);
static void test_notes(void);
static void test_ids(void);
static void test_accept(void);
static size_t write_event(const ngx_ws_bus_sse_event_t *e, u_char *buf);
static size_t reference(const char *text, size_t len, char *buf);


static const event_case_t  events[] = {
    { "one line", "hello", "data: hello\n\n" },
    { "empty", "", "data: \n\n" },
    { "a space in front", " x", "data:  x\n\n" },
    { "a colon", ":x", "data: :x\n\n" },
    { "two lines, LF", "a\nb", "data: a\ndata: b\n\n" },
    { "two lines, CR", "a\rb", "data: a\ndata: b\n\n" },
    { "two lines, CRLF", "a\r\nb", "data: a\ndata: b\n\n" },
    { "LF CR are two ends", "a\n\rb", "data: a\ndata: \ndata: b\n\n" },
    { "CR CR LF are two ends", "a\r\r\nb", "data: a\ndata: \ndata: b\n\n" },
    { "LF at the end", "a\n", "data: a\ndata: \n\n" },
    { "CR at the end", "a\r", "data: a\ndata: \n\n" },
    { "CRLF at the end", "a\r\n", "data: a\ndata: \n\n" },
    { "LF only", "\n", "data: \ndata: \n\n" },
    { "LF in front", "\na", "data: \ndata: a\n\n" },
    { "what looks like a field", "x\nid: 7\n\nevent: y",
      "data: x\ndata: id: 7\ndata: \ndata: event: y\n\n" },
    { "UTF-8", "\xc3\xa9\n\xe2\x82\xac", "data: \xc3\xa9\ndata: "
      "\xe2\x82\xac\n\n" },

    /* line ends for Unicode, not for an event stream */
    { "NEL and LS", "a\xc2\x85" "b\xe2\x80\xa8" "c",
      "data: a\xc2\x85" "b\xe2\x80\xa8" "c\n\n" }
};


static const id_case_t  ids[] = {
    { EPOCH_TEXT ":42", NGX_OK, EPOCH, 42 },
    { EPOCH_TEXT ":0", NGX_OK, EPOCH, 0 },
    { "ffffffffffffffff:9007199254740991", NGX_OK, (uint64_t) -1,
      9007199254740991ULL },
    { "0000000000000000:1", NGX_OK, 0, 1 },
    { EPOCH_TEXT ":9007199254740992", NGX_DECLINED, 0, 0 },
    { EPOCH_TEXT ":99999999999999999999999", NGX_DECLINED, 0, 0 },
    { EPOCH_TEXT ":", NGX_DECLINED, 0, 0 },
    { EPOCH_TEXT, NGX_DECLINED, 0, 0 },
    { EPOCH_TEXT "x1", NGX_DECLINED, 0, 0 },
    { EPOCH_TEXT ":-1", NGX_DECLINED, 0, 0 },
    { EPOCH_TEXT ":1 ", NGX_DECLINED, 0, 0 },
    { EPOCH_TEXT ": 1", NGX_DECLINED, 0, 0 },
    { EPOCH_TEXT ":1:2", NGX_DECLINED, 0, 0 },
    { "0123456789ABCDEF:1", NGX_DECLINED, 0, 0 },
    { "0123456789abcdeg:1", NGX_DECLINED, 0, 0 },
    { "123456789abcdef:12", NGX_DECLINED, 0, 0 },
    { "00123456789abcdef:1", NGX_DECLINED, 0, 0 },
    { "17", NGX_DECLINED, 0, 0 },
    { "", NGX_DECLINED, 0, 0 }
};


static const accept_case_t  accepts[] = {
    { "text/event-stream", 1 },
    { "Text/Event-Stream", 1 },
    { "text/html, text/event-stream", 1 },
    { "text/event-stream, */*", 1 },
    { "text/html,text/event-stream;q=0.9", 1 },
    { "text/event-stream; q=0.001", 1 },
    { "text/event-stream;charset=utf-8", 1 },
    { "text/event-stream ; q=1", 1 },
    { "text/event-stream;q=", 1 },
    { " \ttext/event-stream\t ", 1 },
    { ",,text/event-stream,", 1 },
    { "text/event-stream;q=0", 0 },
    { "text/event-stream;q=0.0", 0 },
    { "text/event-stream; Q=0.000", 0 },
    { "text/event-stream;x=0; q=0", 0 },
    { "text/event-stream;q=0, text/event-stream", 1 },
    { "*/*", 0 },
    { "text/*", 0 },
    { "", 0 },
    { ",", 0 },
    { "text/event-streams", 0 },
    { "text/event-strea", 0 },
    { "xtext/event-stream", 0 },
    { "text/html;x=text/event-stream", 0 },
    { "text /event-stream", 0 }
};


int
main(void)
{
    test_events();
    test_kept();
    test_binary();
    test_every_text();
    test_notes();
    test_ids();
    test_accept();

    return tap_done();
}


static void
test_events(void)
{
    size_t                  i, len;
    u_char                  buf[512];
    ngx_ws_bus_sse_event_t  e;

    for (i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        ngx_memzero(&e, sizeof(e));

        e.payload.data = (u_char *) events[i].text;
        e.payload.len = strlen(events[i].text);

        len = write_event(&e, buf);

        if (!tap_ok(len == strlen(events[i].event)
                    && memcmp(buf, events[i].event, len) == 0,
                    "event: %s", events[i].name))
        {
            tap_diag("got %.*s", (int) len, (char *) buf);
        }
    }
}


static void
test_kept(void)
{
    size_t                  len;
    u_char                  buf[512];
    ngx_ws_bus_sse_event_t  e;

    ngx_memzero(&e, sizeof(e));

    e.epoch = EPOCH;
    e.payload.data = (u_char *) "x";
    e.payload.len = 1;

    e.seq = 1234567890123ULL;
    len = write_event(&e, buf);
    buf[len] = '\0';

    tap_ok(strcmp((char *) buf, "id: " EPOCH_TEXT ":1234567890123\n"
                                "data: x\n\n") == 0, "a kept message's id");

    e.seq = 0;
    len = write_event(&e, buf);
    buf[len] = '\0';

    tap_ok(strcmp((char *) buf, "data: x\n\n") == 0, "no id if not kept");
}


static void
test_binary(void)
{
    size_t                  len;
    u_char                  buf[512];
    ngx_ws_bus_sse_event_t  e;

    ngx_memzero(&e, sizeof(e));

    e.epoch = EPOCH;
    e.seq = 9;
    e.binary = 1;
    e.payload.data = (u_char *) "\0\n\xff\r";
    e.payload.len = 4;

    len = write_event(&e, buf);
    buf[len] = '\0';

    tap_ok(strcmp((char *) buf, "id: " EPOCH_TEXT ":9\nevent: binary\n"
                                "data: AAr/DQ==\n\n") == 0, "binary");

    e.payload.len = 0;
    e.seq = 0;

    len = write_event(&e, buf);
    buf[len] = '\0';

    tap_ok(strcmp((char *) buf, "event: binary\ndata: \n\n") == 0,
           "binary, empty");
}


/*
 * All texts of up to 7 characters, of which two can end a line.
 */

static void
test_every_text(void)
{
    char                    text[8], want[128];
    size_t                  i, len, size, n, digits;
    u_char                  buf[512];
    ngx_ws_bus_sse_event_t  e;

    for (len = 0; len <= 7; len++) {

        n = 1;

        for (i = 0; i < len; i++) {
            n *= 4;
        }

        while (n--) {
            digits = n;

            for (i = 0; i < len; i++) {
                text[i] = "a\n\r:"[digits % 4];
                digits /= 4;
            }

            ngx_memzero(&e, sizeof(e));

            e.payload.data = (u_char *) text;
            e.payload.len = len;

            size = write_event(&e, buf);

            tap_each(size == reference(text, len, want)
                     && memcmp(buf, want, size) == 0,
                     "text %zu of length %zu", n, len);
        }
    }

    tap_all("every text");
}


/*
 * What a client sees as line ends becomes LF first.
 */

static size_t
reference(const char *text, size_t len, char *buf)
{
    char    *p;
    size_t   i;

    p = buf + sprintf(buf, "data: ");

    for (i = 0; i < len; i++) {

        if (text[i] == '\n' && i && text[i - 1] == '\r') {
            continue;
        }

        if (text[i] == '\n' || text[i] == '\r') {
            p += sprintf(p, "\ndata: ");
            continue;
        }

        *p++ = text[i];
    }

    p += sprintf(p, "\n\n");

    return p - buf;
}


static size_t
write_event(const ngx_ws_bus_sse_event_t *e, u_char *buf)
{
    size_t   size;
    u_char  *p;

    size = ngx_ws_bus_sse_event_size(e);

    /* of its exact size, for a byte too much to be noticed */

    p = malloc(size);

    if (p == NULL || ngx_ws_bus_sse_event(p, e) != p + size) {
        tap_ok(0, "the size is exact");
        exit(1);
    }

    memcpy(buf, p, size);
    free(p);

    return size;
}


static void
test_notes(void)
{
    u_char  buf[NGX_WS_BUS_SSE_MAX], *last;

    last = ngx_ws_bus_sse_position(buf, EPOCH, 7);

    tap_ok(last - buf == sizeof("id: " EPOCH_TEXT ":7\n\n") - 1
           && memcmp(buf, "id: " EPOCH_TEXT ":7\n\n", last - buf) == 0,
           "a position");

    last = ngx_ws_bus_sse_gap(buf, EPOCH, 3, 12);
    *last = '\0';

    tap_ok(strcmp((char *) buf, "id: " EPOCH_TEXT ":12\nevent: gap\n"
                                "data: {\"from\":3,\"to\":12}\n\n") == 0,
           "a gap");

    last = ngx_ws_bus_sse_gap(buf, (uint64_t) -1, (uint64_t) -1,
                              (uint64_t) -1);

    tap_ok(last - buf <= NGX_WS_BUS_SSE_MAX, "the longest gap fits");

    last = ngx_ws_bus_sse_comment(buf, "ping");
    *last = '\0';

    tap_ok(strcmp((char *) buf, ": ping\n\n") == 0, "a comment");
}


static void
test_ids(void)
{
    size_t     i;
    u_char    *data;
    uint64_t   epoch, seq;
    ngx_int_t  rc;
    ngx_str_t  id;

    for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        id.len = strlen(ids[i].id);

        data = malloc(id.len + 1);
        id.data = memcpy(data, ids[i].id, id.len);

        epoch = 0;
        seq = 0;

        rc = ngx_ws_bus_sse_id(&id, &epoch, &seq);

        tap_ok(rc == ids[i].rc
               && (rc != NGX_OK || (epoch == ids[i].epoch
                                    && seq == ids[i].seq)),
               "id \"%s\"", ids[i].id);

        free(data);
    }
}


static void
test_accept(void)
{
    size_t     i;
    ngx_str_t  accept;

    for (i = 0; i < sizeof(accepts) / sizeof(accepts[0]); i++) {
        accept.data = (u_char *) accepts[i].accept;
        accept.len = strlen(accepts[i].accept);

        tap_is(ngx_ws_bus_sse_accepted(&accept), accepts[i].accepted,
               "Accept: \"%s\"", accepts[i].accept);
    }
}
