
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_handshake.c"
#include "ngx_ws_bus_json.c"
#include "ngx_ws_bus_base64.c"
#include "ngx_ws_bus_message.c"
#include "ngx_ws_bus_message_write.c"

#include "tap.h"


/* bytes of a literal, null characters among them, and their number */

#define T(text)      text, sizeof(text) - 1

#define S(text)      { sizeof(text) - 1, (u_char *) text }

#define EPOCH        0x0123456789abcdefULL
#define UINT64_LAST  0xffffffffffffffffULL


typedef struct {
    const char            *text;
    ngx_ws_bus_request_t   want;
} request_case_t;


typedef struct {
    const char            *text;
    const char            *reason;
    const char            *id;
} error_case_t;


typedef struct {
    const char            *text;
    size_t                 len;
    const char            *encoded;
} base64_case_t;


static ngx_int_t parse(const char *text, size_t len, ngx_ws_bus_request_t *m,
    const ngx_ws_bus_message_error_t **error);
static int same(const ngx_str_t *s, const ngx_str_t *want);
static int same_text(u_char *p, u_char *last, const char *want);
static const char *reason_of(const char *fmt, const char *name);
static void test_requests(void);
static void test_errors(void);
static void test_missing(void);
static void test_repeated(void);
static void test_ignored(void);
static void test_wrong_types(void);
static void test_ids(void);
static void test_channels(void);
static void test_keys(void);
static void test_numbers(void);
static void test_data(void);
static void test_prefixes(void);
static void test_untouched(void);
static void test_base64(void);
static void test_base64_strict(void);
static void test_base64_random(void);
static void test_epoch(void);
static void test_codes(void);
static void test_writers(void);
static void test_write_errors(void);
static void test_envelopes(void);
static void test_lists(void);
static void test_bounds(void);
static void test_round_trip(void);


/* the memory of the last message parsed */

static u_char  *message;

static const char *const  types[] = {
    "auth", "auth_refresh", "subscribe", "unsubscribe", "publish", "ack",
    "history", "presence"
};


static const request_case_t  requests[] = {

    { "{\"type\":\"auth\",\"id\":1,\"token\":\"eyJ.e30.x\"}",
      { .type = NGX_WS_BUS_REQUEST_AUTH, .id = S("1"),
        .token = S("eyJ.e30.x") } },
    { "{\"type\":\"auth_refresh\",\"id\":2,\"token\":\"\"}",
      { .type = NGX_WS_BUS_REQUEST_AUTH_REFRESH, .id = S("2") } },
    { "{\"token\":\"a\\/b\\u002e\",\"type\":\"auth_refresh\"}",
      { .type = NGX_WS_BUS_REQUEST_AUTH_REFRESH, .token = S("a/b.") } },

    { "{\"type\":\"subscribe\",\"id\":3,\"channel\":\"c\",\"epoch\":\"e\","
      "\"seq\":41}",
      { .type = NGX_WS_BUS_REQUEST_SUBSCRIBE, .id = S("3"),
        .channel = S("c"), .epoch = S("e"), .seq = 41, .has_seq = 1 } },
    { "{\"type\":\"subscribe\",\"channel\":\"c\"}",
      { .type = NGX_WS_BUS_REQUEST_SUBSCRIBE, .channel = S("c") } },
    { "{\"type\":\"subscribe\",\"channel\":\"c\",\"seq\":0,\"epoch\":\"\"}",
      { .type = NGX_WS_BUS_REQUEST_SUBSCRIBE, .channel = S("c"),
        .has_seq = 1 } },
    { "{\"type\":\"subscribe\",\"channel\":\"c\",\"from\":\"ack\"}",
      { .type = NGX_WS_BUS_REQUEST_SUBSCRIBE, .channel = S("c"),
        .from_ack = 1 } },
    { "{\"type\":\"subscribe\",\"channel\":\"c\",\"from\":\"\\u0061ck\"}",
      { .type = NGX_WS_BUS_REQUEST_SUBSCRIBE, .channel = S("c"),
        .from_ack = 1 } },
    { " { \"type\" : \"subscribe\" ,\r\n\t\"channel\" : \"a b\\u0000c\" ,"
      "\"channel2\":1, \"Channel\" : \"x\" , \"channe\\u006c\" : \"y\" } ",
      { .type = 255 } },
    { " { \"type\" : \"subscribe\" ,\r\n\t\"channel2\":1, \"Channel\" : 2 ,"
      "\"channe\\u006c\" : \"\\u00e4/\\ud83d\\ude39\" } ",
      { .type = NGX_WS_BUS_REQUEST_SUBSCRIBE,
        .channel = S("\xc3\xa4/\xf0\x9f\x98\xb9") } },

    { "{\"type\":\"unsubscribe\",\"id\":4,\"channel\":\"c\"}",
      { .type = NGX_WS_BUS_REQUEST_UNSUBSCRIBE, .id = S("4"),
        .channel = S("c") } },

    { "{\"type\":\"publish\",\"id\":5,\"channel\":\"c\",\"data\":{\"a\": 1 }}",
      { .type = NGX_WS_BUS_REQUEST_PUBLISH, .id = S("5"), .channel = S("c"),
        .kind = NGX_WS_BUS_PAYLOAD_DATA, .payload = S("{\"a\": 1 }") } },
    { "{\"type\":\"publish\",\"channel\":\"c\",\"data\":null}",
      { .type = NGX_WS_BUS_REQUEST_PUBLISH, .channel = S("c"),
        .kind = NGX_WS_BUS_PAYLOAD_DATA, .payload = S("null") } },
    { "{\"type\":\"publish\",\"channel\":\"c\",\"data\":\"a\\u0062\"}",
      { .type = NGX_WS_BUS_REQUEST_PUBLISH, .channel = S("c"),
        .kind = NGX_WS_BUS_PAYLOAD_DATA, .payload = S("\"a\\u0062\"") } },
    { "{\"type\":\"publish\",\"channel\":\"c\",\"text\":\"a\\u0062\\u0000\"}",
      { .type = NGX_WS_BUS_REQUEST_PUBLISH, .channel = S("c"),
        .kind = NGX_WS_BUS_PAYLOAD_TEXT, .payload = S("ab\0") } },
    { "{\"type\":\"publish\",\"channel\":\"c\",\"text\":\"\"}",
      { .type = NGX_WS_BUS_REQUEST_PUBLISH, .channel = S("c"),
        .kind = NGX_WS_BUS_PAYLOAD_TEXT } },
    { "{\"type\":\"publish\",\"channel\":\"c\",\"base64\":\"AP8\\/\"}",
      { .type = NGX_WS_BUS_REQUEST_PUBLISH, .channel = S("c"),
        .kind = NGX_WS_BUS_PAYLOAD_BASE64, .payload = S("\0\xff\x3f") } },
    { "{\"type\":\"publish\",\"channel\":\"c\",\"base64\":\"\"}",
      { .type = NGX_WS_BUS_REQUEST_PUBLISH, .channel = S("c"),
        .kind = NGX_WS_BUS_PAYLOAD_BASE64 } },
    { "{\"data\":[],\"key\":\"k\\u00e4\",\"channel\":\"c\","
      "\"type\":\"p\\u0075blish\",\"id\":\"\\u0041\"}",
      { .type = NGX_WS_BUS_REQUEST_PUBLISH, .id = S("\"\\u0041\""),
        .channel = S("c"), .key = S("k\xc3\xa4"),
        .kind = NGX_WS_BUS_PAYLOAD_DATA, .payload = S("[]") } },

    { "{\"type\":\"ack\",\"channel\":\"c\",\"seq\":58}",
      { .type = NGX_WS_BUS_REQUEST_ACK, .channel = S("c"), .seq = 58,
        .has_seq = 1 } },

    { "{\"type\":\"history\",\"id\":6,\"channel\":\"c\",\"seq\":10,"
      "\"limit\":50}",
      { .type = NGX_WS_BUS_REQUEST_HISTORY, .id = S("6"), .channel = S("c"),
        .seq = 10, .has_seq = 1, .limit = 50, .has_limit = 1 } },
    { "{\"type\":\"history\",\"channel\":\"c\",\"limit\":0}",
      { .type = NGX_WS_BUS_REQUEST_HISTORY, .channel = S("c"),
        .has_limit = 1 } },
    { "{\"type\":\"history\",\"channel\":\"c\"}",
      { .type = NGX_WS_BUS_REQUEST_HISTORY, .channel = S("c") } },

    { "{\"type\":\"presence\",\"id\":7,\"channel\":\"c\"}",
      { .type = NGX_WS_BUS_REQUEST_PRESENCE, .id = S("7"),
        .channel = S("c") } }
};


