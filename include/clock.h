/* Wall-clock seconds since an arbitrary start, monotonic; and the time of day for file headers. */
#ifndef RANKWISE_CLOCK_H
#define RANKWISE_CLOCK_H
#include "base.h"
#ifdef __cplusplus
extern "C" {
#endif
double clock_seconds(void);

/* "2025-01-31T12:00:00Z" into out. */
void clock_stamp(char out[24]);
#ifdef __cplusplus
}
#endif
#endif
