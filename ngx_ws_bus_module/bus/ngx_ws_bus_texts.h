
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _NGX_WS_BUS_TEXTS_H_INCLUDED_
#define _NGX_WS_BUS_TEXTS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * Texts that all worker processes share and that one of them at a time goes
 * to fetch.  A process may be killed at any moment: a new text is written
 * beside the current one, and whoever was fetching is missed by its pid or by
 * its deadline.  Times are ngx_ws_bus_time()'s.
 */


#define NGX_WS_BUS_TEXT_ID_LEN     20

/* after a failure: the first delay, the longest; microseconds */
#define NGX_WS_BUS_TEXT_DELAY      1000000
#define NGX_WS_BUS_TEXT_DELAY_MAX  60000000


typedef struct {
    u_char               id[NGX_WS_BUS_TEXT_ID_LEN];
    uint64_t             generation;   /* newest that has it; 0: free */

    uint64_t             version;      /* 0: none yet; data[version & 1] */
    size_t               len[2];
    u_char              *data[2];

    uint64_t             answers;      /* fetches that have ended */
    uint64_t             next;         /* when to fetch again */
    uint64_t             asked;        /* ahead of time, last */
    ngx_uint_t           failures;     /* in a row */

    ngx_pid_t            fetcher;      /* 0: nobody */
    uint64_t             deadline;     /* of the fetcher */
} ngx_ws_bus_text_t;


typedef struct {
    uint64_t             generation;   /* newest that was configured */
    uint64_t             current;      /* newest that has had a process */
    ngx_uint_t           n;
    ngx_ws_bus_text_t    texts[1];
} ngx_ws_bus_texts_sh_t;


/*
 * The texts as one configuration knows them.
 */

typedef struct {
    ngx_shm_zone_t          *shm_zone;
    ngx_slab_pool_t         *shpool;
    ngx_ws_bus_texts_sh_t   *sh;
    uint64_t                 generation;
    size_t                   max;      /* bytes of a text */
    ngx_uint_t               n;        /* texts there is room for */
    ngx_array_t              wanted;   /* of ngx_ws_bus_text_ref_t * */
} ngx_ws_bus_texts_t;


/*
 * A text as one configuration knows it; "text" is set by the zone's init.
 */

typedef struct {
    u_char               id[NGX_WS_BUS_TEXT_ID_LEN];
    ngx_ws_bus_text_t   *text;
} ngx_ws_bus_text_ref_t;


/*
 * What was seen of a text; to be zeroed before.
 */

typedef struct {
    uint64_t             version;
    uint64_t             answers;
    uint64_t             next;
    unsigned             fetching:1;   /* by a process that lives */
} ngx_ws_bus_text_state_t;


/*
 * The size of a zone for n texts of at most "max" bytes, and for how many
 * there is room: the size stays the same while n grows a little.
 */
size_t ngx_ws_bus_texts_size(size_t max, ngx_uint_t *n);

/*
 * ngx_shm_zone_init_pt: shm_zone->data is a ngx_ws_bus_texts_t.  Runs in the
 * master, and does not wait for a mutex that a dead worker has; nothing is
 * allocated later.
 */
ngx_int_t ngx_ws_bus_texts_init(ngx_shm_zone_t *shm_zone, void *data);

/*
 * A worker process begins.  The first one of a new configuration makes all
 * texts due: what they are fetched from may be another one now.
 */
void ngx_ws_bus_texts_enter(ngx_ws_bus_texts_t *texts);

/*
 * What is known of a text.
 */
void ngx_ws_bus_text_look(ngx_ws_bus_texts_t *texts,
    ngx_ws_bus_text_ref_t *ref, ngx_ws_bus_text_state_t *state);

/*
 * Copies the current text to dst, "max" bytes; returns its length and sets
 * its version, or 0 if there is none.
 */
size_t ngx_ws_bus_text_copy(ngx_ws_bus_texts_t *texts,
    ngx_ws_bus_text_ref_t *ref, u_char *dst, uint64_t *version);

/*
 * This process wants to fetch, for at most "time" microseconds: since it is
 * due with cooldown 0, otherwise ahead of time, but not twice within the
 * cooldown.
 *
 * NGX_OK        it is the one, and has to end it
 * NGX_AGAIN     another one is at it
 * NGX_DECLINED  not now: it is not due, has just failed or been asked for, or
 *               is a newer configuration's
 */
ngx_int_t ngx_ws_bus_text_begin(ngx_ws_bus_texts_t *texts,
    ngx_ws_bus_text_ref_t *ref, uint64_t time, uint64_t cooldown);

/*
 * The fetch has ended with this text, which is due again after "time"
 * microseconds.  NGX_OK, NGX_DONE if it is the same as before, NGX_DECLINED if
 * it came too late.  *recovered is set after failures.
 */
ngx_int_t ngx_ws_bus_text_set(ngx_ws_bus_texts_t *texts,
    ngx_ws_bus_text_ref_t *ref, u_char *data, size_t len, uint64_t time,
    ngx_uint_t *recovered);

/*
 * The fetch has failed; the next one is delayed, the text stays.  Returns the
 * number of failures in a row, 0 if it came too late.
 */
ngx_uint_t ngx_ws_bus_text_fail(ngx_ws_bus_texts_t *texts,
    ngx_ws_bus_text_ref_t *ref);

/*
 * The fetch was given up, and says nothing about what is fetched from.
 */
void ngx_ws_bus_text_release(ngx_ws_bus_texts_t *texts,
    ngx_ws_bus_text_ref_t *ref);


#endif /* _NGX_WS_BUS_TEXTS_H_INCLUDED_ */
