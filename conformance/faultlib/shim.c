// Faults of disks and clocks, put between a program and its C library with LD_PRELOAD. Needs no rights.
//
// Power cuts. What a file system keeps for sure is what was forced to disk: the bytes of a file at its last fsync or
// fdatasync, the names of a directory at its last fsync. So at each of these calls a copy is taken: of a file its bytes, of a
// directory its names. They lie in $HEARTH_FAULTS_SHADOW, under a key of inode and time of birth. After the "cut", which is
// SIGKILL, the suite builds the directory anew from the copies (power.py).
//
// Full disks and clocks. $HEARTH_FAULTS_CONTROL is a file that the suite and all programs map: see struct control. Only
// files below $HEARTH_FAULTS_ROOT are on the "disk".
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

// As shim.py writes it.
struct control {
    int64_t clock_offset_s;  // added to the wall clock
    int64_t is_full;         // 1: there is a limit to what can be written
    int64_t budget_bytes;    // what may still be written
    char full_path[488];     // only of files whose path has this in it
};

static struct control *control;
static const char *root, *shadow;
static size_t root_length;

#define REAL(name) ((__typeof__(&name))real_##name)
#define FIND(name)                                                        \
    static void *real_##name;                                             \
    if (real_##name == NULL) real_##name = dlsym(RTLD_NEXT, #name);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("HEARTH_FAULTS_CONTROL");
    root = getenv("HEARTH_FAULTS_ROOT");
    shadow = getenv("HEARTH_FAULTS_SHADOW");
    if (path == NULL || root == NULL) return;
    root_length = strlen(root);
    FIND(open);
    int fd = REAL(open)(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED) control = mapped;
}

static int is_below(const char *path) {
    return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0);
}

// The path of an open file; whether it is below the root.
static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_below(path);
}

// ---- Power cuts

static void key_of(int dir, const char *name, int flags, char *key, size_t size, char *kind) {
    struct statx about;
    memset(&about, 0, sizeof about);
    statx(dir, name, flags, STATX_BASIC_STATS | STATX_BTIME, &about);
    snprintf(key, size, "%llu-%lld.%09u", (unsigned long long)about.stx_ino, (long long)about.stx_btime.tv_sec,
             about.stx_btime.tv_nsec);
    *kind = S_ISDIR(about.stx_mode) ? 'd' : 'f';
}

static void copy_names(int fd, FILE *to) {
    DIR *dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (dir == NULL) abort();
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        char key[64], kind;
        key_of(fd, entry->d_name, AT_SYMLINK_NOFOLLOW, key, sizeof key, &kind);
        fprintf(to, "%c %s %s\n", kind, key, entry->d_name);
    }
    closedir(dir);
}

static void copy_bytes(int fd, FILE *to) {
    char link[64], buffer[1 << 16];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    FIND(open);
    int from = REAL(open)(link, O_RDONLY | O_CLOEXEC);
    if (from < 0) abort();
    for (ssize_t got; (got = read(from, buffer, sizeof buffer)) > 0;) fwrite(buffer, 1, (size_t)got, to);
    close(from);
}

// Called behind a sync that succeeded. A copy is whole or not there, and of two the later one stays.
static void keep(int fd) {
    char path[PATH_MAX], key[64], kind, beside[PATH_MAX], place[PATH_MAX];
    if (shadow == NULL || control == NULL || !path_of(fd, path)) return;
    int saved = errno;
    FIND(open);
    snprintf(place, sizeof place, "%s/lock", shadow);
    int lock = REAL(open)(place, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) != 0) abort();
    key_of(fd, "", AT_EMPTY_PATH, key, sizeof key, &kind);
    snprintf(beside, sizeof beside, "%s/beside", shadow);
    snprintf(place, sizeof place, "%s/%s", shadow, key);
    FILE *to = fopen(beside, "we");
    if (to == NULL) abort();
    if (kind == 'd') copy_names(fd, to);
    else copy_bytes(fd, to);
    if (fclose(to) != 0 || rename(beside, place) != 0) abort();
    close(lock);
    errno = saved;
}

int fsync(int fd) {
    FIND(fsync);
    int done = REAL(fsync)(fd);
    if (done == 0) keep(fd);
    return done;
}

int fdatasync(int fd) {
    FIND(fdatasync);
    int done = REAL(fdatasync)(fd);
    if (done == 0) keep(fd);
    return done;
}

