
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_handshake.c"
#include "ngx_ws_bus_pattern.c"
#include "ngx_ws_bus_jose.c"
#include "ngx_ws_bus_jwk_der.c"
#include "ngx_ws_bus_jwk.c"
#include "ngx_ws_bus_jwt.c"
#include "ngx_ws_bus_jwt_claims.c"

#include "../unit/jose.h"

#include "fuzz.h"


#define MAX     8192

#define NOW     1300819379
#define LEEWAY  10


static void check_token(const uint8_t *data, size_t size);
static void check_signed(const ngx_str_t *token, ngx_ws_bus_jwt_t *jwt);
static void check_signer(const ngx_str_t *header, const ngx_str_t *claims,
    const ngx_str_t *channel);
static void check_header(const ngx_str_t *text);
static void check_claims(ngx_ws_bus_jwt_t *jwt);
static void check_time(const json_t *claims, const char *name, int64_t sec,
    int64_t *value);
static void check_text(const json_t *claim);
static void check_grants(const json_t *claims, const ngx_str_t *channel);
static ngx_uint_t granted(const json_t *list, const json_t *claims,
    const ngx_str_t *channel);


/* RFC 7515, A.1 to A.3; RFC 8037, A.2 */

static const char  key_set[] =
    "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-"
    "EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\",\"kid\":\"a\"},"
    "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji"
    "9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgN"
    "MsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5re"
    "xMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh"
    "9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcD"
    "TW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"},"
    "{\"kty\":\"EC\",\"crv\":\"P-256\","
    "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"},"
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
    "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";


static ngx_ws_bus_jwk_set_t    set, *sets = &set;
static ngx_ws_bus_jwt_rules_t  rules;


/*
 * A token; or, when the first byte is "!", header, claims and the name of
 * a channel, one a line, which are then signed.
 */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                         i;
    ngx_str_t                      part[3];
    ngx_uint_t                     n;
    const ngx_ws_bus_jwk_error_t  *error;

    if (set.n == 0) {
        fuzz_check(ngx_ws_bus_jwk_add(&set, (u_char *) key_set,
                                      sizeof(key_set) - 1, NULL, NULL, &error)
                   == NGX_OK);

        rules.sets = &sets;
        rules.nsets = 1;
        rules.algorithms = 0x1fff;
        rules.leeway = LEEWAY;
    }

    if (size > MAX) {
        return 0;
    }

    if (size == 0 || data[0] != '!') {
        check_token(data, size);
        return 0;
    }

    data++;
    size--;

    for (n = 0; n < 3; n++) {

        for (i = 0; i < size && data[i] != '\n'; i++) { /* void */ }

        part[n].len = i;
        part[n].data = (u_char *) data;

        i += (i < size);
        data += i;
        size -= i;
    }

    check_signer(&part[0], &part[1], &part[2]);

    return 0;
}


static void
check_token(const uint8_t *data, size_t size)
{
    ngx_int_t         rc;
    ngx_str_t         token;
    ngx_ws_bus_jwt_t  jwt, again;

    token.len = size;
    token.data = fuzz_copy(data, size);

    rc = ngx_ws_bus_jwt_verify(&rules, &token, NOW, &jwt);

    fuzz_check((rc == NGX_OK) == (jwt.error->reason == NGX_WS_BUS_JWT_OK));
    fuzz_check(jwt.error->reason != NGX_WS_BUS_JWT_INTERNAL);
    fuzz_check(rc != NGX_OK || jwt.claims != NULL);
    fuzz_check(ERR_peek_error() == 0);

    if (jwt.error->reason > NGX_WS_BUS_JWT_TRIES || rc == NGX_OK) {
        check_signed(&token, &jwt);
    }

    if (jwt.claims != NULL) {
        check_claims(&jwt);
    }

    /* nothing of it was kept that matters */

    fuzz_check(ngx_ws_bus_jwt_verify(&rules, &token, NOW, &again) == rc);
    fuzz_check(again.error == jwt.error && again.alg == jwt.alg
               && again.kid_unknown == jwt.kid_unknown);

    ngx_ws_bus_jwt_free(&jwt);
    ngx_ws_bus_jwt_free(&again);
    free(token.data);
}


/* what passes is signed by a key of the set, says OpenSSL in its own way */

