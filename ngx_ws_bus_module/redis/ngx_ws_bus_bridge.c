
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include <openssl/rand.h>

#include "ngx_ws_bus_bridge_core.h"


/*
 * Who owns the bridge.
 *
 * The first worker of a configuration takes it.  On a reload the old owner
 * goes on until the new one has subscribed to everything: then the new one
 * publishes a marker on a channel of the host, to which both are subscribed;
 * the old one appends what comes before it, the new one what comes after.
 * What is numbered may be appended by both, since nothing is appended twice.
 */


#define NGX_WS_BUS_BRIDGE_HOLD     3600000    /* milliseconds */
#define NGX_WS_BUS_BRIDGE_HANDING  3000
#define NGX_WS_BUS_BRIDGE_ORPHAN   2          /* ticks */
#define NGX_WS_BUS_BRIDGE_WALK     16         /* slices in a turn */


static ngx_int_t ngx_ws_bus_bridge_init(ngx_ws_bus_zone_t *zone,
    ngx_cycle_t *cycle);
static void ngx_ws_bus_bridge_exit(ngx_ws_bus_zone_t *zone);
static void ngx_ws_bus_bridge_wanted(ngx_ws_bus_hub_t *hub);
static ngx_int_t ngx_ws_bus_bridge_take(ngx_ws_bus_bridge_t *b);
static void ngx_ws_bus_bridge_work_handler(ngx_event_t *ev);
static void ngx_ws_bus_bridge_tick_handler(ngx_event_t *ev);
static void ngx_ws_bus_bridge_hold_handler(ngx_event_t *ev);
static void ngx_ws_bus_bridge_leave(ngx_ws_bus_bridge_t *b);
static void ngx_ws_bus_bridge_walk(ngx_ws_bus_bridge_t *b);


/* timers want something shaped like a connection */
static ngx_connection_t  ngx_ws_bus_bridge_dumb;


ngx_ws_bus_remote_t *
ngx_ws_bus_bridge_create(ngx_pool_t *pool, ngx_ws_bus_zone_t *zone,
    ngx_ws_bus_redis_t *redis)
{
    ngx_ws_bus_bridge_t  *b;

    b = ngx_pcalloc(pool, sizeof(ngx_ws_bus_bridge_t));
    if (b == NULL) {
        return NULL;
    }

    b->redis = redis;
    b->zone = zone;

    b->remote.data = b;
    b->remote.required = (redis->when_down == NGX_WS_BUS_REDIS_REJECT);
    b->remote.init = ngx_ws_bus_bridge_init;
    b->remote.exit = ngx_ws_bus_bridge_exit;
    b->remote.publish = ngx_ws_bus_bridge_publish;
    b->remote.delete = ngx_ws_bus_bridge_delete;
    b->remote.cancel = ngx_ws_bus_bridge_cancel;
    b->remote.wanted = ngx_ws_bus_bridge_wanted;

    return &b->remote;
}


