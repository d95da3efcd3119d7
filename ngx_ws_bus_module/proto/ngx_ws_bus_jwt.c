
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include "ngx_ws_bus_jose.h"
#include "ngx_ws_bus_jwk.h"
#include "ngx_ws_bus_jwt.h"


/* the longest signature, that of an RSA key */
#define NGX_WS_BUS_JWT_SIGNATURE_MAX  (NGX_WS_BUS_JWK_RSA_MAX / 8)

/* a P-521 signature: the headers of a sequence and of two integers, two zero
 * octets, and the integers */
#define NGX_WS_BUS_JWT_DER_MAX                                                \
    (3 + 2 * (2 + 1 + NGX_WS_BUS_JWK_COORD_MAX))


/* headers longer than that are read each time */
#define NGX_WS_BUS_JWT_SEEN_MAX       512


/*
 * The header of the last good token, encoded, and what was read from it.  All
 * tokens that one key signs have the same.
 */

typedef struct {
    const ngx_ws_bus_jose_alg_t   *alg;
    ngx_str_t                      kid;        /* data is NULL: none */
    size_t                         len;
    u_char                         text[NGX_WS_BUS_JWT_SEEN_MAX];
    u_char                         name[NGX_WS_BUS_JWK_KID_MAX];
} ngx_ws_bus_jwt_seen_t;


/* a token on its way through */

typedef struct {
    const ngx_ws_bus_jwt_rules_t  *rules;
    ngx_ws_bus_jwt_t              *jwt;

    ngx_str_t                      header;     /* encoded */
    ngx_str_t                      claims;
    ngx_str_t                      signed_part;
    ngx_str_t                      encoded;    /* signature */

    ngx_str_t                      signature;
    ngx_str_t                      kid;        /* data is NULL: none */

    ngx_uint_t                     tried;
    ngx_uint_t                     fit;        /* keys for this algorithm */
    ngx_uint_t                     over;       /* keys that were one too many */

    u_int                          digest_len; /* 0: not yet made */
    u_char                         digest[EVP_MAX_MD_SIZE];
    u_char                         octets[NGX_WS_BUS_JWT_SIGNATURE_MAX];
    u_char                         text[NGX_WS_BUS_JWT_MAX / 4 * 3];
} ngx_ws_bus_jwt_token_t;


static ngx_ws_bus_jwt_error_e ngx_ws_bus_jwt_token(ngx_ws_bus_jwt_token_t *t,
    const ngx_str_t *token);
static ngx_ws_bus_jwt_error_e ngx_ws_bus_jwt_split(ngx_ws_bus_jwt_token_t *t,
    const ngx_str_t *token);
static ngx_int_t ngx_ws_bus_jwt_seen(ngx_ws_bus_jwt_token_t *t);
static void ngx_ws_bus_jwt_see(ngx_ws_bus_jwt_token_t *t);
static ngx_ws_bus_jwt_error_e ngx_ws_bus_jwt_header(ngx_ws_bus_jwt_token_t *t,
    json_t **object);
static ngx_ws_bus_jwt_error_e ngx_ws_bus_jwt_alg(ngx_ws_bus_jwt_token_t *t,
    const json_t *alg);
static ngx_ws_bus_jwt_error_e ngx_ws_bus_jwt_typ(const json_t *typ);
static ngx_ws_bus_jwt_error_e ngx_ws_bus_jwt_crit(const json_t *crit);
static ngx_ws_bus_jwt_error_e ngx_ws_bus_jwt_signature(
    ngx_ws_bus_jwt_token_t *t);
static ngx_int_t ngx_ws_bus_jwt_keys(ngx_ws_bus_jwt_token_t *t,
    const ngx_str_t *kid, ngx_uint_t *known);
static ngx_int_t ngx_ws_bus_jwt_try(ngx_ws_bus_jwt_token_t *t,
    ngx_ws_bus_jwk_t *key);
static ngx_int_t ngx_ws_bus_jwt_hmac(ngx_ws_bus_jwt_token_t *t,
    ngx_ws_bus_jwk_t *key);
static ngx_int_t ngx_ws_bus_jwt_eddsa(ngx_ws_bus_jwt_token_t *t,
    ngx_ws_bus_jwk_t *key);
