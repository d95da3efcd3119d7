
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_ws_bus_script.h"


#define ngx_ws_bus_script_string(text)                                        \
    { sizeof(text) - 1, (u_char *) text }


/*
 * What the scripts have in common.  A position that cannot be read is none.
 * Numbers of Lua are doubles: a seq is exact up to 2^53.
 */

#define NGX_WS_BUS_SCRIPT_KNOWN                                               \
    "local function known(epoch, seq)\n"                                      \
    "    seq = tonumber(seq)\n"                                               \
    "\n"                                                                      \
    "    return epoch and #epoch == 16 and epoch:find('^%x+$')\n"             \
    "           and seq and seq >= 0 and seq < 2 ^ 53 - 1 and seq % 1 == 0\n" \
    "end\n"                                                                   \
    "\n"

#define NGX_WS_BUS_SCRIPT_REPLID                                              \
    "local function replid()\n"                                               \
    "    local r = redis.pcall('INFO', 'replication')\n"                      \
    "\n"                                                                      \
    "    if r.err then\n"                                                     \
    "        return nil, r\n"                                                 \
    "    end\n"                                                               \
    "\n"                                                                      \
    "    return r:match('master_replid:(%x+)') or ''\n"                       \
    "end\n"                                                                   \
    "\n"

#define NGX_WS_BUS_SCRIPT_PLACE                                               \
    "local function raw(s)\n"                                                 \
    "    return struct.pack('>I4I4', tonumber(s:sub(1, 8), 16),\n"            \
    "                       tonumber(s:sub(9), 16))\n"                        \
    "end\n"                                                                   \
    "\n"                                                                      \
    "local function varint(n)\n"                                              \
    "    local s = ''\n"                                                      \
    "\n"                                                                      \
    "    while n > 127 do\n"                                                  \
    "        s = s .. string.char(n % 128 + 128)\n"                           \
    "        n = math.floor(n / 128)\n"                                       \
    "    end\n"                                                               \
    "\n"                                                                      \
    "    return s .. string.char(n)\n"                                        \
    "end\n"                                                                   \
    "\n"

#define NGX_WS_BUS_SCRIPT_EXTEND                                              \
    "local function extend(key, ttl)\n"                                       \
    "    local left = redis.call('PTTL', key)\n"                              \
    "\n"                                                                      \
    "    if left >= 0 and left < ttl then\n"                                  \
    "        redis.call('PEXPIRE', key, ttl)\n"                               \
    "    end\n"                                                               \
    "end\n"                                                                   \
    "\n"


