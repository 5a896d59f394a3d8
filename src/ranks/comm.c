/* Ranks over MPI: see comm.h.
 *
 *   (1) A group of one has no communicator, and no function here calls MPI for it.
 *   (2) Buffers of any size are moved in pieces of at most PIECE bytes, because MPI counts in int.
 *   (3) Errors are returned by MPI and checked here: MPI_TRY dies with the call and MPI's words.
 *       die ends in MPI_Abort, which makes mpirun kill the other ranks; so one speaks and nobody
 *       hangs. */
#include "comm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend.h"
#include "clock.h"
#include "memory.h"
#include "mpi_try.h"

enum { PIECE = 16 << 20, ERROR_ROOM = 4096, TAG_PIECE = 1 };

static struct ranks world = {0, 1, NULL, NULL};

NO_RETURN void mpi_die_at(const char *file, int line, const char *call, int error) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    if (MPI_Error_string(error, text, &length) != MPI_SUCCESS) text[0] = 0;
    die_at(file, line, text, "%s", call);
}

static void abort_all(void) {
    int is_up = 0, is_down = 0;
    MPI_Initialized(&is_up);
    MPI_Finalized(&is_down);
    if (is_up && !is_down) MPI_Abort(MPI_COMM_WORLD, EXIT_FAILED);
    _exit(EXIT_FAILED);
}

/* Takes over `calls`. */
static struct ranks make_group(MPI_Comm calls) {
    struct ranks group = {0, 1, NULL, NULL};
    MPI_TRY(MPI_Comm_set_errhandler(calls, MPI_ERRORS_RETURN));
    MPI_TRY(MPI_Comm_rank(calls, &group.rank));
    MPI_TRY(MPI_Comm_size(calls, &group.size));
    if (group.size == 1) { /* by (1) */
        MPI_TRY(MPI_Comm_free(&calls));
        return group;
    }
    struct communicator *comm = mem_alloc(1, sizeof *comm);
    comm->calls = calls;
    MPI_TRY(MPI_Comm_dup(calls, &comm->stream));
    group.handle = comm;
    return group;
}

static MPI_Comm calls_of(const struct ranks *group) {
    return ranks_communicator(group)->calls;
}

void comm_start(int *argc, char ***argv) {
    clock_seconds(); /* starts the clock that die tells */
    int provided;
    int error = MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
    if (error != MPI_SUCCESS) mpi_die_at(__FILE__, __LINE__, "MPI_Init_thread", error);
    die_hook = abort_all;
    MPI_TRY(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    MPI_TRY(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN));
    if (provided < MPI_THREAD_FUNNELED)
        die("this MPI gives no threads at all: MPI_THREAD_FUNNELED wanted");
    MPI_Comm all;
    MPI_TRY(MPI_Comm_dup(MPI_COMM_WORLD, &all));
    world = make_group(all);
    base_rank = world.rank;
    base_size = world.size;
    comm_install_cpu_collectives(&cpu_backend);
}

void comm_stop(void) {
    comm_barrier(&world);
    comm_free(&world);
    die_hook = NULL;
    MPI_TRY(MPI_Finalize());
}

const struct ranks *comm_world(void) {
    return &world;
}

struct ranks comm_split(const struct ranks *group, int colour) {
    if (group->size == 1) return *group;
    MPI_Comm part;
    MPI_TRY(MPI_Comm_split(calls_of(group), colour, group->rank, &part));
    return make_group(part);
}

struct ranks comm_split_node(const struct ranks *group) {
    if (group->size == 1) return *group;
    MPI_Comm part;
    MPI_TRY(MPI_Comm_split_type(calls_of(group), MPI_COMM_TYPE_SHARED, group->rank, MPI_INFO_NULL,
                                &part));
    return make_group(part);
}

void comm_free(struct ranks *group) {
    struct communicator *comm = group->handle;
    if (comm) {
        MPI_TRY(MPI_Comm_free(&comm->stream));
        MPI_TRY(MPI_Comm_free(&comm->calls));
        mem_free(comm);
    }
    *group = (struct ranks){0, 1, NULL, NULL};
}

void comm_barrier(const struct ranks *group) {
    if (group->size > 1) MPI_TRY(MPI_Barrier(calls_of(group)));
}

void comm_broadcast(const struct ranks *group, int root, void *data, size_t bytes) {
    if (group->size == 1) return;
    for (size_t done = 0; done < bytes; done += PIECE) {
        int n = (int)MIN(bytes - done, (size_t)PIECE);
        MPI_TRY(MPI_Bcast((char *)data + done, n, MPI_BYTE, root, calls_of(group)));
    }
}

/* MPI demands of its implementations that all ranks get the same bits. */
static void reduce(const struct ranks *group, double *data, int n, MPI_Op op) {
    if (group->size > 1)
        MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, data, n, MPI_DOUBLE, op, calls_of(group)));
}

