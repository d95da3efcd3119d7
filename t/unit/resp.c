
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_resp.c"

#include "tap.h"


#define MAX_SIZE      (1024 * 1024)
#define MAX_ELEMENTS  4096


typedef struct {
    const char  *name;
    const char  *in;
    const char  *out;       /* as printed, or NULL: refused */
} reply_case_t;


static void test_commands(void);
static void test_replies(void);
static void test_split(void);
static void test_pipeline(void);
static void test_limits(void);
static int endless(const char *start);
static void test_large(void);
static void test_pending(void);
static void test_views(void);
static void test_refusals(void);
static size_t print_reply(char *p, ngx_ws_bus_reply_t *reply);
static const char *read_reply(const char *in, size_t len, size_t step);


static const reply_case_t  replies[] = {

    { "status", "+OK\r\n", "+OK;" },
    { "empty status", "+\r\n", "+;" },
    { "error", "-ERR unknown command\r\n", "-ERR unknown command;" },
    { "integer", ":1000\r\n", ":1000;" },
    { "negative integer", ":-9223372036854775808\r\n",
      ":-9223372036854775808;" },
    { "largest integer", ":9223372036854775807\r\n",
      ":9223372036854775807;" },
    { "string", "$5\r\nhello\r\n", "$5 hello;" },
    { "empty string", "$0\r\n\r\n", "$0 ;" },
    { "string with CR LF", "$4\r\na\r\nb\r\n", "$4 a\r\nb;" },
    { "nil", "$-1\r\n", "_;" },
    { "nil array", "*-1\r\n", "_;" },
    { "empty array", "*0\r\n", "*0;" },
    { "array", "*3\r\n$3\r\nfoo\r\n$-1\r\n:7\r\n", "*3;$3 foo;_;:7;" },
    { "message", "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n",
      "*3;$7 message;$1 c;$2 hi;" },
    { "arrays in an array", "*2\r\n*2\r\n:1\r\n:2\r\n*1\r\n*0\r\n",
      "*2;*2;:1;:2;*1;*0;" },
    { "an error in an array", "*2\r\n+OK\r\n-ERR no\r\n",
      "*2;+OK;-ERR no;" },
    { "seven levels",
      "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:5\r\n",
      "*1;*1;*1;*1;*1;*1;*1;:5;" },

    { "eight levels",
      "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:5\r\n", NULL },
    { "HTTP", "HTTP/1.1 400 Bad Request\r\n", NULL },
    { "TLS", "\x15\x03\x01\x00\x02\x02\x46", NULL },
    { "no type", "\r\n", NULL },
    { "zero byte", "\0", NULL },
    { "length that is none", "$abc\r\n", NULL },
    { "negative length", "$-2\r\n", NULL },
    { "negative count", "*-2\r\n", NULL },
    { "count that is none", "*x\r\n", NULL },
    { "a count beyond the limit", "*4097\r\n", NULL },
    { "a count beyond int", "*4294967296\r\n", NULL },
    { "a count beyond long long", "*99999999999999999999\r\n", NULL },
    { "an element that is none", "*2\r\n:1\r\n?\r\n", NULL },
    { "a push of RESP3", ">1\r\n:1\r\n", NULL },
    { "a map of RESP3", "%1\r\n:1\r\n:2\r\n", NULL },
    { "a double of RESP3", ",1.5\r\n", NULL },
    { "a boolean of RESP3", "#t\r\n", NULL }
};


int
main(void)
{
    test_commands();
    test_replies();
    test_split();
    test_pipeline();
    test_limits();
    test_large();
    test_pending();
    test_views();
    test_refusals();

    return tap_done();
}


