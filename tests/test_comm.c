/* comm, placement and the CPU's collectives, on small integers, so that sums compare with ==.
 * ranks: 1 2 3 4 */
#include <omp.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "backend.h"
#include "log.h"
#include "placement.h"
#include "test.h"

static struct backend table;
static struct device dev = {&table};

static const struct ranks *all(void) {
    return comm_world();
}

/* What element i of rank r holds before a collective: sums of these are exact in fp32. */
static float value(int rank, int64_t i) {
    return (float)((i * 7 + rank * 13) % 101 - 50);
}

static float sum_of_values(int size, int64_t i) {
    float sum = 0;
    for (int r = 0; r < size; r++) sum += value(r, i);
    return sum;
}

static void test_broadcast_and_gather_in_pieces(void) {
    size_t bytes = ((size_t)16 << 20) + 12345; /* more than one piece, not a whole number of them */
    int size = all()->size, last = size - 1;
    unsigned char *data = mem_alloc((int64_t)bytes, 1),
                  *gathered = mem_alloc((int64_t)bytes * size, 1);
    for (size_t i = 0; i < bytes; i++) data[i] = base_rank == last ? (unsigned char)(i * 31) : 0;
    comm_broadcast(all(), last, data, bytes);
    for (size_t i = 0; i < bytes; i += 1001) ASSERT_INT(data[i], (unsigned char)(i * 31));
    for (size_t i = 0; i < bytes; i++) data[i] = (unsigned char)(i + (size_t)base_rank * 5);
    comm_gather(all(), last, gathered, data, bytes);
    for (size_t i = 0; base_rank == last && i < bytes * (size_t)size; i += 997)
        ASSERT_INT(gathered[i], (unsigned char)(i % bytes + i / bytes * 5));
    mem_free(gathered);
    mem_free(data);
}

static void test_sum_and_max(void) {
    double x[3] = {base_rank, 1, -base_rank}, y[3] = {base_rank, 1, -base_rank};
    int size = all()->size;
    comm_sum(all(), x, 3);
    comm_max(all(), y, 3);
    ASSERT_INT(x[0], size * (size - 1) / 2);
    ASSERT_INT(x[1], size);
    ASSERT_INT(y[0], size - 1);
    ASSERT_INT(y[2], 0);
}

static void test_send_in_pieces(void) {
    if (all()->size < 2) return;
    size_t bytes = ((size_t)32 << 20) + 7;
    unsigned char *data = mem_alloc((int64_t)bytes, 1);
    if (base_rank == 1) {
        for (size_t i = 0; i < bytes; i++) data[i] = (unsigned char)(i % 251);
        comm_send(all(), 0, data, bytes);
    }
    if (base_rank == 0) {
        comm_receive(all(), 1, data, bytes);
        for (size_t i = 0; i < bytes; i += 513) ASSERT_INT(data[i], (unsigned char)(i % 251));
        ASSERT_INT(data[bytes - 1], (unsigned char)((bytes - 1) % 251));
    }
    mem_free(data);
}

static void test_agree_tells_the_lowest_failure(void) {
    ASSERT_INT(comm_agree(all(), 0), 0);
    int last = all()->size - 1;
    int status = base_rank == last ? fail("the last rank has %d", base_rank) : 0;
    ASSERT_INT(comm_agree(all(), status), -1);
    char expected[64];
    snprintf(expected, sizeof expected, "the last rank has %d", last);
    ASSERT_TEXT(error_text(), expected);
    ASSERT_INT(comm_agree(all(), fail("rank %d", base_rank)), -1);
    ASSERT_TEXT(error_text(), "rank 0");
    error_clear();
}

static void test_split(void) {
    struct ranks part = comm_split(all(), base_rank % 2);
    int size = all()->size, expected = base_rank % 2 ? size / 2 : (size + 1) / 2;
    ASSERT_INT(part.size, expected);
    ASSERT_INT(part.rank, base_rank / 2);
    double sum = base_rank;
    comm_sum(&part, &sum, 1);
    int want = 0;
    for (int r = base_rank % 2; r < size; r += 2) want += r;
    ASSERT_INT(sum, want);
    comm_free(&part);
    comm_free(&part); /* a group of one */
}

static void test_shared_memory(void) {
    struct ranks node = comm_split_node(all());
    ASSERT_INT(node.size, all()->size);
    enum { N = 100000 };
    struct shared_memory memory = comm_shared_alloc(&node, N * sizeof(int));
    int *data = memory.data;
    double fillers = memory.fill;
    comm_sum(&node, &fillers, 1);
    ASSERT_INT(fillers, 1);
    if (memory.fill)
        for (int i = 0; i < N; i++) data[i] = 3 * i;
    comm_shared_ready(&node, &memory);
    for (int i = 0; i < N; i++) ASSERT_INT(data[i], 3 * i);
    comm_barrier(&node);
    comm_shared_free(&memory);
    comm_free(&node);
}

