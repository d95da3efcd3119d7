
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>


/* what fails, for the library to be one that does */

static const char  *test_fails = "";


static int
test_ok(const char *name)
{
    return strcmp(test_fails, name) != 0;
}


#define EVP_PKEY_CTX_new(pkey, engine)                                        \
    (test_ok("ctx") ? EVP_PKEY_CTX_new(pkey, engine) : NULL)

#define EVP_PKEY_verify_init(ctx)                                             \
    (test_ok("init") ? EVP_PKEY_verify_init(ctx) : 0)

#define EVP_PKEY_CTX_set_signature_md(ctx, md)                                \
    (test_ok("md") ? EVP_PKEY_CTX_set_signature_md(ctx, md) : 0)

#define EVP_Digest(data, count, md, size, type, impl)                         \
    (test_ok("digest") ? EVP_Digest(data, count, md, size, type, impl) : 0)

#define EVP_MD_CTX_new()                                                      \
    (test_ok("md_ctx") ? EVP_MD_CTX_new() : NULL)

#define EVP_DigestVerifyInit(ctx, pctx, type, e, pkey)                        \
    (test_ok("verify") ? EVP_DigestVerifyInit(ctx, pctx, type, e, pkey) : 0)

#define HMAC(md, key, len, d, n, mac, size)                                   \
    (test_ok("hmac") ? HMAC(md, key, len, d, n, mac, size) : NULL)

#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_handshake.c"
#include "ngx_ws_bus_pattern.c"
#include "ngx_ws_bus_jose.c"
#include "ngx_ws_bus_jwk_der.c"
#include "ngx_ws_bus_jwk.c"
#include "ngx_ws_bus_jwt.c"
#include "ngx_ws_bus_jwt_claims.c"

#undef EVP_PKEY_CTX_new
#undef EVP_PKEY_verify_init
#undef EVP_PKEY_CTX_set_signature_md
#undef EVP_Digest
#undef EVP_MD_CTX_new
#undef EVP_DigestVerifyInit
#undef HMAC

#include "jose.h"
#include "tap.h"


#define NOW    1700000000
#define ALL    0x1fff

#define HS256  "{\"alg\":\"HS256\"}"


/* a header and what is said of it, with a valid signature */

typedef struct {
    const char              *header;
    ngx_ws_bus_jwt_error_e   error;
} header_case_t;


typedef struct {
    const char              *token;
    ngx_ws_bus_jwt_error_e   error;
} token_case_t;


/* a kind of key, with a key of it */

typedef struct {
    const char              *kind;
    size_t                   bits;         /* of RSA; octets of a secret */
    const char              *algorithms;
    EVP_PKEY                *pkey;
    ngx_ws_bus_jwk_set_t     set;
} kind_t;


static int check(void);
static void make_keys(void);
static void free_keys(void);
static void test_table(void);
static void test_rfc7515(void);
static void test_rfc7519(void);
static void test_rfc8037(void);
static void test_matrix(void);
static void test_other_key(void);
static void test_allowed(void);
static void test_confusion(void);
static void test_headers(void);
static void test_tokens(void);
static void test_sizes(void);
static void test_tampering(void);
static void test_ecdsa(void);
static void test_ecdsa_der(void);
static void test_pss(void);
static void test_rsa(void);
static void test_eddsa(void);
static void test_hmac(void);
static void test_claims_text(void);
static void test_kid(void);
static void test_tries(void);
static void test_sets(void);
static void test_seen(void);
static void test_repeated(void);
static void test_library(void);
static void test_error_queue(void);


static const char  *algorithms[] = {
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
    "ES512", "EdDSA", "HS256", "HS384", "HS512"
};

#define NALG  (sizeof(algorithms) / sizeof(algorithms[0]))


static kind_t  kinds[] = {
    { "RSA", 2048, "RS256 RS384 RS512 PS256 PS384 PS512", NULL, { NULL, 0 } },
    { "RSA", 3072, "RS256 RS384 RS512 PS256 PS384 PS512", NULL, { NULL, 0 } },
    { "P-256", 0, "ES256", NULL, { NULL, 0 } },
    { "P-384", 0, "ES384", NULL, { NULL, 0 } },
    { "P-521", 0, "ES512", NULL, { NULL, 0 } },
    { "ED25519", 0, "EdDSA", NULL, { NULL, 0 } },
    { "ED448", 0, "EdDSA", NULL, { NULL, 0 } },
    { "oct", 32, "HS256", NULL, { NULL, 0 } },
    { "oct", 48, "HS256 HS384", NULL, { NULL, 0 } },
    { "oct", 64, "HS256 HS384 HS512", NULL, { NULL, 0 } }
};

#define NKIND  (sizeof(kinds) / sizeof(kinds[0]))

#define RSA2048  (&kinds[0])
#define RSA3072  (&kinds[1])
#define P_256    (&kinds[2])
#define P_384    (&kinds[3])
#define P_521    (&kinds[4])
#define ED25519  (&kinds[5])
#define ED448    (&kinds[6])
#define OCT64    (&kinds[9])


static const char  secret[] =
    "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789ABCDEF";


/* signed with a secret by HS256, but for "alg" itself */

