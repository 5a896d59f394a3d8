/* Which device computes: run.device to an open device. */
#ifndef RANKWISE_DEVICE_H
#define RANKWISE_DEVICE_H
#include "backend.h"
#include "config.h"
#include "placement.h"

/* Claims this rank's cores and opens its device, with channels for the groups that it sends in.
 * NULL with error_text() if what was asked for cannot be had. Collective over place->data;
 * agreed. */
struct device *device_open(const struct config *config, struct placement *place);
void device_close(struct device *dev, struct placement *place); /* accepts NULL */

/* The channels alone, of a device that was opened otherwise. Collective over place->data. */
void device_join(struct device *dev, struct placement *place);
void device_leave(struct device *dev, struct placement *place);

/* The dtype of model.precision. */
enum dtype device_precision(const struct config *config);

/* Memory that this rank can count on: the device's own, or the host's, which is what the machine
 * and its cgroup have left, shared by the node's ranks. */
size_t device_memory_available(struct device *dev, const struct placement *place);
size_t device_host_memory_available(const struct placement *place);
#endif
