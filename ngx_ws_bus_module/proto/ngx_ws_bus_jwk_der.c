
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "ngx_ws_bus_jose.h"
#include "ngx_ws_bus_jwk.h"


#define NGX_WS_BUS_JWK_DER_MAX                                                \
    (NGX_WS_BUS_JWK_N_MAX + NGX_WS_BUS_JWK_E_MAX + NGX_WS_BUS_JWK_DER_MORE)

#define NGX_WS_BUS_JWK_INTEGER    0x02
#define NGX_WS_BUS_JWK_BITS       0x03
#define NGX_WS_BUS_JWK_SEQUENCE   0x30

#define NGX_WS_BUS_JWK_RSA_TYPE   (&ngx_ws_bus_jwk_der_types[0])


static u_char *ngx_ws_bus_jwk_der_put_integer(u_char *p, const ngx_str_t *n);
static u_char *ngx_ws_bus_jwk_der_put_head(u_char *p, ngx_uint_t tag,
    size_t len);
static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_der_check(ngx_ws_bus_jwk_t *key,
    const ngx_ws_bus_jwk_type_t *type, ngx_str_t *bits);
static ngx_ws_bus_jwk_error_e ngx_ws_bus_jwk_der_check_rsa(
    ngx_ws_bus_jwk_t *key, ngx_str_t *bits);
static ngx_int_t ngx_ws_bus_jwk_der_get(ngx_str_t *der, ngx_uint_t tag,
    ngx_str_t *value);
static ngx_int_t ngx_ws_bus_jwk_der_get_integer(ngx_str_t *der,
    ngx_str_t *value);


/* RFC 3279, 2.3.1, RFC 5480, 2.1.1, RFC 8410, 3 */

#define NGX_WS_BUS_JWK_DER_EC  "\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"

static const ngx_ws_bus_jwk_type_t  ngx_ws_bus_jwk_der_types[] = {

    { ngx_string("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
                 "\x05\x00"),
      "RSA", "", 0, 0, NGX_WS_BUS_JOSE_RS|NGX_WS_BUS_JOSE_PS },

    { ngx_string("\x30\x13" NGX_WS_BUS_JWK_DER_EC
                 "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"),
      "EC", "P-256", 32, 64, NGX_WS_BUS_JOSE_ES256 },

    { ngx_string("\x30\x10" NGX_WS_BUS_JWK_DER_EC
                 "\x06\x05\x2b\x81\x04\x00\x22"),
      "EC", "P-384", 48, 96, NGX_WS_BUS_JOSE_ES384 },

    { ngx_string("\x30\x10" NGX_WS_BUS_JWK_DER_EC
                 "\x06\x05\x2b\x81\x04\x00\x23"),
      "EC", "P-521", NGX_WS_BUS_JWK_COORD_MAX, 132, NGX_WS_BUS_JOSE_ES512 },

    { ngx_string("\x30\x05\x06\x03\x2b\x65\x70"),
      "OKP", "Ed25519", 32, 64, NGX_WS_BUS_JOSE_EDDSA },

    { ngx_string("\x30\x05\x06\x03\x2b\x65\x71"),
      "OKP", "Ed448", 57, 114, NGX_WS_BUS_JOSE_EDDSA },

    { ngx_null_string, NULL, NULL, 0, 0, 0 }
};


