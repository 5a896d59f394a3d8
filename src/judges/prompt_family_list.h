/* The prompt families that the program has, for prompt_family.c. */
#ifndef RANKWISE_JUDGES_PROMPT_FAMILY_LIST_H
#define RANKWISE_JUDGES_PROMPT_FAMILY_LIST_H

struct listed_family {
    const char *name, *text;
};
extern const struct listed_family listed_families[]; /* a name of NULL ends it */
#endif
