/* The scheduler: a block's threads as fibers of one OS thread.
 *
 *   (1) Blocks run one after another, threads of a block until they wait. Whoever comes last to a
 *       barrier or a warp's meeting goes on; the others become ready in the order of settings.
 *   (2) Fibers are lazy: one runs thread after thread and is left behind only when its thread
 *       waits, so a kernel without barriers is a plain loop. Under the race checker each thread has
 *       a fiber of its own, since a fiber is what counts as a thread there.
 *   (3) Every arrival costs O(1).
 *   (4) For the race checker threads of two blocks in turn are different fibers, ordered only by
 *       what precedes the launch; shared memory is new in every block. So it sees races between
 *       blocks, too.
 *
 * Cost of a switch (2-core cloud machine): own assembly 11-14 ns per thread and barrier; ucontext,
 * used where the processor is another, 250 ns (two system calls). */
#include "emulation.h"

#include <algorithm>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

#if !defined(__x86_64__) || defined(EMULATED_UCONTEXT)
#include <ucontext.h>
#define USE_UCONTEXT 1
#else
#define USE_UCONTEXT 0
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define ADDRESS_CHECK 1
#else
#define ADDRESS_CHECK 0
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)0)
#endif

enum {
    MAX_THREADS = 1024,
    STACK_BYTES = ADDRESS_CHECK || RACE_CHECK ? 512 << 10 : 128 << 10,
    STATIC_ROOM = 8 << 20
};
enum { MAX_COPIES = 512, MAX_ARRAYS = 64, MAX_OLD = (MAX_ARRAYS + 1) * 64 };
enum {
    MAX_STATIC = 48 << 10,
    MAX_SHARED = 227 << 10,
    BLOCKS_OF_SHADOW = MAX_OLD / (MAX_ARRAYS + 1)
};

struct fiber {
    void *sp;
    char *stack;
    void *race; /* the race checker's thread */
    void *fake_stack;
    const void *bottom;
    size_t bytes;
#if USE_UCONTEXT
    ucontext_t context;
#endif
};
struct thread {
    unsigned index;
    enum { NOT_STARTED, RUNNING, READY, AT_BARRIER, IN_WARP, DONE } state;
    struct fiber *fiber;
    const char *file;
    int line;
};
/* A thread's asynchronous copies: n of them from `first` on, in a ring. */
struct copies {
    unsigned first, n;
    uint64_t group; /* of those that are not committed yet */
};
struct warp {
    unsigned n;
    bool sites_differ;
    const char *file; /* of the first lane that waits */
    int line;
    void (*operation)();
    void *frame[32];
};
/* What the race checker orders by. Barriers have two, so that who comes early to the next orders
 * nothing by it. */
struct order_tags {
    char in, out;
};
struct channel {
    std::vector<struct fiber *> free; /* lazy fibers */
    struct side {                     /* (4): one for blocks of even number, one for the others */
        std::vector<struct fiber *> own;
        struct order_tags barrier, warp[MAX_THREADS / 32];
    } side[2];
    char start, end;
};

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
uint64_t emulated_block;

static struct {
    struct emulated_kernel *kernel;
    struct channel *channel;
    struct fiber main, *fiber;
    struct thread *thread, *starting;
    struct thread threads[MAX_THREADS];
    struct copies copies[MAX_THREADS];
    struct emulated_copy ring[MAX_THREADS][MAX_COPIES];
    bool backwards, random;
    unsigned order[MAX_THREADS]; /* in which threads start */
    unsigned n, n_started, n_done;
    struct thread *ready[MAX_THREADS];
    unsigned first_ready, n_ready;
    struct warp warps[MAX_THREADS / 32];
    struct thread *at_barrier[MAX_THREADS];
    unsigned n_at_barrier;
    int n_predicates, result;
    bool sites_differ;
    struct channel::side *side;
    struct emulated_array *arrays[MAX_ARRAYS]; /* static shared memory of this block */
    unsigned n_arrays;
    void *old[MAX_OLD]; /* shared memory of earlier blocks, for the race checker */
    unsigned n_old;
    size_t static_bytes, dynamic_bytes;
    void *dynamic;
} now;