static ngx_int_t
ngx_ws_bus_bridge_init(ngx_ws_bus_zone_t *zone, ngx_cycle_t *cycle)
{
    ngx_ws_bus_bridge_t  *b;

    b = ngx_ws_bus_bridge(zone);

    b->hub = zone->hub;
    b->log = cycle->log;

    b->remote.timeout = b->redis->link.timeout;
    b->remote.patience = 2 * b->redis->link.timeout;

    if (b->redis->when_down == NGX_WS_BUS_REDIS_QUEUE) {
        b->remote.patience += NGX_WS_BUS_BRIDGE_WAIT;
    }

    ngx_queue_init(&b->waiting);
    ngx_queue_init(&b->subscribe);
    ngx_queue_init(&b->compare);
    ngx_queue_init(&b->fetch);
    ngx_queue_init(&b->deaf);
    ngx_queue_init(&b->stalled);

    ngx_ws_bus_bridge_dumb.fd = (ngx_socket_t) -1;

    b->tick.handler = ngx_ws_bus_bridge_tick_handler;
    b->tick.data = &ngx_ws_bus_bridge_dumb;
    b->tick.log = cycle->log;
    b->tick.cancelable = 1;

    b->work.handler = ngx_ws_bus_bridge_work_handler;
    b->work.data = &ngx_ws_bus_bridge_dumb;
    b->work.log = cycle->log;

    b->hold.handler = ngx_ws_bus_bridge_hold_handler;
    b->hold.data = &ngx_ws_bus_bridge_dumb;
    b->hold.log = cycle->log;

    if (ngx_ws_bus_bridge_connect(b) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_add_timer(&b->tick, NGX_WS_BUS_BRIDGE_TICK);

    if (ngx_worker == 0) {
        return ngx_ws_bus_bridge_take(b);
    }

    return NGX_OK;
}


static void
ngx_ws_bus_bridge_exit(ngx_ws_bus_zone_t *zone)
{
    ngx_ws_bus_bridge_t  *b;

    b = ngx_ws_bus_bridge(zone);

    if (b->token) {
        ngx_ws_bus_remote_leave(zone, b->token);
    }

    ngx_ws_bus_bridge_disconnect(b);
}


/*
 * This process owns the bridge from now on.
 */

static ngx_int_t
ngx_ws_bus_bridge_take(ngx_ws_bus_bridge_t *b)
{
    ngx_ws_bus_remote_sh_t  *sh;

    sh = b->zone->sh->remote;

    /* an owner that works goes on for a while */

    b->before = sh->pid;
    b->passive = (sh->up && b->before && kill(b->before, 0) == 0);

    b->cursor = sh->wanted;
    b->token = ngx_ws_bus_remote_take(b->zone);

    sh->stats.takeovers++;

    if (!b->passive) {
        ngx_ws_bus_remote_floor(b->zone, b->token);
        sh->nlive = 0;
        sh->up = 0;
        sh->since = ngx_time();
    }

    b->control.data = b->control_name;
    b->control.len = ngx_sprintf(b->control_name, "%V:host:%016xL",
                                 &b->redis->prefix, sh->host)
                     - b->control_name;

    ngx_ws_bus_bridge_listen(b);

    ngx_add_timer(&b->hold, NGX_WS_BUS_BRIDGE_HOLD);

    ngx_log_debug3(NGX_LOG_DEBUG_CORE, b->log, 0,
                   "ws bus zone \"%V\" bridge, token:%uL passive:%ui",
                   &b->zone->name, b->token, (ngx_uint_t) b->passive);

    return NGX_OK;
}


/*
 * Another process goes on.
 */

void
ngx_ws_bus_bridge_give(ngx_ws_bus_bridge_t *b)
{
    ngx_log_debug2(NGX_LOG_DEBUG_CORE, b->log, 0,
                   "ws bus zone \"%V\" bridge given up, token:%uL",
                   &b->zone->name, b->token);

    ngx_ws_bus_remote_leave(b->zone, b->token);

    b->token = 0;
    b->up = 0;

    ngx_ws_bus_servers_listen(b->servers, 0, NULL);

    ngx_ws_bus_bridge_free_channels(b);

    if (b->hold.timer_set) {
        ngx_del_timer(&b->hold);
    }

    if (b->work.posted) {
        ngx_delete_posted_event(&b->work);
    }
}


static void
ngx_ws_bus_bridge_wanted(ngx_ws_bus_hub_t *hub)
{
    ngx_int_t                    rc;
    ngx_ws_bus_bridge_t         *b;
    ngx_ws_bus_remote_channel_t  ch;

    b = ngx_ws_bus_bridge(hub->zone);

    if (b->token == 0) {
        return;
    }

    if (ngx_exiting) {
        ngx_ws_bus_bridge_leave(b);
        return;
    }

    for ( ;; ) {

        rc = ngx_ws_bus_remote_next(b->zone, &b->cursor, &ch);

        if (rc == NGX_DONE) {
            return;
        }

        if (rc == NGX_OK) {
            ngx_ws_bus_bridge_want(b, &ch);

        } else {
            b->walking = 1;
            b->bucket = 0;
            b->skip = 0;
        }

        ngx_post_event(&b->work, &ngx_posted_events);
    }
}


/*
 * This worker is shutting down.  If another one follows, it is waited for,
 * but not for long.
 */

static void
ngx_ws_bus_bridge_leave(ngx_ws_bus_bridge_t *b)
{
    if (!b->hold.timer_set) {
        return;
    }

    if (b->zone->sh->generation == b->zone->generation) {
        ngx_del_timer(&b->hold);
        return;
    }

    if (b->exiting == 0) {
        b->exiting = ngx_current_msec;

        ngx_del_timer(&b->hold);
        ngx_add_timer(&b->hold, 2 * NGX_WS_BUS_BRIDGE_HANDING);
    }
}


static void
ngx_ws_bus_bridge_hold_handler(ngx_event_t *ev)
{
    if (!ngx_exiting) {
        ngx_add_timer(ev, NGX_WS_BUS_BRIDGE_HOLD);
    }
}


static void
ngx_ws_bus_bridge_work_handler(ngx_event_t *ev)
{
    ngx_ws_bus_bridge_t  *b;

    b = (ngx_ws_bus_bridge_t *) ((u_char *) ev
                                 - offsetof(ngx_ws_bus_bridge_t, work));

    if (b->moving) {
        b->moving = 0;
        ngx_ws_bus_bridge_move(b);
    }

    if (b->walking) {
        ngx_ws_bus_bridge_walk(b);
    }

    ngx_ws_bus_bridge_work(b);

    if (b->walking) {
        ngx_post_event(ev, &ngx_posted_next_events);
        return;
    }

    /* all is subscribed to: the old owner may stop */

    if (b->passive && !b->handing && b->up && b->ready
        && ngx_queue_empty(&b->subscribe) && b->subscribing == 0
        && ngx_ws_bus_bridge_settled(b))
    {
        ngx_ws_bus_bridge_marker(b);
    }
}


/*
 * What the old owner has made live is so no longer.
 */

void
ngx_ws_bus_bridge_active(ngx_ws_bus_bridge_t *b)
{
    ngx_ws_bus_remote_sh_t  *sh;

    sh = b->zone->sh->remote;

    b->passive = 0;
    b->handing = 0;

    ngx_ws_bus_bridge_unmark(b);

    sh->up = b->up;
    sh->since = ngx_time();

    ngx_ws_bus_remote_floor(b->zone, b->token);

    ngx_ws_bus_bridge_open(b);

    /* whoever came meanwhile may have been told that it is live */

    ngx_ws_bus_bridge_begin_walk(b);
}


void
ngx_ws_bus_bridge_begin_walk(ngx_ws_bus_bridge_t *b)
{
    b->walking = 1;
    b->bucket = 0;
    b->skip = 0;

    ngx_post_event(&b->work, &ngx_posted_events);
}


/*
 * Asks for all channels that somebody on this host listens to.
 */

static void
ngx_ws_bus_bridge_walk(ngx_ws_bus_bridge_t *b)
{
    ngx_int_t   rc;
    ngx_uint_t  i, j, n;

    static ngx_ws_bus_remote_channel_t  chs[NGX_WS_BUS_REMOTE_WALK];

    for (i = 0; i < NGX_WS_BUS_BRIDGE_WALK; i++) {

        rc = ngx_ws_bus_remote_walk(b->zone, &b->bucket, &b->skip, chs, &n);

        for (j = 0; j < n; j++) {
            ngx_ws_bus_bridge_want(b, &chs[j]);
        }

        if (rc == NGX_DONE) {
            b->walking = 0;
            break;
        }
    }
}


static void
ngx_ws_bus_bridge_tick_handler(ngx_event_t *ev)
{
    ngx_ws_bus_bridge_t     *b;
    ngx_ws_bus_server_t     *server;
    ngx_ws_bus_remote_sh_t  *sh;

    b = (ngx_ws_bus_bridge_t *) ((u_char *) ev
                                 - offsetof(ngx_ws_bus_bridge_t, tick));
    sh = b->zone->sh->remote;

    b->ticks++;
    b->redirects = 0;
    b->refused = 0;

    ngx_ws_bus_bridge_publish_up(b);
    ngx_ws_bus_bridge_publish_refuse(b, 0);

    if (b->token) {
        ngx_ws_bus_bridge_open(b);

        server = ngx_ws_bus_servers_next(b->servers, NULL);
        sh->rtt = (server && server->command) ? server->command->rtt : 0;

        if (b->passive
            && (!sh->up
                || kill(b->before, 0) == -1
                || (b->handing
                    && ngx_current_msec - b->handing_since
                       > NGX_WS_BUS_BRIDGE_HANDING)))
        {
            /* those before it, if they still are there, stop by this */

            ngx_ws_bus_bridge_marker(b);
            ngx_ws_bus_bridge_active(b);
        }

        ngx_ws_bus_bridge_sweep(b);
        ngx_post_event(&b->work, &ngx_posted_events);

    } else if (!ngx_exiting && ngx_ws_bus_remote_orphan(b->zone)) {

        if (++b->orphan >= NGX_WS_BUS_BRIDGE_ORPHAN) {
            b->orphan = 0;
            (void) ngx_ws_bus_bridge_take(b);
        }

    } else {
        b->orphan = 0;
    }

    ngx_add_timer(ev, NGX_WS_BUS_BRIDGE_TICK);
}


void
ngx_ws_bus_bridge_open(ngx_ws_bus_bridge_t *b)
{
    ngx_uint_t               open;
    ngx_ws_bus_remote_sh_t  *sh;

    sh = b->zone->sh->remote;

    open = (b->redis->when_down == NGX_WS_BUS_REDIS_LOCAL
            && !b->up
            && ngx_ws_bus_bridge_failed(b, 0));

    if (sh->open == open) {
        return;
    }

    sh->open = open;

    if (open) {

        /* whoever waits is told, channel by channel */

        ngx_ws_bus_bridge_begin_walk(b);
    }
}


ngx_uint_t
ngx_ws_bus_bridge_is_local(ngx_ws_bus_bridge_t *b, ngx_uint_t slot)
{
    ngx_ws_bus_server_t  *server;

    if (b->redis->when_down != NGX_WS_BUS_REDIS_LOCAL) {
        return 0;
    }

    if (ngx_ws_bus_bridge_failed(b, slot)) {
        return 1;
    }

    server = ngx_ws_bus_servers_of(b->servers, slot);

    return server && server->refused
           && ngx_current_msec - server->refused < NGX_WS_BUS_BRIDGE_REFUSED;
}


void
ngx_ws_bus_bridge_refused(ngx_ws_bus_bridge_t *b, ngx_ws_bus_reply_t *reply)
{
    if (b->redis->when_down == NGX_WS_BUS_REDIS_LOCAL && b->token
        && !b->refused && ngx_ws_bus_reply_is_error(reply, "CLUSTERDOWN"))
    {
        b->refused = 1;
        ngx_ws_bus_bridge_begin_walk(b);
    }
}


void
ngx_ws_bus_bridge_error(ngx_ws_bus_bridge_t *b, const char *what,
    const ngx_str_t *channel, ngx_ws_bus_reply_t *reply)
{
    b->hub->slot->stats.remote_errors++;

    if (b->logged == ngx_time()) {
        return;
    }

    b->logged = ngx_time();

    ngx_log_error(NGX_LOG_ERR, b->log, 0,
                  "ws_bus_redis \"%V\": %s \"%V\" failed: %V",
                  &b->redis->link.name, what, channel, &reply->str);
}


ngx_uint_t
ngx_ws_bus_bridge_logs(time_t *last)
{
    if (*last == ngx_time()) {
        return 0;
    }

    *last = ngx_time();

    return 1;
}


ngx_int_t
ngx_ws_bus_bridge_epoch(u_char *p)
{
    u_char  *random;

    static u_char  bytes[64 * NGX_WS_BUS_BRIDGE_EPOCH / 2];
    static size_t  used = sizeof(bytes);

    /* one at a time they would be a third of what a publication costs */

    if (used == sizeof(bytes)) {

        if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
            return NGX_ERROR;
        }

        used = 0;
    }

    random = bytes + used;
    used += NGX_WS_BUS_BRIDGE_EPOCH / 2;

    /* 0 is none */

    random[0] |= 1;

    (void) ngx_hex_dump(p, random, NGX_WS_BUS_BRIDGE_EPOCH / 2);

    return NGX_OK;
}


