/* Count, then place: a piece of memory whose parts are laid out by one function that runs twice.
 *
 * Without a base the function only counts, and layout.used is then what has to be allocated; with
 * one, the same calls in the same order give each part its place. So size and places cannot differ.
 * Parts begin at multiples of `align` bytes, a power of two, from the base. */
#ifndef RANKWISE_LAYOUT_H
#define RANKWISE_LAYOUT_H
#include <stddef.h>
#include <stdint.h>

struct layout {
    char *base;   /* NULL: only counts; not owned */
    size_t align; /* bytes */
    size_t used;  /* bytes so far */
};

/* Memory for n items of size bytes; NULL while counting. */
static inline void *layout_take(struct layout *l, int64_t n, size_t size) {
    char *at = l->base ? l->base + l->used : NULL;
    l->used += ((size_t)n * size + l->align - 1) / l->align * l->align;
    return at;
}
#endif
