/* Whole files, paths and atomic replacement.
 *
 * Readers return -1 with error_text() that names the path. A file is replaced by write to
 * "<path>.tmp", fsync, rename, fsync of the directory, so that a reader sees the former one or the
 * new one, never a part. */
#ifndef RANKWISE_FILE_H
#define RANKWISE_FILE_H
#include "memory.h"
#ifdef __cplusplus
extern "C" {
#endif

/* Appends the file's bytes to out (ceiling in bytes; larger is an error). */
int file_read(const char *path, size_t ceiling, struct buffer *out);
/* All of it, however many calls that takes; -1 with errno. */
int file_write_all(int fd, const void *data, size_t length);
int file_replace(const char *path, const void *data, size_t length);

/* The last part of a replacement, for files that a library has written: fsync, rename, fsync of the
 * directory. */
int file_publish(const char *temporary, const char *path);

bool file_exists(const char *path);
bool file_is_directory(const char *path);
/* Whether it is a device, a pipe or a socket, which is written to and never replaced. */
bool file_is_device(const char *path);
/* Whether a directory has something of this name. */
bool file_has(const char *directory, const char *name);
/* Whether the path still names the open file. */
bool file_is_open(const char *path, int fd);

/* Makes the directory and its parents; an existing one is fine. */
int file_make_directory(const char *path);

/* Removes a directory tree, or a file; a missing one is fine. */
int file_remove_tree(const char *path);
/* The same after a failure, whose error text stays; it can only warn. */
void file_discard(const char *path);

/* Takes the exclusive lock of a file, which it makes, and waits up to `seconds` for another process
 * to let go of it. The descriptor, whose close frees the lock as the process's end does; -1:
 * another one holds it. A file system without locks is warned of, once. */
int file_lock(const char *path, double seconds);

/* Hexadecimal digits that nobody else has, for the names of what is being written. */
enum { FILE_NUMBER_DIGITS = 16 };
void file_number(char out[FILE_NUMBER_DIGITS + 1]);
/* Whether the end of a name is ".<number>.tmp". */
bool file_is_numbered(const char *end);

/* fsync of a file or directory by its path. */
int file_sync(const char *path);

/* "<directory>/<name>"; the caller frees it with mem_free. */
char *file_join(const char *directory, const char *name);

/* Calls visit for each entry but "." and "..", sorted by name, until it returns non-zero, which is
 * then returned. */
int file_list(const char *directory, int (*visit)(void *self, const char *name), void *self);

#ifdef __cplusplus
}
#endif
#endif
