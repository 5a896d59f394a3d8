/* Checkpoints: written by any ranks at any stage, read by any others with the same bits; damage is
 * found, a full disk leaves the former ones alone. ranks: 1 2 3; devices: emulated */
#include <hdf5.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint.h"
#include "device.h"
#include "file.h"
#include "random.h"
#include "test.h"
#include "test_device.h"

/* Odd sizes: no tensor is a multiple of the slice alignment; the embedding of the large one has
 * several blocks. */
static const char small_model[] =
    "{\"model_type\":\"qwen2\",\"architectures\":[\"Qwen2ForCausalLM\"],\"hidden_size\":24,"
    "\"intermediate_size\":40,"
    "\"vocab_size\":101,\"num_hidden_layers\":2,\"num_attention_heads\":3,\"num_key_value_heads\":"
    "1,"
    "\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-6,\"max_position_embeddings\":64,\"tie_word_"
    "embeddings\":true}";
static const char large_model[] =
    "{\"model_type\":\"qwen2\",\"architectures\":[\"Qwen2ForCausalLM\"],\"hidden_size\":600,"
    "\"intermediate_size\":40,"
    "\"vocab_size\":7301,\"num_hidden_layers\":1,\"num_attention_heads\":3,\"num_key_value_heads\":"
    "1,"
    "\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-6,\"max_position_embeddings\":64,\"tie_word_"
    "embeddings\":true}";

/* A call that gives 0; else its message is the test's. */
#define ASSERT_DONE(call)                                                                      \
    do {                                                                                       \
        error_clear();                                                                         \
        if ((call) != 0) TEST_END(TEST_FAILED, "%s:%d: %s", __FILE__, __LINE__, error_text()); \
    } while (0)

/* What a save needs; made anew by each test. */
struct world {
    struct placement place;
    struct device *dev;
    struct arch arch;
    struct parameters table;
    struct zero *z;
};

static char *directory; /* the same on all ranks, empty at each test's start */

/* Element i of a tensor, of a kind: what every save of these tests holds. */
static float expected(enum checkpoint_kind kind, const char *name, int64_t i) {
    return (float)random_uniform(5 + (uint64_t)kind, random_purpose(name), (uint64_t)i) - 0.5f;
}

static int read_expected(void *self, const struct parameter *p, int64_t first, int64_t count,
                         float *out) {
    (void)self;
    for (int64_t i = 0; i < count; i++) out[i] = expected(CHECKPOINT_MASTER, p->name, first + i);
    return 0;
}

static void fill_moments(void *self, const struct zero_slice *s) {
    struct device *dev = self;
    float *host = mem_alloc(s->count, sizeof *host);
    for (int64_t i = 0; i < s->count; i++)
        host[i] = expected(CHECKPOINT_MOMENT1, s->parameter->name, s->first + i);
    dev->backend->copy_in(dev, s->moment1, host, (size_t)s->count * sizeof *host, STREAM_COMPUTE);
    for (int64_t i = 0; i < s->count; i++)
        host[i] = expected(CHECKPOINT_MOMENT2, s->parameter->name, s->first + i);
    dev->backend->copy_in(dev, s->moment2, host, (size_t)s->count * sizeof *host, STREAM_COMPUTE);
    mem_free(host);
}

/* What the worlds that are opened do not train. */
static struct patterns frozen;

static void world_open(struct world *w, const char *model, int stage, enum dtype dtype,
                       int64_t zero_group) {
    *w = (struct world){0};
    ASSERT_INT(placement_init(&w->place, zero_group), 0);
    w->dev = test_device_open(1);
    device_join(w->dev, &w->place);
    ASSERT_INT(arch_parse(&w->arch, model, strlen(model)), 0);
    ASSERT_DONE(parameters_build(&w->table, &w->arch, &one_score));
    ASSERT_DONE(parameters_freeze(&w->table, &frozen, "freeze"));
    struct zero_options options = {stage, dtype, true, true};
    w->z = zero_init(w->dev, &w->place, &w->table, &options);
}

static void world_fill(struct world *w) {
    struct parameter_reader reader = {read_expected, NULL};
    ASSERT_INT(zero_load(w->z, &reader), 0);
    zero_each_slice(w->z, fill_moments, w->dev);
}

