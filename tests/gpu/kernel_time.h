/* How long a GPU's kernels ran, by CUPTI's activity records: what of a step no kernel covers.
 * Without CUPTI (RANKWISE_CUPTI not defined), where it may not look or where there is no GPU,
 * nothing is measured. */
#ifndef RANKWISE_TESTS_GPU_KERNEL_TIME_H
#define RANKWISE_TESTS_GPU_KERNEL_TIME_H

void kernel_time_start(void);
/* Of what was launched since the start and is done: seconds from the first kernel's start to the
 * last one's end, and seconds of these that at least one kernel ran. Both 0 where nothing was
 * measured. */
void kernel_time_stop(double *span, double *covered);
#endif
