/* Writing token shards: see shard.h; docs/shard.md describes the file.
 *
 *   (1) Rows go to the file as they come (shard_column.h). Memory holds what shard.h says: the
 *       hashes of the sequences, to find identical ones; the runs of rows of one prompt, to make
 *       groups of them (shard_prompts.h); and the tokens and answers of the present run.
 *   (2) The temporary file becomes <path> when all of it is on the disk; a full disk leaves the
 *       former file.
 *   (3) The same content gives the same bytes: HDF5's time stamps are off, orders are those of the
 *       input.
 *   (4) Metadata has checksums (h5_new_file_access), data has Fletcher-32: a flipped bit is found.
 *   (5) The first failure stays: nothing is written after it, and every later call tells it
 *   again. */
#include <errno.h>
#include <hdf5.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "forest.h"
#include "h5.h"
#include "hash.h"
#include "json.h"
#include "shard.h"
#include "shard_answers.h"
#include "shard_asked.h"
#include "shard_blocks.h"
#include "shard_prompts.h"

enum { TOKEN_CHUNK = 8192, INDEX_CHUNK = 16384, FILE_CHUNK = 1 << 18 };
/* A run of one prompt ends here, so that its tokens fit memory; its group goes on in the next
 * run. */
enum { RUN_TOKENS = 1 << 21, RUN_COMPARISONS = 1 << 30 };
enum { LEAST_SLOTS = 1024 };

/* The present run: the sides of its rows, end to end, and their answers. There is none as long as
 * it has no side. */
struct open_run {
    struct shard_run run;
    struct buffer answers; /* for the spool (shard_answers.h) */
    int32_t *token;        /* (n_tokens) */
    int64_t n_tokens, capacity_tokens;
    int32_t *length; /* (n_sides) */
    int64_t n_sides, capacity_sides;
};

struct shard_writer {
    char *path, *temporary;
    char *trouble; /* the text of the first failure: (5) */
    int error;     /* errno of the first write that failed */
    int64_t vocabulary, n_tokens, n_sequences, n_comparisons;
    int64_t n_answers;
    /* over the comparisons, and the rows that have none; n_learned: in spans */
    int64_t n_side_tokens, n_forest_tokens, n_learned;
    char **score_name; /* (n_scores) */
    int64_t n_scores, capacity_scores;
    hid_t file, sequence_group, comparison_group, group_group, tokenizer_group;
    struct shard_column token, first, chosen, rejected, margin, weight, source, row, forest_tokens,
        prompt_tokens, label;
    struct spans spans;
    struct asked asked;
    struct blocks hash; /* struct hash128 (n_sequences) */
    struct sha256 all;  /* over these: the attribute token_digest */
    uint32_t *slot; /* open addressing by the hash: sequence + 1, or 0; n_slots is a power of two */
    int64_t n_slots;
    struct blocks run; /* struct shard_run, that are over */
    struct spool spool;
    struct open_run open;
    uint16_t *narrow; /* tokens of a sequence as the file has them */
    int64_t capacity_narrow;
    int64_t *number; /* of the row's answers; -1: not stored yet */
    int64_t capacity_numbers;
};

/* --- opening and closing --- */

static char *temporary_name(const char *path) {
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) != 0 || strchr(host, '/')) host[0] = 0;
    return mem_format("%s.tmp-%s-%d", path, host, (int)getpid());
}

static struct shard_column *column_of(struct shard_writer *w, int i) {
    struct shard_column *column[] = {&w->token,         &w->first,         &w->chosen, &w->rejected,
                                     &w->margin,        &w->weight,        &w->source, &w->row,
                                     &w->forest_tokens, &w->prompt_tokens, &w->label};
    int n = (int)(sizeof column / sizeof *column) - !w->label.name;
    return i < n ? column[i] : NULL;
}

static hid_t make_group(hid_t file, const char *name) {
    hid_t plist = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_obj_track_times(plist, false);
    hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, plist, H5P_DEFAULT);
    H5Pclose(plist);
    return group;
}

static int close_file(struct shard_writer *w) {
    struct shard_column *c;
    int status = 0;
    for (int i = 0; (c = column_of(w, i)); i++)
        if (column_close(c) != 0) status = -1;
    spans_close(&w->spans, -1); /* those that are not finished are of no use any more */
    asked_close(&w->asked, -1);
    H5_CLOSE(w->sequence_group, w->comparison_group, w->group_group, w->tokenizer_group);
    w->sequence_group = w->comparison_group = w->group_group = w->tokenizer_group = 0;
    if (w->file > 0 && H5Fclose(w->file) < 0 && status == 0) status = fail("%s", h5_reason());
    w->file = 0;
    return status;
}

