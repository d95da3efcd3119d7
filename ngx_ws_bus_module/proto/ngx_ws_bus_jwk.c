
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "ngx_ws_bus_jose.h"
#include "ngx_ws_bus_jwk.h"


typedef struct {
    ngx_ws_bus_jwk_set_t     *set;
    ngx_ws_bus_jwk_skip_pt    skip;
    void                     *data;
    ngx_uint_t                n;
} ngx_ws_bus_jwk_load_t;


static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_add_json(
    ngx_ws_bus_jwk_load_t *load, const u_char *text, size_t len);
static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_add_pem(
    ngx_ws_bus_jwk_load_t *load, const u_char *text, size_t len);
static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_take(ngx_ws_bus_jwk_load_t *load,
    ngx_ws_bus_jwk_t *key, ngx_ws_bus_jwk_error_e e);
static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_key(ngx_ws_bus_jwk_t *key,
    const json_t *json);
static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_kid(ngx_ws_bus_jwk_t *key,
    const json_t *json);
static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_use(const json_t *json);
static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_ops(const json_t *ops);
static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_kty(ngx_ws_bus_jwk_t *key,
    const json_t *json);
static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_rsa(ngx_ws_bus_jwk_t *key,
    const json_t *json);
static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_ec(ngx_ws_bus_jwk_t *key,
    const json_t *json);
static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_okp(ngx_ws_bus_jwk_t *key,
    const json_t *json);
static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_crv(const json_t *json,
    const ngx_ws_bus_jwk_type_t **type);
static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_oct(ngx_ws_bus_jwk_t *key,
    const json_t *json);
static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_secret(ngx_ws_bus_jwk_t *key,
    const ngx_str_t *k);
static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_member(const json_t *json,
    const char *name, ngx_str_t *value, ngx_ws_bus_jwk_error_e large);
static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_block(ngx_ws_bus_jwk_t *key,
    const char *name, const char *header, const u_char *der, size_t len);
static void ngx_ws_bus_jwk_clear(ngx_ws_bus_jwk_t *key);


#define ngx_ws_bus_jwk_error(reason, text)                                    \
    { reason, ngx_string(text) }

static const ngx_ws_bus_jwk_error_t  ngx_ws_bus_jwk_errors[] = {
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_OK, "ok"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_LARGE, "key set is too large"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_FORMAT,
                         "neither a JWK set nor a PEM public key"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_JSON, "key set is malformed JSON"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_DUPLICATE,
                         "key set has a duplicate member"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_NUMBER,
                         "key set has a number out of range"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_DEEP, "key set is nested too deep"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_OBJECT, "key set is not an object"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_KEYS, "key set has no array \"keys\""),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_MANY, "key set has too many keys"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_PEM, "malformed PEM"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_NONE, "no usable key"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_MEMORY, "no memory"),

    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_KEY, "key is not an object"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_KTY, "\"kty\" is not a string"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_KTY_UNKNOWN, "\"kty\" is unknown"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_KID,
                         "\"kid\" is not a string, or too long"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_USE, "\"use\" is not a string"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_USE_OTHER, "\"use\" is not \"sig\""),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_OPS,
                         "\"key_ops\" is not an array of different strings"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_OPS_OTHER,
                         "\"key_ops\" does not have \"verify\""),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_ALG, "\"alg\" is not a string"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_ALG_UNKNOWN,
                         "\"alg\" is not a known signature algorithm"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_ALG_FAMILY,
                         "\"alg\" is not for a key of this kind"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_PRIVATE, "key is private"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_MEMBER,
                         "a part of the key is missing or not a string"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_BASE64,
                         "a part of the key is not base64url"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_MINIMAL,
                         "a number in the key has leading zero octets"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_RSA_WEAK,
                         "RSA key is shorter than 2048 bits"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_RSA_LARGE,
                         "RSA key is longer than 8192 bits"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_RSA_EVEN, "RSA modulus is even"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_RSA_EXPONENT,
                         "RSA exponent is 1, even, or above 32 bits"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_CRV, "\"crv\" is not a string"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_CRV_UNKNOWN,
                         "\"crv\" is unknown to this \"kty\""),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_LENGTH,
                         "a part of the key is not as long as its curve wants"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_POINT, "point is not on the curve"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_OCT_SHORT,
                         "secret is shorter than 32 bytes"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_OCT_ALG,
                         "secret is shorter than the hash of its \"alg\""),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_OCT_LONG,
                         "secret is longer than 1024 bytes"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_BLOCK,
                         "PEM block is not a public key"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_DER, "malformed DER"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_TYPE, "key is of another kind"),
    ngx_ws_bus_jwk_error(NGX_WS_BUS_JWK_REFUSED, "key is refused by OpenSSL")
};


