
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include <openssl/evp.h>

#include "ngx_ws_bus_handshake.h"
#include "ngx_ws_bus_utf8.h"


#define NGX_WS_BUS_KEY_LEN   24

#define NGX_WS_BUS_KEY_GUID  "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

#define ngx_ws_bus_handshake_is(set, ch)                                      \
    ((set)[(ch) >> 5] & ((uint32_t) 1 << ((ch) & 0x1f)))


static const EVP_MD *ngx_ws_bus_handshake_sha1(void);


/* tchar, RFC 9110, 5.6.2 */

static const uint32_t  ngx_ws_bus_handshake_tchar[] = {
    0x00000000, /* 0000 0000 0000 0000  0000 0000 0000 0000 */

                /* ?>=< ;:98 7654 3210  /.-, +*)( '&%$ #"!  */
    0x03ff6cfa, /* 0000 0011 1111 1111  0110 1100 1111 1010 */

                /* _^]\ [ZYX WVUT SRQP  ONML KJIH GFED CBA@ */
    0xc7fffffe, /* 1100 0111 1111 1111  1111 1111 1111 1110 */

                /*  ~}| {zyx wvut srqp  onml kjih gfed cba` */
    0x57ffffff, /* 0101 0111 1111 1111  1111 1111 1111 1111 */

    0x00000000, /* 0000 0000 0000 0000  0000 0000 0000 0000 */
    0x00000000, /* 0000 0000 0000 0000  0000 0000 0000 0000 */
    0x00000000, /* 0000 0000 0000 0000  0000 0000 0000 0000 */
    0x00000000  /* 0000 0000 0000 0000  0000 0000 0000 0000 */
};


/* RFC 4648, 4 */

static const uint32_t  ngx_ws_bus_handshake_base64[] = {
    0x00000000, /* 0000 0000 0000 0000  0000 0000 0000 0000 */

                /* ?>=< ;:98 7654 3210  /.-, +*)( '&%$ #"!  */
    0x03ff8800, /* 0000 0011 1111 1111  1000 1000 0000 0000 */

                /* _^]\ [ZYX WVUT SRQP  ONML KJIH GFED CBA@ */
    0x07fffffe, /* 0000 0111 1111 1111  1111 1111 1111 1110 */

                /*  ~}| {zyx wvut srqp  onml kjih gfed cba` */
    0x07fffffe, /* 0000 0111 1111 1111  1111 1111 1111 1110 */

    0x00000000, /* 0000 0000 0000 0000  0000 0000 0000 0000 */
    0x00000000, /* 0000 0000 0000 0000  0000 0000 0000 0000 */
    0x00000000, /* 0000 0000 0000 0000  0000 0000 0000 0000 */
    0x00000000  /* 0000 0000 0000 0000  0000 0000 0000 0000 */
};


/* bytes that no channel name holds: C0, DEL, space, "*", "?", "{", "}" */

static const uint32_t  ngx_ws_bus_handshake_not_channel[] = {
    0xffffffff, /* 1111 1111 1111 1111  1111 1111 1111 1111 */

                /* ?>=< ;:98 7654 3210  /.-, +*)( '&%$ #"!  */
    0x80000401, /* 1000 0000 0000 0000  0000 0100 0000 0001 */

                /* _^]\ [ZYX WVUT SRQP  ONML KJIH GFED CBA@ */
    0x00000000, /* 0000 0000 0000 0000  0000 0000 0000 0000 */

                /*  ~}| {zyx wvut srqp  onml kjih gfed cba` */
    0xa8000000, /* 1010 1000 0000 0000  0000 0000 0000 0000 */

    0x00000000, /* 0000 0000 0000 0000  0000 0000 0000 0000 */
    0x00000000, /* 0000 0000 0000 0000  0000 0000 0000 0000 */
    0x00000000, /* 0000 0000 0000 0000  0000 0000 0000 0000 */
    0x00000000  /* 0000 0000 0000 0000  0000 0000 0000 0000 */
};


ngx_uint_t
ngx_ws_bus_handshake_has_token(const ngx_str_t *value, const char *token)
{
    size_t     i;
    ngx_int_t  rc;
    ngx_str_t  rest, t;

    rest = *value;

    for ( ;; ) {
        rc = ngx_ws_bus_handshake_next_token(&rest, &t);

        if (rc == NGX_DECLINED) {
            return 0;
        }

        /* "Upgrade: h2c/1, websocket" has elements that are not tokens */

        if (rc == NGX_ERROR) {
            continue;
        }

        for (i = 0; i < t.len && token[i]; i++) {
            if (ngx_tolower(t.data[i]) != ngx_tolower(token[i])) {
                break;
            }
        }

        if (i == t.len && token[i] == '\0') {
            return 1;
        }
    }
}


