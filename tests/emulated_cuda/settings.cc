/* EMU_* of the environment. */
#include "emulation.h"

#include <map>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>

static uint64_t random_state;

uint64_t settings_random(void) { /* splitmix64 (Steele, Lea and Flood, 2014) */
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

[[noreturn]] static void refuse(const char *name, const char *value, const char *known) {
    fprintf(stderr, "emulated CUDA: %s=%s: expected %s\n", name, value, known);
    exit(2);
}

static bool random_seed(const char *value) {
    char *end;
    if (strncmp(value, "random:", 7) != 0 || !value[7]) return false;
    random_state += strtoull(value + 7, &end, 10) * 0xD1342543DE82EF95u + 1;
    return !*end;
}

static long long number(const char *name, long long fallback) {
    const char *value = getenv(name);
    char *end;
    if (!value || !*value) return fallback;
    long long n = strtoll(value, &end, 10);
    if (*end || n < 0) refuse(name, value, "a number");
    return n;
}

static struct settings read_settings(void) {
    struct settings s = {};
    const char *order = getenv("EMU_ORDER"), *lazy = getenv("EMU_LAZY"),
               *capability = getenv("EMU_CAPABILITY");
    if (!order || !*order || strcmp(order, "forward") == 0) s.order = settings::FORWARD;
    else if (strcmp(order, "reverse") == 0) s.order = settings::REVERSE;
    else if (random_seed(order)) s.order = settings::RANDOM;
    else refuse("EMU_ORDER", order, "forward, reverse or random:N");
    if (!lazy || !*lazy || strcmp(lazy, "0") == 0) s.streams = settings::EAGER;
    else if (strcmp(lazy, "1") == 0) s.streams = settings::LAZY;
    else if (random_seed(lazy)) s.streams = settings::LAZY_RANDOM;
    else refuse("EMU_LAZY", lazy, "0, 1 or random:N");
    s.n_devices = (int)number("EMU_DEVICES", 8);
    s.driver = (int)number("EMU_DRIVER", CUDART_VERSION);
    s.memory = (size_t)number("EMU_MEMORY", 16ll << 30);
    s.shared = (size_t)number("EMU_SHARED", 227 << 10);
    s.major = 9;
    if (capability && *capability && sscanf(capability, "%d.%d", &s.major, &s.minor) != 2)
        refuse("EMU_CAPABILITY", capability, "major.minor");
    return s;
}

const struct settings *settings_now(void) {
    static const struct settings s = read_settings();
    return &s;
}

static long counts[N_COUNTED];

static void tell_counts(void) {
    fprintf(stderr,
            "emulated CUDA: reads %ld, waits for events %ld, for streams %ld, for the device %ld, "
            "allocations %ld\n",
            counts[COUNT_READS], counts[COUNT_EVENT_WAITS], counts[COUNT_STREAM_WAITS],
            counts[COUNT_DEVICE_WAITS], counts[COUNT_ALLOCATIONS]);
}

void settings_count(enum counted what) {
    static const bool wanted = getenv("EMU_COUNT") && atexit(tell_counts) == 0;
    if (wanted) counts[what]++;
}

int settings_failure(const char *call) {
    static const char *wanted = getenv("EMU_FAIL");
    if (!wanted) return 0;
    static std::map<std::string, long> n_calls;
    size_t length = strlen(call);
    long which = 0;
    int code = 0;
    if (strncmp(wanted, call, length) != 0 || wanted[length] != ':') return 0;
    if (sscanf(wanted + length, ":%ld:%d", &which, &code) != 2)
        refuse("EMU_FAIL", wanted, "call:k:code");
    return ++n_calls[call] == which ? code : 0;
}