static const error_case_t  errors[] = {

    { "", "not a JSON object", NULL },
    { "   ", "not a JSON object", NULL },
    { "hello", "not a JSON object", NULL },
    { "[]", "not a JSON object", NULL },
    { "\"type\"", "not a JSON object", NULL },
    { "1", "not a JSON object", NULL },

    { "{", "not valid JSON, or more than 64 levels deep", NULL },
    { "{]", "not valid JSON, or more than 64 levels deep", NULL },
    { "{\"id\":1", "not valid JSON, or more than 64 levels deep", "1" },
    { "{\"id\":1}x", "not valid JSON, or more than 64 levels deep", "1" },
    { "{\"id\":1,\"type\":subscribe}",
      "not valid JSON, or more than 64 levels deep", "1" },
    { "{\"type\":\"ack\",\"id\":\"x\",\"seq\":01}",
      "not valid JSON, or more than 64 levels deep", "\"x\"" },
    { "{\"type\":subscribe,\"id\":1}",
      "not valid JSON, or more than 64 levels deep", NULL },
    { "{\"id\":[1],\"type\":x}",
      "not valid JSON, or more than 64 levels deep", NULL },

    { "{}", "\"type\" is missing", NULL },
    { "{\"id\":7}", "\"type\" is missing", "7" },
    { "{\"type\":\"\",\"id\":1}", "\"type\" is not the name of a request",
      "1" },
    { "{\"type\":\"Auth\",\"id\":1}", "\"type\" is not the name of a request",
      "1" },
    { "{\"type\":\"ping\",\"id\":1}", "\"type\" is not the name of a request",
      "1" },
    { "{\"type\":\"message\",\"channel\":\"c\",\"seq\":58,\"data\":{}}",
      "\"type\" is not the name of a request", NULL },
    { "{\"type\":\"subscribed\"}", "\"type\" is not the name of a request",
      NULL },
    { "{\"type\":1,\"id\":\"a\"}", "\"type\" is not the name of a request",
      "\"a\"" },
    { "{\"type\":\"ack\\ud800\"}", "\"type\" is not the name of a request",
      NULL },
    { "{\"type\":\"ack\",\"typ\\u0065\":\"ack\",\"id\":0}",
      "\"type\" is there more than once", "0" },

    { "{\"type\":\"subscribe\",\"id\":1,\"channel\":\"c\",\"seq\":1}",
      "\"epoch\" is missing", "1" },
    { "{\"type\":\"subscribe\",\"id\":1,\"channel\":\"c\",\"epoch\":\"e\"}",
      "\"seq\" is missing", "1" },
    { "{\"type\":\"subscribe\",\"id\":1,\"channel\":\"c\",\"from\":\"ack\","
      "\"seq\":1,\"epoch\":\"e\"}",
      "\"from\" excludes \"seq\" and \"epoch\"", "1" },
    { "{\"type\":\"subscribe\",\"id\":1,\"channel\":\"c\",\"from\":\"ack\","
      "\"seq\":1}",
      "\"from\" excludes \"seq\" and \"epoch\"", "1" },
    { "{\"type\":\"subscribe\",\"id\":1,\"channel\":\"c\",\"from\":\"ack\","
      "\"epoch\":\"e\"}",
      "\"from\" excludes \"seq\" and \"epoch\"", "1" },
    { "{\"type\":\"subscribe\",\"id\":1,\"channel\":\"c\",\"from\":\"acks\"}",
      "\"from\" is not \"ack\"", "1" },
    { "{\"type\":\"subscribe\",\"id\":1,\"channel\":\"c\",\"from\":\"\"}",
      "\"from\" is not \"ack\"", "1" },
    { "{\"type\":\"subscribe\",\"id\":1,\"channel\":\"c\",\"seq\":1,"
      "\"epoch\":\"\\ud800\"}", "\"epoch\" is not a string", "1" },

    { "{\"type\":\"publish\",\"id\":1,\"channel\":\"c\"}",
      "\"data\", \"text\" or \"base64\" is missing", "1" },
    { "{\"type\":\"publish\",\"id\":1,\"channel\":\"c\",\"data\":1,"
      "\"text\":\"\"}",
      "only one of \"data\", \"text\", \"base64\" is possible", "1" },
    { "{\"type\":\"publish\",\"id\":1,\"channel\":\"c\",\"data\":1,"
      "\"base64\":\"\"}",
      "only one of \"data\", \"text\", \"base64\" is possible", "1" },
    { "{\"type\":\"publish\",\"id\":1,\"channel\":\"c\",\"text\":\"\","
      "\"base64\":\"\"}",
      "only one of \"data\", \"text\", \"base64\" is possible", "1" },
    { "{\"type\":\"publish\",\"id\":1,\"channel\":\"c\",\"text\":\"\","
      "\"base64\":\"\",\"data\":1}",
      "only one of \"data\", \"text\", \"base64\" is possible", "1" },
    { "{\"type\":\"publish\",\"id\":1,\"channel\":\"c\","
      "\"text\":\"\\ud800\"}", "\"text\" is not a string", "1" },
    { "{\"type\":\"publish\",\"id\":1,\"channel\":\"c\","
      "\"base64\":\"AA=\"}", "\"base64\" is not a string of base64", "1" },
    { "{\"type\":\"publish\",\"id\":1,\"channel\":\"c\","
      "\"base64\":\"A\\udc00\"}", "\"base64\" is not a string of base64",
      "1" },

    { "{\"type\":\"auth\",\"id\":1,\"token\":\"\\udfff\"}",
      "\"token\" is not a string", "1" }
};


static const base64_case_t  encodings[] = {

    /* RFC 4648, 10 */
    { T(""), "" },
    { T("f"), "Zg==" },
    { T("fo"), "Zm8=" },
    { T("foo"), "Zm9v" },
    { T("foob"), "Zm9vYg==" },
    { T("fooba"), "Zm9vYmE=" },
    { T("foobar"), "Zm9vYmFy" },

    { T("\0"), "AA==" },
    { T("\0\0"), "AAA=" },
    { T("\0\0\0"), "AAAA" },
    { T("\xff"), "/w==" },
    { T("\xff\xff"), "//8=" },
    { T("\xff\xff\xff"), "////" },
    { T("\xfb\xef\xbe"), "++++" }
};


static const char *const  not_base64[] = {
    "Z", "Zg", "Zg=", "Zm8", "Zm9vY", "Zm9vYg=", "=", "==", "===", "====",
    "Z===", "Zg==Zg==", "Zm8=Zm8=", "Zg==\n", "\nZg==", "Zm9v\n", "Zm 9v",
    " Zm9", "Zm9 ", "Z=g=", "=Zg=", "=Zm9", "Zm=9", "Zg=v", "Zh==", "Zv==",
    "Zm9=", "Zm/=", "-_-_", "Zm9-", "Zm9_", "Zm9.", "Zm9\x80", "\xc3\xa4Zm",
    "Zm9v====", "Zm9v=", "Zm9v==", "Zm9v===", "!!!!", "Zm9:", "Zm9@", "Zm9[",
    "Zm9`", "Zm9{", "Zm9,"
};


int
main(void)
{
    test_requests();
    test_errors();
    test_missing();
    test_repeated();
    test_ignored();
    test_wrong_types();

    test_ids();
    test_channels();
    test_keys();
    test_numbers();
    test_data();

    test_prefixes();
    test_untouched();

    test_base64();
    test_base64_strict();
    test_base64_random();

    test_epoch();
    test_codes();

    test_writers();
    test_write_errors();
    test_envelopes();
    test_lists();
    test_bounds();
    test_round_trip();

    free(message);

    return tap_done();
}


/* the message is in memory of its own size, for ASan to see a read beyond */

static ngx_int_t
parse(const char *text, size_t len, ngx_ws_bus_request_t *m,
    const ngx_ws_bus_message_error_t **error)
{
    ngx_int_t  rc;
    ngx_str_t  id;

    free(message);
    message = malloc(len ? len : 1);

    if (message == NULL) {
        abort();
    }

    ngx_memcpy(message, text, len);

    *error = NULL;
    ngx_memset(m, 0xff, sizeof(ngx_ws_bus_request_t));

    ngx_ws_bus_message_id(message, len, &id);

    tap_each(len == 0 || ngx_memcmp(message, text, len) == 0,
             "looking for an id changes nothing in %.*s", (int) len, text);

    rc = ngx_ws_bus_message_parse(message, len, m, error);

    tap_each(id.len == m->id.len && (id.len == 0 || id.data == m->id.data),
             "no other id in %.*s", (int) len, text);

    /* an error is a bad_request, with whatever reason */

    if (rc != NGX_OK) {
        tap_each(rc == NGX_ERROR && *error
                 && (*error)->code.len == sizeof("bad_request") - 1
                 && ngx_memcmp((*error)->code.data, "bad_request",
                               sizeof("bad_request") - 1) == 0,
                 "code of the error in %.*s", (int) len, text);

    } else {
        tap_each(*error == NULL, "no error in %.*s", (int) len, text);
    }

    return rc;
}


