/* NCCL's collectives over MPI, among processes that have MPI up.
 *
 *   (1) Members tell the id's creator who they are, it tells them who all are, and they make a
 *       communicator of their own; nobody else takes part. A communicator of one needs no MPI.
 *   (2) Sums run in the order of ranks, in float for bf16: the same bits on every rank and in every
 *       run.
 *   (3) Buffers may be in place as NCCL allows, and of any length: messages are cut below what
 *       MPI's int counts.
 *   (4) Each collective is compared with the peers' first: another call, count or type ends the
 *       program, where NCCL would hang or return nonsense.
 *   (5) A collective is done when its stream comes to it (EMU_LAZY: not before somebody waits for
 *       it); it blocks. */
#include <mpi.h>

#include "cuda_bf16.h"
#include "emulation.h"
#include "nccl.h"

#include <algorithm>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

enum { MOST_BYTES = 1 << 28, JOIN_TAG = 21000, N_TAGS = 4000 };

struct ncclComm {
    MPI_Comm mpi; /* MPI_COMM_NULL: one rank */
    int rank, size;
    uint64_t n_calls;
    ncclResult_t error;
};
struct call {
    enum kind { GATHER, REDUCE_SCATTER, ALL_REDUCE, BROADCAST } kind;
    const void *send;
    void *receive;
    size_t count; /* of elements, as NCCL means it for the call */
    ncclDataType_t type;
    ncclRedOp_t op;
    int root;
    struct ncclComm *comm;
    cudaStream_t stream;
};

static const char *const names[] = {"ncclAllGather", "ncclReduceScatter", "ncclAllReduce",
                                    "ncclBroadcast"};
static std::vector<struct call> grouped;
static int group_depth;
static char last_error[256];

static void mpi_try(int code, const char *what) {
    char words[MPI_MAX_ERROR_STRING];
    int length;
    if (code == MPI_SUCCESS) return;
    MPI_Error_string(code, words, &length);
    emulated_abort("NCCL over MPI: %s: %s", what, words);
}
#define MPI_TRY(call) mpi_try(call, #call)

static ncclResult_t refuse(ncclResult_t result, const char *why) {
    snprintf(last_error, sizeof last_error, "%s", why);
    return result;
}

static size_t type_bytes(ncclDataType_t type) {
    switch (type) {
    case ncclInt8:
    case ncclUint8: return 1;
    case ncclFloat16:
    case ncclBfloat16: return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32: return 4;
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64: return 8;
    }
    return 0;
}

/* ---- moving and adding
 * ---------------------------------------------------------------------------------------------- */
static char *at(const void *p, size_t bytes) {
    return static_cast<char *>(const_cast<void *>(p)) + bytes;
}

static char *capacity(size_t bytes) {
    char *p = static_cast<char *>(malloc(bytes + 1));
    if (!p) emulated_abort("no memory");
    return p;
}

/* Sends to one and receives from another; by (3). */
static void exchange(const struct ncclComm *comm, const char *send, size_t send_bytes, int to,
                     char *receive, size_t receive_bytes, int from) {
    while (send_bytes || receive_bytes) {
        size_t out = std::min<size_t>(send_bytes, MOST_BYTES),
               in = std::min<size_t>(receive_bytes, MOST_BYTES);
        MPI_TRY(MPI_Sendrecv(send, (int)out, MPI_BYTE, to, 1, receive, (int)in, MPI_BYTE, from, 1,
                             comm->mpi, MPI_STATUS_IGNORE));
        send += out;
        receive += in;
        send_bytes -= out;
        receive_bytes -= in;
    }
}

template <class T> static T combine(T a, T b, ncclRedOp_t op) {
    switch (op) {
    case ncclProd: return a * b;
    case ncclMax: return a > b ? a : b;
    case ncclMin: return a < b ? a : b;
    default: return a + b;
    }
}
template <class T>
static void reduce(char *out, const char *in, size_t count, int size, ncclRedOp_t op) {
    const T *x = reinterpret_cast<const T *>(in);
    T *y = reinterpret_cast<T *>(out);
    for (size_t i = 0; i < count; i++) {
        T sum = x[i];
        for (int r = 1; r < size; r++) sum = combine(sum, x[(size_t)r * count + i], op);
        y[i] = op == ncclAvg ? (T)(sum / (T)size) : sum;
    }
}
static void reduce_bf16(char *out, const char *in, size_t count, int size, ncclRedOp_t op) {
    const __nv_bfloat16 *x = reinterpret_cast<const __nv_bfloat16 *>(in);
    __nv_bfloat16 *y = reinterpret_cast<__nv_bfloat16 *>(out);
    for (size_t i = 0; i < count; i++) {
        float sum = __bfloat162float(x[i]);
        for (int r = 1; r < size; r++)
            sum = combine(sum, __bfloat162float(x[(size_t)r * count + i]), op);
        y[i] = __float2bfloat16(op == ncclAvg ? sum / (float)size : sum);
    }
}
/* out (count) from in (size, count). */
static void reduce_any(char *out, const char *in, size_t count, int size, ncclDataType_t type,
                       ncclRedOp_t op) {
    switch (type) {
    case ncclFloat32: return reduce<float>(out, in, count, size, op);
    case ncclFloat64: return reduce<double>(out, in, count, size, op);
    case ncclBfloat16: return reduce_bf16(out, in, count, size, op);
    case ncclInt32: return reduce<int32_t>(out, in, count, size, op);
    case ncclUint32: return reduce<uint32_t>(out, in, count, size, op);
    case ncclInt64: return reduce<int64_t>(out, in, count, size, op);
    case ncclUint64: return reduce<uint64_t>(out, in, count, size, op);
    case ncclInt8: return reduce<int8_t>(out, in, count, size, op);
    case ncclUint8: return reduce<uint8_t>(out, in, count, size, op);
    case ncclFloat16: break;
    }
    emulated_abort("a sum of type %d is not emulated", type);
}