static const char  ngx_ws_bus_script_publish_text[] =
    NGX_WS_BUS_SCRIPT_KNOWN
    NGX_WS_BUS_SCRIPT_REPLID
    NGX_WS_BUS_SCRIPT_PLACE
    "local e, count = ARGV[2], tonumber(ARGV[3])\n"
    "local magic, w, b, version, flags = e:byte(1, 5)\n"
    "\n"
    "if magic ~= 255 or w ~= 119 or b ~= 98 or version ~= 1\n"
    "    or not flags or flags > 7 or not count or not ARGV[8] or not KEYS[3]\n"
    "    or KEYS[4] and not tonumber(ARGV[9])\n"
    "    or ARGV[1] ~= 'PUBLISH' and ARGV[1] ~= 'SPUBLISH'\n"
    "then\n"
    "    return redis.error_reply('ERR not a message to be published')\n"
    "end\n"
    "\n"
    "if KEYS[4] then\n"
    "    local r = redis.pcall('GET', KEYS[4])\n"
    "\n"
    "    if r then\n"
    "        if r.err then\n"
    "            return r\n"
    "        end\n"
    "\n"
    "        local epoch, seq, n = r:match('^(%x*):(%d+):(%d+)$')\n"
    "\n"
    "        if not n then\n"
    "            return redis.error_reply('ERR not a result: ' .. KEYS[4])\n"
    "        end\n"
    "\n"
    "        return {0, tonumber(seq), epoch, tonumber(n), ''}\n"
    "    end\n"
    "end\n"
    "\n"
    "local epoch, seq, id = '', 0, ''\n"
    "\n"
    "if count > 0 then\n"
    "    local m = redis.pcall('HMGET', KEYS[2], 'epoch', 'seq', 'replid',\n"
    "                          'stamp')\n"
    "\n"
    "    if m.err then\n"
    "        return m\n"
    "    end\n"
    "\n"
    "    local renew = m[4] ~= ARGV[8] or m[4] == ''\n"
    "    local prev, set, r\n"
    "\n"
    "    epoch, seq = m[1], tonumber(m[2])\n"
    "\n"
    "    if renew and not (tonumber(ARGV[4]) and tonumber(ARGV[5])) then\n"
    "        return redis.error_reply('ERR not a time to live')\n"
    "    end\n"
    "\n"
    "    local lost = not known(epoch, seq)\n"
    "\n"
    "    if lost or m[3] ~= ARGV[7] then\n"
    "        id, r = replid()\n"
    "\n"
    "        if r then\n"
    "            return r\n"
    "        end\n"
    "\n"
    "        if not known(ARGV[6], 0) then\n"
    "            return redis.error_reply('ERR not an epoch')\n"
    "        end\n"
    "\n"
    "        if lost then\n"
    "\n"
    "            -- a log without its meta is of an epoch that nobody knows\n"
    "\n"
    "            r = redis.pcall('XLEN', KEYS[3])\n"
    "\n"
    "            if type(r) == 'table' then\n"
    "                return r\n"
    "            end\n"
    "\n"
    "            redis.call('DEL', KEYS[2], KEYS[3])\n"
    "\n"
    "            epoch, seq, renew = ARGV[6], 0, true\n"
    "            set = {'epoch', epoch, 'replid', id}\n"
    "\n"
    "        elseif m[3] ~= id then\n"
    "\n"
    "            -- another master: it may lack what the last one had\n"
    "\n"
    "            prev, epoch = epoch, ARGV[6]\n"
    "            set = {'epoch', epoch, 'replid', id, 'prev', prev,\n"
    "                   'base', m[2]}\n"
    "        end\n"
    "\n"
    "        if id == ARGV[7] then\n"
    "            id = ''\n"
    "        end\n"
    "    end\n"
    "\n"
    "    seq = seq + 1\n"
    "\n"
    "    local place = raw(epoch) .. varint(seq)\n"
    "\n"
    "    if prev then\n"
    "        flags = flags + 16\n"
    "        place = place .. raw(prev) .. varint(seq - 1)\n"
    "    end\n"
    "\n"
    "    e = '\\255wb\\1' .. string.char(flags + 8) .. place .. e:sub(6)\n"
    "\n"
    "    local text = string.format('%.0f', seq)\n"
    "    local entry = text .. '-0'\n"
    "\n"
    "    -- a log that is gone while its meta is not has no time to live\n"
    "\n"
    "    r = not renew and redis.pcall('XADD', KEYS[3], 'NOMKSTREAM',\n"
    "                                  'MAXLEN', '~', ARGV[3], entry, 'm', e)\n"
    "\n"
    "    if not r then\n"
    "        renew = true\n"
    "        r = redis.pcall('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], entry,\n"
    "                        'm', e)\n"
    "    end\n"
    "\n"
    "    if r.err then\n"
    "        return r\n"
    "    end\n"
    "\n"
    "    if set then\n"
    "        redis.call('HSET', KEYS[2], unpack(set))\n"
    "    end\n"
    "\n"
    "    if renew then\n"
    "        redis.call('HSET', KEYS[2], 'seq', text, 'count', ARGV[3],\n"
    "                   'stamp', ARGV[8])\n"
    "\n"
    "        for i = 2, 3 do\n"
    "            local ttl = tonumber(ARGV[7 - i])\n"
    "\n"
    "            if ttl == 0 then\n"
    "                redis.call('PERSIST', KEYS[i])\n"
    "\n"
    "            else\n"
    "\n"
    "                -- until the next stamp it is not set again\n"
    "\n"
    "                redis.call('PEXPIRE', KEYS[i], math.ceil(ttl * 17 / 16))\n"
    "            end\n"
    "        end\n"
    "\n"
    "    else\n"
    "        redis.call('HSET', KEYS[2], 'seq', text)\n"
    "    end\n"
    "end\n"
    "\n"
    "local n = redis.call(ARGV[1], KEYS[1], e)\n"
    "\n"
    "if KEYS[4] then\n"
    "    local result = string.format('%s:%.0f:%d', epoch, seq, n)\n"
    "\n"
    "    redis.call('SET', KEYS[4], result, 'PX', ARGV[9])\n"
    "end\n"
    "\n"
    "return {1, seq, epoch, n, id}\n";


