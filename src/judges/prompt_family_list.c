/* The families that the program has: judges/<name>.jinja, whose texts stand in it. */
#include "prompt_family_list.h"

#include <stddef.h>

#define EACH_FAMILY(DO)       \
    DO(score5_v1)             \
    DO(score5_v2)             \
    DO(score5_v3)             \
    DO(score5_v4)             \
    DO(score100_v1)           \
    DO(hh_score5_v1)          \
    DO(hh_score5_v2)          \
    DO(hh_score5_v3)          \
    DO(hh_score5_v4)          \
    DO(hh_score100_v1)        \
    DO(hh_score100_v2)        \
    DO(hh_score100_v3)        \
    DO(hh_score100_v4)        \
    DO(hh_score100_scoreonly) \
    DO(pairwise_v1)           \
    DO(openjudge_pointwise)   \
    DO(openjudge_pairwise)    \
    DO(litbench_short)        \
    DO(litbench_short_direct) \
    DO(litbench_long)

#define EMBED(name)                                                           \
    extern const char prompt_family_text_##name[];                            \
    __asm__(".pushsection .rodata\n"                                          \
            ".global prompt_family_text_" #name "\nprompt_family_text_" #name \
            ": .incbin \"judges/" #name ".jinja\"\n"                          \
            ".byte 0\n"                                                       \
            ".popsection");
EACH_FAMILY(EMBED)

#define LISTED(name) {#name, prompt_family_text_##name},
const struct listed_family listed_families[] = {EACH_FAMILY(LISTED){NULL, NULL}};