static const header_case_t  headers[] = {
    { HS256, NGX_WS_BUS_JWT_OK },
    { "{\"typ\":\"JWT\",\r\n \"alg\":\"HS256\"}", NGX_WS_BUS_JWT_OK },
    { " {\"alg\":\"HS256\"}\n", NGX_WS_BUS_JWT_OK },
    { "{\"alg\":\"HS256\",\"typ\":\"jwt\"}", NGX_WS_BUS_JWT_OK },
    { "{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}", NGX_WS_BUS_JWT_OK },
    { "{\"alg\":\"HS256\",\"typ\":\"application/at+JWT\"}",
      NGX_WS_BUS_JWT_OK },
    { "{\"alg\":\"HS256\",\"typ\":\"application/jwt\"}", NGX_WS_BUS_JWT_OK },
    { "{\"alg\":\"HS256\",\"cty\":1,\"x\":[{}],\"b64\":false}",
      NGX_WS_BUS_JWT_OK },
    { "{\"alg\":\"HS256\",\"jku\":\"https://evil.example/\",\"jwk\":{},"
      "\"x5c\":[\"A\"],\"x5u\":1,\"x5t\":null}", NGX_WS_BUS_JWT_OK },
    { "{\"\\u0061lg\":\"HS\\u0032\\u0035\\u0036\"}", NGX_WS_BUS_JWT_OK },

    { "", NGX_WS_BUS_JWT_HEADER_JSON },
    { "{", NGX_WS_BUS_JWT_HEADER_JSON },
    { "{\"alg\":\"HS256\"}}", NGX_WS_BUS_JWT_HEADER_JSON },
    { "{\"alg\":\"HS256\"} x", NGX_WS_BUS_JWT_HEADER_JSON },
    { "{\"alg\":\"HS256\",}", NGX_WS_BUS_JWT_HEADER_JSON },
    { "{'alg':'HS256'}", NGX_WS_BUS_JWT_HEADER_JSON },
    { "{\"alg\":\"HS256\",\"x\":\"\xff\"}", NGX_WS_BUS_JWT_HEADER_JSON },
    { "{\"alg\":\"HS256\",\"x\":\"\\u0000\"}", NGX_WS_BUS_JWT_HEADER_JSON },
    { "{\"alg\":\"HS256\",\"\\u0000\":1}", NGX_WS_BUS_JWT_HEADER_JSON },
    { "\xef\xbb\xbf{\"alg\":\"HS256\"}", NGX_WS_BUS_JWT_HEADER_JSON },
    { "\"HS256\"", NGX_WS_BUS_JWT_HEADER_JSON },
    { "{\"alg\":\"HS256\",\"alg\":\"HS256\"}",
      NGX_WS_BUS_JWT_HEADER_DUPLICATE },
    { "{\"alg\":\"HS256\",\"\\u0061lg\":\"none\"}",
      NGX_WS_BUS_JWT_HEADER_DUPLICATE },
    { "{\"alg\":\"HS256\",\"x\":{\"a\":1,\"a\":2}}",
      NGX_WS_BUS_JWT_HEADER_DUPLICATE },
    { "{\"alg\":\"HS256\",\"x\":99999999999999999999}",
      NGX_WS_BUS_JWT_HEADER_NUMBER },
    { "{\"alg\":\"HS256\",\"x\":-1e999}", NGX_WS_BUS_JWT_HEADER_NUMBER },
    { "{\"alg\":\"HS256\",\"x\":[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]}",
      NGX_WS_BUS_JWT_OK },
    { "{\"alg\":\"HS256\",\"x\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}",
      NGX_WS_BUS_JWT_HEADER_DEEP },
    { "[\"alg\",\"HS256\"]", NGX_WS_BUS_JWT_HEADER_OBJECT },
    { "[]", NGX_WS_BUS_JWT_HEADER_OBJECT },

    { "{}", NGX_WS_BUS_JWT_ALG },
    { "{\"Alg\":\"HS256\"}", NGX_WS_BUS_JWT_ALG },
    { "{\"alg\":null}", NGX_WS_BUS_JWT_ALG },
    { "{\"alg\":256}", NGX_WS_BUS_JWT_ALG },
    { "{\"alg\":true}", NGX_WS_BUS_JWT_ALG },
    { "{\"alg\":[\"HS256\"]}", NGX_WS_BUS_JWT_ALG },
    { "{\"alg\":{\"HS256\":1}}", NGX_WS_BUS_JWT_ALG },
    { "{\"alg\":\"none\"}", NGX_WS_BUS_JWT_ALG_NONE },
    { "{\"alg\":\"\\u006eone\"}", NGX_WS_BUS_JWT_ALG_NONE },
    { "{\"alg\":\"None\"}", NGX_WS_BUS_JWT_ALG_UNKNOWN },
    { "{\"alg\":\"NONE\"}", NGX_WS_BUS_JWT_ALG_UNKNOWN },
    { "{\"alg\":\"none \"}", NGX_WS_BUS_JWT_ALG_UNKNOWN },
    { "{\"alg\":\"\"}", NGX_WS_BUS_JWT_ALG_UNKNOWN },
    { "{\"alg\":\"hs256\"}", NGX_WS_BUS_JWT_ALG_UNKNOWN },
    { "{\"alg\":\"HS256 \"}", NGX_WS_BUS_JWT_ALG_UNKNOWN },
    { "{\"alg\":\"HS1\"}", NGX_WS_BUS_JWT_ALG_UNKNOWN },
    { "{\"alg\":\"ES256K\"}", NGX_WS_BUS_JWT_ALG_UNKNOWN },
    { "{\"alg\":\"dir\"}", NGX_WS_BUS_JWT_ALG_UNKNOWN },

    { "{\"alg\":\"HS256\",\"typ\":1}", NGX_WS_BUS_JWT_TYP },
    { "{\"alg\":\"HS256\",\"typ\":null}", NGX_WS_BUS_JWT_TYP },
    { "{\"alg\":\"HS256\",\"typ\":[\"JWT\"]}", NGX_WS_BUS_JWT_TYP },
    { "{\"alg\":\"HS256\",\"typ\":{}}", NGX_WS_BUS_JWT_TYP },
    { "{\"alg\":\"HS256\",\"typ\":\"\"}", NGX_WS_BUS_JWT_TYP_OTHER },
    { "{\"alg\":\"HS256\",\"typ\":\"JWE\"}", NGX_WS_BUS_JWT_TYP_OTHER },
    { "{\"alg\":\"HS256\",\"typ\":\"logout+jwt\"}",
      NGX_WS_BUS_JWT_TYP_OTHER },
    { "{\"alg\":\"HS256\",\"typ\":\"secevent+jwt\"}",
      NGX_WS_BUS_JWT_TYP_OTHER },
    { "{\"alg\":\"HS256\",\"typ\":\"dpop+jwt\"}", NGX_WS_BUS_JWT_TYP_OTHER },
    { "{\"alg\":\"HS256\",\"typ\":\"JWT \"}", NGX_WS_BUS_JWT_TYP_OTHER },

    { "{\"alg\":\"HS256\",\"crit\":\"exp\"}", NGX_WS_BUS_JWT_CRIT },
    { "{\"alg\":\"HS256\",\"crit\":null}", NGX_WS_BUS_JWT_CRIT },
    { "{\"alg\":\"HS256\",\"crit\":{}}", NGX_WS_BUS_JWT_CRIT },
    { "{\"alg\":\"HS256\",\"crit\":[]}", NGX_WS_BUS_JWT_CRIT },
    { "{\"alg\":\"HS256\",\"crit\":[1]}", NGX_WS_BUS_JWT_CRIT },
    { "{\"alg\":\"HS256\",\"crit\":[\"exp\",1],\"exp\":1}",
      NGX_WS_BUS_JWT_CRIT },
    { "{\"alg\":\"HS256\",\"crit\":[\"alg\"]}",
      NGX_WS_BUS_JWT_CRIT_UNKNOWN },
    { "{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":true}",
      NGX_WS_BUS_JWT_CRIT_UNKNOWN },
    { "{\"alg\":\"HS256\",\"crit\":[\"http://example.com/UNDEFINED\"],"
      "\"http://example.com/UNDEFINED\":true}",
      NGX_WS_BUS_JWT_CRIT_UNKNOWN },

    { "{\"alg\":\"HS256\",\"kid\":1}", NGX_WS_BUS_JWT_KID },
    { "{\"alg\":\"HS256\",\"kid\":null}", NGX_WS_BUS_JWT_KID },
    { "{\"alg\":\"HS256\",\"kid\":[\"a\"]}", NGX_WS_BUS_JWT_KID },
    { "{\"alg\":\"HS256\",\"kid\":{}}", NGX_WS_BUS_JWT_KID }
};


/* whole tokens of no use */

static const token_case_t  tokens[] = {
    { "", NGX_WS_BUS_JWT_PARTS },
    { ".", NGX_WS_BUS_JWT_PARTS },
    { "e30", NGX_WS_BUS_JWT_PARTS },
    { "e30.e30", NGX_WS_BUS_JWT_PARTS },
    { "e30.e30.e30.e30", NGX_WS_BUS_JWT_PARTS },
    { "e30.e30.e30.e30.e30", NGX_WS_BUS_JWT_PARTS },
    { "....", NGX_WS_BUS_JWT_PARTS },
    { "..", NGX_WS_BUS_JWT_HEADER_JSON },
    { "e30..", NGX_WS_BUS_JWT_ALG },
    { "Bearer e30.e30.e30", NGX_WS_BUS_JWT_HEADER_BASE64 },
    { "e30=.e30.e30", NGX_WS_BUS_JWT_HEADER_BASE64 },
    { "e31.e30.e30", NGX_WS_BUS_JWT_HEADER_BASE64 },
    { "e3.e30.e30", NGX_WS_BUS_JWT_HEADER_BASE64 },
    { "e.e30.e30", NGX_WS_BUS_JWT_HEADER_BASE64 },
    { " e30.e30.e30", NGX_WS_BUS_JWT_HEADER_BASE64 },
    { "e+0.e30.e30", NGX_WS_BUS_JWT_HEADER_BASE64 },

    /* {"alg":"HS256"} */

    { "eyJhbGciOiJIUzI1NiJ9.e30.", NGX_WS_BUS_JWT_SIGNATURE_LENGTH },
    { "eyJhbGciOiJIUzI1NiJ9.e30.A", NGX_WS_BUS_JWT_SIGNATURE_BASE64 },
    { "eyJhbGciOiJIUzI1NiJ9.e30.AB", NGX_WS_BUS_JWT_SIGNATURE_BASE64 },
    { "eyJhbGciOiJIUzI1NiJ9.e30.AA==", NGX_WS_BUS_JWT_SIGNATURE_BASE64 },
    { "eyJhbGciOiJIUzI1NiJ9.e30.AA", NGX_WS_BUS_JWT_SIGNATURE_LENGTH },

    /* {"alg":"none"} */

    { "eyJhbGciOiJub25lIn0.e30.", NGX_WS_BUS_JWT_ALG_NONE },
    { "eyJhbGciOiJub25lIn0.e30.AAAA", NGX_WS_BUS_JWT_ALG_NONE }
};


static ngx_ws_bus_jwt_rules_t  rules;


int
main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "check") == 0) {
        return check();
    }

    make_keys();

    test_table();
    test_rfc7515();
    test_rfc7519();
    test_rfc8037();
    test_matrix();
    test_other_key();
    test_allowed();
    test_confusion();
    test_headers();
    test_tokens();
    test_sizes();
    test_tampering();
    test_ecdsa();
    test_ecdsa_der();
    test_pss();
    test_rsa();
    test_eddsa();
    test_hmac();
    test_claims_text();
    test_kid();
    test_tries();
    test_sets();
    test_seen();
    test_repeated();
    test_library();
    test_error_queue();

    free_keys();

    return tap_done();
}


/*
 * The checker of t/jwt.t: lines of a file with keys, algorithms with commas
 * between, the time, and a token.  Says "ok" and the claims, or what is
 * wrong with the keys or the token.
 */

static int
check(void)
{
    char                          *claims, *name;
    FILE                          *fp;
    size_t                         len;
    ngx_str_t                      token;
    ngx_ws_bus_jwt_t               jwt;
    ngx_ws_bus_jwk_set_t           set, *sets;
    const ngx_ws_bus_jwk_error_t  *error;

    static char  file[1024], algs[256], text[65536], keys[65536];
    static long  now;

    sets = &set;

    while (scanf("%1023s %255s %ld %65535s", file, algs, &now, text) == 4) {

        fp = fopen(file, "rb");
        jose_must(fp != NULL);
        len = fread(keys, 1, sizeof(keys), fp);
        fclose(fp);

        ngx_memzero(&set, sizeof(set));

        if (ngx_ws_bus_jwk_add(&set, (u_char *) keys, len, NULL, NULL, &error)
            != NGX_OK)
        {
            printf("keys: %s\n", error->text.data);
            fflush(stdout);
            continue;
        }

        ngx_memzero(&rules, sizeof(rules));

        rules.sets = &sets;
        rules.nsets = 1;

        for (name = strtok(algs, ","); name; name = strtok(NULL, ",")) {
            rules.algorithms |= ngx_ws_bus_jose_alg((u_char *) name,
                                                    strlen(name))->bit;
        }

        token.data = (u_char *) text;
        token.len = strlen(text);

        if (ngx_ws_bus_jwt_verify(&rules, &token, now, &jwt) == NGX_OK) {
            claims = json_dumps(jwt.claims, JSON_COMPACT|JSON_SORT_KEYS);
            printf("ok %s\n", claims);
            free(claims);

        } else {
            printf("%s\n", jwt.error->text.data);
        }

        fflush(stdout);

        ngx_ws_bus_jwt_free(&jwt);
        ngx_ws_bus_jwk_free(&set);
    }

    return 0;
}


