
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "wsload.h"


static uint64_t process_memory(pid_t pid, const char *what);


uint64_t
now_ns(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return ts.tv_sec * SEC + ts.tv_nsec;
}


uint64_t
own_cpu(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);

    return ts.tv_sec * SEC + ts.tv_nsec;
}


uint64_t
server_cpu(void)
{
    unsigned  i;
    uint64_t  sum;

    for (i = 0, sum = 0; i < options.npids; i++) {
        sum += process_cpu(options.pids[i]);
    }

    return sum;
}


uint64_t
server_memory(void)
{
    unsigned  i;
    uint64_t  sum;

    for (i = 0, sum = 0; i < options.npids; i++) {
        sum += process_memory(options.pids[i], "Pss");
    }

    return sum;
}


uint64_t
server_own_memory(void)
{
    uint64_t  sum;
    unsigned  i;

    for (i = 0, sum = 0; i < options.npids; i++) {
        sum += process_memory(options.pids[i], "Pss_Anon");
    }

    return sum;
}


/*
 * The scheduler's own account is exact for a process that sleeps; where a
 * kernel does not give it, user and system time are in clock ticks.
 */

uint64_t
process_cpu(pid_t pid)
{
    int                 n;
    FILE               *f;
    char                path[64], line[1024], *p;
    unsigned long       user, system;
    unsigned long long  ns;

    snprintf(path, sizeof(path), "/proc/%d/schedstat", (int) pid);
    f = fopen(path, "r");

    if (f) {
        n = fscanf(f, "%llu", &ns);
        fclose(f);

        if (n == 1 && ns) {
            return ns;
        }
    }

    snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
    f = fopen(path, "r");

    if (f == NULL) {
        die("process %d is gone", (int) pid);
    }

    p = fgets(line, sizeof(line), f);
    fclose(f);

    p = p ? strrchr(p, ')') : NULL;

    if (p == NULL
        || sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                  &user, &system)
           != 2)
    {
        die("%s cannot be read", path);
    }

    return (user + system) * (SEC / sysconf(_SC_CLK_TCK));
}


static uint64_t
process_memory(pid_t pid, const char *what)
{
    FILE           *f;
    char            path[64], line[256];
    size_t          len;
    unsigned long   kb;

    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int) pid);
    f = fopen(path, "r");

    if (f == NULL) {
        die("%s cannot be opened", path);
    }

    len = strlen(what);

    while (fgets(line, sizeof(line), f)) {
        if (strncmp(line, what, len) == 0
            && sscanf(line + len, ": %lu", &kb) == 1)
        {
            fclose(f);
            return kb * 1024ull;
        }
    }

    die("%s has no %s", path, what);
}


uint64_t
redis_sent(void)
{
    int                  fd;
    char                 reply[16384], *p;
    size_t               len;
    ssize_t              n;
    struct sockaddr_in   sin;

    static const char  command[] = "INFO stats\r\n";

    if (options.redis == 0) {
        return 0;
    }

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sin.sin_port = htons(options.redis);

    fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd == -1
        || connect(fd, (struct sockaddr *) &sin, sizeof(sin)) == -1
        || send(fd, command, sizeof(command) - 1, MSG_NOSIGNAL)
           != sizeof(command) - 1)
    {
        die("Redis cannot be asked");
    }

    for (len = 0; len < sizeof(reply) - 1; len += n) {
        n = recv(fd, reply + len, sizeof(reply) - 1 - len, 0);

        if (n <= 0) {
            break;
        }

        reply[len + n] = '\0';
        p = strstr(reply, "total_net_output_bytes:");

        if (p && strchr(p, '\r')) {
            close(fd);
            return strtoull(p + sizeof("total_net_output_bytes:") - 1, NULL,
                            10);
        }
    }

    die("Redis does not say what it has sent");
}


/*
 * Values below 2^HISTOGRAM_BITS have a slot each; above, every power of two
 * is divided into that many, so an entry is known to 1.6%.
 */

void
histogram_add(histogram_t *h, uint64_t ns)
{
    unsigned  shift;

    h->total++;

    if (ns > h->max) {
        h->max = ns;
    }

    if (ns < 1 << HISTOGRAM_BITS) {
        h->counts[ns]++;
        return;
    }

    shift = 63 - __builtin_clzll(ns) - HISTOGRAM_BITS;

    h->counts[((shift + 1) << HISTOGRAM_BITS)
              + (ns >> shift) - (1 << HISTOGRAM_BITS)]++;
}


double
histogram_at(const histogram_t *h, double part)
{
    unsigned  i, shift;
    uint64_t  seen, want, value;

    if (h->total == 0) {
        return 0;
    }

    want = (uint64_t) (part * h->total);
    seen = 0;

    for (i = 0; i < HISTOGRAM_SIZE; i++) {
        seen += h->counts[i];

        if (seen > want || seen == h->total) {
            break;
        }
    }

    if (i < 1 << HISTOGRAM_BITS) {
        return i / 1e3;
    }

    shift = (i >> HISTOGRAM_BITS) - 1;
    value = (uint64_t) (1 << HISTOGRAM_BITS)
            + (i & ((1 << HISTOGRAM_BITS) - 1));

    value = ((value + 1) << shift) - 1;

    return (value < h->max ? value : h->max) / 1e3;
}


void
histogram_print(const histogram_t *h, const char *prefix)
{
    printf(" %sp50_us=%.1f %sp99_us=%.1f %sp999_us=%.1f %smax_us=%.1f",
           prefix, histogram_at(h, 0.5), prefix, histogram_at(h, 0.99),
           prefix, histogram_at(h, 0.999), prefix, h->max / 1e3);
}