static void writer_free(struct shard_writer *w) {
    mem_free(w->path);
    mem_free(w->temporary);
    mem_free(w->trouble);
    blocks_free(&w->hash);
    blocks_free(&w->run);
    spool_close(&w->spool);
    mem_free(w->slot);
    mem_free(w->open.token);
    mem_free(w->open.length);
    buffer_free(&w->open.answers);
    for (int64_t i = 0; i < w->n_scores; i++) mem_free(w->score_name[i]);
    mem_free(w->score_name);
    mem_free(w->narrow);
    mem_free(w->number);
    mem_free(w);
}

void shard_writer_abandon(struct shard_writer *w) {
    if (!w) return;
    char *trouble = mem_copy_string(error_text()); /* which closing may write over */
    close_file(w);
    remove(w->temporary);
    writer_free(w);
    fail("%s", trouble);
    mem_free(trouble);
}

static void open_columns(struct shard_writer *w) {
    bool is_narrow = w->vocabulary <= 65536;
    column_open(&w->token, w->file, "token", is_narrow ? H5T_STD_U16LE : H5T_STD_U32LE,
                is_narrow ? H5T_NATIVE_UINT16 : H5T_NATIVE_UINT32, TOKEN_CHUNK);
    column_open(&w->first, w->sequence_group, "first", H5T_STD_I64LE, H5T_NATIVE_INT64,
                INDEX_CHUNK);
    hid_t at = w->comparison_group;
    column_open(&w->chosen, at, "chosen", H5T_STD_I64LE, H5T_NATIVE_INT64, INDEX_CHUNK);
    column_open(&w->rejected, at, "rejected", H5T_STD_I64LE, H5T_NATIVE_INT64, INDEX_CHUNK);
    column_open(&w->margin, at, "margin", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, INDEX_CHUNK);
    column_open(&w->weight, at, "weight", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, INDEX_CHUNK);
    column_open(&w->source, at, "source", H5T_STD_U16LE, H5T_NATIVE_UINT16, INDEX_CHUNK);
    column_open(&w->row, at, "row", H5T_STD_I64LE, H5T_NATIVE_INT64, INDEX_CHUNK);
    column_open(&w->forest_tokens, at, "forest_tokens", H5T_STD_I32LE, H5T_NATIVE_INT32,
                INDEX_CHUNK);
    column_open(&w->prompt_tokens, at, "prompt_tokens", H5T_STD_I32LE, H5T_NATIVE_INT32,
                INDEX_CHUNK);
}

/* A path that cannot be written is told before hours of work, not after. */
static int open_file(struct shard_writer *w) {
    hid_t access = h5_new_file_access(&w->error), plist = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_obj_track_times(plist, false);
    w->file = H5Fcreate(w->temporary, H5F_ACC_TRUNC, plist, access);
    int status = w->file < 0 ? fail("%s", h5_reason()) : 0;
    H5_CLOSE(plist, access);
    if (status != 0) {
        if (w->error)
            fail("cannot be written: %s; hint: is there such a folder?", strerror(w->error));
        return -1;
    }
    w->sequence_group = make_group(w->file, "sequence");
    w->comparison_group = make_group(w->file, "comparison");
    w->group_group = make_group(w->file, "group");
    w->tokenizer_group = make_group(w->file, "tokenizer");
    if (w->sequence_group < 0 || w->comparison_group < 0 || w->group_group < 0 ||
        w->tokenizer_group < 0)
        return fail("%s", h5_reason());
    open_columns(w);
    char *path = mem_format("%s-sides", w->temporary);
    status = spool_open(&w->spool, path, w->vocabulary <= 65536);
    mem_free(path);
    return status;
}

static int start(struct shard_writer *w);