static void
add(ngx_ws_bus_jwk_set_t *set, const char *text)
{
    const ngx_ws_bus_jwk_error_t  *error;

    if (ngx_ws_bus_jwk_add(set, (u_char *) text, strlen(text), NULL, NULL,
                           &error)
        != NGX_OK)
    {
        fprintf(stderr, "%s: %s\n", text, error->text.data);
        exit(2);
    }
}


/* "kty":..., of a kind's key, with a kid unless it is NULL */

static char *
jwk(kind_t *kind, const char *kid)
{
    char  *members, *text;

    if (kind->pkey) {
        members = jose_members(kind->pkey);

    } else {
        text = jose_base64url(secret, kind->bits);
        members = jose_string("\"kty\":\"oct\",\"k\":\"%s\"", text);
        free(text);
    }

    text = jose_string("{%s%s%s%s}", members, kid ? ",\"kid\":\"" : "",
                       kid ? kid : "", kid ? "\"" : "");
    free(members);

    return text;
}


static void
make_keys(void)
{
    char        *text;
    ngx_uint_t   i;

    for (i = 0; i < NKIND; i++) {

        if (strcmp(kinds[i].kind, "oct") != 0) {
            kinds[i].pkey = jose_key(kinds[i].kind, kinds[i].bits);
        }

        text = jwk(&kinds[i], NULL);
        add(&kinds[i].set, text);
        free(text);
    }
}


static void
free_keys(void)
{
    ngx_uint_t  i;

    for (i = 0; i < NKIND; i++) {
        EVP_PKEY_free(kinds[i].pkey);
        ngx_ws_bus_jwk_free(&kinds[i].set);
    }
}


static char *
sign(kind_t *kind, const char *alg, const char *header, const char *claims)
{
    return jose_token_of(alg, kind->pkey, secret, kind->bits, header,
                         strlen(header), claims, strlen(claims));
}


/* what is said of a token, which is in memory of its own size */

static ngx_uint_t
verify_at(ngx_ws_bus_jwk_set_t *set, const char *token, size_t len,
    time_t now, ngx_ws_bus_jwt_t *jwt)
{
    ngx_int_t              rc;
    ngx_str_t              text;
    ngx_ws_bus_jwk_set_t  *sets;

    text.len = len;
    text.data = malloc(len ? len : 1);
    jose_must(text.data != NULL);
    memcpy(text.data, token, len);

    sets = set;

    if (set != NULL) {
        rules.sets = &sets;
        rules.nsets = 1;
    }

    if (rules.algorithms == 0) {
        rules.algorithms = ALL;
    }

    memset(jwt, 0x5a, sizeof(ngx_ws_bus_jwt_t));

    rc = ngx_ws_bus_jwt_verify(&rules, &text, now, jwt);

    free(text.data);

    jose_must(rc == NGX_OK || rc == NGX_ERROR);
    jose_must((rc == NGX_OK) == (jwt->error->reason == NGX_WS_BUS_JWT_OK));

    /* claims are what is signed */

    jose_must((jwt->claims != NULL)
              == (jwt->error->reason == NGX_WS_BUS_JWT_OK
                  || (jwt->error->reason >= NGX_WS_BUS_JWT_EXP
                      && jwt->error->reason <= NGX_WS_BUS_JWT_JTI)));

    return jwt->error->reason;
}


static ngx_uint_t
verify(ngx_ws_bus_jwk_set_t *set, const char *token)
{
    ngx_uint_t        reason;
    ngx_ws_bus_jwt_t  jwt;

    reason = verify_at(set, token, strlen(token), NOW, &jwt);

    ngx_ws_bus_jwt_free(&jwt);

    return reason;
}


/* signs and verifies */

static ngx_uint_t
verdict(kind_t *kind, const char *alg, const char *header, const char *claims)
{
    char        *token;
    ngx_uint_t   reason;

    token = sign(kind, alg, header, claims);
    reason = verify(&kind->set, token);

    free(token);

    return reason;
}


/* another signature of the same length */

static void
spoil(char *token)
{
    char  *p;

    p = token + strlen(token) - 10;
    *p = (*p == 'A') ? 'B' : 'A';
}


static void
is(ngx_uint_t got, ngx_uint_t want, const char *name)
{
    if (!tap_ok(got == want, "%s: %s", name,
                ngx_ws_bus_jwt_error(want)->text.data))
    {
        tap_diag("%s", ngx_ws_bus_jwt_error(got)->text.data);
    }
}


static void
test_table(void)
{
    ngx_uint_t                     i;
    const ngx_ws_bus_jwt_error_t  *e;

    for (i = 0; i <= NGX_WS_BUS_JWT_INTERNAL; i++) {
        e = ngx_ws_bus_jwt_error(i);

        tap_each(e->reason == i && e->text.len > 0
                 && e->text.len == strlen((char *) e->text.data),
                 "%d", (int) i);
    }

    tap_all("each reason is at its place");
}


/* RFC 7515, A.1 to A.5 */

#define JOE                                                                   \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlL"   \
    "mNvbS9pc19yb290Ijp0cnVlfQ"

#define A1_KEY                                                                \
    "{\"kty\":\"oct\",\n\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_"  \
    "T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\"\n}"

#define A1_TOKEN                                                              \
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." JOE                           \
    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

#define A2_KEY                                                                \
    "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji"  \
    "9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgN"  \
    "MsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5re"  \
    "xMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh"  \
    "9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcD"  \
    "TW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"}"

#define A2_TOKEN                                                              \
    "eyJhbGciOiJSUzI1NiJ9." JOE                                               \
    ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuH"  \
    "Im4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB"  \
    "--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383"  \
    "LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYE"  \
    "UipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"

#define A3_KEY                                                                \
    "{\"kty\":\"EC\",\n\"crv\":\"P-256\",\n"                                  \
    "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\n"                \
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}"

#define A3_TOKEN                                                              \
    "eyJhbGciOiJFUzI1NiJ9." JOE                                               \
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQx"  \
    "fKTUJqPP3-Kg6NU1Q"

#define A4_KEY                                                                \
    "{\"kty\":\"EC\",\"crv\":\"P-521\","                                      \
    "\"x\":\"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6O"  \
    "vLFV1jSfS9tsz4qUxcWceqwQGk\","                                           \
    "\"y\":\"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL"  \
    "4Kkd0AZMaZmh9ubmf63e3kyMj2\"}"

#define A4_TOKEN                                                              \
    "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA."                                        \
    "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI"  \
    "-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO"  \
    "7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn"

#define A5_TOKEN  "eyJhbGciOiJub25lIn0." JOE "."

#define JOE_EXP   1300819380


static void
test_rfc7515(void)
{
    ngx_uint_t             i;
    ngx_str_t              name;
    ngx_ws_bus_jwt_t       jwt;
    ngx_ws_bus_jwk_set_t   set;

    static const struct {
        const char  *name;
        const char  *key;
        const char  *token;
    } joes[] = {
        { "RFC 7515, A.1", A1_KEY, A1_TOKEN },
        { "RFC 7515, A.2", A2_KEY, A2_TOKEN },
        { "RFC 7515, A.3", A3_KEY, A3_TOKEN }
    };

    for (i = 0; i < 3; i++) {
        ngx_memzero(&set, sizeof(set));
        add(&set, joes[i].key);

        is(verify_at(&set, joes[i].token, strlen(joes[i].token), JOE_EXP - 1,
                     &jwt),
           NGX_WS_BUS_JWT_OK, joes[i].name);

        ngx_str_set(&name, "http://example.com/is_root");

        tap_ok(jwt.exp == JOE_EXP && jwt.sub.data == NULL
               && strcmp(json_string_value(json_object_get(jwt.claims,
                                                           "iss")),
                         "joe") == 0
               && json_is_true(ngx_ws_bus_jwt_claim(jwt.claims, &name, 1)),
               "... has its claims");

        ngx_ws_bus_jwt_free(&jwt);

        is(verify_at(&set, joes[i].token, strlen(joes[i].token), JOE_EXP,
                     &jwt),
           NGX_WS_BUS_JWT_EXPIRED, "... later");

        tap_ok(jwt.claims != NULL, "... and has its claims still");

        ngx_ws_bus_jwt_free(&jwt);
        ngx_ws_bus_jwk_free(&set);
    }

    /* signed is "Payload", which is no set of claims */

    ngx_memzero(&set, sizeof(set));
    add(&set, A4_KEY);

    is(verify(&set, A4_TOKEN), NGX_WS_BUS_JWT_CLAIMS_JSON, "RFC 7515, A.4");

    set.keys[0].algorithms |= NGX_WS_BUS_JOSE_ES256;

    is(verify(&set, A3_TOKEN), NGX_WS_BUS_JWT_SIGNATURE_LENGTH,
       "of another curve");
    is(verify(&set, A5_TOKEN), NGX_WS_BUS_JWT_ALG_NONE, "RFC 7515, A.5");

    ngx_ws_bus_jwk_free(&set);
}