/* ---- placement ---- */

static void test_placement_groups(void) {
    struct placement place;
    int size = all()->size;
    for (int n = 1; n <= size; n++) {
        if (size % n) {
            ASSERT_INT(placement_init(&place, n), -1);
            ASSERT_CONTAINS(error_text(), "expected a divisor of the number of ranks");
            continue;
        }
        ASSERT_INT(placement_init(&place, n), 0);
        ASSERT_INT(place.data.size, size);
        ASSERT_INT(place.data.rank, base_rank);
        ASSERT_INT(place.zero.size, n);
        ASSERT_INT(place.zero.rank, base_rank % n);
        ASSERT_INT(place.replica.size, size / n);
        ASSERT_INT(place.replica.rank, base_rank / n);
        placement_free(&place);
    }
    static const enum zero_group whole[] = {ZERO_GROUP_ALL, ZERO_GROUP_NODE};
    for (int i = 0; i < 2; i++) {
        ASSERT_INT(placement_init(&place, whole[i]), 0);
        ASSERT_INT(place.zero.size, size);
        ASSERT_INT(place.replica.size, 1);
        ASSERT_INT(place.node.size, size);
        placement_free(&place);
    }
    error_clear();
}

/* Every allowed core is used, and by no more ranks than it must. Plain `mpirun -np 1` binds the
 * rank to one core: then this test holds only because the rank widens its affinity. */
static void test_cores_are_shared_out(void) {
    struct placement place;
    ASSERT_INT(placement_init(&place, ZERO_GROUP_ALL), 0);
    int threads = placement_claim_cores(&place, 0), size = all()->size;
    cpu_set_t mine;
    ASSERT_INT(sched_getaffinity(0, sizeof mine, &mine), 0);
    ASSERT_INT(omp_get_max_threads(), threads);
    double used[CPU_SETSIZE], total = 0, least = size, max = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) used[cpu] = CPU_ISSET(cpu, &mine) != 0;
    comm_sum(all(), used, CPU_SETSIZE);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (used[cpu] == 0) continue;
        total++;
        least = MIN(least, used[cpu]);
        max = MAX(max, used[cpu]);
    }
    ASSERT(max <= least + 1);
    ASSERT(total >= size ? max == 1 : threads == 1);
    if (getenv("OMPI_COMM_WORLD_SIZE")) {
        cpu_set_t launcher;
        if (sched_getaffinity(getppid(), sizeof launcher, &launcher) == 0)
            ASSERT_INT(total, CPU_COUNT(&launcher));
    }
    ASSERT_INT(placement_claim_cores(&place, 3), 3);
    ASSERT_INT(omp_get_max_threads(), 3);
    placement_free(&place);
}

/* ---- the CPU's collectives ---- */

enum {
    LARGE = 5 * (256 << 10) / 2
}; /* of a slice: two and a half pieces of the exchange, and more pieces than fly */

static void check_sums(int64_t count, bool in_place) {
    int size = all()->size;
    float *data = mem_alloc(count * size, sizeof *data), *out = mem_alloc(count, sizeof *out);
    float *to = in_place ? data + base_rank * count : out;
    for (int64_t i = 0; i < count * size; i++) data[i] = value(base_rank, i);
    /* of one rank: nothing to do */
    if (size == 1 && !in_place) memcpy(out, data, (size_t)count * sizeof *out);
    table.reduce_scatter(&dev, all(), to, data, count);
    table.event_record(&dev, 7, STREAM_COMM);
    for (int i = 0; i < 3; i++) table.progress(&dev);
    table.stream_wait(&dev, STREAM_COMPUTE, 7);
    for (int64_t i = 0; i < count; i++)
        ASSERT_NEAR(to[i], sum_of_values(size, base_rank * count + i), 0);
    mem_free(out);
    mem_free(data);
}

static void test_reduce_scatter(void) {
    static const int64_t counts[] = {0, 1, 255, 256, 4096, 256 << 10, LARGE};
    for (int i = 0; i < N_TESTS(counts); i++) {
        check_sums(counts[i], true);
        check_sums(counts[i], false);
    }
}

