/* Preloaded into a process: appends a line to $WATCH_LOG for every name it asks of DNS, every socket to another
   machine, and every file or folder that it creates. test_telemetry.py compiles and reads it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void note(const char* what, const char* name) {
    const char* log = getenv("WATCH_LOG");
    char line[4096];
    int length = snprintf(line, sizeof line, "%s %s\n", what, name ? name : "?");
    int file = log ? NEXT(open)(log, O_WRONLY | O_APPEND | O_CREAT, 0600) : -1;
    if (file < 0) return;
    if (write(file, line, length < (int)sizeof line ? length : (int)sizeof line) < 0) _exit(99);
    close(file);
}

int getaddrinfo(const char* node, const char* service, const struct addrinfo* hints, struct addrinfo** result) {
    note("dns", node);
    return NEXT(getaddrinfo)(node, service, hints, result);
}

int socket(int domain, int type, int protocol) {
    if (domain == AF_INET || domain == AF_INET6) note("socket", domain == AF_INET ? "IPv4" : "IPv6");
    return NEXT(socket)(domain, type, protocol);
}

int mkdir(const char* path, mode_t mode) {
    note("folder", path);
    return NEXT(mkdir)(path, mode);
}

#define OPEN(name)                               \
    int name(const char* path, int flags, ...) { \
        va_list rest;                            \
        va_start(rest, flags);                   \
        mode_t mode = va_arg(rest, mode_t);      \
        va_end(rest);                            \
        if (flags & O_CREAT) note("file", path); \
        return NEXT(name)(path, flags, mode);    \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                         \
    int name(int folder, const char* path, int flags, ...) { \
        va_list rest;                                        \
        va_start(rest, flags);                               \
        mode_t mode = va_arg(rest, mode_t);                  \
        va_end(rest);                                        \
        if (flags & O_CREAT) note("file", path);             \
        return NEXT(name)(folder, path, flags, mode);        \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                   \
    FILE* name(const char* path, const char* mode) {  \
        if (strpbrk(mode, "wa+")) note("file", path); \
        return NEXT(name)(path, mode);                \
    }
FOPEN(fopen)
FOPEN(fopen64)
