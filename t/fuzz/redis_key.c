
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include "ngx_ws_bus_redis_key.c"

#include "fuzz.h"


/* The first byte is the length of the prefix; a name follows. */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t      n;
    u_char     *buf, *p;
    ngx_str_t   prefix, name, channel;

    if (size == 0 || data[0] > size - 1) {
        return 0;
    }

    prefix.len = data[0];
    prefix.data = fuzz_copy(data + 1, prefix.len);

    name.len = size - 1;
    name.data = fuzz_copy(data + 1, name.len);

    (void) ngx_ws_bus_redis_prefix_valid(&prefix);

    if (ngx_ws_bus_redis_channel(&name, &prefix, &channel) == NGX_OK) {
        fuzz_check(channel.len && channel.len <= NGX_WS_BUS_REDIS_CHANNEL_MAX);
        fuzz_check(memchr(channel.data, '{', channel.len) == NULL);
        fuzz_check(memchr(channel.data, '}', channel.len) == NULL);

        buf = fuzz_alloc(name.len);
        p = ngx_ws_bus_redis_key(buf, buf + name.len, &prefix, &channel,
                                 NGX_WS_BUS_REDIS_KEY_CHANNEL);

        fuzz_check(p == buf + name.len);
        fuzz_check(memcmp(buf, name.data, name.len) == 0);

        free(buf);

        n = ngx_ws_bus_redis_key_size(&prefix, &channel);
        buf = fuzz_alloc(n);

        p = ngx_ws_bus_redis_once(buf, buf + n, &prefix, &channel, data,
                                  ngx_min(size, NGX_WS_BUS_REDIS_ONCE_MAX));
        fuzz_check(p != NULL && p <= buf + n);

        free(buf);
    }

    free(name.data);
    free(prefix.data);

    return 0;
}
