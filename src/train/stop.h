/* The wish to stop: a signal since trainer_catch_signals. */
#ifndef RANKWISE_STOP_H
#define RANKWISE_STOP_H
#include <stdbool.h>

/* Whether this rank got one. */
bool stop_is_wanted(void);
#endif
