/* Put in front of the C library by LD_PRELOAD: of the system calls on watched descriptors the k-th fails with an error of choice, and
 * every close is counted. Only one thread is meant to make such calls. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/types.h>

enum { UNKNOWN, OPEN, CLOSED, MOST = 4096 };

static unsigned char states[MOST];
static const char *failed;
static int calls, fatal, error, strays, opened, closed, watches_new;

void campaign_begin(int k, int code, int new_ones) {
    for (int i = 0; i < MOST; i++) states[i] = UNKNOWN;
    calls = strays = opened = closed = 0;
    failed = "";
    fatal = k;
    error = code;
    watches_new = new_ones;
}

void campaign_watch(int descriptor) {
    states[descriptor] = OPEN;
    opened++;
}

const char *campaign_failed(void) { return failed; }
int campaign_calls(void) { return calls; }
int campaign_opened(void) { return opened; }
int campaign_closed(void) { return closed; }
int campaign_strays(void) { return strays; }

static int watched(int descriptor) { return descriptor >= 0 && descriptor < MOST && states[descriptor] == OPEN; }

/* Whether this call is the one that fails. */
static int strikes(int descriptor, const char *call) {
    if (!watched(descriptor) || ++calls != fatal) return 0;
    failed = call;
    errno = error;
    return 1;
}

static int made(int descriptor) {
    if (descriptor >= 0 && descriptor < MOST) {
        states[descriptor] = UNKNOWN;
        if (watches_new) campaign_watch(descriptor);
    }
    return descriptor;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t recv(int descriptor, void *space, size_t size, int flags) {
    return strikes(descriptor, __func__) ? -1 : REAL(recv)(descriptor, space, size, flags);
}

ssize_t send(int descriptor, const void *data, size_t size, int flags) {
    return strikes(descriptor, __func__) ? -1 : REAL(send)(descriptor, data, size, flags);
}

int shutdown(int descriptor, int how) { return strikes(descriptor, __func__) ? -1 : REAL(shutdown)(descriptor, how); }

int getsockname(int descriptor, struct sockaddr *name, socklen_t *size) {
    return strikes(descriptor, __func__) ? -1 : REAL(getsockname)(descriptor, name, size);
}

int getpeername(int descriptor, struct sockaddr *name, socklen_t *size) {
    return strikes(descriptor, __func__) ? -1 : REAL(getpeername)(descriptor, name, size);
}

int getsockopt(int descriptor, int level, int option, void *value, socklen_t *size) {
    return strikes(descriptor, __func__) ? -1 : REAL(getsockopt)(descriptor, level, option, value, size);
}

int setsockopt(int descriptor, int level, int option, const void *value, socklen_t size) {
    return strikes(descriptor, __func__) ? -1 : REAL(setsockopt)(descriptor, level, option, value, size);
}

int connect(int descriptor, const struct sockaddr *name, socklen_t size) {
    int failing = strikes(descriptor, __func__);
    if (failing && error != EINTR) return -1;
    int code = REAL(connect)(descriptor, name, size); /* one that is interrupted goes on */
    if (failing) errno = error;
    return failing ? -1 : code;
}

int ioctl(int descriptor, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (strikes(descriptor, __func__)) return -1;
    return ((int (*)(int, unsigned long, void *))dlsym(RTLD_NEXT, "ioctl"))(descriptor, request, argument);
}

int poll(struct pollfd *polled, nfds_t count, int timeout) {
    for (nfds_t i = 0; i < count; i++)
        if (strikes(polled[i].fd, __func__)) return -1;
    return REAL(poll)(polled, count, timeout);
}

/* Whatever else is opened may get the number of one that was closed. */
static int renewed(int descriptor) {
    if (descriptor >= 0 && descriptor < MOST && states[descriptor] == CLOSED) states[descriptor] = UNKNOWN;
    return descriptor;
}

int dup(int descriptor) { return renewed(REAL(dup)(descriptor)); }
int eventfd(unsigned int value, int flags) { return renewed(REAL(eventfd)(value, flags)); }
int epoll_create1(int flags) { return renewed(REAL(epoll_create1)(flags)); }

int pipe2(int ends[2], int flags) {
    int code = REAL(pipe2)(ends, flags);
    if (!code) renewed(ends[0]), renewed(ends[1]);
    return code;
}

#define WITH_MODE(name)                                                                        \
    int name(const char *path, int flags, ...) {                                               \
        va_list rest;                                                                          \
        va_start(rest, flags);                                                                 \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                \
        va_end(rest);                                                                          \
        return renewed(((int (*)(const char *, int, mode_t))dlsym(RTLD_NEXT, #name))(path, flags, mode)); \
    }
WITH_MODE(open)
WITH_MODE(open64)

int fcntl64(int descriptor, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    int code = ((int (*)(int, int, void *))dlsym(RTLD_NEXT, "fcntl64"))(descriptor, command, argument);
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? renewed(code) : code;
}

int socket(int family, int type, int protocol) { return made(REAL(socket)(family, type, protocol)); }

int accept4(int listener, struct sockaddr *name, socklen_t *size, int flags) {
    int watches = watches_new;
    watches_new = 0;
    int descriptor = made(REAL(accept4)(listener, name, size, flags));
    watches_new = watches;
    return descriptor;
}

int close(int descriptor) {
    int known = descriptor >= 0 && descriptor < MOST ? states[descriptor] : UNKNOWN;
    if (known == CLOSED) strays++;
    if (known != OPEN) return REAL(close)(descriptor);
    int failing = strikes(descriptor, __func__);
    closed++;
    states[descriptor] = CLOSED;
    int code = REAL(close)(descriptor); /* Linux closes it whatever it answers */
    if (failing) errno = error;
    return failing ? -1 : code;
}
