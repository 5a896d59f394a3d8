/* HDF5's error stack, kept off the terminal and read for messages: see h5.h. */
#include "h5.h"

#include <hdf5.h>
#include <stdio.h>

enum { REASON_ROOM = 256 };

void h5_quiet(void) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

static herr_t keep_first(unsigned n, const H5E_error2_t *error, void *self) {
    char *reason = self;
    if (n == 0 && error->desc) snprintf(reason, REASON_ROOM, "%s", error->desc);
    return 0;
}

const char *h5_reason(void) {
    static _Thread_local char reason[REASON_ROOM];
    snprintf(reason, sizeof reason, "HDF5 gives no reason");
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, reason);
    return reason;
}
