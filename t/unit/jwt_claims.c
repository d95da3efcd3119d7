
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>


/* no memory */

static int  test_no_memory;


static void *
test_malloc(size_t size)
{
    return test_no_memory ? NULL : malloc(size);
}


#define malloc  test_malloc

#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_handshake.c"
#include "ngx_ws_bus_pattern.c"
#include "ngx_ws_bus_jwt_claims.c"

#undef malloc

#include "tap.h"


#define NOW  1700000000


typedef struct {
    const char              *claims;
    ngx_ws_bus_jwt_error_e   error;
} claims_case_t;


typedef struct {
    const char              *claim;
    const char              *text;
} text_case_t;


typedef struct {
    const char              *claims;
    const char              *names[4];
    const char              *json;         /* NULL: there is none */
} find_case_t;


typedef struct {
    const char              *channel;
    ngx_uint_t               subscribe;
    ngx_uint_t               publish;
} channel_case_t;


static void test_check(void);
static void test_times(void);
static void test_leeway(void);
static void test_issuer(void);
static void test_audience(void);
static void test_strings(void);
static void test_find(void);
static void test_text(void);
static void test_text_size(void);
static void test_lookup(void);
static void test_grants(void);
static void test_grants_claims(void);
static void test_grants_bad(void);
static void test_grants_limits(void);


/* the table is another file's */

const ngx_ws_bus_jwt_error_t *
ngx_ws_bus_jwt_error(ngx_ws_bus_jwt_error_e reason)
{
    static ngx_ws_bus_jwt_error_t  errors[NGX_WS_BUS_JWT_INTERNAL + 1];

    errors[reason].reason = reason;

    return &errors[reason];
}


/* without issuers and audiences, at NOW, without leeway */

