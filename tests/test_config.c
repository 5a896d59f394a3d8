/* config: reading files and overrides, errors with their places, and the text that gives the same
 * configuration. */
#include <unistd.h>

#include "config.h"
#include "file.h"
#include "test.h"

static struct config config;
static char root[64];

static const char *path_of(const char *name) {
    static char path[4][128];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", root, name);
    return path[turn];
}

static const char *put(const char *name, const char *text) {
    const char *path = path_of(name);
    if (file_replace(path, text, strlen(text)) != 0) die("%s", error_text());
    return path;
}

static int load(const char *text, const char *override) {
    config_free(&config);
    const char *file = put("a.cfg", text);
    return config_load(&config, &file, 1, &override, override != NULL);
}

/* Loading fails, and the message has all parts (separated by "|"). */
static void refuse(const char *text, const char *override, const char *parts) {
    ASSERT_INT(load(text, override), -1);
    char part[256];
    while (*parts) {
        size_t n = strcspn(parts, "|");
        snprintf(part, sizeof part, "%.*s", (int)n, parts);
        ASSERT_CONTAINS(error_text(), part);
        parts += n + (parts[n] == '|');
    }
}

static void test_defaults(void) {
    ASSERT_INT(config_load(&config, NULL, 0, NULL, 0), 0);
    ASSERT_INT(config.run.seed, 1);
    ASSERT_INT(config.model.precision, MODEL_PRECISION_FP32);
    ASSERT_NEAR(config.optim.lr, 1e-5, 0);
    ASSERT_NEAR(config.optim.beta1, 0.9, 0);
    ASSERT_NEAR(config.optim.beta2, 0.999, 0);
    ASSERT_INT(config.batch.tokens_per_microbatch, 16384);
    ASSERT(config.data.shuffle && !config.batch.group_by_prompt);
    ASSERT_TEXT(config.run.dir, "runs/run");
    ASSERT_INT(config.data.n_train, 0);
    config_free(&config);
}

static void test_reads_a_file(void) {
    int status = load(
        "# one of each kind\n"
        "run = { seed = 5000000000L; };\n"
        "model = { path = \"m\\\"x\"; precision = \"bf16\"; };\n"
        "data = { train = ( { path = \"a.h5\"; weight = 2; }, { path = \"b.h5\"; groups = 7; } );\n"
        "         eval = \"dir/held.h5\"; shuffle = false; };\n"
        "batch: { groups = 1e2; tokens_per_microbatch = \"64k\" }\n"
        "optim = { lr = 1; betas = (0.8, 0.95); schedule = \"wsd\" };\n"
        "parallel = { zero_group = 4 };\n",
        NULL);
    if (status != 0) TEST_END(TEST_FAILED, "%s", error_text());
    ASSERT_INT(config.run.seed, 5000000000);
    ASSERT_TEXT(config.model.path, "m\"x");
    ASSERT_INT(config.data.n_train, 2);
    ASSERT_NEAR(config.data.train[0].weight, 2, 0);
    ASSERT_INT(config.data.train[1].groups, 7);
    ASSERT_TEXT(config.data.eval[0].name, "held");
    ASSERT(!config.data.shuffle);
    ASSERT_INT(config.batch.groups, 100);
    ASSERT_INT(config.batch.tokens_per_microbatch, 65536);
    ASSERT_NEAR(config.optim.lr, 1, 0);
    ASSERT_NEAR(config.optim.beta2, 0.95, 0);
    ASSERT_INT(config.parallel.zero_group, 4);
    ASSERT_TEXT(config.run.name, "a");
    ASSERT_TEXT(config.run.dir, "runs/a");
    ASSERT_TEXT(config.checkpoint.dir, "runs/a/checkpoints");
}