static void world_close(struct world *w) {
    zero_free(w->z);
    parameters_free(&w->table);
    arch_free(&w->arch);
    device_leave(w->dev, &w->place);
    test_device_close(w->dev);
    placement_free(&w->place);
}

static const struct run_state some_state = {.step = 200,
                                            .updates = 198,
                                            .skipped = 2,
                                            .skipped_in_a_row = 1,
                                            .cursor = {3, 77},
                                            .episodes = 6400};
static const struct tokenizer_file some_files[] = {{"tokenizer.json", "{\"a\":\0\"b\"}", 11},
                                                   {"tokenizer_config.json", "", 0}};

static int save(struct world *w, int64_t step, int writers, int keep) {
    struct run_state state = some_state;
    state.step = step;
    struct checkpoint_extra extra = {.config = "run: { name = \"t\"; };",
                                     .arch_json = w->arch.json,
                                     .data = "run.seed: 1\n",
                                     .metrics_line = step == 200 ? "" : NULL,
                                     .file = some_files,
                                     .n_files = 2};
    struct checkpoint_options options = {.writers = writers, .keep = keep};
    return checkpoint_save(directory, w->z, &w->table, &w->place, &state, &extra, &options);
}

static void start_clean(void) {
    comm_barrier(comm_world()); /* nobody reads any more */
    if (base_rank == 0) file_remove_tree(directory);
    comm_barrier(comm_world());
}

/* Every element of every tensor and kind, read in pieces of an odd size. */
static void assert_holds_expected(struct checkpoint *c) {
    enum { PIECE = 700001 };
    float *out = mem_alloc(PIECE, sizeof *out);
    for (int kind = 0; kind < 3; kind++)
        for (int t = 0; t < c->n_tensors; t++)
            for (int64_t first = 0; first < c->tensor[t].count; first += PIECE) {
                int64_t n = MIN(PIECE, c->tensor[t].count - first);
                ASSERT_DONE(checkpoint_read(c, kind, c->tensor[t].name, first, n, out));
                for (int64_t i = 0; i < n; i++)
                    if (out[i] != expected(kind, c->tensor[t].name, first + i))
                        ASSERT_NEAR(out[i], expected(kind, c->tensor[t].name, first + i), 0);
            }
    mem_free(out);
}

static void assert_whole(int64_t step) {
    struct checkpoint c;
    char *path = checkpoint_path(directory, step);
    ASSERT_DONE(checkpoint_open(&c, path));
    ASSERT_INT(c.state.step, step);
    assert_holds_expected(&c);
    checkpoint_close(&c);
    mem_free(path);
}

static void check_slice(void *self, const struct zero_slice *s) {
    struct device *dev = self;
    const float *from[3] = {s->master, s->moment1, s->moment2};
    float *host = mem_alloc(s->count, sizeof *host);
    for (int kind = 0; kind < 3; kind++) {
        test_device_read(dev, host, from[kind], (size_t)s->count * sizeof *host);
        for (int64_t i = 0; i < s->count; i++)
            if (host[i] != expected(kind, s->parameter->name, s->first + i))
                ASSERT_TEXT(s->parameter->name, "");
    }
    mem_free(host);
}

/* Loads into another world and looks at its slices; the memory's bits, since nothing is
 * computed. */
static void assert_loads(int64_t step, struct world *w) {
    struct checkpoint c;
    char *path = checkpoint_path(directory, step);
    ASSERT_DONE(checkpoint_open(&c, path));
    ASSERT_DONE(checkpoint_load(&c, w->z, &w->place, true));
    w->dev->backend->synchronize(w->dev, STREAM_COMM); /* stage 0 gathers the others' masters */
    zero_each_slice(w->z, check_slice, w->dev);
    checkpoint_close(&c);
    mem_free(path);
}

static int count_entries(void *self, const char *name) {
    (void)name;
    ++*(int *)self;
    return 0;
}

static int entries(const char *path) {
    int n = 0;
    ASSERT_INT(file_list(path, count_entries, &n), 0);
    return n;
}