/* RFC 7519, 3.1, is RFC 7515, A.1; 6.1 is an unsecured one */

static void
test_rfc7519(void)
{
    ngx_ws_bus_jwt_t      jwt;
    ngx_ws_bus_jwk_set_t  set;

    ngx_memzero(&set, sizeof(set));
    add(&set, A1_KEY);

    is(verify_at(&set, A1_TOKEN, sizeof(A1_TOKEN) - 1, 0, &jwt),
       NGX_WS_BUS_JWT_OK, "RFC 7519, 3.1");
    tap_ok(jwt.alg->bit == NGX_WS_BUS_JOSE_HS256, "... by HS256");
    ngx_ws_bus_jwt_free(&jwt);

    is(verify(&set, "eyJhbGciOiJub25lIn0." JOE "."), NGX_WS_BUS_JWT_ALG_NONE,
       "RFC 7519, 6.1");

    /* A.1's token is encrypted, in five parts */

    is(verify(&set, "eyJhbGciOiJSU0ExXzUiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0."
              "QR1Owv2ug2WyPBnbQrRARTeEk9kDO2w8qDcjiHnSJflSdv1iNqhWXaKH4MqAkQ"
              ".AxY8DCtDaGlsbGljb3RoZQ."
              "MKOle7UQrG6nSxTLX6Mqwt0orbHvAKeWnDYvpIAeZ72deHxz3roJDXQyhxx0wK"
              ".fiK51VwhsxJ-siBMR-YFiA"),
       NGX_WS_BUS_JWT_PARTS, "an encrypted one");

    ngx_ws_bus_jwk_free(&set);
}


/* RFC 8037, A.4 and A.5: the signed text is no set of claims */

#define A8037                                                                 \
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."               \
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9"  \
    "g7sVvpAr_MuM0KAg"


static void
test_rfc8037(void)
{
    char                   token[] = A8037;
    ngx_ws_bus_jwk_set_t   set;

    ngx_memzero(&set, sizeof(set));

    add(&set, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\n"
              "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}");

    is(verify(&set, A8037), NGX_WS_BUS_JWT_CLAIMS_JSON, "RFC 8037, A.4");

    token[25] ^= 1;

    is(verify(&set, token), NGX_WS_BUS_JWT_SIGNATURE, "... changed");

    ngx_ws_bus_jwk_free(&set);
}


/* each algorithm by each kind of key: its own, or none */

static void
test_matrix(void)
{
    char        *header, *token, name[100];
    ngx_uint_t   i, j, k, own;

    for (i = 0; i < NALG; i++) {

        header = jose_string("{\"alg\":\"%s\",\"typ\":\"JWT\"}",
                             algorithms[i]);

        for (j = 0; j < NKIND; j++) {

            if (strstr(kinds[j].algorithms, algorithms[i]) == NULL) {
                continue;
            }

            token = sign(&kinds[j], algorithms[i], header,
                         "{\"sub\":\"alice\"}");

            for (k = 0; k < NKIND; k++) {
                own = (k == j) || (algorithms[i][0] == 'H' && k > 6
                                   && kinds[j].bits == kinds[k].bits);

                snprintf(name, sizeof(name), "%s by %s %d, with %s %d",
                         algorithms[i], kinds[j].kind, (int) kinds[j].bits,
                         kinds[k].kind, (int) kinds[k].bits);

                if (own) {
                    is(verify(&kinds[k].set, token), NGX_WS_BUS_JWT_OK,
                       name);

                } else if (strstr(kinds[k].algorithms, algorithms[i])
                           == NULL)
                {
                    is(verify(&kinds[k].set, token), NGX_WS_BUS_JWT_NO_KEY,
                       name);

                } else if (algorithms[i][0] == 'H') {
                    is(verify(&kinds[k].set, token),
                       NGX_WS_BUS_JWT_SIGNATURE, name);

                } else {
                    is(verify(&kinds[k].set, token),
                       NGX_WS_BUS_JWT_SIGNATURE_LENGTH, name);
                }
            }

            free(token);
        }

        free(header);
    }
}


/* by another key of the same kind; each algorithm's signature as another's */

static void
test_other_key(void)
{
    char        *header, *token;
    kind_t       other;
    ngx_uint_t   i, j;

    for (i = 0; i < NKIND; i++) {

        if (kinds[i].pkey == NULL) {
            continue;
        }

        other = kinds[i];
        other.pkey = jose_key(kinds[i].kind, kinds[i].bits);

        for (j = 0; j < NALG; j++) {

            if (strstr(kinds[i].algorithms, algorithms[j]) == NULL) {
                continue;
            }

            header = jose_string("{\"alg\":\"%s\"}", algorithms[j]);
            token = sign(&other, algorithms[j], header, "{}");

            is(verify(&kinds[i].set, token), NGX_WS_BUS_JWT_SIGNATURE,
               algorithms[j]);

            free(header);
            free(token);
        }

        EVP_PKEY_free(other.pkey);
    }

    for (i = 0; i < NALG; i++) {
        for (j = 0; j < NALG; j++) {

            if (i == j || algorithms[i][0] == 'E' || algorithms[j][0] == 'E'
                || (algorithms[i][0] == 'H') != (algorithms[j][0] == 'H'))
            {
                continue;
            }

            header = jose_string("{\"alg\":\"%s\"}", algorithms[i]);

            is(verdict(algorithms[i][0] == 'H' ? OCT64 : RSA2048,
                       algorithms[j], header, "{}"),
               algorithms[i][0] == 'H' ? NGX_WS_BUS_JWT_SIGNATURE_LENGTH
                                       : NGX_WS_BUS_JWT_SIGNATURE,
               algorithms[j]);

            free(header);
        }
    }
}


static void
test_allowed(void)
{
    char                         *header, *token;
    kind_t                       *kind;
    ngx_uint_t                    i, j;
    const ngx_ws_bus_jose_alg_t  *alg;

    for (i = 0; i < NALG; i++) {
        alg = ngx_ws_bus_jose_alg((u_char *) algorithms[i], 5);

        for (kind = &kinds[NKIND - 1]; /* void */ ; kind--) {
            if (strstr(kind->algorithms, algorithms[i])) {
                break;
            }
        }

        header = jose_string("{\"alg\":\"%s\"}", algorithms[i]);
        token = sign(kind, algorithms[i], header, "{}");

        for (j = 0; j < NALG; j++) {
            rules.algorithms = 1 << j;

            tap_each(verify(&kind->set, token)
                     == (alg->bit == rules.algorithms
                         ? NGX_WS_BUS_JWT_OK : NGX_WS_BUS_JWT_ALG_REFUSED),
                     "%s, allowed %d", algorithms[i], (int) j);
        }

        rules.algorithms = ALL & ~alg->bit;

        tap_each(verify(&kind->set, token) == NGX_WS_BUS_JWT_ALG_REFUSED,
                 "%s, all others allowed", algorithms[i]);

        rules.algorithms = ALL;

        free(header);
        free(token);
    }

    tap_all("an algorithm is used only where it is allowed");
}


/* a public key is no secret */

static void
test_confusion(void)
{
    char                  *pem, *token, *text;
    ngx_uint_t             i;
    ngx_ws_bus_jwk_set_t   set;

    for (i = 0; i < 7; i++) {
        ngx_memzero(&set, sizeof(set));

        pem = jose_pem(kinds[i].pkey);
        add(&set, pem);

        token = jose_token("HS256", NULL, pem, HS256, "{}");

        is(verify(&set, token), NGX_WS_BUS_JWT_NO_KEY, kinds[i].kind);

        free(token);

        /* even with its kid, next to a secret */

        text = jwk(&kinds[i], "a");
        add(&set, text);
        free(text);

        text = jwk(OCT64, "b");
        add(&set, text);
        free(text);

        token = jose_token("HS256", NULL, pem,
                           "{\"alg\":\"HS256\",\"kid\":\"a\"}", "{}");

        is(verify(&set, token), NGX_WS_BUS_JWT_KID_ALG, "... of its kid");

        free(token);
        free(pem);
        ngx_ws_bus_jwk_free(&set);
    }
}


static void
test_headers(void)
{
    char        name[40];
    ngx_uint_t  i;

    for (i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        snprintf(name, sizeof(name), "header, case %d", (int) i);
        is(verdict(OCT64, "HS256", headers[i].header, "{}"),
           headers[i].error, name);
    }
}


static void
test_tokens(void)
{
    char        name[40];
    ngx_uint_t  i;

    for (i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
        snprintf(name, sizeof(name), "token, case %d", (int) i);
        is(verify(&OCT64->set, tokens[i].token), tokens[i].error, name);
    }
}