struct shard_writer *shard_writer_open(const char *path, int64_t vocabulary) {
    CHECK(vocabulary >= 1 && vocabulary <= INT32_MAX, "a vocabulary of %lld",
          (long long)vocabulary);
    h5_quiet();
    struct shard_writer *w = mem_alloc(1, sizeof *w);
    w->path = mem_copy_string(path);
    w->temporary = temporary_name(path);
    w->vocabulary = vocabulary;
    w->hash.size = sizeof(struct hash128);
    w->run.size = sizeof(struct shard_run);
    w->spool.file = -1;
    sha256_start(&w->all);
    if (open_file(w) != 0) {
        fail_context("%s", path);
        shard_writer_abandon(w);
        return NULL;
    }
    w->n_slots = LEAST_SLOTS;
    w->slot = mem_alloc(w->n_slots, sizeof *w->slot);
    start(w);
    return w;
}

/* Keeps the first failure: (5). */
static int settle(struct shard_writer *w, int status) {
    if (w->trouble) return fail("%s", w->trouble);
    if (w->error)
        status = fail("%s: cannot be written: %s", w->path, strerror(w->error));
    else if (status != 0)
        fail_context("%s", w->path);
    if (status != 0) w->trouble = mem_copy_string(error_text());
    return status;
}

/* --- sequences --- */

static bool same_hash(const struct hash128 *a, const struct hash128 *b) {
    return a->low == b->low && a->high == b->high;
}

/* The slot of the sequence, or the empty one where it belongs. */
static int64_t find_slot(const struct shard_writer *w, const struct hash128 *hash) {
    int64_t at = (int64_t)(hash->low & (uint64_t)(w->n_slots - 1));
    while (w->slot[at] && !same_hash(blocks_at(&w->hash, (int64_t)w->slot[at] - 1), hash))
        at = (at + 1) & (w->n_slots - 1);
    return at;
}

static void double_slots(struct shard_writer *w) {
    mem_free(w->slot);
    w->n_slots *= 2;
    w->slot = mem_alloc(w->n_slots, sizeof *w->slot);
    for (int64_t s = 0; s < w->n_sequences; s++)
        w->slot[find_slot(w, blocks_at(&w->hash, s))] = (uint32_t)s + 1;
}

static int append_tokens(struct shard_writer *w, const int32_t *token, int64_t n) {
    bool is_bad = false;
    for (int64_t i = 0; i < n; i++) is_bad |= token[i] < 0 || token[i] >= w->vocabulary;
    CHECK(!is_bad, "a token that is not in the vocabulary of %lld", (long long)w->vocabulary);
    if (w->vocabulary > 65536) return column_append(&w->token, token, n);
    if (n > w->capacity_narrow) {
        mem_free(w->narrow);
        w->narrow = mem_alloc(2 * n, sizeof *w->narrow);
        w->capacity_narrow = 2 * n;
    }
    for (int64_t i = 0; i < n; i++) w->narrow[i] = (uint16_t)token[i];
    return column_append(&w->token, w->narrow, n);
}

/* Of a sequence's tokens and spans. */
static struct hash128 hash_sequence(struct hash128 tokens, const struct shard_span *span,
                                    int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        const int32_t part[] = {span[i].first, span[i].last, span[i].verdict};
        struct hash128 more = hash128(part, sizeof part, (uint32_t)i + 1),
                       weight = hash128(&span[i].weight, sizeof span[i].weight, (uint32_t)i + 1);
        const uint64_t all[] = {tokens.low, tokens.high, more.low, more.high, weight.low};
        tokens = hash128(all, sizeof all, 0);
    }
    return tokens;
}

/* The number of the sequence that an answer of the row is. An identical one gets the same number;
 * two of the same tokens in which other ones are learned are not identical. -1 on an error. */
static int64_t take_sequence(struct shard_writer *w, const int32_t *token, int64_t n,
                             const struct shard_span *span, int32_t n_spans) {
    CHECK(n >= 1 && n < INT32_MAX, "a sequence of %lld tokens", (long long)n);
    struct hash128 tokens = hash128(token, (size_t)n * sizeof *token, 0),
                   hash = hash_sequence(tokens, span, n_spans);
    int64_t at = find_slot(w, &hash);
    if (w->slot[at]) return (int64_t)w->slot[at] - 1;
    if (w->n_sequences == UINT32_MAX) return fail("more than %u different sequences", UINT32_MAX);
    if (append_tokens(w, token, n) != 0 || column_append(&w->first, &w->n_tokens, 1) != 0)
        return -1;
    for (int32_t i = 0; i < n_spans; i++) {
        CHECK(span[i].first >= 1 && span[i].first < span[i].last && span[i].last <= n,
              "a span from %d to %d of %lld", span[i].first, span[i].last, (long long)n);
        if (spans_append(&w->spans, w->file, INDEX_CHUNK, w->n_sequences, &span[i]) != 0) return -1;
        w->n_learned += span[i].last - span[i].first;
    }
    blocks_add(&w->hash, &hash);
    sha256_add(&w->all, &tokens, sizeof tokens);
    w->slot[at] = (uint32_t)++w->n_sequences;
    w->n_tokens += n;
    if (4 * w->n_sequences > 3 * w->n_slots) double_slots(w);
    return w->n_sequences - 1;
}

