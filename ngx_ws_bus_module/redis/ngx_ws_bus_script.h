
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_SCRIPT_H_INCLUDED_
#define _NGX_WS_BUS_SCRIPT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * Lua scripts, for EVALSHA and EVAL on Redis 6.2 and later.  Keys are those
 * of ngx_ws_bus_redis_key.h.  "epoch" is 16 lower case hexadecimal digits;
 * what a caller gives as a new one is random, and never given twice: it is
 * used if the channel needs one.  "replid" is master_replid of INFO
 * replication, read by the caller on this connection once the server's role
 * was master, and not long before; if empty, the script asks by itself, which
 * costs more.
 *
 * An error of a script is a mistake of the caller, a key of another type, or
 * what Redis refuses (OOM, READONLY, NOPERM, ...).  Nothing has been done
 * then, but for a PUBLISH that is refused or an SPUBLISH before Redis 7: such
 * a message is in the log.  docs/redis.md has the reasons.
 */

typedef struct {
    ngx_str_t     name;      /* of its function in contrib/redis */
    ngx_str_t     text;
    ngx_str_t     sha1;      /* 40 hexadecimal digits, for EVALSHA */
} ngx_ws_bus_script_t;


/*
 * Publishes, and keeps the message unless the settings are empty.
 *
 * KEYS  channel, meta, log, once (the fourth only with an idempotency key)
 * ARGV  1 "PUBLISH" or "SPUBLISH"
 *       2 flags of the envelope, in decimal: one of BINARY, JSON, STRING or 0
 *       3 what the envelope has behind its place: time, age, payload
 *       4 settings "count:ttl:life:round:id", or empty: it is not kept
 *       5 a new epoch
 *       6 ttl of once, ms (only with an idempotency key)
 *
 * settings  count  of messages that are kept
 *           ttl    of the log, ms, from the last message on, and up to a
 *                  sixteenth more; 0: forever
 *           life   the same for meta, longer than the log's
 *           round  the sixteenth of the ttl that it is now, or empty
 *           id     the first 24 digits of replid, or empty
 *
 * While they are the last message's, all of it is taken as set and as it was,
 * so that the text of the settings is compared once; otherwise, or if round
 * or id are empty, it costs more.
 *
 * answer  an array: 1, or 0 if the rest is the answer to an earlier call with
 *         the same idempotency key; seq (0: not kept); epoch (empty: not
 *         kept); receivers of the PUBLISH; replid if it is not the caller's,
 *         else empty: that is outdated, and it uses this one from now on
 */
extern const ngx_ws_bus_script_t  ngx_ws_bus_script_publish;

/*
 * The position and messages of a channel, at one moment.  With a new epoch it
 * writes where a channel is unknown, so that a subscriber has a position to
 * resume from before the first message; without one it only reads.
 *
 * KEYS  meta, log
 * ARGV  1 after: the newest seq that is not wanted; -1: the newest messages
 *       2 limit, the number of messages; 0: the position only
 *       3 bytes: no further message once there are as many
 *       4 a new epoch, or empty
 *       5 replid, used only if the channel is unknown
 *       6 ttl of meta, ms, from now on, if it were to live shorter; 0: it
 *         stays as it is
 *
 * answer  an array: epoch (empty: the channel is unknown), seq, prev (empty:
 *         none), base, first: seq of the oldest message that is kept, seq + 1
 *         if none is; an array of envelopes, in order, beginning with the
 *         larger of after + 1 and first; and an array of epochs before prev,
 *         each with its base, newest first.  There are more messages if the
 *         last one's seq is smaller than seq.  Those up to base are of
 *         earlier epochs, which this one continues: their places are of this
 *         one now
 */
extern const ngx_ws_bus_script_t  ngx_ws_bus_script_history;

/*
 * The positions of many channels; in a cluster all are of one slot.
 *
 * KEYS  meta of each
 * ARGV  1 ttl of meta, as above
 *
 * answer  an array with four elements for each key: epoch (empty: the channel
 *         is unknown, or the key is of another type), seq, prev (empty:
 *         none), base.  Whoever is of an epoch before prev asks for the
 *         history
 */
extern const ngx_ws_bus_script_t  ngx_ws_bus_script_position;

/*
 * Forgets a channel; what is published or subscribed next begins a new epoch.
 *
 * KEYS  channel, meta, log
 * ARGV  1 "PUBLISH" or "SPUBLISH"
 *       2 envelope with DELETED
 *
 * answer  an array: 1, or 0 if there was nothing to forget; receivers of the
 *         PUBLISH, which is done in both cases
 */
extern const ngx_ws_bus_script_t  ngx_ws_bus_script_delete;


#endif /* _NGX_WS_BUS_SCRIPT_H_INCLUDED_ */
