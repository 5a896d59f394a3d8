/* Pages of keys and values, and who has them: numbers on the host; the memory is the decoder's. A
 * page that several tables share is counted and comes back when the last of them is dropped. */
#ifndef RANKWISE_PAGES_H
#define RANKWISE_PAGES_H
#include "backend.h"

struct page_pool {
    int64_t n, n_free;
    int32_t *free;  /* (n): the free ones are the first n_free */
    int32_t *users; /* (n) */
};

void page_pool_init(struct page_pool *pool, int64_t n);
void page_pool_free(struct page_pool *pool);

static inline int64_t pages_for(int64_t positions) {
    return (positions + PAGE_TOKENS - 1) / PAGE_TOKENS;
}

/* table (n) = the first `shared` pages of `former`, which may then be NULL only if that is 0, and
 * free ones, which must be there. */
void pages_take(struct page_pool *pool, int32_t *table, int64_t n, const int32_t *former,
                int64_t shared);
void pages_drop(struct page_pool *pool, const int32_t *table, int64_t n);
#endif
