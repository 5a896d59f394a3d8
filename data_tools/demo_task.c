/* The demos' preference tasks. Of `make demo`: short conversations whose better answer does what
 * was asked, and politely.
 *
 *   kind      prompt                        chosen                      rejected
 *   follow    Please name an animal.        How about goat?             Sure: copper.
 *   compare   Which is smaller, 7 or 12?    I would say 7.              One answer is 12.
 *   manner    Tell me a city.               One answer is Oslo.         Why do you bother me? Oslo.
 *
 * No answer is good by itself, but for the manner: every word is the right answer to some prompts
 * and the wrong one to others, equally often, and phrases are drawn for each split on its own, so
 * that length tells nothing. A model has to hold the answer against the prompt. Held-out pairs have
 * prompts (name, phrase, question) that training never shows.
 *
 * Of the toy judge: answers of some sentences each, polite ones and rude ones, of which the better
 * has more that are polite. The sentences of both kinds are equally long. */
#include <stdio.h>
#include <string.h>

#include "demo.h"
#include "random.h"

enum { N_WORDS = 12, N_NUMBERS = 30, HELD_OUT_ONE_IN = 8, TEXT_ROOM = 160 };
enum { N_SENTENCES = 4 }; /* of an answer of the toy judge's */

struct category {
    const char *name, *word[N_WORDS];
};
static const struct category categories[] = {
    {"a fruit",
     {"apple", "banana", "cherry", "grape", "lemon", "mango", "melon", "apricot", "peach", "pear",
      "plum", "fig"}},
    {"an animal",
     {"horse", "cow", "dog", "cat", "sheep", "goat", "lion", "tiger", "rabbit", "wolf", "bear",
      "fox"}},
    {"a color",
     {"red", "blue", "green", "yellow", "purple", "black", "white", "brown", "pink", "grey",
      "violet", "beige"}},
    {"a city",
     {"Paris", "London", "Rome", "Berlin", "Madrid", "Vienna", "Oslo", "Prague", "Dublin", "Athens",
      "Lisbon", "Warsaw"}},
    {"a tool",
     {"hammer", "saw", "drill", "wrench", "pliers", "chisel", "shovel", "rake", "axe", "ladder",
      "screwdriver", "crowbar"}},
    {"a drink",
     {"water", "tea", "coffee", "milk", "juice", "lemonade", "cocoa", "cider", "beer", "wine",
      "soda", "punch"}},
    {"a metal",
     {"iron", "copper", "gold", "silver", "zinc", "tin", "lead", "nickel", "brass", "bronze",
      "steel", "cobalt"}},
    {"an instrument",
     {"piano", "violin", "flute", "guitar", "drum", "trumpet", "harp", "cello", "clarinet", "organ",
      "oboe", "banjo"}},
};

static const char *const names[] = {"Anna",  "Tom",   "Lena", "Omar", "Julia", "Wei",  "Maria",
                                    "Ivan",  "Sofia", "Raj",  "Emma", "Noah",  "Yuki", "Peter",
                                    "Clara", "Ali",   "Nina", "Paul", "Aisha", "Jonas"};
static const char *const greetings[] = {"", "Hello, this is %s. ", "My name is %s. ",
                                        "Good morning from %s. "};
static const char *const requests[] = {
    "Name %s.",    "Please name %s.", "Can you think of %s?", "I am looking for %s.",
    "Tell me %s.", "Do you know %s?"};
static const char *const questions[] = {"Which is %s, %d or %d?", "Tell me which is %s: %d or %d.",
                                        "Of %2$d and %3$d, which is %1$s?"};
static const char *const polite[] = {
    "Sure: %s.",      "How about %s?",     "I would say %s.",      "One answer is %s.",
    "Of course, %s.", "Gladly: it is %s.", "I think %s is right.", "You could take %s."};
/* Of the toy judge: they are as long as the rude ones. */
static const char *const friendly[] = {
    "Gladly, one that I like is %s.",  "Sure: how about %s?",     "Of course, %s.",
    "One answer could be %s, friend.", "I would happily say %s.", "You could take %s."};
static const char *const rude[] = {"Why do you bother me? %s.", "Silly question: %s.",
                                   "I do not care, %s.",        "Everybody knows %s, fool.",
                                   "%s, now leave me alone.",   "Think yourself, %s."};

#define COUNT(array) ((uint64_t)(sizeof(array) / sizeof *(array)))
#define PICK(d, array) ((array)[draw(d, COUNT(array))])

/* Draws of one pair. */
struct draws {
    uint64_t seed, pair, n;
};

static uint64_t draw(struct draws *d, uint64_t n) {
    return random_bits(d->seed, d->pair, d->n++) % n;
}