static const claims_case_t  checks[] = {
    { "{}", NGX_WS_BUS_JWT_OK },

    { "{\"exp\":1700000001}", NGX_WS_BUS_JWT_OK },
    { "{\"exp\":1700000000}", NGX_WS_BUS_JWT_EXPIRED },
    { "{\"exp\":1699999999}", NGX_WS_BUS_JWT_EXPIRED },
    { "{\"exp\":1700000001.0}", NGX_WS_BUS_JWT_OK },
    { "{\"exp\":1700000001.9}", NGX_WS_BUS_JWT_OK },
    { "{\"exp\":1700000000.9}", NGX_WS_BUS_JWT_EXPIRED },
    { "{\"exp\":1.700000001e9}", NGX_WS_BUS_JWT_OK },
    { "{\"exp\":17000000010e-1}", NGX_WS_BUS_JWT_OK },
    { "{\"exp\":0}", NGX_WS_BUS_JWT_EXPIRED },
    { "{\"exp\":0.5}", NGX_WS_BUS_JWT_EXPIRED },
    { "{\"exp\":-0.0}", NGX_WS_BUS_JWT_EXPIRED },
    { "{\"exp\":253402300799}", NGX_WS_BUS_JWT_OK },
    { "{\"exp\":253402300800}", NGX_WS_BUS_JWT_EXP_RANGE },
    { "{\"exp\":253402300799.5}", NGX_WS_BUS_JWT_EXP_RANGE },
    { "{\"exp\":1700000001000}", NGX_WS_BUS_JWT_EXP_RANGE },
    { "{\"exp\":9223372036854775807}", NGX_WS_BUS_JWT_EXP_RANGE },
    { "{\"exp\":1e300}", NGX_WS_BUS_JWT_EXP_RANGE },
    { "{\"exp\":-1}", NGX_WS_BUS_JWT_EXP_RANGE },
    { "{\"exp\":-1e300}", NGX_WS_BUS_JWT_EXP_RANGE },
    { "{\"exp\":-0.1}", NGX_WS_BUS_JWT_EXP_RANGE },
    { "{\"exp\":\"1700000001\"}", NGX_WS_BUS_JWT_EXP },
    { "{\"exp\":null}", NGX_WS_BUS_JWT_EXP },
    { "{\"exp\":true}", NGX_WS_BUS_JWT_EXP },
    { "{\"exp\":[1700000001]}", NGX_WS_BUS_JWT_EXP },
    { "{\"exp\":{}}", NGX_WS_BUS_JWT_EXP },
    { "{\"Exp\":1}", NGX_WS_BUS_JWT_OK },

    { "{\"nbf\":1700000000}", NGX_WS_BUS_JWT_OK },
    { "{\"nbf\":1700000000.9}", NGX_WS_BUS_JWT_OK },
    { "{\"nbf\":0}", NGX_WS_BUS_JWT_OK },
    { "{\"nbf\":1700000001}", NGX_WS_BUS_JWT_EARLY },
    { "{\"nbf\":1700000001.0}", NGX_WS_BUS_JWT_EARLY },
    { "{\"nbf\":253402300799}", NGX_WS_BUS_JWT_EARLY },
    { "{\"nbf\":253402300800}", NGX_WS_BUS_JWT_NBF_RANGE },
    { "{\"nbf\":-1}", NGX_WS_BUS_JWT_NBF_RANGE },
    { "{\"nbf\":\"0\"}", NGX_WS_BUS_JWT_NBF },
    { "{\"nbf\":false}", NGX_WS_BUS_JWT_NBF },

    { "{\"iat\":1700000000}", NGX_WS_BUS_JWT_OK },
    { "{\"iat\":1700000000.999}", NGX_WS_BUS_JWT_OK },
    { "{\"iat\":1}", NGX_WS_BUS_JWT_OK },
    { "{\"iat\":1700000001}", NGX_WS_BUS_JWT_IAT_FUTURE },
    { "{\"iat\":1e12}", NGX_WS_BUS_JWT_IAT_RANGE },
    { "{\"iat\":-5}", NGX_WS_BUS_JWT_IAT_RANGE },
    { "{\"iat\":\"now\"}", NGX_WS_BUS_JWT_IAT },
    { "{\"iat\":null}", NGX_WS_BUS_JWT_IAT },

    { "{\"exp\":1700000001,\"nbf\":1700000000,\"iat\":1699999999}",
      NGX_WS_BUS_JWT_OK },

    /* shapes matter, wanted or not */

    { "{\"iss\":\"joe\",\"aud\":\"x\",\"sub\":\"a\",\"jti\":\"1\"}",
      NGX_WS_BUS_JWT_OK },
    { "{\"iss\":\"\",\"aud\":\"\",\"sub\":\"\",\"jti\":\"\"}",
      NGX_WS_BUS_JWT_OK },
    { "{\"iss\":1}", NGX_WS_BUS_JWT_ISS },
    { "{\"iss\":[\"joe\"]}", NGX_WS_BUS_JWT_ISS },
    { "{\"iss\":null}", NGX_WS_BUS_JWT_ISS },
    { "{\"aud\":[\"x\",\"y\"]}", NGX_WS_BUS_JWT_OK },
    { "{\"aud\":[]}", NGX_WS_BUS_JWT_OK },
    { "{\"aud\":1}", NGX_WS_BUS_JWT_AUD },
    { "{\"aud\":null}", NGX_WS_BUS_JWT_AUD },
    { "{\"aud\":{\"x\":1}}", NGX_WS_BUS_JWT_AUD },
    { "{\"aud\":[\"x\",1]}", NGX_WS_BUS_JWT_AUD },
    { "{\"aud\":[[\"x\"]]}", NGX_WS_BUS_JWT_AUD },
    { "{\"sub\":1}", NGX_WS_BUS_JWT_SUB },
    { "{\"sub\":null}", NGX_WS_BUS_JWT_SUB },
    { "{\"sub\":[\"a\"]}", NGX_WS_BUS_JWT_SUB },
    { "{\"jti\":1}", NGX_WS_BUS_JWT_JTI },
    { "{\"jti\":{}}", NGX_WS_BUS_JWT_JTI }
};


/* with the issuers "https://a.example/" and "joe" */

static const claims_case_t  issuers[] = {
    { "{\"iss\":\"joe\"}", NGX_WS_BUS_JWT_OK },
    { "{\"iss\":\"https://a.example/\"}", NGX_WS_BUS_JWT_OK },
    { "{\"iss\":\"https:\\/\\/a.example\\/\"}", NGX_WS_BUS_JWT_OK },
    { "{}", NGX_WS_BUS_JWT_ISS_MISSING },
    { "{\"iss\":\"\"}", NGX_WS_BUS_JWT_ISS_OTHER },
    { "{\"iss\":\"Joe\"}", NGX_WS_BUS_JWT_ISS_OTHER },
    { "{\"iss\":\"joe \"}", NGX_WS_BUS_JWT_ISS_OTHER },
    { "{\"iss\":\"jo\"}", NGX_WS_BUS_JWT_ISS_OTHER },
    { "{\"iss\":\"https://a.example\"}", NGX_WS_BUS_JWT_ISS_OTHER },
    { "{\"iss\":[\"joe\"]}", NGX_WS_BUS_JWT_ISS },
    { "{\"iss\":null}", NGX_WS_BUS_JWT_ISS }
};