static void test_any_stage_loads_at_any_stage(void) {
    for (int stage = 0; stage <= 3; stage++) {
        struct world from, to;
        start_clean();
        world_open(&from, small_model, stage, stage == 1 ? DTYPE_BF16 : DTYPE_F32, ZERO_GROUP_ALL);
        world_fill(&from);
        ASSERT_DONE(save(&from, 200, 0, 0));
        assert_whole(200);
        for (int other = 0; other <= 3; other++) {
            world_open(&to, small_model, other, other == 2 ? DTYPE_BF16 : DTYPE_F32,
                       ZERO_GROUP_ALL);
            assert_loads(200, &to);
            world_close(&to);
        }
        /* each rank is a ZeRO group of its own */
        world_open(&to, small_model, stage, DTYPE_F32, 1);
        assert_loads(200, &to);
        world_close(&to);
        world_close(&from);
    }
}

static void check_frozen_slice(void *self, const struct zero_slice *s) {
    struct device *dev = self;
    if (s->parameter->segment != SEGMENT_FROZEN) return;
    float *host = mem_alloc(s->count, sizeof *host);
    ASSERT(!s->master && !s->moment1 && !s->gradient);
    test_device_read(dev, host, s->weight.data, (size_t)s->count * sizeof *host);
    for (int64_t i = 0; i < s->count; i++)
        if (host[i] != expected(CHECKPOINT_MASTER, s->parameter->name, s->first + i))
            ASSERT_TEXT(s->parameter->name, "");
    mem_free(host);
}

/* The table's tensors are there, with moments where they were trained. */
static void assert_has_frozen(int64_t step) {
    struct checkpoint c;
    float out;
    char *path = checkpoint_path(directory, step);
    ASSERT_DONE(checkpoint_open(&c, path));
    for (int t = 0; t < c.n_tensors; t++) {
        bool is_frozen = patterns_match(&frozen, c.tensor[t].name);
        ASSERT_INT(c.tensor[t].place, is_frozen ? CHECKPOINT_FROZEN : CHECKPOINT_TRAINED);
        ASSERT_DONE(checkpoint_read(&c, CHECKPOINT_MASTER, c.tensor[t].name, 0, 1, &out));
        ASSERT_NEAR(out, expected(CHECKPOINT_MASTER, c.tensor[t].name, 0), 0);
        ASSERT_INT(checkpoint_read(&c, CHECKPOINT_MOMENT2, c.tensor[t].name, 0, 1, &out),
                   is_frozen ? -1 : 0);
    }
    checkpoint_close(&c);
    mem_free(path);
}

static void test_frozen_parts_load_at_any_stage(void) {
    static char *pattern[] = {"*embed*", "*layers.0.*", "*norm*"};
    for (int stage = 0; stage <= 3; stage++) {
        struct world from, to;
        frozen = (struct patterns){pattern, 3};
        start_clean();
        world_open(&from, small_model, stage, DTYPE_F32, ZERO_GROUP_ALL);
        world_fill(&from);
        ASSERT_DONE(save(&from, 200, 0, 0));
        assert_has_frozen(200);
        for (int other = 0; other <= 3; other++) {
            world_open(&to, small_model, other, DTYPE_F32, ZERO_GROUP_ALL);
            assert_loads(200, &to);
            zero_each_owned(to.z, check_frozen_slice, to.dev);
            world_close(&to);
        }
        /* what was frozen is to be trained */
        frozen.n = 2;
        world_open(&to, small_model, stage, DTYPE_F32, ZERO_GROUP_ALL);
        struct checkpoint c;
        char *path = checkpoint_path(directory, 200);
        ASSERT_DONE(checkpoint_open(&c, path));
        ASSERT_INT(checkpoint_check_frozen(&c, &to.table), -1);
        ASSERT_CONTAINS(error_text(), "model.layers.1.input_layernorm.weight was frozen, and is to "
                                      "be trained; hint: model.freeze as the run began with");
        checkpoint_close(&c);
        mem_free(path);
        world_close(&to);
        world_close(&from);
    }
    frozen.n = 0;
}

static void test_any_number_of_writers(void) {
    struct world w;
    world_open(&w, small_model, 2, DTYPE_F32, ZERO_GROUP_ALL);
    world_fill(&w);
    for (int writers = 0; writers <= 4; writers++) {
        start_clean();
        ASSERT_DONE(save(&w, 200, writers, 0));
        char *path = checkpoint_path(directory, 200);
        /* all ranks of a test are on one node */
        int n_parts = writers == 0 ? 1 : MIN(writers, w.place.data.size);
        ASSERT_INT(entries(path), n_parts + 1);
        mem_free(path);
        assert_whole(200);
    }
    world_close(&w);
}