/* what is wrong with the JSON of a set, by ngx_ws_bus_jose_e */

static const ngx_ws_bus_jwk_error_e  ngx_ws_bus_jwk_json[] = {
    NGX_WS_BUS_JWK_OK,
    NGX_WS_BUS_JWK_JSON,
    NGX_WS_BUS_JWK_DUPLICATE,
    NGX_WS_BUS_JWK_NUMBER,
    NGX_WS_BUS_JWK_DEEP,
    NGX_WS_BUS_JWK_OBJECT,
    NGX_WS_BUS_JWK_MEMORY
};


/* RFC 7518, 6.2.2, 6.3.2, RFC 8037, 2; "k" of an oct key is not among them */

static const char  *ngx_ws_bus_jwk_private[] = {
    "d", "p", "q", "dp", "dq", "qi", "oth", NULL
};


ngx_int_t
ngx_ws_bus_jwk_add(ngx_ws_bus_jwk_set_t *set, const u_char *text, size_t len,
    ngx_ws_bus_jwk_skip_pt skip, void *data,
    const ngx_ws_bus_jwk_error_t **error)
{
    size_t                  i;
    ngx_uint_t              n;
    ngx_ws_bus_jwk_load_t   load;
    ngx_ws_bus_jwk_error_e  e;

    n = set->n;

    load.set = set;
    load.skip = skip;
    load.data = data;
    load.n = 0;

    for (i = 0; i < len; i++) {
        if (text[i] != ' ' && text[i] != '\t'
            && text[i] != CR && text[i] != LF)
        {
            break;
        }
    }

    if (len > NGX_WS_BUS_JWK_TEXT_MAX) {
        e = NGX_WS_BUS_JWK_LARGE;

    } else if (i < len && (text[i] == '{' || text[i] == '[')) {
        e = ngx_ws_bus_jwk_add_json(&load, text, len);

    } else {
        e = ngx_ws_bus_jwk_add_pem(&load, text, len);
    }

    if (e == NGX_WS_BUS_JWK_OK && set->n == n) {
        e = NGX_WS_BUS_JWK_NONE;
    }

    *error = &ngx_ws_bus_jwk_errors[e];

    if (e == NGX_WS_BUS_JWK_OK) {
        return NGX_OK;
    }

    while (set->n > n) {
        ngx_ws_bus_jwk_clear(&set->keys[--set->n]);
    }

    if (n == 0) {
        free(set->keys);
        set->keys = NULL;
    }

    return NGX_ERROR;
}


static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_add_json(ngx_ws_bus_jwk_load_t *load, const u_char *text,
    size_t len)
{
    size_t                   i;
    json_t                  *root, *keys;
    ngx_ws_bus_jwk_t         key;
    ngx_ws_bus_jwk_error_e   e;

    e = ngx_ws_bus_jwk_json[ngx_ws_bus_jose_json(text, len,
                                                 NGX_WS_BUS_JWK_DEPTH_MAX,
                                                 &root)];
    if (e != NGX_WS_BUS_JWK_OK) {
        return e;
    }

    keys = json_object_get(root, "keys");

    if (keys == NULL && json_object_get(root, "kty") != NULL) {
        e = ngx_ws_bus_jwk_key(&key, root);
        e = ngx_ws_bus_jwk_take(load, &key, e);

    } else if (!json_is_array(keys)) {
        e = NGX_WS_BUS_JWK_KEYS;

    } else if (json_array_size(keys) > NGX_WS_BUS_JWK_KEYS_MAX) {
        e = NGX_WS_BUS_JWK_MANY;
    }

    for (i = 0; e == NGX_WS_BUS_JWK_OK && i < json_array_size(keys); i++) {
        e = ngx_ws_bus_jwk_key(&key, json_array_get(keys, i));
        e = ngx_ws_bus_jwk_take(load, &key, e);
    }

    json_decref(root);

    return e;
}


