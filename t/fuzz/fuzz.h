
/*
 * Copyright (C) the ngx_ws_bus_module authors
 */


#ifndef _FUZZ_H_INCLUDED_
#define _FUZZ_H_INCLUDED_


#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


/*
 * A property that holds for any input; where it does not, the fuzzer stops
 * and keeps the input.
 */

#define fuzz_check(cond)                                                      \
    do {                                                                      \
        if (!(cond)) {                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__,        \
                    #cond);                                                   \
            abort();                                                          \
        }                                                                     \
    } while (0)


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static inline void *
fuzz_alloc(size_t size)
{
    void  *p;

    p = malloc(size ? size : 1);

    if (p == NULL) {
        abort();
    }

    return p;
}


/* memory of its own size, for ASan to see a read beyond; the caller frees */

static inline uint8_t *
fuzz_copy(const uint8_t *data, size_t size)
{
    uint8_t  *p;

    p = fuzz_alloc(size);

    if (size) {
        memcpy(p, data, size);
    }

    return p;
}


#ifdef NGX_WS_BUS_FUZZ_REPLAY

/* Without libFuzzer: each file that is named goes through once. */

int
main(int argc, char **argv)
{
    int       i;
    FILE     *fp;
    size_t    size;
    uint8_t  *data, *copy;

    static const size_t  max = 1 << 20;

    data = fuzz_alloc(max);

    for (i = 1; i < argc; i++) {
        fp = fopen(argv[i], "rb");

        if (fp == NULL) {
            perror(argv[i]);
            return 2;
        }

        size = fread(data, 1, max, fp);
        fclose(fp);

        copy = fuzz_copy(data, size);
        LLVMFuzzerTestOneInput(copy, size);
        free(copy);
    }

    free(data);

    return 0;
}

#endif


#endif /* _FUZZ_H_INCLUDED_ */
