/* The emulation's own primitives: how a kernel is launched on the host, what its threads share, and
 * where they meet.
 *
 * Every thread of a block is a fiber of the one OS thread that launches; blocks run one after
 * another. fiber.cc is the scheduler. A .cu file sees this header through cuda/gpu.h; cuda/ptx.h
 * builds the host twins of inline PTX from emulated_warp and emulated_copy_*; nothing else needs
 * more than LAUNCH, SHARED and DYNAMIC_SHARED.
 *
 *   (1) What breaks the rules of cuda/gpu.h ends the program with the kernel, the block, and where
 *       each thread is.
 *   (2) Shared memory is filled with 0xFF (NaN, -1) when a block first asks for it. A SHARED array
 *       has the alignment of its type and never more: vector loads from it need SHARED of the
 *       vector type.
 *   (3) Shuffles, votes and emulated_warp order nobody's memory accesses, __syncwarp and barriers
 *       do: the race checker sees it so, as CUDA says it. */
#ifndef RANKWISE_EMULATED_H
#define RANKWISE_EMULATED_H
#include <stddef.h>
#include <stdint.h>

#include <tuple>
#include <type_traits>
#include <utility>

#pragma GCC visibility push(hidden)

/* Where a call stands: default arguments take the caller's place. */
#define EMULATED_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
enum { warpSize = 32 };

typedef struct CUstream_st *cudaStream_t;