/* with the audiences "bus" and "chat" */

static const claims_case_t  audiences[] = {
    { "{\"aud\":\"bus\"}", NGX_WS_BUS_JWT_OK },
    { "{\"aud\":\"chat\"}", NGX_WS_BUS_JWT_OK },
    { "{\"aud\":[\"bus\"]}", NGX_WS_BUS_JWT_OK },
    { "{\"aud\":[\"x\",\"chat\",\"y\"]}", NGX_WS_BUS_JWT_OK },
    { "{}", NGX_WS_BUS_JWT_AUD_MISSING },
    { "{\"aud\":[]}", NGX_WS_BUS_JWT_AUD_OTHER },
    { "{\"aud\":\"\"}", NGX_WS_BUS_JWT_AUD_OTHER },
    { "{\"aud\":\"buss\"}", NGX_WS_BUS_JWT_AUD_OTHER },
    { "{\"aud\":\"bus chat\"}", NGX_WS_BUS_JWT_AUD_OTHER },
    { "{\"aud\":[\"x\",\"y\"]}", NGX_WS_BUS_JWT_AUD_OTHER },
    { "{\"aud\":[\"bus\",1]}", NGX_WS_BUS_JWT_AUD },
    { "{\"aud\":{\"bus\":1}}", NGX_WS_BUS_JWT_AUD },
    { "{\"aud\":null}", NGX_WS_BUS_JWT_AUD }
};


static const find_case_t  finds[] = {
    { "{\"a\":1}", { "a" }, "1" },
    { "{\"a\":{\"b\":2}}", { "a", "b" }, "2" },
    { "{\"a\":{\"b\":{\"c\":[3]}}}", { "a", "b", "c" }, "[3]" },
    { "{\"a\":{\"b\":2}}", { "a" }, "{\"b\":2}" },
    { "{\"a.b\":4}", { "a.b" }, "4" },
    { "{\"https://a.example/x\":{\"\":5}}", { "https://a.example/x", "" },
      "5" },
    { "{\"a\":null}", { "a" }, "null" },
    { "{\"a\":1}", { "b" }, NULL },
    { "{\"a\":1}", { "A" }, NULL },
    { "{\"a\":1}", { "a", "b" }, NULL },
    { "{\"a\":null}", { "a", "b" }, NULL },
    { "{\"a\":[{\"b\":1}]}", { "a", "b" }, NULL },
    { "{\"a\":[1]}", { "a", "0" }, NULL },
    { "{\"a\":{\"b\":2}}", { "a.b" }, NULL },
    { "{}", { "a", "b" }, NULL }
};


static const text_case_t  texts[] = {
    { "\"alice\"", "alice" },
    { "\"\"", "" },
    { "\"0\"", "0" },
    { "\"\\u00e4\\\"\\\\\"", "\xc3\xa4\"\\" },
    { "\"a\\u0020b\"", "a b" },

    /* what would be another header */

    { "\"a\\r\\nSet-Cookie: b\"", "" },
    { "\"a\\nb\"", "" },
    { "\"\\t\"", "" },
    { "\"\\u007f\"", "" },
    { "\"\\u001b[0m\"", "" },

    { "0", "0" },
    { "-0", "0" },
    { "17", "17" },
    { "9223372036854775807", "9223372036854775807" },
    { "-9223372036854775808", "-9223372036854775808" },
    { "0.0", "0" },
    { "-0.0", "0" },
    { "1.0", "1" },
    { "-17.0", "-17" },
    { "1700000000.5", "1700000000.5" },
    { "0.5", "0.5" },
    { "1e15", "1000000000000000" },
    { "1e300", "1.0000000000000001e+300" },
    { "-1.7976931348623157e308", "-1.7976931348623157e+308" },
    { "true", "1" },
    { "false", "0" },
    { "null", "" },

    { "[]", "" },
    { "[\"a\"]", "a" },
    { "[\"a\",\"b\",\"c\"]", "a,b,c" },
    { "[\"a\",1,true,false,null,2.5]", "a,1,1,0,,2.5" },
    { "[\"a\\nb\",\"c\"]", ",c" },
    { "[\"a,b\",\"c\"]", "a,b,c" },
    { "[[1,2],{\"a\":\"b\"}]", "[1,2],{\"a\":\"b\"}" },
    { "{}", "{}" },
    { "{\"a\":{\"b\":[1,\"\\n\"]}, \"c\": 1}",
      "{\"a\":{\"b\":[1,\"\\n\"]},\"c\":1}" }
};


