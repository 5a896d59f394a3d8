/* What names a build: the digest of all that decides on its bytes; the lock of the shard it makes;
 * and what others left behind.
 *
 * Of two processes that make the same shard one waits for the other and then finds it done. On a
 * file system without locks both build, each in files of its own, and the later rename wins: the
 * bytes are the same. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "build.h"
#include "clock.h"
#include "file.h"
#include "hash.h"
#include "json.h"
#include "log.h"

/* --- the digest --- */

static void set_text(json_t *object, const char *key, const char *value) {
    if (value && value[0]) json_object_set_new(object, key, json_string(value));
}

/* Options as they are named; NULL: not in the list, as it was before there were such. */
static const char *const answers_name[] = {NULL, "keep", "only"};
static const char *const learn_name[] = {NULL, "last", "all-assistant"};

/* Everything that decides on the bytes but files' contents, in a fixed order; also an attribute of
 * the shard. */
json_t *name_options(const struct build *b) {
    const struct build_options *o = &b->options;
    const struct template_options *t = template_get_options(b->template);
    const struct format_options *s = &o->format_options;
    json_t *out = json_pack("{s:s, s:s, s:I, s:I, s:I, s:b}", "template", t->name, "truncate",
                            truncate_name(t->truncate), "max_length", (json_int_t)t->max_length,
                            "max_prompt_length", (json_int_t)t->max_prompt_length, "seed",
                            (json_int_t)o->seed, "skip_bad_rows", (int)o->skip_bad_rows);
    set_text(out, "now", t->now);
    set_text(out, "special", o->special);
    for (int i = 0; i < N_FORMAT_KEYS; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s_key", format_key_name[i]);
        set_text(out, name, s->key[i]);
    }
    set_text(out, "score_key", s->score_key);
    set_text(out, "min_strength", s->min_strength);
    set_text(out, "turns", s->turns);
    set_text(out, "ties", s->keep_ties ? "keep" : NULL);
    set_text(out, "answers", answers_name[s->answers]);
    set_text(out, "completions", learn_name[s->completions ? o->learn : LEARN_NOTHING]);
    set_text(out, "attributes", s->attributes);
    set_text(out, "min_score", s->min_score);
    set_text(out, "rationales", s->rationales);
    set_text(out, "orders", s->both_orders || o->both_orders ? "both" : NULL);
    if (b->family) {
        set_text(out, "judge", prompt_family_name(b->family));
        set_text(out, "target", o->target);
        set_text(out, "meta", o->add_meta ? "kept" : NULL);
        if (b->principles) json_object_set(out, "principles", b->principles);
    }
    set_text(out, "mapping", s->mapping ? mapping_program(s->mapping) : NULL);
    set_text(out, "delimiter", o->reader_options.delimiter);
    set_text(out, "header", o->reader_options.header);
    set_text(out, "rows", o->reader_options.rows);
    if (o->reader_options.max_row)
        json_object_set_new(out, "max_row", json_integer(o->reader_options.max_row));
    if (o->reader_options.max_ratio)
        json_object_set_new(out, "max_ratio", json_integer(o->reader_options.max_ratio));
    if (o->limit >= 0) json_object_set_new(out, "limit", json_integer(o->limit));
    if (b->out[1]) json_object_set_new(out, "eval_fraction", json_real(o->eval_fraction));
    return out;
}

static void add_text(struct sha256 *hash, const char *text) {
    sha256_add(hash, text ? text : "", strlen(text ? text : "") + 1);
}

static void add_json(struct sha256 *hash, json_t *value) {
    char *text = json_text(value);
    add_text(hash, text);
    mem_free(text);
    json_decref(value);
}

static void add_tokenizer(struct sha256 *hash, const struct tokenizer *t) {
    const struct tokenizer_file *file;
    int n = tokenizer_files(t, &file);
    for (int i = 0; i < n; i++) {
        add_text(hash, file[i].name);
        sha256_add(hash, &(int64_t){(int64_t)file[i].length}, sizeof(int64_t));
        sha256_add(hash, file[i].data, file[i].length);
    }
}

/* An input that can be read once only is named by its text, when that was read. */
static bool add_input(struct sha256 *hash, const struct build_input *in) {
    add_text(hash, in->is_file ? in->sha256 : in->text_sha256);
    add_text(hash, in->wanted);
    char weight[64];
    snprintf(weight, sizeof weight, "%d %.17g %lld", (int)in->take, in->fraction,
             (long long)in->count);
    add_text(hash, weight);
    return in->is_file || in->text_sha256[0];
}

void name_digest(struct build *b) {
    struct sha256 hash;
    bool is_known = true;
    sha256_start(&hash);
    add_text(&hash, "rankwise-data build");
    add_text(&hash, base_revision());
    add_json(&hash, name_options(b));
    add_text(&hash, template_get_options(b->template)->jinja);
    if (b->family) add_text(&hash, prompt_family_text(b->family));
    if (b->options.jsonl) add_text(&hash, "JSON lines");
    add_tokenizer(&hash, b->tokenizer);
    for (int i = 0; i < b->n_inputs; i++) is_known &= add_input(&hash, &b->input[i]);
    sha256_finish(&hash, b->digest);
    if (!is_known) b->digest[0] = 0;
}