static void test_all_gather(void) {
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_I32};
    for (int d = 0; d < 3; d++) {
        size_t bytes = dtype_bytes(dtypes[d]);
        int64_t count = 12345;
        int size = all()->size;
        unsigned char *data = mem_alloc(count * size, bytes);
        size_t slice = (size_t)count * bytes;
        for (size_t i = 0; i < slice; i++)
            data[(size_t)base_rank * slice + i] = (unsigned char)(i * 3 + (size_t)base_rank);
        table.all_gather(&dev, all(), data, count, dtypes[d]);
        table.synchronize(&dev, STREAM_COMM);
        for (size_t i = 0; i < slice * (size_t)size; i++)
            ASSERT_INT(data[i], (unsigned char)(i % slice * 3 + i / slice));
        mem_free(data);
    }
}

/* A later operation sees what an earlier one left, though nothing is waited for between; and the
 * calls of comm.h that are made meanwhile are not confused with them. */
static void test_operations_run_in_order(void) {
    enum { N = 20, COUNT = 3000 };
    int size = all()->size;
    float *data[N];
    for (int k = 0; k < N; k++) {
        data[k] = mem_alloc((int64_t)COUNT * size, sizeof(float));
        for (int64_t i = 0; i < COUNT * size; i++) data[k][i] = value(base_rank, i + k);
        table.reduce_scatter(&dev, all(), data[k] + base_rank * COUNT, data[k], COUNT);
        table.all_reduce(&dev, all(), data[k] + base_rank * COUNT, 10);
        table.all_gather(&dev, all(), data[k], COUNT, DTYPE_F32);
        table.event_record(&dev, k, STREAM_COMM);
        double one = 1;
        comm_sum(all(), &one, 1);
        ASSERT_INT(one, size);
    }
    for (int k = 0; k < N; k++) {
        table.stream_wait(&dev, STREAM_COMPUTE, k);
        for (int64_t i = 0; i < COUNT * size; i++) {
            /* Element j < 10 of every slice was summed over the ranks once more. */
            int64_t j = i % COUNT;
            float expected = j < 10 ? 0 : sum_of_values(size, i + k);
            for (int r = 0; j < 10 && r < size; r++)
                expected += sum_of_values(size, r * COUNT + j + k);
            ASSERT_NEAR(data[k][i], expected, 0);
        }
        mem_free(data[k]);
    }
}

static void test_queue_outgrows_its_capacity(void) {
    enum { N = 1500 };
    int size = all()->size;
    float *data = mem_alloc(N, sizeof *data);
    for (int i = 0; i < N; i++) {
        data[i] = (float)(base_rank + i);
        table.all_reduce(&dev, all(), data + i, 1);
    }
    table.synchronize(&dev, STREAM_COMM);
    for (int i = 0; i < N; i++) ASSERT_NEAR(data[i], size * i + size * (size - 1) / 2, 0);
    mem_free(data);
}

/* `test_comm lost HOW`: the last rank ends in one of the ways there are, the others wait for it for
 * ever; tests/cli/cli_ranks.sh looks at what becomes of them. */
static void lose_a_rank(const char *how) {
    static float data[4096];
    if (base_rank == base_size - 1) {
        usleep(300000);
        if (strcmp(how, "die") == 0) die("this rank has had enough");
        if (strcmp(how, "check") == 0) CHECK(base_rank < 0, "rank %d", base_rank);
        if (strcmp(how, "kill") == 0) raise(SIGKILL);
        if (strcmp(how, "exit") == 0) exit(EXIT_FAILED);
        /* what MPI refuses */
        if (strcmp(how, "call") == 0) comm_broadcast(comm_world(), -5, data, sizeof data);
    }
    if (base_rank % 2 == 0) table.all_reduce(&dev, comm_world(), data, 4096);
    table.synchronize(&dev, STREAM_COMM);
    comm_barrier(comm_world());
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"broadcast_and_gather_in_pieces", test_broadcast_and_gather_in_pieces},
        {"sum_and_max", test_sum_and_max},
        {"send_in_pieces", test_send_in_pieces},
        {"agree_tells_the_lowest_failure", test_agree_tells_the_lowest_failure},
        {"split", test_split},
        {"shared_memory", test_shared_memory},
        {"placement_groups", test_placement_groups},
        {"cores_are_shared_out", test_cores_are_shared_out},
        {"reduce_scatter", test_reduce_scatter},
        {"all_gather", test_all_gather},
        {"operations_run_in_order", test_operations_run_in_order},
        {"queue_outgrows_its_room", test_queue_outgrows_its_capacity},
    };
    comm_start(&argc, &argv);
    comm_install_cpu_collectives(&table);
    if (argc == 3 && strcmp(argv[1], "lost") == 0) lose_a_rank(argv[2]);
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    size_t balance = mem_balance();
    comm_stop();
    if (balance > 1024) die("%zu bytes are still held", balance);
    return code;
}