const ngx_ws_bus_jwk_type_t *
ngx_ws_bus_jwk_der_type(const char *kty, const char *crv)
{
    const ngx_ws_bus_jwk_type_t  *type;

    for (type = ngx_ws_bus_jwk_der_types; type->kty; type++) {
        if (ngx_strcmp(type->kty, kty) == 0
            && ngx_strcmp(type->crv, crv) == 0)
        {
            return type;
        }
    }

    return NULL;
}


ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_der_rsa(ngx_ws_bus_jwk_t *key, const ngx_str_t *n,
    const ngx_str_t *e)
{
    u_char   der[NGX_WS_BUS_JWK_DER_MAX], *p, *last;

    last = der + sizeof(der);

    p = ngx_ws_bus_jwk_der_put_integer(last, e);
    p = ngx_ws_bus_jwk_der_put_integer(p, n);
    p = ngx_ws_bus_jwk_der_put_head(p, NGX_WS_BUS_JWK_SEQUENCE, last - p);

    return ngx_ws_bus_jwk_der_pkcs1(key, p, last - p);
}


ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_der_pkcs1(ngx_ws_bus_jwk_t *key, const u_char *der, size_t len)
{
    return ngx_ws_bus_jwk_der_octets(key, NGX_WS_BUS_JWK_RSA_TYPE, der, len);
}


ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_der_octets(ngx_ws_bus_jwk_t *key,
    const ngx_ws_bus_jwk_type_t *type, const u_char *data, size_t len)
{
    u_char  der[NGX_WS_BUS_JWK_DER_MAX + NGX_WS_BUS_JWK_DER_MORE], *p, *last;

    if (len > NGX_WS_BUS_JWK_DER_MAX) {
        return NGX_WS_BUS_JWK_RSA_LARGE;
    }

    last = der + sizeof(der);

    p = last - len;
    ngx_memcpy(p, data, len);

    /* of the BIT STRING, no bit is unused */

    *--p = 0;
    p = ngx_ws_bus_jwk_der_put_head(p, NGX_WS_BUS_JWK_BITS, last - p);

    p -= type->id.len;
    ngx_memcpy(p, type->id.data, type->id.len);

    p = ngx_ws_bus_jwk_der_put_head(p, NGX_WS_BUS_JWK_SEQUENCE, last - p);

    return ngx_ws_bus_jwk_der_spki(key, p, last - p);
}


ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_der_spki(ngx_ws_bus_jwk_t *key, const u_char *der, size_t len)
{
    ngx_str_t                     text, bits;
    const u_char                 *p;
    ngx_ws_bus_jwk_error_e        e;
    const ngx_ws_bus_jwk_type_t  *type;

    text.data = (u_char *) der;
    text.len = len;

    if (ngx_ws_bus_jwk_der_get(&text, NGX_WS_BUS_JWK_SEQUENCE, &bits) != NGX_OK
        || text.len != 0)
    {
        return NGX_WS_BUS_JWK_DER;
    }

    text = bits;

    for (type = ngx_ws_bus_jwk_der_types; type->kty; type++) {
        if (text.len > type->id.len
            && ngx_memcmp(text.data, type->id.data, type->id.len) == 0)
        {
            break;
        }
    }

    if (type->kty == NULL) {
        return NGX_WS_BUS_JWK_TYPE;
    }

    text.data += type->id.len;
    text.len -= type->id.len;

    if (ngx_ws_bus_jwk_der_get(&text, NGX_WS_BUS_JWK_BITS, &bits) != NGX_OK
        || text.len != 0 || bits.len == 0 || bits.data[0] != 0)
    {
        return NGX_WS_BUS_JWK_DER;
    }

    bits.data++;
    bits.len--;

    e = ngx_ws_bus_jwk_der_check(key, type, &bits);

    if (e != NGX_WS_BUS_JWK_OK) {
        return e;
    }

    ERR_set_mark();

    p = der;
    key->pkey = d2i_PUBKEY(NULL, &p, (long) len);

    ERR_pop_to_mark();

    if (key->pkey == NULL) {
        return (type->kty[0] == 'E') ? NGX_WS_BUS_JWK_POINT
                                     : NGX_WS_BUS_JWK_REFUSED;
    }

    return NGX_WS_BUS_JWK_OK;
}


static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_der_check(ngx_ws_bus_jwk_t *key,
    const ngx_ws_bus_jwk_type_t *type, ngx_str_t *bits)
{
    key->algorithms = type->algorithms;
    key->size = type->size;

    if (type->octets == 0) {
        return ngx_ws_bus_jwk_der_check_rsa(key, bits);
    }

    if (type->algorithms == NGX_WS_BUS_JOSE_EDDSA) {
        return (bits->len == type->octets) ? NGX_WS_BUS_JWK_OK
                                           : NGX_WS_BUS_JWK_LENGTH;
    }

    /* a point, compressed or not, but not the one at infinity */

    switch (bits->len ? bits->data[0] : 0) {

    case 0x02:
    case 0x03:
        return (bits->len == 1 + type->octets) ? NGX_WS_BUS_JWK_OK
                                               : NGX_WS_BUS_JWK_LENGTH;

    case 0x04:
        return (bits->len == 1 + 2 * type->octets) ? NGX_WS_BUS_JWK_OK
                                                   : NGX_WS_BUS_JWK_LENGTH;

    default:
        return NGX_WS_BUS_JWK_POINT;
    }
}


