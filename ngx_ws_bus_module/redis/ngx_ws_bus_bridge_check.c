
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "ngx_ws_bus_bridge_core.h"


/*
 * Settings of a server by which it forgets messages, or cuts subscribers off
 * in a burst.  Nothing is lost by the latter where messages are kept, but each
 * time all channels are subscribed to and compared again.
 */


/* what Redis has by default, and the least that a soft limit has to last */
#define NGX_WS_BUS_CHECK_HARD     (32 * 1024 * 1024)
#define NGX_WS_BUS_CHECK_SECONDS  10


static void ngx_ws_bus_check_memory_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply);
static ngx_int_t ngx_ws_bus_check_info(ngx_ws_bus_reply_t *reply,
    const char *name, ngx_str_t *value);
static void ngx_ws_bus_check_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply);
static ngx_int_t ngx_ws_bus_check_pubsub(ngx_str_t *value, ngx_str_t *text,
    uint64_t *limits);


void
ngx_ws_bus_bridge_check(ngx_ws_bus_bridge_t *b, ngx_ws_bus_link_t *link)
{
    static const ngx_str_t  memory[] = {
        ngx_string("INFO"), ngx_string("memory")
    };

    static const ngx_str_t  config[] = {
        ngx_string("CONFIG"), ngx_string("GET"),
        ngx_string("client-output-buffer-limit")
    };

    (void) ngx_ws_bus_link_command(link, memory, 2,
                                   ngx_ws_bus_check_memory_handler, b, NULL);
    (void) ngx_ws_bus_link_command(link, config, 3, ngx_ws_bus_check_handler,
                                   b, NULL);
}


/*
 * A server that evicts keys forgets messages that clients count on.
 */

static void
ngx_ws_bus_check_memory_handler(void *data, ngx_int_t rc,
    ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_bridge_t *b = data;

    ngx_str_t  max, policy;

    if (rc != NGX_OK
        || ngx_ws_bus_check_info(reply, "maxmemory:", &max) != NGX_OK
        || ngx_ws_bus_check_info(reply, "maxmemory_policy:", &policy)
           != NGX_OK)
    {
        return;
    }

    if ((max.len == 1 && max.data[0] == '0')
        || (policy.len == 10
            && ngx_strncmp(policy.data, "noeviction", 10) == 0))
    {
        return;
    }

    ngx_log_error(NGX_LOG_WARN, b->log, 0,
                  "ws_bus_redis \"%V\" may evict messages, its "
                  "maxmemory-policy is \"%V\"",
                  &b->redis->link.name, &policy);
}


/*
 * The value of a line of INFO.  NGX_OK, or NGX_DECLINED if there is none.
 */

static ngx_int_t
ngx_ws_bus_check_info(ngx_ws_bus_reply_t *reply, const char *name,
    ngx_str_t *value)
{
    u_char  *p, *last;
    size_t   len;

    if (reply->type != NGX_WS_BUS_REPLY_STRING) {
        return NGX_DECLINED;
    }

    len = ngx_strlen(name);
    p = reply->str.data;
    last = p + reply->str.len;

    while (p && (size_t) (last - p) > len) {

        if (ngx_strncmp(p, name, len) == 0) {
            value->data = p + len;

            for (p = value->data; p < last && *p != CR && *p != LF; p++) {
                /* void */
            }

            value->len = p - value->data;

            return NGX_OK;
        }

        p = ngx_strlchr(p, last, LF);
        p = p ? p + 1 : NULL;
    }

    return NGX_DECLINED;
}


/*
 * A server that does not tell is not asked why.
 */

static void
ngx_ws_bus_check_handler(void *data, ngx_int_t rc, ngx_ws_bus_reply_t *reply)
{
    ngx_ws_bus_bridge_t *b = data;

    uint64_t    limits[3];
    ngx_str_t   text;

    if (rc != NGX_OK
        || reply->type != NGX_WS_BUS_REPLY_ARRAY
        || reply->n != 2
        || reply->first->next->type != NGX_WS_BUS_REPLY_STRING
        || ngx_ws_bus_check_pubsub(&reply->first->next->str, &text, limits)
           != NGX_OK)
    {
        return;
    }

    /* 0 is no limit */

    if ((limits[0] == 0 || limits[0] >= NGX_WS_BUS_CHECK_HARD)
        && (limits[1] == 0 || limits[1] >= NGX_WS_BUS_CHECK_HARD
            || limits[2] >= NGX_WS_BUS_CHECK_SECONDS))
    {
        return;
    }

    ngx_log_error(NGX_LOG_WARN, b->log, 0,
                  "ws_bus_redis \"%V\" may cut this host off in a burst, its "
                  "client-output-buffer-limit is \"%V\"; set it to "
                  "\"pubsub 256mb 64mb 60\"",
                  &b->redis->link.name, &text);
}


/*
 * Finds "pubsub <hard> <soft> <seconds>" in "normal 0 0 0 replica ...".
 * NGX_OK, or NGX_DECLINED if it is not there.
 */

static ngx_int_t
ngx_ws_bus_check_pubsub(ngx_str_t *value, ngx_str_t *text, uint64_t *limits)
{
    u_char      *p, *last, *word;
    ngx_int_t    n;
    ngx_uint_t   i;

    last = value->data + value->len;

    p = ngx_strlcasestrn(value->data, last, (u_char *) "pubsub ",
                         sizeof("pubsub ") - 2);
    if (p == NULL) {
        return NGX_DECLINED;
    }

    text->data = p;
    p += sizeof("pubsub ") - 1;

    for (i = 0; i < 3; i++) {

        for (word = p; p < last && *p >= '0' && *p <= '9'; p++) {
            /* void */
        }

        n = ngx_atoi(word, p - word);

        if (n == NGX_ERROR) {
            return NGX_DECLINED;
        }

        limits[i] = (uint64_t) n;
        text->len = p - text->data;

        if (p < last && *p == ' ') {
            p++;
        }
    }

    return NGX_OK;
}
