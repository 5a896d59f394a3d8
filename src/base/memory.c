/* Counted memory: each block is preceded by a 64-byte header with its size. */
#include "memory.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER = 64 };

static atomic_size_t balance, peak;

static void count(size_t bytes) {
    size_t now = atomic_fetch_add(&balance, bytes) + bytes;
    size_t max = atomic_load(&peak);
    while (now > max && !atomic_compare_exchange_weak(&peak, &max, now)) {}
}

static size_t *header(void *memory) {
    return (size_t *)((char *)memory - HEADER);
}

static void *take(int64_t n, size_t size, bool zeroed) {
    size_t bytes, whole;
    if (n < 0 || __builtin_mul_overflow((size_t)n, size, &bytes) ||
        __builtin_add_overflow(bytes, 2 * HEADER, &whole))
        die("asked for %lld items of %zu bytes: not a size", (long long)n, size);
    char *block = aligned_alloc(HEADER, ROUND_UP(whole, HEADER));
    if (!block) die("out of memory: %zu bytes wanted, %zu held", bytes, mem_balance());
    *(size_t *)block = bytes;
    if (zeroed) memset(block + HEADER, 0, bytes);
    count(bytes);
    return block + HEADER;
}

void *mem_alloc(int64_t n, size_t size) {
    return take(n, size, true);
}

void *mem_resize(void *old, int64_t n, size_t size) {
    char *fresh = take(n, size, false);
    if (old) memcpy(fresh, old, MIN(*header(old), *header(fresh)));
    mem_free(old);
    return fresh;
}

void mem_free(void *memory) {
    if (!memory) return;
    atomic_fetch_sub(&balance, *header(memory));
    free(header(memory));
}

size_t mem_balance(void) {
    return atomic_load(&balance);
}

size_t mem_peak(void) {
    return atomic_load(&peak);
}

char *mem_copy_string(const char *text) {
    size_t length = strlen(text) + 1;
    return memcpy(take((int64_t)length, 1, false), text, length);
}

/* Room for `more` bytes and the terminating zero. */
static void reserve(struct buffer *b, size_t more) {
    size_t wanted;
    if (__builtin_add_overflow(b->length, more + 1, &wanted))
        die("a buffer of %zu + %zu bytes", b->length, more);
    if (wanted <= b->capacity) return;
    b->capacity = MAX(wanted, 2 * b->capacity);
    b->data = mem_resize(b->data, (int64_t)b->capacity, 1);
}

void buffer_append(struct buffer *b, const void *data, size_t length) {
    reserve(b, length);
    if (length) memcpy(b->data + b->length, data, length);
    b->length += length;
    b->data[b->length] = 0;
}

void buffer_append_text(struct buffer *b, const char *text) {
    buffer_append(b, text, strlen(text));
}

static void append_format(struct buffer *b, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    CHECK(length >= 0, "format \"%s\"", format);
    reserve(b, (size_t)length);
    vsnprintf(b->data + b->length, (size_t)length + 1, format, again);
    va_end(again);
    b->length += (size_t)length;
}

void buffer_format(struct buffer *b, const char *format, ...) {
    va_list args;
    va_start(args, format);
    append_format(b, format, args);
    va_end(args);
}

char *mem_format(const char *format, ...) {
    struct buffer text = {0};
    va_list args;
    va_start(args, format);
    append_format(&text, format, args);
    va_end(args);
    return text.data;
}

void buffer_clear(struct buffer *b) {
    b->length = 0;
    if (b->data) b->data[0] = 0;
}

void buffer_free(struct buffer *b) {
    mem_free(b->data);
    *b = (struct buffer){0};
}
