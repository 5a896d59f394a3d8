/* rankwise-data: text to token shards, on a machine without MPI. The list of subcommands. */
#include "command.h"
#include "data_tools.h"

int main(int argc, char **argv) {
    static const struct command commands[] = {
        {"build", "token shards from preference data", build_command},
        {"peek", "comparisons of a shard, token by token", peek_command},
        {"stats", "counts, lengths, sharing and padding of shards, and their picture",
         stats_command},
        {"audit", "what is wrong with shards, before it costs GPU time", audit_command},
        {"encode", "texts to token ids, JSONL in and out", encode_command},
        {"decode", "token ids to texts, JSONL in and out", decode_command},
        {"render", "conversations to text by a chat template, JSONL in and out", render_command},
        {"demo", "a small preference task: shards, tokenizer, model configuration", demo_command},
    };
    return command_main("rankwise-data", "text to token shards", commands,
                        sizeof commands / sizeof *commands, argc, argv);
}