static int
same(const ngx_str_t *s, const ngx_str_t *want)
{
    return s->len == want->len
           && (s->len == 0 || ngx_memcmp(s->data, want->data, s->len) == 0);
}


static int
same_text(u_char *p, u_char *last, const char *want)
{
    size_t  len;

    len = last - p;

    if (len == strlen(want) && ngx_memcmp(p, want, len) == 0) {
        return 1;
    }

    tap_diag("got      %.*s", (int) len, p);
    tap_diag("expected %s", want);

    return 0;
}


static const char *
reason_of(const char *fmt, const char *name)
{
    static char  buf[256];

    snprintf(buf, sizeof(buf), fmt, name);

    return buf;
}


static void
test_requests(void)
{
    ngx_int_t                          rc;
    ngx_uint_t                         i;
    ngx_ws_bus_request_t               m;
    const ngx_ws_bus_request_t        *want;
    const ngx_ws_bus_message_error_t  *error;

    for (i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        want = &requests[i].want;

        rc = parse(requests[i].text, strlen(requests[i].text), &m, &error);

        if (want->type == 255) {
            tap_is(rc, NGX_ERROR, "request %d is refused", (int) i);
            continue;
        }

        if (!tap_is(rc, NGX_OK, "request %d, %s", (int) i,
                    types[want->type]))
        {
            continue;
        }

        tap_each(m.type == want->type, "type of %d", (int) i);
        tap_each(same(&m.id, &want->id), "id of %d", (int) i);
        tap_each(same(&m.channel, &want->channel), "channel of %d", (int) i);
        tap_each(same(&m.epoch, &want->epoch), "epoch of %d", (int) i);
        tap_each(same(&m.token, &want->token), "token of %d", (int) i);
        tap_each(same(&m.key, &want->key), "key of %d", (int) i);
        tap_each(m.kind == want->kind, "kind of %d", (int) i);
        tap_each(same(&m.payload, &want->payload), "payload of %d", (int) i);
        tap_each(m.seq == want->seq, "seq of %d", (int) i);
        tap_each(m.limit == want->limit, "limit of %d", (int) i);
        tap_each(m.has_seq == want->has_seq, "has_seq of %d", (int) i);
        tap_each(m.has_limit == want->has_limit, "has_limit of %d", (int) i);
        tap_each(m.from_ack == want->from_ack, "from_ack of %d", (int) i);
    }

    tap_all("members of requests");
}


static void
test_errors(void)
{
    int                                ok;
    ngx_uint_t                         i;
    ngx_ws_bus_request_t               m;
    const error_case_t                *c;
    const ngx_ws_bus_message_error_t  *error;

    for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        c = &errors[i];

        ok = parse(c->text, strlen(c->text), &m, &error) == NGX_ERROR
             && error->reason.len == strlen(c->reason)
             && ngx_memcmp(error->reason.data, c->reason, error->reason.len)
                == 0;

        tap_ok(ok, "%s: %s", c->text, c->reason);

        if (!ok && error) {
            tap_diag("got %s", error->reason.data);
        }

        tap_each(m.id.len == (c->id ? strlen(c->id) : 0)
                 && (c->id == NULL
                     || ngx_memcmp(m.id.data, c->id, m.id.len) == 0),
                 "id of %s", c->text);
    }

    tap_all("errors have an id");
}


/* a message of a type with all that it takes, but for one member if given */

static size_t
compose(char *buf, const char *type, const char *without)
{
    char    *p;
    size_t   i;

    static const struct {
        const char  *type;
        const char  *name;
        const char  *member;
    } members[] = {
        { "auth", "token", "\"token\":\"t\"" },
        { "auth_refresh", "token", "\"token\":\"t\"" },
        { "subscribe", "channel", "\"channel\":\"c\"" },
        { "subscribe", "epoch", "\"epoch\":\"e\"" },
        { "subscribe", "seq", "\"seq\":1" },
        { "unsubscribe", "channel", "\"channel\":\"c\"" },
        { "publish", "channel", "\"channel\":\"c\"" },
        { "publish", "data", "\"data\":1" },
        { "publish", "key", "\"key\":\"k\"" },
        { "ack", "channel", "\"channel\":\"c\"" },
        { "ack", "seq", "\"seq\":1" },
        { "history", "channel", "\"channel\":\"c\"" },
        { "history", "seq", "\"seq\":1" },
        { "history", "limit", "\"limit\":1" },
        { "presence", "channel", "\"channel\":\"c\"" }
    };

    p = buf;
    p += sprintf(p, "{\"id\":1");

    if (without == NULL || strcmp(without, "type") != 0) {
        p += sprintf(p, ",\"type\":\"%s\"", type);
    }

    for (i = 0; i < sizeof(members) / sizeof(members[0]); i++) {

        if (strcmp(members[i].type, type) == 0
            && (without == NULL || strcmp(members[i].name, without) != 0))
        {
            p += sprintf(p, ",%s", members[i].member);
        }
    }

    p += sprintf(p, "}");

    return p - buf;
}


/* what each type needs and may have, in the order of types[] */

static const struct {
    const char  *needs[4];
    const char  *takes[7];
} taken[] = {
    { { "token" }, { "id" } },
    { { "token" }, { "id" } },
    { { "channel" }, { "id", "epoch", "seq", "from" } },
    { { "channel" }, { "id" } },
    { { "channel" }, { "id", "key", "data", "text", "base64" } },
    { { "channel", "seq" }, { "id" } },
    { { "channel" }, { "id", "seq", "limit" } },
    { { "channel" }, { "id" } }
};


static const char *const  names[] = {
    "type", "id", "channel", "epoch", "seq", "limit", "from", "token", "key",
    "data", "text", "base64"
};


static int
is_taken(ngx_uint_t type, const char *name)
{
    ngx_uint_t  i;

    if (strcmp(name, "type") == 0) {
        return 1;
    }

    for (i = 0; i < 4 && taken[type].needs[i]; i++) {
        if (strcmp(taken[type].needs[i], name) == 0) {
            return 1;
        }
    }

    for (i = 0; i < 7 && taken[type].takes[i]; i++) {
        if (strcmp(taken[type].takes[i], name) == 0) {
            return 1;
        }
    }

    return 0;
}


static int
fails(const char *text, size_t len, const char *reason)
{
    ngx_ws_bus_request_t               m;
    const ngx_ws_bus_message_error_t  *error;

    return parse(text, len, &m, &error) == NGX_ERROR
           && error->reason.len == strlen(reason)
           && ngx_memcmp(error->reason.data, reason, error->reason.len) == 0;
}


static void
test_missing(void)
{
    char                               buf[512];
    size_t                             len;
    ngx_uint_t                         i, n;
    ngx_ws_bus_request_t               m;
    const ngx_ws_bus_message_error_t  *error;

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        len = compose(buf, types[i], NULL);

        tap_each(parse(buf, len, &m, &error) == NGX_OK, "%s, complete",
                 types[i]);
        tap_each(m.type == i, "%s is its type", types[i]);

        len = compose(buf, types[i], "type");

        tap_each(fails(buf, len, "\"type\" is missing"), "%s, no type",
                 types[i]);

        for (n = 0; taken[i].needs[n]; n++) {
            len = compose(buf, types[i], taken[i].needs[n]);

            tap_each(fails(buf, len, reason_of("\"%s\" is missing",
                                               taken[i].needs[n])),
                     "%s, no %s", types[i], taken[i].needs[n]);

            buf[len - 1] = ',';
            len += sprintf(buf + len, "\"%.*s\":1}",
                           (int) strlen(taken[i].needs[n]) - 1,
                           taken[i].needs[n]);

            tap_each(fails(buf, len, reason_of("\"%s\" is missing",
                                               taken[i].needs[n])),
                     "%s, not quite %s", types[i], taken[i].needs[n]);
        }
    }

    tap_all("members that are missing");
}


/* once more at the end, escaped, and of a wrong type: what was first counts */