int
main(void)
{
    test_check();
    test_times();
    test_leeway();
    test_issuer();
    test_audience();
    test_strings();
    test_find();
    test_text();
    test_text_size();
    test_lookup();
    test_grants();
    test_grants_claims();
    test_grants_bad();
    test_grants_limits();

    return tap_done();
}


static json_t *
parse(const char *text)
{
    json_t        *json;
    json_error_t   error;

    json = json_loads(text, JSON_REJECT_DUPLICATES|JSON_DECODE_ANY, &error);

    if (json == NULL) {
        fprintf(stderr, "%s: %s\n", text, error.text);
        exit(2);
    }

    return json;
}


static ngx_uint_t
check(const ngx_ws_bus_jwt_rules_t *rules, const char *claims, time_t now,
    ngx_ws_bus_jwt_t *jwt)
{
    ngx_int_t  rc;

    memset(jwt, 0, sizeof(ngx_ws_bus_jwt_t));

    jwt->claims = parse(claims);

    rc = ngx_ws_bus_jwt_check(rules, now, jwt);

    json_decref(jwt->claims);
    jwt->claims = NULL;

    return (rc == NGX_OK) == (jwt->error->reason == NGX_WS_BUS_JWT_OK)
           ? jwt->error->reason : 1000;
}


static void
check_all(const ngx_ws_bus_jwt_rules_t *rules, const claims_case_t *t, int n)
{
    ngx_ws_bus_jwt_t  jwt;

    for (/* void */; n--; t++) {
        tap_is(check(rules, t->claims, NOW, &jwt), t->error, "%s", t->claims);
    }
}


static void
test_check(void)
{
    ngx_ws_bus_jwt_rules_t  rules;

    ngx_memzero(&rules, sizeof(rules));

    check_all(&rules, checks, sizeof(checks) / sizeof(checks[0]));
}


static void
test_times(void)
{
    ngx_ws_bus_jwt_t        jwt;
    ngx_ws_bus_jwt_rules_t  rules;

    ngx_memzero(&rules, sizeof(rules));

    check(&rules, "{\"exp\":1700000100.9,\"nbf\":1699999999.1,\"iat\":5}", NOW,
          &jwt);

    tap_ok(jwt.exp == 1700000100 && jwt.nbf == 1699999999 && jwt.iat == 5,
           "times are in whole seconds");

    check(&rules, "{}", NOW, &jwt);

    tap_ok(jwt.exp == 0 && jwt.nbf == 0 && jwt.iat == 0, "or none");

    tap_is(check(&rules, "{\"exp\":1}", 0, &jwt), NGX_WS_BUS_JWT_OK,
           "in 1970");
    tap_is(check(&rules, "{\"exp\":0}", 0, &jwt), NGX_WS_BUS_JWT_EXPIRED,
           "... not");
}


static void
test_leeway(void)
{
    ngx_ws_bus_jwt_t        jwt;
    ngx_ws_bus_jwt_rules_t  rules;

    ngx_memzero(&rules, sizeof(rules));

    rules.leeway = 30;

    tap_is(check(&rules, "{\"exp\":1699999971}", NOW, &jwt),
           NGX_WS_BUS_JWT_OK, "expired 29 s ago");
    tap_is(check(&rules, "{\"exp\":1699999970}", NOW, &jwt),
           NGX_WS_BUS_JWT_EXPIRED, "expired 30 s ago");
    tap_is(check(&rules, "{\"nbf\":1700000030}", NOW, &jwt),
           NGX_WS_BUS_JWT_OK, "valid in 30 s");
    tap_is(check(&rules, "{\"nbf\":1700000031}", NOW, &jwt),
           NGX_WS_BUS_JWT_EARLY, "valid in 31 s");
    tap_is(check(&rules, "{\"iat\":1700000030}", NOW, &jwt),
           NGX_WS_BUS_JWT_OK, "issued in 30 s");
    tap_is(check(&rules, "{\"iat\":1700000031}", NOW, &jwt),
           NGX_WS_BUS_JWT_IAT_FUTURE, "issued in 31 s");

    rules.leeway = (time_t) 1 << 31;

    tap_is(check(&rules, "{\"exp\":253402300799,\"nbf\":253402300799}", NOW,
                 &jwt),
           NGX_WS_BUS_JWT_EARLY, "a long leeway");
}


