
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_utf8.c"
#include "ngx_ws_bus_handshake.c"

#include "fuzz.h"


static void check_list(ngx_str_t *value);
static void check_key(ngx_str_t *key);
static void check_channel(ngx_str_t *name);


/* The input is a header's value, a key and a channel's name at once. */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_str_t  value;

    value.len = size;
    value.data = fuzz_copy(data, size);

    check_list(&value);
    check_key(&value);
    check_channel(&value);

    free(value.data);

    return 0;
}


static void
check_list(ngx_str_t *value)
{
    char        *name;
    u_char      *joined, *p;
    size_t       i, commas;
    ngx_int_t    rc;
    ngx_str_t    rest, token, again, same;
    ngx_uint_t   n;

    joined = fuzz_alloc(2 * value->len + 2);
    p = joined;

    commas = 0;

    for (i = 0; i < value->len; i++) {
        commas += (value->data[i] == ',');
    }

    rest = *value;
    n = 0;

    for ( ;; ) {
        rc = ngx_ws_bus_handshake_next_token(&rest, &token);

        fuzz_check(rest.data + rest.len == value->data + value->len
                   || rest.len == 0);

        if (rc == NGX_DECLINED) {
            break;
        }

        fuzz_check(token.len > 0 && token.data >= value->data
                   && token.data + token.len <= value->data + value->len);
        fuzz_check(token.data + token.len <= rest.data);
        fuzz_check(memchr(token.data, ',', token.len) == NULL);
        fuzz_check(++n <= commas + 1);

        if (rc == NGX_ERROR) {
            continue;
        }

        fuzz_check(rc == NGX_OK);

        for (i = 0; i < token.len; i++) {
            fuzz_check(ngx_ws_bus_handshake_is_tchar(token.data[i]));
        }

        p = ngx_cpymem(p, token.data, token.len);
        *p++ = ',';

        /* found in whatever case */

        name = fuzz_alloc(token.len + 1);

        for (i = 0; i < token.len; i++) {
            name[i] = (char) ngx_toupper(token.data[i]);
        }

        name[i] = '\0';

        fuzz_check(ngx_ws_bus_handshake_has_token(value, name));

        name[i - 1] = '\0';
        again = token;

        fuzz_check(ngx_ws_bus_handshake_has_token(&again, name) == 0);

        free(name);
    }

    fuzz_check(rest.len == 0);
    fuzz_check(ngx_ws_bus_handshake_has_token(value, "a,b") == 0);

    /* the list of its tokens has the same tokens */

    again.data = joined;
    again.len = p - joined;
    rest = *value;

    for ( ;; ) {
        rc = ngx_ws_bus_handshake_next_token(&rest, &token);

        if (rc == NGX_ERROR) {
            continue;
        }

        fuzz_check(ngx_ws_bus_handshake_next_token(&again, &same) == rc);

        if (rc == NGX_DECLINED) {
            break;
        }

        fuzz_check(same.len == token.len
                   && memcmp(same.data, token.data, same.len) == 0);
    }

    free(joined);
}


static void
check_key(ngx_str_t *key)
{
    u_char     *accept, bytes[24];
    ngx_int_t   rc;

    rc = ngx_ws_bus_handshake_key(key);

    accept = fuzz_alloc(NGX_WS_BUS_ACCEPT_LEN);

    fuzz_check(ngx_ws_bus_handshake_accept(key, accept)
               == (key->len == 24 ? NGX_OK : NGX_ERROR));

    if (rc == NGX_OK) {
        fuzz_check(key->len == 24 && key->data[22] == '='
                   && key->data[23] == '=');

        /* OpenSSL counts the padding as bytes */

        fuzz_check(EVP_DecodeBlock(bytes, key->data, 24) == 18);

    } else {
        fuzz_check(rc == NGX_ERROR);
    }

    free(accept);
}


static void
check_channel(ngx_str_t *name)
{
    size_t       i;
    ngx_uint_t   want;

    want = name->len >= 1 && name->len <= 255
           && ngx_ws_bus_utf8_valid(name->data, name->len);

    for (i = 0; want && i < name->len; i++) {

        switch (name->data[i]) {

        case ' ':
        case '{':
        case '}':
        case '*':
        case '?':
        case 0x7f:
            want = 0;
            break;

        case 0xc2:
            want = name->data[i + 1] >= 0xa0;
            break;

        default:
            want = name->data[i] > 0x1f;
        }
    }

    fuzz_check(ngx_ws_bus_handshake_channel(name) == want);
}