static void
test_commands(void)
{
    size_t      size;
    u_char      buf[256], *last;
    ngx_str_t   argv[4];

    static const char  set[] =
        "*4\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\na\r\nb\0c $1\r\n!\r\n"
        "$1\r\n\xff\r\n";

    ngx_str_set(&argv[0], "SET");
    ngx_str_null(&argv[1]);
    ngx_str_set(&argv[2], "a\r\nb\0c $1\r\n!");
    ngx_str_set(&argv[3], "\xff");

    size = ngx_ws_bus_resp_command_size(argv, 4);
    last = ngx_ws_bus_resp_command(buf, argv, 4);

    tap_is(size, sizeof(set) - 1, "size of a command");
    tap_is(last - buf, size, "the size is exact");
    tap_ok(memcmp(buf, set, size) == 0, "a command, any bytes in it");

    argv[0].len = 9;
    tap_is(ngx_ws_bus_resp_command_size(argv, 1), 4 + 4 + 9 + 2, "9 bytes");

    argv[0].len = 10;
    tap_is(ngx_ws_bus_resp_command_size(argv, 1), 4 + 5 + 10 + 2, "10 bytes");

    argv[0].len = 999999;
    tap_is(ngx_ws_bus_resp_command_size(argv, 1), 4 + 9 + 999999 + 2,
           "999999 bytes");
}


static void
test_replies(void)
{
    size_t               i, len;
    const char          *out;
    const reply_case_t  *c;

    for (i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        c = &replies[i];
        len = strlen(c->in);

        out = read_reply(c->in, len ? len : 1, len ? len : 1);

        if (c->out == NULL) {
            tap_ok(out == NULL, "refused: %s", c->name);
            continue;
        }

        if (!tap_ok(out && strcmp(out, c->out) == 0, "%s", c->name)) {
            tap_diag("got %s", out ? out : "an error");
        }
    }
}


static void
test_split(void)
{
    size_t               i, len, step;
    const char          *out;
    const reply_case_t  *c;

    for (i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        c = &replies[i];
        len = strlen(c->in);

        for (step = 1; step < len; step++) {
            out = read_reply(c->in, len, step);

            if (c->out) {
                tap_each(out && strcmp(out, c->out) == 0,
                         "%s, by %d", c->name, (int) step);
            } else {
                tap_each(out == NULL, "%s, by %d", c->name, (int) step);
            }
        }
    }

    tap_all("however it is split");
}


/* one after the other, of many sizes: what is consumed leaves the buffer */

static void
test_pipeline(void)
{
    char                *in, *p;
    size_t               len, at, n, i, want;
    ngx_int_t            rc;
    ngx_ws_bus_resp_t   *resp;
    ngx_ws_bus_reply_t  *reply;

    in = malloc(4 * 1024 * 1024);
    p = in;

    for (i = 0; i < 2000; i++) {
        len = i * 7 % 1500;
        p += sprintf(p, "*2\r\n:%d\r\n$%d\r\n", (int) i, (int) len);
        memset(p, 'a' + i % 26, len);
        p += len;
        *p++ = '\r';
        *p++ = '\n';
    }

    len = p - in;
    want = 0;

    resp = ngx_ws_bus_resp_create(MAX_SIZE, MAX_ELEMENTS);

    for (at = 0; at < len; at += n) {
        n = ngx_min(len - at, 1 + at % 8192);

        tap_each(ngx_ws_bus_resp_feed(resp, (u_char *) in + at, n) == NGX_OK,
                 "fed");

        while ((rc = ngx_ws_bus_resp_next(resp, &reply)) == NGX_OK) {
            i = want * 7 % 1500;

            tap_each(reply->n == 2 && reply->first->integer == (int) want
                     && reply->first->next->str.len == i
                     && (i == 0 || reply->first->next->str.data[i - 1]
                                   == 'a' + want % 26),
                     "reply %d", (int) want);
            want++;
        }

        tap_each(rc == NGX_AGAIN, "wants more");
    }

    tap_each(want == 2000, "all replies came");
    tap_all("a pipeline of 2000 replies");

    ngx_ws_bus_resp_destroy(resp);
    free(in);
}