/* What says that it is this build's is read to its end: it may be damaged. */
static bool is_whole(const char *path) {
    struct shard shard;
    if (shard_open(&shard, path) != 0) return false;
    int status = shard_verify(&shard);
    shard_close(&shard);
    return status == 0;
}

enum name_state name_look(const struct build *b) {
    enum name_state state = b->digest[0] ? NAME_UP_TO_DATE : NAME_MISSING;
    for (int i = 0; i < 2 && state == NAME_UP_TO_DATE && b->out[i]; i++) {
        char *digest = file_exists(b->out[i]) ? shard_text_of(b->out[i], "digest") : NULL;
        if (!digest || strcmp(digest, b->digest) != 0)
            state = NAME_MISSING;
        else if (!is_whole(b->out[i]))
            state = NAME_DAMAGED;
        mem_free(digest);
    }
    return state;
}

/* --- what stands under the names --- */

/* Where a symbolic link points to, also if nothing is there; else the path itself. */
static char *follow_links(const char *path) {
    enum { MOST_LINKS = 40 };
    char *at = mem_copy_string(path), target[4096];
    for (int i = 0; i < MOST_LINKS; i++) {
        ssize_t n = readlink(at, target, sizeof target - 1);
        if (n <= 0) break;
        target[n] = 0;
        char *slash = strrchr(at, '/');
        if (slash) slash[1] = 0;
        char *next = mem_format("%s%s", slash && target[0] != '/' ? at : "", target);
        mem_free(at);
        at = next;
    }
    return at;
}

static bool is_same_inode(const struct stat *a, const struct stat *b) {
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

static bool is_same_file(const char *path, const char *other) {
    struct stat a, b;
    return strcmp(path, other) == 0 ||
           (stat(path, &a) == 0 && stat(other, &b) == 0 && is_same_inode(&a, &b));
}

int name_check(const struct build *b, const char *path) {
    struct stat s;
    if (stat(path, &s) != 0) return 0;
    if (S_ISDIR(s.st_mode)) return fail("%s: is a directory; expected the shard's file", path);
    if (!S_ISREG(s.st_mode))
        return fail("%s: expected a file or nothing, found a device, a pipe or a socket", path);
    for (int i = 0; i < b->n_inputs; i++)
        if (is_same_file(path, b->input[i].path))
            return fail("%s: is an input, which it would replace", path);
    return 0;
}

int name_output(struct build *b, int i, const char *path) {
    if (name_check(b, path) != 0 || (file_exists(path) && shard_check_replaced(path) != 0))
        return -1;
    b->out[i] = follow_links(path);
    if (i == 0 || !is_same_file(b->out[0], b->out[1])) return 0;
    return fail("--out and --eval-out are the same file");
}

/* --- the lock --- */

static char *lock_path(const struct build *b) {
    return mem_format("%s.lock", b->out[0]);
}

/* Whether the file behind the descriptor is still the one of that name: its last owner may have
 * removed it. */
static bool is_current(int file, const char *path) {
    struct stat a, b;
    return fstat(file, &a) == 0 && stat(path, &b) == 0 && is_same_inode(&a, &b);
}

void name_sweep(const struct build *b) {
    char *path = lock_path(b), *log = mem_format("%s.partial", b->out[0]);
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file >= 0 && flock(file, LOCK_EX | LOCK_NB) == 0 && is_current(file, path)) {
        name_clean(b);
        unlink(log);
        unlink(path);
    }
    if (file >= 0) close(file);
    mem_free(log);
    mem_free(path);
}

/* The former owner removes the file when it is done: a lock on a file that has no name any more is
 * worth nothing, and the file is opened again. */
int name_lock(const struct build *b) {
    char *path = lock_path(b);
    int file = -1;
    bool has_spoken = false;
    for (;;) {
        if (file < 0) file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (file < 0) break;
        if (flock(file, LOCK_EX | LOCK_NB) == 0) {
            if (is_current(file, path)) break;
            close(file);
            file = -1;
            continue;
        }
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK) {
            close(file);
            file = -1;
            break;
        }
        if (!has_spoken) log_info("%s: another process builds it; waiting", b->out[0]);
        has_spoken = true;
        usleep(20000);
    }
    mem_free(path);
    return file;
}

void name_unlock(const struct build *b, int lock) {
    if (lock < 0) return;
    char *path = lock_path(b);
    unlink(path);
    close(lock);
    mem_free(path);
}

/* --- what killed builds left --- */

struct leftover {
    const char *directory;
    char *prefix;
};

static int remove_leftover(void *self, const char *name) {
    const struct leftover *l = self;
    if (strncmp(name, l->prefix, strlen(l->prefix)) != 0) return 0;
    char *path = file_join(l->directory, name);
    unlink(path);
    mem_free(path);
    return 0;
}

void name_clean(const struct build *b) {
    for (int i = 0; i < 2 && b->out[i]; i++) {
        char *directory = mem_copy_string(b->out[i]), *slash = strrchr(directory, '/');
        const char *base = slash ? slash + 1 : directory;
        struct leftover l = {slash ? directory : ".", mem_format("%s.tmp-", base)};
        if (slash) *slash = 0;
        if (slash == directory) l.directory = "/";
        file_list(l.directory, remove_leftover, &l);
        mem_free(l.prefix);
        mem_free(directory);
    }
}