static void
test_issuer(void)
{
    ngx_str_t               names[2];
    ngx_ws_bus_jwt_rules_t  rules;

    ngx_str_set(&names[0], "https://a.example/");
    ngx_str_set(&names[1], "joe");

    ngx_memzero(&rules, sizeof(rules));

    rules.issuers = names;
    rules.nissuers = 2;

    check_all(&rules, issuers, sizeof(issuers) / sizeof(issuers[0]));
}


static void
test_audience(void)
{
    ngx_str_t               names[2];
    ngx_ws_bus_jwt_rules_t  rules;

    ngx_str_set(&names[0], "bus");
    ngx_str_set(&names[1], "chat");

    ngx_memzero(&rules, sizeof(rules));

    rules.audiences = names;
    rules.naudiences = 2;

    check_all(&rules, audiences, sizeof(audiences) / sizeof(audiences[0]));
}


static void
test_strings(void)
{
    ngx_ws_bus_jwt_t        jwt;
    ngx_ws_bus_jwt_rules_t  rules;

    ngx_memzero(&rules, sizeof(rules));
    ngx_memzero(&jwt, sizeof(jwt));

    jwt.claims = parse("{\"sub\":\"alice\",\"jti\":\"\"}");

    tap_is(ngx_ws_bus_jwt_check(&rules, NOW, &jwt), NGX_OK, "sub and jti");
    tap_ok(jwt.sub.len == 5 && memcmp(jwt.sub.data, "alice", 5) == 0,
           "... sub");
    tap_ok(jwt.jti.len == 0 && jwt.jti.data != NULL, "... an empty jti");

    json_decref(jwt.claims);

    jwt.claims = parse("{}");

    tap_is(ngx_ws_bus_jwt_check(&rules, NOW, &jwt), NGX_OK, "neither");
    tap_ok(jwt.sub.data == NULL && jwt.jti.data == NULL, "... is there");

    json_decref(jwt.claims);
}


static void
test_find(void)
{
    char              *got, longest[300];
    json_t            *claims;
    ngx_str_t          names[4];
    ngx_uint_t         i, n;
    const json_t      *claim;
    const find_case_t *t;

    for (i = 0; i < sizeof(finds) / sizeof(finds[0]); i++) {
        t = &finds[i];

        claims = parse(t->claims);

        for (n = 0; n < 4 && t->names[n]; n++) {
            names[n].data = (u_char *) strdup(t->names[n]);
            names[n].len = strlen(t->names[n]);
        }

        claim = ngx_ws_bus_jwt_claim(claims, names, n);

        got = claim ? json_dumps(claim, JSON_COMPACT|JSON_ENCODE_ANY) : NULL;

        tap_ok((got == NULL) == (t->json == NULL)
               && (got == NULL || strcmp(got, t->json) == 0),
               "%s of %s", t->names[n - 1], t->claims);

        free(got);

        while (n--) {
            free(names[n].data);
        }

        json_decref(claims);
    }

    memset(longest, 'n', sizeof(longest));
    longest[255] = '\0';

    claims = json_object();
    json_object_set_new(claims, longest, json_true());

    names[0].data = (u_char *) longest;
    names[0].len = 255;

    tap_ok(ngx_ws_bus_jwt_claim(claims, names, 1) != NULL,
           "a name of 255 bytes");

    longest[255] = 'n';
    longest[256] = '\0';
    json_object_set_new(claims, longest, json_true());
    names[0].len = 256;

    tap_ok(ngx_ws_bus_jwt_claim(claims, names, 1) == NULL, "a longer one");

    json_object_set_new(claims, "a", json_true());
    names[0].data = (u_char *) "a\0b";
    names[0].len = 3;

    tap_ok(ngx_ws_bus_jwt_claim(claims, names, 1) == NULL,
           "a null character does not end a name");

    tap_ok(ngx_ws_bus_jwt_claim(claims, names, 0) == claims,
           "without a name it is all");
    tap_ok(ngx_ws_bus_jwt_claim(NULL, names, 1) == NULL, "nothing of nothing");

    json_decref(claims);
}


