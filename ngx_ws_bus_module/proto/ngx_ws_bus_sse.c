
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_base64.h"
#include "ngx_ws_bus_sse.h"


#define NGX_WS_BUS_SSE_EPOCH  16

/* beyond this a client's JSON parser is not exact, and no seq gets there */
#define NGX_WS_BUS_SSE_SEQ    9007199254740991ULL

/* the data of an event "binary" is one line */
#define NGX_WS_BUS_SSE_BINARY  "event: binary\ndata: "


static void ngx_ws_bus_sse_line(ngx_str_t *text, ngx_str_t *line);
static size_t ngx_ws_bus_sse_uint_size(uint64_t n);
static u_char *ngx_ws_bus_sse_add(u_char *p, const char *s);
static u_char *ngx_ws_bus_sse_uint(u_char *p, uint64_t n);
static u_char *ngx_ws_bus_sse_put_id(u_char *p, uint64_t epoch, uint64_t seq);
static void ngx_ws_bus_sse_trim(ngx_str_t *s);
static ngx_uint_t ngx_ws_bus_sse_is(const ngx_str_t *s, const char *name);
static void ngx_ws_bus_sse_cut(ngx_str_t *rest, u_char ch, ngx_str_t *part);
static ngx_uint_t ngx_ws_bus_sse_refused(ngx_str_t *params);


size_t
ngx_ws_bus_sse_event_size(const ngx_ws_bus_sse_event_t *e)
{
    size_t     size;
    ngx_str_t  rest, line;

    size = 1;

    if (e->seq) {
        size += sizeof("id: :\n") - 1 + NGX_WS_BUS_SSE_EPOCH
                + ngx_ws_bus_sse_uint_size(e->seq);
    }

    if (e->binary) {
        return size + sizeof(NGX_WS_BUS_SSE_BINARY "\n") - 1
               + ngx_ws_bus_base64_size(e->payload.len);
    }

    rest = e->payload;

    do {
        ngx_ws_bus_sse_line(&rest, &line);

        size += sizeof("data: \n") - 1 + line.len;

    } while (rest.data);

    return size;
}


u_char *
ngx_ws_bus_sse_event(u_char *p, const ngx_ws_bus_sse_event_t *e)
{
    ngx_str_t  rest, line;

    if (e->seq) {
        p = ngx_ws_bus_sse_put_id(p, e->epoch, e->seq);
    }

    if (e->binary) {
        p = ngx_ws_bus_sse_add(p, NGX_WS_BUS_SSE_BINARY);
        p = ngx_ws_bus_base64_encode(p, e->payload.data, e->payload.len);
        *p++ = '\n';
        *p++ = '\n';

        return p;
    }

    rest = e->payload;

    /* without a data field, even an empty one, nothing is dispatched */

    do {
        ngx_ws_bus_sse_line(&rest, &line);

        p = ngx_ws_bus_sse_add(p, "data: ");

        if (line.len) {
            p = ngx_cpymem(p, line.data, line.len);
        }

        *p++ = '\n';

    } while (rest.data);

    *p++ = '\n';

    return p;
}


/*
 * Takes the first line off the text, without its end; text->data is NULL
 * when it was the last one.
 */

static void
ngx_ws_bus_sse_line(ngx_str_t *text, ngx_str_t *line)
{
    u_char  *p, *last;

    p = text->data;
    last = p + text->len;

    line->data = p;

    while (p < last && *p != '\n' && *p != '\r') {
        p++;
    }

    line->len = p - line->data;

    if (p == last) {
        text->data = NULL;
        text->len = 0;
        return;
    }

    p += (*p == '\r' && last - p > 1 && p[1] == '\n') ? 2 : 1;

    text->data = p;
    text->len = last - p;
}


u_char *
ngx_ws_bus_sse_position(u_char *p, uint64_t epoch, uint64_t seq)
{
    p = ngx_ws_bus_sse_put_id(p, epoch, seq);
    *p++ = '\n';

    return p;
}


u_char *
ngx_ws_bus_sse_gap(u_char *p, uint64_t epoch, uint64_t from, uint64_t to)
{
    p = ngx_ws_bus_sse_put_id(p, epoch, to);
    p = ngx_ws_bus_sse_add(p, "event: gap\ndata: {\"from\":");
    p = ngx_ws_bus_sse_uint(p, from);
    p = ngx_ws_bus_sse_add(p, ",\"to\":");
    p = ngx_ws_bus_sse_uint(p, to);
    p = ngx_ws_bus_sse_add(p, "}\n\n");

    return p;
}


u_char *
ngx_ws_bus_sse_comment(u_char *p, const char *text)
{
    p = ngx_ws_bus_sse_add(p, ": ");
    p = ngx_ws_bus_sse_add(p, text);
    p = ngx_ws_bus_sse_add(p, "\n\n");

    return p;
}