static void
test_sizes(void)
{
    char    *header, *claims, *token;
    size_t   n;

    /* 20 of header, 43 of signature, two dots: 12240 octets of claims */

    for (n = 12237; n <= 12243; n++) {
        claims = jose_string("{\"a\":\"%*s\"}", (int) n - 8, "");
        token = sign(OCT64, "HS256", HS256, claims);

        tap_each(verify(&OCT64->set, token)
                 == (strlen(token) > NGX_WS_BUS_JWT_MAX
                     ? NGX_WS_BUS_JWT_LARGE : NGX_WS_BUS_JWT_OK),
                 "%d bytes", (int) strlen(token));

        free(claims);
        free(token);
    }

    tap_all("tokens of about 16384 bytes");

    for (n = 3069; n <= 3075; n++) {
        header = jose_string("{\"alg\":\"HS256\",\"x\":\"%*s\"}", (int) n - 22,
                             "");
        token = sign(OCT64, "HS256", header, "{}");

        tap_each(verify(&OCT64->set, token)
                 == (strchr(token, '.') - token > NGX_WS_BUS_JWT_HEADER_MAX
                     ? NGX_WS_BUS_JWT_HEADER_LARGE : NGX_WS_BUS_JWT_OK),
                 "%d bytes", (int) (strchr(token, '.') - token));

        free(header);
        free(token);
    }

    tap_all("headers of about 4096 bytes");

    for (n = 254; n <= 257; n++) {
        header = jose_string("{\"alg\":\"HS256\",\"kid\":\"%*s\"}", (int) n,
                             "");

        is(verdict(OCT64, "HS256", header, "{}"),
           n > 255 ? NGX_WS_BUS_JWT_KID : NGX_WS_BUS_JWT_OK, "a long kid");

        free(header);
    }

    /* a signature of more than any key makes */

    for (n = 1366; n <= 1368; n++) {
        token = jose_string("eyJhbGciOiJSUzI1NiJ9.e30.%*s", (int) n, "");
        memset(token + 25, 'A', n);

        is(verify(&RSA2048->set, token), NGX_WS_BUS_JWT_SIGNATURE_LENGTH,
           "a long signature");

        free(token);
    }

    token = jose_string("eyJhbGciOiJSUzI1NiJ9.e30.%16000s", "");
    memset(token + 25, 'A', 16000);

    is(verify(&RSA2048->set, token), NGX_WS_BUS_JWT_SIGNATURE_LENGTH,
       "a very long one");

    free(token);
}


/* each character of a token, in turn another one */

static void
test_tampering(void)
{
    char        *token, *header, was;
    size_t       i, k, len;
    ngx_uint_t   n, reason;

    static const struct {
        ngx_uint_t   kind;
        const char  *alg;
    } signers[] = {
        { 0, "RS256" }, { 0, "PS256" }, { 2, "ES256" }, { 4, "ES512" },
        { 5, "EdDSA" }, { 6, "EdDSA" }, { 9, "HS256" }
    };

    static const char  others[] = "A-z_0Q.=";

    for (n = 0; n < sizeof(signers) / sizeof(signers[0]); n++) {
        header = jose_string("{\"alg\":\"%s\"}", signers[n].alg);

        token = sign(&kinds[signers[n].kind], signers[n].alg, header,
                     "{\"sub\":\"alice\",\"a\":1}");

        len = strlen(token);

        for (i = 0; i < len; i++) {
            was = token[i];

            for (k = 0; k < 2; k++) {
                token[i] = others[(i + k * 3 + n) % 8];

                if (token[i] == was) {
                    continue;
                }

                reason = verify(&kinds[signers[n].kind].set, token);

                tap_each(reason != NGX_WS_BUS_JWT_OK,
                         "%s: %c for %c at %d", signers[n].alg, token[i],
                         was, (int) i);
            }

            token[i] = was;
        }

        for (i = 0; i < len; i++) {
            token[i] ^= 1;
            reason = verify(&kinds[signers[n].kind].set, token);
            token[i] ^= 1;

            tap_each(reason != NGX_WS_BUS_JWT_OK, "%s: a bit at %d",
                     signers[n].alg, (int) i);
        }

        for (i = 0; i < len; i++) {
            was = token[i];
            token[i] = '\0';
            reason = verify(&kinds[signers[n].kind].set, token);
            token[i] = was;

            tap_each(reason != NGX_WS_BUS_JWT_OK, "%s: cut at %d",
                     signers[n].alg, (int) i);
        }

        is(verify(&kinds[signers[n].kind].set, token), NGX_WS_BUS_JWT_OK,
           signers[n].alg);

        free(header);
        free(token);
    }

    tap_all("no changed token passes");
}


/* a token with this signature, of the header {"alg":"..."} and {} */

static ngx_uint_t
with_signature(kind_t *kind, const char *alg, const void *signature,
    size_t len)
{
    char        *header, *h, *s, *token;
    ngx_uint_t   reason;

    header = jose_string("{\"alg\":\"%s\"}", alg);
    h = jose_base64url(header, strlen(header));
    s = jose_base64url(signature, len);
    token = jose_string("%s.e30.%s", h, s);

    reason = verify(&kind->set, token);

    free(header);
    free(h);
    free(s);
    free(token);

    return reason;
}


/* the signature of a token of {"alg":"..."} and {} */

static size_t
signature_of(kind_t *kind, const char *alg, u_char *dst)
{
    char     *header, *token, *s;
    ssize_t   len;

    header = jose_string("{\"alg\":\"%s\"}", alg);
    token = sign(kind, alg, header, "{}");

    s = strrchr(token, '.') + 1;
    len = ngx_ws_bus_jose_base64url(dst, (u_char *) s, strlen(s));
    jose_must(len > 0);

    free(header);
    free(token);

    return (size_t) len;
}


static void
test_ecdsa(void)
{
    int          i;
    size_t       len, half;
    u_char       s[200], t[200], der[200];
    BIGNUM      *bn, *n;
    kind_t      *kind;
    const char  *alg;

    /* the order of P-256 */

    static const char  order[] =
        "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551";

    for (i = 0; i < 3; i++) {
        kind = (i == 0) ? P_256 : (i == 1) ? P_384 : P_521;
        alg = kind->algorithms;

        len = signature_of(kind, alg, s);
        half = len / 2;

        is(with_signature(kind, alg, s, len), NGX_WS_BUS_JWT_OK, alg);

        memset(t, 0, len);
        is(with_signature(kind, alg, t, len), NGX_WS_BUS_JWT_SIGNATURE,
           "zeros");

        t[half - 1] = 1;
        is(with_signature(kind, alg, t, len), NGX_WS_BUS_JWT_SIGNATURE,
           "s is zero");

        memset(t, 0, len);
        t[len - 1] = 1;
        is(with_signature(kind, alg, t, len), NGX_WS_BUS_JWT_SIGNATURE,
           "r is zero");

        t[half - 1] = 1;
        is(with_signature(kind, alg, t, len), NGX_WS_BUS_JWT_SIGNATURE,
           "both are one");

        memset(t, 0xff, len);
        is(with_signature(kind, alg, t, len), NGX_WS_BUS_JWT_SIGNATURE,
           "both are too large");

        memcpy(t, s, half);
        memset(t + half, 0, half);
        is(with_signature(kind, alg, t, len), NGX_WS_BUS_JWT_SIGNATURE,
           "r is right, s is zero");

        memcpy(t, s + half, half);
        memcpy(t + half, s, half);
        is(with_signature(kind, alg, t, len), NGX_WS_BUS_JWT_SIGNATURE,
           "s before r");

        is(with_signature(kind, alg, s, len - 1),
           NGX_WS_BUS_JWT_SIGNATURE_LENGTH, "an octet less");
        is(with_signature(kind, alg, s, half),
           NGX_WS_BUS_JWT_SIGNATURE_LENGTH, "half of it");

        memcpy(t, s, len);
        t[len] = 0;
        is(with_signature(kind, alg, t, len + 1),
           NGX_WS_BUS_JWT_SIGNATURE_LENGTH, "an octet more");

        t[0] = 0;
        memcpy(t + 1, s, half);
        t[half + 1] = 0;
        memcpy(t + half + 2, s + half, half);
        is(with_signature(kind, alg, t, len + 2),
           NGX_WS_BUS_JWT_SIGNATURE_LENGTH, "padded");

        len = ngx_ws_bus_jwt_der(der, s, len);
        is(with_signature(kind, alg, der, len),
           NGX_WS_BUS_JWT_SIGNATURE_LENGTH, "in DER");
    }

    /* ECDSA takes n - s as well: a signature is no token's name */

    len = signature_of(P_256, "ES256", s);

    n = NULL;
    jose_must(BN_hex2bn(&n, order) > 0);
    bn = BN_bin2bn(s + 32, 32, NULL);
    jose_must(bn != NULL && BN_sub(bn, n, bn) == 1);
    jose_must(BN_bn2binpad(bn, t + 32, 32) == 32);
    memcpy(t, s, 32);

    is(with_signature(P_256, "ES256", t, 64), NGX_WS_BUS_JWT_OK,
       "the other s");

    jose_must(BN_bn2binpad(n, t + 32, 32) == 32);
    is(with_signature(P_256, "ES256", t, 64), NGX_WS_BUS_JWT_SIGNATURE,
       "s is the order");

    BN_free(bn);
    BN_free(n);

    /* many, for numbers with leading zero octets to be among them */

    for (i = 0; i < 600; i++) {
        len = signature_of(P_256, "ES256", s);
        tap_each(with_signature(P_256, "ES256", s, len) == NGX_WS_BUS_JWT_OK,
                 "%d", i);
    }

    tap_all("600 signatures by ES256");

    for (i = 0; i < 60; i++) {
        len = signature_of(P_521, "ES512", s);
        tap_each(len == 132
                 && with_signature(P_521, "ES512", s, len)
                    == NGX_WS_BUS_JWT_OK,
                 "%d", i);
    }

    tap_all("60 signatures by ES512");
}