static void test_later_files_win_key_by_key(void) {
    put("one.cfg", "optim = { lr = 0.5; clip = 2.0; }; data = { train = \"x.h5\"; };");
    put("two.cfg", "optim = { lr = 0.25; };");
    const char *files[] = {path_of("one.cfg"), path_of("two.cfg")};
    const char *overrides[] = {"optim.eps=1e-6", "run.name=third", "optim.eps=1e-7"};
    config_free(&config);
    ASSERT_INT(config_load(&config, files, 2, overrides, 3), 0);
    ASSERT_NEAR(config.optim.lr, 0.25, 0);
    ASSERT_NEAR(config.optim.clip, 2, 0);
    ASSERT_NEAR(config.optim.eps, 1e-7, 0);
    ASSERT_TEXT(config.run.name, "third");
    ASSERT_TEXT(config.data.train[0].path, "x.h5");
}

static void test_a_number_may_be_left_to_others(void) {
    ASSERT_INT(load("reward = { clip = 2; offset = \"auto\"; };", "reward.clip=auto"), 0);
    ASSERT(isnan(config.reward.clip) && isnan(config.reward.offset));
    ASSERT_INT(load("task = \"completion\";", "reward.clip=2"), 0);
    ASSERT_NEAR(config.reward.clip, 2, 0);
    ASSERT_INT(config.task, TASK_COMPLETION);
    ASSERT_INT(config.loss.type, LOSS_COMPLETION);
    refuse("", "reward.clip=-1", "reward.clip: expected a number or \"auto\", at least 0");
    refuse("", "reward.clip=off", "reward.clip: expected a number or \"auto\"|\"off\"");
}

static void test_overrides(void) {
    static const char *const overrides[] = {
        "model.path=\"a b\"",
        "optim.betas=0.7, 0.8",
        "batch.tokens_per_microbatch=2M",
        "data.train='x.h5'",
        "data.shuffle=false",
        "data.eval=({path=\"e.h5\"; name=\"one\"}, \"f.h5\")",
        "run.seed=1e3",
        "parallel.zero_group=node",
        "run.name=123",
        "optim.steps=7L",
        "optim.no_decay=*norm*",
    };
    config_free(&config);
    int status = config_load(&config, NULL, 0, overrides, N_TESTS(overrides));
    if (status != 0) TEST_END(TEST_FAILED, "%s", error_text());
    ASSERT_TEXT(config.model.path, "a b");
    ASSERT_NEAR(config.optim.beta1, 0.7, 0);
    ASSERT_NEAR(config.optim.beta2, 0.8, 0);
    ASSERT_INT(config.batch.tokens_per_microbatch, 2 << 20);
    ASSERT_TEXT(config.data.train[0].path, "x.h5");
    ASSERT(!config.data.shuffle);
    ASSERT_INT(config.data.n_eval, 2);
    ASSERT_TEXT(config.data.eval[0].name, "one");
    ASSERT_TEXT(config.data.eval[1].name, "f");
    ASSERT_INT(config.run.seed, 1000);
    ASSERT_INT(config.parallel.zero_group, ZERO_GROUP_NODE);
    ASSERT_TEXT(config.run.name, "123");
    ASSERT_INT(config.optim.steps, 7);
    ASSERT_INT(config.optim.no_decay.n, 1);
    ASSERT_TEXT(config.optim.no_decay.item[0], "*norm*");
}

static void test_unknown_keys_show_the_nearest(void) {
    refuse("optim = {\n  lr = 1.0;\n  shedule = \"cosine\";\n};", NULL,
           "a.cfg:3: |unknown option optim.shedule|did you mean optim.schedule?");
    refuse("optm = { lr = 1.0; };", NULL, "a.cfg:1: |unknown group optm|did you mean optim?");
    refuse("lr = 1.0;", NULL, "unknown option lr|did you mean optim.lr?");
    refuse("optim = { zero_stage = 1; };", NULL, "did you mean parallel.zero_stage?");
    refuse("optim = { momentum_of_inertia = 1; };", NULL, "optim has lr, betas, eps");
    refuse("", "optim.lrr=1", "command line: |did you mean optim.lr?");
    refuse("", "optim.lr", "expected group.key=value");
    refuse("tasc = \"policy\";", NULL, "a.cfg:1: |unknown option tasc|did you mean task?");
    refuse("task = \"polcy\";", NULL, "a.cfg:1: |task: expected|did you mean \"policy\"?");
    refuse("optim = 3;", NULL, "optim: expected a group { ... }, found the integer 3");
    refuse("data = { train = ( { path = \"a\"; wieght = 1; } ); };", NULL,
           "entry 1: |did you mean weight");
}