static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_add_pem(ngx_ws_bus_jwk_load_t *load, const u_char *text,
    size_t len)
{
    BIO                     *bio;
    char                    *name, *header;
    long                     size;
    u_char                  *der;
    ngx_uint_t               n;
    ngx_ws_bus_jwk_t         key;
    ngx_ws_bus_jwk_error_e   e;

    ERR_set_mark();

    bio = BIO_new_mem_buf(len ? (const void *) text : "", (int) len);

    if (bio == NULL) {
        ERR_pop_to_mark();
        return NGX_WS_BUS_JWK_MEMORY;
    }

    e = NGX_WS_BUS_JWK_OK;

    for (n = 0; e == NGX_WS_BUS_JWK_OK; n++) {

        if (PEM_read_bio(bio, &name, &header, &der, &size) != 1) {

            if (ERR_GET_REASON(ERR_peek_last_error())
                != PEM_R_NO_START_LINE)
            {
                e = NGX_WS_BUS_JWK_PEM;

            } else if (n == 0) {
                e = NGX_WS_BUS_JWK_FORMAT;
            }

            break;
        }

        if (n == NGX_WS_BUS_JWK_KEYS_MAX) {
            e = NGX_WS_BUS_JWK_MANY;

        } else {
            e = ngx_ws_bus_jwk_block(&key, name, header, der, size);
            e = ngx_ws_bus_jwk_take(load, &key, e);
        }

        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(der, size);
    }

    BIO_free(bio);

    ERR_pop_to_mark();

    return e;
}


/*
 * Puts a key into the set, or reports why it is none.
 */

static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_take(ngx_ws_bus_jwk_load_t *load, ngx_ws_bus_jwk_t *key,
    ngx_ws_bus_jwk_error_e e)
{
    ngx_ws_bus_jwk_t      *keys;
    ngx_ws_bus_jwk_set_t  *set;

    set = load->set;

    if (e == NGX_WS_BUS_JWK_OK) {

        if (set->n == NGX_WS_BUS_JWK_KEYS_MAX) {
            ngx_ws_bus_jwk_clear(key);
            return NGX_WS_BUS_JWK_MANY;
        }

        keys = realloc(set->keys, (set->n + 1) * sizeof(ngx_ws_bus_jwk_t));

        if (keys == NULL) {
            ngx_ws_bus_jwk_clear(key);
            return NGX_WS_BUS_JWK_MEMORY;
        }

        keys[set->n++] = *key;
        set->keys = keys;
        load->n++;

        return NGX_WS_BUS_JWK_OK;
    }

    if (e != NGX_WS_BUS_JWK_MEMORY) {

        if (load->skip) {
            load->skip(load->data, load->n, &key->kid,
                       &ngx_ws_bus_jwk_errors[e]);
        }

        load->n++;
        e = NGX_WS_BUS_JWK_OK;
    }

    ngx_ws_bus_jwk_clear(key);

    return e;
}


/*
 * Reads one JWK (RFC 7517, 4) into *key, which is to be cleared in any case.
 */

static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_key(ngx_ws_bus_jwk_t *key, const json_t *json)
{
    const json_t                *name;
    ngx_ws_bus_jwk_error_e       e;
    const ngx_ws_bus_jose_alg_t  *alg;

    ngx_memzero(key, sizeof(ngx_ws_bus_jwk_t));

    if (!json_is_object(json)) {
        return NGX_WS_BUS_JWK_KEY;
    }

    e = ngx_ws_bus_jwk_kid(key, json_object_get(json, "kid"));

    if (e != NGX_WS_BUS_JWK_OK) {
        return e;
    }

    e = ngx_ws_bus_jwk_use(json);

    if (e != NGX_WS_BUS_JWK_OK) {
        return e;
    }

    alg = NULL;
    name = json_object_get(json, "alg");

    if (name != NULL) {

        if (!json_is_string(name)) {
            return NGX_WS_BUS_JWK_ALG;
        }

        alg = ngx_ws_bus_jose_alg((u_char *) json_string_value(name),
                                 json_string_length(name));
        if (alg == NULL) {
            return NGX_WS_BUS_JWK_ALG_UNKNOWN;
        }
    }

    e = ngx_ws_bus_jwk_kty(key, json);

    if (e != NGX_WS_BUS_JWK_OK || alg == NULL) {
        return e;
    }

    if ((key->algorithms & alg->bit) == 0) {
        return (key->pkey == NULL && (alg->bit & NGX_WS_BUS_JOSE_HS))
               ? NGX_WS_BUS_JWK_OCT_ALG : NGX_WS_BUS_JWK_ALG_FAMILY;
    }

    key->algorithms = alg->bit;

    return NGX_WS_BUS_JWK_OK;
}