/* as OpenSSL writes it */

static void
test_ecdsa_der(void)
{
    int         k, want_len;
    u_char      raw[132], der[NGX_WS_BUS_JWT_DER_MAX], *want;
    size_t      i, len, got_len;
    ECDSA_SIG  *sig;

    static const size_t  sizes[] = { 64, 96, 132 };

    srand(1);

    for (k = 0; k < 3000; k++) {
        len = sizes[k % 3];

        for (i = 0; i < len; i++) {
            raw[i] = (u_char) (rand() >> 8);
        }

        /* some zero octets in front of each half */

        memset(raw, 0, (rand() >> 8) % 4 ? 0 : (rand() >> 8) % (len / 2 + 1));
        memset(raw + len / 2, 0, (rand() >> 8) % 4 ? 0
                                 : (rand() >> 8) % (len / 2 + 1));

        if (k % 7 == 0) {
            raw[0] |= 0x80;
            raw[len / 2] |= 0x80;
        }

        sig = ECDSA_SIG_new();
        jose_must(ECDSA_SIG_set0(sig, BN_bin2bn(raw, len / 2, NULL),
                                 BN_bin2bn(raw + len / 2, len / 2, NULL))
                  == 1);

        want = NULL;
        want_len = i2d_ECDSA_SIG(sig, &want);
        ECDSA_SIG_free(sig);

        got_len = ngx_ws_bus_jwt_der(der, raw, len);

        tap_each((size_t) want_len == got_len
                 && memcmp(want, der, got_len) == 0, "%d", k);

        OPENSSL_free(want);
    }

    tap_all("the same DER as OpenSSL's");
}


/* RFC 7518, 3.5: one salt length, one hash */

static void
test_pss(void)
{
    size_t         len;
    u_char         s[512];
    EVP_MD_CTX    *ctx;
    ngx_uint_t     i;
    EVP_PKEY_CTX  *pctx;

    static const char  data[] = "eyJhbGciOiJQUzI1NiJ9.e30";

    static const struct {
        int          salt;
        const char  *mgf1;
        ngx_uint_t   reason;
        const char  *name;
    } pss[] = {
        { 32, "SHA256", NGX_WS_BUS_JWT_OK, "PS256" },
        { 0, "SHA256", NGX_WS_BUS_JWT_SIGNATURE, "no salt" },
        { 20, "SHA256", NGX_WS_BUS_JWT_SIGNATURE, "20 octets of salt" },
        { 64, "SHA256", NGX_WS_BUS_JWT_SIGNATURE, "64 octets of salt" },
        { RSA_PSS_SALTLEN_MAX, "SHA256", NGX_WS_BUS_JWT_SIGNATURE,
          "as much salt as there is room for" },
        { 32, "SHA1", NGX_WS_BUS_JWT_SIGNATURE, "MGF1 with SHA-1" },
        { 32, "SHA512", NGX_WS_BUS_JWT_SIGNATURE, "MGF1 with SHA-512" }
    };

    for (i = 0; i < sizeof(pss) / sizeof(pss[0]); i++) {
        ctx = EVP_MD_CTX_new();
        len = sizeof(s);

        jose_must(EVP_DigestSignInit(ctx, &pctx, EVP_sha256(), NULL,
                                     RSA2048->pkey)
                  == 1);
        jose_must(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING)
                  == 1);
        jose_must(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, pss[i].salt) == 1);
        jose_must(EVP_PKEY_CTX_set_rsa_mgf1_md(pctx,
                                               EVP_get_digestbyname(
                                                   pss[i].mgf1))
                  == 1);
        jose_must(EVP_DigestSign(ctx, s, &len, (const u_char *) data,
                                 sizeof(data) - 1)
                  == 1);

        EVP_MD_CTX_free(ctx);

        is(with_signature(RSA2048, "PS256", s, len), pss[i].reason,
           pss[i].name);
    }
}


static void
test_rsa(void)
{
    u_char   s[600], t[600];
    BIGNUM  *n, *bn;
    size_t   len;

    len = signature_of(RSA2048, "RS256", s);

    memset(t, 0, sizeof(t));
    is(with_signature(RSA2048, "RS256", t, len), NGX_WS_BUS_JWT_SIGNATURE,
       "zero");

    t[len - 1] = 1;
    is(with_signature(RSA2048, "RS256", t, len), NGX_WS_BUS_JWT_SIGNATURE,
       "one");

    memset(t, 0xff, sizeof(t));
    is(with_signature(RSA2048, "RS256", t, len), NGX_WS_BUS_JWT_SIGNATURE,
       "above the modulus");

    t[0] = 0;
    memcpy(t + 1, s, len);
    is(with_signature(RSA2048, "RS256", t, len + 1),
       NGX_WS_BUS_JWT_SIGNATURE_LENGTH, "with an octet in front");

    is(with_signature(RSA2048, "RS256", s, len - 1),
       NGX_WS_BUS_JWT_SIGNATURE_LENGTH, "an octet less");

    /* s + n is the same modulo n */

    n = NULL;
    jose_must(EVP_PKEY_get_bn_param(RSA2048->pkey, OSSL_PKEY_PARAM_RSA_N, &n)
              == 1);
    bn = BN_bin2bn(s, len, NULL);
    jose_must(bn != NULL && BN_add(bn, bn, n) == 1);

    len = BN_num_bytes(bn);
    BN_bn2bin(bn, t);

    is(with_signature(RSA2048, "RS256", t, len),
       len == 256 ? NGX_WS_BUS_JWT_SIGNATURE
                  : NGX_WS_BUS_JWT_SIGNATURE_LENGTH, "the modulus added");

    BN_free(n);
    BN_free(bn);
}


/* the order of the group added to S is refused (RFC 8032, 5.1.7) */

static void
test_eddsa(void)
{
    int      i, carry;
    u_char   s[200], t[200];
    size_t   len;

    /* little endian */

    static const u_char  order[] = {
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7,
        0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0x10
    };

    len = signature_of(ED25519, "EdDSA", s);
    is(with_signature(ED25519, "EdDSA", s, len), NGX_WS_BUS_JWT_OK,
       "Ed25519");

    memcpy(t, s, len);

    for (i = 0, carry = 0; i < 32; i++) {
        carry += t[32 + i] + order[i];
        t[32 + i] = (u_char) carry;
        carry >>= 8;
    }

    is(with_signature(ED25519, "EdDSA", t, len), NGX_WS_BUS_JWT_SIGNATURE,
       "the order added");

    memset(t, 0, len);
    is(with_signature(ED25519, "EdDSA", t, len), NGX_WS_BUS_JWT_SIGNATURE,
       "zeros");

    is(with_signature(ED448, "EdDSA", s, len),
       NGX_WS_BUS_JWT_SIGNATURE_LENGTH, "of Ed25519 for Ed448");

    len = signature_of(ED448, "EdDSA", s);
    is(with_signature(ED448, "EdDSA", s, len), NGX_WS_BUS_JWT_OK, "Ed448");
    is(with_signature(ED25519, "EdDSA", s, len),
       NGX_WS_BUS_JWT_SIGNATURE_LENGTH, "of Ed448 for Ed25519");
    is(with_signature(ED448, "EdDSA", s, len - 1),
       NGX_WS_BUS_JWT_SIGNATURE_LENGTH, "an octet less");
}


static void
test_hmac(void)
{
    u_char   s[100];
    size_t   i, len;

    len = signature_of(OCT64, "HS256", s);

    is(with_signature(OCT64, "HS256", s, len), NGX_WS_BUS_JWT_OK, "HS256");
    is(with_signature(OCT64, "HS256", s, 16),
       NGX_WS_BUS_JWT_SIGNATURE_LENGTH, "half of it");
    is(with_signature(OCT64, "HS256", s, 0),
       NGX_WS_BUS_JWT_SIGNATURE_LENGTH, "nothing of it");

    for (i = 0; i < len * 8; i++) {
        s[i / 8] ^= (u_char) (1 << i % 8);
        tap_each(with_signature(OCT64, "HS256", s, len)
                 == NGX_WS_BUS_JWT_SIGNATURE, "%d", (int) i);
        s[i / 8] ^= (u_char) (1 << i % 8);
    }

    tap_all("each bit counts");
}


/* the claims as text; what they say is for another test */

