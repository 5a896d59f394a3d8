/* The cores of a rank: its share of what the job may use on this node.
 *
 * mpirun binds each rank to one core when there are one or two of them (to a socket when there are
 * more), which leaves the rest idle. So a rank asks for more, within what was allowed before that
 * binding:
 *
 *   (1) Started by mpirun: what the launcher on this node (mpirun, orted, ...) may itself run on.
 *       The launcher has the limits of the shell, the batch system and the cgroup, and no binding.
 *       The kernel cuts any request to the cpuset.
 *   (2) Started in another way (srun, a shell): what this process has. Slurm bound it, or a user's
 *       taskset did.
 *   (3) The ranks of the node that may use the same processors split them evenly, in order; others
 *       keep their own.
 *   (4) As many threads as that has cores (two hardware threads of one core count as one: a second
 *       one does not help matrix products), but together no more than the batch system's count
 *       (SLURM_CPUS_ON_NODE) and the cgroup's time quota, which no mask shows. These say how much
 *       and not where: other jobs may be told the same number, so the mask stays wide.
 *   (5) With more ranks than cores, ranks share cores in turn, with one thread each.
 *   (6) A number of threads that the user asks for is taken, with a warning where there are fewer
 *       processors: each parallel region then waits for all of them to have had their turn (a step
 *       of a tiny model on 2 cores: milliseconds with 2 threads, 7 s with 4096).
 *
 * It must run before the first parallel region and before libraries start threads: those inherit
 * the mask. */
#include <errno.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "memory.h"
#include "placement.h"

static int read_line(const char *path, char *out, int capacity) {
    FILE *file = fopen(path, "r");
    if (!file) return -1;
    int got = fgets(out, capacity, file) ? 0 : -1;
    fclose(file);
    return got;
}

/* ---- what is allowed ---- */

/* Name and parent of a process. -1 if it cannot be seen. */
static int look_at_process(int pid, char name[64], int *parent) {
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (read_line(path, line, sizeof line) != 0) return -1;
    const char *open = strchr(line, '('), *close = strrchr(line, ')');
    if (!open || !close || sscanf(close + 1, " %*c %d", parent) != 1) return -1;
    snprintf(name, 64, "%.*s", (int)(close - open - 1), open + 1);
    return 0;
}

static bool is_launcher(const char *name) {
    static const char *const known[] = {"mpirun",  "mpiexec", "orterun", "orted",
                                        "prterun", "prted",   "prte"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i]) == 0) return true;
    return false;
}

/* By (1) and (2). */
static void find_allowed(cpu_set_t *allowed) {
    if (sched_getaffinity(0, sizeof *allowed, allowed) != 0)
        die("sched_getaffinity: %s", strerror(errno));
    char name[64];
    int pid = getppid(), parent;
    for (int depth = 0; depth < 8 && pid > 1 && look_at_process(pid, name, &parent) == 0;
         depth++, pid = parent) {
        cpu_set_t wide;
        if (!is_launcher(name)) continue;
        if (sched_getaffinity(pid, sizeof wide, &wide) == 0) CPU_OR(allowed, allowed, &wide);
        return;
    }
}

/* How many processors the quota of one cgroup directory is worth; 0: it sets no limit. */
static int quota_in(const char *directory) {
    char path[1024], line[128];
    long long quota = -1, period = 0;
    snprintf(path, sizeof path, "%s/cpu.max", directory);
    if (read_line(path, line, sizeof line) == 0) {
        if (sscanf(line, "%lld %lld", &quota, &period) != 2) return 0; /* "max 100000" */
    } else {
        snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", directory);
        if (read_line(path, line, sizeof line) != 0 || sscanf(line, "%lld", &quota) != 1) return 0;
        snprintf(path, sizeof path, "%s/cpu.cfs_period_us", directory);
        if (read_line(path, line, sizeof line) != 0 || sscanf(line, "%lld", &period) != 1) return 0;
    }
    return quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

/* The least quota of this process's cgroup and those above it: version 2, or version 1's cpu
 * controller. 0: none. */
static int find_quota(void) {
    char line[512];
    int least = 0;
    FILE *file = fopen("/proc/self/cgroup", "r");
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':'),
             *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *group++ = 0;
        controllers++;
        bool is_v2 = *controllers == 0;
        if (!is_v2 && strcmp(controllers, "cpu") != 0 && !strstr(controllers, "cpu,")) continue;
        char directory[700];
        for (;;) {
            snprintf(directory, sizeof directory, "/sys/fs/cgroup%s%s", is_v2 ? "" : "/cpu", group);
            int quota = quota_in(directory);
            if (quota > 0 && (least == 0 || quota < least)) least = quota;
            char *cut = strrchr(group, '/');
            if (!cut || !*group) break;
            *cut = 0;
        }
    }
    if (file) fclose(file);
    return least;
}

