/* What the path of a run or a checkpoint names: see checkpoint.h. */
#include <string.h>

#include "checkpoint.h"

bool checkpoint_is_named(const char *path) {
    return file_has(path, "state.h5") || file_has(path, "config.cfg") ||
           file_has(path, "checkpoints");
}

/* By the checkpoint.dir of the run's configuration, where that is elsewhere. */
static char *newest_of_run(const char *run) {
    char *config_path = file_join(run, "config.cfg"), *directory = file_join(run, "checkpoints"),
         *newest = NULL;
    if (!file_is_directory(directory) && file_exists(config_path)) {
        struct config config;
        const char *files[] = {config_path};
        if (config_load(&config, files, 1, NULL, 0) == 0) {
            mem_free(directory);
            directory = mem_copy_string(config.checkpoint.dir);
            config_free(&config);
        }
    }
    if (checkpoint_newest(directory, &newest) == 0 && !newest)
        fail("%s: a run directory without a whole checkpoint; hint: train it first", run);
    mem_free(config_path);
    mem_free(directory);
    return newest;
}

char *checkpoint_named(const char *path) {
    return file_has(path, "state.h5") ? mem_copy_string(path) : newest_of_run(path);
}

void checkpoint_share_path(const struct ranks *ranks, char **path) {
    size_t bytes = *path ? strlen(*path) + 1 : 0;
    comm_broadcast(ranks, 0, &bytes, sizeof bytes);
    if (bytes == 0) return;
    if (ranks->rank != 0) *path = mem_alloc((int64_t)bytes, 1);
    comm_broadcast(ranks, 0, *path, bytes);
}