static void test_replicas_save_once(void) {
    struct world w;
    start_clean();
    world_open(&w, small_model, 1, DTYPE_F32, 1);
    world_fill(&w);
    ASSERT_DONE(save(&w, 200, 3, 0));
    char *path = checkpoint_path(directory, 200);
    ASSERT_INT(entries(path), 2); /* one rank holds all there is */
    mem_free(path);
    assert_whole(200);
    world_close(&w);
}

static void test_tensors_of_several_pieces(void) {
    struct world w, alone;
    start_clean();
    world_open(&w, large_model, 2, DTYPE_F32, ZERO_GROUP_ALL);
    world_fill(&w);
    ASSERT_DONE(save(&w, 1234567, 0, 0));
    assert_whole(1234567);
    world_open(&alone, large_model, 0, DTYPE_F32, 1);
    assert_loads(1234567, &alone);
    world_close(&alone);
    world_close(&w);
}

static void test_what_travels_beside_tensors(void) {
    struct world w;
    struct checkpoint c;
    start_clean();
    world_open(&w, small_model, 3, DTYPE_F32, ZERO_GROUP_ALL);
    world_fill(&w);
    ASSERT_DONE(save(&w, 200, 0, 0));
    char *path = checkpoint_path(directory, 200);
    ASSERT_DONE(checkpoint_open(&c, path));
    ASSERT(memcmp(&c.state.cursor, &some_state.cursor, sizeof c.state.cursor) == 0);
    ASSERT_INT(c.state.updates, 198);
    ASSERT_INT(c.state.skipped, 2);
    ASSERT_INT(c.state.skipped_in_a_row, 1);
    ASSERT_INT(c.state.episodes, 6400);
    ASSERT(!c.state.finished);
    ASSERT_TEXT(c.config, "run: { name = \"t\"; };");
    ASSERT_TEXT(c.arch_json, small_model);
    ASSERT_TEXT(c.data, "run.seed: 1\n");
    ASSERT_TEXT(c.metrics_line, "");
    ASSERT_TEXT(c.revision, base_revision());
    ASSERT_INT(strlen(c.written_at), 20);
    ASSERT(!c.contract.json);
    ASSERT_INT(c.n_files, 2);
    for (int i = 0; i < 2; i++) {
        ASSERT_TEXT(c.file[i].name, some_files[i].name);
        ASSERT_INT(c.file[i].length, some_files[i].length);
        ASSERT(memcmp(c.file[i].data, some_files[i].data, some_files[i].length) == 0);
    }
    ASSERT_INT(c.n_tensors, w.table.n);
    for (int i = 0; i < c.n_tensors; i++) {
        ASSERT_TEXT(c.tensor[i].name, w.table.item[i].name);
        ASSERT_INT(c.tensor[i].rows, w.table.item[i].rows);
        ASSERT_INT(c.tensor[i].n_dims, w.table.item[i].n_dims);
    }
    float out;
    ASSERT_INT(checkpoint_read(&c, CHECKPOINT_MASTER, "no.such", 0, 1, &out), -1);
    ASSERT_INT(checkpoint_read(&c, CHECKPOINT_MASTER, "score.weight", 24, 1, &out), -1);
    ASSERT_CONTAINS(error_text(), "elements 24 + 1 of 24");
    checkpoint_close(&c);
    mem_free(path);
    world_close(&w);
}

static void test_another_model_does_not_load(void) {
    struct world w, other;
    start_clean();
    world_open(&w, small_model, 2, DTYPE_F32, ZERO_GROUP_ALL);
    world_fill(&w);
    ASSERT_DONE(save(&w, 200, 0, 0));
    world_open(&other, large_model, 2, DTYPE_F32, ZERO_GROUP_ALL);
    struct checkpoint c;
    char *path = checkpoint_path(directory, 200);
    ASSERT_DONE(checkpoint_open(&c, path));
    ASSERT_INT(checkpoint_load(&c, other.z, &other.place, true), -1);
    ASSERT_CONTAINS(error_text(), "model.embed_tokens.weight");
    checkpoint_close(&c);
    mem_free(path);
    world_close(&other);
    world_close(&w);
}