/* --- rows --- */

/* Tokens of the forest of the present run, whose sides lie end to end. */
static int close_run(struct shard_writer *w) {
    struct open_run *open = &w->open;
    if (open->n_sides == 0) return 0;
    if (open->run.n != 1 || open->n_sides > 2) { /* else the comparison's are counted already */
        const int32_t **sequence = mem_alloc(open->n_sides, sizeof *sequence), *next = open->token;
        for (int64_t i = 0; i < open->n_sides; next += open->length[i++]) sequence[i] = next;
        int64_t count = forest_count(open->n_sides, sequence, open->length);
        mem_free(sequence);
        if (count > INT32_MAX)
            return fail("a prompt with %lld tokens of answers", (long long)count);
        open->run.forest_tokens = (int32_t)count;
    }
    if (spool_add(&w->spool, open->length, open->n_sides, open->token, &open->answers,
                  &open->run.at) != 0)
        return -1;
    blocks_add(&w->run, &open->run);
    open->n_tokens = open->n_sides = 0;
    buffer_clear(&open->answers);
    return 0;
}

static void add_side(struct open_run *open, const int32_t *token, int32_t length) {
    if (open->n_tokens + length > open->capacity_tokens) {
        open->capacity_tokens = 2 * (open->n_tokens + length);
        open->token = mem_resize(open->token, open->capacity_tokens, sizeof *open->token);
    }
    memcpy(open->token + open->n_tokens, token, (size_t)length * sizeof *token);
    open->n_tokens += length;
    ARRAY_RESERVE(open->length, open->n_sides, open->capacity_sides);
    open->length[open->n_sides++] = length;
}

/* The number of an answer of the row, which is stored when it is met first. */
static int64_t take_answer(struct shard_writer *w, const struct shard_row *row, int32_t answer) {
    CHECK(answer >= 0 && answer < row->n_answers, "answer %d of %d", answer, row->n_answers);
    if (w->number[answer] >= 0) return w->number[answer];
    int32_t first = 0, n = 0;
    while (first < row->n_spans && row->span[first].answer < answer) first++;
    while (first + n < row->n_spans && row->span[first + n].answer == answer) n++;
    int64_t number =
        take_sequence(w, row->token[answer], row->length[answer], n ? row->span + first : NULL, n);
    if (number < 0) return -1;
    add_side(&w->open, row->token[answer], row->length[answer]);
    return w->number[answer] = number;
}

/* The column begins with the first label that is not 1; all before it are. */
static int take_label(struct shard_writer *w, float label) {
    static const float one = 1;
    CHECK(label >= 0 && label <= 1, "a label of %g", (double)label);
    int64_t n_before = w->n_comparisons - 1;
    int status = 0;
    if (!w->label.name && label == 1) return 0;
    if (w->label.name) n_before = 0;
    if (!w->label.name)
        column_open(&w->label, w->comparison_group, "label", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT,
                    INDEX_CHUNK);
    for (int64_t i = 0; i < n_before && status == 0; i++)
        status = column_append(&w->label, &one, 1);
    return status == 0 ? column_append(&w->label, &label, 1) : -1;
}

