/* The pipeline: the intake's thread, N workers, and the sink on the thread that calls.
 *
 *   (1) Batch k lies in slot k % n_slots. It is filled by the intake, worked on by one worker,
 *       taken by the sink, in this order, and the sink takes batches in the order of k: so the
 *       first error in the order of the rows is the one that is told, and the shard's bytes do not
 *       depend on the number of threads.
 *   (2) The intake waits when every slot is in use, or more than IN_FLIGHT bytes of text are:
 *       memory is bounded by the number of threads and the largest row.
 *   (3) With one thread there is one slot, and nothing but calls. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "build.h"
#include "clock.h"
#include "log.h"

enum { IN_FLIGHT = 64 << 20 };

struct pipeline {
    struct build *b;
    struct sink *sink;
    struct build_log *log;
    struct intake *intake;
    struct intake_batch *slot;
    int n_slots;
    pthread_mutex_t mutex;
    pthread_cond_t moved;            /* something of what follows */
    int64_t n_fed, n_begun, n_taken; /* batches: filled, given to workers, taken by the sink */
    bool *is_done;                   /* (n_slots): worked on, not taken */
    int64_t in_flight;
    bool is_fed, is_over; /* the last batch is filled; the sink wants no more */
    double started, spoke_at;
    int64_t all_bytes; /* of all passes; -1: not known */
};

int pipeline_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return MAX(1, MIN(CPU_COUNT(&set), BUILD_MOST_THREADS));
}

/* --- progress --- */

static int64_t count_bytes(const struct build *b) {
    int64_t sum = 0;
    if (b->options.limit >= 0) return -1;
    for (int i = 0; i < b->n_inputs; i++) {
        if (b->input[i].n_bytes < 0) return -1;
        sum += b->input[i].n_bytes * input_passes(&b->input[i]);
    }
    return sum;
}

/* "1:02:03" or "2:03". */
static const char *show_seconds(char out[32], double seconds) {
    int64_t s = (int64_t)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, 32, "%lld:%02lld:%02lld", (long long)(s / 3600), (long long)(s / 60 % 60),
                 (long long)(s % 60));
    else
        snprintf(out, 32, "%lld:%02lld", (long long)(s / 60), (long long)(s % 60));
    return out;
}

static void show_progress(struct pipeline *p, int64_t n_bytes) {
    static const char full[] = "####################", empty[] = "....................";
    double now = clock_seconds(), past = now - p->started;
    bool is_terminal = isatty(STDERR_FILENO);
    if (now - p->spoke_at < (is_terminal ? 0.25 : 10)) return;
    p->spoke_at = now;
    double megabytes = 1e-6 * (double)n_bytes;
    long long rows = (long long)sink_rows(p->sink);
    if (p->all_bytes <= 0) {
        log_progress("%lld rows, %.1f MB, %.1f MB/s", rows, megabytes, megabytes / past);
        return;
    }
    double share = MIN(1.0, (double)n_bytes / (double)p->all_bytes);
    char left[32];
    int filled = (int)(20 * share);
    show_seconds(left, share > 0 ? past / share * (1 - share) : 0);
    log_progress("[%.*s%.*s] %3.0f %%  %lld rows, %.1f MB, %.1f MB/s, %s left", filled, full,
                 20 - filled, empty, 100 * share, rows, megabytes, megabytes / past, left);
}

/* --- the stages --- */

/* The sink's part of a batch. 0, 1 behind the last one, or -1. */
static int take_batch(struct pipeline *p, struct intake_batch *batch) {
    if (sink_take(p->sink, &batch->packed) != 0) return -1;
    if (batch->trouble) return fail("%s", batch->trouble);
    log_append(p->log, batch);
    show_progress(p, batch->n_bytes);
    return batch->is_last;
}

static int run_alone(struct pipeline *p) {
    struct build_worker *w = worker_new(p->b);
    int status = 0;
    while (status == 0) {
        intake_fill(p->intake, p->slot);
        worker_run(w, p->slot);
        status = take_batch(p, p->slot);
    }
    worker_free(w);
    return MIN(status, 0);
}

