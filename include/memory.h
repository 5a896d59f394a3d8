/* Checked and counted host memory.
 *
 * Every allocation of the program passes here (libraries' own apart): sizes are checked for
 * overflow, memory that cannot be had ends the program with its size and purpose, and the balance
 * is counted, so that a test can demand that it is zero at exit. */
#ifndef RANKWISE_MEMORY_H
#define RANKWISE_MEMORY_H
#include "base.h"
#ifdef __cplusplus
extern "C" {
#endif

/* Zeroed memory for count items of size bytes, 64-byte aligned; never NULL, also for count 0. */
void *mem_alloc(int64_t count, size_t size);

/* Grows or shrinks; the contents up to the smaller size are kept, the rest is not zeroed. old may
 * be NULL. */
void *mem_resize(void *old, int64_t count, size_t size);

/* Accepts NULL. */
void mem_free(void *memory);

char *mem_copy_string(const char *text);
char *mem_format(const char *format, ...) PRINTF_LIKE(1, 2);

/* Bytes held now, and the most that were held at once. */
size_t mem_balance(void);
size_t mem_peak(void);

/* A buffer that grows: bytes plus a terminating zero that is not counted. A zeroed struct is a
 * valid empty buffer. */
struct buffer {
    char *data;
    size_t length, capacity;
};
void buffer_append(struct buffer *buffer, const void *data, size_t length);
void buffer_append_text(struct buffer *buffer, const char *text);
void buffer_format(struct buffer *buffer, const char *format, ...) PRINTF_LIKE(2, 3);
void buffer_clear(struct buffer *buffer);
void buffer_free(struct buffer *buffer);

/* Grows an array of n items to room for one more; doubles. `array` is an lvalue, `room` its
 * capacity (an lvalue). */
#define ARRAY_RESERVE(array, n, capacity)                                              \
    do {                                                                           \
        if ((n) >= (capacity)) {                                                       \
            (capacity) = (capacity) ? 2 * (capacity) : 16;                                     \
            (array) = mem_resize((array), (capacity), sizeof *(array));                \
        }                                                                          \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