bool fiber_inside(void) { return now.kernel; }

/* ---- reports
 *
 * ---------------------------------------------------------------------------------------------- */
static std::string what_of(const struct thread *t) {
    char place[512];
    switch (t->state) {
    case thread::NOT_STARTED: return "not started";
    case thread::READY: return "ready";
    case thread::DONE: return "has returned";
    case thread::RUNNING: return "running";
    default:
        snprintf(place, sizeof place, "waits at %s:%d for its %s", t->file, t->line,
                 t->state == thread::AT_BARRIER ? "block" : "warp");
        return place;
    }
}

static void print_threads(void) {
    fprintf(stderr, "  kernel %s, block (%u, %u, %u) of grid (%u, %u, %u), %u threads\n",
            now.kernel->name, blockIdx.x, blockIdx.y, blockIdx.z, gridDim.x, gridDim.y, gridDim.z,
            now.n);
    for (unsigned i = 0; i < now.n;) {
        std::string what = what_of(&now.threads[i]);
        unsigned first = i;
        while (i < now.n && what_of(&now.threads[i]) == what) i++;
        if (i - 1 > first) fprintf(stderr, "  threads %u to %u: %s\n", first, i - 1, what.c_str());
        else fprintf(stderr, "  thread %u: %s\n", first, what.c_str());
    }
    if (now.thread && now.thread->state == thread::RUNNING)
        fprintf(stderr, "  at fault: thread %u\n", now.thread->index);
}

void emulated_abort(const char *format, ...) {
    va_list words;
    va_start(words, format);
    fprintf(stderr, "emulated CUDA: ");
    vfprintf(stderr, format, words);
    fprintf(stderr, "\n");
    va_end(words);
    if (now.kernel) print_threads();
    fflush(nullptr);
    abort();
}

/* ---- switching
 *
 * ---------------------------------------------------------------------------------------------- */
#if USE_UCONTEXT
static void jump(struct fiber *from, struct fiber *to) {
    swapcontext(&from->context, &to->context);
}
static void prepare(struct fiber *f, void (*entry)(void)) {
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK_BYTES;
    f->context.uc_link = nullptr;
    makecontext(&f->context, entry, 0);
}
#else
/* Saves what a call must keep, takes the other stack, restores, returns there. */
extern "C" void emulated_jump(void **save, void *load) __attribute__((visibility("hidden")));
asm(".text\n"
    ".p2align 4\n"
    ".hidden emulated_jump\n"
    ".globl emulated_jump\n"
    ".type emulated_jump, @function\n"
    "emulated_jump:\n"
    "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq "
    "%r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n"
    "    ret\n"
    ".size emulated_jump, . - emulated_jump\n");
static void jump(struct fiber *from, struct fiber *to) { emulated_jump(&from->sp, to->sp); }
static void prepare(struct fiber *f, void (*entry)(void)) {
    static unsigned n_made; /* stacks begin at different cache lines, 5-10 % faster */
    uintptr_t top = ((uintptr_t)f->stack + STACK_BYTES - 64 * (n_made++ % 32)) & ~(uintptr_t)15;
    void **sp = reinterpret_cast<void **>(top);
    *--sp = nullptr; /* the caller's return address: there is none */
    *--sp = reinterpret_cast<void *>(entry);
    for (int i = 0; i < 6; i++) *--sp = nullptr;
    f->sp = sp;
}
#endif

static void switch_to(struct fiber *to) {
    struct fiber *from = now.fiber;
    if (to == from) return;
    now.fiber = to;
    race_become(to->race);
#if ADDRESS_CHECK
    __sanitizer_start_switch_fiber(&from->fake_stack, to->bottom, to->bytes);
#endif
    jump(from, to);
#if ADDRESS_CHECK
    __sanitizer_finish_switch_fiber(from->fake_stack, nullptr, nullptr);
#endif
}