static void
test_limits(void)
{
    int                  i, rc;
    char                 line[4096];
    ngx_ws_bus_resp_t   *resp;
    ngx_ws_bus_reply_t  *reply;

    /* what is declared is not allocated, what comes is bounded */

    resp = ngx_ws_bus_resp_create(10000, 100);
    memset(line, 'x', sizeof(line));

    ngx_ws_bus_resp_feed(resp, (u_char *) "$2000000000\r\n", 13);
    tap_is(ngx_ws_bus_resp_next(resp, &reply), NGX_AGAIN, "2 GB to come");

    for (i = 0; i < 100; i++) {
        ngx_ws_bus_resp_feed(resp, (u_char *) line, sizeof(line));
        rc = ngx_ws_bus_resp_next(resp, &reply);

        if (rc != NGX_AGAIN) {
            break;
        }
    }

    tap_is(rc, NGX_ERROR, "the limit is passed");
    tap_is(i, 2, "as soon as it is");
    tap_ok(strcmp(ngx_ws_bus_resp_error(resp), "reply is too large") == 0,
           "said so");
    tap_is(ngx_ws_bus_resp_next(resp, &reply), NGX_ERROR, "of no more use");
    tap_is(ngx_ws_bus_resp_feed(resp, (u_char *) "+\r\n", 3), NGX_ERROR,
           "takes no more");
    ngx_ws_bus_resp_destroy(resp);

    /* the limit is of a reply, not of an element */

    resp = ngx_ws_bus_resp_create(10000, 100);
    ngx_ws_bus_resp_feed(resp, (u_char *) "*100\r\n", 6);

    for (i = 0; i < 100; i++) {
        ngx_ws_bus_resp_feed(resp, (u_char *) "$1000\r\n", 7);
        ngx_ws_bus_resp_feed(resp, (u_char *) line, 1000);
        ngx_ws_bus_resp_feed(resp, (u_char *) "\r\n", 2);

        rc = ngx_ws_bus_resp_next(resp, &reply);

        if (rc != NGX_AGAIN) {
            break;
        }
    }

    tap_is(rc, NGX_ERROR, "many elements pass it too");
    tap_is(i, 10, "when they do");
    ngx_ws_bus_resp_destroy(resp);

    /* elements are counted through all levels */

    resp = ngx_ws_bus_resp_create(MAX_SIZE, 100);
    ngx_ws_bus_resp_feed(resp, (u_char *) "*60\r\n", 5);

    for (i = 0; i < 60; i++) {
        ngx_ws_bus_resp_feed(resp, (u_char *) "*1\r\n:1\r\n", 8);
    }

    tap_is(ngx_ws_bus_resp_next(resp, &reply), NGX_ERROR,
           "121 elements are more than 100");
    tap_ok(strcmp(ngx_ws_bus_resp_error(resp), "reply has too many elements")
           == 0, "said so");
    ngx_ws_bus_resp_destroy(resp);

    /* lines without an end */

    tap_is(endless("+"), 16, "a status without an end");
    tap_is(endless("$"), 16, "a length without an end");
    tap_is(endless("*1\r\n:"), 16, "an integer without an end");
}


/* how many blocks of 4k are taken */

static int
endless(const char *start)
{
    int                  i;
    char                 line[4096];
    ngx_ws_bus_resp_t   *resp;
    ngx_ws_bus_reply_t  *reply;

    memset(line, '1', sizeof(line));

    resp = ngx_ws_bus_resp_create(MAX_SIZE, 100);
    ngx_ws_bus_resp_feed(resp, (u_char *) start, strlen(start));

    for (i = 0; i < 100; i++) {
        ngx_ws_bus_resp_feed(resp, (u_char *) line, sizeof(line));

        if (ngx_ws_bus_resp_next(resp, &reply) != NGX_AGAIN) {
            break;
        }
    }

    ngx_ws_bus_resp_destroy(resp);

    return i;
}


static void
test_large(void)
{
    int                  i;
    size_t               size;
    u_char              *data;
    ngx_ws_bus_resp_t   *resp;
    ngx_ws_bus_reply_t  *reply;

    size = 8 * 1024 * 1024;
    data = malloc(size);
    memset(data, 'y', size);

    resp = ngx_ws_bus_resp_create(size, 100);

    /* twice, and a small one: what the large one needed is given back */

    for (i = 0; i < 2; i++) {
        ngx_ws_bus_resp_feed(resp, (u_char *) "$8388608\r\n", 10);
        ngx_ws_bus_resp_feed(resp, data, size);
        ngx_ws_bus_resp_feed(resp, (u_char *) "\r\n", 2);

        tap_is(ngx_ws_bus_resp_next(resp, &reply), NGX_OK, "8 MB");
        tap_ok(reply->str.len == size
               && memcmp(reply->str.data, data, size) == 0, "byte for byte");
    }

    ngx_ws_bus_resp_feed(resp, (u_char *) ":1\r\n", 4);
    tap_is(ngx_ws_bus_resp_next(resp, &reply), NGX_OK, "a small one");
    tap_ok(resp->blocks == NULL || resp->blocks->size < size,
           "without the memory of the large one");

    ngx_ws_bus_resp_destroy(resp);
    free(data);
}