static void test_wrong_types_and_bounds(void) {
    refuse("\noptim = { lr = \"1e-5\"; };", NULL,
           "a.cfg:2: optim.lr: expected a number, found the string \"1e-5\"");
    refuse("data = { shuffle = 1; };", NULL, "expected true or false, found the integer 1");
    refuse("model = { path = 3; };", NULL, "expected a string, found the integer 3");
    refuse("batch = { groups = 2.5; };", NULL, "expected an integer, found the number 2.5");
    refuse("batch = { groups = (1); };", NULL, "expected an integer, found a list");
    refuse("batch = { tokens_per_microbatch = \"64q\"; };", NULL, "expected a size as");
    refuse("optim = { lr = -1.0; };", NULL,
           "optim.lr: expected a number, above 0 and at most 100, found the number -1");
    refuse("", "optim.lr=0", "above 0");
    refuse("", "optim.lr=nan", "above 0");
    refuse("", "optim.lr=", "expected a number, found the string \"\"");
    refuse("", "parallel.zero_stage=4", "expected an integer, 0 to 3, found the integer 4");
    refuse("", "optim.betas=(0.9,1.0)", "below 1");
    refuse("", "optim.betas=0.9", "expected two numbers");
    refuse("optim = { no_decay = 7; };", NULL, "expected a string or a list of strings, found the");
    refuse("optim = { no_decay = { a = 7; }; };", NULL, "found a group");
    refuse("", "optim.no_decay=(\"a\", 7)", "found the integer 7");
    refuse("", "optim.no_decay=(\"a\", \"\")", "entry 2: expected a string with letters in it");
    refuse("", "optim.betas=[0.9,0.9,0.9]", "expected two numbers");
    refuse("", "model.precision=fp16", "expected \"fp32\" or \"bf16\", found the string \"fp16\"");
    refuse("", "optim.schedule=cosin", "did you mean \"cosine\"?");
    refuse("", "run.device=gpu", "expected \"cpu\", \"cuda\" or \"auto\"");
    refuse("", "model.dropout=0.1", "no option any more|exact only without dropout");
    refuse("", "parallel.shard_group=2", "is called parallel.zero_group now");
    refuse("parallel = { shard_group = 2; };", NULL, "a.cfg:1: |is called parallel.zero_group now");
    refuse("", "data.train=({path=\"a\"; rows=2})", "rows is called groups now");
    refuse("", "parallel.zero_group=0", "at least 1");
    refuse("", "parallel.zero_group=-1", "at least 1");
    refuse("", "parallel.zero_group=2x", "or a number of ranks");
    refuse("", "parallel.zero_group=", "or a number of ranks");
    refuse("", "parallel.zero_group=al", "or a number of ranks|did you mean \"all\"?");
    refuse("", "data.train=({weight=1.0})", "entry 1: expected path");
    refuse("", "data.train=({path=\"a\"; weight=1.0; groups=2})", "weight or groups, found both");
    refuse("", "data.train=({path=\"a\"; weight=0.0})", "weight: |above 0");
    refuse("", "data.train=({path=\"a\"; rows=99999999999})", "at most 32 bits");
    refuse("", "data.train=((", "expected a path or a list");
    refuse("", "data.eval=({path=\"a\"; name=\"\"})", "entry 1: expected a name, found \"\"");
    refuse("", "run.seed=9223372036854775807", "at least 0 and at most 9e+15, found the integer");
    refuse("", "run.threads=1025", "run.threads: expected an integer, 0 to 1024");
    refuse("", "data.eval=(\"a/x.h5\", \"b/x.h5\")", "found \"x\" twice");
}

