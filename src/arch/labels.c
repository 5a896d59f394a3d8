/* The labels of a sequence classifier, whose scores a reward model gives: num_labels and id2label.
 *
 * As in transformers 5: id2label tells number and names; where num_labels says another number it
 * wins, and the names are "LABEL_0", "LABEL_1", ... Without either there are as many as the weights
 * have: transformers assumes two, and writes neither where there are two. */
#include "labels.h"

#include <stdio.h>
#include <string.h>

#include "config.h"
#include "json.h"

/* The name that transformers gives a label without one. */
static bool is_default(const char *name, int k) {
    char usual[32];
    snprintf(usual, sizeof usual, "LABEL_%d", k);
    return strcmp(name, usual) == 0;
}

/* Names of the labels 0 to n - 1; those that have none, or the usual one, stay NULL. */
static int parse_names(struct arch *arch, const json_t *names) {
    arch->label = mem_alloc(arch->n_labels, sizeof *arch->label);
    for (int k = 0; k < arch->n_labels; k++) {
        char key[16];
        const char *name = NULL;
        snprintf(key, sizeof key, "%d", k);
        if (json_get_string(names, key, &name) != 0) return fail_context("\"id2label\"");
        if (name && *name && !is_default(name, k)) arch->label[k] = mem_copy_string(name);
    }
    return 0;
}

int labels_parse(struct arch *arch, const json_t *config) {
    const json_t *names = json_object_get(config, "id2label");
    const char *class_name =
        json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    if (!class_name || !strstr(class_name, "ForSequenceClassification")) return 0;
    int64_t n_names = json_is_object(names) ? (int64_t)json_object_size(names) : -1, n = n_names;
    if (json_get_int(config, "num_labels", 0, INT32_MAX, &n) != 0) return -1;
    if (n == -1) return 0;
    if (n < 1 || n > MODEL_MAX_HEADS)
        return fail("\"num_labels\": expected 1 (a reward model) to %d, found %lld labels",
                    MODEL_MAX_HEADS, (long long)n);
    arch->n_labels = (int)n;
    return parse_names(arch, n == n_names ? names : NULL);
}

char *arch_label(const struct arch *arch, int k) {
    return arch->label && arch->label[k] ? mem_copy_string(arch->label[k])
                                         : mem_format("LABEL_%d", k);
}

void labels_free(struct arch *arch) {
    for (int k = 0; arch->label && k < arch->n_labels; k++) mem_free(arch->label[k]);
    mem_free(arch->label);
}