/* Rank r's slice of n elements is [first(r), first(r + 1)). */
static size_t first_of(size_t n, int size, int r) {
    return n / (size_t)size * (size_t)r + std::min<size_t>(n % (size_t)size, (size_t)r);
}

/* out = the reduced slice [first, first + count) of everybody's send buffer, where each rank asks
 * for its own slice. */
static void reduce_slices(const struct call *c, char *out, size_t n) {
    const struct ncclComm *comm = c->comm;
    size_t width = type_bytes(c->type), mine = first_of(n, comm->size, comm->rank);
    size_t count = first_of(n, comm->size, comm->rank + 1) - mine;
    char *all = capacity(count * width * (size_t)comm->size);
    memcpy(all + (size_t)comm->rank * count * width, at(c->send, mine * width), count * width);
    for (int step = 1; step < comm->size; step++) {
        int to = (comm->rank + step) % comm->size,
            from = (comm->rank - step + comm->size) % comm->size;
        size_t theirs = first_of(n, comm->size, to),
               n_theirs = first_of(n, comm->size, to + 1) - theirs;
        exchange(comm, at(c->send, theirs * width), n_theirs * width, to,
                 all + (size_t)from * count * width, count * width, from);
    }
    reduce_any(out, all, count, comm->size, c->type, c->op);
    free(all);
}

/* Everybody's slice of data (n elements), from the ranks that own them. */
static void gather_slices(const struct call *c, char *data, size_t n) {
    const struct ncclComm *comm = c->comm;
    size_t width = type_bytes(c->type), mine = first_of(n, comm->size, comm->rank);
    size_t count = first_of(n, comm->size, comm->rank + 1) - mine;
    for (int step = 1; step < comm->size; step++) {
        int to = (comm->rank + step) % comm->size,
            from = (comm->rank - step + comm->size) % comm->size;
        size_t theirs = first_of(n, comm->size, from),
               n_theirs = first_of(n, comm->size, from + 1) - theirs;
        exchange(comm, data + mine * width, count * width, to, data + theirs * width,
                 n_theirs * width, from);
    }
}

static size_t send_bytes(const struct call *c) {
    return c->count * type_bytes(c->type) *
           (c->kind == call::REDUCE_SCATTER ? (size_t)c->comm->size : 1);
}
static size_t receive_bytes(const struct call *c) {
    return c->count * type_bytes(c->type) * (c->kind == call::GATHER ? (size_t)c->comm->size : 1);
}

/* (4) */
static void compare(const struct call *c) {
    struct {
        uint64_t n, count;
        int kind, type, op, root;
    } mine = {c->comm->n_calls++, c->count, c->kind, c->type, c->op, c->root};
    if (c->comm->mpi == MPI_COMM_NULL) return;
    std::vector<decltype(mine)> all((size_t)c->comm->size);
    MPI_TRY(MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all.data(), sizeof mine, MPI_BYTE,
                          c->comm->mpi));
    for (int r = 0; r < c->comm->size; r++)
        if (memcmp(&all[(size_t)r], &mine, sizeof mine) != 0)
            emulated_abort("collective %lu differs: rank %d calls %s of %lu elements, type %d; "
                           "rank %d %s of %lu, type %d",
                           (unsigned long)mine.n, c->comm->rank, names[mine.kind],
                           (unsigned long)mine.count, mine.type, r, names[all[(size_t)r].kind],
                           (unsigned long)all[(size_t)r].count, all[(size_t)r].type);
}