static void test_integers_never_wrap(void) {
    refuse("run = {\n seed = 3000000000;\n};", NULL,
           "a.cfg:2: |at most 32 bits, found 3000000000|hint: write 3000000000L");
    refuse("run = { seed = 0xFFFFFFFF; };", NULL, "write 0xFFFFFFFFL");
    refuse("run = { seed = 99999999999999999999L; };", NULL, "below 2^63");
    refuse("run = { seed = 2147483648; };", NULL, "2147483648L");
    ASSERT_INT(load("run = { seed = 2147483647; name = \"99999999999\"; }; # 99999999999\n/* "
                    "99999999999 */ // 99999999999",
                    NULL),
               0);
    ASSERT_INT(load("optim = { lr = 1e-5; clip = 10000000000.0; warmup = 1.e10; };", NULL), 0);
    ASSERT_NEAR(config.optim.clip, 1e10, 0);
}

static void test_includes(void) {
    put("inner.cfg", "optim = { lr = 0.125; };\n");
    ASSERT_INT(load("@include \"inner.cfg\"\nrun = { seed = 9; };\n", NULL), 0);
    ASSERT_NEAR(config.optim.lr, 0.125, 0);
    ASSERT_INT(config.run.seed, 9);
    refuse("@include \"inner.cfg\"\n\nrun = { sed = 9; };\n", NULL, "a.cfg:3: |run.seed");
    put("inner.cfg", "\noptim = { lr = 3000000000; };\n");
    refuse("@include \"inner.cfg\"\n", NULL, "a.cfg:1: included: |inner.cfg:2: |3000000000L");
    put("inner.cfg", "\n\noptim = { rl = 1; };\n");
    refuse("run = { seed = 1; };\n@include \"inner.cfg\"\n", NULL,
           "inner.cfg:3: unknown option optim.rl");
    put("inner.cfg", "@include \"inner.cfg\"\n");
    refuse("@include \"inner.cfg\"\n", NULL, "at most 10 files one in another");
    refuse("@include \"nowhere.cfg\"\n", NULL, "a.cfg:1: included: |nowhere.cfg: cannot be opened");
    refuse("@include nowhere\n", NULL, "a.cfg:1: |no file name in quotes");
    ASSERT_INT(load("run = { name = \"@include \\\"x\\\"\"; }; # @include \"x\"\n", NULL), 0);
    ASSERT_TEXT(config.run.name, "@include \"x\"");
}

static void test_syntax_errors_have_their_place(void) {
    refuse("optim = {\n lr = 1.0;\n lr = 2.0;\n};", NULL, "a.cfg:3: a key that is set twice");
    refuse("optim = { lr = 1.0; };\noptim = { clip = 1.0; };", NULL,
           "a.cfg:2: a key that is set twice|a further file");
    refuse("optim = {\n lr = ;\n};", NULL, "a.cfg:2: syntax error");
    refuse("optim.lr = 1.0;", NULL, "a.cfg:1: syntax error|group = { key = value; }");
    refuse("run = { name = \"x\n\n", NULL, "a.cfg:1: |end of the string");
    refuse("run = { };\n/* x", NULL, "a.cfg:2: |end of the comment");
    const char *missing = "lr=0.5";
    config_free(&config);
    ASSERT_INT(config_load(&config, &missing, 1, NULL, 0), -1);
    ASSERT_CONTAINS(error_text(), "cannot be opened");
    ASSERT_CONTAINS(error_text(), "group.key=value");
}

/* A configuration with a value other than the default in every option gives itself again, twice
 * over. */
