/* jq programs over records: see format_mapping.h. */
#include "format_mapping.h"

#include <jq.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "memory.h"

enum { PROGRAM_CEILING = 1 << 20, MAX_DEPTH = 256, FIRST_SLOTS = 64 };
static const int64_t exact_limit = (int64_t)1 << 53;

/* A value of the record and what libjq has in its place; value NULL: an empty slot. */
struct shared_value {
    jv seen; /* not a reference: the record's jv holds it */
    json_t *value;
};

/* A compiled program with the values of the record that it runs on. */
struct machine {
    jq_state *jq;
    char **environment; /* by compile: as long as this lives, another thread may be reading it */
    struct shared_value
        *slot; /* (capacity) a hash table by address, of which mask + 1 are in use */
    int64_t capacity, n_shared, mask;
    struct machine *next; /* idle ones */
};

struct mapping {
    char *name, *program;
    struct buffer text; /* with the prelude before it */
    pthread_mutex_t mutex;
    struct machine *idle;
};

/* One line before the program. (3) holds by it: a program's own definition of such a name wins, as
 * the nearer one; the last part also makes import and include a syntax error. And there is `text`,
 * as jq adds null to a text without a word where a column is misspelled. */
static const char prelude[] =
    "def _refused($name): error($name + \" is refused: what a mapping makes depends on the row "
    "alone\"); "
    "def now: _refused(\"now\"); def env: _refused(\"env\"); def input: _refused(\"input\"); "
    "def inputs: _refused(\"inputs\"); def input_filename: _refused(\"input_filename\"); "
    "def input_line_number: _refused(\"input_line_number\"); "
    "def localtime: _refused(\"localtime\"); def strflocaltime(f): _refused(\"strflocaltime\"); "
    "def _refuse_seconds($name): if test(\"%[-_0^#]*s\") then _refused($name) else . end; "
    "def _strftime(f): strftime(f); "
    "def strftime(f): _strftime(f | _refuse_seconds(\"strftime %s\")); "
    "def _strptime(f): strptime(f); "
    "def strptime(f): _strptime(f | _refuse_seconds(\"strptime %s\")); "
    "def halt: _refused(\"halt\"); def halt_error: _refused(\"halt_error\"); "
    "def halt_error(f): _refused(\"halt_error\"); def modulemeta: _refused(\"modulemeta\"); "
    "def text: if type == \"string\" then . else error(\"expected a text, found \" + tojson) end; "
    "null as $ENV |\n";

/* --- opening --- */

/* What libjq says while it compiles, without its "jq: error: ". */
static void collect_message(void *self, jv message) {
    static const char start[] = "jq: error: ";
    struct buffer *said = self;
    message = jq_format_error(message);
    const char *text = jv_string_value(message);
    if (strncmp(text, start, sizeof start - 1) == 0) text += sizeof start - 1;
    if (said->length == 0) buffer_append_text(said, text);
    jv_free(message);
}

/* "syntax error, unexpected '}' (Unix shell quoting issues?) at <top-level>, line 3:\n<the line>":
 * the line counts from the prelude, and libjq's advice is about shells. */
static int compile_failed(const struct mapping *m, char *said) {
    static const char advice[] = " (Unix shell quoting issues?)",
                      place[] = " at <top-level>, line ";
    char *cut = strstr(said, advice);
    if (cut) memmove(cut, cut + sizeof advice - 1, strlen(cut + sizeof advice - 1) + 1);
    char *at = strstr(said, place);
    long line = at ? strtol(at + sizeof place - 1, NULL, 10) - 1 : 0;
    if (at) *at = 0;
    size_t length = strlen(m->name);
    bool is_old = length > 4 && strcmp(m->name + length - 4, ".cfg") == 0;
    if (strstr(said, "unexpected import") || strstr(said, "unexpected include") ||
        strstr(said, "unexpected module"))
        fail("%s:%ld: a mapping is one program: import, include and module are refused", m->name,
             line);
    else
        fail("%s:%ld: not a jq program: %s", m->name, MAX(line, 1), said);
    return fail_hint(is_old || strstr(m->program, "preference = {")
                         ? "mappings were files of settings once and are jq programs now; "
                           "docs/sources.md, Mappings, has each setting's successor"
                         : "docs/sources.md, Mappings");
}

