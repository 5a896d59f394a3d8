/* The pool of pages: see pages.h. */
#include "pages.h"

#include "memory.h"

void page_pool_init(struct page_pool *pool, int64_t n) {
    *pool = (struct page_pool){.n = n, .n_free = n};
    pool->free = mem_alloc(n, sizeof *pool->free);
    pool->users = mem_alloc(n, sizeof *pool->users);
    for (int64_t i = 0; i < n; i++) pool->free[i] = (int32_t)(n - 1 - i);
}

void page_pool_free(struct page_pool *pool) {
    mem_free(pool->free);
    mem_free(pool->users);
    *pool = (struct page_pool){0};
}

void pages_take(struct page_pool *pool, int32_t *table, int64_t n, const int32_t *former,
                int64_t shared) {
    CHECK(shared <= n && n - shared <= pool->n_free, "%lld pages of %lld", (long long)(n - shared),
          (long long)pool->n_free);
    for (int64_t i = 0; i < n; i++) {
        table[i] = i < shared ? former[i] : pool->free[--pool->n_free];
        pool->users[table[i]]++;
    }
}

void pages_drop(struct page_pool *pool, const int32_t *table, int64_t n) {
    for (int64_t i = n - 1; i >= 0; i--) {
        CHECK(pool->users[table[i]] > 0, "page %d is nobody's", table[i]);
        if (--pool->users[table[i]] == 0) pool->free[pool->n_free++] = table[i];
    }
}