/* Every option, at what is not its default. */
static const char *const every_option[] = {
    "run.name=a \"quoted\\name\"",
    "run.dir=/tmp/x\ty",
    "run.seed=9000000000000000",
    "run.device=cpu",
    "run.plugin=../p.so",
    "run.threads=3",
    "run.log_every=2",
    "model.path=\xc3\xa9/m",
    "model.init=random",
    "model.precision=bf16",
    "model.head_init=random",
    "model.quantise=nf4",
    "model.heads=4",
    "data.train=({path=\"a\"; groups=5000000000L},{path=\"b\"; weight=0.1})",
    "data.eval=({path=\"c.h5\"; name=\"see\"},\"d.h5\")",
    "data.shuffle=false",
    "batch.groups=7",
    "batch.tokens_per_microbatch=100k",
    "batch.group_by_prompt=true",
    "loss.type=hinge",
    "loss.label_smoothing=0.1",
    "loss.center=0.01",
    "loss.length_penalty=-0.2",
    "loss.attributes=(\"a\", \"b\")",
    "loss.tie_threshold=0.7",
    "loss.z_loss=0.0001",
    "loss.weights=sequence",
    "loss.learn_tie_threshold=true",
    "optim.lr=3.3e-6",
    "optim.betas=0.1,0.3",
    "optim.eps=1e-300",
    "optim.weight_decay=0",
    "optim.no_decay=(\"*a\\\\b*\", \"c\")",
    "model.freeze=(\"model.embed*\", \"x\")",
    "model.adapter=a",
    "model.quantise=nf4",
    "checkpoint.frozen=true",
    "lora.rank=8",
    "lora.alpha=12.5",
    "lora.rslora=true",
    "lora.targets=(\"q_proj\", \"*.mlp.*\")",
    "optim.clip=1e20",
    "optim.schedule=wsd",
    "optim.warmup=100",
    "optim.min_lr_ratio=0.3333333333333333",
    "optim.power=2",
    "optim.cycles=3",
    "optim.epochs=2.7",
    "optim.steps=5000000000",
    "parallel.zero_stage=3",
    "parallel.zero_group=2",
    "parallel.recompute=block",
    "parallel.offload=optimizer",
    "parallel.prefetch=false",
    "checkpoint.dir=c",
    "checkpoint.every_steps=5",
    "checkpoint.every_minutes=0.1",
    "checkpoint.keep=1",
    "checkpoint.writers=2",
    "eval.every_steps=9",
    "eval.before_training=false",
    "track.jsonl=false",
    "task=reward",
    "policy.samples=4",
    "policy.max_new_tokens=16",
    "policy.temperature=0.7",
    "policy.top_p=0.9",
    "policy.top_k=50",
    "policy.min_p=0.1",
    "policy.repetition_penalty=1.1",
    "policy.updates=2",
    "policy.minibatches=3",
    "policy.ratio=sequence",
    "policy.epsilon=0.3",
    "policy.epsilon_high=0.4",
    "policy.delta=2",
    "policy.advantages=none",
    "policy.std_eps=0.5",
    "policy.min_reward_std=0.1",
    "policy.filter_std=0",
    "policy.resample=5",
    "policy.kl=k3",
    "policy.kl_coefficient=0.01",
    "policy.truncated=mask",
    "policy.reference=copy",
    "policy.min_parse_rate=0",
    "policy.max_rows=7",
    "policy.max_gap=0.5",
    "policy.reward=bt_graded",
    "reward.parser=score5_last",
    "reward.as_seed=true",
    "reward.command=c",
    "reward.model=m",
    "reward.timeout=9",
    "reward.temperature=20",
    "reward.clip=10",
    "reward.neg_clip=1.1",
    "reward.scale=14.4",
    "reward.offset=0.693",
    "reward.hard_lambda=1",
    "reward.hard_tau=0.5",
    "reward.hard_eps=0.1",
    "reward.positive=2",
    "reward.negative=-2",
    "reward.score_temperature=10",
    "reward.grade_threshold=0.2",
    "reward.low=1",
    "reward.high=2",
    "reward.wrong=-1",
    "reward.parse_fail=-3",
    "reward.gamma=0.1",
    "reward.margin_temperature=2",
};