/* By (4): the number of threads that the node's ranks may have together. 0: no limit. */
static int find_limit(void) {
    int quota = find_quota(), slurm = 0;
    const char *text = getenv("SLURM_CPUS_ON_NODE");
    if (text) slurm = (int)strtol(text, NULL, 10);
    if (slurm <= 0 || quota <= 0) return MAX(MAX(slurm, quota), 0);
    return MIN(slurm, quota);
}

/* The lowest hardware thread of the core that has this one; itself where the system does not
 * say. */
static int core_of(int cpu) {
    char path[96], line[64];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    if (read_line(path, line, sizeof line) != 0) return cpu;
    long first = strtol(line, NULL, 10);
    return first >= 0 && first < CPU_SETSIZE ? (int)first : cpu;
}

/* ---- the share ---- */

/* The allowed cores in order, each by its first allowed hardware thread. */
static int list_cores(const cpu_set_t *allowed, int core[CPU_SETSIZE]) {
    cpu_set_t seen;
    CPU_ZERO(&seen);
    int n = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, allowed) || CPU_ISSET(core_of(cpu), &seen)) continue;
        CPU_SET(core_of(cpu), &seen);
        core[n++] = cpu;
    }
    return n;
}

/* Ranks of the node with the same mask share its cores, by (3): which of them this rank is, and how
 * many they are. */
static void find_sharers(const struct ranks *node, const cpu_set_t *allowed, int *rank, int *size) {
    cpu_set_t *all = mem_alloc(node->size, sizeof *all);
    comm_gather(node, 0, all, allowed, sizeof *allowed);
    comm_broadcast(node, 0, all, (size_t)node->size * sizeof *all);
    *rank = *size = 0;
    for (int i = 0; i < node->size; i++) {
        if (!CPU_EQUAL(&all[i], allowed)) continue;
        *rank += i < node->rank;
        ++*size;
    }
    mem_free(all);
}

/* "0-1,4": the processors of the set. */
static char *describe_set(const cpu_set_t *set) {
    struct buffer text = {0};
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, set)) continue;
        int last = cpu;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set)) last++;
        buffer_format(&text, text.length ? ",%d" : "%d", cpu);
        if (last > cpu) buffer_format(&text, "-%d", last);
        cpu = last;
    }
    return text.data;
}

/* The rank takes the processors of its share of the cores, pins itself to them, and returns the
 * number of its threads. */
int placement_claim_cores(const struct placement *place, int threads) {
    static int core[CPU_SETSIZE];
    cpu_set_t allowed, mine;
    int rank, size;
    find_allowed(&allowed);
    find_sharers(&place->node, &allowed, &rank, &size);
    int n = list_cores(&allowed, core), limit = find_limit();
    int first = (int)((int64_t)n * rank / size), end = (int)((int64_t)n * (rank + 1) / size);
    if (n < size) { /* by (5) */
        first = rank % n;
        end = first + 1;
    }
    CPU_ZERO(&mine);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        for (int i = first; i < end && CPU_ISSET(cpu, &allowed); i++)
            if (core_of(cpu) == core_of(core[i])) CPU_SET(cpu, &mine);
    }
    /* Refused: the launcher had processors that this process's cpuset lacks. What it has is
     * kept. */
    if (sched_setaffinity(0, sizeof mine, &mine) != 0 ||
        sched_getaffinity(0, sizeof mine, &mine) != 0)
        log_warn_rank("the cores cannot be claimed: %s; hint: mpirun --bind-to none",
                      strerror(errno));
    int available = end - first, max = CPU_COUNT(&mine);
    if (limit > 0) {
        available = MIN(available, MAX(1, limit / place->node.size));
        max = MIN(max, MAX(1, limit / place->node.size));
    }
    if (threads > max)
        log_warn("run.threads = %d, but this rank may use %d processor%s: threads that take turns "
                 "are slow; hint: run.threads = 0 takes what there is",
                 threads, max, max == 1 ? "" : "s");
    if (threads <= 0) threads = MIN(available, omp_get_thread_limit());
    omp_set_num_threads(threads);
    char *text = describe_set(&mine);
    log_info_rank("cores %s, %d thread%s", text, threads, threads == 1 ? "" : "s");
    mem_free(text);
    return threads;
}
