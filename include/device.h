/* Which device computes: run.device to an open device. */
#ifndef RANKWISE_DEVICE_H
#define RANKWISE_DEVICE_H
#include "backend.h"
#include "config.h"
#include "placement.h"

/* Claims this rank's cores and opens its device. NULL with error_text() if what was asked for cannot be had. Collective
 * over place->node. */
struct device *device_open(const struct config *config, const struct placement *place);
void device_close(struct device *dev); /* accepts NULL */

/* The dtype of model.precision. */
enum dtype device_precision(const struct config *config);

/* Host memory that this rank can count on: what the machine and its cgroup have left, shared by the node's ranks. */
size_t device_memory_available(const struct placement *place);
#endif
