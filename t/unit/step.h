
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _STEP_H_INCLUDED_
#define _STEP_H_INCLUDED_


#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>


/*
 * A process may be killed at any instruction.  step_through() runs victim()
 * in a child process, one machine instruction at a time, and calls check()
 * with every content that the child gives to the shared memory at mem: that
 * is what it would leave behind, killed there.  check() may do with the
 * memory what it likes, it is put back.
 *
 * Returns the number of different contents, 0 if tracing is not permitted
 * here, -1 if the victim did not come to its end.
 */

#define STEP_MAX  5000000


static inline void *
step_memory(size_t size)
{
    void  *p;

    p = mmap(NULL, size, PROT_READ|PROT_WRITE, MAP_ANON|MAP_SHARED, -1, 0);

    if (p == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }

    return p;
}


static inline pid_t
step_start(void (*victim)(void *), void *data)
{
    pid_t  pid;

    fflush(stdout);

    pid = fork();

    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == -1) {
            _exit(3);
        }

        raise(SIGSTOP);
        victim(data);
        _exit(0);
    }

    return pid;
}


static inline long
step_through(void *mem, size_t size, void (*victim)(void *),
    void (*check)(void *), void *data)
{
    int    status;
    long   i, n;
    void  *before, *now;
    pid_t  pid;

    before = malloc(size);
    now = malloc(size);

    if (before == NULL || now == NULL) {
        perror("malloc");
        exit(2);
    }

    memcpy(before, mem, size);
    memcpy(now, mem, size);

    pid = step_start(victim, data);

    if (pid == -1) {
        perror("fork");
        exit(2);
    }

    n = 0;

    for (i = 0; i < STEP_MAX; i++) {

        if (waitpid(pid, &status, 0) == -1) {
            perror("waitpid");
            exit(2);
        }

        if (!WIFSTOPPED(status)) {
            break;
        }

        if (memcmp(mem, now, size) != 0) {
            memcpy(now, mem, size);
            check(data);
            memcpy(mem, now, size);
            n++;
        }

        if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == -1) {
            break;
        }
    }

    if (WIFSTOPPED(status)) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        n = -1;

    } else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        n = (WIFEXITED(status) && WEXITSTATUS(status) == 3) ? 0 : -1;
    }

    memcpy(mem, before, size);

    free(before);
    free(now);

    return n;
}


#endif /* _STEP_H_INCLUDED_ */
