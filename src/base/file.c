/* Files: see file.h. */
#include "file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

int file_read(const char *path, size_t ceiling, struct buffer *out) {
    FILE *f = fopen(path, "rb");
    if (!f) return fail("%s: cannot be opened: %s", path, strerror(errno));
    char piece[65536];
    size_t n, start = out->length;
    while ((n = fread(piece, 1, sizeof piece, f)) > 0) {
        buffer_append(out, piece, n);
        if (out->length - start > ceiling) {
            fclose(f);
            return fail("%s: larger than %zu bytes, the most that is read", path, ceiling);
        }
    }
    int bad = ferror(f);
    fclose(f);
    if (bad) return fail("%s: cannot be read: %s", path, strerror(errno));
    buffer_append(out, "", 0);
    return 0;
}

int file_write_all(int fd, const void *data, size_t length) {
    const char *from = data;
    while (length) {
        ssize_t n = write(fd, from, length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        from += n;
        length -= (size_t)n;
    }
    return 0;
}

int file_sync(const char *path) {
    int fd = open(path, O_RDONLY);
    if (fd < 0) return fail("%s: cannot be opened to sync: %s", path, strerror(errno));
    int status = fsync(fd);
    int error = errno;
    close(fd);
    return status ? fail("%s: fsync: %s", path, strerror(error)) : 0;
}

int file_lock(const char *path, double seconds) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) return fail("%s: cannot be opened for the lock: %s", path, strerror(errno));
    double end = clock_seconds() + seconds;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK) {
            log_warn("%s: cannot be locked here (%s); two runs at once would not see each other",
                     path, strerror(errno));
            break;
        }
        if (clock_seconds() > end) {
            close(fd);
            return fail("%s: held by another process that writes there; hint: wait for it, or use "
                        "another directory",
                        path);
        }
        usleep(50000);
    }
    return fd;
}

void file_number(char out[FILE_NUMBER_DIGITS + 1]) {
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        random = (uint64_t)getpid() << 32 ^ (uint64_t)(1e9 * clock_seconds());
    snprintf(out, FILE_NUMBER_DIGITS + 1, "%016llx", (unsigned long long)random);
}

bool file_is_numbered(const char *end) {
    return end[0] == '.' && strspn(end + 1, "0123456789abcdef") == FILE_NUMBER_DIGITS &&
           strcmp(end + 1 + FILE_NUMBER_DIGITS, ".tmp") == 0;
}

static int sync_parent(const char *path) {
    char *directory = mem_copy_string(path);
    char *slash = strrchr(directory, '/');
    if (slash == directory)
        slash[1] = 0;
    else if (slash)
        *slash = 0;
    int status = file_sync(slash ? directory : ".");
    mem_free(directory);
    return status;
}

int file_publish(const char *temporary, const char *path) {
    if (file_is_device(path))
        return fail("%s: expected a file, which can be replaced, found a device or a pipe", path);
    if (file_sync(temporary) != 0) return -1;
    if (rename(temporary, path) != 0) return fail("%s: rename: %s", path, strerror(errno));
    return sync_parent(path);
}

static int write_device(const char *path, const void *data, size_t length) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int status = fd < 0 ? -1 : file_write_all(fd, data, length);
    if (status != 0) fail("%s: cannot be written: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    return status;
}

/* The error of the first call that failed is the one that is told. */
int file_replace(const char *path, const void *data, size_t length) {
    if (file_is_device(path)) return write_device(path, data, length);
    char *temporary = mem_format("%s.tmp", path);
    int status = -1;
    const char *doing = "open";
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0) goto done;
    doing = "write";
    int written = file_write_all(fd, data, length);
    if (written == 0) written = fsync(fd);
    int error = errno;
    if (close(fd) != 0 && written == 0) {
        written = -1;
        error = errno;
    }
    errno = error;
    if (written != 0) goto done;
    doing = "rename";
    if (rename(temporary, path) != 0) goto done;
    status = 0;
done:
    if (status != 0) {
        fail("%s: %s: %s", path, doing, strerror(errno));
        unlink(temporary);
    }
    mem_free(temporary);
    return status != 0 ? -1 : sync_parent(path);
}

bool file_exists(const char *path) {
    struct stat s;
    return stat(path, &s) == 0;
}

bool file_is_device(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode);
}

bool file_has(const char *directory, const char *name) {
    char *path = file_join(directory, name);
    bool has = file_exists(path);
    mem_free(path);
    return has;
}

bool file_is_open(const char *path, int fd) {
    struct stat named, open;
    return stat(path, &named) == 0 && fstat(fd, &open) == 0 && named.st_dev == open.st_dev &&
           named.st_ino == open.st_ino;
}

bool file_is_directory(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

int file_make_directory(const char *path) {
    char *part = mem_copy_string(path);
    int status = 0;
    for (char *at = part + 1; status == 0; at++) {
        if (*at != '/' && *at != 0) continue;
        char end = *at;
        *at = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            status = fail("%s: cannot be made: %s", part, strerror(errno));
        *at = end;
        if (end == 0) break;
    }
    mem_free(part);
    if (status == 0 && !file_is_directory(path))
        return fail("%s: expected a directory, found a file", path);
    return status;
}

static int remove_entry(const char *path, const struct stat *s, int kind, struct FTW *where) {
    (void)s, (void)kind, (void)where;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

int file_remove_tree(const char *path) {
    struct stat s;
    if (lstat(path, &s) != 0 && errno == ENOENT) return 0;
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
        return fail("%s: cannot be removed: %s", path, strerror(errno));
    return 0;
}

void file_discard(const char *path) {
    char *said = mem_copy_string(error_text());
    if (file_remove_tree(path) != 0) log_warn("%s", error_text());
    fail("%s", said);
    mem_free(said);
}

char *file_join(const char *directory, const char *name) {
    size_t n = strlen(directory);
    return mem_format("%s%s%s", directory, n && directory[n - 1] == '/' ? "" : "/", name);
}

int file_list(const char *directory, int (*visit)(void *self, const char *name), void *self) {
    struct dirent **entry;
    int n = scandir(directory, &entry, NULL, alphasort), status = 0;
    if (n < 0) return fail("%s: cannot be listed: %s", directory, strerror(errno));
    for (int i = 0; i < n; i++) {
        const char *name = entry[i]->d_name;
        if (status == 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
            status = visit(self, name);
        free(entry[i]);
    }
    free(entry);
    return status;
}