static const char  ngx_ws_bus_script_history_text[] =
    NGX_WS_BUS_SCRIPT_KNOWN
    NGX_WS_BUS_SCRIPT_REPLID
    NGX_WS_BUS_SCRIPT_EXTEND
    "local after, limit = tonumber(ARGV[1]), tonumber(ARGV[2])\n"
    "local bytes, ttl = tonumber(ARGV[3]), tonumber(ARGV[6])\n"
    "\n"
    "if not (after and limit and bytes and ttl) then\n"
    "    return redis.error_reply('ERR not a history to be asked for')\n"
    "end\n"
    "\n"
    "local m = redis.pcall('HMGET', KEYS[1], 'epoch', 'seq', 'prev', 'base',\n"
    "                      'count')\n"
    "\n"
    "if m.err then\n"
    "    return m\n"
    "end\n"
    "\n"
    "local epoch, seq = m[1], tonumber(m[2])\n"
    "\n"
    "if not known(epoch, seq) then\n"
    "    if ARGV[4] == '' then\n"
    "        return {'', 0, '', 0, 1, {}}\n"
    "    end\n"
    "\n"
    "    local r = redis.pcall('XLEN', KEYS[2])\n"
    "\n"
    "    if type(r) == 'table' then\n"
    "        return r\n"
    "    end\n"
    "\n"
    "    local id = ARGV[5]\n"
    "\n"
    "    if id == '' then\n"
    "        id, r = replid()\n"
    "\n"
    "        if not id then\n"
    "            return r\n"
    "        end\n"
    "    end\n"
    "\n"
    "    epoch, seq, m = ARGV[4], 0, {}\n"
    "\n"
    "    if not known(epoch, seq) then\n"
    "        return redis.error_reply('ERR not an epoch')\n"
    "    end\n"
    "\n"
    "    redis.call('DEL', KEYS[1], KEYS[2])\n"
    "    redis.call('HSET', KEYS[1], 'epoch', epoch, 'seq', 0, 'replid', id)\n"
    "\n"
    "    if ttl > 0 then\n"
    "        redis.call('PEXPIRE', KEYS[1], ttl)\n"
    "    end\n"
    "\n"
    "elseif ttl > 0 then\n"
    "    extend(KEYS[1], ttl)\n"
    "end\n"
    "\n"
    "local r = redis.pcall('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)\n"
    "\n"
    "if r.err then\n"
    "    return r\n"
    "end\n"
    "\n"
    "local first = r[1] and tonumber(r[1][1]:match('^%d+')) or seq + 1\n"
    "\n"
    "-- the log holds up to a node of the stream more than what is kept\n"
    "\n"
    "first = math.max(first, seq + 1 - (tonumber(m[5]) or seq))\n"
    "first = math.min(first, seq + 1)\n"
    "\n"
    "local out, size = {}, 0\n"
    "\n"
    "if after < 0 then\n"
    "    after = seq - limit\n"
    "end\n"
    "\n"
    "after = math.max(after, first - 1)\n"
    "\n"
    "while after < seq and #out < limit and size < bytes do\n"
    "    r = redis.call('XRANGE', KEYS[2], string.format('%.0f', after + 1),\n"
    "                   string.format('%.0f', seq),\n"
    "                   'COUNT', math.min(limit - #out, 32))\n"
    "\n"
    "    for i = 1, #r do\n"
    "        if size >= bytes then\n"
    "            break\n"
    "        end\n"
    "\n"
    "        out[#out + 1] = r[i][2][2]\n"
    "        size = size + #r[i][2][2]\n"
    "        after = tonumber(r[i][1]:match('^%d+'))\n"
    "    end\n"
    "\n"
    "    if #r == 0 then\n"
    "        break\n"
    "    end\n"
    "end\n"
    "\n"
    "return {epoch, seq, m[3] or '', tonumber(m[4] or 0), first, out}\n";


