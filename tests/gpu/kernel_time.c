/* Kernel times by CUPTI: see kernel_time.h. Records arrive in buffers that CUPTI asks for and gives
 * back filled. */
#include "kernel_time.h"

#ifdef RANKWISE_CUPTI
#include <cupti.h>
#include <stdint.h>
#include <stdlib.h>

#include "log.h"
#include "memory.h"

enum { BUFFER_BYTES = 8 << 20 };

static struct interval { uint64_t start, end; /* nanoseconds */ } * interval;
static int64_t n, capacity;
static bool is_on;

#define CUPTI_TRY(call)                                                                \
    do {                                                                               \
        CUptiResult result_ = (call);                                                  \
        const char *words_ = NULL;                                                     \
        if (result_ != CUPTI_SUCCESS) cuptiGetResultString(result_, &words_);          \
        if (result_ != CUPTI_SUCCESS) die_at(__FILE__, __LINE__, words_, "%s", #call); \
    } while (0)

static void CUPTIAPI give_buffer(uint8_t **buffer, size_t *size, size_t *max_records) {
    *buffer = mem_alloc(BUFFER_BYTES, 1);
    *size = BUFFER_BYTES;
    *max_records = 0;
}

static void CUPTIAPI take_buffer(CUcontext context, uint32_t stream, uint8_t *buffer, size_t size,
                                 size_t valid) {
    (void)context, (void)stream, (void)size;
    CUpti_Activity *record = NULL;
    while (valid && cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
        if (record->kind != CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) continue;
        const CUpti_ActivityKernel9 *kernel = (const CUpti_ActivityKernel9 *)record;
        ARRAY_RESERVE(interval, n, capacity);
        interval[n++] = (struct interval){kernel->start, kernel->end};
    }
    mem_free(buffer);
}

void kernel_time_start(void) {
    static bool is_ready;
    n = 0;
    if (!is_ready) CUPTI_TRY(cuptiActivityRegisterCallbacks(give_buffer, take_buffer));
    is_ready = true;
    const char *words = NULL;
    CUptiResult result = cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL);
    is_on = result == CUPTI_SUCCESS;
    if (is_on) return;
    cuptiGetResultString(result, &words);
    log_warn("CUPTI measures no kernels: %s", words ? words : "an unknown error");
}

static int compare_intervals(const void *a, const void *b) {
    const struct interval *x = a, *y = b;
    return (x->start > y->start) - (x->start < y->start);
}

void kernel_time_stop(double *span, double *covered) {
    *span = *covered = 0;
    if (!is_on) return;
    CUPTI_TRY(cuptiActivityFlushAll(1));
    CUPTI_TRY(cuptiActivityDisable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL));
    if (n > 0) qsort(interval, (size_t)n, sizeof *interval, compare_intervals);
    uint64_t end = n ? interval[0].start : 0, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        if (interval[i].end > end) sum += interval[i].end - MAX(end, interval[i].start);
        end = MAX(end, interval[i].end);
    }
    *span = n ? 1e-9 * (double)(end - interval[0].start) : 0;
    *covered = 1e-9 * (double)sum;
    mem_free(interval);
    interval = NULL;
    n = capacity = 0;
}

#else

void kernel_time_start(void) {}

void kernel_time_stop(double *span, double *covered) {
    *span = *covered = 0;
}
#endif