static void test_text_gives_the_same_again(void) {
    config_free(&config);
    int status = config_load(&config, NULL, 0, every_option, N_TESTS(every_option));
    if (status != 0) TEST_END(TEST_FAILED, "%s", error_text());
    char *text = config_text(&config);
    struct config again;
    if (config_parse(&again, text, NULL, 0) != 0) TEST_END(TEST_FAILED, "%s", error_text());
    char *text_again = config_text(&again);
    ASSERT_TEXT(text_again, text);
    ASSERT_TEXT(again.run.dir, "/tmp/x\ty");
    ASSERT_TEXT(again.run.name, "a \"quoted\\name\"");
    ASSERT(again.optim.lr == 3.3e-6 && again.optim.eps == 1e-300 && again.optim.clip == 1e20);
    ASSERT(again.optim.min_lr_ratio == 0.3333333333333333 && again.data.train[1].weight == 0.1);
    ASSERT_INT(again.data.train[0].groups, 5000000000);
    ASSERT_INT(again.optim.steps, 5000000000);
    ASSERT_TEXT(again.data.eval[0].name, "see");
    ASSERT_INT(again.optim.no_decay.n, 2);
    ASSERT_TEXT(again.optim.no_decay.item[0], "*a\\b*");

    /* Every option was in the list: its line differs from that of the defaults. */
    struct config defaults;
    ASSERT_INT(config_load(&defaults, NULL, 0, NULL, 0), 0);
    char *plain = config_text(&defaults);
    struct buffer completion = {0};
    config_completion(&completion);
    for (const char *line = completion.data; *line; line = strchr(line, '\n') + 1) {
        char key[64];
        int n = (int)strcspn(line, "\t"), n_group = (int)strcspn(line, ".\t");
        bool is_alone = n_group == n;
        snprintf(key, sizeof key, "%s%.*s = ", is_alone ? "\n" : "    ",
                 is_alone ? n : n - n_group - 1, line + (is_alone ? 0 : n_group + 1));
        char group[64] = "";
        if (!is_alone) snprintf(group, sizeof group, "\n%.*s = {", n_group, line);
        const char *a = strstr(strstr(text, group), key), *b = strstr(strstr(plain, group), key);
        ASSERT(a && b);
        if (strncmp(a, b, strcspn(a + 1, "\n") + 2) == 0)
            TEST_END(TEST_FAILED, "%.40s is left at its default", line);
    }
    buffer_free(&completion);
    mem_free(plain);
    mem_free(text);
    mem_free(text_again);
    config_free(&defaults);
    config_free(&again);
}

static void test_parse_takes_overrides(void) {
    config_free(&config);
    ASSERT_INT(config_load(&config, NULL, 0, NULL, 0), 0);
    char *text = config_text(&config);
    const char *override = "model.precision=bf16";
    struct config again;
    ASSERT_INT(config_parse(&again, text, &override, 1), 0);
    ASSERT_INT(again.model.precision, MODEL_PRECISION_BF16);
    config_free(&again);
    ASSERT_INT(config_parse(&again, "@include \"/etc/passwd\"", NULL, 0), -1);
    ASSERT_CONTAINS(error_text(), "no @include");
    mem_free(text);
}