static void fiber_entry(void);
static struct fiber *fiber_new(void) {
    struct fiber *f = new fiber();
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    char *at = static_cast<char *>(mmap(nullptr, guard + STACK_BYTES, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (at == MAP_FAILED || mprotect(at, guard, PROT_NONE) != 0)
        emulated_abort("no memory for a fiber's stack");
    f->stack = at + guard;
    f->bottom = f->stack;
    f->bytes = STACK_BYTES;
    f->race = race_new();
    prepare(f, fiber_entry);
    return f;
}

/* Channels of streams that are gone: their stacks are many, and the next stream's as well. */
static std::vector<struct channel *> idle_channels;

struct channel *fiber_channel(void) {
    if (idle_channels.empty()) return new channel();
    struct channel *channel = idle_channels.back();
    idle_channels.pop_back();
    return channel;
}

void fiber_channel_end(struct channel *channel) { idle_channels.push_back(channel); }

/* The fiber on which a thread begins. */
static struct fiber *fiber_for(const struct thread *t) {
    if (RACE_CHECK) return now.side->own[(t->index + emulated_block / 2) % now.n];
    std::vector<struct fiber *> &free = now.channel->free;
    if (free.empty()) return fiber_new();
    struct fiber *f = free.back();
    free.pop_back();
    return f;
}

/* ---- who goes on
 *
 * ---------------------------------------------------------------------------------------------- */
static void make_ready(struct thread *t) {
    t->state = thread::READY;
    now.ready[(now.first_ready + now.n_ready++) % MAX_THREADS] = t;
}

static struct thread *take_ready(void) {
    if (now.random) {
        unsigned k = (now.first_ready + (unsigned)(settings_random() % now.n_ready)) % MAX_THREADS;
        std::swap(now.ready[now.first_ready], now.ready[k]);
    }
    struct thread *t = now.ready[now.first_ready];
    now.first_ready = (now.first_ready + 1) % MAX_THREADS;
    now.n_ready--;
    return t;
}

static bool start_next(void) {
    if (now.n_started == now.n) return false;
    return !now.random || !now.n_ready || (settings_random() & 1);
}

static struct thread *next_unstarted(void) { return &now.threads[now.order[now.n_started++]]; }

static void run_as(struct thread *t) {
    now.thread = t;
    t->state = thread::RUNNING;
    threadIdx.x = t->index;
}

/* Leaves this fiber for whoever is next; returns when its thread is. */
static void pass_on(void) {
    if (start_next()) {
        now.starting = next_unstarted();
        switch_to(fiber_for(now.starting));
    } else if (now.n_ready) {
        struct thread *t = take_ready();
        run_as(t);
        switch_to(t->fiber);
    } else if (now.n_done == now.n) {
        switch_to(&now.main);
    } else {
        now.thread = nullptr;
        emulated_abort("nobody can go on: a barrier or a warp operation was not reached by all");
    }
}

static void fiber_entry(void) {
    struct fiber *self = now.fiber;
#if ADDRESS_CHECK
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
    if (!now.main.bottom) {
        now.main.bottom = bottom;
        now.main.bytes = bytes;
    }
#endif
    for (;;) {
        do {
            struct thread *t = now.starting ? now.starting : next_unstarted();
            now.starting = nullptr;
            t->fiber = self;
            run_as(t);
            race_acquire(&now.channel->start);
            now.kernel->run();
            race_release(&now.channel->end);
            t->state = thread::DONE;
            now.n_done++;
        } while (!RACE_CHECK && start_next());
        if (!RACE_CHECK) now.channel->free.push_back(self);
        pass_on();
    }
}

/* ---- meeting
 *
 * ---------------------------------------------------------------------------------------------- */
static void wait_as(decltype(thread::state) state) {
    now.thread->state = state;
    pass_on();
}

static void not_in_kernel(const char *what) {
    if (!now.kernel) emulated_abort("%s outside a kernel", what);
}

/* Whether the last of a meeting lets others go first. */
static bool yields(void) { return now.random && (settings_random() & 1); }

static bool same_site(const char *a_file, int a_line, const char *file, int line) {
    return a_line == line && (a_file == file || strcmp(a_file, file) == 0);
}

int emulated_barrier(int predicate, const char *file, int line) {
    not_in_kernel("a barrier");
    struct thread *t = now.thread;
    t->file = file;
    t->line = line;
    now.n_predicates += predicate != 0;
    if (now.n_at_barrier &&
        !same_site(now.at_barrier[0]->file, now.at_barrier[0]->line, file, line))
        now.sites_differ = true;
    race_release(&now.side->barrier.in);
    now.at_barrier[now.n_at_barrier++] = t;
    if (now.n_at_barrier < now.n) {
        wait_as(thread::AT_BARRIER);
    } else {
        t->state = thread::AT_BARRIER;
        if (now.sites_differ)
            emulated_abort("a divergent barrier: threads meet at different lines");
        race_acquire(&now.side->barrier.in);
        race_release(&now.side->barrier.out);
        now.result = now.n_predicates;
        now.n_predicates = 0;
        now.n_at_barrier = 0;
        for (unsigned i = 0; i + 1 < now.n; i++)
            make_ready(now.at_barrier[now.backwards ? now.n - 2 - i : i]);
        t->state = thread::RUNNING;
        if (yields()) {
            make_ready(t);
            pass_on();
        }
    }
    race_acquire(&now.side->barrier.out);
    return now.result;
}

static void meet(void *frame, void (*all)(void *const lane[32], void (*)()), void (*operation)(),
                 bool orders, const char *file, int line) {
    struct thread *t = now.thread;
    struct warp *w = &now.warps[t->index / 32];
    struct order_tags *tags = &now.side->warp[t->index / 32];
    unsigned lane = t->index % 32;
    t->file = file;
    t->line = line;
    w->frame[lane] = frame;
    if (w->n == 0) {
        w->operation = operation;
        w->file = file;
        w->line = line;
        w->sites_differ = false;
    } else if (w->operation != operation || !same_site(w->file, w->line, file, line)) {
        w->sites_differ = true;
    }
    if (orders) race_release(&tags->in);
    if (++w->n < 32) {
        wait_as(thread::IN_WARP);
    } else {
        t->state = thread::IN_WARP;
        if (w->sites_differ)
            emulated_abort("a divergent warp: its lanes meet at different lines or operations");
        t->state = thread::RUNNING;
        w->n = 0;
        if (orders) {
            race_acquire(&tags->in);
            race_release(&tags->out);
        }
        if (all) {
            race_ignore();
            all(w->frame, operation);
            race_heed();
        }
        struct thread *first = t - lane;
        for (unsigned i = 0; i < 32; i++)
            if (unsigned k = now.backwards ? 31 - i : i; k != lane) make_ready(first + k);
        if (yields()) {
            make_ready(t);
            pass_on();
        }
    }
    if (orders) race_acquire(&tags->out);
}

void emulated_meet(void *frame, void (*all)(void *const lane[32], void (*)()), void (*operation)(),
                   const char *file, int line) {
    not_in_kernel("a warp operation");
    meet(frame, all, operation, false, file, line);
}

void emulated_warp_barrier(unsigned mask, const char *file, int line) {
    not_in_kernel("__syncwarp");
    if (mask != 0xFFFFFFFFu)
        emulated_abort("__syncwarp with mask %08x: only full masks are allowed", mask);
    meet(nullptr, nullptr, nullptr, true, file, line);
}

/* ---- copies that end later
 * ---------------------------------------------------------------------------------------------- */
void emulated_copy_put(struct emulated_copy copy) {
    not_in_kernel("an asynchronous copy");
    struct copies *c = &now.copies[now.thread->index];
    if (copy.bytes != 4 && copy.bytes != 8 && copy.bytes != 16)
        emulated_abort("an asynchronous copy of %d bytes: 4, 8 and 16 there are", copy.bytes);
    if (((uintptr_t)copy.to | (uintptr_t)copy.from) % (unsigned)copy.bytes)
        emulated_abort("a misaligned asynchronous copy of %d bytes, %p <- %p", copy.bytes,
                       (void *)copy.to, (const void *)copy.from);
    if (!emulated_is_shared(copy.to, (size_t)copy.bytes))
        emulated_abort("an asynchronous copy to %p, which is not shared memory", (void *)copy.to);
    if (c->n == MAX_COPIES)
        emulated_abort("more than %d asynchronous copies under way", MAX_COPIES);
    copy.group = c->group;
    now.ring[now.thread->index][(c->first + c->n++) % MAX_COPIES] = copy;
}

void emulated_copy_commit(void) { now.copies[now.thread->index].group++; }

bool emulated_copy_due(int n_pending, struct emulated_copy *copy) {
    struct copies *c = &now.copies[now.thread->index];
    const struct emulated_copy *next = &now.ring[now.thread->index][c->first];
    if (!c->n || next->group + (uint64_t)n_pending >= c->group) return false;
    *copy = *next;
    c->first = (c->first + 1) % MAX_COPIES;
    c->n--;
    return true;
}

/* ---- shared memory
 * ---------------------------------------------------------------------------------------------- */
/* Static arrays have fixed places, far enough apart that a stray access meets nobody, each with its
 * type's alignment and no more. For the race checker they are new memory in each block. */
static void *static_place(size_t bytes, size_t alignment) {
    static char *capacity;
    static size_t used;
    if (!capacity) {
        capacity = static_cast<char *>(aligned_alloc(256, STATIC_ROOM));
        if (!capacity) emulated_abort("no memory");
        ASAN_POISON_MEMORY_REGION(capacity, STATIC_ROOM);
    }
    size_t step = 2 * alignment;
    used = (used + 128 + step - 1) / step * step + alignment;
    if (used + bytes > STATIC_ROOM)
        emulated_abort("more static shared memory than the emulation has room for");
    void *at = capacity + used;
    used += bytes;
    return at;
}

void emulated_array_first(struct emulated_array *array) {
    not_in_kernel("SHARED");
    if (now.n_arrays == MAX_ARRAYS) emulated_abort("more than %d SHARED arrays", MAX_ARRAYS);
    now.static_bytes += array->bytes;
    if (now.static_bytes > MAX_STATIC)
        emulated_abort("%zu bytes of static shared memory: a block has %d", now.static_bytes,
                       MAX_STATIC);
    if (now.static_bytes + now.dynamic_bytes > MAX_SHARED)
        emulated_abort("%zu + %zu bytes of shared memory: a block has %d", now.static_bytes,
                       now.dynamic_bytes, MAX_SHARED);
    if (RACE_CHECK) {
        race_become(now.main.race);
        char *at = static_cast<char *>(aligned_alloc(256, (array->bytes + 512) / 256 * 256));
        if (!at) emulated_abort("no memory");
        array->at = at + array->alignment % 256;
        memset(array->at, 0xFF, array->bytes);
        now.old[now.n_old++] = at;
        race_release(&now.channel->start);
        race_become(now.fiber->race);
    } else {
        if (!array->at) array->at = static_place(array->bytes, array->alignment);
        ASAN_UNPOISON_MEMORY_REGION(array->at, array->bytes);
        memset(array->at, 0xFF, array->bytes);
    }
    array->block = emulated_block;
    now.arrays[now.n_arrays++] = array;
}

void emulated_array_seen(void) { race_acquire(&now.channel->start); }

void *emulated_dynamic(void) {
    not_in_kernel("DYNAMIC_SHARED");
    if (!now.dynamic_bytes) emulated_abort("DYNAMIC_SHARED in a launch that asked for none");
    return now.dynamic;
}

bool emulated_is_shared(const void *p, size_t bytes) {
    const char *at = static_cast<const char *>(p),
               *dynamic = static_cast<const char *>(now.dynamic);
    if (now.dynamic_bytes && at >= dynamic && at + bytes <= dynamic + now.dynamic_bytes)
        return true;
    for (unsigned i = 0; i < now.n_arrays; i++) {
        const struct emulated_array *array = now.arrays[i];
        const char *first = static_cast<const char *>(array->at);
        if (at >= first && at + bytes <= first + array->bytes) return true;
    }
    return false;
}

static void *dynamic_new(size_t bytes) {
    void *at;
    if (posix_memalign(&at, 128, bytes) != 0) emulated_abort("no memory");
    return at;
}

/* ---- grids
 *
 * ---------------------------------------------------------------------------------------------- */
static void set_order(unsigned *order, unsigned n) {
    for (unsigned i = 0; i < n; i++) order[i] = now.backwards ? n - 1 - i : i;
    if (now.random)
        for (unsigned i = n; i > 1; i--) std::swap(order[i - 1], order[settings_random() % i]);
}

static void run_block(unsigned index) {
    const dim3 &grid = now.kernel->grid;
    blockIdx = {index % grid.x, index / grid.x % grid.y, index / grid.x / grid.y};
    emulated_block++;
    now.side = &now.channel->side[emulated_block & 1];
    now.n_started = now.n_done = now.n_ready = now.n_at_barrier = 0;
    now.n_predicates = 0;
    now.sites_differ = false;
    now.static_bytes = 0;
    now.n_arrays = 0;
    if (now.random) set_order(now.order, now.n);
    for (unsigned i = 0; i < now.n; i++) {
        now.threads[i].index = i;
        now.threads[i].state = thread::NOT_STARTED;
        now.copies[i].n = 0;
    }
    for (unsigned w = 0; w < now.n / 32; w++) now.warps[w].n = 0;
    if (now.dynamic_bytes) {
        if (RACE_CHECK) now.old[now.n_old++] = now.dynamic = dynamic_new(now.dynamic_bytes);
        memset(now.dynamic, 0xFF, now.dynamic_bytes);
    }
    race_release(&now.channel->start);
    now.starting = next_unstarted();
    switch_to(fiber_for(now.starting));
    now.thread = nullptr;
    for (unsigned i = 0; i < now.n_arrays; i++)
        ASAN_POISON_MEMORY_REGION(now.arrays[i]->at, now.arrays[i]->bytes);
}

static void forget_old(void) {
    race_acquire(&now.channel->end);
    while (now.n_old) free(now.old[--now.n_old]);
}

void fiber_run(struct emulated_kernel *kernel, struct channel *channel) {
    if (now.kernel) emulated_abort("a launch inside kernel %s", now.kernel->name);
    now.kernel = kernel;
    now.channel = channel;
    now.fiber = &now.main;
    now.main.race = race_self();
    now.n = kernel->block.x;
    now.random = settings_now()->order == settings::RANDOM;
    now.backwards = settings_now()->order == settings::REVERSE;
    now.dynamic_bytes = kernel->shared_bytes;
    gridDim = kernel->grid;
    blockDim = kernel->block;
    threadIdx = {};
    for (int i = 0; RACE_CHECK && i < 2; i++)
        while (channel->side[i].own.size() < now.n) channel->side[i].own.push_back(fiber_new());
    if (!RACE_CHECK && now.dynamic_bytes) now.dynamic = dynamic_new(now.dynamic_bytes);
    unsigned n_blocks = kernel->grid.x * kernel->grid.y * kernel->grid.z;
    set_order(now.order, now.n);
    std::vector<unsigned> blocks(now.random || now.backwards ? n_blocks : 0);
    set_order(blocks.data(), (unsigned)blocks.size());
    for (unsigned i = 0; i < n_blocks; i++) {
        run_block(blocks.empty() ? i : blocks[i]);
        if (RACE_CHECK && i % BLOCKS_OF_SHADOW == BLOCKS_OF_SHADOW - 1) forget_old();
    }
    if (RACE_CHECK) forget_old();
    else if (now.dynamic_bytes) free(now.dynamic);
    now.dynamic = nullptr;
    now.kernel = nullptr;
}
