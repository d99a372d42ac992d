/* A driver that says what it is compiled to say: STATUS of cuInit, VERSION, COUNT of GPUs, SM; CRASH and HANG. */
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#ifndef STATUS
#define STATUS 0
#endif
#ifndef COUNT
#define COUNT 1
#endif
#ifndef VERSION
#define VERSION 13020
#endif
#ifndef SM
#define SM 89
#endif
#ifndef INTEGRATED
#define INTEGRATED 0
#endif

int cuInit(unsigned flags) {
#ifdef CRASH
    raise(SIGSEGV);
#endif
#ifdef HANG
    sleep(60);
#endif
    return flags ? 1 : STATUS;
}

int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }

int cuDeviceGetName(char *name, int size, int device) {
    strncpy(name, device ? "Second GPU" : "NVIDIA GeForce RTX 4090", size);
    return 0;
}

int cuDeviceTotalMem_v2(size_t *size, int device) { *size = (size_t)(24 - device) << 30; return 0; }

int cuDeviceGetAttribute(int *value, int which, int device) {
    (void)device;
    *value = which == 75 ? SM / 10 : which == 76 ? SM % 10 : which == 18 ? INTEGRATED : -1;
    return 0;
}

int cuGetErrorName(int status, const char **name) {
    *name = status == 100 ? "CUDA_ERROR_NO_DEVICE" : status == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" : NULL;
    return *name ? 0 : 1;
}