static void
test_claims_text(void)
{
    ngx_uint_t  i;
    char        *token, *signature, name[40];

    static const header_case_t  claims[] = {
        { "{}", NGX_WS_BUS_JWT_OK },
        { " {\n} ", NGX_WS_BUS_JWT_OK },
        { "", NGX_WS_BUS_JWT_CLAIMS_JSON },
        { "x", NGX_WS_BUS_JWT_CLAIMS_JSON },
        { "{\"a\":1}{}", NGX_WS_BUS_JWT_CLAIMS_JSON },
        { "{\"a\":\"\xc3\"}", NGX_WS_BUS_JWT_CLAIMS_JSON },
        { "{\"a\":\"\\ud800\"}", NGX_WS_BUS_JWT_CLAIMS_JSON },
        { "{\"a\":\"\\u0000\"}", NGX_WS_BUS_JWT_CLAIMS_JSON },
        { "{\"a\":01}", NGX_WS_BUS_JWT_CLAIMS_JSON },
        { "{\"a\":NaN}", NGX_WS_BUS_JWT_CLAIMS_JSON },
        { "null", NGX_WS_BUS_JWT_CLAIMS_JSON },
        { "{\"exp\":1,\"exp\":9999999999}",
          NGX_WS_BUS_JWT_CLAIMS_DUPLICATE },
        { "{\"sub\":\"a\",\"\\u0073ub\":\"b\"}",
          NGX_WS_BUS_JWT_CLAIMS_DUPLICATE },
        { "{\"a\":{\"b\":1,\"b\":1}}", NGX_WS_BUS_JWT_CLAIMS_DUPLICATE },
        { "{\"a\":123456789012345678901}", NGX_WS_BUS_JWT_CLAIMS_NUMBER },
        { "{\"a\":1e400}", NGX_WS_BUS_JWT_CLAIMS_NUMBER },
        { "{\"a\":[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]}", NGX_WS_BUS_JWT_OK },
        { "{\"a\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}",
          NGX_WS_BUS_JWT_CLAIMS_DEEP },
        { "[]", NGX_WS_BUS_JWT_CLAIMS_OBJECT },
        { "[{\"sub\":\"a\"}]", NGX_WS_BUS_JWT_CLAIMS_OBJECT }
    };

    for (i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
        snprintf(name, sizeof(name), "claims, case %d", (int) i);
        is(verdict(OCT64, "HS256", HS256, claims[i].header),
           claims[i].error, name);
    }

    /* signed, but in another encoding: padding, spare bits */

    for (i = 0; i < 3; i++) {
        static const char  *parts[] = {
            "eyJhbGciOiJIUzI1NiJ9.e30", "eyJhbGciOiJIUzI1NiJ9.e30=",
            "eyJhbGciOiJIUzI1NiJ9.e31"
        };

        signature = jose_signature("HS256", NULL, secret, 64, parts[i],
                                   strlen(parts[i]));
        token = jose_string("%s.%s", parts[i], signature);

        is(verify(&OCT64->set, token),
           i ? NGX_WS_BUS_JWT_CLAIMS_BASE64 : NGX_WS_BUS_JWT_OK, "encoding");

        free(signature);
        free(token);
    }
}


/* a set of so many keys, of which the last is of the kind */

static void
fill(ngx_ws_bus_jwk_set_t *set, ngx_uint_t n, kind_t *kind, const char *kid)
{
    char      *text, *k, other[64];

    ngx_memzero(set, sizeof(ngx_ws_bus_jwk_set_t));

    while (n--) {

        if (n == 0) {
            text = jwk(kind, kid);

        } else {
            memset(other, (int) n, sizeof(other));
            k = jose_base64url(other, sizeof(other));
            text = jose_string("{\"kty\":\"oct\",\"k\":\"%s\"%s%s%s}", k,
                               kid ? ",\"kid\":\"" : "", kid ? kid : "",
                               kid ? "\"" : "");
            free(k);
        }

        add(set, text);
        free(text);
    }
}


static ngx_uint_t
with_kid(ngx_ws_bus_jwk_set_t *set, kind_t *kind, const char *alg,
    const char *kid, ngx_uint_t *unknown)
{
    char              *header, *token;
    ngx_uint_t         reason;
    ngx_ws_bus_jwt_t   jwt;

    header = jose_string("{\"alg\":\"%s\"%s%s%s}", alg,
                         kid ? ",\"kid\":\"" : "", kid ? kid : "",
                         kid ? "\"" : "");
    token = sign(kind, alg, header, "{}");

    reason = verify_at(set, token, strlen(token), NOW, &jwt);
    *unknown = jwt.kid_unknown;

    ngx_ws_bus_jwt_free(&jwt);
    free(header);
    free(token);

    return reason;
}


static void
test_kid(void)
{
    char                  *text;
    ngx_uint_t             unknown;
    ngx_ws_bus_jwk_set_t   set;

    ngx_memzero(&set, sizeof(set));

    text = jwk(OCT64, "a");
    add(&set, text);
    free(text);

    text = jwk(P_256, "b");
    add(&set, text);
    free(text);

    is(with_kid(&set, OCT64, "HS256", "a", &unknown), NGX_WS_BUS_JWT_OK,
       "the key of a kid");
    tap_is(unknown, 0, "... is known");
    is(with_kid(&set, P_256, "ES256", "b", &unknown), NGX_WS_BUS_JWT_OK,
       "the other");
    is(with_kid(&set, P_256, "ES256", NULL, &unknown), NGX_WS_BUS_JWT_OK,
       "without a kid, keys with one are tried");
    tap_is(unknown, 0, "... which is not unknown");
    is(with_kid(&set, OCT64, "HS256", "b", &unknown), NGX_WS_BUS_JWT_KID_ALG,
       "a key of a kid, but another algorithm");
    is(with_kid(&set, P_256, "ES256", "a", &unknown), NGX_WS_BUS_JWT_KID_ALG,
       "... the other way");
    tap_is(unknown, 0, "... is known");
    is(with_kid(&set, OCT64, "HS256", "c", &unknown),
       NGX_WS_BUS_JWT_KID_UNKNOWN, "no key of this kid");
    tap_is(unknown, 1, "... is unknown");
    is(with_kid(&set, OCT64, "HS256", "A", &unknown),
       NGX_WS_BUS_JWT_KID_UNKNOWN, "a kid has its case");
    is(with_kid(&set, OCT64, "HS256", "a ", &unknown),
       NGX_WS_BUS_JWT_KID_UNKNOWN, "... and its length");
    is(with_kid(&set, OCT64, "HS256", "", &unknown),
       NGX_WS_BUS_JWT_KID_UNKNOWN, "an empty kid is one");
    is(with_kid(&set, RSA2048, "RS256", "a", &unknown),
       NGX_WS_BUS_JWT_KID_ALG, "no key for an algorithm, but for a kid");
    is(with_kid(&set, RSA2048, "RS256", NULL, &unknown),
       NGX_WS_BUS_JWT_NO_KEY, "no key for an algorithm");

    /* a key without a kid is for tokens whose kid nobody has */

    text = jwk(RSA2048, NULL);
    add(&set, text);
    free(text);

    is(with_kid(&set, RSA2048, "RS256", "c", &unknown), NGX_WS_BUS_JWT_OK,
       "a key without a kid");
    tap_is(unknown, 1, "... but an unknown kid");
    is(with_kid(&set, OCT64, "HS256", "c", &unknown),
       NGX_WS_BUS_JWT_KID_UNKNOWN, "... not for this algorithm");
    is(with_kid(&set, RSA2048, "RS256", "a", &unknown),
       NGX_WS_BUS_JWT_KID_ALG, "... not for the kid of another");
    is(with_kid(&set, RSA2048, "RS384", "x", &unknown), NGX_WS_BUS_JWT_OK,
       "... for all its algorithms");
    is(with_signature(RSA2048, "RS256", "x", 1),
       NGX_WS_BUS_JWT_SIGNATURE_LENGTH, "a short signature");

    ngx_ws_bus_jwk_free(&set);

    /* none of these is the one */

    fill(&set, 3, P_256, NULL);
    is(with_kid(&set, OCT64, "HS256", "c", &unknown),
       NGX_WS_BUS_JWT_SIGNATURE, "a wrong key without a kid");
    tap_is(unknown, 1, "... new keys may help");
    ngx_ws_bus_jwk_free(&set);

    fill(&set, 3, OCT64, "a");
    is(with_kid(&set, OCT64, "HS256", "a", &unknown), NGX_WS_BUS_JWT_OK,
       "the third of a kid");
    ngx_ws_bus_jwk_free(&set);

    fill(&set, 3, P_256, "a");
    is(with_kid(&set, P_256, "ES256", "a", &unknown), NGX_WS_BUS_JWT_OK,
       "a kid of two families");
    is(with_kid(&set, OCT64, "HS256", "a", &unknown),
       NGX_WS_BUS_JWT_SIGNATURE, "... neither has made it");
    ngx_ws_bus_jwk_free(&set);

    fill(&set, 3, OCT64, "");
    is(with_kid(&set, OCT64, "HS256", "", &unknown), NGX_WS_BUS_JWT_OK,
       "the key of an empty kid");
    is(with_kid(&set, OCT64, "HS256", "x", &unknown),
       NGX_WS_BUS_JWT_KID_UNKNOWN, "... is not without one");
    ngx_ws_bus_jwk_free(&set);

    ngx_memzero(&set, sizeof(set));
    is(with_kid(&set, OCT64, "HS256", NULL, &unknown), NGX_WS_BUS_JWT_NO_KEY,
       "no keys");
    is(with_kid(&set, OCT64, "HS256", "a", &unknown),
       NGX_WS_BUS_JWT_KID_UNKNOWN, "no keys, with a kid");
}


