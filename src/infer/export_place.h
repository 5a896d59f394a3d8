/* Where an export is written, and how it gets its name.
 *
 *   (1) What is being written lies beside the target as <target>.NUMBER.tmp, where nobody else has
 *       the number, and is locked. Nothing is removed but that, what exports that were killed left
 *       under such names (their locks are free), and with `force` the former model.
 *   (2) Of several exports at once into one directory each is whole; without `force` the first one
 *       has the name and the others say that there is a model already. */
#ifndef RANKWISE_EXPORT_PLACE_H
#define RANKWISE_EXPORT_PLACE_H
#include "comm.h"

/* The paths are the same on all ranks; rank 0 alone works on them. */
struct export_place {
    char *target, *temporary;
    int lock; /* rank 0: of temporary */
    bool force;
};
/* Makes the temporary directory, if a model may take the target's name. Collective; agreed. After a
 * failure there is nothing to close. */
int export_place_open(struct export_place *p, const struct ranks *world, const char *target,
                      bool force);
/* status 0: the temporary directory gets its name; else it is removed and error_text() kept.
 * Collective; agreed. */
int export_place_close(struct export_place *p, const struct ranks *world, int status);
#endif
