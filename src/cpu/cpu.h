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

size_t cpu_norm_bytes(const struct op_limits *limits);
size_t cpu_attention_bytes(struct device *dev, const struct op_limits *limits); /* attention.c */

void cpu_gemm(struct device *dev, struct tensor out, struct tensor a, bool transpose_a,
              struct tensor b, bool transpose_b, const struct tensor *bias,
              const struct tensor *add);
void cpu_column_sum(struct device *dev, float *out, struct tensor in);
void cpu_cast(struct device *dev, struct tensor out, struct tensor in);
void cpu_norm_forward(struct device *dev, enum norm_kind kind, struct tensor out, float *stats,
                      struct tensor in, struct tensor weight, const struct tensor *bias, float eps);
void cpu_norm_backward(struct device *dev, enum norm_kind kind, struct tensor din, float *dweight,
                       float *dbias, struct tensor dout, struct tensor in, struct tensor weight,
                       const float *stats);
void cpu_head_norm_forward(struct device *dev, struct heads out, float *stats, struct heads in,
                           struct tensor weight, float eps);
void cpu_head_norm_backward(struct device *dev, struct heads din, float *dweight, struct heads dout,
                            struct heads in, struct tensor weight, const float *stats);
void cpu_rope_table(struct device *dev, float *table, const int32_t *position, int64_t rows,
                    const float *inverse_frequency, int rope_dims);
void cpu_rope(struct device *dev, struct heads out, struct heads in, const float *table,
              int rope_dims, bool backward);
void cpu_swiglu_forward(struct device *dev, struct tensor out, struct tensor gate_up);
void cpu_swiglu_backward(struct device *dev, struct tensor dgate_up, struct tensor dout,
                         struct tensor gate_up);
void cpu_gelu_forward(struct device *dev, struct tensor out, struct tensor in);
void cpu_gelu_backward(struct device *dev, struct tensor din, struct tensor dout, struct tensor in);
void cpu_attention_forward(struct device *dev, const struct attention *a);
void cpu_attention_backward(struct device *dev, struct heads dq, struct heads dk, struct heads dv,
                            struct heads dout, const struct attention *a);
void cpu_embed_forward(struct device *dev, struct tensor out, struct tensor weight,
                       const int32_t *token);
void cpu_embed_backward(struct device *dev, float *dweight, struct tensor dout,
                        const int32_t *token, const int32_t *order);
void cpu_gather_rows(struct device *dev, struct tensor out, struct tensor in, const int32_t *index);
void cpu_scatter_add_rows(struct device *dev, struct tensor out, struct tensor in,
                          const int32_t *index);
void cpu_head_forward(struct device *dev, float *score, struct tensor in, const float *weight);
void cpu_head_backward(struct device *dev, struct tensor din, float *dweight, const float *dscore,
                       struct tensor in, const float *weight);
void cpu_square_norm(struct device *dev, double *out, const float *in, int64_t n);
void cpu_clip(struct device *dev, struct clip *out, const double *square_norm, int n,
              double max_norm);
void cpu_adamw(struct device *dev, struct tensor weight, float *master, float *moment1,
               float *moment2, float *gradient, int64_t n, const struct adamw *rates,
               const struct clip *clip);
void cpu_bradley_terry(struct device *dev, float *dscore, double *tally, const float *score,
                       const int32_t *chosen, const int32_t *rejected, const float *margin,
                       const float *weight, int64_t n, float scale);
#endif
