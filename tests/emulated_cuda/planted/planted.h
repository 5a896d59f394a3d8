/* Programs with a bug that can be left out: planted NAME|every bug|good. Exit code 0: the result
 * was right, 3: it was wrong; the emulation and the sanitizers end the program in their own ways.
 * planted.sh says who must find which. */
#ifndef PLANTED_H
#define PLANTED_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../cuda/gpu.h"

struct planted {
    const char *name;
    bool (*run)(bool bug); /* whether the result was right */
};

#define TRY(call)                                                         \
    do {                                                                  \
        cudaError_t error_ = (call);                                      \
        if (error_ != cudaSuccess) {                                      \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, \
                    cudaGetErrorString(error_));                          \
            exit(4);                                                      \
        }                                                                 \
    } while (0)

static inline cudaStream_t stream_new(void) {
    cudaStream_t stream;
    TRY(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return stream;
}
template <class T> static T *device_new(size_t n) {
    T *p;
    TRY(cudaMalloc(&p, n * sizeof(T)));
    return p;
}
template <class T> static void to_host(T *to, const T *from, size_t n, cudaStream_t stream) {
    TRY(cudaMemcpyAsync(to, from, n * sizeof(T), cudaMemcpyDeviceToHost, stream));
    TRY(cudaStreamSynchronize(stream));
}
template <class T> static void to_device(T *to, const T *from, size_t n, cudaStream_t stream) {
    TRY(cudaMemcpyAsync(to, from, n * sizeof(T), cudaMemcpyHostToDevice, stream));
    TRY(cudaStreamSynchronize(stream));
}

extern const struct planted planted_kernels[], planted_host[];

#endif
