/* The picture of stats: gnuplot, which gets its commands and numbers through a pipe. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "file.h"
#include "memory.h"
#include "stats.h"

enum { N_BINS = 30, MOST_COLUMNS = 3, PANEL_WIDTH = 600, PANEL_HEIGHT = 500 };

static bool ends_in(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

/* A name between gnuplot's single quotes: a quote is two. */
static void put_quoted(FILE *out, const char *text) {
    fputc('\'', out);
    for (; *text; text++) {
        if (*text == '\'') fputc('\'', out);
        fputc((unsigned char)*text < 0x20 ? '?' : *text, out);
    }
    fputc('\'', out);
}

/* The blocks $p0, $p1, $p2 of one panel: the middle of each bin and how many lie in it. */
static double put_numbers(FILE *out, const struct shard_stats *s) {
    int64_t max = 1;
    for (int k = 0; k <= LENGTH_REJECTED; k++)
        if (s->n_comparisons) max = MAX(max, s->length[k][s->n_comparisons - 1]);
    double width = (double)(max + 1) / N_BINS;
    for (int k = 0; k <= LENGTH_REJECTED; k++) {
        int64_t count[N_BINS] = {0};
        for (int64_t i = 0; i < s->n_comparisons; i++)
            count[MIN(N_BINS - 1, (int64_t)((double)s->length[k][i] / width))]++;
        fprintf(out, "$p%d << EOD\n", k);
        for (int b = 0; b < N_BINS; b++)
            fprintf(out, "%.6g %lld\n", (b + 0.5) * width, (long long)count[b]);
        fprintf(out, "EOD\n");
    }
    return width;
}

static void put_panel(FILE *out, const struct shard_stats *s) {
    double width = put_numbers(out, s);
    const char *name = strrchr(s->path, '/');
    fprintf(out, "set title ");
    put_quoted(out, name ? name + 1 : s->path);
    fprintf(out, " noenhanced\nset boxwidth %.6g\n", width);
    fprintf(out, "plot $p0 with boxes title 'prompt', $p1 with boxes title 'chosen', $p2 with "
                 "boxes title 'rejected'\n");
}

static void put_picture(FILE *out, const char *path, const struct shard_stats *stats, int n) {
    int columns = MIN(n, MOST_COLUMNS), rows = (n + columns - 1) / columns;
    fprintf(out, "set terminal %s size %d,%d\n", ends_in(path, ".svg") ? "svg" : "pngcairo",
            columns * PANEL_WIDTH, rows * PANEL_HEIGHT);
    fprintf(out, "set output ");
    put_quoted(out, path);
    fprintf(out, "\nset multiplot layout %d,%d\n", rows, columns);
    fprintf(out, "set style fill transparent solid 0.5 noborder\nset xlabel 'tokens'\nset ylabel "
                 "'comparisons'\n"
                 "set xrange [0:*]\nset yrange [0:*]\n");
    for (int i = 0; i < n; i++) put_panel(out, &stats[i]);
    fprintf(out, "unset multiplot\n");
}

static int check_name(const char *path) {
    if (!ends_in(path, ".png") && !ends_in(path, ".svg"))
        return fail("--plot: expected a file that ends in .png or .svg, found \"%.200s\"", path);
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c < 0x20) return fail("--plot: a control character in the file's name");
    return 0;
}

int stats_plot(const char *path, const struct shard_stats *stats, int n) {
    if (check_name(path) != 0) return -1;
    for (int i = 0; i < n; i++)
        if (stats[i].n_comparisons == 0)
            return fail("--plot: %s has no comparisons, whose lengths it draws", stats[i].path);
    FILE *out = popen("gnuplot", "w");
    if (!out) return fail("gnuplot: cannot be started: %s", strerror(errno));
    /* a gnuplot that ends early is told by its exit code */
    void (*former)(int) = signal(SIGPIPE, SIG_IGN);
    put_picture(out, path, stats, n);
    int status = pclose(out);
    signal(SIGPIPE, former);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return fail("gnuplot is not installed; hint: apt-get install gnuplot-nox");
    if (status != 0) return fail("%s: gnuplot could not draw it", path);
    return file_exists(path) ? 0 : fail("%s: gnuplot could not write it", path);
}