static void
test_text(void)
{
    json_t      *claim;
    u_char      *got;
    size_t       len;
    ngx_uint_t   i;

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        claim = parse(texts[i].claim);

        len = ngx_ws_bus_jwt_text(claim, NULL, 0);

        got = malloc(len + 1);
        memset(got, '#', len + 1);

        tap_ok(len == strlen(texts[i].text)
               && ngx_ws_bus_jwt_text(claim, got, len) == len
               && memcmp(got, texts[i].text, len) == 0 && got[len] == '#',
               "%s is \"%s\"", texts[i].claim, texts[i].text);

        free(got);
        json_decref(claim);
    }

    tap_is(ngx_ws_bus_jwt_text(NULL, NULL, 0), 0, "no claim is nothing");
}


/* with less room than it takes, its beginning */

static void
test_text_size(void)
{
    json_t  *claim;
    u_char  *part, whole[100];
    size_t   len, size;

    claim = parse("[\"abc\",12.5,{\"a\":[1,2,3]},\"xyz\",[true]]");

    len = ngx_ws_bus_jwt_text(claim, whole, sizeof(whole));

    for (size = 0; size <= len; size++) {
        part = malloc(size ? size : 1);

        tap_each(ngx_ws_bus_jwt_text(claim, part, size) == len,
                 "the length in %d", (int) size);

        /* JSON is not begun where there is no room for its end */

        if (size <= 9 || size >= len - 10) {
            tap_each(memcmp(part, whole, ngx_min(size, 9)) == 0, "in %d",
                     (int) size);
        }

        free(part);
    }

    tap_all("in less room");

    json_decref(claim);
}


static void
test_lookup(void)
{
    json_t                   *claims;
    ngx_str_t                 name, value;
    ngx_ws_bus_jwt_lookup_t   lookup;

    claims = parse("{\"sub\":\"alice\",\"n\":-9223372036854775808,\"r\":1.5,"
                   "\"b\":true,\"o\":{},\"a\":[\"x\"],\"z\":null}");

    lookup.claims = claims;

    ngx_str_set(&name, "sub");
    tap_ok(ngx_ws_bus_jwt_lookup(&lookup, &name, &value) == NGX_OK
           && value.len == 5 && memcmp(value.data, "alice", 5) == 0,
           "a string");

    ngx_str_set(&name, "n");
    tap_ok(ngx_ws_bus_jwt_lookup(&lookup, &name, &value) == NGX_OK
           && value.len == 20
           && memcmp(value.data, "-9223372036854775808", 20) == 0,
           "an integer");

    ngx_str_set(&name, "r");
    tap_is(ngx_ws_bus_jwt_lookup(&lookup, &name, &value), NGX_DECLINED,
           "a real number");
    ngx_str_set(&name, "b");
    tap_is(ngx_ws_bus_jwt_lookup(&lookup, &name, &value), NGX_DECLINED,
           "true");
    ngx_str_set(&name, "o");
    tap_is(ngx_ws_bus_jwt_lookup(&lookup, &name, &value), NGX_DECLINED,
           "an object");
    ngx_str_set(&name, "a");
    tap_is(ngx_ws_bus_jwt_lookup(&lookup, &name, &value), NGX_DECLINED,
           "an array");
    ngx_str_set(&name, "z");
    tap_is(ngx_ws_bus_jwt_lookup(&lookup, &name, &value), NGX_DECLINED,
           "null");
    ngx_str_set(&name, "x");
    tap_is(ngx_ws_bus_jwt_lookup(&lookup, &name, &value), NGX_DECLINED,
           "nothing");

    json_decref(claims);
}


/* the grants claim "bus" of some claims */

static ngx_uint_t
compile(const char *text, ngx_ws_bus_jwt_grants_t **grants)
{
    json_t                        *claims;
    ngx_int_t                      rc;
    const ngx_ws_bus_jwt_error_t  *error;

    claims = parse(text);

    *grants = (ngx_ws_bus_jwt_grants_t *) text;

    rc = ngx_ws_bus_jwt_grants(json_object_get(claims, "bus"), claims, grants,
                               &error);

    json_decref(claims);

    return (rc == NGX_OK) == (error->reason == NGX_WS_BUS_JWT_OK)
           && (rc == NGX_OK) == (*grants != NULL)
           ? error->reason : 1000;
}