static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_kid(ngx_ws_bus_jwk_t *key, const json_t *json)
{
    size_t  len;

    if (json == NULL) {
        return NGX_WS_BUS_JWK_OK;
    }

    if (!json_is_string(json)) {
        return NGX_WS_BUS_JWK_KID;
    }

    len = json_string_length(json);

    if (len > NGX_WS_BUS_JWK_KID_MAX) {
        return NGX_WS_BUS_JWK_KID;
    }

    /* an empty kid is one as well */

    key->kid.data = malloc(len + 1);

    if (key->kid.data == NULL) {
        return NGX_WS_BUS_JWK_MEMORY;
    }

    key->kid.len = len;
    ngx_memcpy(key->kid.data, json_string_value(json), len);

    return NGX_WS_BUS_JWK_OK;
}


/*
 * What the key is for (RFC 7517, 4.2, 4.3); it may say so in two ways.
 */

static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_use(const json_t *json)
{
    const json_t  *use, *ops;

    use = json_object_get(json, "use");

    if (use != NULL) {

        if (!json_is_string(use)) {
            return NGX_WS_BUS_JWK_USE;
        }

        if (ngx_strcmp(json_string_value(use), "sig") != 0) {
            return NGX_WS_BUS_JWK_USE_OTHER;
        }
    }

    ops = json_object_get(json, "key_ops");

    return ops ? ngx_ws_bus_jwk_ops(ops) : NGX_WS_BUS_JWK_OK;
}


static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_ops(const json_t *ops)
{
    size_t         i, j, n;
    ngx_uint_t     verify;
    const json_t  *op;

    n = json_array_size(ops);

    /* eight are registered, and each is there once */

    if (!json_is_array(ops) || n > 16) {
        return NGX_WS_BUS_JWK_OPS;
    }

    verify = 0;

    for (i = 0; i < n; i++) {
        op = json_array_get(ops, i);

        if (!json_is_string(op)) {
            return NGX_WS_BUS_JWK_OPS;
        }

        for (j = 0; j < i; j++) {
            if (json_equal(op, json_array_get(ops, j))) {
                return NGX_WS_BUS_JWK_OPS;
            }
        }

        if (ngx_strcmp(json_string_value(op), "verify") == 0) {
            verify = 1;
        }
    }

    return verify ? NGX_WS_BUS_JWK_OK : NGX_WS_BUS_JWK_OPS_OTHER;
}


static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_kty(ngx_ws_bus_jwk_t *key, const json_t *json)
{
    const char    *kty;
    ngx_uint_t     i;
    const json_t  *name;

    name = json_object_get(json, "kty");

    if (!json_is_string(name)) {
        return NGX_WS_BUS_JWK_KTY;
    }

    kty = json_string_value(name);

    if (ngx_strcmp(kty, "oct") == 0) {
        return ngx_ws_bus_jwk_oct(key, json);
    }

    if (ngx_strcmp(kty, "RSA") != 0 && ngx_strcmp(kty, "EC") != 0
        && ngx_strcmp(kty, "OKP") != 0)
    {
        return NGX_WS_BUS_JWK_KTY_UNKNOWN;
    }

    for (i = 0; ngx_ws_bus_jwk_private[i]; i++) {
        if (json_object_get(json, ngx_ws_bus_jwk_private[i]) != NULL) {
            return NGX_WS_BUS_JWK_PRIVATE;
        }
    }

    switch (kty[0]) {

    case 'R':
        return ngx_ws_bus_jwk_rsa(key, json);

    case 'E':
        return ngx_ws_bus_jwk_ec(key, json);

    default:
        return ngx_ws_bus_jwk_okp(key, json);
    }
}


