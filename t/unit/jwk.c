
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <stdlib.h>


/* memory that ends after so many allocations; -1: never */

static int  test_memory = -1;


static void *
test_malloc(size_t size)
{
    return (test_memory == 0) ? NULL : (test_memory--, malloc(size));
}


static void *
test_realloc(void *p, size_t size)
{
    return (test_memory == 0) ? NULL : (test_memory--, realloc(p, size));
}


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#define malloc   test_malloc
#define realloc  test_realloc

#include "ngx_ws_bus_jose.c"
#include "ngx_ws_bus_jwk_der.c"
#include "ngx_ws_bus_jwk.c"

#undef malloc
#undef realloc

#include "jose.h"
#include "tap.h"


/* a text and what is to be said of it: of its first key, if it skips one */

typedef struct {
    const char              *text;
    ngx_ws_bus_jwk_error_e   error;
    ngx_ws_bus_jwk_error_e   skipped;
} bad_case_t;


/* what was said of the keys of a text that are of no use */

typedef struct {
    ngx_uint_t               n;
    ngx_uint_t               at[80];
    ngx_uint_t               reason[80];
    char                     kid[80][256];
} skipped_t;


typedef struct {
    const char              *text;
    int                      len;          /* -1: refused */
} base64_case_t;


static void test_table(void);
static void test_base64url(void);
static void test_base64url_strict(void);
static void test_json(void);
static void test_algorithms(void);
static void test_rfc7517(void);
static void test_thumbprints(void);
static void test_rfc8037(void);
static void test_kinds(void);
static void test_members(void);
static void test_refused(void);
static void test_rsa_sizes(void);
static void test_points(void);
static void test_secrets(void);
static void test_pem(void);
static void test_pem_refused(void);
static void test_sets(void);
static void test_limits(void);
static void test_memory_ends(void);
static void test_error_queue(void);


/* RFC 7515, A.1; RFC 7517, A.1, A.2, A.3; RFC 7638, 3.1; RFC 8037, A.2 */

#define N_7517                                                                \
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7"  \
    "aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXA"  \
    "rwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7"  \
    "d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lF"  \
    "d2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"

#define X_7517  "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"
#define Y_7517  "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"

#define X_8037  "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"

#define K_7517                                                                \
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcg"  \
    "UuTwjAzZr1Z9CAow"

#define RSA      "\"kty\":\"RSA\",\"n\":\"" N_7517 "\",\"e\":\"AQAB\""
#define EC       "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X_7517           \
                 "\",\"y\":\"" Y_7517 "\""
#define OKP      "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X_8037 "\""
#define OCT      "\"kty\":\"oct\",\"k\":\"" K_7517 "\""

#define ONE(key)  "{\"keys\":[{" key "}]}"

/* zeros in base64url */

#define Z20      "AAAAAAAAAAAAAAAAAAAA"
#define Z256     Z20 Z20 Z20 Z20 Z20 Z20 Z20 Z20 Z20 Z20 Z20 Z20 Z20 Z20 Z20  \
                 Z20 Z20


static const base64_case_t  base64_cases[] = {

    /* RFC 4648, 10, without padding */

    { "", 0 },
    { "Zg", 1 },
    { "Zm8", 2 },
    { "Zm9v", 3 },
    { "Zm9vYg", 4 },
    { "Zm9vYmE", 5 },
    { "Zm9vYmFy", 6 },

    /* RFC 7515, C */

    { "A-z_4ME", 5 },

    { "Z", -1 },
    { "Zm9vY", -1 },
    { "Zg==", -1 },
    { "Zm8=", -1 },
    { "Zm9v====", -1 },
    { "Zh", -1 },
    { "Zm9", -1 },
    { "Zm9vYh", -1 },
    { "Zm9vYmF", -1 },
    { "A+z_4ME", -1 },
    { "A-z/4ME", -1 },
    { "Zm 9v", -1 },
    { "Zm9v\n", -1 },
    { " Zm9v", -1 },
    { "Zm.v", -1 },
    { "Z\xc3\xa4v", -1 }
};