static void *run_feed(void *self) {
    struct pipeline *p = self;
    pthread_mutex_lock(&p->mutex);
    while (!p->is_fed && !p->is_over) {
        bool is_full = p->n_fed - p->n_taken == p->n_slots ||
                       (p->in_flight > IN_FLIGHT && p->n_fed > p->n_taken);
        if (is_full) {
            pthread_cond_wait(&p->moved, &p->mutex);
            continue;
        }
        struct intake_batch *batch = &p->slot[p->n_fed % p->n_slots];
        pthread_mutex_unlock(&p->mutex);
        intake_fill(p->intake, batch);
        pthread_mutex_lock(&p->mutex);
        p->n_fed++;
        p->in_flight += (int64_t)batch->text.length;
        p->is_fed = batch->is_last;
        pthread_cond_broadcast(&p->moved);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

static void *run_worker(void *self) {
    struct pipeline *p = self;
    struct build_worker *w = worker_new(p->b);
    pthread_mutex_lock(&p->mutex);
    while (!p->is_over) {
        if (p->n_begun == p->n_fed) {
            if (p->is_fed) break;
            pthread_cond_wait(&p->moved, &p->mutex);
            continue;
        }
        int at = (int)(p->n_begun++ % p->n_slots);
        pthread_mutex_unlock(&p->mutex);
        worker_run(w, &p->slot[at]);
        pthread_mutex_lock(&p->mutex);
        p->is_done[at] = true;
        pthread_cond_broadcast(&p->moved);
    }
    pthread_mutex_unlock(&p->mutex);
    worker_free(w);
    return NULL;
}

static int run_sink(struct pipeline *p) {
    int status = 0;
    pthread_mutex_lock(&p->mutex);
    while (status == 0) {
        int at = (int)(p->n_taken % p->n_slots);
        if (!p->is_done[at]) {
            pthread_cond_wait(&p->moved, &p->mutex);
            continue;
        }
        pthread_mutex_unlock(&p->mutex);
        status = take_batch(p, &p->slot[at]);
        pthread_mutex_lock(&p->mutex);
        p->is_done[at] = false;
        p->in_flight -= (int64_t)p->slot[at].text.length;
        p->n_taken++;
        pthread_cond_broadcast(&p->moved);
    }
    p->is_over = true;
    pthread_cond_broadcast(&p->moved);
    pthread_mutex_unlock(&p->mutex);
    return MIN(status, 0);
}

static void start_thread(pthread_t *thread, void *(*run)(void *), struct pipeline *p) {
    int error = pthread_create(thread, NULL, run, p);
    if (error) die("a thread cannot be started: %s", strerror(error));
}

static int run_together(struct pipeline *p, int n_workers) {
    pthread_t *thread = mem_alloc(n_workers + 1, sizeof *thread);
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->moved, NULL);
    start_thread(&thread[n_workers], run_feed, p);
    for (int i = 0; i < n_workers; i++) start_thread(&thread[i], run_worker, p);
    int status = run_sink(p);
    char *trouble = mem_copy_string(error_text());
    for (int i = 0; i <= n_workers; i++) pthread_join(thread[i], NULL);
    pthread_cond_destroy(&p->moved);
    pthread_mutex_destroy(&p->mutex);
    mem_free(thread);
    if (status != 0) fail("%s", trouble);
    mem_free(trouble);
    return status;
}

int pipeline_run(struct build *b, struct sink *s, struct build_log *log, struct build_place start) {
    int n = b->options.n_threads;
    struct pipeline p = {.b = b, .sink = s, .log = log, .n_slots = n == 1 ? 1 : 2 * n + 2};
    p.started = p.spoke_at = clock_seconds();
    p.all_bytes = count_bytes(b);
    p.intake = intake_new(b, start, sink_rows(s));
    p.slot = mem_alloc(p.n_slots, sizeof *p.slot);
    p.is_done = mem_alloc(p.n_slots, sizeof *p.is_done);
    int status = n == 1 ? run_alone(&p) : run_together(&p, n);
    for (int i = 0; i < p.n_slots; i++) intake_batch_free(&p.slot[i]);
    mem_free(p.slot);
    mem_free(p.is_done);
    intake_free(p.intake);
    return status;
}
