/* rankwise-inspect: what is in a checkpoint, a model or a shard, on a machine without MPI. */
#include "command.h"
#include "inspect.h"

int main(int argc, char **argv) {
    static const struct command commands[] = {
        {"show", "configuration, counters and tensors of a checkpoint, model or shard",
         show_command},
        {"diff", "which tensors of two models differ, and by how much", diff_command},
        {"verify", "reads everything and checks it against its checksums", verify_command},
        {"history", "the checkpoints of a run, with loss and size", history_command},
    };
    return command_main("rankwise-inspect", "looks into checkpoints, models and shards", commands,
                        sizeof commands / sizeof *commands, argc, argv);
}