ngx_int_t
ngx_ws_bus_sse_id(const ngx_str_t *id, uint64_t *epoch, uint64_t *seq)
{
    u_char    ch;
    size_t    i;
    uint64_t  n;

    if (id->len < NGX_WS_BUS_SSE_EPOCH + sizeof(":0") - 1
        || id->data[NGX_WS_BUS_SSE_EPOCH] != ':')
    {
        return NGX_DECLINED;
    }

    n = 0;

    for (i = 0; i < NGX_WS_BUS_SSE_EPOCH; i++) {
        ch = id->data[i];

        if (ch >= '0' && ch <= '9') {
            n = n << 4 | (uint64_t) (ch - '0');

        } else if (ch >= 'a' && ch <= 'f') {
            n = n << 4 | (uint64_t) (ch - 'a' + 10);

        } else {
            return NGX_DECLINED;
        }
    }

    *epoch = n;

    n = 0;

    for (i = NGX_WS_BUS_SSE_EPOCH + 1; i < id->len; i++) {
        ch = id->data[i];

        if (ch < '0' || ch > '9') {
            return NGX_DECLINED;
        }

        n = n * 10 + (uint64_t) (ch - '0');

        if (n > NGX_WS_BUS_SSE_SEQ) {
            return NGX_DECLINED;
        }
    }

    *seq = n;

    return NGX_OK;
}


ngx_uint_t
ngx_ws_bus_sse_accepted(const ngx_str_t *accept)
{
    ngx_str_t  rest, range, type;

    rest = *accept;

    while (rest.len) {
        ngx_ws_bus_sse_cut(&rest, ',', &range);
        ngx_ws_bus_sse_cut(&range, ';', &type);

        if (ngx_ws_bus_sse_is(&type, "text/event-stream")
            && !ngx_ws_bus_sse_refused(&range))
        {
            return 1;
        }
    }

    return 0;
}


/*
 * A weight of 0, in whatever number of decimals, means "not acceptable".
 */

static ngx_uint_t
ngx_ws_bus_sse_refused(ngx_str_t *params)
{
    size_t     i;
    ngx_str_t  param, name;

    while (params->len) {
        ngx_ws_bus_sse_cut(params, ';', &param);
        ngx_ws_bus_sse_cut(&param, '=', &name);

        if (!ngx_ws_bus_sse_is(&name, "q")) {
            continue;
        }

        for (i = 0; i < param.len; i++) {
            if (param.data[i] != '0' && param.data[i] != '.') {
                return 0;
            }
        }

        return param.len != 0;
    }

    return 0;
}


/*
 * Cuts what is before the first "ch" off *rest, without spaces around it.
 */

static void
ngx_ws_bus_sse_cut(ngx_str_t *rest, u_char ch, ngx_str_t *part)
{
    size_t  i;

    for (i = 0; i < rest->len && rest->data[i] != ch; i++) { /* void */ }

    part->data = rest->data;
    part->len = i;

    if (i < rest->len) {
        i++;
    }

    rest->data += i;
    rest->len -= i;

    ngx_ws_bus_sse_trim(part);
    ngx_ws_bus_sse_trim(rest);
}


static void
ngx_ws_bus_sse_trim(ngx_str_t *s)
{
    while (s->len && (s->data[0] == ' ' || s->data[0] == '\t')) {
        s->data++;
        s->len--;
    }

    while (s->len
           && (s->data[s->len - 1] == ' ' || s->data[s->len - 1] == '\t'))
    {
        s->len--;
    }
}


static ngx_uint_t
ngx_ws_bus_sse_is(const ngx_str_t *s, const char *name)
{
    size_t  i;

    for (i = 0; i < s->len; i++) {
        if (name[i] == '\0' || ngx_tolower(s->data[i]) != (u_char) name[i]) {
            return 0;
        }
    }

    return name[i] == '\0';
}


static u_char *
ngx_ws_bus_sse_put_id(u_char *p, uint64_t epoch, uint64_t seq)
{
    ngx_int_t  shift;

    static const u_char  hex[] = "0123456789abcdef";

    p = ngx_ws_bus_sse_add(p, "id: ");

    for (shift = 60; shift >= 0; shift -= 4) {
        *p++ = hex[(epoch >> shift) & 0xf];
    }

    *p++ = ':';
    p = ngx_ws_bus_sse_uint(p, seq);
    *p++ = '\n';

    return p;
}


static u_char *
ngx_ws_bus_sse_add(u_char *p, const char *s)
{
    while (*s) {
        *p++ = (u_char) *s++;
    }

    return p;
}


static u_char *
ngx_ws_bus_sse_uint(u_char *p, uint64_t n)
{
    u_char  *last, *end;

    end = p + ngx_ws_bus_sse_uint_size(n);

    for (last = end; last > p; n /= 10) {
        *--last = (u_char) ('0' + n % 10);
    }

    return end;
}


static size_t
ngx_ws_bus_sse_uint_size(uint64_t n)
{
    size_t  size;

    for (size = 1; n >= 10; n /= 10) {
        size++;
    }

    return size;
}
