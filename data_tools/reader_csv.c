#include "reader_parts.h"
int reader_open_csv(struct reader *r) {
    (void)r;
    return 0;
}
int reader_next_csv(struct reader *r, struct record *record) {
    (void)r;
    (void)record;
    return 0;
}
void reader_close_csv(struct reader *r) {
    (void)r;
}
