
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


/*
 * A library to be preloaded: from time to time there is no memory.  The first
 * number of the file that FAIL_MALLOC names, which may change, is how many
 * allocations there are to one that fails, 0 for none; the second one counts
 * them.  Used by t/memory.t, which compiles it.
 */


#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>


static int fails(void);


extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);


static volatile uint32_t  *fail_malloc_numbers;
static int                 fail_malloc_tried;
static uint64_t            fail_malloc_random;


void *
malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}


void *
calloc(size_t n, size_t size)
{
    return fails() ? NULL : __libc_calloc(n, size);
}


void *
realloc(void *p, size_t size)
{
    return fails() ? NULL : __libc_realloc(p, size);
}


int
posix_memalign(void **p, size_t alignment, size_t size)
{
    *p = fails() ? NULL : __libc_memalign(alignment, size);

    return *p ? 0 : ENOMEM;
}


static int
fails(void)
{
    int          fd;
    const char  *name;

    if (!fail_malloc_tried) {
        fail_malloc_tried = 1;
        name = getenv("FAIL_MALLOC");
        fd = name ? open(name, O_RDWR) : -1;

        if (fd != -1) {
            fail_malloc_numbers = mmap(NULL, 2 * sizeof(uint32_t),
                                       PROT_READ|PROT_WRITE, MAP_SHARED, fd,
                                       0);
            close(fd);

            if (fail_malloc_numbers == MAP_FAILED) {
                fail_malloc_numbers = NULL;
            }
        }
    }

    if (fail_malloc_numbers == NULL || fail_malloc_numbers[0] == 0) {
        return 0;
    }

    if (fail_malloc_random == 0) {
        fail_malloc_random = 0x9e3779b97f4a7c15ULL * (uint64_t) getpid();
    }

    fail_malloc_random ^= fail_malloc_random << 13;
    fail_malloc_random ^= fail_malloc_random >> 7;
    fail_malloc_random ^= fail_malloc_random << 17;

    if (fail_malloc_random % fail_malloc_numbers[0]) {
        return 0;
    }

    __sync_fetch_and_add(&fail_malloc_numbers[1], 1);
    errno = ENOMEM;

    return 1;
}
