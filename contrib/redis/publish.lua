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

local function raw(s)
    return struct.pack('>I4I4', tonumber(s:sub(1, 8), 16),
                       tonumber(s:sub(9), 16))
end

local function varint(n)
    local s = ''

    while n > 127 do
        s = s .. string.char(n % 128 + 128)
        n = math.floor(n / 128)
    end

    return s .. string.char(n)
end

local e, count = ARGV[2], tonumber(ARGV[3])
local magic, w, b, version, flags = e:byte(1, 5)

if magic ~= 255 or w ~= 119 or b ~= 98 or version ~= 1
    or not flags or flags > 7 or not count or not ARGV[8] or not KEYS[3]
    or KEYS[4] and not tonumber(ARGV[9])
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

local epoch, seq, id = '', 0, ''

if count > 0 then
    local m = redis.pcall('HMGET', KEYS[2], 'epoch', 'seq', 'replid',
                          'stamp')

    if m.err then
        return m
    end

    local renew = m[4] ~= ARGV[8] or m[4] == ''
    local prev, set, r

    epoch, seq = m[1], tonumber(m[2])

    if renew and not (tonumber(ARGV[4]) and tonumber(ARGV[5])) then
        return redis.error_reply('ERR not a time to live')
    end

    local lost = not known(epoch, seq)

    if lost or m[3] ~= ARGV[7] then
        id, r = replid()

        if r then
            return r
        end

        if not known(ARGV[6], 0) then
            return redis.error_reply('ERR not an epoch')
        end

        if lost then

            -- a log without its meta is of an epoch that nobody knows

            r = redis.pcall('XLEN', KEYS[3])

            if type(r) == 'table' then
                return r
            end

            redis.call('DEL', KEYS[2], KEYS[3])

            epoch, seq, renew = ARGV[6], 0, true
            set = {'epoch', epoch, 'replid', id}

        elseif m[3] ~= id then

            -- another master: it may lack what the last one had

            prev, epoch = epoch, ARGV[6]
            set = {'epoch', epoch, 'replid', id, 'prev', prev,
                   'base', m[2]}
        end

        if id == ARGV[7] then
            id = ''
        end
    end

    seq = seq + 1

    local place = raw(epoch) .. varint(seq)

    if prev then
        flags = flags + 16
        place = place .. raw(prev) .. varint(seq - 1)
    end

    e = '\255wb\1' .. string.char(flags + 8) .. place .. e:sub(6)

    local text = string.format('%.0f', seq)
    local entry = text .. '-0'

    -- a log that is gone while its meta is not has no time to live

    r = not renew and redis.pcall('XADD', KEYS[3], 'NOMKSTREAM',
                                  'MAXLEN', '~', ARGV[3], entry, 'm', e)

    if not r then
        renew = true
        r = redis.pcall('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], entry,
                        'm', e)
    end

    if r.err then
        return r
    end

    if set then
        redis.call('HSET', KEYS[2], unpack(set))
    end

    if renew then
        redis.call('HSET', KEYS[2], 'seq', text, 'count', ARGV[3],
                   'stamp', ARGV[8])

        for i = 2, 3 do
            local ttl = tonumber(ARGV[7 - i])

            if ttl == 0 then
                redis.call('PERSIST', KEYS[i])

            else

                -- until the next stamp it is not set again

                redis.call('PEXPIRE', KEYS[i], math.ceil(ttl * 17 / 16))
            end
        end

    else
        redis.call('HSET', KEYS[2], 'seq', text)
    end
end

local n = redis.call(ARGV[1], KEYS[1], e)

if KEYS[4] then
    local result = string.format('%s:%.0f:%d', epoch, seq, n)

    redis.call('SET', KEYS[4], result, 'PX', ARGV[9])
end

return {1, seq, epoch, n, id}