static void
check_channels(const ngx_ws_bus_jwt_grants_t *grants, const channel_case_t *t,
    ngx_uint_t n)
{
    ngx_str_t  channel;

    for (/* void */; n--; t++) {
        channel.data = (u_char *) t->channel;
        channel.len = strlen(t->channel);

        tap_ok(ngx_ws_bus_jwt_may_subscribe(grants, &channel) == t->subscribe
               && ngx_ws_bus_jwt_may_publish(grants, &channel) == t->publish,
               "\"%s\": %d, %d", t->channel, (int) t->subscribe,
               (int) t->publish);
    }
}


static void
test_grants(void)
{
    ngx_uint_t                i;
    ngx_ws_bus_jwt_grants_t  *grants;

    static const channel_case_t  some[] = {
        { "news", 0, 0 },
        { "news.sports", 1, 0 },
        { "news.sports.tennis", 0, 0 },
        { "user.alice", 0, 0 },
        { "user.alice.in", 1, 1 },
        { "user.alice.a.b", 1, 0 },
        { "user.bob.in", 0, 0 },
        { "chat", 1, 1 },
        { "", 0, 0 }
    };

    static const channel_case_t  none[] = {
        { "news", 0, 0 }, { "", 0, 0 }, { "user.alice.in", 0, 0 }
    };

    static const char  *nothing[] = {
        "{}", "{\"bus\":{}}", "{\"bus\":{\"subscribe\":[],\"publish\":[]}}",
        "{\"bus\":{\"Subscribe\":[\"**\"]}}"
    };

    tap_is(compile("{\"sub\":\"alice\",\"bus\":{\"subscribe\":[\"news.*\","
                   "\"user.{sub}.**\",\"chat\"],\"publish\":"
                   "[\"user.{sub}.in\",\"chat\"],\"history\":1}}", &grants),
           NGX_WS_BUS_JWT_OK, "grants");
    tap_ok(grants->subscribe == 3 && grants->publish == 2
           && grants->voided == 0, "... of five patterns");
    check_channels(grants, some, sizeof(some) / sizeof(some[0]));
    free(grants);

    for (i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++) {
        tap_is(compile(nothing[i], &grants), NGX_WS_BUS_JWT_OK, "%s",
               nothing[i]);
        check_channels(grants, none, 3);
        free(grants);
    }

    check_channels(NULL, none, 3);

    tap_is(compile("{\"bus\":{\"publish\":[\"**\"]}}", &grants),
           NGX_WS_BUS_JWT_OK, "to publish only");
    tap_ok(grants->subscribe == 0 && grants->publish == 1, "... is one");
    check_channels(grants, (channel_case_t[]) {
                   { "news", 0, 1 }, { "a.b", 0, 1 } }, 2);
    free(grants);
}


static void
test_grants_claims(void)
{
    ngx_uint_t                i;
    ngx_ws_bus_jwt_grants_t  *grants;

    static const char  *voids[] = {
        "\"*\"", "\"**\"", "\"a.b\"", "\"a/b\"", "\"a:b\"", "\"\"", "\"a b\"",
        "\"?\"", "\"{n}\"", "\"\\u0001\"", "\"\\u0002\"", "true", "1.5",
        "null", "[\"a\"]", "{}"
    };

    for (i = 0; i < sizeof(voids) / sizeof(voids[0]); i++) {
        char  text[200];

        snprintf(text, sizeof(text), "{\"x\":%s,\"bus\":{\"subscribe\":"
                 "[\"a.{x}\",\"b\"],\"publish\":[\"{x}\"]}}", voids[i]);

        tap_is(compile(text, &grants), NGX_WS_BUS_JWT_OK, "%s", text);
        tap_ok(grants->voided == 2 && grants->subscribe == 1
               && grants->publish == 0, "... voids two patterns");
        check_channels(grants, (channel_case_t[]) {
                       { "a.b", 0, 0 }, { "a.", 0, 0 }, { "b", 1, 0 } }, 3);
        free(grants);
    }

    tap_is(compile("{\"tenant\":42,\"bus\":{\"subscribe\":[\"t.{tenant}.*\","
                   "\"{https://a.example/x}\"]},"
                   "\"https://a.example/x\":\"y\"}", &grants),
           NGX_WS_BUS_JWT_OK, "claims of other names");
    check_channels(grants, (channel_case_t[]) {
                   { "t.42.x", 1, 0 }, { "t.4.x", 0, 0 }, { "y", 1, 0 } }, 3);
    free(grants);
}