/* what one signature may cost */

static void
test_tries(void)
{
    ngx_uint_t            n, unknown;
    ngx_ws_bus_jwk_set_t  set;

    for (n = 7; n <= 10; n++) {
        fill(&set, n, OCT64, NULL);

        is(with_kid(&set, OCT64, "HS256", NULL, &unknown),
           n <= 8 ? NGX_WS_BUS_JWT_OK : NGX_WS_BUS_JWT_TRIES,
           "without a kid");
        is(with_kid(&set, OCT64, "HS256", "x", &unknown),
           n <= 8 ? NGX_WS_BUS_JWT_OK : NGX_WS_BUS_JWT_TRIES,
           "of keys without");

        ngx_ws_bus_jwk_free(&set);

        fill(&set, n, OCT64, "a");

        is(with_kid(&set, OCT64, "HS256", "a", &unknown),
           n <= 8 ? NGX_WS_BUS_JWT_OK : NGX_WS_BUS_JWT_TRIES, "of one kid");

        ngx_ws_bus_jwk_free(&set);

        /* others do not count */

        fill(&set, 2 * n, P_256, NULL);

        is(with_kid(&set, P_256, "ES256", NULL, &unknown), NGX_WS_BUS_JWT_OK,
           "of another kind");

        ngx_ws_bus_jwk_free(&set);
    }
}


static void
test_sets(void)
{
    char                  *token;
    ngx_uint_t             i;
    ngx_ws_bus_jwk_set_t  *sets[NKIND];

    for (i = 0; i < NKIND; i++) {
        sets[i] = &kinds[i].set;
    }

    rules.sets = sets;
    rules.nsets = NKIND;

    token = sign(RSA3072, "PS384", "{\"alg\":\"PS384\",\"kid\":\"x\"}", "{}");
    is(verify(NULL, token), NGX_WS_BUS_JWT_OK, "of several sets, a middle");
    free(token);

    token = sign(OCT64, "HS512", "{\"alg\":\"HS512\"}", "{}");
    is(verify(NULL, token), NGX_WS_BUS_JWT_OK, "... the last");

    rules.nsets = NKIND - 1;
    is(verify(NULL, token), NGX_WS_BUS_JWT_NO_KEY, "... not among them");

    rules.nsets = 0;
    is(verify(NULL, token), NGX_WS_BUS_JWT_NO_KEY, "... none at all");
    free(token);

    rules.nsets = 1;
}


/* a header that is known from before is the same as one that is not */

static void
test_seen(void)
{
    int                    i;
    char                  *one, *two, *other, *text;
    ngx_ws_bus_jwt_t       jwt;
    ngx_ws_bus_jwk_set_t   set, none;

    ngx_memzero(&set, sizeof(set));
    ngx_memzero(&none, sizeof(none));

    text = jwk(OCT64, "a");
    add(&set, text);
    free(text);

    one = sign(OCT64, "HS256", "{\"alg\":\"HS256\",\"kid\":\"a\"}", "{}");
    two = sign(OCT64, "HS256", "{\"alg\":\"HS256\",\"kid\":\"b\"}", "{}");
    other = sign(OCT64, "HS512", "{\"alg\":\"HS512\"}", "{}");

    for (i = 0; i < 3; i++) {
        is(verify(&set, one), NGX_WS_BUS_JWT_OK, "a header again");
    }

    rules.algorithms = NGX_WS_BUS_JOSE_HS512;
    is(verify(&set, one), NGX_WS_BUS_JWT_ALG_REFUSED,
       "... where it is not allowed");
    rules.algorithms = ALL;

    is(verify(&none, one), NGX_WS_BUS_JWT_KID_UNKNOWN, "... without keys");
    is(verify(&set, two), NGX_WS_BUS_JWT_KID_UNKNOWN, "one much like it");
    is(verify(&set, one), NGX_WS_BUS_JWT_OK, "... did not displace it");
    is(verify(&set, other), NGX_WS_BUS_JWT_OK, "another one");
    is(verify(&set, one), NGX_WS_BUS_JWT_OK, "... and the first again");

    spoil(one);
    is(verify(&set, one), NGX_WS_BUS_JWT_SIGNATURE, "... changed");

    /* its kid stays the caller's to refetch for */

    is(verify(&OCT64->set, two), NGX_WS_BUS_JWT_OK, "an unknown kid");

    for (i = 0; i < 2; i++) {
        is(verify_at(&OCT64->set, two, strlen(two), NOW, &jwt),
           NGX_WS_BUS_JWT_OK, "... again");
        tap_ok(jwt.kid_unknown && jwt.alg->bit == NGX_WS_BUS_JOSE_HS256,
               "... is still unknown");
        ngx_ws_bus_jwt_free(&jwt);
    }

    is(verify(&set, two), NGX_WS_BUS_JWT_KID_UNKNOWN, "... elsewhere");

    free(one);
    free(two);
    free(other);

    /* too long to be kept */

    text = jose_string("{\"alg\":\"HS256\",\"x\":\"%600s\"}", "");
    one = sign(OCT64, "HS256", text, "{}");

    for (i = 0; i < 3; i++) {
        is(verify(&OCT64->set, one), NGX_WS_BUS_JWT_OK, "a long header");
    }

    free(one);
    free(text);
    ngx_ws_bus_jwk_free(&set);
}


/* what is prepared once is good for many, also between bad ones */

static void
test_repeated(void)
{
    int          i;
    char        *good[NALG], *bad[NALG], *header;
    kind_t      *kind[NALG];
    ngx_uint_t   n;

    for (n = 0; n < NALG; n++) {

        for (kind[n] = &kinds[NKIND - 1]; /* void */ ; kind[n]--) {
            if (strstr(kind[n]->algorithms, algorithms[n])) {
                break;
            }
        }

        header = jose_string("{\"alg\":\"%s\"}", algorithms[n]);

        good[n] = sign(kind[n], algorithms[n], header, "{\"a\":1}");
        bad[n] = sign(kind[n], algorithms[n], header, "{\"a\":1}");
        spoil(bad[n]);

        free(header);
    }

    for (i = 0; i < 20; i++) {
        for (n = 0; n < NALG; n++) {
            tap_each(verify(&kind[n]->set, good[n]) == NGX_WS_BUS_JWT_OK,
                     "%s", algorithms[n]);
            tap_each(verify(&kind[n]->set, bad[n])
                     == NGX_WS_BUS_JWT_SIGNATURE, "%s", algorithms[n]);
        }
    }

    tap_all("good and bad ones in turn");

    for (n = 0; n < NALG; n++) {
        free(good[n]);
        free(bad[n]);
    }
}


static void
test_library(void)
{
    char                  *text, *token;
    kind_t                *kind;
    ngx_uint_t             i;
    ngx_ws_bus_jwk_set_t   set;

    static const struct {
        const char  *what;
        ngx_uint_t   kind;
        const char  *alg;
    } fails[] = {
        { "ctx", 0, "RS256" }, { "init", 0, "PS256" }, { "md", 2, "ES256" },
        { "digest", 2, "ES256" }, { "digest", 0, "RS512" },
        { "md_ctx", 5, "EdDSA" }, { "verify", 6, "EdDSA" },
        { "hmac", 9, "HS384" }
    };

    for (i = 0; i < sizeof(fails) / sizeof(fails[0]); i++) {
        ngx_memzero(&set, sizeof(set));

        kind = &kinds[fails[i].kind];

        text = jwk(kind, NULL);
        add(&set, text);
        free(text);

        text = jose_string("{\"alg\":\"%s\"}", fails[i].alg);
        token = sign(kind, fails[i].alg, text, "{}");

        test_fails = fails[i].what;
        is(verify(&set, token), NGX_WS_BUS_JWT_INTERNAL, fails[i].what);
        test_fails = "";

        is(verify(&set, token), NGX_WS_BUS_JWT_OK, "... when it works again");

        free(text);
        free(token);
        ngx_ws_bus_jwk_free(&set);
    }
}


static void
test_error_queue(void)
{
    char         name[6], *header, *token;
    ngx_uint_t   i;

    static u_char  garbage[256];

    ERR_clear_error();

    for (i = 0; i < NKIND; i++) {
        snprintf(name, sizeof(name), "%.5s", kinds[i].algorithms);

        header = jose_string("{\"alg\":\"%s\"}", name);
        token = sign(&kinds[i], name, header, "{}");
        spoil(token);

        tap_each(verify(&kinds[i].set, token) == NGX_WS_BUS_JWT_SIGNATURE
                 && ERR_peek_error() == 0, "%s", kinds[i].kind);

        free(header);
        free(token);
    }

    ERR_raise(ERR_LIB_USER, 1);

    with_signature(RSA2048, "RS256", garbage, 256);
    with_signature(P_256, "ES256", garbage, 64);
    with_signature(ED25519, "EdDSA", garbage, 64);

    tap_each(ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_USER
             && ERR_peek_error() == ERR_peek_last_error(), "kept");

    tap_all("OpenSSL's queue of errors is as it was");

    ERR_clear_error();
}
