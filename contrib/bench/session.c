
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wsload.h"


/* what a process holds before memory is looked at for the first time */
#define PRIMERS       32

/* handshakes under way while connections are opened for their own sake */
#define AHEAD         32


typedef struct {
    pid_t     pid;
    int       fd;
} child_t;


static void close_all(unsigned n);
static void on_open(conn_t *c);
static void on_pong(conn_t *c);
static void on_closed(conn_t *c);
static void channel_name(unsigned i, char *name);
static void settle(unsigned ms);
static void child_start(child_t *ch, unsigned i, unsigned n);
static void child_run(int fd, unsigned i, unsigned n);
static unsigned child_turn(int fd, unsigned report);
static unsigned children_report(child_t *children);
static void children_go(child_t *children);


static unsigned      serial;
static unsigned      nclosed;
static unsigned      npongs;
static int           family;
static uint64_t     *started;
static faults_t      faults;
static histogram_t   latency;

static const handlers_t  handlers = {
    .open = on_open,
    .pong = on_pong,
    .closed = on_closed
};


/*
 * Batches of connections, each with a channel of its own: opened with a
 * window of handshakes under way, then all closed by a Close frame.
 */

int
workload_handshake(void)
{
    unsigned   n, bad;
    uint64_t   begun, cpu, opening, closing, total;

    static const u_char  normal[2] = { 1000 >> 8, 1000 & 0xff };

    n = options.clients;
    family = getpid();
    started = calloc(n, sizeof(uint64_t));

    if (started == NULL) {
        die("no memory");
    }

    loop_init(n, 2, 0, &handlers);

    opening = closing = total = 0;
    begun = now_ns();

    while (options.count ? total < options.count * n
                         : now_ns() - begun < options.seconds * SEC)
    {
        cpu = server_cpu();

        loop_open(0, n, options.window, channel_name);
        settle(5);

        opening += server_cpu() - cpu;
        cpu = server_cpu();

        nclosed = 0;

        for (bad = 0; bad < n; bad++) {
            conn_control(loop_conn(bad), OP_CLOSE, normal, 2);
        }

        close_all(n);
        settle(5);

        closing += server_cpu() - cpu;
        total += n;
    }

    printf("workload=handshake clients=%u inflight=%u messages=%llu"
           " server_us=%.4f close_us=%.4f",
           n, options.window, (unsigned long long) total,
           opening / 1e3 / total, closing / 1e3 / total);

    histogram_print(&latency, "");
    bad = faults_print(&faults);
    printf("\n");

    return bad;
}


static void
close_all(unsigned n)
{
    uint64_t  progress;

    progress = now_ns();

    while (nclosed < n) {
        if (!loop_goes_on(100, &progress)) {
            die("%u Close frames were not answered", n - nclosed);
        }
    }
}


/*
 * Connections that do nothing, each with a channel of its own, held by
 * several processes, for one may not open enough files.  At last all of
 * them are pinged, to see that the server did hold them.
 */

int
workload_idle(void)
{
    int        bad;
    child_t   *children;
    uint64_t   before, after, begun, ended;
    unsigned   i, n, alive;

    children = calloc(options.processes, sizeof(child_t));

    if (children == NULL) {
        die("no memory");
    }

    family = getpid();
    n = options.clients / options.processes;

    for (i = 0; i < options.processes; i++) {
        child_start(&children[i], i, n);
    }

    (void) children_report(children);
    before = server_memory();

    begun = now_ns();
    children_go(children);
    (void) children_report(children);
    ended = now_ns();

    usleep(200000);
    after = server_memory();

    children_go(children);
    alive = children_report(children);

    n *= options.processes;
    faults.lost = n + PRIMERS * options.processes - alive;

    printf("workload=idle clients=%u processes=%u seconds=%.3f"
           " bytes_per_connection=%.0f memory_mb=%.1f alive=%u",
           n, options.processes, (double) (ended - begun) / SEC,
           ((double) after - before) / n, after / 1048576.0, alive);

    bad = faults_print(&faults);
    printf("\n");

    children_go(children);

    for (i = 0; i < options.processes; i++) {
        (void) waitpid(children[i].pid, NULL, 0);
    }

    return bad;
}


static void
child_start(child_t *ch, unsigned i, unsigned n)
{
    int  fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == -1) {
        die("socketpair() failed");
    }

    ch->fd = fds[0];
    ch->pid = fork();

    if (ch->pid == -1) {
        die("fork() failed");
    }

    if (ch->pid == 0) {
        close(fds[0]);
        child_run(fds[1], i, n);
        _exit(0);
    }

    close(fds[1]);
}


static void
child_run(int fd, unsigned i, unsigned n)
{
    unsigned  k;
    uint64_t  end;

    n += PRIMERS;
    serial = i * n;

    loop_init(n, 2 + i, 0, &handlers);

    loop_open(0, PRIMERS, AHEAD, channel_name);
    settle(100);
    (void) child_turn(fd, PRIMERS);

    loop_open(PRIMERS, n - PRIMERS, AHEAD, channel_name);
    (void) child_turn(fd, n);

    for (k = 0; k < n; k++) {
        conn_control(loop_conn(k), OP_PING, (u_char *) "alive", 5);
        (void) loop_turn(0);
    }

    end = now_ns() + (uint64_t) (options.timeout * SEC);

    while (npongs < n && now_ns() < end) {
        (void) loop_turn(100);
    }

    (void) child_turn(fd, npongs);
}


/* reports a number to the parent and waits for leave to go on */

static unsigned
child_turn(int fd, unsigned report)
{
    char  go;

    if (write(fd, &report, sizeof(report)) != sizeof(report)
        || read(fd, &go, 1) != 1)
    {
        _exit(2);
    }

    return report;
}


static unsigned
children_report(child_t *children)
{
    unsigned  i, report, sum;

    for (i = 0, sum = 0; i < options.processes; i++) {

        if (read(children[i].fd, &report, sizeof(report)) != sizeof(report)) {
            die("a client process gave up");
        }

        sum += report;
    }

    return sum;
}


static void
children_go(child_t *children)
{
    unsigned  i;

    for (i = 0; i < options.processes; i++) {
        if (write(children[i].fd, "", 1) != 1) {
            die("a client process gave up");
        }
    }
}


static void
on_open(conn_t *c)
{
    if (started) {
        histogram_add(&latency, now_ns() - started[c->id]);
    }
}


static void
on_pong(conn_t *c)
{
    (void) c;

    npongs++;
}


static void
on_closed(conn_t *c)
{
    (void) c;

    nclosed++;
}


static void
channel_name(unsigned i, char *name)
{
    if (started) {
        started[i] = now_ns();
    }

    snprintf(name, CHANNEL_MAX, "s%d-%u", family, serial++);
}


static void
settle(unsigned ms)
{
    uint64_t  end;

    end = now_ns() + ms * MSEC;

    do {
        (void) loop_turn(ms);
    } while (now_ns() < end);
}
