/* Plug-ins: backends that stand in a shared object, so that the program needs none of their
 * libraries to start.
 *
 * One that is loaded stays. Nothing of it is called before its handshake: version and digest must
 * be this build's. */
#ifndef RANKWISE_LOADER_H
#define RANKWISE_LOADER_H
#include "backend.h"

enum loader_status {
    LOADER_DONE,
    LOADER_ABSENT,   /* no such file */
    LOADER_UNUSABLE, /* the system cannot load it, as where its libraries are not installed */
    LOADER_FOREIGN   /* of another build */
};

/* path "": librankwise_cuda.so beside the program, else in ../lib. All but DONE with error_text(),
 * which names the files that were looked for. */
enum loader_status loader_open(const char *path, const struct plugin **out);
#endif
