/* A value on its way into struct config, from a file or the command line: what config.c (files,
 * overrides) and config_value.c (one way to store each kind of option) share. */
#ifndef RANKWISE_CONFIG_VALUE_H
#define RANKWISE_CONFIG_VALUE_H
#include <libconfig.h>

#include "config_table.h"

enum config_found { FOUND_INT, FOUND_NUMBER, FOUND_BOOL, FOUND_STRING, FOUND_TREE };

struct value {
    enum config_found found;
    int64_t integer;
    double number; /* also of an integer */
    bool truth;
    const char *text;             /* of a string; borrowed */
    const config_setting_t *tree; /* of a group, list or array; borrowed */
};

struct value value_of_setting(const config_setting_t *setting);
/* Text that is a whole number or float is one, as in a file; also an integer with libconfig's L.
 * Blanks around it do not count. */
struct value value_of_text(const char *text);

/* "path: expected X, found the value; hint: ...". hint may be NULL. -1. */
int value_fail(const char *path, const char *expected, const struct value *v, const char *hint);

/* Checks the value and puts it where the option wants it. -1 with error_text(). */
int value_store(struct config *config, const struct config_option *o, const struct value *v);

void config_set_string(char **field, const char *text);
void config_free_data(struct config_data *data, int n);
#endif