static void
test_grants_bad(void)
{
    ngx_uint_t                i;
    ngx_ws_bus_jwt_grants_t  *grants;

    static const claims_case_t  bad[] = {
        { "{\"bus\":[]}", NGX_WS_BUS_JWT_GRANTS },
        { "{\"bus\":null}", NGX_WS_BUS_JWT_GRANTS },
        { "{\"bus\":\"*\"}", NGX_WS_BUS_JWT_GRANTS },
        { "{\"bus\":true}", NGX_WS_BUS_JWT_GRANTS },
        { "{\"bus\":{\"subscribe\":\"*\"}}", NGX_WS_BUS_JWT_GRANTS },
        { "{\"bus\":{\"subscribe\":null}}", NGX_WS_BUS_JWT_GRANTS },
        { "{\"bus\":{\"publish\":{}}}", NGX_WS_BUS_JWT_GRANTS },
        { "{\"bus\":{\"subscribe\":[1]}}", NGX_WS_BUS_JWT_GRANTS },
        { "{\"bus\":{\"subscribe\":[\"a\",null]}}", NGX_WS_BUS_JWT_GRANTS },
        { "{\"bus\":{\"publish\":[\"a\",[\"b\"]]}}", NGX_WS_BUS_JWT_GRANTS },
        { "{\"bus\":{\"subscribe\":[\"\"]}}",
          NGX_WS_BUS_JWT_GRANTS_PATTERN },
        { "{\"bus\":{\"subscribe\":[\"a\",\"***\"]}}",
          NGX_WS_BUS_JWT_GRANTS_PATTERN },
        { "{\"bus\":{\"publish\":[\"{sub\"]}}",
          NGX_WS_BUS_JWT_GRANTS_PATTERN },
        { "{\"bus\":{\"publish\":[\"a?\"]}}",
          NGX_WS_BUS_JWT_GRANTS_PATTERN }
    };

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        tap_is(compile(bad[i].claims, &grants), bad[i].error, "%s",
               bad[i].claims);
    }

    test_no_memory = 1;

    tap_is(compile("{\"bus\":{\"subscribe\":[\"a\"]}}", &grants),
           NGX_WS_BUS_JWT_INTERNAL, "no memory");

    test_no_memory = 0;
}


static ngx_uint_t
compile_many(ngx_uint_t subscribe, ngx_uint_t publish,
    ngx_ws_bus_jwt_grants_t **grants)
{
    char        *text, *p;
    ngx_uint_t   i, result;

    text = malloc(100 + (subscribe + publish) * 16);
    p = text + sprintf(text, "{\"bus\":{\"subscribe\":[");

    for (i = 0; i < subscribe; i++) {
        p += sprintf(p, "%s\"s%d.*\"", i ? "," : "", (int) i);
    }

    p += sprintf(p, "],\"publish\":[");

    for (i = 0; i < publish; i++) {
        p += sprintf(p, "%s\"p%d\"", i ? "," : "", (int) i);
    }

    sprintf(p, "]}}");

    result = compile(text, grants);

    free(text);

    return result;
}


static void
test_grants_limits(void)
{
    ngx_ws_bus_jwt_grants_t  *grants;

    tap_is(compile_many(256, 256, &grants), NGX_WS_BUS_JWT_OK,
           "256 patterns of each kind");
    tap_ok(grants->subscribe == 256 && grants->publish == 256, "... are all");
    check_channels(grants, (channel_case_t[]) {
                   { "s0.x", 1, 0 }, { "s255.x", 1, 0 }, { "s256.x", 0, 0 },
                   { "p0", 0, 1 }, { "p255", 0, 1 }, { "p256", 0, 0 } }, 6);
    free(grants);

    tap_is(compile_many(257, 1, &grants), NGX_WS_BUS_JWT_GRANTS_MANY,
           "257 to subscribe");
    tap_is(compile_many(0, 257, &grants), NGX_WS_BUS_JWT_GRANTS_MANY,
           "257 to publish");
}
