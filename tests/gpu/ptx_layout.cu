/* The wrappers of cuda/ptx.h against the tables of the PTX ISA ("Matrix Fragments for mma.m16n8k16
 * with floating point type", "ldmatrix"), written down here once more: element i of a lane's
 * fragment is matrix[row][column]. On the host this checks the twins; on a GPU that twins and
 * instructions mean the same. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../../cuda/ptx.h"

#define TRY(call)                                                                      \
    do {                                                                               \
        if ((call) != cudaSuccess) return printf("not ok ptx_layout: %s\n", #call), 1; \
    } while (0)

struct problem {
    float a[16][16], b[16][16], c[16][16]; /* c += a b; numbers that bf16 holds */
    float matrices[4][8][8];
    float found[16][16];
    uint32_t rows[32][4], transposed[32][4]; /* what ldmatrix gave each lane */
    float copied[8], powers[4];
};

struct place {
    int row, column;
};

__device__ place place_in_a(int lane, int i) {
    int group = lane >> 2, member = lane % 4;
    return {(i < 2 || (4 <= i && i < 6)) ? group : group + 8,
            member * 2 + (i & 1) + (i < 4 ? 0 : 8)};
}

__device__ place place_in_b(int lane, int i) {
    int group = lane >> 2, member = lane % 4;
    return {member * 2 + (i & 1) + (i < 2 ? 0 : 8), group};
}

__device__ place place_in_c(int lane, int i) {
    int group = lane >> 2, member = lane % 4;
    return {i < 2 ? group : group + 8, member * 2 + (i & 1)};
}

__global__ void multiply_kernel(struct problem *p) {
    int lane = threadIdx.x;
    uint32_t a[4], b[4];
    float c[2][4];
    for (int i = 0; i < 8; i += 2) {
        place low = place_in_a(lane, i), high = place_in_a(lane, i + 1);
        a[i / 2] = pack_bf16(p->a[low.row][low.column], p->a[high.row][high.column]);
    }
    for (int n = 0; n < 2; n++)
        for (int i = 0; i < 4; i++) {
            place at = place_in_c(lane, i), low = place_in_b(lane, i & 2),
                  high = place_in_b(lane, (i & 2) + 1);
            c[n][i] = p->c[at.row][8 * n + at.column];
            if (i % 2 == 0)
                b[2 * n + i / 2] = pack_bf16(p->b[low.row][8 * n + low.column],
                                             p->b[high.row][8 * n + high.column]);
        }
    multiply_matrices(c, a, b);
    for (int n = 0; n < 2; n++)
        for (int i = 0; i < 4; i++) {
            place at = place_in_c(lane, i);
            p->found[at.row][8 * n + at.column] = c[n][i];
        }
}

__global__ void load_kernel(struct problem *p) {
    SHARED(uint4, tile, 32);
    int lane = threadIdx.x;
    bf16 *row = reinterpret_cast<bf16 *>(tile + lane);
    uint32_t r[4];
    for (int i = 0; i < 8; i++) row[i] = __float2bfloat16(p->matrices[lane / 8][lane % 8][i]);
    __syncwarp();
    load_matrices(r, row);
    for (int m = 0; m < 4; m++) p->rows[lane][m] = r[m];
    load_matrices_transposed(r, row);
    for (int m = 0; m < 4; m++) p->transposed[lane][m] = r[m];
}

/* 16 bytes that are there, 4 that are, 4 that are not; the second group is waited for later. */
__global__ void copy_kernel(struct problem *p, const float *from) {
    SHARED(float4, to, 2);
    float *number = reinterpret_cast<float *>(to);
    if (threadIdx.x == 0) {
        number[6] = number[7] = 5;
        copy_async_16(number, from, true);
        copy_commit();
        copy_async_4(number + 4, from + 4, true);
        copy_async_4(number + 5, from, false);
        copy_commit();
        copy_wait<1>();
        for (int i = 0; i < 4; i++) p->copied[i] = number[i];
        copy_wait<0>();
        for (int i = 4; i < 8; i++) p->copied[i] = number[i];
        p->powers[0] = exp2_fast(-INFINITY);
        p->powers[1] = exp2_fast(0);
        p->powers[2] = exp2_fast(-3.5f);
        p->powers[3] = exp2_fast(NAN);
    }
}

static float half_at(const uint32_t *words, int i) {
    uint32_t bits = (words[i / 2] >> (16 * (i % 2))) << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static int n_bad;
static void check(const char *name, bool right) {
    printf(right ? "ok %s\n" : "not ok %s\n", name);
    n_bad += !right;
}

static void check_product(const problem &p) {
    bool right = true;
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) {
            float sum = p.c[i][j];
            for (int k = 0; k < 16; k++) sum += p.a[i][k] * p.b[k][j];
            right &= p.found[i][j] == sum; /* small integers: exact in any order */
        }
    check("ptx_mma", right);
}

static void check_loads(const problem &p) {
    bool rows = true, transposed = true;
    for (int lane = 0; lane < 32; lane++)
        for (int m = 0; m < 4; m++)
            for (int i = 0; i < 2; i++) {
                int group = lane >> 2, member = lane % 4;
                rows &= half_at(&p.rows[lane][m], i) == p.matrices[m][group][2 * member + i];
                transposed &=
                    half_at(&p.transposed[lane][m], i) == p.matrices[m][2 * member + i][group];
            }
    check("ptx_ldmatrix", rows);
    check("ptx_ldmatrix_trans", transposed);
}

int main(void) {
    static problem p;
    float numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8}, expected[8] = {1, 2, 3, 4, 5, 0, 5, 5}, *from;
    problem *there;
    cudaStream_t stream;
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) {
            p.a[i][j] = (float)((i * 7 + j * 3) % 13 - 6);
            p.b[i][j] = (float)((i * 5 + j * 11) % 17 - 8);
            p.c[i][j] = (float)(i * 16 + j);
        }
    for (int i = 0; i < 256; i++) p.matrices[i / 64][i / 8 % 8][i % 8] = (float)i;
    TRY(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    TRY(cudaMalloc(&there, sizeof p));
    TRY(cudaMalloc(&from, sizeof numbers));
    TRY(cudaMemcpyAsync(there, &p, sizeof p, cudaMemcpyHostToDevice, stream));
    TRY(cudaMemcpyAsync(from, numbers, sizeof numbers, cudaMemcpyHostToDevice, stream));
    LAUNCH(multiply_kernel, 1, 32, 0, stream, there);
    LAUNCH(load_kernel, 1, 32, 0, stream, there);
    LAUNCH(copy_kernel, 1, 32, 0, stream, there, from);
    TRY(cudaGetLastError());
    TRY(cudaMemcpyAsync(&p, there, sizeof p, cudaMemcpyDeviceToHost, stream));
    TRY(cudaStreamSynchronize(stream));
    check_product(p);
    check_loads(p);
    check("ptx_copy", memcmp(p.copied, expected, sizeof expected) == 0);
    check("ptx_exp2", p.powers[0] == 0 && p.powers[1] == 1 &&
                          fabsf(p.powers[2] - 0.0883883476f) < 3e-8f && isnan(p.powers[3]));
    TRY(cudaFree(from));
    TRY(cudaFree(there));
    return n_bad > 0;
}