/* What former versions wrote into a checkpoint is read with the names that they had. */
static void test_former_text_is_read(void) {
    config_free(&config);
    int status = config_parse(&config,
                              "model = { dropout = 0.0; };\n"
                              "data = { train = ( { path = \"a\"; rows = 3; } ); };\n"
                              "parallel = { shard_group = \"node\"; };\n",
                              NULL, 0);
    if (status != 0) TEST_END(TEST_FAILED, "%s", error_text());
    ASSERT_INT(config.data.train[0].groups, 3);
    ASSERT_INT(config.parallel.zero_group, ZERO_GROUP_NODE);
    const char *override = "parallel.shard_group=all";
    struct config again;
    ASSERT_INT(config_parse(&again, "model = { dropout = 0.0; };", &override, 1), -1);
    ASSERT_CONTAINS(error_text(), "is called parallel.zero_group now");
}

/* Everything is given back, also on every kind of error; run.sh's order of tests does not
 * matter. */
static void test_nothing_is_left(void) {
    config_free(&config);
    size_t before = mem_balance();
    static const char *const bad[] = {"optim.lr=x", "data.train=({path=\"a\"},{path=1})",
                                      "nothing.at=all", "data.eval=(\"a\",\"a\")",
                                      "optim.betas=(1"};
    for (int i = 0; i < N_TESTS(bad); i++)
        ASSERT_INT(load("data = { train = (\"x\", \"y\"); };", bad[i]), -1);
    ASSERT_INT(load("@include \"a.cfg\"", NULL), -1);
    ASSERT_INT(load("data = { train = (\"x\"); };", "data.train=y"), 0);
    config_free(&config);
    ASSERT_INT(mem_balance(), before);
}

static void test_sizes(void) {
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {{"0", 0},
                {"64k", 65536},
                {"3M", 3 << 20},
                {"2G", (int64_t)2 << 30},
                {"9223372036854775807", INT64_MAX}};
    static const char *const bad[] = {
        "", "k", "6 4", " 4", "4kk", "4K", "9223372036854775808", "9007199254740992M", "0x10"};
    int64_t n;
    for (int i = 0; i < N_TESTS(good); i++) {
        ASSERT_INT(config_parse_size(good[i].text, &n), 0);
        ASSERT_INT(n, good[i].value);
    }
    for (int i = 0; i < N_TESTS(bad); i++) ASSERT_INT(config_parse_size(bad[i], &n), -1);
}

static void test_nearest(void) {
    static const char *const known[] = {"train", "eval", "score", "export"};
    ASSERT_TEXT(config_nearest("trian", known, 4), "train");
    ASSERT_TEXT(config_nearest("evaluate", (const char *const[]){"eval"}, 1) ? "near" : "far",
                "far");
    ASSERT_TEXT(config_nearest("exprot", known, 4), "export");
    ASSERT(config_nearest("wxyz", known, 4) == NULL);
    char lengthy[400];
    memset(lengthy, 'a', sizeof lengthy);
    lengthy[399] = 0;
    ASSERT(config_nearest(lengthy, known, 4) == NULL);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"defaults", test_defaults},
        {"reads_a_file", test_reads_a_file},
        {"later_files_win_key_by_key", test_later_files_win_key_by_key},
        {"a_number_may_be_left_to_others", test_a_number_may_be_left_to_others},
        {"overrides", test_overrides},
        {"unknown_keys_show_the_nearest", test_unknown_keys_show_the_nearest},
        {"wrong_types_and_bounds", test_wrong_types_and_bounds},
        {"integers_never_wrap", test_integers_never_wrap},
        {"includes", test_includes},
        {"syntax_errors_have_their_place", test_syntax_errors_have_their_place},
        {"text_gives_the_same_again", test_text_gives_the_same_again},
        {"parse_takes_overrides", test_parse_takes_overrides},
        {"former_text_is_read", test_former_text_is_read},
        {"nothing_is_left", test_nothing_is_left},
        {"sizes", test_sizes},
        {"nearest", test_nearest},
    };
    snprintf(root, sizeof root, "/tmp/rankwise_test_config_%d", (int)getpid());
    if (file_make_directory(root) != 0) die("%s", error_text());
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    config_free(&config);
    file_remove_tree(root);
    return code;
}