static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_rsa(ngx_ws_bus_jwk_t *key, const json_t *json)
{
    u_char                  n_buf[NGX_WS_BUS_JWK_N_MAX];
    u_char                  e_buf[NGX_WS_BUS_JWK_E_MAX];
    ngx_str_t               n, e;
    ngx_ws_bus_jwk_error_e  err;

    n.data = n_buf;
    n.len = sizeof(n_buf);

    err = ngx_ws_bus_jwk_member(json, "n", &n, NGX_WS_BUS_JWK_RSA_LARGE);

    if (err != NGX_WS_BUS_JWK_OK) {
        return err;
    }

    e.data = e_buf;
    e.len = sizeof(e_buf);

    err = ngx_ws_bus_jwk_member(json, "e", &e, NGX_WS_BUS_JWK_RSA_EXPONENT);

    if (err != NGX_WS_BUS_JWK_OK) {
        return err;
    }

    /* Base64urlUInt, RFC 7518, 2 */

    if (n.len == 0 || n.data[0] == 0 || e.len == 0 || e.data[0] == 0) {
        return NGX_WS_BUS_JWK_MINIMAL;
    }

    return ngx_ws_bus_jwk_der_rsa(key, &n, &e);
}


/* RFC 7518, 6.2.1 */

static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_ec(ngx_ws_bus_jwk_t *key, const json_t *json)
{
    u_char                        point[1 + 2 * NGX_WS_BUS_JWK_COORD_MAX];
    ngx_str_t                     x, y;
    ngx_ws_bus_jwk_error_e        e;
    const ngx_ws_bus_jwk_type_t  *type;

    e = ngx_ws_bus_jwk_crv(json, &type);

    if (e != NGX_WS_BUS_JWK_OK) {
        return e;
    }

    /* an uncompressed point (RFC 5480, 2.2) */

    point[0] = 0x04;

    x.data = point + 1;
    x.len = type->octets;

    e = ngx_ws_bus_jwk_member(json, "x", &x, NGX_WS_BUS_JWK_LENGTH);

    if (e != NGX_WS_BUS_JWK_OK) {
        return e;
    }

    y.data = x.data + type->octets;
    y.len = type->octets;

    e = ngx_ws_bus_jwk_member(json, "y", &y, NGX_WS_BUS_JWK_LENGTH);

    if (e != NGX_WS_BUS_JWK_OK) {
        return e;
    }

    if (x.len != type->octets || y.len != type->octets) {
        return NGX_WS_BUS_JWK_LENGTH;
    }

    return ngx_ws_bus_jwk_der_octets(key, type, point, 1 + x.len + y.len);
}


/* RFC 8037, 2 */

static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_okp(ngx_ws_bus_jwk_t *key, const json_t *json)
{
    u_char                        buf[NGX_WS_BUS_JWK_COORD_MAX];
    ngx_str_t                     x;
    ngx_ws_bus_jwk_error_e        e;
    const ngx_ws_bus_jwk_type_t  *type;

    e = ngx_ws_bus_jwk_crv(json, &type);

    if (e != NGX_WS_BUS_JWK_OK) {
        return e;
    }

    x.data = buf;
    x.len = type->octets;

    e = ngx_ws_bus_jwk_member(json, "x", &x, NGX_WS_BUS_JWK_LENGTH);

    if (e != NGX_WS_BUS_JWK_OK) {
        return e;
    }

    if (x.len != type->octets) {
        return NGX_WS_BUS_JWK_LENGTH;
    }

    return ngx_ws_bus_jwk_der_octets(key, type, x.data, x.len);
}


static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_crv(const json_t *json, const ngx_ws_bus_jwk_type_t **type)
{
    const json_t  *kty, *crv;

    kty = json_object_get(json, "kty");
    crv = json_object_get(json, "crv");

    if (!json_is_string(crv)) {
        return NGX_WS_BUS_JWK_CRV;
    }

    *type = ngx_ws_bus_jwk_der_type(json_string_value(kty),
                                    json_string_value(crv));

    return *type ? NGX_WS_BUS_JWK_OK : NGX_WS_BUS_JWK_CRV_UNKNOWN;
}


/* RFC 7518, 6.4 */

