
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_LOG_H_INCLUDED_
#define _NGX_WS_BUS_LOG_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * The circular log.  Positions are bytes ever written: they only grow, and a
 * record's place in memory is its position modulo the size.  [tail, head)
 * is intact.  There is one appender at a time (the zone's mutex), and any
 * number of readers that take no lock: they copy first and then ask whether
 * the tail has passed what they copied.
 *
 * An appender moves the tail, writes, and moves the head last, so a process
 * killed at any instruction leaves no torn record behind.
 */


#define NGX_WS_BUS_LOG_NONE      ((uint64_t) -1)

#define NGX_WS_BUS_REC_FILLER    0   /* closes a lap */
#define NGX_WS_BUS_REC_MESSAGE   1
#define NGX_WS_BUS_REC_DELETED   2   /* the channel was deleted */
#define NGX_WS_BUS_REC_JOINED    3   /* a member, its name is the payload */
#define NGX_WS_BUS_REC_LEFT      4
#define NGX_WS_BUS_REC_REVOKED   5   /* tokens; of no channel */

/* of a zone that spans hosts */
#define NGX_WS_BUS_REC_LOST      6   /* what is up to a seq never comes */
#define NGX_WS_BUS_REC_RESET     7   /* another epoch */
#define NGX_WS_BUS_REC_LIVE      8

/* what clients may be told of */
#define ngx_ws_bus_rec_is_told(rec)                                           \
    ((rec)->type == NGX_WS_BUS_REC_MESSAGE                                    \
     || (rec)->type == NGX_WS_BUS_REC_JOINED                                  \
     || (rec)->type == NGX_WS_BUS_REC_LEFT)

#define NGX_WS_BUS_REC_BINARY    0x01
#define NGX_WS_BUS_REC_JSON      0x02   /* text, known to be valid JSON */
#define NGX_WS_BUS_REC_STRING    0x04   /* text, not to be taken for JSON */

#define ngx_ws_bus_log_align(n)  (((n) + 7) & ~((uint64_t) 7))


typedef struct {
    uint64_t  pos;       /* this record's position */
    uint64_t  prev;      /* previous kept record of the channel, or NONE */
    uint64_t  channel;   /* id */
    uint64_t  seq;       /* 0: not kept */
    uint64_t  time;      /* CLOCK_MONOTONIC, microseconds */
    uint32_t  size;      /* header, payload and padding */
    uint32_t  len;       /* payload */
    uint32_t  type;
    uint32_t  flags;
} ngx_ws_bus_record_t;


typedef struct {
    uint64_t  head;
    uint64_t  tail;
    uint64_t  size;      /* a multiple of 8 */
    u_char   *data;
} ngx_ws_bus_log_t;


/*
 * Makes an empty log of "size" bytes at "data", which is 8-aligned.
 */
void ngx_ws_bus_log_init(ngx_ws_bus_log_t *log, u_char *data, size_t size);

/*
 * The longest payload that fits into a log of "size" bytes.
 */
size_t ngx_ws_bus_log_max_payload(size_t size);

/*
 * Makes room for a record with "len" bytes of payload, forgetting the oldest
 * ones, and returns where it goes: pos, size and len are set, the payload
 * follows the header.  Nothing is visible before ngx_ws_bus_log_commit().
 * NULL if the log is smaller than such a record.  The caller holds the mutex.
 */
ngx_ws_bus_record_t *ngx_ws_bus_log_reserve(ngx_ws_bus_log_t *log,
    size_t len);

/*
 * Publishes the record just reserved.  The caller holds the mutex.
 */
void ngx_ws_bus_log_commit(ngx_ws_bus_log_t *log, ngx_ws_bus_record_t *rec);

/*
 * The current end, to be read before *pos catches up with it.
 */
uint64_t ngx_ws_bus_log_head(ngx_ws_bus_log_t *log);

/*
 * Reads the header of the next record at *pos, skipping fillers, without a
 * lock.  *payload points into the log: whoever copies from it asks
 * ngx_ws_bus_log_intact() afterwards, and then sets *pos += rec->size.
 *
 * NGX_OK        *rec is a true copy, rec->pos == *pos
 * NGX_DONE      *pos has reached head
 * NGX_DECLINED  the reader was lapped: *pos is before the tail
 */
ngx_int_t ngx_ws_bus_log_read(ngx_ws_bus_log_t *log, uint64_t *pos,
    uint64_t head, ngx_ws_bus_record_t *rec, u_char **payload);

/*
 * 1 if everything from pos on is still intact, so that what was copied from
 * there before this call is true.
 */
ngx_uint_t ngx_ws_bus_log_intact(ngx_ws_bus_log_t *log, uint64_t pos);


#endif /* _NGX_WS_BUS_LOG_H_INCLUDED_ */