/* A pair adds one element to every column of /comparison, after its two answers were stored. */
static int take_pair(struct shard_writer *w, const struct shard_row *row,
                     const struct shard_pair *pair) {
    int64_t chosen = take_answer(w, row, pair->chosen);
    int64_t rejected = chosen < 0 ? -1 : take_answer(w, row, pair->rejected);
    if (rejected < 0) return -1;
    const int32_t *sequence[] = {row->token[pair->chosen], row->token[pair->rejected]};
    const int32_t length[] = {row->length[pair->chosen], row->length[pair->rejected]};
    int32_t count = (int32_t)MIN(forest_count(2, sequence, length), INT32_MAX);
    struct shard_run *run = &w->open.run;
    if (run->n++ == 0) run->forest_tokens = count;
    w->n_comparisons++;
    w->n_side_tokens += (int64_t)length[0] + length[1];
    w->n_forest_tokens += count;
    int status = column_append(&w->chosen, &chosen, 1);
    if (status == 0) status = column_append(&w->rejected, &rejected, 1);
    if (status == 0) status = column_append(&w->margin, &pair->margin, 1);
    if (status == 0) status = column_append(&w->weight, &pair->weight, 1);
    if (status == 0) status = column_append(&w->source, &row->source, 1);
    if (status == 0) status = column_append(&w->row, &row->row, 1);
    if (status == 0) status = column_append(&w->forest_tokens, &count, 1);
    if (status == 0) status = column_append(&w->prompt_tokens, &row->prompt_tokens, 1);
    return status == 0 ? take_label(w, row->label ? row->label[pair - row->pair] : 1) : -1;
}

/* Every answer of the row is an entry of /answer. */
static int take_answers(struct shard_writer *w, const struct shard_row *row) {
    CHECK(!row->score || row->n_scores <= w->n_scores, "%d scores of %lld", row->n_scores,
          (long long)w->n_scores);
    for (int32_t i = 0; i < row->n_answers; i++) {
        int64_t number = take_answer(w, row, i);
        if (number < 0) return -1;
        answers_spool(&w->open.answers, row, i, number);
        if (row->n_pairs == 0) w->n_side_tokens += row->length[i];
    }
    w->n_answers += row->n_answers;
    if (row->n_pairs == 0)
        w->n_forest_tokens += forest_count(row->n_answers, row->token, row->length);
    return 0;
}

/* The prompts of a judge's pair, which is a group of its own. */
static int take_asked(struct shard_writer *w, const struct shard_row *row) {
    CHECK(row->n_pairs == 0 && !row->has_answers, "prompts with %d pairs", row->n_pairs);
    for (int32_t i = 0; i < row->n_answers; i++) {
        if (take_answer(w, row, i) < 0) return -1;
        w->n_side_tokens += row->length[i];
    }
    w->n_forest_tokens += forest_count(row->n_answers, row->token, row->length);
    return asked_append(&w->asked, w->file, INDEX_CHUNK, row, w->number);
}

int shard_writer_row(struct shard_writer *w, const struct shard_row *row) {
    if (w->trouble) return settle(w, -1);
    bool has_answers = row->has_answers || row->asked;
    if (row->n_pairs == 0 && (!has_answers || row->n_answers == 0)) return 0;
    struct open_run *open = &w->open;
    uint64_t prompt = row->asked ? (uint64_t)w->asked.n_pairs : row->prompt;
    int status = 0;
    if (open->run.prompt != prompt || open->n_tokens > RUN_TOKENS || open->run.n > RUN_COMPARISONS)
        status = close_run(w);
    if (open->n_sides == 0)
        open->run = (struct shard_run){.prompt = prompt, .first = w->n_comparisons};
    if (row->n_answers > w->capacity_numbers) {
        mem_free(w->number);
        w->capacity_numbers = 2 * (int64_t)row->n_answers;
        w->number = mem_alloc(w->capacity_numbers, sizeof *w->number);
    }
    for (int32_t i = 0; i < row->n_answers; i++) w->number[i] = -1;
    for (int32_t i = 0; i < row->n_pairs && status == 0; i++)
        status = take_pair(w, row, &row->pair[i]);
    if (status == 0 && row->has_answers) status = take_answers(w, row);
    if (status == 0 && row->asked) status = take_asked(w, row);
    return settle(w, status);
}

int32_t shard_writer_score(struct shard_writer *w, const char *name) {
    for (int64_t i = 0; i < w->n_scores; i++)
        if (strcmp(w->score_name[i], name) == 0) return (int32_t)i;
    ARRAY_RESERVE(w->score_name, w->n_scores, w->capacity_scores);
    w->score_name[w->n_scores] = mem_copy_string(name);
    return (int32_t)w->n_scores++;
}

struct shard_sums shard_writer_sums(const struct shard_writer *w) {
    return (struct shard_sums){w->n_comparisons,   w->n_answers, w->n_side_tokens,
                               w->n_forest_tokens, w->n_learned, w->asked.n_pairs,
                               w->asked.n};
}

/* --- attributes and files --- */