static ngx_int_t ngx_ws_bus_jwt_digest(ngx_ws_bus_jwt_token_t *t,
    ngx_ws_bus_jwk_t *key);
static EVP_PKEY_CTX *ngx_ws_bus_jwt_ctx(ngx_ws_bus_jwk_t *key,
    const ngx_ws_bus_jose_alg_t *alg);
static size_t ngx_ws_bus_jwt_der(u_char *dst, const u_char *src, size_t len);
static u_char *ngx_ws_bus_jwt_der_integer(u_char *p, const u_char *src,
    size_t len);
static const EVP_MD *ngx_ws_bus_jwt_md(ngx_uint_t hash);


#define ngx_ws_bus_jwt_text_of(reason, text)                                  \
    { NGX_WS_BUS_JWT_##reason, ngx_string(text) }

static const ngx_ws_bus_jwt_error_t  ngx_ws_bus_jwt_errors[] = {
    ngx_ws_bus_jwt_text_of(OK, "ok"),

    ngx_ws_bus_jwt_text_of(LARGE, "token is too large"),
    ngx_ws_bus_jwt_text_of(PARTS, "token is not of three parts"),
    ngx_ws_bus_jwt_text_of(HEADER_LARGE, "header is too large"),
    ngx_ws_bus_jwt_text_of(HEADER_BASE64, "header is not base64url"),
    ngx_ws_bus_jwt_text_of(HEADER_JSON, "header is malformed JSON"),
    ngx_ws_bus_jwt_text_of(HEADER_DUPLICATE, "header has a duplicate member"),
    ngx_ws_bus_jwt_text_of(HEADER_NUMBER, "header has a number out of range"),
    ngx_ws_bus_jwt_text_of(HEADER_DEEP, "header is nested too deep"),
    ngx_ws_bus_jwt_text_of(HEADER_OBJECT, "header is not an object"),
    ngx_ws_bus_jwt_text_of(ALG, "\"alg\" is missing or not a string"),
    ngx_ws_bus_jwt_text_of(ALG_NONE, "\"alg\" is \"none\""),
    ngx_ws_bus_jwt_text_of(ALG_UNKNOWN, "\"alg\" is unknown"),
    ngx_ws_bus_jwt_text_of(ALG_REFUSED, "\"alg\" is not allowed here"),
    ngx_ws_bus_jwt_text_of(TYP, "\"typ\" is not a string"),
    ngx_ws_bus_jwt_text_of(TYP_OTHER, "\"typ\" is not that of a JWT"),
    ngx_ws_bus_jwt_text_of(CRIT, "\"crit\" is not an array of strings"),
    ngx_ws_bus_jwt_text_of(CRIT_UNKNOWN, "\"crit\" has an unknown extension"),
    ngx_ws_bus_jwt_text_of(KID, "\"kid\" is not a string, or too long"),

    ngx_ws_bus_jwt_text_of(SIGNATURE_BASE64, "signature is not base64url"),
    ngx_ws_bus_jwt_text_of(SIGNATURE_LENGTH, "signature has a wrong length"),
    ngx_ws_bus_jwt_text_of(NO_KEY, "no key for this algorithm"),
    ngx_ws_bus_jwt_text_of(KID_UNKNOWN, "no key of this \"kid\""),
    ngx_ws_bus_jwt_text_of(KID_ALG,
                           "key of this \"kid\" is not for this algorithm"),
    ngx_ws_bus_jwt_text_of(SIGNATURE, "signature is invalid"),
    ngx_ws_bus_jwt_text_of(TRIES, "signature fits none of the first 8 keys"),

    ngx_ws_bus_jwt_text_of(CLAIMS_BASE64, "claims are not base64url"),
    ngx_ws_bus_jwt_text_of(CLAIMS_JSON, "claims are malformed JSON"),
    ngx_ws_bus_jwt_text_of(CLAIMS_DUPLICATE, "claims have a duplicate member"),
    ngx_ws_bus_jwt_text_of(CLAIMS_NUMBER, "claims have a number out of range"),
    ngx_ws_bus_jwt_text_of(CLAIMS_DEEP, "claims are nested too deep"),
    ngx_ws_bus_jwt_text_of(CLAIMS_OBJECT, "claims are not an object"),
    ngx_ws_bus_jwt_text_of(EXP, "\"exp\" is not a number"),
    ngx_ws_bus_jwt_text_of(EXP_RANGE, "\"exp\" is not a time in seconds"),
    ngx_ws_bus_jwt_text_of(EXPIRED, "token has expired"),
    ngx_ws_bus_jwt_text_of(NBF, "\"nbf\" is not a number"),
    ngx_ws_bus_jwt_text_of(NBF_RANGE, "\"nbf\" is not a time in seconds"),
    ngx_ws_bus_jwt_text_of(EARLY, "token is not valid yet"),
    ngx_ws_bus_jwt_text_of(IAT, "\"iat\" is not a number"),
    ngx_ws_bus_jwt_text_of(IAT_RANGE, "\"iat\" is not a time in seconds"),
    ngx_ws_bus_jwt_text_of(IAT_FUTURE, "token was issued in the future"),
    ngx_ws_bus_jwt_text_of(ISS, "\"iss\" is not a string"),
    ngx_ws_bus_jwt_text_of(ISS_MISSING, "\"iss\" is missing"),
    ngx_ws_bus_jwt_text_of(ISS_OTHER, "\"iss\" is not one of those required"),
    ngx_ws_bus_jwt_text_of(AUD, "\"aud\" is neither a string nor strings"),
    ngx_ws_bus_jwt_text_of(AUD_MISSING, "\"aud\" is missing"),
    ngx_ws_bus_jwt_text_of(AUD_OTHER, "\"aud\" has none of those required"),
    ngx_ws_bus_jwt_text_of(SUB, "\"sub\" is not a string"),
    ngx_ws_bus_jwt_text_of(JTI, "\"jti\" is not a string"),
    ngx_ws_bus_jwt_text_of(GRANTS, "grants are not an object of patterns"),
    ngx_ws_bus_jwt_text_of(GRANTS_MANY, "grants have too many patterns"),
    ngx_ws_bus_jwt_text_of(GRANTS_PATTERN, "grants have an invalid pattern"),

    ngx_ws_bus_jwt_text_of(INTERNAL, "no memory, or OpenSSL failed")
};


/* what is wrong with the JSON of either part, by ngx_ws_bus_jose_e */

static const ngx_ws_bus_jwt_error_e
    ngx_ws_bus_jwt_json[][NGX_WS_BUS_JOSE_ERRORS] =
{
    {
        NGX_WS_BUS_JWT_OK,
        NGX_WS_BUS_JWT_HEADER_JSON,
        NGX_WS_BUS_JWT_HEADER_DUPLICATE,
        NGX_WS_BUS_JWT_HEADER_NUMBER,
        NGX_WS_BUS_JWT_HEADER_DEEP,
        NGX_WS_BUS_JWT_HEADER_OBJECT,
        NGX_WS_BUS_JWT_INTERNAL
    },
    {
        NGX_WS_BUS_JWT_OK,
        NGX_WS_BUS_JWT_CLAIMS_JSON,
        NGX_WS_BUS_JWT_CLAIMS_DUPLICATE,
        NGX_WS_BUS_JWT_CLAIMS_NUMBER,
        NGX_WS_BUS_JWT_CLAIMS_DEEP,
        NGX_WS_BUS_JWT_CLAIMS_OBJECT,
        NGX_WS_BUS_JWT_INTERNAL
    }
};


/*
 * What a token is called that is meant for a resource (RFC 7519, 5.1,
 * RFC 9068, 2.1).  Others, such as "logout+jwt", say that they are for
 * something else (RFC 8725, 3.11).
 */

static const ngx_str_t  ngx_ws_bus_jwt_types[] = {
    ngx_string("jwt"),
    ngx_string("at+jwt"),
    ngx_string("application/jwt"),
    ngx_string("application/at+jwt"),
    ngx_null_string
};


static ngx_ws_bus_jwt_seen_t  ngx_ws_bus_jwt_last;


ngx_int_t
ngx_ws_bus_jwt_verify(const ngx_ws_bus_jwt_rules_t *rules,
    const ngx_str_t *token, time_t now, ngx_ws_bus_jwt_t *jwt)
{
    ssize_t                 len;
    ngx_ws_bus_jwt_token_t  t;
    ngx_ws_bus_jwt_error_e  e;

    ngx_memzero(jwt, sizeof(ngx_ws_bus_jwt_t));

    /* not the buffers */

    ngx_memzero(&t, offsetof(ngx_ws_bus_jwt_token_t, digest));

    t.rules = rules;
    t.jwt = jwt;

    e = ngx_ws_bus_jwt_token(&t, token);

    if (e != NGX_WS_BUS_JWT_OK) {
        goto failed;
    }

    len = ngx_ws_bus_jose_base64url(t.text, t.claims.data, t.claims.len);

    if (len < 0) {
        e = NGX_WS_BUS_JWT_CLAIMS_BASE64;
        goto failed;
    }

    e = ngx_ws_bus_jwt_json[1][ngx_ws_bus_jose_json(t.text, len,
                                                    NGX_WS_BUS_JWT_DEPTH_MAX,
                                                    &jwt->claims)];
    if (e != NGX_WS_BUS_JWT_OK) {
        goto failed;
    }

    return ngx_ws_bus_jwt_check(rules, now, jwt);

failed:

    jwt->error = ngx_ws_bus_jwt_error(e);

    return NGX_ERROR;
}


/*
 * All but the claims.
 */

static ngx_ws_bus_jwt_error_e
ngx_ws_bus_jwt_token(ngx_ws_bus_jwt_token_t *t, const ngx_str_t *token)
{
    json_t                  *header;
    ngx_ws_bus_jwt_error_e   e;

    e = ngx_ws_bus_jwt_split(t, token);

    if (e != NGX_WS_BUS_JWT_OK) {
        return e;
    }

    header = NULL;

    if (ngx_ws_bus_jwt_seen(t) != NGX_OK) {
        e = ngx_ws_bus_jwt_header(t, &header);
    }

    if (e == NGX_WS_BUS_JWT_OK
        && (t->rules->algorithms & t->jwt->alg->bit) == 0)
    {
        e = NGX_WS_BUS_JWT_ALG_REFUSED;
    }

    if (e == NGX_WS_BUS_JWT_OK) {

        /* another library's errors in the queue are not ours to touch */

        ERR_set_mark();

        e = ngx_ws_bus_jwt_signature(t);

        ERR_pop_to_mark();
    }

    /* only what is signed is kept, others cannot push it out */

    if (e == NGX_WS_BUS_JWT_OK && header != NULL) {
        ngx_ws_bus_jwt_see(t);
    }

    json_decref(header);

    return e;
}


static ngx_ws_bus_jwt_error_e
ngx_ws_bus_jwt_split(ngx_ws_bus_jwt_token_t *t, const ngx_str_t *token)
{
    u_char  *p, *dot[2], *last;

    if (token->len > NGX_WS_BUS_JWT_MAX) {
        return NGX_WS_BUS_JWT_LARGE;
    }

    if (token->len == 0) {
        return NGX_WS_BUS_JWT_PARTS;
    }

    last = token->data + token->len;

    dot[0] = memchr(token->data, '.', token->len);

    if (dot[0] == NULL) {
        return NGX_WS_BUS_JWT_PARTS;
    }

    p = dot[0] + 1;
    dot[1] = memchr(p, '.', last - p);

    if (dot[1] == NULL) {
        return NGX_WS_BUS_JWT_PARTS;
    }

    p = dot[1] + 1;

    if (memchr(p, '.', last - p) != NULL) {
        return NGX_WS_BUS_JWT_PARTS;
    }

    t->header.data = token->data;
    t->header.len = dot[0] - token->data;

    if (t->header.len > NGX_WS_BUS_JWT_HEADER_MAX) {
        return NGX_WS_BUS_JWT_HEADER_LARGE;
    }

    t->claims.data = dot[0] + 1;
    t->claims.len = dot[1] - t->claims.data;

    t->signed_part.data = token->data;
    t->signed_part.len = dot[1] - token->data;

    t->encoded.data = p;
    t->encoded.len = last - p;

    return NGX_WS_BUS_JWT_OK;
}


static ngx_int_t
ngx_ws_bus_jwt_seen(ngx_ws_bus_jwt_token_t *t)
{
    ngx_ws_bus_jwt_seen_t  *seen;

    seen = &ngx_ws_bus_jwt_last;

    if (seen->len == 0 || seen->len != t->header.len
        || ngx_memcmp(seen->text, t->header.data, seen->len) != 0)
    {
        return NGX_DECLINED;
    }

    t->jwt->alg = seen->alg;
    t->kid = seen->kid;

    return NGX_OK;
}


static void
ngx_ws_bus_jwt_see(ngx_ws_bus_jwt_token_t *t)
{
    ngx_ws_bus_jwt_seen_t  *seen;

    if (t->header.len > NGX_WS_BUS_JWT_SEEN_MAX) {
        return;
    }

    seen = &ngx_ws_bus_jwt_last;

    seen->alg = t->jwt->alg;

    seen->len = t->header.len;
    ngx_memcpy(seen->text, t->header.data, seen->len);

    ngx_str_null(&seen->kid);

    if (t->kid.data != NULL) {
        seen->kid.data = seen->name;
        seen->kid.len = t->kid.len;
        ngx_memcpy(seen->name, t->kid.data, seen->kid.len);
    }
}


/*
 * Reads the header (RFC 7515, 4).  What names or brings keys, such as "jku",
 * "jwk", "x5c", is not looked at.  *object is the caller's, also after an
 * error; t->kid points into it.
 */

static ngx_ws_bus_jwt_error_e
ngx_ws_bus_jwt_header(ngx_ws_bus_jwt_token_t *t, json_t **object)
{
    ssize_t                  len;
    const json_t            *header, *value;
    ngx_ws_bus_jwt_error_e   e;

    len = ngx_ws_bus_jose_base64url(t->text, t->header.data, t->header.len);

    if (len < 0) {
        return NGX_WS_BUS_JWT_HEADER_BASE64;
    }

    e = ngx_ws_bus_jwt_json[0][ngx_ws_bus_jose_json(t->text, len,
                                                    NGX_WS_BUS_JWT_DEPTH_MAX,
                                                    object)];
    if (e != NGX_WS_BUS_JWT_OK) {
        return e;
    }

    header = *object;

    e = ngx_ws_bus_jwt_alg(t, json_object_get(header, "alg"));

    if (e != NGX_WS_BUS_JWT_OK) {
        return e;
    }

    e = ngx_ws_bus_jwt_typ(json_object_get(header, "typ"));

    if (e != NGX_WS_BUS_JWT_OK) {
        return e;
    }

    e = ngx_ws_bus_jwt_crit(json_object_get(header, "crit"));

    if (e != NGX_WS_BUS_JWT_OK) {
        return e;
    }

    value = json_object_get(header, "kid");

    if (value == NULL) {
        return NGX_WS_BUS_JWT_OK;
    }

    if (!json_is_string(value)
        || json_string_length(value) > NGX_WS_BUS_JWK_KID_MAX)
    {
        return NGX_WS_BUS_JWT_KID;
    }

    t->kid.data = (u_char *) json_string_value(value);
    t->kid.len = json_string_length(value);

    return NGX_WS_BUS_JWT_OK;
}


static ngx_ws_bus_jwt_error_e
ngx_ws_bus_jwt_alg(ngx_ws_bus_jwt_token_t *t, const json_t *alg)
{
    const char  *name;

    if (!json_is_string(alg)) {
        return NGX_WS_BUS_JWT_ALG;
    }

    name = json_string_value(alg);

    if (ngx_strcmp(name, "none") == 0) {
        return NGX_WS_BUS_JWT_ALG_NONE;
    }

    t->jwt->alg = ngx_ws_bus_jose_alg((u_char *) name,
                                      json_string_length(alg));
    return t->jwt->alg ? NGX_WS_BUS_JWT_OK : NGX_WS_BUS_JWT_ALG_UNKNOWN;
}


static ngx_ws_bus_jwt_error_e
ngx_ws_bus_jwt_typ(const json_t *typ)
{
    size_t            i, len;
    const char       *name;
    const ngx_str_t  *type;

    if (typ == NULL) {
        return NGX_WS_BUS_JWT_OK;
    }

    if (!json_is_string(typ)) {
        return NGX_WS_BUS_JWT_TYP;
    }

    name = json_string_value(typ);
    len = json_string_length(typ);

    for (type = ngx_ws_bus_jwt_types; type->len; type++) {

        if (type->len != len) {
            continue;
        }

        for (i = 0; i < len; i++) {
            if (ngx_tolower(name[i]) != type->data[i]) {
                break;
            }
        }

        if (i == len) {
            return NGX_WS_BUS_JWT_OK;
        }
    }

    return NGX_WS_BUS_JWT_TYP_OTHER;
}


/*
 * No extension is known here, so any critical one is unknown (RFC 7515,
 * 4.1.11).
 */

static ngx_ws_bus_jwt_error_e
ngx_ws_bus_jwt_crit(const json_t *crit)
{
    size_t  i;

    if (crit == NULL) {
        return NGX_WS_BUS_JWT_OK;
    }

    if (json_array_size(crit) == 0) {
        return NGX_WS_BUS_JWT_CRIT;
    }

    for (i = 0; i < json_array_size(crit); i++) {
        if (!json_is_string(json_array_get(crit, i))) {
            return NGX_WS_BUS_JWT_CRIT;
        }
    }

    return NGX_WS_BUS_JWT_CRIT_UNKNOWN;
}


/*
 * Finds a key that the signature is valid by.
 */

static ngx_ws_bus_jwt_error_e
ngx_ws_bus_jwt_signature(ngx_ws_bus_jwt_token_t *t)
{
    size_t      n;
    ssize_t     len;
    ngx_int_t   rc;
    ngx_str_t   kid;
    ngx_uint_t  known;

    n = t->encoded.len;

    if (n / 4 * 3 + n % 4 * 3 / 4 > sizeof(t->octets)) {
        return NGX_WS_BUS_JWT_SIGNATURE_LENGTH;
    }

    len = ngx_ws_bus_jose_base64url(t->octets, t->encoded.data, n);

    if (len < 0) {
        return NGX_WS_BUS_JWT_SIGNATURE_BASE64;
    }

    t->signature.data = t->octets;
    t->signature.len = len;

    rc = ngx_ws_bus_jwt_keys(t, t->kid.data ? &t->kid : NULL, &known);

    if (t->kid.data && !known) {
        t->jwt->kid_unknown = 1;

        ngx_str_null(&kid);
        rc = ngx_ws_bus_jwt_keys(t, &kid, &known);
    }

    if (rc == NGX_OK) {
        return NGX_WS_BUS_JWT_OK;
    }

    if (rc == NGX_ERROR) {
        return NGX_WS_BUS_JWT_INTERNAL;
    }

    if (t->over) {
        return NGX_WS_BUS_JWT_TRIES;
    }

    if (t->tried) {
        return NGX_WS_BUS_JWT_SIGNATURE;
    }

    if (t->fit) {
        return NGX_WS_BUS_JWT_SIGNATURE_LENGTH;
    }

    if (t->jwt->kid_unknown) {
        return NGX_WS_BUS_JWT_KID_UNKNOWN;
    }

    return t->kid.data ? NGX_WS_BUS_JWT_KID_ALG : NGX_WS_BUS_JWT_NO_KEY;
}


/*
 * Tries the keys of this kid, the keys without one if its data is NULL, all
 * keys if kid itself is NULL.  *known: there was such a key, of whatever
 * family.
 *
 * NGX_OK        one of them made the signature
 * NGX_DECLINED  none did
 * NGX_ERROR     failure
 */

static ngx_int_t
ngx_ws_bus_jwt_keys(ngx_ws_bus_jwt_token_t *t, const ngx_str_t *kid,
    ngx_uint_t *known)
{
    ngx_int_t              rc;
    ngx_uint_t             i, j;
    ngx_ws_bus_jwk_t      *key;
    ngx_ws_bus_jwk_set_t  *set;

    *known = 0;

    for (i = 0; i < t->rules->nsets; i++) {
        set = t->rules->sets[i];

        for (j = 0; j < set->n; j++) {
            key = &set->keys[j];

            if (kid != NULL
                && ((kid->data == NULL) != (key->kid.data == NULL)
                    || kid->len != key->kid.len
                    || (kid->len != 0
                        && ngx_memcmp(kid->data, key->kid.data, kid->len)
                           != 0)))
            {
                continue;
            }

            *known = 1;

            if ((key->algorithms & t->jwt->alg->bit) == 0) {
                continue;
            }

            rc = ngx_ws_bus_jwt_try(t, key);

            if (rc != NGX_DECLINED) {
                return rc;
            }
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_ws_bus_jwt_try(ngx_ws_bus_jwt_token_t *t, ngx_ws_bus_jwk_t *key)
{
    size_t  size;

    t->fit++;

    size = key->pkey ? key->size : t->jwt->alg->hash / 8;

    if (t->signature.len != size) {
        return NGX_DECLINED;
    }

    if (t->tried == NGX_WS_BUS_JWT_TRIES_MAX) {
        t->over++;
        return NGX_DECLINED;
    }

    t->tried++;

    if (key->pkey == NULL) {
        return ngx_ws_bus_jwt_hmac(t, key);
    }

    if (t->jwt->alg->bit == NGX_WS_BUS_JOSE_EDDSA) {
        return ngx_ws_bus_jwt_eddsa(t, key);
    }

    return ngx_ws_bus_jwt_digest(t, key);
}


static ngx_int_t
ngx_ws_bus_jwt_hmac(ngx_ws_bus_jwt_token_t *t, ngx_ws_bus_jwk_t *key)
{
    u_int          len;
    u_char         mac[EVP_MAX_MD_SIZE];
    const EVP_MD  *md;

    md = ngx_ws_bus_jwt_md(t->jwt->alg->hash);

    if (md == NULL
        || HMAC(md, key->secret.data, (int) key->secret.len,
                t->signed_part.data, t->signed_part.len, mac, &len)
           == NULL)
    {
        return NGX_ERROR;
    }

    if (len != t->signature.len
        || CRYPTO_memcmp(mac, t->signature.data, len) != 0)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_ws_bus_jwt_eddsa(ngx_ws_bus_jwt_token_t *t, ngx_ws_bus_jwk_t *key)
{
    ngx_int_t    rc;
    EVP_MD_CTX  *ctx;

    ctx = EVP_MD_CTX_new();

    if (ctx == NULL) {
        return NGX_ERROR;
    }

    if (EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key->pkey) != 1) {
        rc = NGX_ERROR;

    } else {
        rc = EVP_DigestVerify(ctx, t->signature.data, t->signature.len,
                              t->signed_part.data, t->signed_part.len)
             == 1 ? NGX_OK : NGX_DECLINED;
    }

    EVP_MD_CTX_free(ctx);

    return rc;
}


/*
 * RSA and ECDSA.  The digest is made once for all keys, and what OpenSSL
 * prepares for a key and an algorithm is kept with the key: to look up by
 * name, allocate and configure it each time costs a sixth of a verification.
 */

static ngx_int_t
ngx_ws_bus_jwt_digest(ngx_ws_bus_jwt_token_t *t, ngx_ws_bus_jwk_t *key)
{
    u_char         der[NGX_WS_BUS_JWT_DER_MAX], *signature;
    size_t         len;
    EVP_PKEY_CTX  *ctx;
    const EVP_MD  *md;

    md = ngx_ws_bus_jwt_md(t->jwt->alg->hash);
    ctx = ngx_ws_bus_jwt_ctx(key, t->jwt->alg);

    if (md == NULL || ctx == NULL) {
        return NGX_ERROR;
    }

    if (t->digest_len == 0
        && EVP_Digest(t->signed_part.data, t->signed_part.len, t->digest,
                      &t->digest_len, md, NULL)
           != 1)
    {
        t->digest_len = 0;
        return NGX_ERROR;
    }

    signature = t->signature.data;
    len = t->signature.len;

    if (t->jwt->alg->bit & NGX_WS_BUS_JOSE_ES) {
        len = ngx_ws_bus_jwt_der(der, signature, len);
        signature = der;
    }

    return EVP_PKEY_verify(ctx, signature, len, t->digest, t->digest_len) == 1
           ? NGX_OK : NGX_DECLINED;
}


/*
 * The prepared verification of a key; an EC key has one, an RSA key has one
 * for each of RS256 to PS512.
 */

static EVP_PKEY_CTX *
ngx_ws_bus_jwt_ctx(ngx_ws_bus_jwk_t *key, const ngx_ws_bus_jose_alg_t *alg)
{
    int             padding;
    ngx_uint_t      n;
    EVP_PKEY_CTX   *ctx;
    const EVP_MD   *md;

    n = 0;

    if ((alg->bit & NGX_WS_BUS_JOSE_ES) == 0) {
        while (alg->bit >> n != 1) {
            n++;
        }
    }

    if (key->ctx[n] != NULL) {
        return key->ctx[n];
    }

    md = ngx_ws_bus_jwt_md(alg->hash);
    ctx = EVP_PKEY_CTX_new(key->pkey, NULL);

    if (md == NULL || ctx == NULL || EVP_PKEY_verify_init(ctx) != 1) {
        goto failed;
    }

    if ((alg->bit & NGX_WS_BUS_JOSE_ES) == 0) {

        padding = (alg->bit & NGX_WS_BUS_JOSE_PS) ? RSA_PKCS1_PSS_PADDING
                                                  : RSA_PKCS1_PADDING;

        if (EVP_PKEY_CTX_set_rsa_padding(ctx, padding) != 1) {
            goto failed;
        }
    }

    if (EVP_PKEY_CTX_set_signature_md(ctx, md) != 1) {
        goto failed;
    }

    /* RFC 7518, 3.5: the salt is as long as the hash, MGF1 uses the same */

    if ((alg->bit & NGX_WS_BUS_JOSE_PS)
        && (EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) != 1
            || EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) != 1))
    {
        goto failed;
    }

    key->ctx[n] = ctx;

    return ctx;

failed:

    EVP_PKEY_CTX_free(ctx);

    return NULL;
}


/*
 * ECDSA-Sig-Value (RFC 3279, 2.2.3) of r and s (RFC 7518, 3.4).
 */

static size_t
ngx_ws_bus_jwt_der(u_char *dst, const u_char *src, size_t len)
{
    u_char  *p, *start;
    size_t   size;

    start = dst + 3;

    p = ngx_ws_bus_jwt_der_integer(start, src, len / 2);
    p = ngx_ws_bus_jwt_der_integer(p, src + len / 2, len / 2);

    size = p - start;

    p = dst;
    *p++ = 0x30;

    if (size > 0x7f) {
        *p++ = 0x81;
    }

    *p++ = (u_char) size;

    ngx_memmove(p, start, size);

    return p + size - dst;
}


static u_char *
ngx_ws_bus_jwt_der_integer(u_char *p, const u_char *src, size_t len)
{
    while (len > 1 && *src == 0) {
        src++;
        len--;
    }

    *p++ = 0x02;

    if (*src & 0x80) {
        *p++ = (u_char) (len + 1);
        *p++ = 0;

    } else {
        *p++ = (u_char) len;
    }

    return ngx_cpymem(p, src, len);
}


/*
 * OpenSSL 3 looks an algorithm up by its name whenever EVP_sha256() is used.
 */

static const EVP_MD *
ngx_ws_bus_jwt_md(ngx_uint_t hash)
{
#if (OPENSSL_VERSION_NUMBER >= 0x30000000L)

    EVP_MD         **md;

    static EVP_MD   *sha256, *sha384, *sha512;

    md = (hash == 256) ? &sha256 : (hash == 384) ? &sha384 : &sha512;

    if (*md == NULL) {
        *md = EVP_MD_fetch(NULL, (hash == 256) ? "SHA256"
                                 : (hash == 384) ? "SHA384" : "SHA512",
                           NULL);
    }

    return *md;

#else

    return (hash == 256) ? EVP_sha256()
                         : (hash == 384) ? EVP_sha384() : EVP_sha512();

#endif
}


const ngx_ws_bus_jwt_error_t *
ngx_ws_bus_jwt_error(ngx_ws_bus_jwt_error_e reason)
{
    return &ngx_ws_bus_jwt_errors[reason];
}


void
ngx_ws_bus_jwt_free(ngx_ws_bus_jwt_t *jwt)
{
    json_decref(jwt->claims);
    jwt->claims = NULL;

    ngx_str_null(&jwt->sub);
    ngx_str_null(&jwt->jti);
}