static void run(const struct call *c) {
    size_t slice = c->count * type_bytes(c->type);
    char *receive = static_cast<char *>(c->receive);
    compare(c);
    switch (c->kind) {
    case call::GATHER: {
        char *own = receive + (size_t)c->comm->rank * slice;
        if (own != c->send) memcpy(own, c->send, slice);
        return gather_slices(c, receive, c->count * (size_t)c->comm->size);
    }
    case call::REDUCE_SCATTER: return reduce_slices(c, receive, c->count * (size_t)c->comm->size);
    case call::ALL_REDUCE:
        reduce_slices(
            c, receive + first_of(c->count, c->comm->size, c->comm->rank) * type_bytes(c->type),
            c->count);
        return gather_slices(c, receive, c->count);
    case call::BROADCAST:
        if (c->comm->rank == c->root && c->send != receive) memcpy(receive, c->send, slice);
        for (size_t done = 0; c->comm->size > 1 && done < slice; done += MOST_BYTES)
            MPI_TRY(MPI_Bcast(receive + done, (int)std::min<size_t>(slice - done, MOST_BYTES),
                              MPI_BYTE, c->root, c->comm->mpi));
    }
}

/* ---- calls
 *
 * ---------------------------------------------------------------------------------------------- */
static bool may_overlap(const struct call *c) { /* as NCCL defines "in place" */
    size_t slice = c->count * type_bytes(c->type);
    switch (c->kind) {
    case call::GATHER: return c->send == at(c->receive, (size_t)c->comm->rank * slice);
    case call::REDUCE_SCATTER: return c->receive == at(c->send, (size_t)c->comm->rank * slice);
    default: return c->send == c->receive;
    }
}

static void put(const struct call &c) {
    auto work = [c] {
        if (c.kind != call::BROADCAST || c.comm->rank == c.root) race_read(c.send, send_bytes(&c));
        race_write(c.receive, receive_bytes(&c));
        race_quietly([&] { run(&c); });
    };
    stream_put(c.stream, work, true);
}

static ncclResult_t call_put(const struct call &c) {
    const char *name = names[c.kind];
    if (int code = settings_failure(name)) return refuse((ncclResult_t)code, "by EMU_FAIL");
    if (!c.comm) return refuse(ncclInvalidArgument, "the communicator is NULL");
    if (!type_bytes(c.type) || c.root < 0 || c.root >= c.comm->size)
        return refuse(ncclInvalidArgument, "type or root");
    if (c.count) {
        bool sends = c.kind != call::BROADCAST || c.comm->rank == c.root;
        if (sends) memory_check(c.send, send_bytes(&c), name, "the send buffer");
        memory_check(c.receive, receive_bytes(&c), name, "the receive buffer");
        if (sends && at(c.send, 0) < at(c.receive, receive_bytes(&c)) &&
            at(c.receive, 0) < at(c.send, send_bytes(&c)) && !may_overlap(&c))
            emulated_abort("%s: the buffers overlap and are not in place", name);
    }
    if (group_depth) grouped.push_back(c);
    else put(c);
    return ncclSuccess;
}

ncclResult_t ncclGroupStart(void) {
    group_depth++;
    return ncclSuccess;
}
ncclResult_t ncclGroupEnd(void) {
    if (group_depth == 0) return refuse(ncclInvalidUsage, "ncclGroupEnd without a start");
    if (--group_depth > 0) return ncclSuccess;
    for (const struct call &c : grouped) put(c);
    grouped.clear();
    return ncclSuccess;
}
ncclResult_t ncclAllGather(const void *send, void *receive, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
    return call_put({call::GATHER, send, receive, count, type, ncclSum, 0, comm, stream});
}
ncclResult_t ncclReduceScatter(const void *send, void *receive, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
    return call_put({call::REDUCE_SCATTER, send, receive, count, type, op, 0, comm, stream});
}
ncclResult_t ncclAllReduce(const void *send, void *receive, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
    return call_put({call::ALL_REDUCE, send, receive, count, type, op, 0, comm, stream});
}
ncclResult_t ncclBroadcast(const void *send, void *receive, size_t count, ncclDataType_t type,
                           int root, ncclComm_t comm, cudaStream_t stream) {
    return call_put({call::BROADCAST, send, receive, count, type, ncclSum, root, comm, stream});
}

/* ---- communicators
 * ---------------------------------------------------------------------------------------------- */
struct id { /* in ncclUniqueId */
    char magic[8];
    int creator, serial; /* rank in MPI_COMM_WORLD; number of the id there */
};
static const char id_magic[8] = "emuNCCL";

static bool mpi_is_up(void) {
    int up, down;
    MPI_Initialized(&up);
    MPI_Finalized(&down);
    return up && !down;
}