uint64_t
ngx_ws_bus_bridge_read_epoch(const ngx_str_t *value)
{
    ngx_int_t  high, low;

    if (value->len != NGX_WS_BUS_BRIDGE_EPOCH) {
        return 0;
    }

    high = ngx_hextoi(value->data, NGX_WS_BUS_BRIDGE_EPOCH / 2);
    low = ngx_hextoi(value->data + NGX_WS_BUS_BRIDGE_EPOCH / 2,
                     NGX_WS_BUS_BRIDGE_EPOCH / 2);

    if (high == NGX_ERROR || low == NGX_ERROR) {
        return 0;
    }

    return (uint64_t) high << 32 | (uint64_t) low;
}


ngx_int_t
ngx_ws_bus_bridge_script(ngx_ws_bus_bridge_t *b,
    ngx_ws_bus_servers_call_t *call, const ngx_ws_bus_script_t *script,
    ngx_str_t *argv, ngx_uint_t keys)
{
    u_char  number[NGX_INT_T_LEN];

    ngx_str_set(&argv[0], "EVALSHA");
    argv[1] = script->sha1;

    argv[2].data = number;
    argv[2].len = ngx_sprintf(number, "%ui", keys) - number;

    call->argv = argv;
    call->script = &script->text;

    return ngx_ws_bus_servers_command(b->servers, call, NULL);
}


void
ngx_ws_bus_bridge_load(ngx_ws_bus_bridge_t *b, ngx_ws_bus_server_t *server)
{
    ngx_str_t   argv[3];
    ngx_uint_t  i;

    static const ngx_ws_bus_script_t  *scripts[] = {
        &ngx_ws_bus_script_publish,
        &ngx_ws_bus_script_delete
    };

    ngx_str_set(&argv[0], "SCRIPT");
    ngx_str_set(&argv[1], "LOAD");

    for (i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        argv[2] = scripts[i]->text;

        (void) ngx_ws_bus_link_command(server->command, argv, 3, NULL, NULL,
                                       NULL);
    }
}
