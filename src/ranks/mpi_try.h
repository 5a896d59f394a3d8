/* For the few files that include mpi.h: how its errors end the program, and what the handle of
 * struct ranks points to. */
#ifndef RANKWISE_MPI_TRY_H
#define RANKWISE_MPI_TRY_H
#include <mpi.h>

#include "comm.h"

/* A group has two communicators, because MPI matches collectives by their order on one: `calls` is
 * for the calls of comm.h, which return when they are done; `stream` is for the backend's
 * collectives, which wait in a queue of their own and start later. Both return errors. */
struct communicator {
    MPI_Comm calls, stream;
};

static inline const struct communicator *ranks_communicator(const struct ranks *group) {
    return group->handle;
}

NO_RETURN void mpi_die_at(const char *file, int line, const char *call, int error);

/* Ends the program, on all ranks, if the call fails; the message has the call and MPI's words. */
#define MPI_TRY(call)                                                           \
    do {                                                                        \
        int error_ = (call);                                                    \
        if (error_ != MPI_SUCCESS) mpi_die_at(__FILE__, __LINE__, #call, error_); \
    } while (0)
#endif