static void
test_pending(void)
{
    ngx_ws_bus_resp_t   *resp;
    ngx_ws_bus_reply_t  *reply;

    resp = ngx_ws_bus_resp_create(MAX_SIZE, MAX_ELEMENTS);

    tap_is(ngx_ws_bus_resp_next(resp, &reply), NGX_AGAIN, "nothing");
    tap_is(ngx_ws_bus_resp_pending(resp), 0, "nothing has begun");

    ngx_ws_bus_resp_feed(resp, (u_char *) ":1\r\n*2\r\n", 8);

    tap_is(ngx_ws_bus_resp_next(resp, &reply), NGX_OK, "one");
    tap_is(ngx_ws_bus_resp_pending(resp), 1, "the next has begun");
    tap_is(ngx_ws_bus_resp_next(resp, &reply), NGX_AGAIN, "an array");
    tap_is(ngx_ws_bus_resp_pending(resp), 1, "it has begun");

    ngx_ws_bus_resp_feed(resp, (u_char *) ":1\r\n:2\r\n", 8);

    tap_is(ngx_ws_bus_resp_next(resp, &reply), NGX_OK, "whole");
    tap_is(ngx_ws_bus_resp_pending(resp), 0, "nothing is left");
    tap_is(ngx_ws_bus_resp_next(resp, &reply), NGX_AGAIN, "nothing");
    tap_is(ngx_ws_bus_resp_pending(resp), 0, "nothing has begun");

    ngx_ws_bus_resp_destroy(resp);
}


static void
test_views(void)
{
    ngx_ws_bus_resp_t   *resp;
    ngx_ws_bus_reply_t  *reply;

    static const char  in[] = "*3\r\n:1\r\n-NOSCRIPT No matching\r\n-ERR\r\n";

    resp = ngx_ws_bus_resp_create(MAX_SIZE, MAX_ELEMENTS);

    ngx_ws_bus_resp_feed(resp, (u_char *) in, sizeof(in) - 1);
    tap_is(ngx_ws_bus_resp_next(resp, &reply), NGX_OK, "an array");

    tap_is(ngx_ws_bus_reply_at(reply, 0)->integer, 1, "element 0");
    tap_ok(ngx_ws_bus_reply_at(reply, 3) == NULL, "no element 3");
    tap_ok(ngx_ws_bus_reply_at(reply->first, 0) == NULL, "no array");

    tap_ok(ngx_ws_bus_reply_is_error(ngx_ws_bus_reply_at(reply, 1),
                                     "NOSCRIPT"), "an error by its code");
    tap_ok(!ngx_ws_bus_reply_is_error(ngx_ws_bus_reply_at(reply, 1), "NOSCR"),
           "not by a part of it");
    tap_ok(ngx_ws_bus_reply_is_error(ngx_ws_bus_reply_at(reply, 2), "ERR"),
           "a code alone");
    tap_ok(!ngx_ws_bus_reply_is_error(reply->first, "ERR"), "no error");

    ngx_ws_bus_resp_destroy(resp);
}


/* a refusal inside of a script, as Redis 6 tells it */