static void
test_repeated(void)
{
    char                               buf[512];
    size_t                             len;
    ngx_uint_t                         i, n;
    const char                        *name;
    ngx_ws_bus_request_t               m;
    const ngx_ws_bus_message_error_t  *error;

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {

        for (n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
            name = names[n];

            len = compose(buf, types[i], strcmp(name, "type") ? name : NULL);

            if (strcmp(name, "id") == 0) {
                len = 1 + sprintf(buf + 1, "%s", strchr(buf, ',') + 1);
            }

            buf[len - 1] = ',';

            if (strcmp(name, "type") != 0) {
                len += sprintf(buf + len, "\"%s\":[],", name);
            }

            len += sprintf(buf + len, "\"\\u%04x%s\":[],\"z\":1}", name[0],
                           name + 1);

            if (is_taken(i, name)) {
                tap_each(fails(buf, len,
                             reason_of("\"%s\" is there more than once",
                                       name)),
                         "%s, %s", types[i], name);
            } else {
                tap_each(parse(buf, len, &m, &error) == NGX_OK,
                         "%s, %s is not its member", types[i], name);
            }
        }
    }

    /* the first of two ids is echoed */

    len = sprintf(buf, "{\"id\":1,\"type\":\"auth\",\"token\":\"\",\"id\":2}");

    tap_each(parse(buf, len, &m, &error) == NGX_ERROR
             && m.id.len == 1 && m.id.data[0] == '1', "two ids");

    len = sprintf(buf, "{\"x\":1,\"type\":\"auth\",\"token\":\"\",\"x\":2}");

    tap_each(parse(buf, len, &m, &error) == NGX_OK, "two unknown members");

    tap_all("members that repeat");
}


/* members that the type does not take may be anything */

static void
test_ignored(void)
{
    char                               buf[512];
    size_t                             len;
    ngx_uint_t                         i, n, v;
    ngx_ws_bus_request_t               m;
    const ngx_ws_bus_message_error_t  *error;

    static const char *const  values[] = {
        "null", "true", "-1.5e99", "\"\\ud800\"", "[[]]", "{\"type\":1}"
    };

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {

        for (n = 0; n < sizeof(names) / sizeof(names[0]); n++) {

            if (is_taken(i, names[n])) {
                continue;
            }

            for (v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
                len = compose(buf, types[i], NULL);
                len += sprintf(buf + len - 1, ",\"%s\":%s}", names[n],
                               values[v]) - 1;

                tap_each(parse(buf, len, &m, &error) == NGX_OK,
                         "%s with %s %s", types[i], names[n], values[v]);
                tap_each(m.type == i, "%s", types[i]);
            }
        }

        len = compose(buf, types[i], NULL);
        len += sprintf(buf + len - 1, ",\"\":{\"type\":0,\"id\":[]},"
                       "\"types\":0,\"\\u0000\":0,\"\\ud800\":1}") - 1;

        tap_each(parse(buf, len, &m, &error) == NGX_OK,
                 "%s with unknown members", types[i]);
    }

    tap_all("members that are ignored");
}


static void
test_wrong_types(void)
{
    int         ok, is_string, is_number;
    char        buf[512], reason[256];
    size_t      len;
    ngx_uint_t  i, n, v;

    static const char *const  values[] = {
        "null", "true", "false", "1", "-1", "0.5", "1e3", "[]", "{}", "\"\""
    };

    static const char *const  wanted[] = {
        "the name of a request", "a string or number of at most 64 bytes",
        "the name of a channel", "a string", "a whole number up to 2^53-1",
        "a whole number up to 2^53-1", "\"ack\"", "a string",
        "a string of 1 to 255 bytes", NULL, "a string", "a string of base64"
    };

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {

        for (n = 0; n < sizeof(names) / sizeof(names[0]); n++) {

            if (!is_taken(i, names[n]) || wanted[n] == NULL) {
                continue;
            }

            for (v = 0; v < sizeof(values) / sizeof(values[0]); v++) {

                is_string = values[v][0] == '"';
                is_number = strchr("-01", values[v][0]) != NULL;

                switch (n) {

                case 1: /* id */
                    ok = is_string || is_number;
                    break;

                case 4: /* seq */
                case 5: /* limit */
                    ok = values[v][0] == '1' && values[v][1] == '\0';
                    break;

                case 0: /* type */
                case 2: /* channel */
                case 6: /* from */
                case 8: /* key */
                    ok = 0;
                    break;

                default:
                    ok = is_string;
                }

                if (ok) {
                    continue;
                }

                len = compose(buf, types[i], names[n]);

                if (n == 1) {
                    len = 1 + sprintf(buf + 1, "%s", strchr(buf, ',') + 1);
                }

                len += sprintf(buf + len - 1, ",\"%s\":%s}", names[n],
                               values[v]) - 1;

                snprintf(reason, sizeof(reason), "\"%s\" is not %s",
                         names[n], wanted[n]);

                tap_each(fails(buf, len, reason), "%s with %s %s",
                         types[i], names[n], values[v]);
            }
        }
    }

    tap_all("members of a wrong type");
}


static void
test_ids(void)
{
    int                                n, ok;
    char                               buf[512], id[128];
    size_t                             len;
    ngx_uint_t                         i;
    ngx_ws_bus_request_t               m;
    const ngx_ws_bus_message_error_t  *error;

    static const char *const  good[] = {
        "0", "-0", "1", "1.50", "1e400", "-1.0E+5", "\"\"", "\"a\"",
        "\"\\u0041\\n\\/\"", "\"\\ud800\"", "\"\xc3\xa4\"",
        "123456789012345678901234567890"
    };

    static const char *const  bad[] = {
        "null", "true", "false", "[]", "{}", "[1]", "{\"id\":1}"
    };

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        len = sprintf(buf, "{\"type\":\"auth\", \"id\" : %s , "
                      "\"token\":\"t\\n\"}", good[i]);

        tap_each(parse(buf, len, &m, &error) == NGX_OK, "id %s", good[i]);
        tap_each(m.id.len == strlen(good[i])
                 && ngx_memcmp(m.id.data, good[i], m.id.len) == 0,
                 "id %s, byte for byte", good[i]);
    }

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        len = sprintf(buf, "{\"type\":\"auth\",\"id\":%s,\"token\":\"t\"}",
                      bad[i]);

        tap_each(parse(buf, len, &m, &error) == NGX_ERROR
                 && m.id.len == 0, "id %s", bad[i]);
    }

    for (n = 1; n < 100; n++) {
        ngx_memset(id, '7', sizeof(id));

        len = sprintf(buf, "{\"type\":\"auth\",\"id\":%.*s,\"token\":\"t\"}",
                      n, id);

        ok = n <= 64;

        tap_each(parse(buf, len, &m, &error) == (ok ? NGX_OK : NGX_ERROR)
                 && m.id.len == (size_t) (ok ? n : 0), "a number of %d", n);

        len = sprintf(buf, "{\"type\":\"auth\",\"id\":\"%.*s\","
                      "\"token\":\"t\"}", n, id);

        ok = n <= 62;

        tap_each(parse(buf, len, &m, &error) == (ok ? NGX_OK : NGX_ERROR)
                 && m.id.len == (size_t) (ok ? n + 2 : 0), "a string of %d",
                 n);
    }

    tap_all("ids");
}


static void
test_channels(void)
{
    int                                n;
    char                               buf[2048], name[512];
    size_t                             len;
    ngx_str_t                          s;
    ngx_uint_t                         i, ch;
    ngx_ws_bus_request_t               m;
    const ngx_ws_bus_message_error_t  *error;

    static const char *const  bad[] = {
        "", " ", "a b", "a{", "a}", "a*", "a?", "\\u0000", "\\n", "\\u007f",
        "\\u0080", "\\u009f", "\x7f", "\xc2\x80", "\\ud800", "\\u002a",
        "\\u0020"
    };

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        len = sprintf(buf, "{\"type\":\"presence\",\"id\":1,"
                      "\"channel\":\"%s\"}", bad[i]);

        tap_each(fails(buf, len, "\"channel\" is not the name of a channel"),
                 "\"%s\"", bad[i]);
    }

    /* the length is that of the name, not of its escapes */

    for (n = 1; n < 300; n++) {
        s.len = n;
        s.data = (u_char *) name;

        for (i = 0; i < (ngx_uint_t) n; i++) {
            name[i] = "a\"b\\/c"[i % 6];
        }

        len = sprintf(buf, "{\"type\":\"presence\",\"channel\":\"");

        for (i = 0; i < (ngx_uint_t) n; i++) {
            ch = (u_char) name[i];
            len += sprintf(buf + len, i & 1 ? "\\u%04x" : ch == '"' ? "\\%c"
                                                  : ch == '\\' ? "\\%c" : "%c",
                           (int) ch);
        }

        len += sprintf(buf + len, "\"}");

        tap_each(parse(buf, len, &m, &error)
                 == (n <= 255 ? NGX_OK : NGX_ERROR), "%d bytes", n);
        tap_each(n > 255 || same(&m.channel, &s), "%d bytes, name", n);
    }

    tap_all("channels");
}


