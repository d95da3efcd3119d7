
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _WORKERS_H_INCLUDED_
#define _WORKERS_H_INCLUDED_


#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/wait.h>


/*
 * Several processes at once.  With ThreadSanitizer they are threads: it sees
 * the order that the mutex and the flags make.  That a reader copies from the
 * log what may be overwritten, and asks afterwards, is the idea, and no race
 * to be reported.
 */

#if defined(__SANITIZE_THREAD__)
#define TEST_THREADS  1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_THREADS  1
#endif
#endif

#ifndef TEST_THREADS
#define TEST_THREADS  0
#endif


typedef struct {
    void       (*main)(int);
    int          i;
    pid_t        pid;
    pthread_t    thread;
} worker_t;


#if (TEST_THREADS)

void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);

#define copying_begin()  AnnotateIgnoreReadsBegin(__FILE__, __LINE__)
#define copying_end()    AnnotateIgnoreReadsEnd(__FILE__, __LINE__)


static inline void *
worker_thread(void *data)
{
    worker_t  *w = data;

    w->main(w->i);

    return NULL;
}


static inline void
worker_start(worker_t *w, void (*main)(int), int i)
{
    w->main = main;
    w->i = i;

    if (pthread_create(&w->thread, NULL, worker_thread, w) != 0) {
        fprintf(stderr, "pthread_create() failed\n");
        exit(2);
    }
}


/* 1 if it ended well */

static inline int
worker_wait(worker_t *w)
{
    return pthread_join(w->thread, NULL) == 0;
}

#else

#define copying_begin()
#define copying_end()


static inline void
worker_start(worker_t *w, void (*main)(int), int i)
{
    w->main = main;
    w->i = i;

    fflush(stdout);

    w->pid = fork();

    if (w->pid == -1) {
        perror("fork");
        exit(2);
    }

    if (w->pid == 0) {
        main(i);
        _exit(0);
    }
}


static inline int
worker_wait(worker_t *w)
{
    int  status;

    return waitpid(w->pid, &status, 0) == w->pid && WIFEXITED(status)
           && WEXITSTATUS(status) == 0;
}

#endif


#endif /* _WORKERS_H_INCLUDED_ */
