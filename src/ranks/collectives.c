/* The CPU's collectives: MPI behind the backend's table, and the one stream that they run on in the
 * background.
 *
 *   (1) A queue of operations, begun and finished in the order in which they were put there, one at
 *       a time: what STREAM_COMM means on a GPU too. A later operation may use what an earlier one
 *       leaves in the same memory.
 *   (2) They use the group's `stream` communicator, on which nothing else is called: so every rank
 *       begins the same operations in the same order, whatever its host does between.
 *   (3) Nothing moves by itself: progress, stream_wait and synchronize push the operation at the
 *       head and begin the next when it is done. progress does not block.
 *
 * The gather and the all-reduce are the library's (MPI_Iallgather, MPI_Iallreduce). The
 * reduce-scatter is an exchange: in step d each rank sends rank + d its slice of the buffer and
 * adds what rank - d sent to its own, d = 1 .. size - 1, in pieces of 1 MiB of which a few are
 * under way. That is (size - 1) / size of the buffer per rank, the sum is taken in one fixed order,
 * and it can be done in place. Measured, 16 Mi floats on the two cores of an AMD EPYC 9005, Open
 * MPI 4.1.4, ms at 2 / 3 / 4 ranks:
 *
 *     MPI_Ireduce_scatter_block   40 / 80 / 79   reduces to one rank and scatters: 1.5 times the
 *     bytes, a buffer more
 *     an MPI_Ireduce per slice    39 / 62 / 82
 *     MPI_Reduce_scatter_block    42 / 71 / 88   blocks
 *     this exchange                6 / 13 / 17 */
#include <string.h>

#include "backend.h"
#include "mpi_try.h"

enum {
    N_OPERATIONS = 1024, /* that can wait; a unit puts at most three there */
    N_REQUESTS = 16,     /* of one operation at a time */
    MAX_COUNT = 1 << 28, /* elements in one library call */
    PIECE = 256 << 10,   /* floats in a piece of the exchange */
    N_PIECES = 4,        /* pieces under way: one's data is added while others travel */
    TAG_EXCHANGE = 2
};

enum collective { ALL_GATHER, REDUCE_SCATTER, ALL_REDUCE };

struct operation {
    enum collective kind;
    MPI_Comm comm;
    int rank, size;
    void *out;
    const void *in;
    int64_t count; /* elements of a slice; of the whole for the all-reduce */
    enum dtype dtype;
};

/* One process has one MPI, so this is the process's and not a device's. */
static struct {
    struct operation operation[N_OPERATIONS];
    /* tickets: operations [first, next) wait, number n in operation[n % N_OPERATIONS] */
    uint64_t first, next;
    uint64_t event[N_EVENTS]; /* the ticket that the event waits for: all before it must be done */

    bool begun; /* the first of the queue; what follows is its state */
    int64_t n_steps, n_posted, n_done;
    /* exchange: receive and send of step s at 2 * (s % N_PIECES) */
    MPI_Request request[N_REQUESTS];
    float piece[N_PIECES][PIECE];
} queue;

/* ---- the exchange ---- */

static int64_t pieces_of(const struct operation *o) {
    return (o->count + PIECE - 1) / PIECE;
}

static void post_step(const struct operation *o, int64_t step) {
    int64_t distance = 1 + step / pieces_of(o), first = step % pieces_of(o) * PIECE;
    int to = (int)((o->rank + distance) % o->size),
        from = (int)((o->rank - distance + o->size) % o->size);
    int count = (int)MIN(o->count - first, PIECE), slot = (int)(step % N_PIECES);
    const float *slice = (const float *)o->in + to * o->count + first;
    MPI_TRY(MPI_Irecv(queue.piece[slot], count, MPI_FLOAT, from, TAG_EXCHANGE, o->comm,
                      &queue.request[2 * slot]));
    MPI_TRY(MPI_Isend(slice, count, MPI_FLOAT, to, TAG_EXCHANGE, o->comm,
                      &queue.request[2 * slot + 1]));
}

static void add_step(const struct operation *o, int64_t step) {
    int64_t first = step % pieces_of(o) * PIECE, count = MIN(o->count - first, PIECE);
    float *restrict out = (float *)o->out + first;
    const float *restrict in = queue.piece[step % N_PIECES];
    for (int64_t i = 0; i < count; i++) out[i] += in[i];
}

static void begin_exchange(const struct operation *o) {
    const float *own = (const float *)o->in + o->rank * o->count;
    if (o->out != own) memcpy(o->out, own, (size_t)o->count * sizeof(float));
    queue.n_steps = (o->size - 1) * pieces_of(o);
    queue.n_posted = queue.n_done = 0;
    for (; queue.n_posted < MIN(queue.n_steps, N_PIECES); queue.n_posted++)
        post_step(o, queue.n_posted);
}

/* ---- the library's ---- */

static MPI_Datatype type_of(enum dtype dtype) {
    switch (dtype) {
    case DTYPE_F32:
        return MPI_FLOAT;
    case DTYPE_I32:
        return MPI_INT32_T;
    case DTYPE_BF16:
    case DTYPE_F16:
        return MPI_UINT16_T; /* only moved */
    case DTYPE_U8:
        return MPI_UINT8_T;
    }
    die("dtype %d", (int)dtype);
}

