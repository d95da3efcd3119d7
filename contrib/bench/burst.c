
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"


/* messages in one write of a publisher */
#define CHUNK          64


/* a subscriber's view of the channel */

typedef struct {
    uint32_t   *next;         /* number that a publisher's next one has */
    uint64_t    count;
    uint64_t    digest;       /* of all that came, in that order */
} view_t;


static void burst_send(unsigned i);
static int burst_agree(void);
static void on_message(conn_t *c, u_char *data, size_t len);
static void on_closed(conn_t *c);


static view_t     *views;
static uint32_t   *sent;      /* by a publisher */
static uint32_t    share;     /* of each publisher */
static uint64_t    total;
static unsigned    done;      /* subscribers who have all */
static u_char     *out;
static faults_t    faults;

static const handlers_t  handlers = {
    .message = on_message,
    .closed = on_closed
};


/*
 * Publishers on the first host write as fast as their sockets take it, until
 * each has sent its share of -c messages.  Every subscriber on every host is
 * owed all of them, those of a publisher in their order, and those of several
 * publishers in the same order as every other subscriber.
 */

int
workload_burst(void)
{
    int        bad;
    double     wall;
    unsigned   i;
    uint64_t   begun, progress, published;

    fleet_open(options.publishers, 0, &handlers, NULL);

    share = options.count / fleet_publishers;
    total = (uint64_t) share * fleet_publishers;

    views = calloc(fleet_subscribers, sizeof(view_t));
    sent = calloc(fleet_publishers, sizeof(uint32_t));
    out = malloc(fleet_room(CHUNK));

    if (views == NULL || sent == NULL || out == NULL || share == 0) {
        die("no memory, or no messages");
    }

    for (i = 0; i < fleet_subscribers; i++) {
        views[i].next = calloc(fleet_publishers, sizeof(uint32_t));

        if (views[i].next == NULL) {
            die("no memory");
        }
    }

    fleet_begin();

    begun = progress = now_ns();
    published = 0;

    while (done < fleet_subscribers) {

        for (i = 0, bad = 0; i < fleet_publishers; i++) {
            burst_send(i);
            bad |= sent[i] < share || loop_conn(i)->rest;
        }

        if (!bad && !published) {
            published = now_ns();
        }

        if (!loop_goes_on(bad ? 1 : 100, &progress)) {
            break;
        }
    }

    wall = now_ns() - begun;

    fleet_end();

    for (i = 0; i < fleet_subscribers; i++) {
        faults.lost += total - views[i].count;
    }

    if (faults.lost == 0 && !burst_agree()) {
        faults.order++;
    }

    printf("workload=burst hosts=%u publishers=%u clients=%u size=%u"
           " messages=%llu seconds=%.3f sent_s=%.3f rate=%.0f",
           options.nhosts, fleet_publishers, fleet_subscribers, options.size,
           (unsigned long long) total, wall / SEC,
           published ? (double) (published - begun) / SEC : 0,
           total / (wall / SEC));

    fleet_print(total);
    bad = faults_print(&faults);
    printf("\n");

    return bad;
}


static void
burst_send(unsigned i)
{
    u_char    *p;
    conn_t    *c;
    unsigned   n;

    c = loop_conn(i);

    if (c->rest || c->state != CONN_OPEN || sent[i] == share) {
        return;
    }

    n = share - sent[i];
    n = n < CHUNK ? n : CHUNK;

    p = fleet_frames(out, n, now_ns(), i, sent[i]);
    sent[i] += n;

    conn_send(c, out, p - out);
}


static int
burst_agree(void)
{
    unsigned  i;

    for (i = 1; i < fleet_subscribers; i++) {
        if (views[i].digest != views[0].digest) {
            return 0;
        }
    }

    return 1;
}


static void
on_message(conn_t *c, u_char *data, size_t len)
{
    view_t    *v;
    uint32_t   group, seq;
    uint64_t   time;

    if (c->id < fleet_publishers) {
        fleet_answer(data, len);
        return;
    }

    if (payload_read(data, len, &time, &group, &seq) != 0
        || group >= fleet_publishers
        || seq >= sent[group])
    {
        faults.corrupt++;
        return;
    }

    v = &views[c->id - fleet_publishers];

    if (seq < v->next[group]) {
        faults.duplicate++;
        return;
    }

    if (seq > v->next[group]) {
        faults.order++;
    }

    v->next[group] = seq + 1;
    v->digest = v->digest * 0x9e3779b97f4a7c15 + ((uint64_t) group << 32)
                + seq + 1;

    if (++v->count == total) {
        done++;
    }
}


static void
on_closed(conn_t *c)
{
    (void) c;

    faults.closed++;
}
