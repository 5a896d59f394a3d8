/* The run directory: who writes there, the configuration as resolved, the log, the metrics. */
#include <string.h>

#include "file.h"
#include "log.h"
#include "run.h"

/* Rank 0: after the lock nobody else writes there, so what a killed run began can go. Agreed. */
int run_lock_directories(struct run *r) {
    const struct config *c = r->config;
    if (run_lock_take(&r->files.lock, &r->place.data, c->run.dir, c->checkpoint.dir) != 0)
        return -1;
    return comm_agree(&r->place.data,
                      base_rank == 0 ? checkpoint_remove_begun(c->checkpoint.dir) : 0);
}

/* Rank 0's resolved configuration and log. */
int run_open_log(const struct run *r) {
    if (base_rank != 0) return 0;
    char *config_path = file_join(r->config->run.dir, "config.cfg"),
         *log_path = file_join(r->config->run.dir, "log.txt");
    int status = file_replace(config_path, r->files.config_text, strlen(r->files.config_text));
    if (status == 0) status = log_open(log_path);
    mem_free(config_path);
    mem_free(log_path);
    return status;
}

/* Rank 0's metrics, of which those behind the checkpoint go: the weights are loaded. */
int run_open_metrics(struct run *r) {
    if (base_rank != 0 || !r->config->track.jsonl) return 0;
    char *path = file_join(r->config->run.dir, "metrics.jsonl");
    int64_t kept = r->origin.checkpoint_path ? r->progress.state.step : -1;
    r->files.metrics = metrics_open(path, kept, kept - r->progress.makes_up);
    mem_free(path);
    path = file_join(r->config->run.dir, "samples.jsonl");
    int status = r->files.metrics ? metrics_cut_back(path, kept) : -1;
    mem_free(path);
    return status;
}