static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_oct(ngx_ws_bus_jwk_t *key, const json_t *json)
{
    u_char                  buf[NGX_WS_BUS_JWK_OCT_MAX];
    ngx_str_t               k;
    ngx_ws_bus_jwk_error_e  e;

    k.data = buf;
    k.len = sizeof(buf);

    e = ngx_ws_bus_jwk_member(json, "k", &k, NGX_WS_BUS_JWK_OCT_LONG);

    if (e == NGX_WS_BUS_JWK_OK) {
        e = ngx_ws_bus_jwk_secret(key, &k);
    }

    OPENSSL_cleanse(buf, sizeof(buf));

    return e;
}


static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_secret(ngx_ws_bus_jwk_t *key, const ngx_str_t *k)
{
    if (k->len < NGX_WS_BUS_JWK_OCT_MIN) {
        return NGX_WS_BUS_JWK_OCT_SHORT;
    }

    key->secret.data = malloc(k->len);

    if (key->secret.data == NULL) {
        return NGX_WS_BUS_JWK_MEMORY;
    }

    key->secret.len = k->len;
    ngx_memcpy(key->secret.data, k->data, k->len);

    key->algorithms = NGX_WS_BUS_JOSE_HS256;

    if (k->len >= 384 / 8) {
        key->algorithms |= NGX_WS_BUS_JOSE_HS384;
    }

    if (k->len >= 512 / 8) {
        key->algorithms |= NGX_WS_BUS_JOSE_HS512;
    }

    return NGX_WS_BUS_JWK_OK;
}


/*
 * Decodes a member of the key to value->data, where there is room for
 * value->len bytes; "large" is what to say of more.
 */

static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_member(const json_t *json, const char *name, ngx_str_t *value,
    ngx_ws_bus_jwk_error_e large)
{
    size_t         len;
    ssize_t        n;
    const json_t  *member;

    member = json_object_get(json, name);

    if (!json_is_string(member)) {
        return NGX_WS_BUS_JWK_MEMBER;
    }

    len = json_string_length(member);

    if (len / 4 * 3 + len % 4 * 3 / 4 > value->len) {
        return large;
    }

    n = ngx_ws_bus_jose_base64url(value->data,
                                  (u_char *) json_string_value(member), len);
    if (n < 0) {
        return NGX_WS_BUS_JWK_BASE64;
    }

    value->len = n;

    return NGX_WS_BUS_JWK_OK;
}


/*
 * Reads one PEM block (RFC 7468, 13; RFC 8017, A.1.1) into *key, which is to
 * be cleared in any case.
 */

static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_block(ngx_ws_bus_jwk_t *key, const char *name,
    const char *header, const u_char *der, size_t len)
{
    ngx_memzero(key, sizeof(ngx_ws_bus_jwk_t));

    if (ngx_strstr(name, "PRIVATE KEY") != NULL) {
        return NGX_WS_BUS_JWK_PRIVATE;
    }

    if (header[0] == '\0') {

        if (ngx_strcmp(name, "PUBLIC KEY") == 0) {
            return ngx_ws_bus_jwk_der_spki(key, der, len);
        }

        if (ngx_strcmp(name, "RSA PUBLIC KEY") == 0) {
            return ngx_ws_bus_jwk_der_pkcs1(key, der, len);
        }
    }

    return NGX_WS_BUS_JWK_BLOCK;
}


static void
ngx_ws_bus_jwk_clear(ngx_ws_bus_jwk_t *key)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_WS_BUS_JWK_CTX; i++) {
        EVP_PKEY_CTX_free(key->ctx[i]);
    }

    EVP_PKEY_free(key->pkey);

    if (key->secret.data) {
        OPENSSL_cleanse(key->secret.data, key->secret.len);
        free(key->secret.data);
    }

    free(key->kid.data);

    ngx_memzero(key, sizeof(ngx_ws_bus_jwk_t));
}


void
ngx_ws_bus_jwk_free(ngx_ws_bus_jwk_set_t *set)
{
    ngx_uint_t  i;

    for (i = 0; i < set->n; i++) {
        ngx_ws_bus_jwk_clear(&set->keys[i]);
    }

    free(set->keys);

    set->keys = NULL;
    set->n = 0;
}