/*
 * An RSAPublicKey (RFC 8017, A.1.1): long enough, and not one that OpenSSL
 * would take and a forger could use.
 */

static ngx_ws_bus_jwk_error_e
ngx_ws_bus_jwk_der_check_rsa(ngx_ws_bus_jwk_t *key, ngx_str_t *bits)
{
    u_char      ch;
    ngx_str_t   text, n, e;
    ngx_uint_t  size;

    if (ngx_ws_bus_jwk_der_get(bits, NGX_WS_BUS_JWK_SEQUENCE, &text) != NGX_OK
        || bits->len != 0
        || ngx_ws_bus_jwk_der_get_integer(&text, &n) != NGX_OK
        || ngx_ws_bus_jwk_der_get_integer(&text, &e) != NGX_OK
        || text.len != 0)
    {
        return NGX_WS_BUS_JWK_DER;
    }

    size = n.len * 8;

    for (ch = n.data[0]; (ch & 0x80) == 0 && size; ch <<= 1) {
        size--;
    }

    if (size < NGX_WS_BUS_JWK_RSA_MIN) {
        return NGX_WS_BUS_JWK_RSA_WEAK;
    }

    if (size > NGX_WS_BUS_JWK_RSA_MAX) {
        return NGX_WS_BUS_JWK_RSA_LARGE;
    }

    if ((n.data[n.len - 1] & 1) == 0) {
        return NGX_WS_BUS_JWK_RSA_EVEN;
    }

    if (e.len > NGX_WS_BUS_JWK_E_MAX || (e.data[e.len - 1] & 1) == 0
        || (e.len == 1 && e.data[0] == 1))
    {
        return NGX_WS_BUS_JWK_RSA_EXPONENT;
    }

    key->size = n.len;

    return NGX_WS_BUS_JWK_OK;
}


/*
 * DER is written from its end, where the lengths are known: before p, and
 * the new beginning is returned.
 */

static u_char *
ngx_ws_bus_jwk_der_put_integer(u_char *p, const ngx_str_t *n)
{
    u_char  *last;

    last = p;

    p -= n->len;
    ngx_memcpy(p, n->data, n->len);

    if (*p & 0x80) {
        *--p = 0;
    }

    return ngx_ws_bus_jwk_der_put_head(p, NGX_WS_BUS_JWK_INTEGER, last - p);
}


static u_char *
ngx_ws_bus_jwk_der_put_head(u_char *p, ngx_uint_t tag, size_t len)
{
    *--p = (u_char) len;

    if (len > 0xff) {
        *--p = (u_char) (len >> 8);
        *--p = 0x82;

    } else if (len > 0x7f) {
        *--p = 0x81;
    }

    *--p = (u_char) tag;

    return p;
}


/*
 * Takes the next value of a tag off *der; lengths of more than two octets are
 * not to be expected.
 */

static ngx_int_t
ngx_ws_bus_jwk_der_get(ngx_str_t *der, ngx_uint_t tag, ngx_str_t *value)
{
    u_char  *p;
    size_t   len, n;

    p = der->data;

    if (der->len < 2 || p[0] != tag) {
        return NGX_ERROR;
    }

    len = p[1];
    n = 2;

    if (len == 0x81 && der->len > 2 && p[2] > 0x7f) {
        len = p[2];
        n = 3;

    } else if (len == 0x82 && der->len > 3 && p[2] > 0) {
        len = ((size_t) p[2] << 8) + p[3];
        n = 4;

    } else if (len > 0x7f) {
        return NGX_ERROR;
    }

    if (len > der->len - n) {
        return NGX_ERROR;
    }

    value->data = der->data + n;
    value->len = len;

    der->data += n + len;
    der->len -= n + len;

    return NGX_OK;
}


/*
 * Takes a positive INTEGER off *der; its value has no leading zero octet.
 */

static ngx_int_t
ngx_ws_bus_jwk_der_get_integer(ngx_str_t *der, ngx_str_t *value)
{
    if (ngx_ws_bus_jwk_der_get(der, NGX_WS_BUS_JWK_INTEGER, value) != NGX_OK
        || value->len == 0 || (value->data[0] & 0x80))
    {
        return NGX_ERROR;
    }

    if (value->data[0] == 0) {
        value->data++;
        value->len--;

        if (value->len == 0 || (value->data[0] & 0x80) == 0) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}