static int write_attribute(int status, hid_t file, const char *name, hid_t type, const void *data) {
    if (status != 0) return status;
    hid_t space = H5Screate(H5S_SCALAR),
          attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, type, data) < 0)
        status = fail("attribute %s: %s", name, h5_reason());
    H5_CLOSE(attribute, space);
    return status;
}

static int write_text(int status, hid_t file, const char *name, const char *text) {
    size_t length = strlen(text);
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, MAX(length, 1));
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    H5Tset_cset(type, H5T_CSET_UTF8);
    status = write_attribute(status, file, name, type, text);
    H5Tclose(type);
    return status;
}

static int start(struct shard_writer *w) {
    int64_t format = SHARD_FORMAT;
    int status = write_text(0, w->file, "kind", SHARD_KIND);
    status = write_attribute(status, w->file, "format", H5T_STD_I64LE, &format);
    return settle(w, write_attribute(status, w->file, "vocabulary", H5T_STD_I64LE, &w->vocabulary));
}

int shard_writer_attribute(struct shard_writer *w, const char *name, const char *text) {
    return w->trouble ? settle(w, -1) : settle(w, write_text(0, w->file, name, text));
}

int shard_writer_tokenizer_file(struct shard_writer *w, const char *name, const void *data,
                                size_t length) {
    CHECK(name[0] && name[0] != '.' && !strchr(name, '/'), "a tokenizer file named \"%s\"", name);
    if (w->trouble) return settle(w, -1);
    struct shard_column c;
    column_open(&c, w->tokenizer_group, name, H5T_STD_U8LE, H5T_NATIVE_UINT8, FILE_CHUNK);
    int status = column_append(&c, data, (int64_t)length);
    if (status == 0) status = column_finish(&c);
    if (column_close(&c) != 0) status = -1;
    return settle(w, status);
}

/* --- the end --- */

static char *list_scores(const struct shard_writer *w) {
    json_t *list = json_array();
    for (int64_t i = 0; i < w->n_scores; i++)
        json_array_append_new(list, json_string(w->score_name[i]));
    char *text = json_text(list);
    json_decref(list);
    return text;
}

/* /group, and /answer where there is any. */
static int write_groups(struct shard_writer *w) {
    struct answers answers = {0};
    int64_t n_runs = w->run.n;
    struct shard_run *run = blocks_join(&w->run);
    int status =
        w->n_answers == 0 ? 0 : answers_open(&answers, w->file, INDEX_CHUNK, (int32_t)w->n_scores);
    if (status == 0)
        status = groups_write(w->group_group, INDEX_CHUNK, run, n_runs, &w->spool,
                              w->n_answers ? &answers : NULL);
    status = answers_close(&answers, status);
    mem_free(run);
    if (status != 0 || w->n_scores == 0 || w->n_answers == 0) return status;
    char *names = list_scores(w);
    status = write_text(0, w->file, "scores", names);
    mem_free(names);
    return status;
}

/* What is only known now. The index of sequences is not needed any more, and gives its memory to
 * the groups'. */
static int write_rest(struct shard_writer *w, const struct contract *contract) {
    struct shard_column *c;
    int status = close_run(w);
    blocks_free(&w->hash);
    mem_free(w->slot);
    w->slot = NULL;
    if (status == 0) status = column_append(&w->first, &w->n_tokens, 1);
    for (int i = 0; status == 0 && (c = column_of(w, i)); i++) status = column_finish(c);
    if (status == 0) status = spool_flush(&w->spool);
    status = spans_close(&w->spans, status);
    status = asked_close(&w->asked, status);
    if (status == 0 && w->error == 0) status = write_groups(w);
    char *text = contract_text(contract), digest[65];
    status = write_text(status, w->file, "contract", text);
    mem_free(text);
    sha256_finish(&w->all, digest);
    return write_text(status, w->file, "token_digest", digest);
}

int shard_writer_finish(struct shard_writer *w, const struct contract *contract) {
    int status = w->trouble ? settle(w, -1) : 0;
    if (status == 0 && w->n_comparisons == 0 && w->n_answers == 0 && w->asked.n == 0)
        status = fail("%s: no comparison, answer or prompt is left to write", w->path);
    else if (status == 0)
        status = settle(w, write_rest(w, contract));
    if (status == 0) status = settle(w, close_file(w));
    if (status == 0) status = file_publish(w->temporary, w->path);
    if (status == 0)
        writer_free(w);
    else
        shard_writer_abandon(w);
    return status;
}