ngx_int_t
ngx_ws_bus_handshake_next_token(ngx_str_t *rest, ngx_str_t *token)
{
    u_char     *p, *last, *end;
    ngx_int_t   rc;

    if (rest->len == 0) {
        return NGX_DECLINED;
    }

    p = rest->data;
    last = p + rest->len;

    while (p < last && (*p == ',' || *p == ' ' || *p == '\t')) {
        p++;
    }

    if (p == last) {
        rest->len = 0;
        rest->data = last;
        return NGX_DECLINED;
    }

    token->data = p;

    while (p < last && *p != ',') {
        p++;
    }

    rest->len = last - p;
    rest->data = p;

    end = p;

    while (end[-1] == ' ' || end[-1] == '\t') {
        end--;
    }

    token->len = end - token->data;

    rc = NGX_OK;

    for (p = token->data; p < end; p++) {
        if (!ngx_ws_bus_handshake_is_tchar(*p)) {
            rc = NGX_ERROR;
            break;
        }
    }

    return rc;
}


ngx_uint_t
ngx_ws_bus_handshake_is_tchar(u_char ch)
{
    return ngx_ws_bus_handshake_is(ngx_ws_bus_handshake_tchar, ch) != 0;
}


ngx_int_t
ngx_ws_bus_handshake_key(const ngx_str_t *key)
{
    u_char      *p;
    ngx_uint_t   i;

    if (key->len != NGX_WS_BUS_KEY_LEN) {
        return NGX_ERROR;
    }

    p = key->data;

    for (i = 0; i < NGX_WS_BUS_KEY_LEN - 2; i++) {
        if (!ngx_ws_bus_handshake_is(ngx_ws_bus_handshake_base64, p[i])) {
            return NGX_ERROR;
        }
    }

    return (p[i] == '=' && p[i + 1] == '=') ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_ws_bus_handshake_accept(const ngx_str_t *key, u_char *dst)
{
    u_char         in[NGX_WS_BUS_KEY_LEN + sizeof(NGX_WS_BUS_KEY_GUID) - 1];
    u_char         md[EVP_MAX_MD_SIZE], out[NGX_WS_BUS_ACCEPT_LEN + 1], *p;
    u_int          len;
    const EVP_MD  *sha1;

    if (key->len != NGX_WS_BUS_KEY_LEN) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(in, key->data, NGX_WS_BUS_KEY_LEN);
    ngx_memcpy(p, NGX_WS_BUS_KEY_GUID, sizeof(NGX_WS_BUS_KEY_GUID) - 1);

    sha1 = ngx_ws_bus_handshake_sha1();

    if (sha1 == NULL
        || EVP_Digest(in, sizeof(in), md, &len, sha1, NULL) != 1)
    {
        return NGX_ERROR;
    }

    /* it adds a null character, for which dst has no room */

    if (EVP_EncodeBlock(out, md, (int) len) != NGX_WS_BUS_ACCEPT_LEN) {
        return NGX_ERROR;
    }

    ngx_memcpy(dst, out, NGX_WS_BUS_ACCEPT_LEN);

    return NGX_OK;
}


/*
 * OpenSSL 3 looks an algorithm up by its name whenever EVP_sha1() is used,
 * which takes as long as the digest itself.
 */

static const EVP_MD *
ngx_ws_bus_handshake_sha1(void)
{
#if (OPENSSL_VERSION_NUMBER >= 0x30000000L)

    static EVP_MD  *sha1;

    if (sha1 == NULL) {
        sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    }

    return sha1;

#else

    return EVP_sha1();

#endif
}


ngx_uint_t
ngx_ws_bus_handshake_channel(const ngx_str_t *name)
{
    u_char  *p, *last;

    if (name->len == 0 || name->len > NGX_WS_BUS_CHANNEL_MAX) {
        return 0;
    }

    if (!ngx_ws_bus_utf8_valid(name->data, name->len)) {
        return 0;
    }

    last = name->data + name->len;

    for (p = name->data; p < last; p++) {

        if (ngx_ws_bus_handshake_is(ngx_ws_bus_handshake_not_channel, *p)) {
            return 0;
        }

        /* C1 is C2 80 to C2 9F; valid UTF-8 does not end with C2 */

        if (*p == 0xc2 && p[1] < 0xa0) {
            return 0;
        }
    }

    return 1;
}
