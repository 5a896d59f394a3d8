/* Loading plug-ins: see loader.h. */
#include "loader.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"

static const char plugin_name[] = "librankwise_cuda.so";

/* The directory of the running program, with a slash at its end; "" where the system does not
 * say. */
static void program_directory(char *out, size_t capacity) {
    ssize_t n = readlink("/proc/self/exe", out, capacity - 1);
    out[MAX(n, 0)] = 0;
    char *slash = strrchr(out, '/');
    if (slash) slash[1] = 0;
}

/* The first of the usual places that has the file, or NULL with error_text(). mem_free. */
static char *find(void) {
    static const char *const place[] = {"", "../lib/"};
    char program[4096];
    struct buffer looked = {0};
    program_directory(program, sizeof program);
    for (int i = 0; i < 2; i++) {
        char *path = mem_format("%s%s%s", program, place[i], plugin_name);
        if (access(path, F_OK) == 0) {
            buffer_free(&looked);
            return path;
        }
        buffer_format(&looked, "%s%s", i ? " and " : "", path);
        mem_free(path);
    }
    fail("no plug-in: looked for %s; hint: make builds it where nvcc is, or set run.plugin",
         looked.data);
    buffer_free(&looked);
    return NULL;
}

static enum loader_status check(const struct plugin *plugin, const char *path) {
    if (plugin && strncmp(plugin->digest, SEAM_DIGEST, sizeof plugin->digest) == 0)
        return LOADER_DONE;
    if (plugin)
        fail("%s: expected a plug-in of this build (seam %s), found %.19s; hint: make clean && "
             "make, then install program and plug-in together",
             path, SEAM_DIGEST, plugin->digest);
    else
        fail("%s: not a plug-in of Rankwise: %s", path, dlerror());
    return LOADER_FOREIGN;
}

/* dlopen looks for a name without a slash elsewhere. */
static void *load(const char *path) {
    char *full = mem_format("%s%s", strchr(path, '/') ? "" : "./", path);
    void *library = dlopen(full, RTLD_NOW | RTLD_LOCAL);
    mem_free(full);
    return library;
}

enum loader_status loader_open(const char *path, const struct plugin **out) {
    char *found = path[0] ? mem_copy_string(path) : find();
    if (!found) return LOADER_ABSENT;
    enum loader_status status = LOADER_UNUSABLE;
    if (access(found, F_OK) != 0) {
        fail("%s: no such plug-in; hint: run.plugin names a file, by default %s beside the program",
             found, plugin_name);
        status = LOADER_ABSENT;
    } else {
        void *library = load(found);
        if (library) {
            *out = dlsym(library, "rankwise_plugin");
            status = check(*out, found);
        } else {
            fail("%s: cannot be loaded: %s; hint: CUDA's cuBLAS and NCCL must be where the system "
                 "finds libraries",
                 found, dlerror());
        }
    }
    mem_free(found);
    return status;
}