static void out_of_memory(void *self) {
    (void)self;
    die("a mapping's program needs more memory than there is");
}

static void show_debug(void *self, jv value) {
    (void)self;
    jv text = jv_dump_string(value, 0);
    fprintf(stderr, "debug: %s\n", jv_string_value(text));
    jv_free(text);
}

static void machine_free(struct machine *machine) {
    jq_teardown(&machine->jq);
    mem_free(machine->environment);
    mem_free(machine->slot);
    mem_free(machine);
}

/* libjq takes definitions from the file .jq in $HOME, by which a program would mean something else
 * on each machine. So it has an environment without it meanwhile; a thread that looks something up
 * at that moment finds all the rest. */
static bool compile(struct machine *machine, const char *text) {
    char **former = environ;
    int n = 0, n_kept = 0;
    while (former[n]) n++;
    machine->environment = mem_alloc(n + 1, sizeof *machine->environment);
    for (int i = 0; i < n; i++)
        if (strncmp(former[i], "HOME=", 5) != 0) machine->environment[n_kept++] = former[i];
    environ = machine->environment;
    bool is_good = jq_compile(machine->jq, text);
    environ = former;
    return is_good;
}

/* With the mutex held: libjq does not say that two threads may compile at once. */
static struct machine *machine_new(const struct mapping *m) {
    struct machine *machine = mem_alloc(1, sizeof *machine);
    struct buffer said = {0};
    machine->jq = jq_init();
    if (!machine->jq) die("no memory for libjq");
    jq_set_nomem_handler(machine->jq, out_of_memory, NULL);
    jq_set_error_cb(machine->jq, collect_message, &said);
    jq_set_debug_cb(machine->jq, show_debug, NULL);
    bool is_good = compile(machine, m->text.data);
    jq_set_error_cb(machine->jq, NULL, NULL);
    if (!is_good) {
        compile_failed(m, said.data);
        machine_free(machine);
        machine = NULL;
    }
    buffer_free(&said);
    return machine;
}

static int check_program(const char *program) {
    json_t *text = json_string(program);
    json_decref(text);
    if (!text) return fail("not valid UTF-8");
    if (strstr(program, "$ENV"))
        return fail("$ENV is refused: a mapping does not read the "
                    "environment");
    return 0;
}

struct mapping *mapping_open(const char *program, const char *name) {
    if (check_program(program) != 0) {
        fail_context("%s", name);
        return NULL;
    }
    struct mapping *m = mem_alloc(1, sizeof *m);
    m->name = mem_copy_string(name);
    m->program = mem_copy_string(program);
    pthread_mutex_init(&m->mutex, NULL);
    buffer_format(&m->text, "%s%s\n", prelude, program);
    m->idle = machine_new(m);
    if (m->idle) return m;
    mapping_close(m);
    return NULL;
}

struct mapping *mapping_open_file(const char *path) {
    struct buffer text = {0};
    struct mapping *m = NULL;
    if (file_read(path, PROGRAM_CEILING, &text) == 0) {
        if (strlen(text.data) == text.length)
            m = mapping_open(text.data, path);
        else
            fail("%s: a zero byte", path);
    }
    buffer_free(&text);
    return m;
}

const char *mapping_name(const struct mapping *m) {
    return m->name;
}

const char *mapping_program(const struct mapping *m) {
    return m->program;
}

void mapping_close(struct mapping *m) {
    if (!m) return;
    for (struct machine *machine = m->idle, *next; machine; machine = next) {
        next = machine->next;
        machine_free(machine);
    }
    pthread_mutex_destroy(&m->mutex);
    buffer_free(&m->text);
    mem_free(m->name);
    mem_free(m->program);
    mem_free(m);
}

/* --- the record for libjq --- */

static struct shared_value *find_slot(const struct machine *machine, const void *address) {
    uint64_t hash = (uint64_t)(uintptr_t)address * 0x9E3779B97F4A7C15u;
    int64_t at = (int64_t)(hash >> 32) & machine->mask;
    while (machine->slot[at].value && machine->slot[at].seen.u.ptr != address)
        at = (at + 1) & machine->mask;
    return &machine->slot[at];
}

