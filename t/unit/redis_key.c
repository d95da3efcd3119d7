
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_redis_key.c"

#include "tap.h"


typedef struct {
    const char              *prefix;
    const char              *channel;
    ngx_ws_bus_redis_key_e   kind;
    const char              *key;
} key_case_t;


typedef struct {
    const char  *name;
    const char  *prefix;
    const char  *channel;    /* NULL: none */
} channel_case_t;


static void test_keys(void);
static void test_once(void);
static void test_room(void);
static void test_channels(void);
static void test_lengths(void);
static void test_prefixes(void);
static ngx_str_t string(const char *text);


static const key_case_t  keys[] = {
    { "ws_bus:", "news", NGX_WS_BUS_REDIS_KEY_CHANNEL, "ws_bus:{news}" },
    { "ws_bus:", "news", NGX_WS_BUS_REDIS_KEY_META, "ws_bus:{news}:meta" },
    { "ws_bus:", "news", NGX_WS_BUS_REDIS_KEY_LOG, "ws_bus:{news}:log" },
    { "", "news", NGX_WS_BUS_REDIS_KEY_CHANNEL, "{news}" },
    { "", "a:meta", NGX_WS_BUS_REDIS_KEY_LOG, "{a:meta}:log" }
};


static const channel_case_t  channels[] = {
    { "ws_bus:{news}", "ws_bus:", "news" },
    { "{news}", "", "news" },
    { "{n}", "", "n" },
    { "ws_bus:{a/b.c:d}", "ws_bus:", "a/b.c:d" },
    { "ws_bus:{}", "ws_bus:", NULL },
    { "ws_bus:{news", "ws_bus:", NULL },
    { "ws_bus:news}", "ws_bus:", NULL },
    { "ws_bus:news", "ws_bus:", NULL },
    { "ws_bus:{news}:log", "ws_bus:", NULL },
    { "ws_bus:{news}:meta}", "ws_bus:", NULL },
    { "ws_bus:{a}{b}", "ws_bus:", NULL },
    { "ws_bus:{{a}", "ws_bus:", NULL },
    { "ws_bus:{a}}", "ws_bus:", NULL },
    { "Ws_bus:{news}", "ws_bus:", NULL },
    { "other:{news}", "ws_bus:", NULL },
    { "{news}", "ws_bus:", NULL },
    { "ws_bus:", "ws_bus:", NULL },
    { "ws", "ws_bus:", NULL },
    { "{", "", NULL },
    { "{}", "", NULL },
    { "", "", NULL }
};


int
main(void)
{
    test_keys();
    test_once();
    test_room();
    test_channels();
    test_lengths();
    test_prefixes();

    return tap_done();
}


static ngx_str_t
string(const char *text)
{
    ngx_str_t  s;

    s.data = (u_char *) text;
    s.len = strlen(text);

    return s;
}


static void
test_keys(void)
{
    u_char             buf[64], *p;
    size_t             i;
    ngx_str_t          prefix, channel;
    const key_case_t  *c;

    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        c = &keys[i];

        prefix = string(c->prefix);
        channel = string(c->channel);

        p = ngx_ws_bus_redis_key(buf, buf + sizeof(buf), &prefix, &channel,
                                 c->kind);

        tap_ok(p == buf + strlen(c->key)
               && memcmp(buf, c->key, p - buf) == 0, "%s", c->key);
    }
}


static void
test_once(void)
{
    u_char      buf[64], *p;
    ngx_str_t   prefix, channel;

    static const char  key[] = "ws_bus:{news}:once:00ff10a9";

    prefix = string("ws_bus:");
    channel = string("news");

    p = ngx_ws_bus_redis_once(buf, buf + sizeof(buf), &prefix, &channel,
                              (u_char *) "\x00\xff\x10\xa9", 4);

    tap_ok(p == buf + sizeof(key) - 1 && memcmp(buf, key, p - buf) == 0,
           "%s", key);
}


static void
test_room(void)
{
    u_char     *buf, *p, digest[NGX_WS_BUS_REDIS_ONCE_MAX];
    size_t      size, need;
    ngx_str_t   prefix, channel;

    prefix = string("ws_bus:");
    channel = string("news");

    memset(digest, 0x5a, sizeof(digest));

    need = ngx_ws_bus_redis_key_size(&prefix, &channel);

    for (size = 0; size <= need; size++) {
        buf = malloc(size ? size : 1);

        p = ngx_ws_bus_redis_once(buf, buf + size, &prefix, &channel, digest,
                                  sizeof(digest));
        tap_each(p == (size < need ? NULL : buf + size), "once, %zu", size);

        p = ngx_ws_bus_redis_key(buf, buf + size, &prefix, &channel,
                                 NGX_WS_BUS_REDIS_KEY_META);
        tap_each(p == (size < 18 ? NULL : buf + 18), "meta, %zu", size);

        free(buf);
    }

    tap_all("never beyond the room");
}


static void
test_channels(void)
{
    size_t                 i;
    ngx_int_t              rc;
    ngx_str_t              name, prefix, channel;
    const channel_case_t  *c;

    for (i = 0; i < sizeof(channels) / sizeof(channels[0]); i++) {
        c = &channels[i];

        name = string(c->name);
        prefix = string(c->prefix);

        rc = ngx_ws_bus_redis_channel(&name, &prefix, &channel);

        if (c->channel == NULL) {
            tap_ok(rc == NGX_DECLINED, "\"%s\" is none", c->name);
            continue;
        }

        tap_ok(rc == NGX_OK && channel.len == strlen(c->channel)
               && memcmp(channel.data, c->channel, channel.len) == 0,
               "\"%s\" is of \"%s\"", c->name, c->channel);
    }
}


static void
test_lengths(void)
{
    u_char     buf[300], name[300], *p;
    size_t     len;
    ngx_int_t  rc;
    ngx_str_t  s, prefix, channel;

    memset(name, 'x', sizeof(name));

    prefix = string("p:");

    for (len = 1; len < 260; len++) {
        channel.data = name;
        channel.len = len;

        p = ngx_ws_bus_redis_key(buf, buf + sizeof(buf), &prefix, &channel,
                                 NGX_WS_BUS_REDIS_KEY_CHANNEL);

        s.data = buf;
        s.len = p - buf;

        rc = ngx_ws_bus_redis_channel(&s, &prefix, &channel);

        tap_each(len > NGX_WS_BUS_REDIS_CHANNEL_MAX
                 ? rc == NGX_DECLINED
                 : (rc == NGX_OK && channel.len == len), "%zu bytes", len);
    }

    tap_all("names of every length");
}


static void
test_prefixes(void)
{
    size_t     i;
    ngx_str_t  prefix;

    static const char  *good[] = { "", "ws_bus:", "a.b/c-", "\xc3\xa9:" };
    static const char  *bad[] = { "{", "a}", "a b", "a*", "?", "[", "]", "\\",
                                  "a\n", "\x7f" };

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        prefix = string(good[i]);
        tap_ok(ngx_ws_bus_redis_prefix_valid(&prefix), "prefix \"%s\"",
               good[i]);
    }

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        prefix = string(bad[i]);
        tap_each(!ngx_ws_bus_redis_prefix_valid(&prefix), "%zu", i);
    }

    tap_all("bad prefixes");
}