static void
test_keys(void)
{
    int                                n;
    char                               buf[2048], key[512];
    size_t                             len;
    ngx_str_t                          s;
    ngx_ws_bus_request_t               m;
    const ngx_ws_bus_message_error_t  *error;

    ngx_memset(key, 'k', sizeof(key));
    s.data = (u_char *) key;

    for (n = 0; n < 300; n++) {
        len = sprintf(buf, "{\"type\":\"publish\",\"channel\":\"c\","
                      "\"data\":1,\"key\":\"%.*s\"}", n, key);

        s.len = n;

        tap_each(parse(buf, len, &m, &error)
                 == (n >= 1 && n <= 255 ? NGX_OK : NGX_ERROR)
                 && same(&m.key, &s), "%d bytes", n);
    }

    len = sprintf(buf, "{\"type\":\"publish\",\"channel\":\"c\","
                  "\"data\":1,\"key\":\" \\u0000\\n*\"}");

    tap_each(parse(buf, len, &m, &error) == NGX_OK && m.key.len == 4
             && ngx_memcmp(m.key.data, " \0\n*", 4) == 0,
             "any string is one");

    len = sprintf(buf, "{\"type\":\"publish\",\"channel\":\"c\","
                  "\"data\":1,\"key\":\"\\ud800\"}");

    tap_each(fails(buf, len, "\"key\" is not a string of 1 to 255 bytes"),
             "half a pair");

    tap_all("idempotency keys");
}


static void
test_numbers(void)
{
    char                               buf[256];
    size_t                             len;
    ngx_uint_t                         i;
    ngx_ws_bus_request_t               m;
    const ngx_ws_bus_message_error_t  *error;

    static const struct {
        const char  *text;
        ngx_int_t    rc;
        uint64_t     n;
    } numbers[] = {
        { "0", NGX_OK, 0 },
        { "9007199254740991", NGX_OK, 9007199254740991ULL },
        { "9007199254740992", NGX_ERROR, 0 },
        { "18446744073709551616", NGX_ERROR, 0 },
        { "-1", NGX_ERROR, 0 },
        { "-0", NGX_ERROR, 0 },
        { "1.0", NGX_ERROR, 0 },
        { "1e2", NGX_ERROR, 0 },
        { "1e400", NGX_ERROR, 0 },
        { "\"1\"", NGX_ERROR, 0 }
    };

    for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        len = sprintf(buf, "{\"type\":\"ack\",\"channel\":\"c\",\"seq\":%s}",
                      numbers[i].text);

        tap_each(parse(buf, len, &m, &error) == numbers[i].rc
                 && (numbers[i].rc != NGX_OK || m.seq == numbers[i].n),
                 "seq %s", numbers[i].text);

        len = sprintf(buf, "{\"type\":\"history\",\"channel\":\"c\","
                      "\"limit\":%s}", numbers[i].text);

        tap_each(parse(buf, len, &m, &error) == numbers[i].rc
                 && (numbers[i].rc != NGX_OK || m.limit == numbers[i].n),
                 "limit %s", numbers[i].text);
    }

    tap_all("numbers");
}


/* what is published stays as it is, byte for byte, whatever is around it */

static void
test_data(void)
{
    char                               buf[1024], deep[256];
    size_t                             len;
    ngx_str_t                          want;
    ngx_uint_t                         i, n;
    ngx_ws_bus_request_t               m;
    const ngx_ws_bus_message_error_t  *error;

    static const char *const  data[] = {
        "1e400", "123456789012345678901234567890", "-0", "1.0", "1.10E+05",
        "\"\\u0000\"", "\"\\ud800\"", "\"\\/\"", "\"\xc3\xa4\\u00e4\"",
        "{ \"b\" : 1,\r\n\t\"a\":2 ,\"a\" : 3}", "[ 1 , [ ] , { } ]", "null",
        "true", "false", "\"\"", "{\"type\":\"ack\",\"id\":7}"
    };

    for (i = 0; i < sizeof(data) / sizeof(data[0]); i++) {
        want.data = (u_char *) data[i];
        want.len = strlen(data[i]);

        len = sprintf(buf, "{\"key\":\"\\u0041\",\"data\": \n%s\t ,"
                      "\"channel\":\"\\u0041\",\"type\":\"publish\"}",
                      data[i]);

        tap_each(parse(buf, len, &m, &error) == NGX_OK
                 && m.kind == NGX_WS_BUS_PAYLOAD_DATA
                 && same(&m.payload, &want), "%s", data[i]);
    }

    /* the payload may be as deep as one that comes alone */

    for (n = 60; n < 70; n++) {
        ngx_memset(deep, '[', n);
        ngx_memset(deep + n, ']', n);

        len = sprintf(buf, "{\"type\":\"publish\",\"channel\":\"c\","
                      "\"data\":%.*s}", (int) (2 * n), deep);

        tap_each((parse(buf, len, &m, &error) == NGX_OK) == (n <= 64),
                 "%d levels", (int) n);
        tap_each((ngx_ws_bus_json_valid((u_char *) deep, 2 * n) == NGX_OK)
                 == (n <= 64), "%d levels alone", (int) n);
    }

    tap_all("data");
}


static void
test_prefixes(void)
{
    char                               id[8];
    size_t                             n, len, at;
    ngx_uint_t                         i;
    const char                        *p;
    ngx_ws_bus_request_t               m;
    const ngx_ws_bus_message_error_t  *error;

    for (i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        len = strrchr(requests[i].text, '}') - requests[i].text;

        p = strstr(requests[i].text, "\"id\":");
        at = 0;

        if (p && p[5] != '"') {
            snprintf(id, sizeof(id), "%c", p[5]);
            at = p + 6 - requests[i].text;
        }

        for (n = 0; n <= len; n++) {
            tap_each(parse(requests[i].text, n, &m, &error) == NGX_ERROR,
                     "%d bytes of %d", (int) n, (int) i);

            if (at) {
                tap_each(m.id.len == (n >= at) && (n < at
                                                   || m.id.data[0] == id[0]),
                         "id in %d bytes of %d", (int) n, (int) i);
            }
        }
    }

    tap_all("prefixes of requests");
}


/* of a message that is not understood every byte stays */

static void
test_untouched(void)
{
    size_t                             len;
    ngx_uint_t                         i;
    ngx_ws_bus_request_t               m;
    const ngx_ws_bus_message_error_t  *error;

    static const char *const  texts[] = {
        "{\"type\":\"hello\",\"channel\":\"\\u0041\",\"text\":\"\\n\"}",
        "{\"channel\":\"\\u0041\",\"base64\":\"AAAA\"}",
        "{\"type\":\"publish\",\"channel\":\"\\u0041\",\"text\":\"\\n\"} x",
        "{\"id\":\"\\u0041\",\"type\":1,\"token\":\"\\u0041\"}"
    };

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        len = strlen(texts[i]);

        tap_each(parse(texts[i], len, &m, &error) == NGX_ERROR, "%s",
                 texts[i]);
        tap_each(ngx_memcmp(message, texts[i], len) == 0, "bytes of %s",
                 texts[i]);
    }

    tap_all("messages that are not understood are not changed");
}


static void
test_base64(void)
{
    u_char               *p;
    size_t                len;
    ngx_str_t             s;
    ngx_uint_t            i;
    const base64_case_t  *c;

    for (i = 0; i < sizeof(encodings) / sizeof(encodings[0]); i++) {
        c = &encodings[i];
        len = strlen(c->encoded);

        tap_each(ngx_ws_bus_base64_size(c->len) == len, "size of \"%s\"",
                 c->encoded);

        p = malloc(len + 1);

        tap_ok(ngx_ws_bus_base64_encode(p, (u_char *) c->text, c->len)
               == p + len
               && ngx_memcmp(p, c->encoded, len) == 0,
               "encoded to \"%s\"", c->encoded);

        ngx_memcpy(p, c->encoded, len);

        s.data = p;
        s.len = len;

        tap_ok(ngx_ws_bus_base64_decode(&s) == NGX_OK
               && s.len == c->len && s.data == p
               && ngx_memcmp(s.data, c->text, s.len) == 0,
               "decoded from \"%s\"", c->encoded);

        free(p);
    }

    for (i = 0; i < sizeof(not_base64) / sizeof(not_base64[0]); i++) {
        s.len = strlen(not_base64[i]);
        s.data = malloc(s.len);
        p = s.data;

        ngx_memcpy(s.data, not_base64[i], s.len);

        tap_each(ngx_ws_bus_base64_decode(&s) == NGX_ERROR, "\"%s\"",
                 not_base64[i]);

        free(p);
    }

    tap_all("what is not base64");
}


/* each byte at each place, and each of the two or three that end a string */