ncclResult_t ncclGetVersion(int *version) {
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}
ncclResult_t ncclGetUniqueId(ncclUniqueId *unique) {
    static int n_made;
    struct id id = {};
    if (int code = settings_failure("ncclGetUniqueId"))
        return refuse((ncclResult_t)code, "by EMU_FAIL");
    memcpy(id.magic, id_magic, sizeof id_magic);
    if (mpi_is_up()) MPI_TRY(MPI_Comm_rank(MPI_COMM_WORLD, &id.creator));
    id.serial = n_made++;
    memset(unique, 0, sizeof *unique);
    memcpy(unique, &id, sizeof id);
    return ncclSuccess;
}

/* (1): world (size) = the members' ranks in MPI_COMM_WORLD. */
static void meet_members(const struct id *id, int rank, int size, int tag,
                         std::vector<int> *world) {
    int me;
    MPI_TRY(MPI_Comm_rank(MPI_COMM_WORLD, &me));
    int mine[3] = {rank, me, size};
    if (me != id->creator) {
        MPI_TRY(MPI_Send(mine, 3, MPI_INT, id->creator, tag, MPI_COMM_WORLD));
        MPI_TRY(MPI_Recv(world->data(), size, MPI_INT, id->creator, tag + 1, MPI_COMM_WORLD,
                         MPI_STATUS_IGNORE));
        return;
    }
    for (int i = 0; i < size; i++) {
        int member[3] = {mine[0], mine[1], mine[2]};
        if (i > 0)
            MPI_TRY(MPI_Recv(member, 3, MPI_INT, MPI_ANY_SOURCE, tag, MPI_COMM_WORLD,
                             MPI_STATUS_IGNORE));
        if (member[2] != size || member[0] < 0 || member[0] >= size ||
            (*world)[(size_t)member[0]] >= 0)
            emulated_abort("ncclCommInitRank: a member says rank %d of %d, another %d of %d",
                           member[0], member[2], rank, size);
        (*world)[(size_t)member[0]] = member[1];
    }
    for (int other : *world)
        if (other != me)
            MPI_TRY(MPI_Send(world->data(), size, MPI_INT, other, tag + 1, MPI_COMM_WORLD));
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int size, ncclUniqueId unique, int rank) {
    struct id id;
    memcpy(&id, &unique, sizeof id);
    if (int code = settings_failure("ncclCommInitRank"))
        return refuse((ncclResult_t)code, "by EMU_FAIL");
    if (memcmp(id.magic, id_magic, sizeof id_magic) != 0)
        return refuse(ncclInvalidArgument, "not an id of ncclGetUniqueId");
    if (size < 1 || rank < 0 || rank >= size) return refuse(ncclInvalidArgument, "rank and size");
    *comm = new ncclComm{MPI_COMM_NULL, rank, size, 0, ncclSuccess};
    if (size == 1) return ncclSuccess;
    if (!mpi_is_up()) return refuse(ncclSystemError, "the emulation's NCCL needs MPI");
    int tag = JOIN_TAG + id.serial % N_TAGS * 3;
    std::vector<int> world((size_t)size, -1);
    MPI_Group all, members;
    meet_members(&id, rank, size, tag, &world);
    MPI_TRY(MPI_Comm_group(MPI_COMM_WORLD, &all));
    MPI_TRY(MPI_Group_incl(all, size, world.data(), &members));
    MPI_TRY(MPI_Comm_create_group(MPI_COMM_WORLD, members, tag + 2, &(*comm)->mpi));
    MPI_TRY(MPI_Group_free(&members));
    MPI_TRY(MPI_Group_free(&all));
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t) {
    stream_drain_all();
    return ncclSuccess;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    stream_drain_all();
    if (comm->mpi != MPI_COMM_NULL && mpi_is_up()) MPI_TRY(MPI_Comm_free(&comm->mpi));
    delete comm;
    return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
    delete comm;
    return ncclSuccess;
}
ncclResult_t ncclCommCount(const ncclComm_t comm, int *size) {
    *size = comm->size;
    return ncclSuccess;
}
ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank) {
    *rank = comm->rank;
    return ncclSuccess;
}
ncclResult_t ncclCommCuDevice(const ncclComm_t, int *device) {
    return cudaGetDevice(device) == cudaSuccess ? ncclSuccess : ncclUnhandledCudaError;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error) {
    int code = settings_failure("ncclCommGetAsyncError");
    *error = code ? (ncclResult_t)code : comm->error;
    return ncclSuccess;
}
const char *ncclGetLastError(ncclComm_t) { return last_error; }
const char *ncclGetErrorString(ncclResult_t result) {
    switch (result) {
    case ncclSuccess: return "no error";
    case ncclUnhandledCudaError: return "unhandled cuda error";
    case ncclSystemError: return "unhandled system error";
    case ncclInternalError: return "internal error";
    case ncclInvalidArgument: return "invalid argument";
    case ncclInvalidUsage: return "invalid usage";
    case ncclRemoteError: return "remote process exited or there was a network error";
    case ncclInProgress: return "NCCL operation in progress";
    }
    return "unknown result code";
}