static void
check_signed(const ngx_str_t *token, ngx_ws_bus_jwt_t *jwt)
{
    u_char           *dot, *der, sig[MAX];
    size_t            len;
    ssize_t           size;
    ECDSA_SIG        *ecdsa;
    EVP_MD_CTX       *ctx;
    ngx_uint_t        i, valid;
    EVP_PKEY_CTX     *pctx;
    ngx_ws_bus_jwk_t *key;
    u_char            mac[EVP_MAX_MD_SIZE];
    u_int             mac_len;

    for (dot = token->data + token->len; *--dot != '.'; /* void */ ) {
        fuzz_check(dot > token->data);
    }

    len = dot - token->data;
    size = ngx_ws_bus_jose_base64url(sig, dot + 1, token->len - len - 1);

    fuzz_check(size > 0);

    valid = 0;

    for (i = 0; i < set.n; i++) {
        key = &set.keys[i];

        if ((key->algorithms & jwt->alg->bit) == 0) {
            continue;
        }

        if (key->pkey == NULL) {
            HMAC(jose_md((char *) jwt->alg->name.data), key->secret.data,
                 (int) key->secret.len, token->data, len, mac, &mac_len);

            valid += (mac_len == size && memcmp(mac, sig, size) == 0);
            continue;
        }

        der = sig;

        if (jwt->alg->bit & NGX_WS_BUS_JOSE_ES) {
            ecdsa = ECDSA_SIG_new();
            ECDSA_SIG_set0(ecdsa, BN_bin2bn(sig, size / 2, NULL),
                           BN_bin2bn(sig + size / 2, size / 2, NULL));

            der = NULL;
            size = i2d_ECDSA_SIG(ecdsa, &der);
            ECDSA_SIG_free(ecdsa);
        }

        ctx = EVP_MD_CTX_new();

        fuzz_check(EVP_DigestVerifyInit(ctx, &pctx,
                       jose_md((char *) jwt->alg->name.data), NULL, key->pkey)
                   == 1);

        if (jwt->alg->bit & NGX_WS_BUS_JOSE_PS) {
            EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING);
            EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST);
        }

        valid += (EVP_DigestVerify(ctx, der, size, token->data, len) == 1);

        EVP_MD_CTX_free(ctx);

        if (der != sig) {
            OPENSSL_free(der);
        }
    }

    fuzz_check(valid == 1);
}


static void
check_signer(const ngx_str_t *header, const ngx_str_t *claims,
    const ngx_str_t *channel)
{
    char              *text, *p;
    ngx_int_t          rc;
    ngx_str_t          token;
    ngx_ws_bus_jwt_t   jwt;

    text = jose_token_of("HS256", NULL, (char *) set.keys[0].secret.data,
                         set.keys[0].secret.len, (char *) header->data,
                         header->len, (char *) claims->data, claims->len);

    token.len = strlen(text);
    token.data = fuzz_copy((uint8_t *) text, token.len);

    rc = ngx_ws_bus_jwt_verify(&rules, &token, NOW, &jwt);

    fuzz_check((rc == NGX_OK) == (jwt.error->reason == NGX_WS_BUS_JWT_OK));
    fuzz_check(jwt.error->reason != NGX_WS_BUS_JWT_INTERNAL);

    if (jwt.error->reason > NGX_WS_BUS_JWT_TRIES || rc == NGX_OK) {
        check_header(header);
    }

    if (jwt.claims != NULL) {
        check_claims(&jwt);
        check_grants(jwt.claims, channel);
    }

    ngx_ws_bus_jwt_free(&jwt);

    /* the same with another signature */

    p = (char *) token.data + token.len - 10;
    *p = (*p == 'A') ? 'B' : 'A';

    rc = ngx_ws_bus_jwt_verify(&rules, &token, NOW, &jwt);

    fuzz_check(rc == NGX_ERROR && jwt.claims == NULL
               && jwt.error->reason <= NGX_WS_BUS_JWT_TRIES);

    free(token.data);
    free(text);
}


static void
check_header(const ngx_str_t *text)
{
    json_t        *header;
    json_error_t   error;
    const json_t  *kid;

    header = json_loadb((char *) text->data, text->len,
                        JSON_REJECT_DUPLICATES, &error);

    fuzz_check(json_is_object(header));
    fuzz_check(strcmp(json_string_value(json_object_get(header, "alg")),
                      "HS256") == 0);
    fuzz_check(json_object_get(header, "crit") == NULL);
    fuzz_check(json_object_get(header, "typ") == NULL
               || json_is_string(json_object_get(header, "typ")));

    kid = json_object_get(header, "kid");

    fuzz_check(kid == NULL || strcmp(json_string_value(kid), "a") == 0);

    json_decref(header);
}


