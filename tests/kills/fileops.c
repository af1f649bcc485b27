/* Counts the operations by which a process changes files in one folder, and at one of them kills the process, or has no more room.

   Preloaded (LD_PRELOAD). `fileops_arm` begins to count; from the environment it is called with FILEOPS_FOLDER, FILEOPS_AT (0: never),
   FILEOPS_HOW (before: the operation is not done; half: half of what is written is; full: this and all later ones that need room fail
   with ENOSPC) and FILEOPS_LOG (a file outside of the folder, to which each operation adds a line: its name and path). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum how { BEFORE, HALF, FULL };

static char folder[PATH_MAX];
static size_t folder_length;
static long stop_at;
static enum how how;
static int log_file = -1;
static atomic_long done;

void fileops_arm(const char *of, long at, const char *in_which_way, const char *log) {
    snprintf(folder, sizeof folder, "%s", of);
    stop_at = at;
    how = !strcmp(in_which_way, "half") ? HALF : !strcmp(in_which_way, "full") ? FULL : BEFORE;
    if (log && *log)
        log_file = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    atomic_store(&done, 0);
    folder_length = strlen(folder);
}

__attribute__((constructor)) static void arm_from_environment(void) {
    const char *of = getenv("FILEOPS_FOLDER"), *at = getenv("FILEOPS_AT"), *way = getenv("FILEOPS_HOW");
    if (of)
        fileops_arm(of, at ? atol(at) : 0, way ? way : "before", getenv("FILEOPS_LOG"));
}

static int is_inside(const char *path) {
    return !strncmp(path, folder, folder_length) && (path[folder_length] == '/' || !path[folder_length]);
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return 1;
}

/* Whether an operation is to fail for lack of room; *cut is set if it is to be done by half, and then to end the process. */
static int stops(const char *name, const char *path, int needs_room, int *cut) {
    long number = atomic_fetch_add(&done, 1) + 1;
    if (log_file >= 0)
        dprintf(log_file, "%s %s\n", name, path);
    if (!stop_at || number < stop_at)
        return 0;
    if (how == FULL) {
        errno = ENOSPC;
        return needs_room;
    }
    if (number > stop_at)
        for (;;)
            pause(); /* another thread is killing the process */
    if (how == HALF && cut) {
        *cut = 1;
        return 0;
    }
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static int stops_at(const char *name, int at, const char *path, int needs_room) {
    char whole[2 * PATH_MAX], base[PATH_MAX];
    if (!folder_length || !path)
        return 0;
    if (path[0] == '/')
        snprintf(whole, sizeof whole, "%s", path);
    else if (at == AT_FDCWD ? getcwd(base, sizeof base) != NULL : path_of(at, base))
        snprintf(whole, sizeof whole, "%s/%s", base, path);
    else
        return 0;
    return is_inside(whole) && stops(name, whole, needs_room, NULL);
}

static int stops_fd(const char *name, int fd, int needs_room, int *cut) {
    char path[PATH_MAX];
    return folder_length && path_of(fd, path) && is_inside(path) && stops(name, path, needs_room, cut);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CHANGES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))
#define MODE(flags, last)                                                                                                          \
    mode_t mode = 0;                                                                                                               \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                                         \
        va_list list;                                                                                                              \
        va_start(list, last);                                                                                                      \
        mode = va_arg(list, mode_t);                                                                                               \
        va_end(list);                                                                                                              \
    }

#define OPEN(name)                                                                                                                 \
    int name(const char *path, int flags, ...) {                                                                                   \
        MODE(flags, flags)                                                                                                         \
        if (CHANGES(flags) && stops_at("open", AT_FDCWD, path, flags & O_CREAT && access(path, F_OK)))                             \
            return -1;                                                                                                             \
        return REAL(name)(path, flags, mode);                                                                                      \
    }
#define OPENAT(name)                                                                                                               \
    int name(int at, const char *path, int flags, ...) {                                                                           \
        MODE(flags, flags)                                                                                                         \
        if (CHANGES(flags) && stops_at("open", at, path, flags & O_CREAT && faccessat(at, path, F_OK, 0)))                         \
            return -1;                                                                                                             \
        return REAL(name)(at, path, flags, mode);                                                                                  \
    }