static void forget_shared(struct machine *machine, int64_t n_slots) {
    if (n_slots > machine->capacity) {
        mem_free(machine->slot);
        machine->slot = mem_alloc(n_slots, sizeof *machine->slot);
        machine->capacity = n_slots;
    }
    memset(machine->slot, 0, (size_t)n_slots * sizeof *machine->slot);
    machine->mask = n_slots - 1;
    machine->n_shared = 0;
}

static void grow_shared(struct machine *machine) {
    int64_t n = machine->mask + 1;
    struct shared_value *former = mem_alloc(n, sizeof *former);
    memcpy(former, machine->slot, (size_t)n * sizeof *former);
    int64_t n_shared = machine->n_shared;
    forget_shared(machine, 2 * n);
    for (int64_t i = 0; i < n; i++)
        if (former[i].value) *find_slot(machine, former[i].seen.u.ptr) = former[i];
    machine->n_shared = n_shared;
    mem_free(former);
}

/* Notes that `seen` stands for `value`, by (1); returns seen. */
static jv share(struct machine *machine, jv seen, json_t *value) {
    if (2 * machine->n_shared > machine->mask) grow_shared(machine);
    *find_slot(machine, seen.u.ptr) = (struct shared_value){seen, value};
    machine->n_shared++;
    return seen;
}

static jv text_given(struct machine *machine, const char *text, size_t length, json_t *value) {
    return share(machine, jv_string_sized(text, (int)length), value);
}

static jv integer_given(struct machine *machine, json_t *value) {
    char digits[32];
    json_int_t number = json_integer_value(value);
    if (number >= -exact_limit && number <= exact_limit) return jv_number((double)number);
    int n = snprintf(digits, sizeof digits, "%lld", (long long)number);
    return text_given(machine, digits, (size_t)n, value);
}

/* A value of the record as libjq's, a new reference; its depth is the parser's, which is bounded.
 * *is_bad is set, and error_text(), where a text is too long for libjq's 31 bits of lengths. */
static jv value_given(struct machine *machine, json_t *value, bool *is_bad) {
    json_t *item;
    size_t i;
    const char *key;
    jv made;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        made = jv_object();
        json_object_foreach(value, key, item) {
            made = jv_object_set(made, jv_string(key), value_given(machine, item, is_bad));
        }
        return share(machine, made, value);
    case JSON_ARRAY:
        made = jv_array_sized((int)MIN(json_array_size(value), 1 << 20));
        json_array_foreach(value, i, item) {
            made = jv_array_append(made, value_given(machine, item, is_bad));
        }
        return share(machine, made, value);
    case JSON_STRING:
        if (json_string_length(value) <= MAPPING_MAX_TEXT)
            return text_given(machine, json_string_value(value), json_string_length(value), value);
        *is_bad = true;
        fail("a text of %zu bytes: a mapping reads texts of at most %d", json_string_length(value),
             MAPPING_MAX_TEXT);
        return jv_null();
    case JSON_INTEGER:
        return integer_given(machine, value);
    case JSON_REAL:
        return jv_number(json_real_value(value));
    case JSON_TRUE:
    case JSON_FALSE:
        return jv_bool(json_is_true(value));
    case JSON_NULL:
        break;
    }
    return jv_null();
}

/* --- what libjq gives back --- */

static json_t *number_taken(double number) {
    if (!isfinite(number)) {
        fail("a number that is not finite");
        return NULL;
    }
    bool is_integer = number == floor(number) && fabs(number) < (double)exact_limit;
    return is_integer ? json_integer((json_int_t)number) : json_real(number);
}

static json_t *value_taken(const struct machine *machine, jv value, int depth);

static json_t *list_taken(const struct machine *machine, jv list, int depth) {
    json_t *made = json_array();
    int n = jv_array_length(jv_copy(list));
    for (int i = 0; i < n; i++) {
        json_t *item = value_taken(machine, jv_array_get(jv_copy(list), i), depth + 1);
        if (item) {
            json_array_append_new(made, item);
            continue;
        }
        json_decref(made);
        return NULL;
    }
    return made;
}

