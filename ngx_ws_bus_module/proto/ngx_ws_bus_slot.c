
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_slot.h"


static const u_char *ngx_ws_bus_slot_number(const u_char *p,
    const u_char *last, ngx_uint_t max, ngx_uint_t *n);
static ngx_uint_t ngx_ws_bus_slot_unknown(const ngx_str_t *host);


/* CRC-16/XMODEM, polynomial 0x1021, of four bits at a time */

static const uint16_t  ngx_ws_bus_slot_crc16[] = {
    0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
    0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef
};


ngx_uint_t
ngx_ws_bus_slot(const ngx_str_t *key)
{
    u_char    *p, *last, *open, *close;
    uint16_t   crc;

    p = key->data;
    last = p + key->len;

    open = key->len ? memchr(p, '{', key->len) : NULL;

    if (open) {
        close = memchr(open, '}', last - open);

        if (close && close > open + 1) {
            p = open + 1;
            last = close;
        }
    }

    crc = 0;

    for ( /* void */ ; p < last; p++) {
        crc = (uint16_t) (crc << 4)
              ^ ngx_ws_bus_slot_crc16[(crc >> 12) ^ (*p >> 4)];
        crc = (uint16_t) (crc << 4)
              ^ ngx_ws_bus_slot_crc16[(crc >> 12) ^ (*p & 0x0f)];
    }

    return crc % NGX_WS_BUS_SLOTS;
}


ngx_int_t
ngx_ws_bus_slot_redirect(const ngx_str_t *error,
    ngx_ws_bus_slot_redirect_t *redirect)
{
    ngx_uint_t     port;
    const u_char  *p, *last, *colon;

    p = error->data;
    last = p + error->len;

    if (error->len > 6 && memcmp(p, "MOVED ", 6) == 0) {
        redirect->type = NGX_WS_BUS_SLOT_MOVED;
        p += 6;

    } else if (error->len > 4 && memcmp(p, "ASK ", 4) == 0) {
        redirect->type = NGX_WS_BUS_SLOT_ASK;
        p += 4;

    } else {
        return NGX_DECLINED;
    }

    p = ngx_ws_bus_slot_number(p, last, NGX_WS_BUS_SLOTS - 1,
                               &redirect->slot);

    if (p == NULL || p == last || *p != ' ') {
        return NGX_DECLINED;
    }

    p++;

    for (colon = last; colon > p && colon[-1] != ':'; colon--) { /* void */ }

    if (colon == p) {
        return NGX_DECLINED;
    }

    if (ngx_ws_bus_slot_number(colon, last, 65535, &port) != last
        || port == 0)
    {
        return NGX_DECLINED;
    }

    redirect->port = (in_port_t) port;
    redirect->host.data = (u_char *) p;
    redirect->host.len = colon - 1 - p;

    if (ngx_ws_bus_slot_unknown(&redirect->host)) {
        redirect->host.len = 0;
    }

    return NGX_OK;
}


/*
 * Digits up to a number that is not greater than "max".  Returns where they
 * end, or NULL if there are none or too many.
 */

static const u_char *
ngx_ws_bus_slot_number(const u_char *p, const u_char *last, ngx_uint_t max,
    ngx_uint_t *n)
{
    const u_char  *start;

    start = p;

    for (*n = 0; p < last && *p >= '0' && *p <= '9'; p++) {

        *n = *n * 10 + (*p - '0');

        if (*n > max) {
            return NULL;
        }
    }

    return p == start ? NULL : p;
}


/*
 * A node that does not know its own address, or the name it is to announce.
 */

static ngx_uint_t
ngx_ws_bus_slot_unknown(const ngx_str_t *host)
{
    return host->len == 1 && host->data[0] == '?';
}


ngx_int_t
ngx_ws_bus_slot_range(ngx_ws_bus_reply_t **element,
    ngx_ws_bus_slot_range_t *range)
{
    ngx_ws_bus_reply_t  *first, *last, *master, *host, *port;

    if (*element == NULL) {
        return NGX_DONE;
    }

    first = ngx_ws_bus_reply_at(*element, 0);
    last = ngx_ws_bus_reply_at(*element, 1);
    master = ngx_ws_bus_reply_at(*element, 2);

    host = master ? ngx_ws_bus_reply_at(master, 0) : NULL;
    port = master ? ngx_ws_bus_reply_at(master, 1) : NULL;

    if (first == NULL || first->type != NGX_WS_BUS_REPLY_INTEGER
        || last == NULL || last->type != NGX_WS_BUS_REPLY_INTEGER
        || host == NULL
        || port == NULL || port->type != NGX_WS_BUS_REPLY_INTEGER
        || first->integer < 0
        || first->integer > last->integer
        || last->integer >= NGX_WS_BUS_SLOTS
        || port->integer < 1 || port->integer > 65535)
    {
        return NGX_ERROR;
    }

    range->first = (ngx_uint_t) first->integer;
    range->last = (ngx_uint_t) last->integer;
    range->port = (in_port_t) port->integer;

    range->host.len = 0;
    range->host.data = NULL;

    if (host->type == NGX_WS_BUS_REPLY_STRING) {

        if (!ngx_ws_bus_slot_unknown(&host->str)) {
            range->host = host->str;
        }

    } else if (host->type != NGX_WS_BUS_REPLY_NIL) {
        return NGX_ERROR;
    }

    *element = (*element)->next;

    return NGX_OK;
}