// ---- Full disks

static int is_full_for(const char *path) {
    return control != NULL && control->is_full && is_below(path) && strstr(path, control->full_path) != NULL;
}

// How many of so many bytes may be written; -1 with ENOSPC if none.
static ssize_t room(int fd, size_t count) {
    char path[PATH_MAX];
    if (control == NULL || !control->is_full || !path_of(fd, path) || !is_full_for(path)) return (ssize_t)count;
    int64_t left = __atomic_load_n(&control->budget_bytes, __ATOMIC_SEQ_CST), take;
    do {
        take = left < (int64_t)count ? left : (int64_t)count;
        if (take <= 0 && count > 0) {
            errno = ENOSPC;
            return -1;
        }
    } while (!__atomic_compare_exchange_n(&control->budget_bytes, &left, left - take, 0, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST));
    return (ssize_t)take;
}

// A new name takes room as well. Relative paths are taken as they are; the programs use absolute ones.
static int no_room_for_name(const char *path) {
    if (path == NULL || !is_full_for(path) || control->budget_bytes > 0) return 0;
    errno = ENOSPC;
    return 1;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    FIND(write);
    ssize_t may = room(fd, count);
    return may < 0 ? -1 : REAL(write)(fd, bytes, (size_t)may);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    FIND(pwrite64);
    ssize_t may = room(fd, count);
    return may < 0 ? -1 : REAL(pwrite64)(fd, bytes, (size_t)may, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    return pwrite64(fd, bytes, count, at);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    FIND(writev);
    size_t bytes = 0;
    for (int i = 0; i < count; i++) bytes += parts[i].iov_len;
    ssize_t may = room(fd, bytes);
    if (may < 0) return -1;
    if ((size_t)may == bytes) return REAL(writev)(fd, parts, count);
    FIND(write);
    // A part of it: the first piece alone is as good an answer as any.
    size_t first = parts[0].iov_len < (size_t)may ? parts[0].iov_len : (size_t)may;
    return REAL(write)(fd, parts[0].iov_base, first);
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t count, unsigned flags) {
    FIND(copy_file_range);
    char path[PATH_MAX];
    if (path_of(to, path) && is_full_for(path)) {
        errno = ENOSPC;
        return -1;
    }
    return REAL(copy_file_range)(from, from_at, to, to_at, count, flags);
}

#define OPEN(name, before, call)                        \
    FIND(name);                                         \
    mode_t mode = 0;                                    \
    if (flags & (O_CREAT | __O_TMPFILE)) {              \
        va_list rest;                                   \
        va_start(rest, flags);                          \
        mode = va_arg(rest, mode_t);                    \
        va_end(rest);                                   \
        if ((flags & O_CREAT) && faccessat(before, path, F_OK, 0) != 0 && no_room_for_name(path)) return -1; \
    }                                                   \
    return call;

int open(const char *path, int flags, ...) { OPEN(open, AT_FDCWD, REAL(open)(path, flags, mode)) }
int open64(const char *path, int flags, ...) { OPEN(open64, AT_FDCWD, REAL(open64)(path, flags, mode)) }
int openat(int dir, const char *path, int flags, ...) { OPEN(openat, dir, REAL(openat)(dir, path, flags, mode)) }
int openat64(int dir, const char *path, int flags, ...) { OPEN(openat64, dir, REAL(openat64)(dir, path, flags, mode)) }

int mkdir(const char *path, mode_t mode) {
    FIND(mkdir);
    return no_room_for_name(path) ? -1 : REAL(mkdir)(path, mode);
}

int link(const char *from, const char *to) {
    FIND(link);
    return no_room_for_name(to) ? -1 : REAL(link)(from, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    FIND(linkat);
    return no_room_for_name(to) ? -1 : REAL(linkat)(from_dir, from, to_dir, to, flags);
}

// ---- Clocks

int clock_gettime(clockid_t clock, struct timespec *now) {
    FIND(clock_gettime);
    int done = REAL(clock_gettime)(clock, now);
    if (done == 0 && control != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        now->tv_sec += control->clock_offset_s;
    }
    return done;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    FIND(gettimeofday);
    int done = REAL(gettimeofday)(now, zone);
    if (done == 0 && control != NULL) now->tv_sec += control->clock_offset_s;
    return done;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to != NULL) *to = now.tv_sec;
    return now.tv_sec;
}