static void
test_refusals(void)
{
    ngx_uint_t           i;
    ngx_ws_bus_resp_t   *resp;
    ngx_ws_bus_reply_t  *reply;

    static const struct {
        const char      *text;
        const char      *code;
        ngx_uint_t       is;
    } cases[] = {
        { "@user_script: 83: -OOM command not allowed", "OOM", 1 },
        { "@user_script: 83: -OOM", "OOM", 1 },
        { "@user_script: 83: -OOMS", "OOM", 0 },
        { "@user_script: 83: -ERR a: -OOM b", "OOM", 0 },
        { "@user_script: 83: -", "OOM", 0 },
        { "@user_script: 83:", "OOM", 0 },
        { "@user_script: ", "OOM", 0 },
        { "ERR Error running script (call to f_0a): @user_script:57: "
          "@user_script: 57: -READONLY You can't", "READONLY", 1 },
        { "ERR Error running script (call to f_0a): @user_script:57: "
          "user_script:57: bad argument", "READONLY", 0 },
        { "ERR Error running script ", "ERR", 1 },
        { "ERR not: -OOM", "OOM", 0 },
        { "READONLY You can't write", "READONLY", 1 },
    };

    resp = ngx_ws_bus_resp_create(MAX_SIZE, MAX_ELEMENTS);

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ngx_ws_bus_resp_feed(resp, (u_char *) "-", 1);
        ngx_ws_bus_resp_feed(resp, (u_char *) cases[i].text,
                             strlen(cases[i].text));
        ngx_ws_bus_resp_feed(resp, (u_char *) "\r\n", 2);

        if (ngx_ws_bus_resp_next(resp, &reply) != NGX_OK) {
            tap_ok(0, cases[i].text);
            break;
        }

        tap_is(ngx_ws_bus_reply_is_error(reply, cases[i].code), cases[i].is,
               cases[i].text);
    }

    ngx_ws_bus_resp_destroy(resp);
}


static size_t
print_reply(char *p, ngx_ws_bus_reply_t *reply)
{
    char                *start;
    ngx_uint_t           n;
    ngx_ws_bus_reply_t  *element;

    start = p;

    switch (reply->type) {

    case NGX_WS_BUS_REPLY_STRING:
        p += sprintf(p, "$%d %.*s;", (int) reply->str.len,
                     (int) reply->str.len, reply->str.data);
        break;

    case NGX_WS_BUS_REPLY_STATUS:
    case NGX_WS_BUS_REPLY_ERROR:
        p += sprintf(p, "%c%.*s;",
                     reply->type == NGX_WS_BUS_REPLY_ERROR ? '-' : '+',
                     (int) reply->str.len, reply->str.data);
        break;

    case NGX_WS_BUS_REPLY_INTEGER:
        p += sprintf(p, ":%lld;", (long long) reply->integer);
        break;

    case NGX_WS_BUS_REPLY_NIL:
        p += sprintf(p, "_;");
        break;

    case NGX_WS_BUS_REPLY_ARRAY:
        p += sprintf(p, "*%d;", (int) reply->n);
        n = 0;

        for (element = reply->first; element; element = element->next) {
            p += print_reply(p, element);
            n++;
        }

        if (n != reply->n) {
            p += sprintf(p, "(%d)", (int) n);
        }

        break;
    }

    return p - start;
}


/* the one reply, printed, or NULL if it is refused */

static const char *
read_reply(const char *in, size_t len, size_t step)
{
    size_t               at, n;
    ngx_int_t            rc;
    ngx_uint_t           replies;
    ngx_ws_bus_resp_t   *resp;
    ngx_ws_bus_reply_t  *reply;

    static char  out[4096];

    resp = ngx_ws_bus_resp_create(MAX_SIZE, MAX_ELEMENTS);
    replies = 0;
    rc = NGX_AGAIN;

    for (at = 0; at < len && rc != NGX_ERROR; at += n) {
        n = ngx_min(step, len - at);

        rc = ngx_ws_bus_resp_feed(resp, (u_char *) in + at, n);

        while (rc == NGX_OK) {
            rc = ngx_ws_bus_resp_next(resp, &reply);

            if (rc == NGX_OK) {
                print_reply(out, reply);
                replies++;
            }
        }
    }

    if (rc == NGX_ERROR && *ngx_ws_bus_resp_error(resp) == '\0') {
        tap_ok(0, "an error without words");
    }

    ngx_ws_bus_resp_destroy(resp);

    if (rc == NGX_ERROR) {
        return NULL;
    }

    return replies == 1 ? out : "not one reply";
}