/* Prints the words, the kernel that runs and what its threads wait for; ends the program. */
[[noreturn]] void emulated_abort(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- meeting
 *
 * ---------------------------------------------------------------------------------------------- */
/* All threads of the block; returns how many came with a predicate other than 0. */
int emulated_barrier(int predicate, const char *file, int line);
void emulated_warp_barrier(unsigned mask, const char *file, int line);

/* A warp's operation. Each lane comes with the address of its frame (what it gives and gets); the
 * last of the 32 calls all(lane, operation) once, on everybody's frames, and then all go on. */
void emulated_meet(void *frame, void (*all)(void *const lane[32], void (*operation)()),
                   void (*operation)(), const char *file, int line);
template <class Frame> void emulated_meet_as(void *const lane[32], void (*operation)()) {
    reinterpret_cast<void (*)(Frame *const *)>(operation)(reinterpret_cast<Frame *const *>(lane));
}
/* The same with types: what twins of PTX use.
 *     struct swap { float value; };
 *     static void swap_all(swap *const lane[32]) { ... lane[i]->value ... }
 *     float f(float x) { swap s = {x}; emulated_warp(s, swap_all); return s.value; }
 * Memory other than frames is to be read before the meeting or written after it, by the lane
 * itself. */
template <class Frame>
inline void emulated_warp(Frame &mine, void (*all)(Frame *const lane[32]), EMULATED_HERE) {
    emulated_meet(&mine, emulated_meet_as<Frame>, reinterpret_cast<void (*)()>(all), file, line);
}

/* ---- shared memory
 * ---------------------------------------------------------------------------------------------- */
/* One SHARED declaration: placed at its first use, fresh in every block. */
struct emulated_array {
    const char *name;
    size_t bytes, alignment;
    uint64_t block; /* the last one that has used it */
    void *at;
};
extern uint64_t emulated_block; /* number of the block that runs, of all that ever ran */
void emulated_array_first(struct emulated_array *array);
void emulated_array_seen(void);
void *emulated_dynamic(void);
/* Whether bytes from p lie in the running block's shared memory. */
bool emulated_is_shared(const void *p, size_t bytes);

template <class Tag>
inline void *emulated_shared(const char *name, size_t bytes, size_t alignment) {
    static struct emulated_array array = {name, bytes, alignment, 0, nullptr};
    if (array.block != emulated_block) emulated_array_first(&array);
    emulated_array_seen();
    return array.at;
}
#define SHARED(type, name, n)                                                               \
    struct emulated_##name;                                                                 \
    static_assert(sizeof(type) * (n) <= 49152, "more than 48 KiB of static shared memory"); \
    type(&name)[n] = *static_cast<type(*)[n]>(                                              \
        emulated_shared<struct emulated_##name>(#name, sizeof(type) * (n), alignof(type)))
#define DYNAMIC_SHARED(name) \
    unsigned char *const name = static_cast<unsigned char *>(emulated_dynamic())

/* ---- copies that end later (cp.async)
 * ---------------------------------------------------------------------------------------------- */
/* Each thread has groups of copies of its own. Bytes move in emulated_copy_wait; until then the
 * target is 0xFF. */
struct emulated_copy {
    unsigned char *to;
    const unsigned char *from;
    int bytes, valid; /* bytes from `valid` on become 0 */
    uint64_t group;
};
/* checks sizes, alignment, and that `to` is shared memory */
void emulated_copy_put(struct emulated_copy copy);
/* takes one of those to be done now, if any is left */
bool emulated_copy_due(int n_pending, struct emulated_copy *copy);
void emulated_copy_commit(void);

static inline void emulated_copy_later(void *to, const void *from, int bytes, int valid) {
    emulated_copy_put({static_cast<unsigned char *>(to), static_cast<const unsigned char *>(from),
                       bytes, valid, 0});
    for (int i = 0; i < bytes; i++) static_cast<unsigned char *>(to)[i] = 0xFF;
}
/* Until at most n_pending of the committed groups are under way. What is not committed is not
 * waited for. */
static inline void emulated_copy_wait(int n_pending) {
    struct emulated_copy copy;
    while (emulated_copy_due(n_pending, &copy))
        for (int i = 0; i < copy.bytes; i++) copy.to[i] = i < copy.valid ? copy.from[i] : 0;
}

/* ---- launches
 *
 * ---------------------------------------------------------------------------------------------- */
struct emulated_kernel {
    const char *name;
    const void *function;
    dim3 grid, block;
    size_t shared_bytes;
    virtual void run() = 0; /* one thread */
    virtual ~emulated_kernel() {}
};
/* takes the kernel over */
void emulated_start(struct emulated_kernel *kernel, cudaStream_t stream);
/* Ends the program unless p is NULL or device memory that is allocated now. */
void emulated_check_pointer(const void *p, const char *kernel, int argument);

template <class T> inline auto emulated_check_data(const T &a, const char *kernel, int i, int)
    -> decltype(static_cast<const void *>(a.data), void()) {
    emulated_check_pointer(a.data, kernel, i);
}
template <class T> inline void emulated_check_data(const T &, const char *, int, long) {}
template <class T> inline void emulated_check_argument(const T &a, const char *kernel, int i) {
    if constexpr (std::is_pointer_v<T>)
        emulated_check_pointer(reinterpret_cast<const void *>(a), kernel, i);
    else
        emulated_check_data(a, kernel, i, 0);
}

template <class... P> struct emulated_call : emulated_kernel {
    void (*kernel)(P...);
    std::tuple<P...> arguments;
    template <class... A>
    emulated_call(void (*k)(P...), A &&...a)
        : kernel(k), arguments(static_cast<P>(std::forward<A>(a))...) {}
    template <size_t... I> void call(std::index_sequence<I...>) {
        kernel(std::get<I>(arguments)...);
    }
    void run() override { call(std::index_sequence_for<P...>()); }
};

template <class... P, class... A>
void emulated_launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block,
                     size_t shared_bytes, cudaStream_t stream, A &&...a) {
    static_assert(sizeof...(P) == sizeof...(A), "a kernel's arguments");
    auto *call = new emulated_call<P...>(kernel, std::forward<A>(a)...);
    call->name = name;
    call->function = reinterpret_cast<const void *>(kernel);
    call->grid = grid;
    call->block = block;
    call->shared_bytes = shared_bytes;
    std::apply(
        [&](const P &...p) {
            int i = 0;
            (emulated_check_argument(p, name, i++), ...);
        },
        call->arguments);
    emulated_start(call, stream);
}
#define LAUNCH(kernel, grid, block, shared, stream, ...) \
    emulated_launch(#kernel, kernel, (grid), (block), (shared), (stream), ##__VA_ARGS__)

#pragma GCC visibility pop
#endif
