#!lua name=ws_bus


local function ws_bus_publish(KEYS, ARGV)
    local function varint(n)
        local a = n % 128
        local b = (n - a) / 128

        if b == 0 then
            return string.char(a)
        end

        if b < 128 then
            return string.char(a + 128, b)
        end

        local s = string.char(a + 128, b % 128 + 128)

        n = math.floor(b / 128)

        while n > 127 do
            s = s .. string.char(n % 128 + 128)
            n = math.floor(n / 128)
        end

        return s .. string.char(n)
    end

    local head, rest = ARGV[2], ARGV[3]

    head = head == '0' and '\255wb\1\8'
           or head == '1' and '\255wb\1\9'
           or head == '2' and '\255wb\1\10'
           or head == '4' and '\255wb\1\12'

    if not head or not ARGV[5] or #rest < 2 or not KEYS[3]
        or KEYS[4] and not tonumber(ARGV[6])
        or ARGV[1] ~= 'PUBLISH' and ARGV[1] ~= 'SPUBLISH'
    then
        return redis.error_reply('ERR not a message to be published')
    end

    if KEYS[4] then
        local r = redis.pcall('GET', KEYS[4])

        if r then
            if r.err then
                return r
            end

            local epoch, seq, n = r:match('^(%x*):(%d+):(%d+)$')

            if not n then
                return redis.error_reply('ERR not a result: ' .. KEYS[4])
            end

            return {0, tonumber(seq), epoch, tonumber(n), ''}
        end
    end

    local epoch, seq, id, e = '', 0, ''

    if ARGV[4] == '' then
        e = '\255wb\1' .. string.char(ARGV[2]) .. rest

    else
        local m = redis.pcall('HMGET', KEYS[2], 'epoch', 'seq', 'stamp')

        if m.err then
            return m
        end

        local halves = '^(%x%x%x%x%x%x%x%x)(%x%x%x%x%x%x%x%x)$'
        local high, low = (m[1] or ''):match(halves)
        local stamp, set, r

        epoch, seq = m[1], tonumber(m[2])

        -- a position that cannot be read is none

        if not high
            or not seq or seq < 0 or seq >= 2 ^ 53 - 1 or seq % 1 ~= 0
        then
            epoch = nil
        end

        if not epoch or m[3] ~= ARGV[4] then

            -- it is the first message, or one of these has changed

            local start, count, round, given =
                ARGV[4]:match('^((%d+):%d+:%d+:([^:]*):)(%x*)$')

            if not start or tonumber(count) == 0 then
                return redis.error_reply('ERR not settings')
            end

            local was = redis.call('HMGET', KEYS[2], 'replid')[1] or ''
            local now = was

            if not epoch or given == '' or given ~= was:sub(1, 24) then
                r = redis.pcall('INFO', 'replication')

                if r.err then
                    return r
                end

                now = r:match('master_replid:(%x+)') or ''

                if given ~= now:sub(1, 24) then
                    id = now
                end
            end

            if not epoch then

                -- a log without its meta is of an epoch that nobody knows

                r = redis.pcall('XLEN', KEYS[3])

                if type(r) == 'table' then
                    return r
                end

                set = {'epoch', ARGV[5], 'replid', now}

            elseif was ~= now then

                -- another master: it may lack what the last one had

                set = {'epoch', ARGV[5], 'replid', now, 'prev', epoch,
                       'base', m[2]}

                -- those before the last one are one further away

                local names = {'prev', 'base'}

                for i = 2, 8 do
                    names[2 * i - 1] = 'prev' .. i
                    names[2 * i] = 'base' .. i
                end

                local old = redis.call('HMGET', KEYS[2], unpack(names))

                for i = 1, 14 do
                    if not old[i] then
                        break
                    end

                    set[#set + 1] = names[i + 2]
                    set[#set + 1] = old[i]
                end

                head = '\255wb\1' .. string.char(ARGV[2] + 24)
                rest = struct.pack('>I4I4', tonumber(high, 16),
                                   tonumber(low, 16)) .. varint(seq) .. rest
            end

            if set then
                high, low = ARGV[5]:match(halves)

                if not high then
                    return redis.error_reply('ERR not an epoch')
                end

                if not epoch then
                    redis.call('DEL', KEYS[2], KEYS[3])
                    seq = 0
                end

                epoch = ARGV[5]
            end

            stamp = round == '' and '' or start .. now:sub(1, 24)
        end

        seq = seq + 1

        e = head .. struct.pack('>I4I4', tonumber(high, 16),
                                tonumber(low, 16)) .. varint(seq) .. rest

        local text = string.format('%.0f', seq)
        local renew = set or stamp and (stamp == '' or stamp ~= m[3])

        -- A log that is gone while its meta is not has no time to live.
        -- Trimmed it is now and then: a node of it has 16 short messages.

        if renew then
            r = false

        elseif #e < 256 and seq % 16 ~= 0 then
            r = redis.pcall('XADD', KEYS[3], 'NOMKSTREAM', text, 'm', e)

        else
            r = redis.pcall('XADD', KEYS[3], 'NOMKSTREAM', 'MAXLEN', '~',
                            ARGV[4]:match('^%d+'), text, 'm', e)
        end

        if not r then
            renew = true
            r = redis.pcall('XADD', KEYS[3], 'MAXLEN', '~',
                            ARGV[4]:match('^%d+'), text, 'm', e)
        end

        if r.err then
            return r
        end

        if set then
            redis.call('HSET', KEYS[2], unpack(set))
        end

        if renew then
            local count, ttl, life = ARGV[4]:match('^(%d+):(%d+):(%d+):')

            redis.call('HSET', KEYS[2], 'seq', text, 'count', count,
                       'stamp', stamp or ARGV[4])

            for i = 2, 3 do
                local left = tonumber(i == 2 and life or ttl)

                if left == 0 then
                    redis.call('PERSIST', KEYS[i])

                else

                    -- until the next stamp it is not set again

                    left = math.ceil(left * 17 / 16)
                    redis.call('PEXPIRE', KEYS[i], left)
                end
            end

        else
            redis.call('HSET', KEYS[2], 'seq', text)
        end
    end

    local n = redis.call(ARGV[1], KEYS[1], e)

    if KEYS[4] then
        local result = string.format('%s:%.0f:%d', epoch, seq, n)

        redis.call('SET', KEYS[4], result, 'PX', ARGV[6])
    end

    return {1, seq, epoch, n, id}
end

redis.register_function('ws_bus_publish', ws_bus_publish)


local function ws_bus_history(KEYS, ARGV)
    local function known(epoch, seq)
        seq = tonumber(seq)

        return epoch and #epoch == 16 and epoch:find('^%x+$')
               and seq and seq >= 0 and seq < 2 ^ 53 - 1 and seq % 1 == 0
    end

    local function replid()
        local r = redis.pcall('INFO', 'replication')

        if r.err then
            return nil, r
        end

        return r:match('master_replid:(%x+)') or ''
    end

    local function extend(key, ttl)
        local left = redis.call('PTTL', key)

        if left >= 0 and left < ttl then
            redis.call('PEXPIRE', key, ttl)
        end
    end

    local after, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
    local bytes, ttl = tonumber(ARGV[3]), tonumber(ARGV[6])

    if not (after and limit and bytes and ttl) then
        return redis.error_reply('ERR not a history to be asked for')
    end

    local m = redis.pcall('HMGET', KEYS[1], 'epoch', 'seq', 'prev', 'base',
                          'count', 'prev2')

    if m.err then
        return m
    end

    local epoch, seq = m[1], tonumber(m[2])

    if not known(epoch, seq) then
        if ARGV[4] == '' then
            return {'', 0, '', 0, 1, {}, {}}
        end

        local r = redis.pcall('XLEN', KEYS[2])

        if type(r) == 'table' then
            return r
        end

        local id = ARGV[5]

        if id == '' then
            id, r = replid()

            if not id then
                return r
            end
        end

        epoch, seq, m = ARGV[4], 0, {}

        if not known(epoch, seq) then
            return redis.error_reply('ERR not an epoch')
        end

        redis.call('DEL', KEYS[1], KEYS[2])
        redis.call('HSET', KEYS[1], 'epoch', epoch, 'seq', 0, 'replid', id)

        if ttl > 0 then
            redis.call('PEXPIRE', KEYS[1], ttl)
        end

    elseif ttl > 0 then
        extend(KEYS[1], ttl)
    end

    local r = redis.pcall('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)

    if r.err then
        return r
    end

    local first = r[1] and tonumber(r[1][1]:match('^%d+')) or seq + 1

    -- the log holds up to a node of the stream more than what is kept

    first = math.max(first, seq + 1 - (tonumber(m[5]) or seq))
    first = math.min(first, seq + 1)

    local older = {}

    for i = 2, m[6] and 8 or 0 do
        r = redis.call('HMGET', KEYS[1], 'prev' .. i, 'base' .. i)

        if not r[1] or not tonumber(r[2]) then
            break
        end

        older[#older + 1] = r[1]
        older[#older + 1] = tonumber(r[2])
    end

    local out, size = {}, 0

    if after < 0 then
        after = seq - limit
    end

    after = math.max(after, first - 1)

    while after < seq and #out < limit and size < bytes do
        r = redis.call('XRANGE', KEYS[2], string.format('%.0f', after + 1),
                       string.format('%.0f', seq),
                       'COUNT', math.min(limit - #out, 32))

        for i = 1, #r do
            if size >= bytes then
                break
            end

            out[#out + 1] = r[i][2][2]
            size = size + #r[i][2][2]
            after = tonumber(r[i][1]:match('^%d+'))
        end

        if #r == 0 then
            break
        end
    end

    return {epoch, seq, m[3] or '', tonumber(m[4] or 0), first, out, older}
end

redis.register_function('ws_bus_history', ws_bus_history)


local function ws_bus_position(KEYS, ARGV)
    local function known(epoch, seq)
        seq = tonumber(seq)

        return epoch and #epoch == 16 and epoch:find('^%x+$')
               and seq and seq >= 0 and seq < 2 ^ 53 - 1 and seq % 1 == 0
    end

    local function extend(key, ttl)
        local left = redis.call('PTTL', key)

        if left >= 0 and left < ttl then
            redis.call('PEXPIRE', key, ttl)
        end
    end

    local out, ttl = {}, tonumber(ARGV[1])

    if not ttl then
        return redis.error_reply('ERR not a time to live')
    end

    for i, key in ipairs(KEYS) do
        local m = redis.pcall('HMGET', key, 'epoch', 'seq', 'prev', 'base')

        if known(m[1], m[2]) then
            out[4 * i - 3] = m[1]
            out[4 * i - 2] = tonumber(m[2])
            out[4 * i - 1] = m[3] or ''
            out[4 * i] = tonumber(m[4] or 0)

            if ttl > 0 then
                extend(key, ttl)
            end

        else
            out[4 * i - 3] = ''
            out[4 * i - 2] = 0
            out[4 * i - 1] = ''
            out[4 * i] = 0
        end
    end

    return out
end

redis.register_function('ws_bus_position', ws_bus_position)


local function ws_bus_delete(KEYS, ARGV)
    local m = redis.pcall('HLEN', KEYS[2])

    if type(m) == 'table' then
        return m
    end

    local n = redis.pcall('XLEN', KEYS[3])

    if type(n) == 'table' then
        return n
    end

    if redis.call('DEL', KEYS[2], KEYS[3]) > 0 then
        m = 1
    end

    return {m, redis.call(ARGV[1], KEYS[1], ARGV[2])}
end

redis.register_function('ws_bus_delete', ws_bus_delete)


-- For people and shell scripts: publishes a text, kept with history.
--
-- KEYS  channel, meta, log
-- ARGV  text, number of messages that are kept (100), for how many seconds
--       (86400)

local function ws_bus_post(KEYS, ARGV)
    local now = redis.call('TIME')
    local ms = now[1] * 1000 + math.floor(now[2] / 1000)
    local age = (tonumber(ARGV[3]) or 86400) * 1000

    local function varint(n)
        local s = ''

        while n > 127 do
            s = s .. string.char(n % 128 + 128)
            n = math.floor(n / 128)
        end

        return s .. string.char(n)
    end

    local settings = string.format('%s:%.0f:%.0f::', ARGV[2] or '100', age,
                                   age + 86400000)
    local epoch = redis.sha1hex(now[1] .. '.' .. now[2] .. KEYS[1])

    return ws_bus_publish(KEYS, {
        'PUBLISH', '0', varint(ms) .. varint(age) .. ARGV[1], settings,
        epoch:sub(1, 16)
    })
end

redis.register_function('ws_bus_post', ws_bus_post)