/* What a pair is about: the request, and the right and the wrong word. */
struct question {
    char request[TEXT_ROOM];
    char right[32], wrong[32];
};

static void ask_for_word(struct draws *d, struct question *q) {
    uint64_t asked = draw(d, COUNT(categories));
    uint64_t other = (asked + 1 + draw(d, COUNT(categories) - 1)) % COUNT(categories);
    snprintf(q->request, sizeof q->request, PICK(d, requests), categories[asked].name);
    snprintf(q->right, sizeof q->right, "%s", PICK(d, categories[asked].word));
    snprintf(q->wrong, sizeof q->wrong, "%s", PICK(d, categories[other].word));
}

static void ask_for_number(struct draws *d, struct question *q) {
    int a = 1 + (int)draw(d, N_NUMBERS), b = 1 + (a + (int)draw(d, N_NUMBERS - 1)) % N_NUMBERS;
    bool larger = draw(d, 2);
    int right = larger == (a > b) ? a : b;
    snprintf(q->request, sizeof q->request, PICK(d, questions), larger ? "larger" : "smaller", a,
             b);
    snprintf(q->right, sizeof q->right, "%d", right);
    snprintf(q->wrong, sizeof q->wrong, "%d", a + b - right);
}

static char *conversation(const char *greeting, const char *request, const char *answer) {
    return mem_format("\n\nHuman: %s%s\n\nAssistant: %s", greeting, request, answer);
}

/* Whether a conversation that begins so is held out. */
static bool hold_out(uint64_t seed, const char *greeting, const char *request) {
    char *prompt = mem_format("%s%s", greeting, request);
    bool out = random_bits(seed, random_purpose(prompt), 0) % HELD_OUT_ONE_IN == 0;
    mem_free(prompt);
    return out;
}

struct demo_pair demo_pair_make(uint64_t seed, int64_t index, bool *is_held_out) {
    struct draws d = {seed, random_purpose("demo") + (uint64_t)index, 0};
    uint64_t kind = draw(&d, 10); /* six of ten follow, two compare, two manner */
    struct question q;
    if (kind < 2)
        ask_for_number(&d, &q);
    else
        ask_for_word(&d, &q);
    char greeting[TEXT_ROOM], answer[2][TEXT_ROOM];
    snprintf(greeting, sizeof greeting, PICK(&d, greetings), PICK(&d, names));
    bool manner = kind >= 8;
    snprintf(answer[0], TEXT_ROOM, PICK(&d, polite), q.right);
    snprintf(answer[1], TEXT_ROOM, manner ? PICK(&d, rude) : PICK(&d, polite),
             manner ? q.right : q.wrong);
    *is_held_out = hold_out(seed, greeting, q.request);
    return (struct demo_pair){.chosen = conversation(greeting, q.request, answer[0]),
                              .rejected = conversation(greeting, q.request, answer[1])};
}

/* Sentences of which n_polite are polite, at places of any order. */
static void answer_in_sentences(struct draws *d, int n_polite, struct buffer *out) {
    for (int left = N_SENTENCES; left > 0; left--) {
        bool is_polite = draw(d, (uint64_t)left) < (uint64_t)n_polite;
        const char *word = PICK(d, categories[draw(d, COUNT(categories))].word);
        buffer_format(out, is_polite ? PICK(d, friendly) : PICK(d, rude), word);
        if (left > 1) buffer_append_text(out, " ");
        n_polite -= is_polite;
    }
}

struct demo_pair demo_manners_make(uint64_t seed, int64_t index, bool *is_held_out) {
    struct draws d = {seed, random_purpose("manners") + (uint64_t)index, 0};
    int worse = (int)draw(&d, N_SENTENCES),
        better = worse + 1 + (int)draw(&d, (uint64_t)(N_SENTENCES - worse));
    char greeting[TEXT_ROOM], request[TEXT_ROOM];
    snprintf(greeting, sizeof greeting, PICK(&d, greetings), PICK(&d, names));
    snprintf(request, sizeof request, PICK(&d, requests),
             categories[draw(&d, COUNT(categories))].name);
    struct buffer answer[2] = {{0}, {0}};
    answer_in_sentences(&d, better, &answer[0]);
    answer_in_sentences(&d, worse, &answer[1]);
    struct demo_pair pair = {.chosen = conversation(greeting, request, answer[0].data),
                             .rejected = conversation(greeting, request, answer[1].data)};
    buffer_free(&answer[0]);
    buffer_free(&answer[1]);
    *is_held_out = hold_out(seed, greeting, request);
    return pair;
}

void demo_pair_free(struct demo_pair *pair) {
    mem_free(pair->chosen);
    mem_free(pair->rejected);
    *pair = (struct demo_pair){0};
}