static void
test_base64_strict(void)
{
    u_char      buf[8], again[8];
    size_t      at, n;
    ngx_str_t   s;
    ngx_uint_t  a, b, ch, want, found;

    static const char  digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (at = 0; at < 8; at++) {

        for (ch = 0; ch < 256; ch++) {
            ngx_memset(buf, 'A', 8);
            buf[at] = (u_char) ch;

            s.data = buf;
            s.len = 8;

            want = (ch && strchr(digits, (int) ch)) || (ch == '=' && at == 7);

            tap_each((ngx_ws_bus_base64_decode(&s) == NGX_OK)
                     == (ngx_int_t) want, "%02x at %d", (int) ch, (int) at);
        }
    }

    found = 0;

    for (a = 0; a < 64; a++) {

        for (b = 0; b < 64; b++) {

            /* "ab==" and "Aab=" */

            for (n = 1; n <= 2; n++) {
                ngx_memset(buf, 'A', 4);
                buf[n - 1] = (u_char) digits[a];
                buf[n] = (u_char) digits[b];
                buf[3] = '=';

                if (n == 1) {
                    buf[2] = '=';
                }

                ngx_memcpy(again, buf, 4);

                s.data = buf;
                s.len = 4;

                if (ngx_ws_bus_base64_decode(&s) != NGX_OK) {
                    continue;
                }

                found++;

                tap_each(s.len == n, "length of %.4s", again);

                ngx_ws_bus_base64_encode(buf + 4, s.data, n);

                tap_each(ngx_memcmp(buf + 4, again, 4) == 0, "%.4s", again);
            }
        }
    }

    tap_each(found == 256 + 64 * 16, "%d encodings end with padding",
             (int) found);

    tap_all("base64, strictly");
}


static void
test_base64_random(void)
{
    u_char      *p, *text;
    size_t       len, i;
    uint32_t     seed;
    ngx_str_t    s;

    seed = 1;

    for (len = 0; len < 200; len++) {
        text = malloc(len + 1);

        for (i = 0; i < len; i++) {
            seed = seed * 1664525 + 1013904223;
            text[i] = (u_char) (seed >> 24);
        }

        s.len = ngx_ws_bus_base64_size(len);
        p = malloc(s.len + 1);
        s.data = p;

        tap_each(ngx_ws_bus_base64_encode(p, text, len) == p + s.len,
                 "%d bytes, encoded", (int) len);
        tap_each(ngx_ws_bus_base64_decode(&s) == NGX_OK && s.len == len
                 && ngx_memcmp(s.data, text, len) == 0,
                 "%d bytes, decoded", (int) len);

        free(p);
        free(text);
    }

    tap_all("base64 of any length");
}


static void
test_epoch(void)
{
    uint64_t    n;
    ngx_str_t   s;
    ngx_uint_t  i;

    static const struct {
        const char  *text;
        ngx_int_t    rc;
        uint64_t     epoch;
    } epochs[] = {
        { "0000000000000000", NGX_OK, 0 },
        { "0000000000000001", NGX_OK, 1 },
        { "0123456789abcdef", NGX_OK, 0x0123456789abcdefULL },
        { "fedcba9876543210", NGX_OK, 0xfedcba9876543210ULL },
        { "ffffffffffffffff", NGX_OK, UINT64_LAST },
        { "", NGX_DECLINED, 0 },
        { "e", NGX_DECLINED, 0 },
        { "0123456789abcde", NGX_DECLINED, 0 },
        { "0123456789abcdef0", NGX_DECLINED, 0 },
        { "0123456789ABCDEF", NGX_DECLINED, 0 },
        { "0123456789abcdeg", NGX_DECLINED, 0 },
        { "0x23456789abcdef", NGX_DECLINED, 0 },
        { "-123456789abcdef", NGX_DECLINED, 0 },
        { "/123456789abcdef", NGX_DECLINED, 0 },
        { ":123456789abcdef", NGX_DECLINED, 0 },
        { "`123456789abcdef", NGX_DECLINED, 0 }
    };

    for (i = 0; i < sizeof(epochs) / sizeof(epochs[0]); i++) {
        s.data = (u_char *) epochs[i].text;
        s.len = strlen(epochs[i].text);
        n = 0;

        tap_ok(ngx_ws_bus_message_epoch(&s, &n) == epochs[i].rc
               && n == epochs[i].epoch, "epoch \"%s\"", epochs[i].text);
    }
}


static void
test_codes(void)
{
    size_t                             n;
    ngx_uint_t                         i;
    const ngx_ws_bus_message_error_t  *e;

    static const char *const  codes[NGX_WS_BUS_CODES] = {
        [NGX_WS_BUS_CODE_BAD_REQUEST] = "bad_request",
        [NGX_WS_BUS_CODE_ALREADY_SUBSCRIBED] = "already_subscribed",
        [NGX_WS_BUS_CODE_NOT_SUBSCRIBED] = "not_subscribed",
        [NGX_WS_BUS_CODE_FORBIDDEN] = "forbidden",
        [NGX_WS_BUS_CODE_LIMIT] = "limit",
        [NGX_WS_BUS_CODE_NOT_FOUND] = "not_found",
        [NGX_WS_BUS_CODE_NOT_AVAILABLE] = "not_available",
        [NGX_WS_BUS_CODE_UNAUTHORIZED] = "unauthorized",
        [NGX_WS_BUS_CODE_UNAVAILABLE] = "unavailable"
    };

    for (i = 0; i < NGX_WS_BUS_CODES; i++) {
        e = &ngx_ws_bus_message_errors[i];

        tap_ok(codes[i] && e->code.len == strlen(codes[i])
               && ngx_memcmp(e->code.data, codes[i], e->code.len) == 0,
               "code %s", codes[i]);
        tap_each(e->reason.len > 0 && e->reason.len <= 128, "reason of %s",
                 codes[i]);

        for (n = 0; n < e->reason.len; n++) {
            tap_each(e->reason.data[n] >= 0x20 && e->reason.data[n] < 0x7f,
                     "reason of %s", codes[i]);
        }
    }

    for (i = 0; i < NGX_WS_BUS_MEMBERS; i++) {
        tap_each(ngx_ws_bus_message_known[i].missing.reason.len <= 128
                 && ngx_ws_bus_message_known[i].repeated.reason.len <= 128
                 && ngx_ws_bus_message_known[i].invalid.reason.len <= 128,
                 "reasons of %s", ngx_ws_bus_message_known[i].name.data);
    }

    tap_all("reasons");
}