static json_t *object_taken(const struct machine *machine, jv object, int depth) {
    json_t *made = json_object();
    for (int i = jv_object_iter(object); jv_object_iter_valid(object, i);
         i = jv_object_iter_next(object, i)) {
        jv key = jv_object_iter_key(object, i);
        json_t *item = value_taken(machine, jv_object_iter_value(object, i), depth + 1);
        int status = item ? json_object_set_new(made, jv_string_value(key), item) : -1;
        if (item && status != 0) fail("a name that is not UTF-8");
        jv_free(key);
        if (status == 0) continue;
        json_decref(made);
        return NULL;
    }
    return made;
}

/* The record's own value where it is one, by (1); else a new one. Borrows. */
static json_t *value_made(const struct machine *machine, jv value, int depth) {
    jv_kind kind = jv_get_kind(value);
    json_t *made;
    if (kind == JV_KIND_NUMBER) return number_taken(jv_number_value(value));
    if (kind == JV_KIND_TRUE || kind == JV_KIND_FALSE) return json_boolean(kind == JV_KIND_TRUE);
    if (kind != JV_KIND_STRING && kind != JV_KIND_ARRAY && kind != JV_KIND_OBJECT)
        return json_null();
    const struct shared_value *own = find_slot(machine, value.u.ptr);
    if (own->value && jv_identical(jv_copy(own->seen), jv_copy(value)))
        return json_incref(own->value);
    if (kind == JV_KIND_ARRAY) return list_taken(machine, value, depth);
    if (kind == JV_KIND_OBJECT) return object_taken(machine, value, depth);
    made = json_stringn(jv_string_value(value), (size_t)jv_string_length_bytes(jv_copy(value)));
    if (!made) fail("a text that is not UTF-8");
    return made;
}

/* Takes the reference. NULL with error_text(). */
static json_t *value_taken(const struct machine *machine, jv value, int depth) {
    json_t *made = NULL;
    if (depth > MAX_DEPTH)
        fail("nested deeper than %d", MAX_DEPTH);
    else
        made = value_made(machine, value, depth);
    jv_free(value);
    return made;
}

/* --- running --- */

static struct machine *take_machine(struct mapping *m) {
    pthread_mutex_lock(&m->mutex);
    struct machine *machine = m->idle;
    if (machine)
        m->idle = machine->next;
    else
        machine = machine_new(m);
    pthread_mutex_unlock(&m->mutex);
    return machine;
}

static void give_machine(struct mapping *m, struct machine *machine) {
    pthread_mutex_lock(&m->mutex);
    machine->next = m->idle;
    m->idle = machine;
    pthread_mutex_unlock(&m->mutex);
}

/* What jq_next gave in place of an output: 0 at the end, or the program's error. Takes it. */
static int end_of(jv result) {
    if (!jv_invalid_has_msg(jv_copy(result))) {
        jv_free(result);
        return 0;
    }
    jv message = jv_invalid_get_msg(result);
    if (jv_get_kind(message) != JV_KIND_STRING) message = jv_dump_string(message, 0);
    fail("jq: %.1000s", jv_string_value(message));
    jv_free(message);
    return -1;
}

static int run_program(struct machine *machine, jv record, json_t *out) {
    jv result;
    jq_start(machine->jq, record, 0);
    while (jv_is_valid(result = jq_next(machine->jq))) {
        if (json_array_size(out) == MAPPING_MAX_RECORDS) {
            jv_free(result);
            return fail("the program makes more than %d records of one row; hint: does it end?",
                        MAPPING_MAX_RECORDS);
        }
        json_t *value = value_taken(machine, result, 0);
        if (!value) return fail_context("output %zu", json_array_size(out) + 1);
        json_array_append_new(out, value);
    }
    return end_of(result);
}

json_t *mapping_run(struct mapping *m, const json_t *record) {
    struct machine *machine = take_machine(m);
    if (!machine) return NULL;
    bool is_bad = false;
    json_t *out = json_array();
    forget_shared(machine, FIRST_SLOTS);
    jv given = value_given(machine, (json_t *)record, &is_bad);
    if (is_bad || run_program(machine, jv_copy(given), out) != 0) {
        json_decref(out);
        out = NULL;
    }
    jv_free(given);
    give_machine(m, machine);
    return out;
}