static const bad_case_t  bad_cases[] = {
    { "", NGX_WS_BUS_JWK_FORMAT, 0 },
    { " \r\n\t", NGX_WS_BUS_JWK_FORMAT, 0 },
    { "keys", NGX_WS_BUS_JWK_FORMAT, 0 },
    { "\"keys\"", NGX_WS_BUS_JWK_FORMAT, 0 },
    { "{", NGX_WS_BUS_JWK_JSON, 0 },
    { "{\"keys\":[}", NGX_WS_BUS_JWK_JSON, 0 },
    { "{\"keys\":[]} x", NGX_WS_BUS_JWK_JSON, 0 },
    { "{\"keys\":[\"\\u0000\"]}", NGX_WS_BUS_JWK_JSON, 0 },
    { "{\"keys\":[\"\xff\"]}", NGX_WS_BUS_JWK_JSON, 0 },
    { "{\"keys\":[],\"keys\":[]}", NGX_WS_BUS_JWK_DUPLICATE, 0 },
    { "{\"keys\":[{\"kty\":\"oct\",\"kty\":\"oct\"}]}",
      NGX_WS_BUS_JWK_DUPLICATE, 0 },
    { "{\"keys\":[],\"\\u006beys\":[]}", NGX_WS_BUS_JWK_DUPLICATE, 0 },
    { "{\"keys\":[99999999999999999999]}", NGX_WS_BUS_JWK_NUMBER, 0 },
    { "{\"keys\":[1e999]}", NGX_WS_BUS_JWK_NUMBER, 0 },
    { "{\"keys\":[[[[[[[1]]]]]]]}", NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_KEY },
    { "{\"keys\":[[[[[[[[1]]]]]]]]}", NGX_WS_BUS_JWK_DEEP, 0 },
    { "[]", NGX_WS_BUS_JWK_OBJECT, 0 },
    { "[{" OCT "}]", NGX_WS_BUS_JWK_OBJECT, 0 },
    { "{}", NGX_WS_BUS_JWK_KEYS, 0 },
    { "{\"keys\":{}}", NGX_WS_BUS_JWK_KEYS, 0 },
    { "{\"keys\":null}", NGX_WS_BUS_JWK_KEYS, 0 },
    { "{\"keys\":\"x\"}", NGX_WS_BUS_JWK_KEYS, 0 },
    { "{\"Keys\":[]}", NGX_WS_BUS_JWK_KEYS, 0 },
    { "{\"keys\":[]}", NGX_WS_BUS_JWK_NONE, 0 },

    { "{\"keys\":[1]}", NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_KEY },
    { "{\"keys\":[[]]}", NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_KEY },
    { "{\"keys\":[null]}", NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_KEY },
    { "{\"keys\":[{}]}", NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_KTY },
    { ONE("\"kty\":1"), NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_KTY },
    { ONE("\"kty\":\"rsa\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_KTY_UNKNOWN },
    { ONE("\"kty\":\"DH\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_KTY_UNKNOWN },
    { ONE("\"kty\":\"\""), NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_KTY_UNKNOWN },
    { ONE(OCT ",\"kid\":1"), NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_KID },
    { ONE(OCT ",\"kid\":null"), NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_KID },
    { ONE(OCT ",\"kid\":[\"a\"]"), NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_KID },

    { ONE(EC ",\"use\":1"), NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_USE },
    { ONE(EC ",\"use\":[\"sig\"]"), NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_USE },
    { ONE(EC ",\"use\":\"enc\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_USE_OTHER },
    { ONE(EC ",\"use\":\"SIG\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_USE_OTHER },
    { ONE(EC ",\"key_ops\":\"verify\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_OPS },
    { ONE(EC ",\"key_ops\":[1]"), NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_OPS },
    { ONE(EC ",\"key_ops\":[\"verify\",\"verify\"]"), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_OPS },
    { ONE(EC ",\"key_ops\":[]"), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_OPS_OTHER },
    { ONE(EC ",\"key_ops\":[\"sign\"]"), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_OPS_OTHER },
    { ONE(OCT ",\"key_ops\":[\"encrypt\",\"decrypt\"]"), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_OPS_OTHER },
    { ONE(EC ",\"use\":\"sig\",\"key_ops\":[\"sign\"]"), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_OPS_OTHER },

    { ONE(EC ",\"alg\":1"), NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_ALG },
    { ONE(EC ",\"alg\":null"), NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_ALG },
    { ONE(EC ",\"alg\":\"none\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_ALG_UNKNOWN },
    { ONE(EC ",\"alg\":\"es256\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_ALG_UNKNOWN },
    { ONE(RSA ",\"alg\":\"RSA-OAEP\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_ALG_UNKNOWN },
    { ONE(EC ",\"alg\":\"ES384\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_ALG_FAMILY },
    { ONE(RSA ",\"alg\":\"ES256\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_ALG_FAMILY },
    { ONE(RSA ",\"alg\":\"HS256\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_ALG_FAMILY },
    { ONE(OKP ",\"alg\":\"ES256\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_ALG_FAMILY },
    { ONE(OCT ",\"alg\":\"RS256\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_ALG_FAMILY },

    { ONE(RSA ",\"d\":\"AQAB\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_PRIVATE },
    { ONE(RSA ",\"dp\":null"), NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_PRIVATE },
    { ONE(RSA ",\"oth\":[]"), NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_PRIVATE },
    { ONE(EC ",\"d\":\"AQAB\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_PRIVATE },
    { ONE(OKP ",\"d\":\"AQAB\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_PRIVATE },

    { ONE("\"kty\":\"RSA\",\"e\":\"AQAB\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_MEMBER },
    { ONE("\"kty\":\"RSA\",\"n\":1,\"e\":\"AQAB\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_MEMBER },
    { ONE("\"kty\":\"RSA\",\"n\":\"" N_7517 "\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_MEMBER },
    { ONE("\"kty\":\"RSA\",\"n\":\"" N_7517 "\",\"e\":65537"),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_MEMBER },
    { ONE("\"kty\":\"RSA\",\"n\":\"" N_7517 "=\",\"e\":\"AQAB\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_BASE64 },
    { ONE("\"kty\":\"RSA\",\"n\":\"" N_7517 "==\",\"e\":\"AQAB\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_BASE64 },
    { ONE("\"kty\":\"RSA\",\"n\":\"" N_7517 "\",\"e\":\"AQA+\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_BASE64 },
    { ONE("\"kty\":\"RSA\",\"n\":\"\",\"e\":\"AQAB\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_MINIMAL },
    { ONE("\"kty\":\"RSA\",\"n\":\"AAEB\",\"e\":\"AQAB\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_MINIMAL },
    { ONE("\"kty\":\"RSA\",\"n\":\"" N_7517 "\",\"e\":\"AAEAAQ\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_MINIMAL },
    { ONE("\"kty\":\"RSA\",\"n\":\"" N_7517 "\",\"e\":\"\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_MINIMAL },
    { ONE("\"kty\":\"RSA\",\"n\":\"" N_7517 "\",\"e\":\"AA\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_MINIMAL },
    { ONE("\"kty\":\"RSA\",\"n\":\"" N_7517 "\",\"e\":\"AQ\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_RSA_EXPONENT },
    { ONE("\"kty\":\"RSA\",\"n\":\"" N_7517 "\",\"e\":\"Ag\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_RSA_EXPONENT },
    { ONE("\"kty\":\"RSA\",\"n\":\"" N_7517 "\",\"e\":\"AQAA\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_RSA_EXPONENT },
    { ONE("\"kty\":\"RSA\",\"n\":\"" N_7517 "\",\"e\":\"AQAAAAE\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_RSA_EXPONENT },
    { ONE("\"kty\":\"RSA\",\"n\":\"AQ\",\"e\":\"AQAB\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_RSA_WEAK },

    /* 256 octets, all but the first bit zero */

    { ONE("\"kty\":\"RSA\",\"n\":\"gA" Z256 "\",\"e\":\"AQAB\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_RSA_EVEN },

    { ONE("\"kty\":\"EC\""), NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_CRV },
    { ONE("\"kty\":\"EC\",\"crv\":256"), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_CRV },
    { ONE("\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"" X_7517
          "\",\"y\":\"" Y_7517 "\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_CRV_UNKNOWN },
    { ONE("\"kty\":\"EC\",\"crv\":\"\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_CRV_UNKNOWN },
    { ONE("\"kty\":\"EC\",\"crv\":\"Ed25519\",\"x\":\"" X_8037 "\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_CRV_UNKNOWN },
    { ONE("\"kty\":\"OKP\",\"crv\":\"P-256\",\"x\":\"" X_7517 "\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_CRV_UNKNOWN },
    { ONE("\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"" X_8037 "\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_CRV_UNKNOWN },
    { ONE("\"kty\":\"OKP\",\"crv\":null"), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_CRV },
    { ONE("\"kty\":\"EC\",\"crv\":\"P-256\",\"y\":\"" Y_7517 "\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_MEMBER },
    { ONE("\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X_7517 "\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_MEMBER },
    { ONE("\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X_7517
          "\",\"y\":\"A\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_BASE64 },
    { ONE("\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X_7517
          "\",\"y\":\"AQAB\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_LENGTH },
    { ONE("\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X_7517
          "\",\"y\":\"\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_LENGTH },
    { ONE("\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA" X_7517
          "\",\"y\":\"" Y_7517 "\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_LENGTH },
    { ONE("\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"" X_7517
          "\",\"y\":\"" Y_7517 "\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_LENGTH },
    { ONE("\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" Y_7517
          "\",\"y\":\"" X_7517 "\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_POINT },
    { ONE("\"kty\":\"OKP\",\"crv\":\"Ed25519\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_MEMBER },
    { ONE("\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" X_8037 "A\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_LENGTH },
    { ONE("\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AQAB\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_LENGTH },
    { ONE("\"kty\":\"OKP\",\"crv\":\"Ed448\",\"x\":\"" X_8037 "\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_LENGTH },
    { ONE("\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"=\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_BASE64 },

    { ONE("\"kty\":\"oct\""), NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_MEMBER },
    { ONE("\"kty\":\"oct\",\"k\":[]"), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_MEMBER },
    { ONE("\"kty\":\"oct\",\"k\":\"=\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_BASE64 },
    { ONE("\"kty\":\"oct\",\"k\":\"\""), NGX_WS_BUS_JWK_NONE,
      NGX_WS_BUS_JWK_OCT_SHORT },
    { ONE("\"kty\":\"oct\",\"k\":\"GawgguFyGrWKav7AX4VKUg\""),
      NGX_WS_BUS_JWK_NONE, NGX_WS_BUS_JWK_OCT_SHORT }
};


static const skipped_t  *seen;


int
main(void)
{
    test_table();
    test_base64url();
    test_base64url_strict();
    test_json();
    test_algorithms();
    test_rfc7517();
    test_thumbprints();
    test_rfc8037();
    test_kinds();
    test_members();
    test_refused();
    test_rsa_sizes();
    test_points();
    test_secrets();
    test_pem();
    test_pem_refused();
    test_sets();
    test_limits();
    test_memory_ends();
    test_error_queue();

    return tap_done();
}


static void
skip(void *data, ngx_uint_t n, const ngx_str_t *kid,
    const ngx_ws_bus_jwk_error_t *error)
{
    skipped_t  *skipped;

    skipped = data;

    if (skipped->n == 80) {
        abort();
    }

    skipped->at[skipped->n] = n;
    skipped->reason[skipped->n] = error->reason;
    memcpy(skipped->kid[skipped->n], kid->len ? kid->data : (u_char *) "",
           kid->len);
    skipped->kid[skipped->n][kid->len] = '\0';
    skipped->n++;
}


/* adds a text, from memory of its own size; returns what is said of it */

static ngx_uint_t
add(ngx_ws_bus_jwk_set_t *set, const char *text, size_t len)
{
    u_char                        *copy;
    ngx_int_t                      rc;
    const ngx_ws_bus_jwk_error_t  *error;

    static skipped_t  skipped;

    copy = malloc(len ? len : 1);
    jose_must(copy != NULL);
    memcpy(copy, text, len);

    ngx_memzero(&skipped, sizeof(skipped_t));
    seen = &skipped;

    rc = ngx_ws_bus_jwk_add(set, copy, len, skip, &skipped, &error);

    free(copy);

    jose_must((rc == NGX_OK) == (error->reason == NGX_WS_BUS_JWK_OK));

    return error->reason;
}


static ngx_uint_t
add_text(ngx_ws_bus_jwk_set_t *set, const char *text)
{
    return add(set, text, strlen(text));
}


static void
test_table(void)
{
    ngx_uint_t                     i;
    const ngx_ws_bus_jwk_error_t  *e;

    for (i = 0; i <= NGX_WS_BUS_JWK_REFUSED; i++) {
        e = &ngx_ws_bus_jwk_errors[i];

        tap_each(e->reason == i && e->text.len > 0
                 && e->text.len == strlen((char *) e->text.data),
                 "%d", (int) i);
    }

    tap_all("each reason is at its place");
}


static void
test_base64url(void)
{
    int                   len;
    u_char               *src, *dst;
    ngx_uint_t            i;
    const base64_case_t  *t;

    for (i = 0; i < sizeof(base64_cases) / sizeof(base64_cases[0]); i++) {
        t = &base64_cases[i];

        /* ASan sees what goes beyond */

        src = malloc(strlen(t->text) + (t->text[0] == '\0'));
        dst = malloc(strlen(t->text) * 3 / 4 + 1);
        jose_must(src != NULL && dst != NULL);

        memcpy(src, t->text, strlen(t->text));

        len = (int) ngx_ws_bus_jose_base64url(dst, src, strlen(t->text));

        tap_is(len, t->len, "base64url, case %d", (int) i);

        if (t->len > 0 && i < 7) {
            tap_ok(memcmp(dst, "foobar", len) == 0, "... is \"%.*s\"", len,
                   "foobar");
        }

        free(src);
        free(dst);
    }
}


/* of all short strings, those that encoding gives and no others */

static void
test_base64url_strict(void)
{
    long          n;
    char         *again;
    u_char        src[4], dst[4];
    size_t        i, len;
    ssize_t       rc;
    unsigned long k;

    static const char  letters[] = "ABIJQgwz019-_+/=. \n";

    n = sizeof(letters) - 1;

    for (len = 1; len <= 4; len++) {
        for (k = 0; k < (unsigned long) (n * n * n * n); k++) {

            for (i = 0; i < len; i++) {
                src[i] = (u_char) letters[(k / (i == 0 ? 1 : i == 1 ? n
                                                : i == 2 ? n * n
                                                : n * n * n)) % n];
            }

            rc = ngx_ws_bus_jose_base64url(dst, src, len);

            if (rc < 0) {
                continue;
            }

            again = jose_base64url(dst, rc);

            tap_each(strlen(again) == len && memcmp(again, src, len) == 0,
                     "\"%.*s\"", (int) len, src);

            free(again);
        }
    }

    tap_all("what is decoded is encoded the same");
}


/* parses from memory of its own size; 1 if it agrees with the object */

static ngx_uint_t
json(const char *text, ngx_uint_t depth, ngx_ws_bus_jose_e want)
{
    u_char             *copy;
    json_t             *object;
    size_t              len;
    ngx_ws_bus_jose_e   e;

    len = strlen(text);

    copy = malloc(len ? len : 1);
    jose_must(copy != NULL);
    memcpy(copy, text, len);

    object = (json_t *) copy;
    e = ngx_ws_bus_jose_json(copy, len, depth, &object);

    free(copy);

    if ((e == NGX_WS_BUS_JOSE_OK) != (object != NULL)) {
        return 0;
    }

    json_decref(object);

    return e == want;
}


static void
test_json(void)
{
    int   i;
    char  text[64];

    tap_ok(json("", 1, NGX_WS_BUS_JOSE_JSON), "nothing is no JSON");
    tap_ok(json("{}", 0, NGX_WS_BUS_JOSE_DEEP), "an object at depth 0");
    tap_ok(json("{}", 1, NGX_WS_BUS_JOSE_OK), "an object at depth 1");

    for (i = 1; i < 20; i++) {
        memset(text, '[', sizeof(text));
        memcpy(text, "{\"a\":", 5);
        memset(text + 5 + i, ']', i);
        strcpy(text + 5 + 2 * i, "}");

        tap_each(json(text, 10, i < 10 ? NGX_WS_BUS_JOSE_OK
                                       : NGX_WS_BUS_JOSE_DEEP),
                 "%s", text);
    }

    tap_all("depth");

    /* brackets that are no nesting */

    tap_ok(json("{\"a\":\"[[[[\"}", 1, NGX_WS_BUS_JOSE_OK),
           "brackets in a string");
    tap_ok(json("{\"a\":\"\\\"[[\"}", 1, NGX_WS_BUS_JOSE_OK),
           "... behind an escaped quotation mark");
    tap_ok(json("{\"a\":\"\\\\\",\"b\":[[]]}", 2, NGX_WS_BUS_JOSE_DEEP),
           "... behind an escaped backslash");
    tap_ok(json("{\"a\":[],\"b\":[],\"c\":[]}", 2, NGX_WS_BUS_JOSE_OK),
           "one after another");
    tap_ok(json("]]]]{[[[", 3, NGX_WS_BUS_JOSE_DEEP),
           "closed before they were opened");
    tap_ok(json("{{{\"\\", 2, NGX_WS_BUS_JOSE_DEEP),
           "a string without an end");
    tap_ok(json("\"{{{\\", 2, NGX_WS_BUS_JOSE_JSON),
           "... from the beginning");

    tap_ok(json("\"a\"", 2, NGX_WS_BUS_JOSE_JSON), "a string is no text");
    tap_ok(json("[1]", 2, NGX_WS_BUS_JOSE_OBJECT), "an array");
    tap_ok(json("{\"a\":{\"b\":1,\"b\":1}}", 2, NGX_WS_BUS_JOSE_DUPLICATE),
           "a duplicate within");
    tap_ok(json("{\"a\":9223372036854775808}", 2, NGX_WS_BUS_JOSE_NUMBER),
           "a number of 64 bits");
    tap_ok(json("{\"a\":9223372036854775807}", 2, NGX_WS_BUS_JOSE_OK),
           "... of 63");
    tap_ok(json("\xef\xbb\xbf{}", 2, NGX_WS_BUS_JOSE_JSON),
           "a byte order mark");
}


static void
test_algorithms(void)
{
    size_t                        n;
    ngx_uint_t                    i, bits;
    u_char                        buf[NGX_WS_BUS_JOSE_NAMES];
    const ngx_ws_bus_jose_alg_t  *alg;

    static const char  *names[] = {
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
        "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"
    };

    static const char  *none[] = {
        "", "none", "None", "NONE", "rs256", "RS255", "RS2567", "RS25",
        "ES256K", "EDDSA", "eddsa", "Ed25519", "HS1", "RSA-OAEP", "dir"
    };

    bits = 0;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        n = strlen(names[i]);
        alg = ngx_ws_bus_jose_alg((u_char *) names[i], n);

        tap_ok(alg != NULL && alg->name.len == n
               && memcmp(alg->name.data, names[i], n) == 0
               && alg->hash == (ngx_uint_t) atoi(names[i] + 2), "%s",
               names[i]);

        bits |= alg->bit;
    }

    tap_is(bits, 0x1fff, "each has a bit of its own");

    n = ngx_ws_bus_jose_names(buf, bits) - buf;

    tap_is(n, NGX_WS_BUS_JOSE_NAMES, "the names of all");
    tap_ok(memcmp(buf, "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 "
                  "EdDSA HS256 HS384 HS512", n) == 0, "in their order");

    n = ngx_ws_bus_jose_names(buf, NGX_WS_BUS_JOSE_EDDSA
                                   |NGX_WS_BUS_JOSE_HS512) - buf;

    tap_ok(n == 11 && memcmp(buf, "EdDSA HS512", 11) == 0, "of some");
    tap_ok(ngx_ws_bus_jose_names(buf, 0) == buf, "of none");

    for (i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        tap_ok(ngx_ws_bus_jose_alg((u_char *) none[i], strlen(none[i]))
               == NULL, "no algorithm \"%s\"", none[i]);
    }
}


/* RFC 7517, A.1, A.3 */

static void
test_rfc7517(void)
{
    ngx_ws_bus_jwk_set_t  set;

    ngx_memzero(&set, sizeof(set));

    tap_is(add_text(&set, "{\"keys\":\n  [\n"
                    "{\"kty\":\"EC\",\n\"crv\":\"P-256\",\n"
                    "\"x\":\"" X_7517 "\",\n\"y\":\"" Y_7517 "\",\n"
                    "\"use\":\"enc\",\n\"kid\":\"1\"},\n"
                    "{" RSA ",\n\"alg\":\"RS256\",\n"
                    "\"kid\":\"2011-04-29\"}\n]\n}\n"),
           NGX_WS_BUS_JWK_OK, "RFC 7517, A.1");
    tap_ok(seen->n == 1 && seen->at[0] == 0 && strcmp(seen->kid[0], "1") == 0
           && seen->reason[0] == NGX_WS_BUS_JWK_USE_OTHER,
           "a key for encryption is passed over");
    tap_ok(set.n == 1 && set.keys[0].algorithms == NGX_WS_BUS_JOSE_RS256
           && set.keys[0].size == 256 && set.keys[0].kid.len == 10
           && memcmp(set.keys[0].kid.data, "2011-04-29", 10) == 0,
           "the other is for RS256");

    tap_is(add_text(&set, "{\"keys\": [\n"
                    "{\"kty\":\"oct\",\"alg\":\"A128KW\","
                    "\"k\":\"GawgguFyGrWKav7AX4VKUg\"},\n"
                    "{\"kty\":\"oct\",\"k\":\"" K_7517 "\","
                    "\"kid\":\"HMAC key used in JWS spec Appendix A.1 "
                    "example\"}]}"),
           NGX_WS_BUS_JWK_OK, "RFC 7517, A.3");
    tap_ok(seen->n == 1 && seen->at[0] == 0 && seen->kid[0][0] == '\0'
           && seen->reason[0] == NGX_WS_BUS_JWK_ALG_UNKNOWN,
           "a key for wrapping is passed over");
    tap_ok(set.n == 2 && set.keys[1].algorithms == NGX_WS_BUS_JOSE_HS
           && set.keys[1].pkey == NULL && set.keys[1].secret.len == 64
           && set.keys[1].secret.data[0] == 3,
           "the other is for HMAC");

    ngx_ws_bus_jwk_free(&set);

    tap_ok(set.n == 0 && set.keys == NULL, "an empty set is left");
}


/* RFC 7638, 3 */

static void
thumbprint(const char *jwk, const char *want, const char *name)
{
    char                  *s, *x, *y, *got;
    u_char                 md[32];
    size_t                 len;
    EVP_PKEY              *pkey;
    ngx_ws_bus_jwk_set_t   set;

    ngx_memzero(&set, sizeof(set));

    if (!tap_is(add_text(&set, jwk), NGX_WS_BUS_JWK_OK, "%s", name)) {
        return;
    }

    pkey = set.keys[0].pkey;

    if (EVP_PKEY_is_a(pkey, "RSA")) {
        x = jose_number(pkey, OSSL_PKEY_PARAM_RSA_E);
        y = jose_number(pkey, OSSL_PKEY_PARAM_RSA_N);
        s = jose_string("{\"e\":\"%s\",\"kty\":\"RSA\",\"n\":\"%s\"}", x, y);
        free(y);

    } else {
        len = sizeof(md);
        jose_must(EVP_PKEY_get_raw_public_key(pkey, md, &len) == 1);
        x = jose_base64url(md, len);
        s = jose_string("{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"%s\"}",
                        x);
    }

    jose_must(EVP_Digest(s, strlen(s), md, NULL, EVP_sha256(), NULL) == 1);

    got = jose_base64url(md, sizeof(md));

    tap_ok(strcmp(got, want) == 0, "... has the thumbprint %s", want);

    free(got);
    free(s);
    free(x);

    ngx_ws_bus_jwk_free(&set);
}


static void
test_thumbprints(void)
{
    thumbprint("{" RSA ",\"alg\":\"RS256\",\"kid\":\"2011-04-29\"}",
               "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
               "RFC 7638, 3.1");
    thumbprint("{" OKP "}", "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
               "RFC 8037, A.3");
}


static void
test_rfc8037(void)
{
    ngx_ws_bus_jwk_set_t  set;

    ngx_memzero(&set, sizeof(set));

    tap_is(add_text(&set, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"d\":"
                    "\"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\","
                    "\"x\":\"" X_8037 "\"}"),
           NGX_WS_BUS_JWK_NONE, "RFC 8037, A.1");
    tap_is(seen->reason[0], NGX_WS_BUS_JWK_PRIVATE, "... is a private key");
    tap_is(add_text(&set, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\n"
                    "\"x\":\"" X_8037 "\"}"),
           NGX_WS_BUS_JWK_OK, "RFC 8037, A.2");
    tap_ok(set.keys[0].algorithms == NGX_WS_BUS_JOSE_EDDSA
           && set.keys[0].size == 64 && set.keys[0].kid.data == NULL,
           "... is its public half");

    ngx_ws_bus_jwk_free(&set);
}


/* each kind of key, as a JWK and as PEM, is the one it was */

static void
test_kinds(void)
{
    char                  *members, *text;
    EVP_PKEY              *pkey;
    ngx_uint_t             i;
    ngx_ws_bus_jwk_set_t   set;

    static const struct {
        const char  *kind;
        size_t       bits;
        size_t       size;
        ngx_uint_t   algorithms;
    } kinds[] = {
        { "RSA", 2048, 256, NGX_WS_BUS_JOSE_RS|NGX_WS_BUS_JOSE_PS },
        { "RSA", 2056, 257, NGX_WS_BUS_JOSE_RS|NGX_WS_BUS_JOSE_PS },
        { "RSA", 3072, 384, NGX_WS_BUS_JOSE_RS|NGX_WS_BUS_JOSE_PS },
        { "P-256", 0, 64, NGX_WS_BUS_JOSE_ES256 },
        { "P-384", 0, 96, NGX_WS_BUS_JOSE_ES384 },
        { "P-521", 0, 132, NGX_WS_BUS_JOSE_ES512 },
        { "ED25519", 0, 64, NGX_WS_BUS_JOSE_EDDSA },
        { "ED448", 0, 114, NGX_WS_BUS_JOSE_EDDSA }
    };

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        ngx_memzero(&set, sizeof(set));

        pkey = jose_key(kinds[i].kind, kinds[i].bits);
        members = jose_members(pkey);

        text = jose_string("{\"keys\":[{%s,\"use\":\"sig\",\"x5c\":[\"A\"],"
                           "\"key_ops\":[\"sign\",\"verify\"]}]}", members);

        tap_is(add_text(&set, text), NGX_WS_BUS_JWK_OK, "%s %d as a JWK",
               kinds[i].kind, (int) kinds[i].bits);
        free(text);

        text = jose_pem(pkey);

        tap_is(add_text(&set, text), NGX_WS_BUS_JWK_OK, "... as PEM");
        free(text);

        tap_ok(set.n == 2 && seen->n == 0
               && EVP_PKEY_eq(pkey, set.keys[0].pkey) == 1
               && EVP_PKEY_eq(pkey, set.keys[1].pkey) == 1
               && set.keys[0].size == kinds[i].size
               && set.keys[1].size == kinds[i].size
               && set.keys[0].algorithms == kinds[i].algorithms
               && set.keys[1].algorithms == kinds[i].algorithms,
               "... are both the key");

        free(members);
        EVP_PKEY_free(pkey);
        ngx_ws_bus_jwk_free(&set);
    }
}


static void
test_members(void)
{
    char                  text[2000];
    ngx_uint_t            i;
    ngx_ws_bus_jwk_set_t  set;

    static const char  *good[] = {
        ONE(RSA), ONE(EC), ONE(OKP), ONE(OCT),
        "{" EC "}",
        ONE(EC ",\"use\":\"sig\",\"key_ops\":[\"verify\"],\"alg\":\"ES256\""),
        ONE(EC ",\"key_ops\":[\"verify\",\"sign\",\"x\"]"),
        ONE(RSA ",\"alg\":\"PS512\""), ONE(RSA ",\"alg\":\"RS384\""),
        ONE(OKP ",\"alg\":\"EdDSA\""), ONE(OCT ",\"alg\":\"HS512\""),
        ONE(EC ",\"kid\":\"\""),
        ONE(EC ",\"kid\":\"\\u00e4\\\"\""),
        ONE("\"\\u006bty\":\"RSA\",\"n\":\"" N_7517 "\",\"e\":\"Aw\""),
        ONE("\"kty\":\"RSA\",\"n\":\"" N_7517 "\",\"e\":\"_____w\""),
        ONE(EC ",\"ext\":true,\"x5t\":\"x\",\"exp\":1,\"iat\":1.5"),
        ONE(OCT ",\"d\":\"AQAB\""),
        "{\"a\":1,\"keys\":[{" EC "}],\"b\":{}}"
    };

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ngx_memzero(&set, sizeof(set));

        tap_ok(add_text(&set, good[i]) == NGX_WS_BUS_JWK_OK && set.n == 1,
               "a good key, case %d", (int) i);

        ngx_ws_bus_jwk_free(&set);
    }

    ngx_memzero(&set, sizeof(set));

    memset(text, 'k', sizeof(text));
    memcpy(text, "{" EC ",\"kid\":\"", sizeof("{" EC ",\"kid\":\"") - 1);
    i = sizeof("{" EC ",\"kid\":\"") - 1;
    memcpy(text + i + 255, "\"}", 3);

    tap_is(add_text(&set, text), NGX_WS_BUS_JWK_OK, "a kid of 255 bytes");
    tap_is(set.keys[0].kid.len, 255, "... is whole");

    memcpy(text + i + 255, "k\"}", 4);

    tap_is(add_text(&set, text), NGX_WS_BUS_JWK_NONE, "a kid of 256 bytes");
    tap_is(seen->reason[0], NGX_WS_BUS_JWK_KID, "... is too long");

    ngx_ws_bus_jwk_free(&set);

    add_text(&set, ONE(EC ",\"kid\":\"\""));
    tap_ok(set.keys[0].kid.data != NULL && set.keys[0].kid.len == 0,
           "an empty kid is one");
    ngx_ws_bus_jwk_free(&set);
}


static void
test_refused(void)
{
    ngx_uint_t             i, error;
    const bad_case_t      *t;
    ngx_ws_bus_jwk_set_t   set;

    for (i = 0; i < sizeof(bad_cases) / sizeof(bad_cases[0]); i++) {
        t = &bad_cases[i];

        ngx_memzero(&set, sizeof(set));

        error = add_text(&set, t->text);

        if (!tap_ok(error == t->error
                    && seen->n == (t->skipped != NGX_WS_BUS_JWK_OK)
                    && seen->reason[0] == t->skipped
                    && set.n == 0 && set.keys == NULL,
                    "case %d: %s", (int) i,
                    ngx_ws_bus_jwk_errors[t->skipped ? t->skipped
                                          : t->error].text.data))
        {
            tap_diag("%s: %s, %s", t->text,
                     ngx_ws_bus_jwk_errors[error].text.data,
                     ngx_ws_bus_jwk_errors[seen->reason[0]].text.data);
            ngx_ws_bus_jwk_free(&set);
        }
    }
}


/* a modulus of so many bits, all ones */

static ngx_uint_t
add_modulus(size_t bits)
{
    char                  *n, *text;
    u_char                 buf[2048];
    size_t                 len;
    ngx_uint_t             error;
    ngx_ws_bus_jwk_set_t   set;

    ngx_memzero(&set, sizeof(set));

    len = (bits + 7) / 8;

    memset(buf, 0xff, len);
    buf[0] = (u_char) (0xff >> (len * 8 - bits));

    n = jose_base64url(buf, len);
    text = jose_string("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\"}", n);

    error = add_text(&set, text);

    free(n);
    free(text);
    ngx_ws_bus_jwk_free(&set);

    return error ? seen->reason[0] : error;
}


static void
test_rsa_sizes(void)
{
    EVP_PKEY              *pkey;
    char                  *pem;
    ngx_ws_bus_jwk_set_t   set;

    tap_is(add_modulus(2047), NGX_WS_BUS_JWK_RSA_WEAK, "2047 bits");
    tap_is(add_modulus(1024), NGX_WS_BUS_JWK_RSA_WEAK, "1024 bits");
    tap_is(add_modulus(512), NGX_WS_BUS_JWK_RSA_WEAK, "512 bits");
    tap_is(add_modulus(2048), NGX_WS_BUS_JWK_OK, "2048 bits");
    tap_is(add_modulus(2049), NGX_WS_BUS_JWK_OK, "2049 bits");
    tap_is(add_modulus(8192), NGX_WS_BUS_JWK_OK, "8192 bits");
    tap_is(add_modulus(8193), NGX_WS_BUS_JWK_RSA_LARGE, "8193 bits");
    tap_is(add_modulus(16384), NGX_WS_BUS_JWK_RSA_LARGE, "16384 bits");

    ngx_memzero(&set, sizeof(set));

    pkey = jose_key("RSA", 1024);
    pem = jose_pem(pkey);

    tap_is(add_text(&set, pem), NGX_WS_BUS_JWK_NONE, "1024 bits in PEM");
    tap_is(seen->reason[0], NGX_WS_BUS_JWK_RSA_WEAK, "... are as weak");

    free(pem);
    EVP_PKEY_free(pkey);
}


/* an SPKI of any type and bits in PEM; returns what is said of it */

static ngx_uint_t
add_spki(const char *id, size_t id_len, const u_char *bits, size_t len)
{
    BIO                   *bio;
    char                  *pem;
    long                   size;
    u_char                 buf[2048], *p, *last;
    ngx_uint_t             error;
    ngx_ws_bus_jwk_set_t   set;

    ngx_memzero(&set, sizeof(set));

    last = buf + sizeof(buf);
    p = last - len;

    memcpy(p, bits, len);
    p = ngx_ws_bus_jwk_der_put_head(p, NGX_WS_BUS_JWK_BITS, len);
    p -= id_len;
    memcpy(p, id, id_len);
    p = ngx_ws_bus_jwk_der_put_head(p, NGX_WS_BUS_JWK_SEQUENCE, last - p);

    bio = BIO_new(BIO_s_mem());
    jose_must(PEM_write_bio(bio, "PUBLIC KEY", "", p, last - p) > 0);
    size = BIO_get_mem_data(bio, &pem);

    error = add(&set, pem, size);

    BIO_free(bio);
    ngx_ws_bus_jwk_free(&set);

    return error ? seen->reason[0] : error;
}


#define P256      "\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"              \
                  "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"
#define K256      "\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"              \
                  "\x06\x05\x2b\x81\x04\x00\x0a"
#define ED25519   "\x30\x05\x06\x03\x2b\x65\x70"
#define X25519    "\x30\x05\x06\x03\x2b\x65\x6e"
#define RSA_ID    "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00"
#define PSS_ID    "\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"

#define spki(id, bits, len)  add_spki(id, sizeof(id) - 1, bits, len)


static void
test_points(void)
{
    u_char      bits[1100];
    size_t      len;
    EVP_PKEY   *pkey;
    ngx_uint_t  i;

    pkey = jose_key("P-256", 0);

    bits[0] = 0;

    jose_must(EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY,
                                              bits + 1, sizeof(bits) - 1,
                                              &len)
              == 1 && len == 65);

    EVP_PKEY_free(pkey);

    tap_is(spki(P256, bits, 66), NGX_WS_BUS_JWK_OK, "a point");
    tap_is(spki(P256, bits, 65), NGX_WS_BUS_JWK_LENGTH, "a byte less");
    tap_is(spki(P256, bits, 67), NGX_WS_BUS_JWK_LENGTH, "a byte more");
    tap_is(spki(P256, bits, 1), NGX_WS_BUS_JWK_POINT, "none");
    tap_is(spki(P256, bits, 0), NGX_WS_BUS_JWK_DER, "not even bits");

    bits[0] = 1;
    tap_is(spki(P256, bits, 66), NGX_WS_BUS_JWK_DER, "unused bits");
    bits[0] = 0;

    tap_is(spki(K256, bits, 66), NGX_WS_BUS_JWK_TYPE, "of another curve");

    bits[65] ^= 1;
    tap_is(spki(P256, bits, 66), NGX_WS_BUS_JWK_POINT, "beside the curve");
    bits[65] ^= 1;

    i = bits[65] & 1;

    bits[1] = (u_char) (0x06 + i);
    tap_is(spki(P256, bits, 66), NGX_WS_BUS_JWK_POINT, "hybrid");

    bits[1] = (u_char) (0x02 + i);
    tap_is(spki(P256, bits, 34), NGX_WS_BUS_JWK_OK, "compressed");
    tap_is(spki(P256, bits, 33), NGX_WS_BUS_JWK_LENGTH, "... too short");
    tap_is(spki(P256, bits, 66), NGX_WS_BUS_JWK_LENGTH, "... too long");

    bits[1] = 0;
    tap_is(spki(P256, bits, 2), NGX_WS_BUS_JWK_POINT, "at infinity");

    tap_is(spki(ED25519, bits, 33), NGX_WS_BUS_JWK_OK, "Ed25519");
    tap_is(spki(ED25519, bits, 32), NGX_WS_BUS_JWK_LENGTH, "... short");
    tap_is(spki(ED25519, bits, 34), NGX_WS_BUS_JWK_LENGTH, "... long");
    tap_is(spki(X25519, bits, 33), NGX_WS_BUS_JWK_TYPE, "X25519");
    tap_is(spki(PSS_ID, bits, 33), NGX_WS_BUS_JWK_TYPE, "RSASSA-PSS");

    /* RSAPublicKey */

    tap_is(spki(RSA_ID, bits, 33), NGX_WS_BUS_JWK_DER, "RSA of zeros");

    memcpy(bits, "\0\x30\x09\x02\x02\x01\x01\x02\x03\x01\x00\x01", 12);
    tap_is(spki(RSA_ID, bits, 12), NGX_WS_BUS_JWK_RSA_WEAK, "RSA of 9 bits");

    bits[4] = 0x7f;
    tap_is(spki(RSA_ID, bits, 12), NGX_WS_BUS_JWK_DER, "a length beyond");
    bits[4] = 0x81;
    tap_is(spki(RSA_ID, bits, 12), NGX_WS_BUS_JWK_DER, "a longer length");
    bits[4] = 0x82;
    tap_is(spki(RSA_ID, bits, 12), NGX_WS_BUS_JWK_DER, "... of two octets");
    bits[4] = 0x80;
    tap_is(spki(RSA_ID, bits, 12), NGX_WS_BUS_JWK_DER, "no length");
    bits[4] = 0x85;
    tap_is(spki(RSA_ID, bits, 12), NGX_WS_BUS_JWK_DER, "a length's length");
    bits[4] = 0x02;

    bits[5] = 0x81;
    tap_is(spki(RSA_ID, bits, 12), NGX_WS_BUS_JWK_DER, "a negative modulus");

    memcpy(bits + 5, "\x00\x01", 2);
    tap_is(spki(RSA_ID, bits, 12), NGX_WS_BUS_JWK_DER, "a padded modulus");

    memcpy(bits, "\0\x30\x06\x02\x01\x00\x02\x01\x03", 9);
    tap_is(spki(RSA_ID, bits, 9), NGX_WS_BUS_JWK_DER, "a modulus of zero");

    memcpy(bits, "\0\x30\x05\x02\x00\x02\x01\x03", 8);
    tap_is(spki(RSA_ID, bits, 8), NGX_WS_BUS_JWK_DER, "an empty modulus");

    memcpy(bits, "\0\x30\x06\x02\x01\x05\x02\x01\x03\x05\x00", 11);
    tap_is(spki(RSA_ID, bits, 11), NGX_WS_BUS_JWK_DER, "more behind it");

    bits[2] = 8;
    tap_is(spki(RSA_ID, bits, 11), NGX_WS_BUS_JWK_DER, "more within it");

    tap_is(spki("", bits, 11), NGX_WS_BUS_JWK_TYPE, "no algorithm at all");

    /* 8200 bits */

    memset(bits, 0xff, sizeof(bits));
    memcpy(bits, "\0\x30\x82\x04\x0b\x02\x82\x04\x02\0", 10);
    memcpy(bits + 10 + 1025, "\x02\x03\x01\0\x01", 5);
    tap_is(spki(RSA_ID, bits, 1040), NGX_WS_BUS_JWK_RSA_LARGE, "8200 bits");
}


static ngx_uint_t
add_secret(size_t len, const char *alg, ngx_uint_t *algorithms)
{
    char                  *k, *text;
    u_char                 buf[1100];
    ngx_uint_t             error;
    ngx_ws_bus_jwk_set_t   set;

    ngx_memzero(&set, sizeof(set));

    memset(buf, 0x5a, sizeof(buf));

    k = jose_base64url(buf, len);
    text = jose_string("{\"kty\":\"oct\",\"k\":\"%s\"%s%s%s}", k,
                       alg ? ",\"alg\":\"" : "", alg ? alg : "",
                       alg ? "\"" : "");

    error = add_text(&set, text);
    *algorithms = set.n ? set.keys[0].algorithms : 0;

    free(k);
    free(text);
    ngx_ws_bus_jwk_free(&set);

    return error ? seen->reason[0] : error;
}


static void
test_secrets(void)
{
    ngx_uint_t  a, hs256, hs384;

    hs256 = NGX_WS_BUS_JOSE_HS256;
    hs384 = NGX_WS_BUS_JOSE_HS256|NGX_WS_BUS_JOSE_HS384;

    tap_is(add_secret(31, NULL, &a), NGX_WS_BUS_JWK_OCT_SHORT, "31 bytes");
    tap_is(add_secret(32, NULL, &a), NGX_WS_BUS_JWK_OK, "32 bytes");
    tap_is(a, hs256, "... are enough for HS256");
    tap_is(add_secret(47, NULL, &a), NGX_WS_BUS_JWK_OK, "47 bytes");
    tap_is(a, hs256, "... only");
    tap_is(add_secret(48, NULL, &a), NGX_WS_BUS_JWK_OK, "48 bytes");
    tap_is(a, hs384, "... for HS384");
    tap_is(add_secret(63, NULL, &a), NGX_WS_BUS_JWK_OK, "63 bytes");
    tap_is(a, hs384, "... only");
    tap_is(add_secret(64, NULL, &a), NGX_WS_BUS_JWK_OK, "64 bytes");
    tap_is(a, NGX_WS_BUS_JOSE_HS, "... for HS512");
    tap_is(add_secret(1024, NULL, &a), NGX_WS_BUS_JWK_OK, "1024 bytes");
    tap_is(add_secret(1025, NULL, &a), NGX_WS_BUS_JWK_OCT_LONG, "1025 bytes");

    tap_is(add_secret(64, "HS256", &a), NGX_WS_BUS_JWK_OK, "64 for HS256");
    tap_is(a, hs256, "... are not for HS512");
    tap_is(add_secret(63, "HS512", &a), NGX_WS_BUS_JWK_OCT_ALG,
           "63 for HS512");
    tap_is(add_secret(32, "HS384", &a), NGX_WS_BUS_JWK_OCT_ALG,
           "32 for HS384");
    tap_is(add_secret(31, "HS256", &a), NGX_WS_BUS_JWK_OCT_SHORT,
           "31 for HS256");
}


static void
test_pem(void)
{
    BIO                   *bio;
    char                  *one, *two, *text, *data;
    long                   len;
    u_char                *der, *p;
    EVP_PKEY              *rsa, *ec;
    ngx_ws_bus_jwk_set_t   set;

    ngx_memzero(&set, sizeof(set));

    rsa = jose_key("RSA", 2048);
    ec = jose_key("P-384", 0);

    one = jose_pem(rsa);
    two = jose_pem(ec);

    text = jose_string("keys of January\n\n%s\nof February\n%s\n", one, two);

    tap_is(add_text(&set, text), NGX_WS_BUS_JWK_OK, "two keys and some text");
    tap_ok(set.n == 2 && EVP_PKEY_eq(set.keys[0].pkey, rsa) == 1
           && EVP_PKEY_eq(set.keys[1].pkey, ec) == 1, "... in order");

    free(text);

    text = jose_string("  \r\n%s", one);
    tap_is(add_text(&set, text), NGX_WS_BUS_JWK_OK, "after white space");
    free(text);

    /* RSAPublicKey of its own */

    der = NULL;
    len = i2d_PublicKey(rsa, &der);
    jose_must(len > 0);

    bio = BIO_new(BIO_s_mem());
    jose_must(PEM_write_bio(bio, "RSA PUBLIC KEY", "", der, len) > 0);
    len = BIO_get_mem_data(bio, &data);

    tap_is(add(&set, data, len), NGX_WS_BUS_JWK_OK, "RSA PUBLIC KEY");
    tap_ok(set.n == 4 && EVP_PKEY_eq(set.keys[3].pkey, rsa) == 1,
           "... is the key");

    BIO_free(bio);
    OPENSSL_free(der);

    /* of more than a key can have */

    p = calloc(1, 5000);
    bio = BIO_new(BIO_s_mem());
    jose_must(PEM_write_bio(bio, "RSA PUBLIC KEY", "", p, 5000) > 0);
    len = BIO_get_mem_data(bio, &data);

    tap_is(add(&set, data, len), NGX_WS_BUS_JWK_NONE, "a huge RSA PUBLIC KEY");
    tap_is(seen->reason[0], NGX_WS_BUS_JWK_RSA_LARGE, "... is too large");

    BIO_free(bio);
    free(p);

    free(one);
    free(two);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
    ngx_ws_bus_jwk_free(&set);
}


static void
test_pem_refused(void)
{
    BIO                   *bio;
    char                  *pem, *text, *data;
    long                   len;
    size_t                 i;
    EVP_PKEY              *pkey;
    ngx_ws_bus_jwk_set_t   set;

    ngx_memzero(&set, sizeof(set));

    pkey = jose_key("RSA", 2048);
    pem = jose_pem(pkey);

    bio = BIO_new(BIO_s_mem());
    jose_must(PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL)
              == 1);
    len = BIO_get_mem_data(bio, &data);

    tap_is(add(&set, data, len), NGX_WS_BUS_JWK_NONE, "a private key");
    tap_is(seen->reason[0], NGX_WS_BUS_JWK_PRIVATE, "... is private");

    text = jose_string("%.*s%s", (int) len, data, pem);
    tap_is(add_text(&set, text), NGX_WS_BUS_JWK_OK, "with a public one");
    tap_ok(set.n == 1 && seen->n == 1 && seen->at[0] == 0, "... that is used");
    ngx_ws_bus_jwk_free(&set);
    free(text);

    BIO_free(bio);

    bio = BIO_new(BIO_s_mem());
    jose_must(PEM_write_bio_PrivateKey_traditional(bio, pkey, EVP_aes_128_cbc(),
                                                   (u_char *) "pass", 4, NULL,
                                                   NULL)
              == 1);
    len = BIO_get_mem_data(bio, &data);

    tap_is(add(&set, data, len), NGX_WS_BUS_JWK_NONE, "an encrypted one");
    tap_is(seen->reason[0], NGX_WS_BUS_JWK_PRIVATE, "... asks nobody");
    BIO_free(bio);

    text = jose_string("-----BEGIN PUBLIC KEY-----\nProc-Type: 4,ENCRYPTED\n"
                       "DEK-Info: AES-128-CBC,00\n\nAAAA\n"
                       "-----END PUBLIC KEY-----\n");
    tap_is(add_text(&set, text), NGX_WS_BUS_JWK_NONE, "with a header");
    tap_is(seen->reason[0], NGX_WS_BUS_JWK_BLOCK, "... is no key");
    free(text);

    tap_is(add_text(&set, "-----BEGIN CERTIFICATE-----\nAAAA\n"
                    "-----END CERTIFICATE-----\n"),
           NGX_WS_BUS_JWK_NONE, "a certificate");
    tap_is(seen->reason[0], NGX_WS_BUS_JWK_BLOCK, "... is no key");

    tap_is(add_text(&set, "-----BEGIN PUBLIC KEY-----\nAAAA\n"
                    "-----END PUBLIC KEY-----\n"),
           NGX_WS_BUS_JWK_NONE, "zeros");
    tap_is(seen->reason[0], NGX_WS_BUS_JWK_DER, "... are no key");

    tap_is(add_text(&set, "-----BEGIN PUBLIC KEY-----\n\n"
                    "-----END PUBLIC KEY-----\n"),
           NGX_WS_BUS_JWK_PEM, "nothing");

    tap_is(add_text(&set, "-----BEGIN PUBLIC KEY-----\n!!!!\n"
                    "-----END PUBLIC KEY-----\n"),
           NGX_WS_BUS_JWK_PEM, "no base64");
    tap_is(add_text(&set, "-----BEGIN PUBLIC KEY-----\nAAAA\n"
                    "-----END PRIVATE KEY-----\n"),
           NGX_WS_BUS_JWK_PEM, "another end");

    /* all that is short of the last character, of which there may be none */

    for (i = 1; i < strlen(pem) - 1; i++) {
        len = (long) add(&set, pem, i);

        tap_each((len == NGX_WS_BUS_JWK_PEM || len == NGX_WS_BUS_JWK_FORMAT)
                 && set.n == 0, "%d bytes: %d", (int) i, (int) len);
    }

    tap_all("a part of a file");

    /* each bit of a file: refused, or another key */

    for (i = 27; i < strlen(pem) - 26; i++) {
        text = jose_string("%s", pem);
        text[i] ^= 1;

        tap_each(add_text(&set, text) != NGX_WS_BUS_JWK_OK
                 || EVP_PKEY_eq(set.keys[0].pkey, pkey) != 1,
                 "%d", (int) i);

        ngx_ws_bus_jwk_free(&set);
        free(text);
    }

    tap_all("a file with a wrong bit");

    free(pem);
    EVP_PKEY_free(pkey);
}


static void
test_sets(void)
{
    ngx_ws_bus_jwk_set_t  set;

    ngx_memzero(&set, sizeof(set));

    tap_is(add_text(&set, "{\"keys\":[{" RSA ",\"kid\":\"a\"},{\"kty\":\"X\","
                    "\"kid\":\"b\"},{" EC ",\"kid\":\"c\"},{},"
                    "{" OCT ",\"kid\":\"a\"},{" OKP "}]}"),
           NGX_WS_BUS_JWK_OK, "good and bad keys");
    tap_ok(set.n == 4 && set.keys[0].kid.data[0] == 'a'
           && set.keys[1].kid.data[0] == 'c'
           && set.keys[2].kid.data[0] == 'a'
           && set.keys[3].kid.data == NULL, "the good ones, in order");
    tap_ok(seen->n == 2 && seen->at[0] == 1 && seen->at[1] == 3
           && seen->kid[0][0] == 'b' && seen->kid[1][0] == '\0',
           "the bad ones are told by number and kid");

    tap_is(add_text(&set, "{\"keys\":[{" EC ",\"kid\":\"d\"},{" EC "}]}{"),
           NGX_WS_BUS_JWK_JSON, "a bad text");
    tap_is(set.n, 4, "... changes nothing");

    tap_is(add_text(&set, "{\"keys\":[{\"kty\":\"EC\"},{}]}"),
           NGX_WS_BUS_JWK_NONE, "a text without a good key");
    tap_is(set.n, 4, "... changes nothing");

    ngx_ws_bus_jwk_free(&set);
    ngx_ws_bus_jwk_free(&set);

    tap_is(set.n, 0, "freed, twice");

    tap_is(ngx_ws_bus_jwk_add(&set, (u_char *) "{\"keys\":[{}]}", 13, NULL,
                              NULL, &(const ngx_ws_bus_jwk_error_t *){ NULL }),
           NGX_ERROR, "nobody has to hear of it");
}


static char *
many(ngx_uint_t good, ngx_uint_t bad)
{
    char        *text, *p;
    ngx_uint_t   i;

    text = malloc(20 + good * sizeof("{" EC "},") + bad * sizeof("{},"));
    jose_must(text != NULL);

    p = text + sprintf(text, "{\"keys\":[");

    for (i = 0; i < good; i++) {
        p += sprintf(p, "{%s},", EC);
    }

    for (i = 0; i < bad; i++) {
        p += sprintf(p, "{},");
    }

    sprintf(p - 1, "]}");

    return text;
}


#define PEM_BLOCK  "-----BEGIN X-----\nAAAA\n-----END X-----\n"
#define BLOCK      (sizeof(PEM_BLOCK) - 1)


static void
test_limits(void)
{
    char                  *text;
    ngx_uint_t             i;
    ngx_ws_bus_jwk_set_t   set;

    ngx_memzero(&set, sizeof(set));

    text = many(64, 0);
    tap_is(add_text(&set, text), NGX_WS_BUS_JWK_OK, "64 keys");
    tap_is(set.n, 64, "... are there");
    free(text);

    tap_is(add_text(&set, ONE(OCT)), NGX_WS_BUS_JWK_MANY, "another one");
    tap_is(set.n, 64, "... is not");

    ngx_ws_bus_jwk_free(&set);

    text = many(65, 0);
    tap_is(add_text(&set, text), NGX_WS_BUS_JWK_MANY, "65 keys");
    free(text);

    text = many(1, 64);
    tap_is(add_text(&set, text), NGX_WS_BUS_JWK_MANY, "65, of little use");
    free(text);

    text = many(1, 63);
    tap_is(add_text(&set, text), NGX_WS_BUS_JWK_OK, "64, of little use");
    free(text);

    text = many(63, 0);
    tap_is(add_text(&set, text), NGX_WS_BUS_JWK_OK, "63 more");
    free(text);

    text = many(2, 0);
    tap_is(add_text(&set, text), NGX_WS_BUS_JWK_MANY, "... are all");
    tap_is(set.n, 64, "... all");
    free(text);

    ngx_ws_bus_jwk_free(&set);

    text = malloc(NGX_WS_BUS_JWK_TEXT_MAX + 1);
    jose_must(text != NULL);
    memset(text, ' ', NGX_WS_BUS_JWK_TEXT_MAX + 1);
    memcpy(text, ONE(OCT), sizeof(ONE(OCT)) - 1);

    tap_is(add(&set, text, NGX_WS_BUS_JWK_TEXT_MAX), NGX_WS_BUS_JWK_OK,
           "256 kB");
    tap_is(add(&set, text, NGX_WS_BUS_JWK_TEXT_MAX + 1), NGX_WS_BUS_JWK_LARGE,
           "a byte more");

    ngx_ws_bus_jwk_free(&set);

    for (i = 0; i < 65; i++) {
        memcpy(text + i * BLOCK, PEM_BLOCK, BLOCK);
    }

    tap_is(add(&set, text, 64 * BLOCK), NGX_WS_BUS_JWK_NONE, "64 blocks");
    tap_is(seen->n, 64, "... are looked at");
    tap_is(add(&set, text, 65 * BLOCK), NGX_WS_BUS_JWK_MANY, "65 blocks");

    free(text);
}


static void
test_memory_ends(void)
{
    int                    n;
    ngx_uint_t             error;
    ngx_ws_bus_jwk_set_t   set;

    ngx_memzero(&set, sizeof(set));

    for (n = 0; n < 100; n++) {
        test_memory = n;
        error = add_text(&set, "{\"keys\":[{" EC ",\"kid\":\"a\"},{" OCT
                         ",\"kid\":\"b\"},{" RSA "}]}");
        test_memory = -1;

        if (error == NGX_WS_BUS_JWK_OK) {
            break;
        }

        tap_each(error == NGX_WS_BUS_JWK_MEMORY && set.n == 0
                 && set.keys == NULL && seen->n == 0, "%d", n);
    }

    tap_all("without memory nothing is added, and nothing is left behind");
    tap_is(n, 6, "until there is enough");

    ngx_ws_bus_jwk_free(&set);

    /* jansson's */

    json_set_alloc_funcs(test_malloc, free);

    test_memory = 0;
    tap_is(add_text(&set, ONE(OCT)), NGX_WS_BUS_JWK_MEMORY, "not even JSON");
    test_memory = -1;

    json_set_alloc_funcs(malloc, free);

    tap_is(set.n, 0, "nothing is added");
}


/* the queue is another library's as well */

static void
test_error_queue(void)
{
    ngx_uint_t             i;
    ngx_ws_bus_jwk_set_t   set;

    ngx_memzero(&set, sizeof(set));

    ERR_clear_error();

    for (i = 0; i < sizeof(bad_cases) / sizeof(bad_cases[0]); i++) {
        add_text(&set, bad_cases[i].text);
        tap_each(ERR_peek_error() == 0, "case %d", (int) i);
    }

    tap_all("no error of OpenSSL is left in its queue");

    ERR_raise(ERR_LIB_USER, 1);

    add_text(&set, ONE("\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" Y_7517
                       "\",\"y\":\"" X_7517 "\""));
    add_text(&set, "x");
    add_text(&set, ONE(EC));

    tap_ok(ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_USER
           && ERR_peek_error() == ERR_peek_last_error(),
           "what was there stays");

    ERR_clear_error();
    ngx_ws_bus_jwk_free(&set);
}
