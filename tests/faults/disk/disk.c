/* The disk under the host, for tests: loaded before libc (LD_PRELOAD), it stands between SQLite and the kernel for the
 * files of one database and does what a bad disk does. The host itself is not changed by it.
 *
 * MANTLE_DISK names a file of orders, read again at every call, one per line:
 *   sync-fails            fsync and fdatasync answer EIO
 *   sync-takes <ms>       … take so much longer
 *   shadow <folder>       … leave a copy of what they have made durable: what a power cut right then would leave
 *   room <bytes>          writes that would make the folder of the database larger answer ENOSPC
 *   kill-at <n>           the n-th write to the database file itself (a checkpoint, never a commit) ends the process
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum kind { OTHER, DATABASE, LOG };

typedef ssize_t (*write_fn)(int, const void *, size_t);
typedef ssize_t (*pwrite_fn)(int, const void *, size_t, off_t);
typedef int (*sync_fn)(int);

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static enum kind kind_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length <= 0) return OTHER;
    path[length] = 0;
    if (ends_with(path, ".db-wal")) return LOG;
    return ends_with(path, ".db") ? DATABASE : OTHER;
}

/* The argument of an order, or NULL when it is not given. */
static const char *order(const char *name, char *text, size_t size) {
    const char *file = getenv("MANTLE_DISK");
    int fd = file ? open(file, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return NULL;
    ssize_t length = read(fd, text, size - 1);
    close(fd);
    text[length > 0 ? length : 0] = 0;
    for (char *rest = text, *line; (line = strsep(&rest, "\n"));) {
        size_t known = strlen(name);
        if (strncmp(line, name, known) == 0 && (line[known] == ' ' || line[known] == 0))
            return line[known] ? line + known + 1 : line + known;
    }
    return NULL;
}

static long long folder_bytes(const char *path) {
    char folder[4096], file[8192];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) *slash = 0;
    DIR *entries = opendir(folder);
    if (!entries) return 0;
    long long bytes = 0;
    for (struct dirent *entry; (entry = readdir(entries));) {
        struct stat found;
        snprintf(file, sizeof file, "%s/%s", folder, entry->d_name);
        if (lstat(file, &found) == 0 && S_ISREG(found.st_mode)) bytes += found.st_size;
    }
    closedir(entries);
    return bytes;
}

/* Whether the write is refused for want of room; ends the process where that was ordered. */
static int refused(int fd, off_t end) {
    static long long database_writes;
    char path[4096], text[1024];
    enum kind kind = kind_of(fd, path, sizeof path);
    if (kind == OTHER) return 0;
    const char *argument;
    if (kind == DATABASE && (argument = order("kill-at", text, sizeof text)) &&
        __atomic_add_fetch(&database_writes, 1, __ATOMIC_SEQ_CST) >= atoll(argument))
        raise(SIGKILL);
    struct stat found;
    if ((argument = order("room", text, sizeof text)) && fstat(fd, &found) == 0 && end > found.st_size)
        return folder_bytes(path) + (end - found.st_size) > atoll(argument);
    return 0;
}

/* Renamed into place: a power cut while the copy is made leaves what was durable before. */
static void keep_copy(const char *path, const char *folder) {
    char kept[8192], to[8200], bytes[65536];
    const char *name = strrchr(path, '/');
    snprintf(kept, sizeof kept, "%s%s", folder, name ? name : path);
    snprintf(to, sizeof to, "%s.new", kept);
    int in = open(path, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    write_fn put = (write_fn)real("write");
    for (ssize_t length; in >= 0 && out >= 0 && (length = read(in, bytes, sizeof bytes)) > 0;)
        if (put(out, bytes, (size_t)length) != length) abort();
    if (in >= 0) close(in);
    if (out >= 0 && (close(out) != 0 || rename(to, kept) != 0)) abort();
}

static int synced(const char *call, int fd) {
    char path[4096], text[1024];
    const char *argument;
    if (kind_of(fd, path, sizeof path) == OTHER) return ((sync_fn)real(call))(fd);
    if ((argument = order("sync-takes", text, sizeof text))) {
        long ms = atol(argument);
        struct timespec pause = {ms / 1000, (ms % 1000) * 1000000};
        nanosleep(&pause, NULL);
    }
    if (order("sync-fails", text, sizeof text)) {
        errno = EIO;
        return -1;
    }
    int outcome = ((sync_fn)real(call))(fd);
    if (outcome == 0 && (argument = order("shadow", text, sizeof text))) keep_copy(path, argument);
    return outcome;
}

int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }

ssize_t write(int fd, const void *bytes, size_t length) {
    if (refused(fd, lseek(fd, 0, SEEK_CUR) + (off_t)length)) {
        errno = ENOSPC;
        return -1;
    }
    return ((write_fn)real("write"))(fd, bytes, length);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    if (refused(fd, (off_t)(at + (off64_t)length))) {
        errno = ENOSPC;
        return -1;
    }
    return ((pwrite_fn)real("pwrite64"))(fd, bytes, length, (off_t)at);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return pwrite64(fd, bytes, length, at); }
