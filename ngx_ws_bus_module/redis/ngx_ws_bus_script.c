
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
    "local function varint(n)\n"
    "    local a = n % 128\n"
    "    local b = (n - a) / 128\n"
    "\n"
    "    if b == 0 then\n"
    "        return string.char(a)\n"
    "    end\n"
    "\n"
    "    if b < 128 then\n"
    "        return string.char(a + 128, b)\n"
    "    end\n"
    "\n"
    "    local s = string.char(a + 128, b % 128 + 128)\n"
    "\n"
    "    n = math.floor(b / 128)\n"
    "\n"
    "    while n > 127 do\n"
    "        s = s .. string.char(n % 128 + 128)\n"
    "        n = math.floor(n / 128)\n"
    "    end\n"
    "\n"
    "    return s .. string.char(n)\n"
    "end\n"
    "\n"
    "local head, rest = ARGV[2], ARGV[3]\n"
    "\n"
    "head = head == '0' and '\\255wb\\1\\8'\n"
    "       or head == '1' and '\\255wb\\1\\9'\n"
    "       or head == '2' and '\\255wb\\1\\10'\n"
    "       or head == '4' and '\\255wb\\1\\12'\n"
    "\n"
    "if not head or not ARGV[5] or #rest < 2 or not KEYS[3]\n"
    "    or KEYS[4] and not tonumber(ARGV[6])\n"
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
    "local epoch, seq, id, e = '', 0, ''\n"
    "\n"
    "if ARGV[4] == '' then\n"
    "    e = '\\255wb\\1' .. string.char(ARGV[2]) .. rest\n"
    "\n"
    "else\n"
    "    local m = redis.pcall('HMGET', KEYS[2], 'epoch', 'seq', 'stamp')\n"
    "\n"
    "    if m.err then\n"
    "        return m\n"
    "    end\n"
    "\n"
    "    local halves = '^(%x%x%x%x%x%x%x%x)(%x%x%x%x%x%x%x%x)$'\n"
    "    local high, low = (m[1] or ''):match(halves)\n"
    "    local stamp, set, r\n"
    "\n"
    "    epoch, seq = m[1], tonumber(m[2])\n"
    "\n"
    "    -- a position that cannot be read is none\n"
    "\n"
    "    if not high\n"
    "        or not seq or seq < 0 or seq >= 2 ^ 53 - 1 or seq % 1 ~= 0\n"
    "    then\n"
    "        epoch = nil\n"
    "    end\n"
    "\n"
    "    if not epoch or m[3] ~= ARGV[4] then\n"
    "\n"
    "        -- it is the first message, or one of these has changed\n"
    "\n"
    "        local start, count, round, given =\n"
    "            ARGV[4]:match('^((%d+):%d+:%d+:([^:]*):)(%x*)$')\n"
    "\n"
    "        if not start or tonumber(count) == 0 then\n"
    "            return redis.error_reply('ERR not settings')\n"
    "        end\n"
    "\n"
    "        local was = redis.call('HMGET', KEYS[2], 'replid')[1] or ''\n"
    "        local now = was\n"
    "\n"
    "        if not epoch or given == '' or given ~= was:sub(1, 24) then\n"
    "            r = redis.pcall('INFO', 'replication')\n"
    "\n"
    "            if r.err then\n"
    "                return r\n"
    "            end\n"
    "\n"
    "            now = r:match('master_replid:(%x+)') or ''\n"
    "\n"
    "            if given ~= now:sub(1, 24) then\n"
    "                id = now\n"
    "            end\n"
    "        end\n"
    "\n"
    "        if not epoch then\n"
    "\n"
    "            -- a log without its meta is of an epoch that nobody knows\n"
    "\n"
    "            r = redis.pcall('XLEN', KEYS[3])\n"
    "\n"
    "            if type(r) == 'table' then\n"
    "                return r\n"
    "            end\n"
    "\n"
    "            set = {'epoch', ARGV[5], 'replid', now}\n"
    "\n"
    "        elseif was ~= now then\n"
    "\n"
    "            -- another master: it may lack what the last one had\n"
    "\n"
    "            set = {'epoch', ARGV[5], 'replid', now, 'prev', epoch,\n"
    "                   'base', m[2]}\n"
    "\n"
    "            head = '\\255wb\\1' .. string.char(ARGV[2] + 24)\n"
    "            rest = struct.pack('>I4I4', tonumber(high, 16),\n"
    "                               tonumber(low, 16)) .. varint(seq) .. rest\n"
    "        end\n"
    "\n"
    "        if set then\n"
    "            high, low = ARGV[5]:match(halves)\n"
    "\n"
    "            if not high then\n"
    "                return redis.error_reply('ERR not an epoch')\n"
    "            end\n"
    "\n"
    "            if not epoch then\n"
    "                redis.call('DEL', KEYS[2], KEYS[3])\n"
    "                seq = 0\n"
    "            end\n"
    "\n"
    "            epoch = ARGV[5]\n"
    "        end\n"
    "\n"
    "        stamp = round == '' and '' or start .. now:sub(1, 24)\n"
    "    end\n"
    "\n"
    "    seq = seq + 1\n"
    "\n"
    "    e = head .. struct.pack('>I4I4', tonumber(high, 16),\n"
    "                            tonumber(low, 16)) .. varint(seq) .. rest\n"
    "\n"
    "    local text = string.format('%.0f', seq)\n"
    "    local renew = set or stamp and (stamp == '' or stamp ~= m[3])\n"
    "\n"
    "    -- A log that is gone while its meta is not has no time to live.\n"
    "    -- Trimmed it is now and then: a node of it has 16 short messages.\n"
    "\n"
    "    if renew then\n"
    "        r = false\n"
    "\n"
    "    elseif #e < 256 and seq % 16 ~= 0 then\n"
    "        r = redis.pcall('XADD', KEYS[3], 'NOMKSTREAM', text, 'm', e)\n"
    "\n"
    "    else\n"
    "        r = redis.pcall('XADD', KEYS[3], 'NOMKSTREAM', 'MAXLEN', '~',\n"
    "                        ARGV[4]:match('^%d+'), text, 'm', e)\n"
    "    end\n"
    "\n"
    "    if not r then\n"
    "        renew = true\n"
    "        r = redis.pcall('XADD', KEYS[3], 'MAXLEN', '~',\n"
    "                        ARGV[4]:match('^%d+'), text, 'm', e)\n"
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
    "        local count, ttl, life = ARGV[4]:match('^(%d+):(%d+):(%d+):')\n"
    "\n"
    "        redis.call('HSET', KEYS[2], 'seq', text, 'count', count,\n"
    "                   'stamp', stamp or ARGV[4])\n"
    "\n"
    "        for i = 2, 3 do\n"
    "            local left = tonumber(i == 2 and life or ttl)\n"
    "\n"
    "            if left == 0 then\n"
    "                redis.call('PERSIST', KEYS[i])\n"
    "\n"
    "            else\n"
    "\n"
    "                -- until the next stamp it is not set again\n"
    "\n"
    "                left = math.ceil(left * 17 / 16)\n"
    "                redis.call('PEXPIRE', KEYS[i], left)\n"
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
    "    redis.call('SET', KEYS[4], result, 'PX', ARGV[6])\n"
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
    ngx_string("7479b5e494f4fc0322511d87dcb86687b82cbcbc")
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