/* The layout that docs/checkpoint.md promises, seen through HDF5 alone. */
static void test_layout_is_as_documented(void) {
    struct world w;
    start_clean();
    world_open(&w, small_model, 0, DTYPE_F32, 1);
    world_fill(&w);
    ASSERT_DONE(save(&w, 7, 1, 0));
    char *path = checkpoint_path(directory, 7), *part = file_join(path, "part_0000.h5");
    hid_t file = H5Fopen(part, H5F_ACC_RDONLY, H5P_DEFAULT);
    ASSERT(file >= 0);
    hid_t set = H5Dopen2(file, "/moment1/model.layers.1.self_attn.k_proj.weight/0", H5P_DEFAULT);
    ASSERT(set >= 0);
    float data[8 * 24];
    ASSERT(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    for (int i = 0; i < 8 * 24; i++)
        ASSERT_NEAR(data[i],
                    expected(CHECKPOINT_MOMENT1, "model.layers.1.self_attn.k_proj.weight", i), 0);
    int64_t range[2] = {-1, -1};
    hid_t attribute = H5Aopen(set, "range", H5P_DEFAULT);
    ASSERT(attribute >= 0 && H5Aread(attribute, H5T_NATIVE_INT64, range) >= 0);
    ASSERT_INT(range[0], 0);
    ASSERT_INT(range[1], 8 * 24);
    H5Aclose(attribute);
    H5Dclose(set);
    H5Fclose(file);
    mem_free(part);
    mem_free(path);
    world_close(&w);
}

static void test_old_ones_are_removed(void) {
    struct world w;
    start_clean();
    world_open(&w, small_model, 2, DTYPE_F32, ZERO_GROUP_ALL);
    world_fill(&w);
    for (int64_t step = 1; step <= 5; step++) ASSERT_DONE(save(&w, 999996 + step, 0, 3));
    int64_t *steps;
    ASSERT_INT(checkpoint_list(directory, &steps), 3);
    for (int i = 0; i < 3; i++) ASSERT_INT(steps[i], 999999 + i);
    mem_free(steps);
    char *newest = NULL, *path = checkpoint_path(directory, 1000001);
    ASSERT_DONE(checkpoint_newest(directory, &newest));
    ASSERT_TEXT(newest, path);
    mem_free(newest);
    comm_barrier(comm_world());
    ASSERT_INT(entries(directory), 3);
    comm_barrier(comm_world());
    /* a step behind the others: the new one stays, whatever its number */
    ASSERT_DONE(save(&w, 50, 0, 1));
    ASSERT_INT(checkpoint_list(directory, &steps), 1);
    ASSERT_INT(steps[0], 50);
    mem_free(steps);
    mem_free(path);
    world_close(&w);
}

static int disown(const void *self) {
    (void)self;
    return fail("another run is here");
}

/* A run that lost its directory changes nothing in it, and what it was writing is gone. */
static void test_who_does_not_own_does_not_publish(void) {
    struct world w;
    start_clean();
    world_open(&w, small_model, 2, DTYPE_F32, ZERO_GROUP_ALL);
    world_fill(&w);
    ASSERT_DONE(save(&w, 100, 0, 0));
    struct run_state state = some_state;
    state.step = 200;
    struct checkpoint_extra extra = {.config = "", .arch_json = w.arch.json};
    struct checkpoint_options options = {
        .keep = 1, .run = "0123456789abcdef", .still_owns = disown};
    ASSERT_INT(checkpoint_save(directory, w.z, &w.table, &w.place, &state, &extra, &options), -1);
    ASSERT_TEXT(error_text(), "another run is here");
    ASSERT_INT(entries(directory), 1);
    comm_barrier(comm_world());
    if (base_rank == 0) { /* what a killed run leaves, and what is not the program's */
        char *begun = file_join(directory, "step_000200.0123456789abcdef.tmp"),
             *other = file_join(directory, "step_000200.0123456789abcdeg.tmp");
        ASSERT_DONE(file_make_directory(begun));
        ASSERT_DONE(file_make_directory(other));
        ASSERT_DONE(checkpoint_remove_begun(directory));
        ASSERT(!file_exists(begun));
        ASSERT(file_exists(other));
        mem_free(begun);
        mem_free(other);
    }
    world_close(&w);
}

static void test_leftovers_and_the_same_step(void) {
    struct world w;
    start_clean();
    world_open(&w, small_model, 2, DTYPE_F32, ZERO_GROUP_ALL);
    world_fill(&w);
    char *path = checkpoint_path(directory, 200), *left = mem_format("%s.tmp", path),
         *junk = file_join(left, "x");
    if (base_rank == 0) {
        ASSERT_INT(file_make_directory(left), 0);
        ASSERT_INT(file_replace(junk, "x", 1), 0);
        char *newest = NULL;
        ASSERT_DONE(checkpoint_newest(directory, &newest));
        ASSERT(!newest);
        struct checkpoint c;
        ASSERT_INT(checkpoint_open(&c, left), -1);
        ASSERT_CONTAINS(error_text(), "not finished");
    }
    comm_barrier(comm_world());
    ASSERT_DONE(save(&w, 200, 0, 0));
    ASSERT_DONE(save(&w, 200, 0, 0));
    ASSERT_INT(entries(directory), 1);
    ASSERT_INT(entries(path), 2);
    assert_whole(200);
    char *found = checkpoint_find(directory);
    ASSERT_TEXT(found, path);
    mem_free(found);
    found = checkpoint_find(path);
    ASSERT_TEXT(found, path);
    mem_free(found);
    ASSERT(!checkpoint_find("/"));
    mem_free(junk);
    mem_free(left);
    mem_free(path);
    world_close(&w);
}

/* --- a full disk: no file of this process may grow beyond a limit --- */

static void limit_files(rlim_t bytes) {
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = MIN(bytes, limit.rlim_max);
    setrlimit(RLIMIT_FSIZE, &limit);
}

static void assert_save_fails(struct world *w, int writers) {
    ASSERT_INT(save(w, 300, writers, 1), -1);
    ASSERT_CONTAINS(error_text(), "step_000300.tmp/");
    ASSERT_CONTAINS(error_text(), "File too large");
    ASSERT_CONTAINS(error_text(), "hint: free some space");
    comm_barrier(comm_world());
    ASSERT_INT(entries(directory), 1);
    assert_whole(200);
}

static void test_full_disk_leaves_the_former_one(void) {
    struct world w;
    start_clean();
    world_open(&w, small_model, 2, DTYPE_F32, ZERO_GROUP_ALL);
    world_fill(&w);
    ASSERT_DONE(save(&w, 200, 0, 0));
    signal(SIGXFSZ, SIG_IGN);
    static const rlim_t limit[] = {0, 1, 100, 2000, 5000, 20000, 60000, 100000};
    for (int i = 0; i < N_TESTS(limit);
         i++) { /* on all ranks, then on the last one alone, which is a writer */
        for (int only_last = 0; only_last < 2; only_last++) {
            if (!only_last || base_rank == base_size - 1) limit_files(limit[i]);
            bool fails = base_size == 1 || !only_last || limit[i] < 40000;
            if (fails) assert_save_fails(&w, only_last ? base_size : 1);
            limit_files(RLIM_INFINITY);
            comm_barrier(comm_world());
        }
    }
    ASSERT_DONE(save(&w, 300, 0, 1));
    assert_whole(300);
    world_close(&w);
}

/* --- damage --- */

static char *damaged, *file_name; /* a copy of the checkpoint, and the file in it that is damaged */

static void write_file(const char *path, const char *data, size_t length) {
    FILE *f = fopen(path, "wb");
    ASSERT(f && fwrite(data, 1, length, f) == length && fclose(f) == 0);
}

/* Opens and reads everything: an error with a text, or exactly what was saved (a byte that nobody
 * reads). */
static bool found_or_harmless(void) {
    struct checkpoint c;
    bool found = false;
    error_clear();
    if (checkpoint_open(&c, damaged) != 0) {
        found = error_text()[0] != 0 && strstr(error_text(), damaged) != NULL;
        ASSERT(found);
        return found;
    }
    float out[8192];
    for (int kind = 0; kind < 3 && !found; kind++)
        for (int t = 0; t < c.n_tensors && !found; t++) {
            ASSERT(c.tensor[t].count <= 8192);
            found = checkpoint_read(&c, kind, c.tensor[t].name, 0, c.tensor[t].count, out) != 0;
            if (found) ASSERT_CONTAINS(error_text(), damaged);
            for (int64_t i = 0; i < c.tensor[t].count && !found; i++)
                ASSERT_NEAR(out[i], expected(kind, c.tensor[t].name, i), 0);
        }
    checkpoint_close(&c);
    return found;
}

static void damage_file(const char *name) {
    file_name = file_join(damaged, name);
    struct buffer whole = {0};
    ASSERT_INT(file_read(file_name, 1 << 24, &whole), 0);
    size_t step = MAX(whole.length / 150, 1);
    for (size_t length = 0; length < whole.length; length += step) { /* cut */
        write_file(file_name, whole.data, length);
        ASSERT(found_or_harmless());
    }
    write_file(file_name, whole.data, whole.length - 1);
    ASSERT(found_or_harmless());
    int n_found = 0, n_flips = 0;
    for (size_t at = 0; at < whole.length; at += step / 2 + 1, n_flips++) { /* flipped */
        whole.data[at] ^= (char)(1 << at % 8);
        write_file(file_name, whole.data, whole.length);
        n_found += found_or_harmless();
        whole.data[at] ^= (char)(1 << at % 8);
    }
    ASSERT(n_found > n_flips / 4);
    unlink(file_name);
    ASSERT(found_or_harmless());
    write_file(file_name, whole.data, whole.length);
    ASSERT(!found_or_harmless());
    buffer_free(&whole);
    mem_free(file_name);
}

/* What a run removes (checkpoint.keep) is not damaged, and is read to its end once it is open. */
static void test_removed_while_it_is_read(void) {
    struct world w;
    start_clean();
    world_open(&w, small_model, 2, DTYPE_F32, ZERO_GROUP_ALL);
    world_fill(&w);
    ASSERT_DONE(save(&w, 200, 0, 0));
    char *path = checkpoint_path(directory, 200);
    struct checkpoint open, late;
    ASSERT_DONE(checkpoint_open(&open, path));
    ASSERT_DONE(checkpoint_open_parts(&open));
    ASSERT_DONE(checkpoint_open(&late, path));
    ASSERT(!checkpoint_is_gone(path));
    comm_barrier(comm_world());
    if (base_rank == 0) ASSERT_DONE(file_remove_tree(path));
    comm_barrier(comm_world());
    ASSERT(checkpoint_is_gone(path));
    assert_holds_expected(&open);
    ASSERT_INT(checkpoint_open_parts(&late), -1);
    ASSERT_CONTAINS(error_text(), "step_000200: was removed while it was read");
    checkpoint_close(&late);
    checkpoint_close(&open);
    mem_free(path);
    world_close(&w);
}

static void test_damage_is_found(void) {
    struct world w;
    start_clean();
    world_open(&w, small_model, 2, DTYPE_F32, ZERO_GROUP_ALL);
    world_fill(&w);
    ASSERT_DONE(save(&w, 200, 0, 0));
    damaged = checkpoint_path(directory, 200);
    if (base_rank == 0) {
        damage_file("state.h5");
        damage_file("part_0000.h5");
    }
    comm_barrier(comm_world());
    mem_free(damaged);
    world_close(&w);
}

/* --- an index that HDF5 finds whole but that lies --- */

/* Sets one int64 of a dataset, or of an attribute when column is -1, and gives what was there. */
static int64_t set_number(const char *path, const char *name, int64_t row, int column,
                          int64_t value) {
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    int64_t number[8192], former;
    ASSERT(file >= 0);
    if (column < 0) {
        hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
        ASSERT(attribute >= 0 && H5Aread(attribute, H5T_NATIVE_INT64, number) >= 0);
        former = number[row];
        number[row] = value;
        ASSERT(H5Awrite(attribute, H5T_NATIVE_INT64, number) >= 0 && H5Aclose(attribute) >= 0);
    } else {
        hid_t set = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(set);
        hsize_t dim[2] = {0, 1};
        H5Sget_simple_extent_dims(space, dim, NULL);
        ASSERT(set >= 0 && dim[0] * dim[1] <= 8192 &&
               H5Dread(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, 0, number) >= 0);
        former = number[row * (int64_t)dim[1] + column];
        number[row * (int64_t)dim[1] + column] = value;
        ASSERT(H5Dwrite(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, number) >= 0);
        H5Sclose(space);
        H5Dclose(set);
    }
    ASSERT(H5Fclose(file) >= 0);
    return former;
}

static void test_a_lying_index_is_found(void) {
    static const struct {
        const char *name;
        int row, column;
        int64_t value;
        const char *says;
    } lie[] = {
        {"/piece", 3, 0, 7, "entry 3 is out of range"}, /* part */
        {"/piece", 3, 0, -1, "entry 3 is out of range"},
        {"/piece", 3, 1, 3, "entry 3 is out of range"}, /* kind */
        {"/piece", 3, 1, 2, "are covered"},
        {"/piece", 3, 2, INT64_MAX, "entry 3 is out of range"}, /* tensor */
        {"/piece", 3, 2, 2, "are covered"},
        {"/piece", 3, 3, 1, "entry 3 is out of range"}, /* first */
        {"/piece", 3, 4, 5, "are covered"},             /* count */
        {"/piece", 3, 4, INT64_MAX, "entry 3 is out of range"},
        {"/piece", 3, 4, 0, "entry 3 is out of range"},
        {"/piece", 3, 5, INT64_MAX, "entry 3 is out of range"}, /* block */
        {"/piece", 3, 5, 0, "checksum"},
        {"/tensor/shape", 0, 1, 102, "are covered"},
        {"/tensor/shape", 0, 1, INT64_MAX / 2, "/tensor/shape"},
        {"/tensor/shape", 0, 0, 3, "/tensor/shape"},
        {"/tensor/shape", 0, 2, -24, "/tensor/shape"},
        {"/block_checksum", 5, 0, 1, "its checksum is not the one in state.h5"},
        {"/part_bytes", 0, 0, 1, "part_0000.h5: expected 1 bytes, found"},
        {"step", 0, -1, -1, "is negative"},
        {"finished", 0, -1, 2, "out of range"},
        {"format", 0, -1, 3, "format 3, this program reads 1 and 2"},
        {"end", 1, -1, 1, "its end mark"},
    };
    struct world w;
    start_clean();
    world_open(&w, small_model, 2, DTYPE_F32, 1); /* the same pieces on any number of ranks */
    world_fill(&w);
    ASSERT_DONE(save(&w, 200, 0, 0));
    damaged = checkpoint_path(directory, 200);
    char *state = file_join(damaged, "state.h5");
    for (int i = 0; i < N_TESTS(lie) && base_rank == 0; i++) {
        int64_t former = set_number(state, lie[i].name, lie[i].row, lie[i].column, lie[i].value);
        ASSERT(found_or_harmless());
        ASSERT_CONTAINS(error_text(), lie[i].says);
        set_number(state, lie[i].name, lie[i].row, lie[i].column, former);
        ASSERT(!found_or_harmless());
    }
    comm_barrier(comm_world());
    mem_free(state);
    mem_free(damaged);
    world_close(&w);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"any_stage_loads_at_any_stage", test_any_stage_loads_at_any_stage},
        {"frozen_parts_load_at_any_stage", test_frozen_parts_load_at_any_stage},
        {"any_number_of_writers", test_any_number_of_writers},
        {"replicas_save_once", test_replicas_save_once},
        {"tensors_of_several_pieces", test_tensors_of_several_pieces},
        {"what_travels_beside_tensors", test_what_travels_beside_tensors},
        {"another_model_does_not_load", test_another_model_does_not_load},
        {"layout_is_as_documented", test_layout_is_as_documented},
        {"old_ones_are_removed", test_old_ones_are_removed},
        {"leftovers_and_the_same_step", test_leftovers_and_the_same_step},
        {"who_does_not_own_does_not_publish", test_who_does_not_own_does_not_publish},
        {"full_disk_leaves_the_former_one", test_full_disk_leaves_the_former_one},
        {"removed_while_it_is_read", test_removed_while_it_is_read},
        {"damage_is_found", test_damage_is_found},
        {"a_lying_index_is_found", test_a_lying_index_is_found},
    };
    comm_start(&argc, &argv);
    int pid = (int)getpid();
    comm_broadcast(comm_world(), 0, &pid, sizeof pid);
    directory = mem_format("/tmp/rankwise_test_checkpoint_%d", pid);
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    start_clean();
    mem_free(directory);
    comm_stop();
    return code;
}
