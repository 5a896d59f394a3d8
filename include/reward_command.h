/* Rewards from a command of the user: JSON lines in and out.
 *
 * The command runs under /bin/sh for as long as the run does. It gets a line for each completion,
 *   {"pair": 0, "side": 0, "sample": 0, "prompt": "...", "completion": "...", "score": 3.5 or null}
 * and answers each, in order and without waiting for more than the lines of one call, by a line
 * {"reward": 0.25}; null for a completion without a reward. A command that dies, keeps silent or
 * closes its output early is started again once a call. */
#ifndef RANKWISE_REWARD_COMMAND_H
#define RANKWISE_REWARD_COMMAND_H
#include "base.h"

struct reward_command;

struct reward_request {
    int64_t pair;
    int side, sample;
    const char *prompt, *completion;
    size_t prompt_length, completion_length; /* bytes; what is not UTF-8 goes as U+FFFD */
    double score;                            /* NaN: none was read */
};

/* timeout: seconds without an answer after which it counts as silent. The command is started by the
 * first call of reward_command_ask. */
struct reward_command *reward_command_init(const char *command, double timeout);
/* Closes its input, and ends it with its children if it does not go within a second. */
void reward_command_free(struct reward_command *c);

/* reward: (n), NaN for null. -1 with error_text(), which names the command. */
int reward_command_ask(struct reward_command *c, const struct reward_request *request, int64_t n,
                       double *reward);
#endif