static void
test_writers(void)
{
    u_char                   *p;
    ngx_str_t                 id, text, channel, quoted, empty;
    ngx_ws_bus_subscribed_t   s;

    p = malloc(NGX_WS_BUS_MESSAGE_MAX);

    ngx_str_set(&id, "3");
    ngx_str_set(&text, "\"\\u0041\"");
    ngx_str_set(&channel, "c");
    ngx_str_set(&quoted, "a\"b\\/\xc3\xa4");
    ngx_str_null(&empty);

    ngx_memzero(&s, sizeof(s));

    s.epoch = EPOCH;
    s.seq = 41;
    s.head = 57;
    s.oldest = 12;
    s.resume = 1;
    s.recovered = 1;

    tap_ok(same_text(p, ngx_ws_bus_message_subscribed(p, &id, &channel, &s),
        "{\"type\":\"subscribed\",\"id\":3,\"channel\":\"c\","
        "\"epoch\":\"0123456789abcdef\",\"seq\":41,\"head\":57,"
        "\"oldest\":12,\"recovered\":true}"), "subscribed, recovered");

    s.epoch = 0;
    s.seq = 57;
    s.recovered = 0;

    tap_ok(same_text(p, ngx_ws_bus_message_subscribed(p, &text, &quoted, &s),
        "{\"type\":\"subscribed\",\"id\":\"\\u0041\","
        "\"channel\":\"a\\\"b\\\\/\xc3\xa4\","
        "\"epoch\":\"0000000000000000\",\"seq\":57,\"head\":57,"
        "\"oldest\":12,\"recovered\":false}"), "subscribed, not recovered");

    s.epoch = UINT64_LAST;
    s.seq = 0;
    s.head = UINT64_LAST;
    s.oldest = 0;
    s.resume = 0;

    tap_ok(same_text(p, ngx_ws_bus_message_subscribed(p, NULL, &channel, &s),
        "{\"type\":\"subscribed\",\"channel\":\"c\","
        "\"epoch\":\"ffffffffffffffff\",\"seq\":0,"
        "\"head\":18446744073709551615,\"oldest\":0}"),
        "subscribed, a greeting");

    tap_ok(same_text(p, ngx_ws_bus_message_unsubscribed(p, &id, &channel),
        "{\"type\":\"unsubscribed\",\"id\":3,\"channel\":\"c\"}"),
        "unsubscribed");
    tap_ok(same_text(p, ngx_ws_bus_message_unsubscribed(p, &empty, &quoted),
        "{\"type\":\"unsubscribed\",\"channel\":\"a\\\"b\\\\/\xc3\xa4\"}"),
        "unsubscribed, without an id");

    tap_ok(same_text(p, ngx_ws_bus_message_published(p, &id, &channel,
                                                     0x1f, 58),
        "{\"type\":\"published\",\"id\":3,\"channel\":\"c\","
        "\"epoch\":\"000000000000001f\",\"seq\":58}"),
        "published");
    tap_ok(same_text(p, ngx_ws_bus_message_published(p, &id, &channel,
                                                     0x1f, 0),
        "{\"type\":\"published\",\"id\":3,\"channel\":\"c\"}"),
        "published, not kept");

    tap_ok(same_text(p, ngx_ws_bus_message_gap(p, &channel, 60, 75),
        "{\"type\":\"gap\",\"channel\":\"c\",\"from\":60,\"to\":75}"),
        "gap");
    tap_ok(same_text(p, ngx_ws_bus_message_gap_count(p, &channel, 9),
        "{\"type\":\"gap\",\"channel\":\"c\",\"count\":9}"),
        "gap, counted");
    tap_ok(same_text(p, ngx_ws_bus_message_gap_epoch(p, &channel, 0xab, 7),
        "{\"type\":\"gap\",\"channel\":\"c\","
        "\"epoch\":\"00000000000000ab\",\"seq\":7}"),
        "gap, another epoch");
    tap_ok(same_text(p, ngx_ws_bus_message_epoch_follows(p, &channel, 0xab, 7),
        "{\"type\":\"epoch\",\"channel\":\"c\","
        "\"epoch\":\"00000000000000ab\",\"seq\":7}"),
        "an epoch that follows");

    tap_ok(same_text(p, ngx_ws_bus_message_auth_ok(p, &id, 600),
        "{\"type\":\"auth_ok\",\"id\":3,\"expires_in\":600}"), "auth_ok");
    tap_ok(same_text(p, ngx_ws_bus_message_auth_ok(p, NULL, 0),
        "{\"type\":\"auth_ok\",\"expires_in\":0}"), "auth_ok, no time left");
    tap_ok(same_text(p, ngx_ws_bus_message_auth_ok(p, NULL, -1),
        "{\"type\":\"auth_ok\"}"), "auth_ok, without an end");

    tap_ok(same_text(p, ngx_ws_bus_message_auth_required(p, 120),
        "{\"type\":\"auth_required\",\"expires_in\":120}"), "auth_required");
    tap_ok(same_text(p, ngx_ws_bus_message_auth_required(p, 0),
        "{\"type\":\"auth_required\",\"expires_in\":0}"),
        "auth_required, no time left");
    tap_ok(same_text(p, ngx_ws_bus_message_auth_required(p, -1),
        "{\"type\":\"auth_required\"}"), "auth_required, without an end");

    tap_ok(same_text(p, ngx_ws_bus_message_joined(p, &channel, &quoted),
        "{\"type\":\"joined\",\"channel\":\"c\","
        "\"member\":\"a\\\"b\\\\/\xc3\xa4\"}"), "joined");
    tap_ok(same_text(p, ngx_ws_bus_message_left(p, &quoted, &empty),
        "{\"type\":\"left\",\"channel\":\"a\\\"b\\\\/\xc3\xa4\","
        "\"member\":\"\"}"), "left");

    free(p);
}


static void
test_write_errors(void)
{
    u_char                             *p, *last;
    ngx_str_t                           id;
    ngx_uint_t                          i;
    ngx_ws_bus_request_t                m;
    const ngx_ws_bus_message_error_t   *error;

    p = malloc(NGX_WS_BUS_MESSAGE_MAX);

    ngx_str_set(&id, "5");

    error = &ngx_ws_bus_message_errors[NGX_WS_BUS_CODE_FORBIDDEN];

    tap_ok(same_text(p, ngx_ws_bus_message_error(p, &id, error),
        "{\"type\":\"error\",\"id\":5,\"code\":\"forbidden\","
        "\"reason\":\"not allowed\"}"), "error");

    tap_ok(parse(T("{\"type\":\"ack\",\"channel\":\"c\"}"), &m, &error)
           == NGX_ERROR
           && same_text(p, ngx_ws_bus_message_error(p, &m.id, error),
        "{\"type\":\"error\",\"code\":\"bad_request\","
        "\"reason\":\"\\\"seq\\\" is missing\"}"), "error without an id");

    for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        parse(errors[i].text, strlen(errors[i].text), &m, &error);

        last = ngx_ws_bus_message_error(p, &m.id, error);

        tap_each(ngx_ws_bus_json_valid(p, last - p) == NGX_OK, "%s",
                 errors[i].text);
    }

    tap_all("errors are JSON");

    free(p);
}


static void
test_envelopes(void)
{
    char         want[256];
    u_char      *p, *last;
    size_t       size;
    ngx_str_t    quoted;
    ngx_uint_t   i;

    static const struct {
        ngx_ws_bus_envelope_t   e;
        const char             *want;
    } envelopes[] = {
        { { 58, NGX_WS_BUS_PAYLOAD_DATA, S("{ \"a\":1e400 }") },
          "\"seq\":58,\"data\":{ \"a\":1e400 }}" },
        { { 0, NGX_WS_BUS_PAYLOAD_DATA, S("null") }, "\"data\":null}" },
        { { 1, NGX_WS_BUS_PAYLOAD_TEXT, S("plain") },
          "\"seq\":1,\"text\":\"plain\"}" },
        { { 0, NGX_WS_BUS_PAYLOAD_TEXT, S("\0\"\\\n\xc3\xa4") },
          "\"text\":\"\\u0000\\\"\\\\\\n\xc3\xa4\"}" },
        { { 9, NGX_WS_BUS_PAYLOAD_TEXT, S("") }, "\"seq\":9,\"text\":\"\"}" },
        { { 10, NGX_WS_BUS_PAYLOAD_BASE64, S("foob") },
          "\"seq\":10,\"base64\":\"Zm9vYg==\"}" },
        { { 0, NGX_WS_BUS_PAYLOAD_BASE64, S("") }, "\"base64\":\"\"}" },
        { { UINT64_LAST, NGX_WS_BUS_PAYLOAD_BASE64, S("\0\xff\x3f") },
          "\"seq\":18446744073709551615,\"base64\":\"AP8/\"}" }
    };

    ngx_str_set(&quoted, "a\"b");

    for (i = 0; i < sizeof(envelopes) / sizeof(envelopes[0]); i++) {
        snprintf(want, sizeof(want),
                 "{\"type\":\"message\",\"channel\":\"a\\\"b\",%s",
                 envelopes[i].want);

        size = ngx_ws_bus_message_envelope_size(&quoted, &envelopes[i].e);

        if (!tap_is(size, strlen(want), "message %d, size", (int) i)) {
            continue;
        }

        p = malloc(size);
        last = ngx_ws_bus_message_envelope(p, &quoted, &envelopes[i].e);

        tap_ok(same_text(p, last, want), "message %d", (int) i);
        tap_each(ngx_ws_bus_json_valid(p, last - p) == NGX_OK, "%d", (int) i);

        free(p);

        size = ngx_ws_bus_message_history_item_size(&envelopes[i].e);
        p = malloc(size);

        snprintf(want, sizeof(want), ",{%s", envelopes[i].want);

        last = ngx_ws_bus_message_history_item(p, &envelopes[i].e, 0);
        tap_each(same_text(p, last, want) && last == p + size, "item %d",
                 (int) i);

        last = ngx_ws_bus_message_history_item(p, &envelopes[i].e, 1);
        tap_each(same_text(p, last, want + 1), "first item %d", (int) i);

        free(p);
    }

    tap_all("messages and items");
}


