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
