
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#define _GNU_SOURCE

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wsload.h"


/* enough that every worker holds some of them */
#define PROBES        32

/* how many probes may be under way: 4 s of them */
#define LEDGER        4096


/*
 * How much a broadcast to a crowd delays the messages of other channels.
 * The crowd is a process of low priority, because real clients would not
 * take the server's CPU; the prober has a high one, so that its clock tells
 * of the server and not of the scheduler.  A probe goes to a channel whose
 * only subscriber is its sender, about every millisecond, whether or not
 * the earlier ones have come back.
 */

typedef struct {
    volatile int       ready;
    volatile int       go;
    volatile int       stop;
    volatile int       busy;         /* a broadcast is being delivered */
    unsigned           broadcasts;
    faults_t           faults;
    histogram_t        spread;       /* from publishing to the last client */
} crowd_t;


static void crowd_run(void);
static void crowd_message(conn_t *c, u_char *data, size_t len);
static void crowd_channel(unsigned i, char *name);
static void probe_run(void);
static void probe_message(conn_t *c, u_char *data, size_t len);
static void probe_channel(unsigned i, char *name);
static void on_closed(conn_t *c);


static crowd_t      *crowd;
static faults_t     *faults;
static int           family;
static unsigned      owed;
static unsigned      under_way;
static unsigned      turn;
static uint32_t      seqs[PROBES];
static u_char        ledger[PROBES][LEDGER / PROBES];
static u_char       *out;
static histogram_t   quiet, all, during;

static const handlers_t  crowd_handlers = {
    .message = crowd_message,
    .closed = on_closed
};

static const handlers_t  probe_handlers = {
    .message = probe_message,
    .closed = on_closed
};


int
workload_delay(void)
{
    int                 bad, fifo;
    pid_t               pid;
    struct sched_param  param;

    family = getpid();
    payload_init();

    out = malloc(options.size + 16);
    crowd = mmap(NULL, sizeof(crowd_t), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (out == NULL || crowd == MAP_FAILED) {
        die("no memory");
    }

    pid = fork();

    if (pid == -1) {
        die("fork() failed");
    }

    if (pid == 0) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) setpriority(PRIO_PROCESS, 0, 19);
        crowd_run();
        _exit(0);
    }

    while (!crowd->ready) {
        if (waitpid(pid, &bad, WNOHANG) != 0) {
            die("the crowd gave up");
        }

        usleep(10000);
    }

    param.sched_priority = 1;
    fifo = sched_setscheduler(0, SCHED_FIFO, &param) == 0;

    probe_run();

    if (waitpid(pid, &bad, 0) != pid || bad != 0) {
        die("the crowd gave up");
    }

    faults->closed += crowd->faults.closed;
    faults->corrupt += crowd->faults.corrupt;
    faults->duplicate += crowd->faults.duplicate;
    faults->order += crowd->faults.order;
    faults->lost += crowd->faults.lost;

    printf("workload=delay clients=%u size=%u broadcasts=%u probes=%llu"
           " during=%llu realtime=%d spread_p50_us=%.1f",
           options.clients, options.size, crowd->broadcasts,
           (unsigned long long) all.total, (unsigned long long) during.total,
           fifo, histogram_at(&crowd->spread, 0.5));

    histogram_print(&quiet, "quiet_");
    histogram_print(&all, "all_");
    histogram_print(&during, "during_");
    bad = faults_print(faults);
    printf("\n");

    return bad;
}


static void
crowd_run(void)
{
    u_char    *p;
    uint32_t   seq;
    uint64_t   now, due, sent;

    faults = &crowd->faults;
    seq = 0;

    loop_init(options.clients, 2, options.size + 16, &crowd_handlers);
    loop_open(0, options.clients, 64, crowd_channel);

    crowd->ready = 1;

    while (!crowd->go) {
        (void) loop_turn(10);
    }

    due = now_ns();
    sent = 0;

    while (!crowd->stop || owed) {
        now = now_ns();

        if (owed == 0 && !crowd->stop && now >= due) {
            due = now + SEC / options.rate;
            sent = now;
            owed = options.clients;

            p = payload_frames(out, 1, now, 0, seq++);
            crowd->busy = 1;
            conn_send(loop_conn(0), out, p - out);
        }

        (void) loop_turn(1);

        if (owed == 0 && crowd->busy) {
            crowd->busy = 0;
            crowd->broadcasts++;
            histogram_add(&crowd->spread, now_ns() - sent);
        }

        if (owed && now_ns() - sent > options.timeout * SEC) {
            faults->lost += owed;
            break;
        }
    }
}


static void
crowd_message(conn_t *c, u_char *data, size_t len)
{
    uint32_t  group, seq;
    uint64_t  sent;

    if (payload_read(data, len, &sent, &group, &seq) != 0 || group != 0) {
        faults->corrupt++;
        return;
    }

    if (payload_check(c, seq, faults) && owed) {
        owed--;
    }
}


static void
crowd_channel(unsigned i, char *name)
{
    (void) i;

    snprintf(name, CHANNEL_MAX, "d%d-crowd", family);
}


static void
probe_run(void)
{
    u_char    *p;
    uint64_t   now, due, start, end;
    uint32_t   seq;

    static faults_t  own;

    faults = &own;

    loop_init(PROBES, 250, options.size + 16, &probe_handlers);
    loop_open(0, PROBES, 1, probe_channel);

    start = now_ns();
    due = start;
    end = start + (uint64_t) (2 * options.seconds * SEC);

    while ((now = now_ns()) < end) {

        if (!crowd->go && now - start > options.seconds * SEC) {
            crowd->go = 1;
        }

        if (now >= due && under_way < LEDGER - PROBES) {
            due = now + MSEC;
            seq = seqs[turn]++;
            ledger[turn][seq % (LEDGER / PROBES)] = crowd->go + crowd->busy;

            p = payload_frames(out, 1, now_ns(), turn, seq);
            conn_send(loop_conn(turn), out, p - out);

            turn = (turn + 1) % PROBES;
            under_way++;
        }

        (void) loop_turn(1);
    }

    crowd->stop = 1;
    end = now_ns() + (uint64_t) (options.timeout * SEC);

    while (under_way && now_ns() < end) {
        (void) loop_turn(10);
    }

    faults->lost = under_way;
}


static void
probe_message(conn_t *c, u_char *data, size_t len)
{
    u_char    when;
    uint32_t  group, seq;
    uint64_t  sent, took;

    if (payload_read(data, len, &sent, &group, &seq) != 0 || group != c->id) {
        faults->corrupt++;
        return;
    }

    if (!payload_check(c, seq, faults)) {
        return;
    }

    took = now_ns() - sent;
    when = ledger[group][seq % (LEDGER / PROBES)];
    under_way--;

    if (when == 0) {
        histogram_add(&quiet, took);
        return;
    }

    histogram_add(&all, took);

    if (when == 2) {
        histogram_add(&during, took);
    }
}


static void
probe_channel(unsigned i, char *name)
{
    snprintf(name, CHANNEL_MAX, "d%d-%u", family, i);
}


static void
on_closed(conn_t *c)
{
    (void) c;

    faults->closed++;
}
