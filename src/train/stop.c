/* The wish to stop, which signals leave and the step loop looks at. */
#include "stop.h"

#include <signal.h>
#include <stddef.h>

#include "trainer.h"

static volatile sig_atomic_t stop_signal;

static void on_signal(int number) {
    stop_signal = number;
}

void trainer_catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    struct sigaction former;
    if (sigaction(SIGHUP, NULL, &former) == 0 && former.sa_handler != SIG_IGN) /* by nohup */
        sigaction(SIGHUP, &action, NULL);
}

bool stop_is_wanted(void) {
    return stop_signal != 0;
}