static const char  ngx_ws_bus_script_position_text[] =
    NGX_WS_BUS_SCRIPT_KNOWN
    NGX_WS_BUS_SCRIPT_EXTEND
    "local out, ttl = {}, tonumber(ARGV[1])\n"
    "\n"
    "if not ttl then\n"
    "    return redis.error_reply('ERR not a time to live')\n"
    "end\n"
    "\n"
    "for i, key in ipairs(KEYS) do\n"
    "    local m = redis.pcall('HMGET', key, 'epoch', 'seq', 'prev', 'base')\n"
    "\n"
    "    if known(m[1], m[2]) then\n"
    "        out[4 * i - 3] = m[1]\n"
    "        out[4 * i - 2] = tonumber(m[2])\n"
    "        out[4 * i - 1] = m[3] or ''\n"
    "        out[4 * i] = tonumber(m[4] or 0)\n"
    "\n"
    "        if ttl > 0 then\n"
    "            extend(key, ttl)\n"
    "        end\n"
    "\n"
    "    else\n"
    "        out[4 * i - 3] = ''\n"
    "        out[4 * i - 2] = 0\n"
    "        out[4 * i - 1] = ''\n"
    "        out[4 * i] = 0\n"
    "    end\n"
    "end\n"
    "\n"
    "return out\n";


static const char  ngx_ws_bus_script_delete_text[] =
    "local m = redis.pcall('HLEN', KEYS[2])\n"
    "\n"
    "if type(m) == 'table' then\n"
    "    return m\n"
    "end\n"
    "\n"
    "local n = redis.pcall('XLEN', KEYS[3])\n"
    "\n"
    "if type(n) == 'table' then\n"
    "    return n\n"
    "end\n"
    "\n"
    "if redis.call('DEL', KEYS[2], KEYS[3]) > 0 then\n"
    "    m = 1\n"
    "end\n"
    "\n"
    "return {m, redis.call(ARGV[1], KEYS[1], ARGV[2])}\n";


const ngx_ws_bus_script_t  ngx_ws_bus_script_publish = {
    ngx_string("ws_bus_publish"),
    ngx_ws_bus_script_string(ngx_ws_bus_script_publish_text),
    ngx_string("59fa17276596de8fb967a0594976e4c03af1c208")
};


const ngx_ws_bus_script_t  ngx_ws_bus_script_history = {
    ngx_string("ws_bus_history"),
    ngx_ws_bus_script_string(ngx_ws_bus_script_history_text),
    ngx_string("30326aa8cd40350dd0a75729114a7326fe660be3")
};


const ngx_ws_bus_script_t  ngx_ws_bus_script_position = {
    ngx_string("ws_bus_position"),
    ngx_ws_bus_script_string(ngx_ws_bus_script_position_text),
    ngx_string("e625d53cb3ddd97b1ec1503995760a6464a070db")
};


const ngx_ws_bus_script_t  ngx_ws_bus_script_delete = {
    ngx_string("ws_bus_delete"),
    ngx_ws_bus_script_string(ngx_ws_bus_script_delete_text),
    ngx_string("1465706b16a92231bcea671a7cb066670913bafe")
};