#define FOPEN(name)                                                                                                                \
    FILE *name(const char *path, const char *mode) {                                                                               \
        if (strpbrk(mode, "wa+") && stops_at("open", AT_FDCWD, path, 1))                                                           \
            return NULL;                                                                                                           \
        return REAL(name)(path, mode);                                                                                             \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
FOPEN(fopen)
FOPEN(fopen64)

#define CUT(written)                                                                                                               \
    if (cut) {                                                                                                                     \
        (void)!(written);                                                                                                          \
        die();                                                                                                                     \
    }

ssize_t write(int fd, const void *bytes, size_t size) {
    int cut = 0;
    if (stops_fd("write", fd, 1, &cut))
        return -1;
    CUT(REAL(write)(fd, bytes, size / 2))
    return REAL(write)(fd, bytes, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    int cut = 0;
    if (stops_fd("write", fd, 1, &cut))
        return -1;
    CUT(REAL(write)(fd, parts[0].iov_base, count ? parts[0].iov_len / 2 : 0))
    return REAL(writev)(fd, parts, count);
}

#define PWRITE(name, offset_type)                                                                                                  \
    ssize_t name(int fd, const void *bytes, size_t size, offset_type offset) {                                                     \
        int cut = 0;                                                                                                               \
        if (stops_fd("write", fd, 1, &cut))                                                                                        \
            return -1;                                                                                                             \
        CUT(REAL(name)(fd, bytes, size / 2, offset))                                                                               \
        return REAL(name)(fd, bytes, size, offset);                                                                                \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define OF_FD(name, needs_room)                                                                                                    \
    int name(int fd) { return stops_fd(#name, fd, needs_room, NULL) ? -1 : REAL(name)(fd); }
OF_FD(fsync, 0)
OF_FD(fdatasync, 0)

#define OF_PATH(name)                                                                                                              \
    int name(const char *path) { return stops_at(#name, AT_FDCWD, path, 0) ? -1 : REAL(name)(path); }
OF_PATH(unlink)
OF_PATH(rmdir)

int unlinkat(int at, const char *path, int flags) { return stops_at("unlink", at, path, 0) ? -1 : REAL(unlinkat)(at, path, flags); }

int mkdir(const char *path, mode_t mode) { return stops_at("mkdir", AT_FDCWD, path, 1) ? -1 : REAL(mkdir)(path, mode); }

int mkdirat(int at, const char *path, mode_t mode) { return stops_at("mkdir", at, path, 1) ? -1 : REAL(mkdirat)(at, path, mode); }

int rename(const char *from, const char *to) { return stops_at("rename", AT_FDCWD, to, 0) ? -1 : REAL(rename)(from, to); }

int renameat(int at, const char *from, int to_at, const char *to) {
    return stops_at("rename", to_at, to, 0) ? -1 : REAL(renameat)(at, from, to_at, to);
}

int link(const char *from, const char *to) { return stops_at("link", AT_FDCWD, to, 1) ? -1 : REAL(link)(from, to); }

int linkat(int at, const char *from, int to_at, const char *to, int flags) {
    return stops_at("link", to_at, to, 1) ? -1 : REAL(linkat)(at, from, to_at, to, flags);
}

int symlink(const char *target, const char *path) { return stops_at("link", AT_FDCWD, path, 1) ? -1 : REAL(symlink)(target, path); }

#define TRUNCATE(name, size_type)                                                                                                  \
    int name(const char *path, size_type size) { return stops_at("truncate", AT_FDCWD, path, 0) ? -1 : REAL(name)(path, size); }
#define FTRUNCATE(name, size_type)                                                                                                 \
    int name(int fd, size_type size) { return stops_fd("truncate", fd, 0, NULL) ? -1 : REAL(name)(fd, size); }
TRUNCATE(truncate, off_t)
TRUNCATE(truncate64, off64_t)
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)