/* A slice above MAX_COUNT goes as vectors of rows: the count stays an int. */
static void begin_gather(const struct operation *o) {
    MPI_Datatype type = type_of(o->dtype), slice = type;
    int count = (int)o->count;
    if (o->count > MAX_COUNT) {
        CHECK(o->count % 256 == 0 && o->count / 256 <= MAX_COUNT, "a slice of %lld elements",
              (long long)o->count);
        MPI_TRY(MPI_Type_contiguous(256, type, &slice));
        MPI_TRY(MPI_Type_commit(&slice));
        count = (int)(o->count / 256);
    }
    MPI_TRY(
        MPI_Iallgather(MPI_IN_PLACE, 0, slice, o->out, count, slice, o->comm, &queue.request[0]));
    if (slice != type) MPI_TRY(MPI_Type_free(&slice));
}

static void begin_sum(const struct operation *o) {
    int n = 0;
    for (int64_t done = 0; done < o->count; done += MAX_COUNT) {
        CHECK(n < N_REQUESTS, "%lld elements in one sum", (long long)o->count);
        MPI_TRY(MPI_Iallreduce(MPI_IN_PLACE, (float *)o->out + done,
                               (int)MIN(o->count - done, MAX_COUNT), MPI_FLOAT, MPI_SUM, o->comm,
                               &queue.request[n++]));
    }
}

/* ---- the queue ---- */

/* Pushes the first operation; `block`: until it is done. Whether it is. */
static bool push_exchange(const struct operation *o, bool block) {
    while (queue.n_done < queue.n_steps) {
        MPI_Request *pair = &queue.request[2 * (queue.n_done % N_PIECES)];
        int is_done = 1;
        if (block) {
            MPI_TRY(MPI_Waitall(2, pair, MPI_STATUSES_IGNORE));
        } else {
            MPI_TRY(MPI_Testall(2, pair, &is_done, MPI_STATUSES_IGNORE));
        }
        if (!is_done) return false;
        add_step(o, queue.n_done++);
        if (queue.n_posted < queue.n_steps) post_step(o, queue.n_posted++);
    }
    return true;
}

static bool push(bool block) {
    const struct operation *o = &queue.operation[queue.first % N_OPERATIONS];
    if (!queue.begun) {
        for (int i = 0; i < N_REQUESTS; i++) queue.request[i] = MPI_REQUEST_NULL;
        if (o->kind == REDUCE_SCATTER) begin_exchange(o);
        if (o->kind == ALL_GATHER) begin_gather(o);
        if (o->kind == ALL_REDUCE) begin_sum(o);
        queue.begun = true;
    }
    int is_done = 1;
    if (o->kind == REDUCE_SCATTER) {
        is_done = push_exchange(o, block);
    } else if (block) {
        MPI_TRY(MPI_Waitall(N_REQUESTS, queue.request, MPI_STATUSES_IGNORE));
    } else {
        MPI_TRY(MPI_Testall(N_REQUESTS, queue.request, &is_done, MPI_STATUSES_IGNORE));
    }
    if (!is_done) return false;
    queue.begun = false;
    queue.first++;
    return true;
}

static void finish_before(uint64_t ticket) {
    while (queue.first < ticket) push(true);
}

static void progress(struct device *dev) {
    (void)dev;
    while (queue.first < queue.next && push(false)) {}
}

static void enqueue(struct device *dev, const struct ranks *group, const struct operation *what) {
    if (group->size == 1 || what->count == 0) return;
    if (queue.next - queue.first == N_OPERATIONS) push(true);
    struct operation *o = &queue.operation[queue.next++ % N_OPERATIONS];
    *o = *what;
    o->comm = ranks_communicator(group)->stream;
    o->rank = group->rank;
    o->size = group->size;
    progress(dev);
}

/* ---- the table's functions ---- */

static void all_gather(struct device *dev, const struct ranks *group, void *data, int64_t count,
                       enum dtype dtype) {
    enqueue(dev, group,
            &(struct operation){.kind = ALL_GATHER, .out = data, .count = count, .dtype = dtype});
}

static void reduce_scatter(struct device *dev, const struct ranks *group, float *out,
                           const float *in, int64_t count) {
    enqueue(dev, group,
            &(struct operation){.kind = REDUCE_SCATTER, .out = out, .in = in, .count = count});
}

static void all_reduce(struct device *dev, const struct ranks *group, float *data, int64_t count) {
    enqueue(dev, group, &(struct operation){.kind = ALL_REDUCE, .out = data, .count = count});
}

/* Everything but the queue is done at once, so other streams' events are complete when they are
 * recorded. */
static void event_record(struct device *dev, int event, enum stream stream) {
    (void)dev;
    queue.event[event] = stream == STREAM_COMM ? queue.next : 0;
}

static void stream_wait(struct device *dev, enum stream stream, int event) {
    (void)dev;
    /* the queue itself is in order, by (1) */
    if (stream != STREAM_COMM) finish_before(queue.event[event]);
}

static void event_synchronize(struct device *dev, int event) {
    (void)dev;
    finish_before(queue.event[event]);
}

static void synchronize(struct device *dev, enum stream stream) {
    (void)dev;
    if (stream == STREAM_COMM) finish_before(queue.next);
}

void comm_install_cpu_collectives(struct backend *table) {
    table->all_gather = all_gather;
    table->reduce_scatter = reduce_scatter;
    table->all_reduce = all_reduce;
    table->event_record = event_record;
    table->stream_wait = stream_wait;
    table->event_synchronize = event_synchronize;
    table->synchronize = synchronize;
    table->progress = progress;
}
