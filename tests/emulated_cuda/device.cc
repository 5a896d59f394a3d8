/* The device that is not there: how many, what they can do, the words for errors. */
#include "emulation.h"

#include <stdio.h>

static int current;

static cudaError_t usable(void) {
    if (settings_now()->driver < CUDART_VERSION / 1000 * 1000) return cudaErrorInsufficientDriver;
    return settings_now()->n_devices ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaGetDeviceCount(int *n) {
    cudaError_t error = usable();
    *n = error == cudaSuccess ? settings_now()->n_devices : 0;
    return stream_error(error);
}
cudaError_t cudaSetDevice(int device) {
    if (int code = settings_failure("cudaSetDevice")) return stream_error((cudaError_t)code);
    if (usable() != cudaSuccess) return stream_error(usable());
    if (device < 0 || device >= settings_now()->n_devices)
        return stream_error(cudaErrorInvalidDevice);
    current = device;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int *device) {
    *device = current;
    return stream_error(usable());
}
cudaError_t cudaInitDevice(int device, unsigned, unsigned) { return cudaSetDevice(device); }
cudaError_t cudaSetDeviceFlags(unsigned) { return cudaSuccess; }
cudaError_t cudaDeviceReset(void) { return cudaDeviceSynchronize(); }

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device) {
    if (device < 0 || device >= settings_now()->n_devices)
        return stream_error(cudaErrorInvalidDevice);
    *properties = {};
    snprintf(properties->name, sizeof properties->name, "emulated GPU");
    properties->totalGlobalMem = settings_now()->memory;
    properties->sharedMemPerBlock = 48 << 10;
    properties->sharedMemPerBlockOptin = settings_now()->shared;
    properties->sharedMemPerMultiprocessor = 228 << 10;
    properties->regsPerBlock = 65536;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->maxThreadsPerMultiProcessor = 2048;
    properties->multiProcessorCount = 4;
    properties->major = settings_now()->major;
    properties->minor = settings_now()->minor;
    properties->l2CacheSize = 1 << 20;
    properties->asyncEngineCount = 2;
    properties->concurrentKernels = 1;
    properties->unifiedAddressing = 1;
    properties->pciBusID = device;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    struct cudaDeviceProp p;
    cudaError_t error = cudaGetDeviceProperties(&p, device);
    if (error != cudaSuccess) return error;
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = (int)p.sharedMemPerBlock; return cudaSuccess;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = (int)p.sharedMemPerMultiprocessor;
        return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = (int)p.sharedMemPerBlockOptin;
        return cudaSuccess;
    }
    return stream_error(cudaErrorInvalidValue);
}
cudaError_t cudaDeviceGetPCIBusId(char *out, int capacity, int device) {
    snprintf(out, (size_t)capacity, "0000:%02x:00.0", device);
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *version) {
    *version = settings_now()->driver;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

#define ERRORS(X)                                                                                  \
    X(cudaSuccess, "no error")                                                                     \
    X(cudaErrorInvalidValue, "invalid argument")                                                   \
    X(cudaErrorMemoryAllocation, "out of memory")                                                  \
    X(cudaErrorInvalidConfiguration, "invalid configuration argument")                             \
    X(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version") \
    X(cudaErrorNoDevice, "no CUDA-capable device is detected")                                     \
    X(cudaErrorInvalidDevice, "invalid device ordinal")                                            \
    X(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device") \
    X(cudaErrorInvalidResourceHandle, "invalid resource handle")                                   \
    X(cudaErrorNotReady, "device not ready")                                                       \
    X(cudaErrorIllegalAddress, "an illegal memory access was encountered")                         \
    X(cudaErrorLaunchFailure, "unspecified launch failure")                                        \
    X(cudaErrorSystemNotReady, "system not yet initialized")                                       \
    X(cudaErrorUnknown, "unknown error")
const char *cudaGetErrorString(cudaError_t error) {
    switch (error) {
#define CASE(code, words) \
    case code: return words;
        ERRORS(CASE)
#undef CASE
    }
    return "unrecognized error code";
}
const char *cudaGetErrorName(cudaError_t error) {
    switch (error) {
#define CASE(code, words) \
    case code: return #code;
        ERRORS(CASE)
#undef CASE
    }
    return "unrecognized error code";
}