void comm_sum(const struct ranks *group, double *data, int n) {
    reduce(group, data, n, MPI_SUM);
}

void comm_max(const struct ranks *group, double *data, int n) {
    reduce(group, data, n, MPI_MAX);
}

void comm_merge(const struct ranks *group, float *data, int64_t n) {
    enum { AT_ONCE = 65536 };
    if (group->size == 1) return;
    double *piece = mem_alloc(AT_ONCE, sizeof *piece);
    for (int64_t at = 0; at < n; at += AT_ONCE) {
        int count = (int)MIN(AT_ONCE, n - at);
        for (int i = 0; i < count; i++) piece[i] = data[at + i];
        comm_sum(group, piece, count);
        for (int i = 0; i < count; i++) data[at + i] = (float)piece[i];
    }
    mem_free(piece);
}

void comm_gather(const struct ranks *group, int root, void *all, const void *mine, size_t bytes) {
    if (group->size == 1) {
        if (bytes) memcpy(all, mine, bytes);
        return;
    }
    for (size_t done = 0; done < bytes; done += PIECE) {
        int n = (int)MIN(bytes - done, (size_t)PIECE);
        /* n bytes; the same with the distance of two ranks' parts as extent */
        MPI_Datatype run, row;
        MPI_TRY(MPI_Type_contiguous(n, MPI_BYTE, &run));
        MPI_TRY(MPI_Type_create_resized(run, 0, (MPI_Aint)bytes, &row));
        MPI_TRY(MPI_Type_commit(&row));
        char *to = group->rank == root ? (char *)all + done : NULL;
        MPI_TRY(
            MPI_Gather((const char *)mine + done, n, MPI_BYTE, to, 1, row, root, calls_of(group)));
        MPI_TRY(MPI_Type_free(&row));
        MPI_TRY(MPI_Type_free(&run));
    }
}

void comm_send(const struct ranks *group, int to, const void *data, size_t bytes) {
    for (size_t done = 0; done < bytes; done += PIECE) {
        int n = (int)MIN(bytes - done, (size_t)PIECE);
        MPI_TRY(MPI_Send((const char *)data + done, n, MPI_BYTE, to, TAG_PIECE, calls_of(group)));
    }
}

void comm_receive(const struct ranks *group, int from, void *data, size_t bytes) {
    for (size_t done = 0; done < bytes; done += PIECE) {
        int n = (int)MIN(bytes - done, (size_t)PIECE);
        MPI_TRY(MPI_Recv((char *)data + done, n, MPI_BYTE, from, TAG_PIECE, calls_of(group),
                         MPI_STATUS_IGNORE));
    }
}

int comm_agree(const struct ranks *group, int status) {
    if (group->size == 1) return status < 0 ? -1 : 0;
    int first = status < 0 ? group->rank : group->size;
    MPI_TRY(MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, calls_of(group)));
    if (first == group->size) return 0;
    char text[ERROR_ROOM] = "";
    if (group->rank == first)
        memcpy(text, error_text(), MIN(strlen(error_text()), sizeof text - 1));
    comm_broadcast(group, first, text, sizeof text);
    return fail("%s", text);
}

struct shared_memory comm_shared_alloc(const struct ranks *node, size_t bytes) {
    if (node->size == 1) return (struct shared_memory){mem_alloc((int64_t)bytes, 1), true, NULL};
    struct shared_memory memory = {NULL, node->rank == 0, NULL};
    MPI_Win *window = mem_alloc(1, sizeof *window);
    MPI_Aint wanted = node->rank == 0 ? (MPI_Aint)MAX(bytes, 1) : 0, size;
    int unit;
    MPI_TRY(
        MPI_Win_allocate_shared(wanted, 1, MPI_INFO_NULL, calls_of(node), &memory.data, window));
    MPI_TRY(MPI_Win_set_errhandler(*window, MPI_ERRORS_RETURN));
    MPI_TRY(MPI_Win_shared_query(*window, 0, &size, &unit, &memory.data));
    memory.handle = window;
    MPI_TRY(MPI_Win_lock_all(MPI_MODE_NOCHECK, *window));
    return memory;
}

/* The standard's way to make plain stores visible to the other processes: sync, barrier, sync. */
void comm_shared_ready(const struct ranks *node, struct shared_memory *memory) {
    if (!memory->handle) return;
    MPI_Win *window = memory->handle;
    MPI_TRY(MPI_Win_sync(*window));
    comm_barrier(node);
    MPI_TRY(MPI_Win_sync(*window));
}

void comm_shared_free(struct shared_memory *memory) {
    MPI_Win *window = memory->handle;
    if (window) {
        MPI_TRY(MPI_Win_unlock_all(*window));
        MPI_TRY(MPI_Win_free(window));
        mem_free(window);
    } else {
        mem_free(memory->data);
    }
    *memory = (struct shared_memory){0};
}