static void
test_lists(void)
{
    u_char                 *p, *last;
    ngx_str_t               id, channel, member;
    ngx_ws_bus_envelope_t   e;

    p = malloc(4 * NGX_WS_BUS_MESSAGE_MAX);

    ngx_str_set(&id, "6");
    ngx_str_set(&channel, "c");

    last = ngx_ws_bus_message_history(p, &id, &channel, EPOCH);
    last = ngx_ws_bus_message_history_end(last, 0);

    tap_ok(same_text(p, last,
        "{\"type\":\"history\",\"id\":6,\"channel\":\"c\","
        "\"epoch\":\"0123456789abcdef\",\"messages\":[],\"more\":false}"),
        "history, empty");

    last = ngx_ws_bus_message_history(p, NULL, &channel, EPOCH);

    e.seq = 11;
    e.kind = NGX_WS_BUS_PAYLOAD_DATA;
    ngx_str_set(&e.payload, "{}");
    last = ngx_ws_bus_message_history_item(last, &e, 1);

    e.seq = 12;
    e.kind = NGX_WS_BUS_PAYLOAD_TEXT;
    last = ngx_ws_bus_message_history_item(last, &e, 0);

    last = ngx_ws_bus_message_history_end(last, 1);

    tap_ok(same_text(p, last,
        "{\"type\":\"history\",\"channel\":\"c\","
        "\"epoch\":\"0123456789abcdef\",\"messages\":["
        "{\"seq\":11,\"data\":{}},{\"seq\":12,\"text\":\"{}\"}],"
        "\"more\":true}"), "history");

    last = ngx_ws_bus_message_presence(p, &id, &channel, 0);
    last = ngx_ws_bus_message_presence_end(last, 0, 2);

    tap_ok(same_text(p, last,
        "{\"type\":\"presence\",\"id\":6,\"channel\":\"c\",\"count\":2}"),
        "presence, counted");

    last = ngx_ws_bus_message_presence(p, NULL, &channel, 1);
    last = ngx_ws_bus_message_presence_end(last, 1, 0);

    tap_ok(same_text(p, last,
        "{\"type\":\"presence\",\"channel\":\"c\",\"members\":[],"
        "\"count\":0}"), "presence, nobody");

    last = ngx_ws_bus_message_presence(p, &id, &channel, 1);
    ngx_str_set(&member, "alice");
    last = ngx_ws_bus_message_presence_item(last, &member, 1);
    ngx_str_set(&member, "\"b\"\n");
    last = ngx_ws_bus_message_presence_item(last, &member, 0);
    ngx_str_null(&member);
    last = ngx_ws_bus_message_presence_item(last, &member, 0);
    last = ngx_ws_bus_message_presence_end(last, 1, 3);

    tap_ok(same_text(p, last,
        "{\"type\":\"presence\",\"id\":6,\"channel\":\"c\","
        "\"members\":[\"alice\",\"\\\"b\\\"\\n\",\"\"],\"count\":3}"),
        "presence, members");

    free(p);
}


/* the longest of everything, in memory of the size that is promised */

static void
test_bounds(void)
{
    u_char                       *p, *last;
    size_t                        size;
    u_char                        name[NGX_WS_BUS_CHANNEL_MAX];
    u_char                        raw[NGX_WS_BUS_MESSAGE_ID_MAX];
    u_char                        reason[128], member[1000];
    ngx_str_t                     id, channel, m;
    ngx_uint_t                    i;
    ngx_ws_bus_subscribed_t       s;
    ngx_ws_bus_message_error_t    error;

    ngx_memset(name, '"', sizeof(name));
    ngx_memset(raw, '1', sizeof(raw));
    ngx_memset(reason, '\\', sizeof(reason));
    ngx_memset(member, 1, sizeof(member));

    channel.data = name;
    channel.len = sizeof(name);
    id.data = raw;
    id.len = sizeof(raw);

    tap_ok(ngx_ws_bus_handshake_channel(&channel), "the longest channel");

    s.epoch = UINT64_LAST;
    s.seq = UINT64_LAST;
    s.head = UINT64_LAST;
    s.oldest = UINT64_LAST;
    s.resume = 1;
    s.recovered = 0;

    error.code = ngx_ws_bus_message_errors[1].code;
    error.reason.data = reason;
    error.reason.len = sizeof(reason);

    for (i = 0; i < 12; i++) {
        p = malloc(NGX_WS_BUS_MESSAGE_MAX);

        switch (i) {

        case 0:
            last = ngx_ws_bus_message_error(p, &id, &error);
            break;

        case 1:
            last = ngx_ws_bus_message_subscribed(p, &id, &channel, &s);
            break;

        case 2:
            last = ngx_ws_bus_message_unsubscribed(p, &id, &channel);
            break;

        case 3:
            last = ngx_ws_bus_message_published(p, &id, &channel, s.epoch,
                                                s.seq);
            break;

        case 4:
            last = ngx_ws_bus_message_auth_ok(p, &id, 0x7fffffffffffffffLL);
            break;

        case 5:
            last = ngx_ws_bus_message_auth_required(p, 0x7fffffffffffffffLL);
            break;

        case 6:
            last = ngx_ws_bus_message_gap(p, &channel, s.seq, s.seq);
            break;

        case 7:
            last = ngx_ws_bus_message_gap_count(p, &channel, s.seq);
            break;

        case 8:
            last = ngx_ws_bus_message_history(p, &id, &channel, s.epoch);
            break;

        case 9:
            last = ngx_ws_bus_message_history_end(p, 0);
            break;

        case 10:
            last = ngx_ws_bus_message_presence(p, &id, &channel, 1);
            break;

        default:
            last = ngx_ws_bus_message_presence_end(p, 1, s.seq);
            break;
        }

        tap_each(last > p && last <= p + NGX_WS_BUS_MESSAGE_MAX,
                 "writer %d, %d bytes", (int) i, (int) (last - p));

        if (i < 8) {
            tap_each(ngx_ws_bus_json_valid(p, last - p) == NGX_OK,
                     "writer %d, valid", (int) i);
        }

        free(p);
    }

    m.data = member;

    for (m.len = 0; m.len <= sizeof(member); m.len += 100) {
        size = ngx_ws_bus_message_member_size(&m);
        p = malloc(size);

        last = ngx_ws_bus_message_joined(p, &channel, &m);
        tap_each(last <= p + size
                 && ngx_ws_bus_json_valid(p, last - p) == NGX_OK, "joined");

        last = ngx_ws_bus_message_left(p, &channel, &m);
        tap_each(last <= p + size
                 && ngx_ws_bus_json_valid(p, last - p) == NGX_OK, "left");

        free(p);

        size = ngx_ws_bus_message_presence_item_size(&m);
        p = malloc(size);

        tap_each(ngx_ws_bus_message_presence_item(p, &m, 0) == p + size,
                 "a member");
        tap_each(ngx_ws_bus_message_presence_item(p, &m, 1) == p + size - 1,
                 "the first member");

        free(p);
    }

    tap_all("bounds");
}


/* what is published comes back as it was, whatever it travels as */

static void
test_round_trip(void)
{
    char                              *text;
    u_char                            *p, *last, byte, payload[5];
    size_t                             size;
    uint64_t                           epoch;
    ngx_str_t                          channel;
    ngx_uint_t                         kind;
    ngx_ws_bus_request_t               m;
    ngx_ws_bus_envelope_t              e;
    ngx_ws_bus_subscribed_t            s;
    const ngx_ws_bus_message_error_t  *error;

    /* the answer is a request but for its type */

    static const char  head[] = "{\"type\":\"message\"";
    static const char  request[] = "{\"type\":\"publish\"";

    ngx_str_set(&channel, "\"quoted\"/\xc3\xa4");

    for (byte = 0; byte < 0x80; byte++) {

        for (kind = NGX_WS_BUS_PAYLOAD_TEXT;
             kind <= NGX_WS_BUS_PAYLOAD_BASE64;
             kind++)
        {
            ngx_memset(payload, byte, sizeof(payload));
            payload[3] = 'b';

            e.seq = byte;
            e.kind = kind;
            e.payload.data = payload;
            e.payload.len = sizeof(payload);

            size = ngx_ws_bus_message_envelope_size(&channel, &e);
            p = malloc(size);
            last = ngx_ws_bus_message_envelope(p, &channel, &e);

            tap_each(last == p + size
                     && ngx_memcmp(p, head, sizeof(head) - 1) == 0,
                     "%02x, written", byte);

            text = (char *) p;
            ngx_memcpy(text, request, sizeof(request) - 1);

            tap_each(parse(text, size, &m, &error) == NGX_OK
                     && m.kind == kind && same(&m.payload, &e.payload)
                     && same(&m.channel, &channel),
                     "%02x, read", byte);

            free(p);
        }
    }

    /* a position comes back as well */

    p = malloc(NGX_WS_BUS_MESSAGE_MAX);

    s.epoch = 0xfedcba9876543210ULL;
    s.seq = 9007199254740991ULL;
    s.head = s.seq;
    s.oldest = 1;
    s.resume = 0;

    last = ngx_ws_bus_message_subscribed(p, NULL, &channel, &s);

    /* "subscribed" becomes "subscribe" with white space behind */

    ngx_memcpy(p, "{\"type\":\"subscribe\" ", 20);

    tap_each(parse((char *) p, last - p, &m, &error) == NGX_OK
             && m.type == NGX_WS_BUS_REQUEST_SUBSCRIBE
             && m.has_seq && m.seq == s.seq, "seq");
    tap_each(ngx_ws_bus_message_epoch(&m.epoch, &epoch) == NGX_OK
             && epoch == s.epoch, "epoch");

    free(p);

    tap_all("round trips");
}
