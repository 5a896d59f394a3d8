/* The CPU backend's own header: its device, and the ops that its table lists.
 *
 *   (1) Every parallel loop says num_threads(cpu_threads(dev, work)) and schedule(static).
 *   (2) A sum over rows runs in blocks of SUM_ROWS rows; the blocks' sums, kept in the workspace,
 *       are added in order. So no result depends on the number of threads.
 *   (3) The workspace belongs to the op that runs; it grows until reserve() and is as large as it
 *       must be afterwards.
 */
#ifndef RANKWISE_CPU_CPU_H
#define RANKWISE_CPU_CPU_H
#include "backend.h"

enum { SUM_ROWS = 32 };

struct matmul; /* matmul.c */

struct cpu_device {
    struct device base;
    int threads;
    void *workspace;
    size_t workspace_bytes;
    struct matmul *matmul;
};

static inline struct cpu_device *cpu_of(struct device *dev) {
    return (struct cpu_device *)dev;
}

/* Threads for that many elements of simple work: a parallel loop costs about as much as 10,000 of
 * them. One or all, since libgomp ends threads that a smaller team leaves over, and starts them
 * again for the next larger one. */
static inline int cpu_threads(struct device *dev, int64_t elements) {
    return elements < 16384 ? 1 : cpu_of(dev)->threads;
}

/* At least that many bytes of scratch, contents undefined, valid until the next call. */
void *cpu_workspace(struct device *dev, size_t bytes);

struct matmul *cpu_matmul_open(void);
void cpu_matmul_close(struct matmul *m);
/* Makes the primitives for the products of limits (once: they are kept) and gives the workspace
 * they need. */
size_t cpu_matmul_reserve(struct device *dev, const struct op_limits *limits);
/* Whether the CPU multiplies bf16; otherwise products convert to fp32. */
bool cpu_matmul_native_bf16(void);

size_t cpu_linear_rows_bytes(struct device *dev, const struct op_limits *limits);
size_t cpu_norm_bytes(const struct op_limits *limits);
size_t cpu_attention_bytes(struct device *dev, const struct op_limits *limits); /* attention.c */
size_t cpu_sample_bytes(struct device *dev, const struct op_limits *limits);
size_t cpu_attention_paged_bytes(struct device *dev,
                                 const struct op_limits *limits); /* attention_paged.c */

#define CPU_DECLARE(name) name##_fn cpu_##name;
OPS(CPU_DECLARE)
#endif