static void
check_claims(ngx_ws_bus_jwt_t *jwt)
{
    int64_t       exp, nbf, iat;
    const char   *name;
    json_t       *claim;

    fuzz_check(json_is_object(jwt->claims));

    if (jwt->error->reason == NGX_WS_BUS_JWT_OK) {
        check_time(jwt->claims, "exp", jwt->exp, &exp);
        check_time(jwt->claims, "nbf", jwt->nbf, &nbf);
        check_time(jwt->claims, "iat", jwt->iat, &iat);

        fuzz_check(json_object_get(jwt->claims, "exp") == NULL
                   || NOW < exp + LEEWAY);
        fuzz_check(NOW + LEEWAY >= nbf && NOW + LEEWAY >= iat);

        claim = json_object_get(jwt->claims, "sub");

        fuzz_check((claim == NULL) == (jwt->sub.data == NULL));
        fuzz_check(claim == NULL
                   || jwt->sub.data == (u_char *) json_string_value(claim));
    }

    json_object_foreach(jwt->claims, name, claim) {
        check_text(claim);
    }
}


static void
check_time(const json_t *claims, const char *name, int64_t sec,
    int64_t *value)
{
    double         real;
    const json_t  *claim;

    claim = json_object_get(claims, name);

    if (claim == NULL) {
        fuzz_check(sec == 0);
        *value = 0;
        return;
    }

    fuzz_check(json_is_number(claim));

    real = json_number_value(claim);

    fuzz_check(real >= 0 && real <= 253402300799.0);
    fuzz_check((double) sec <= real && real < (double) sec + 1);

    *value = sec;
}


static void
check_text(const json_t *claim)
{
    size_t   i, len;
    u_char  *text;

    len = ngx_ws_bus_jwt_text(claim, NULL, 0);

    text = fuzz_alloc(len);

    fuzz_check(ngx_ws_bus_jwt_text(claim, text, len) == len);

    for (i = 0; i < len; i++) {
        fuzz_check(text[i] >= 0x20);
    }

    if (json_is_string(claim)) {
        fuzz_check(len == 0 || len == json_string_length(claim));
    }

    free(text);
}


static void
check_grants(const json_t *claims, const ngx_str_t *channel)
{
    ngx_int_t                      rc;
    const json_t                  *bus;
    ngx_ws_bus_jwt_grants_t       *grants;
    const ngx_ws_bus_jwt_error_t  *error;

    bus = json_object_get(claims, "bus");

    rc = ngx_ws_bus_jwt_grants(bus, claims, &grants, &error);

    fuzz_check((rc == NGX_OK) == (error->reason == NGX_WS_BUS_JWT_OK)
               && (rc == NGX_OK) == (grants != NULL));

    if (rc != NGX_OK) {
        fuzz_check(error->reason >= NGX_WS_BUS_JWT_GRANTS
                   && error->reason <= NGX_WS_BUS_JWT_GRANTS_PATTERN);
        return;
    }

    fuzz_check(ngx_ws_bus_jwt_may_subscribe(grants, channel)
               == granted(json_object_get(bus, "subscribe"), claims,
                          channel));
    fuzz_check(ngx_ws_bus_jwt_may_publish(grants, channel)
               == granted(json_object_get(bus, "publish"), claims, channel));

    free(grants);
}


/* one pattern after the other */

static ngx_uint_t
granted(const json_t *list, const json_t *claims, const ngx_str_t *channel)
{
    u_char                    pattern[NGX_WS_BUS_PATTERN_SIZE];
    size_t                    i, len;
    ngx_str_t                 text;
    const json_t             *one;
    const ngx_str_t          *reason;
    ngx_ws_bus_jwt_lookup_t   lookup;

    lookup.claims = claims;

    for (i = 0; i < json_array_size(list); i++) {
        one = json_array_get(list, i);

        text.data = (u_char *) json_string_value(one);
        text.len = json_string_length(one);

        if (ngx_ws_bus_pattern_compile(&text, ngx_ws_bus_jwt_lookup, &lookup,
                                       pattern, &len, &reason)
            == NGX_OK
            && ngx_ws_bus_pattern_match(pattern, len, channel))
        {
            return 1;
        }
    }

    return 0;
}
