
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_jose.c"
#include "ngx_ws_bus_jwk_der.c"
#include "ngx_ws_bus_jwk.c"

#include "fuzz.h"


/* larger files take longer, and have nothing new */

#define MAX  8192


static void check_key(ngx_ws_bus_jwk_t *key);
static void check_der(const uint8_t *data, size_t size);
static void check_base64url(const uint8_t *data, size_t size);


static ngx_uint_t  skipped;


/* A file of keys; also a key in DER and a string in base64url. */

static void
skip(void *data, ngx_uint_t n, const ngx_str_t *kid,
    const ngx_ws_bus_jwk_error_t *error)
{
    fuzz_check(data == &skipped);
    fuzz_check(n < NGX_WS_BUS_JWK_KEYS_MAX);
    fuzz_check(kid->len <= NGX_WS_BUS_JWK_KID_MAX);
    fuzz_check(error->reason >= NGX_WS_BUS_JWK_KEY
               && error->reason <= NGX_WS_BUS_JWK_REFUSED);

    skipped++;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_int_t                      rc, again;
    ngx_uint_t                     i, n;
    ngx_ws_bus_jwk_set_t           set;
    const ngx_ws_bus_jwk_error_t  *error, *same;

    if (size > MAX) {
        return 0;
    }

    ngx_memzero(&set, sizeof(ngx_ws_bus_jwk_set_t));
    skipped = 0;

    rc = ngx_ws_bus_jwk_add(&set, data, size, skip, &skipped, &error);

    fuzz_check(rc == NGX_OK || rc == NGX_ERROR);
    fuzz_check((rc == NGX_OK) == (error->reason == NGX_WS_BUS_JWK_OK));
    fuzz_check((rc == NGX_OK) == (set.n > 0) && (set.n > 0) == !!set.keys);
    fuzz_check(error->reason < NGX_WS_BUS_JWK_KEY
               && error->reason != NGX_WS_BUS_JWK_MEMORY);
    fuzz_check(set.n + skipped <= NGX_WS_BUS_JWK_KEYS_MAX);
    fuzz_check(ERR_peek_error() == 0);

    for (i = 0; i < set.n; i++) {
        check_key(&set.keys[i]);
    }

    /* the same again: as many more, or as before */

    n = set.n;

    again = ngx_ws_bus_jwk_add(&set, data, size, NULL, NULL, &same);

    if (again == NGX_OK) {
        fuzz_check(rc == NGX_OK && set.n == 2 * n);

    } else {
        fuzz_check(set.n == n
                   && (same == error
                       || same->reason == NGX_WS_BUS_JWK_MANY));
    }

    ngx_ws_bus_jwk_free(&set);

    fuzz_check(set.n == 0 && set.keys == NULL);

    check_der(data, size);
    check_base64url(data, size);

    return 0;
}


/* what a key may verify is what it is */

static void
check_key(ngx_ws_bus_jwk_t *key)
{
    int         id;
    ngx_uint_t  all;

    fuzz_check(key->algorithms != 0);
    fuzz_check(key->kid.data != NULL || key->kid.len == 0);

    if (key->pkey == NULL) {
        all = NGX_WS_BUS_JOSE_HS256;
        all |= (key->secret.len >= 48) ? NGX_WS_BUS_JOSE_HS384 : 0;
        all |= (key->secret.len >= 64) ? NGX_WS_BUS_JOSE_HS512 : 0;

        fuzz_check((key->algorithms & ~all) == 0 && key->size == 0);
        fuzz_check(key->secret.len >= NGX_WS_BUS_JWK_OCT_MIN
                   && key->secret.len <= NGX_WS_BUS_JWK_OCT_MAX);
        return;
    }

    fuzz_check(key->secret.data == NULL);

    id = EVP_PKEY_base_id(key->pkey);

    switch (id) {

    case EVP_PKEY_RSA:
        fuzz_check((key->algorithms
                    & ~(ngx_uint_t) (NGX_WS_BUS_JOSE_RS|NGX_WS_BUS_JOSE_PS))
                   == 0);
        fuzz_check(EVP_PKEY_bits(key->pkey) >= NGX_WS_BUS_JWK_RSA_MIN
                   && EVP_PKEY_bits(key->pkey) <= NGX_WS_BUS_JWK_RSA_MAX);
        fuzz_check(key->size == (size_t) EVP_PKEY_size(key->pkey));
        break;

    case EVP_PKEY_EC:
        all = (EVP_PKEY_bits(key->pkey) == 256) ? NGX_WS_BUS_JOSE_ES256
              : (EVP_PKEY_bits(key->pkey) == 384) ? NGX_WS_BUS_JOSE_ES384
              : NGX_WS_BUS_JOSE_ES512;

        fuzz_check(key->algorithms == all);
        fuzz_check(key->size
                   == (size_t) (EVP_PKEY_bits(key->pkey) + 7) / 8 * 2);
        break;

    default:
        fuzz_check(id == EVP_PKEY_ED25519 || id == EVP_PKEY_ED448);
        fuzz_check(key->algorithms == NGX_WS_BUS_JOSE_EDDSA);
        fuzz_check(key->size == (size_t) EVP_PKEY_size(key->pkey));
    }
}


static void
check_der(const uint8_t *data, size_t size)
{
    ngx_ws_bus_jwk_t        key;
    ngx_ws_bus_jwk_error_e  e;

    ngx_memzero(&key, sizeof(ngx_ws_bus_jwk_t));

    e = ngx_ws_bus_jwk_der_spki(&key, data, size);

    fuzz_check((e == NGX_WS_BUS_JWK_OK) == (key.pkey != NULL));

    if (e == NGX_WS_BUS_JWK_OK) {
        check_key(&key);
    }

    ngx_ws_bus_jwk_clear(&key);

    e = ngx_ws_bus_jwk_der_pkcs1(&key, data, size);

    fuzz_check((e == NGX_WS_BUS_JWK_OK) == (key.pkey != NULL));

    if (e == NGX_WS_BUS_JWK_OK) {
        check_key(&key);
        fuzz_check(EVP_PKEY_base_id(key.pkey) == EVP_PKEY_RSA);
    }

    ngx_ws_bus_jwk_clear(&key);
}


/* what is decoded, encoded again, is what it was */

static void
check_base64url(const uint8_t *data, size_t size)
{
    size_t        i;
    u_char       *dst;
    ssize_t       len;
    uint32_t      v;

    static const char  letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "abcdefghijklmnopqrstuvwxyz"
                                   "0123456789-_";

    dst = fuzz_alloc(size * 3 / 4);

    len = ngx_ws_bus_jose_base64url(dst, data, size);

    if (len == NGX_ERROR) {
        free(dst);
        return;
    }

    fuzz_check((size_t) len == size * 3 / 4);

    for (i = 0; i < size; i++) {
        v = (uint32_t) dst[i * 6 / 8] << 8;
        v |= (i * 6 / 8 + 1 < (size_t) len) ? dst[i * 6 / 8 + 1] : 0;

        fuzz_check(data[i] == letters[(v >> (10 - i * 6 % 8)) & 63]);
    }

    free(dst);
}
