/* The other side of every server that is measured: a client so cheap that it is not what limits the figure.
 *
 *     load CORE PORT plain|tls          (CORE -1: not pinned)
 *
 * One command a line on standard input, one answer a line on standard output: "ok COUNT SECONDS" or "error WHY".
 *
 *     open N TOUCH              connections until there are N; TOUCH=1 exchanges one line on each new one
 *     echo SECONDS ACTIVE SIZE  question and answer on the first ACTIVE connections; ends when all answers are in
 *     get SECONDS ACTIVE SIZE   in the same way an HTTP request, and an answer of SIZE bytes with its header
 *     send BYTES LINE SIZE     a header (BYTES, SIZE) and lines of LINE bytes (0: no newline at all), then waits for one byte back
 *     fetch BYTES SIZE         a header (BYTES, SIZE), then reads so many
 *     connect SECONDS AT_ONCE   connect, one line, its answer, end of file; so many at the same time
 *     drip BYTES               so many bytes without a newline on every connection
 *
 * Nothing is under way between two commands, so that CPU time read from the server before and after one belongs to exactly that command.
 * TLS is taken from the system's libssl at run time (no headers needed); certificates are not verified: nothing here is a secret.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_CONNECTIONS 20000
#define STALLED_MS 10000
#define TOUCHED_AT_ONCE 200
#define SPACE (1 << 20)
#define SSL_CTRL_SET_READ_AHEAD 41
#define SSL_ERROR_WANT_READ 2
#define SSL_ERROR_WANT_WRITE 3
#define SSL_ERROR_ZERO_RETURN 6

struct connection {
    int fd;
    void *ssl;
    size_t came;
};

static struct connection connections[MOST_CONNECTIONS];
static int opened, epoll, port;
static char space[SPACE], line[SPACE];
static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

static struct {
    void *(*method)(void), *(*ctx_new)(const void *), *(*ssl_new)(void *);
    int (*set_fd)(void *, int), (*handshake)(void *), (*read)(void *, void *, int), (*write)(void *, const void *, int);
    int (*get_error)(const void *, int);
    void (*free)(void *);
    long (*ctrl)(void *, int, long, void *);
    void *ctx;
} tls;

static int answer(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
    return 0;
}

static int failed(const char *what)
{
    return answer("error %s: %s", what, strerror(errno));
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int load_tls(void)
{
    static const char *const names[] = {"libssl.so.3", "libssl.so", "libssl.so.1.1", NULL};
    void *library = NULL;
    for (int i = 0; names[i] != NULL && library == NULL; i++)
        library = dlopen(names[i], RTLD_NOW);
    if (library == NULL)
        return -1;
    *(void **)&tls.method = dlsym(library, "TLS_client_method");
    *(void **)&tls.ctx_new = dlsym(library, "SSL_CTX_new");
    *(void **)&tls.ssl_new = dlsym(library, "SSL_new");
    *(void **)&tls.set_fd = dlsym(library, "SSL_set_fd");
    *(void **)&tls.handshake = dlsym(library, "SSL_connect");
    *(void **)&tls.read = dlsym(library, "SSL_read");
    *(void **)&tls.write = dlsym(library, "SSL_write");
    *(void **)&tls.get_error = dlsym(library, "SSL_get_error");
    *(void **)&tls.free = dlsym(library, "SSL_free");
    *(void **)&tls.ctrl = dlsym(library, "SSL_CTX_ctrl");
    if (!tls.method || !tls.ctx_new || !tls.ssl_new || !tls.set_fd || !tls.handshake || !tls.read || !tls.write || !tls.get_error)
        return -1;
    tls.ctx = tls.ctx_new(tls.method());
    if (tls.ctx == NULL || tls.free == NULL || tls.ctrl == NULL)
        return -1;
    tls.ctrl(tls.ctx, SSL_CTRL_SET_READ_AHEAD, 1, NULL);
    return 0;
}

/* Bytes received, 0 at the end, -1 with errno (EAGAIN: nothing yet). A sink needs no copy of plain bytes: MSG_TRUNC drops them. */
static ssize_t take(struct connection *c, size_t most, int sink)
{
    if (c->ssl == NULL)
        return recv(c->fd, space, most, sink ? MSG_TRUNC : 0);
    int came = tls.read(c->ssl, space, most);
    if (came > 0)
        return came;
    int why = tls.get_error(c->ssl, came);
    errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN : errno == 0 ? EPROTO : errno;
    return why == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static ssize_t give(struct connection *c, const char *from, size_t length)
{
    if (c->ssl == NULL)
        return send(c->fd, from, length, MSG_NOSIGNAL);
    int sent = tls.write(c->ssl, from, length > 65536 ? 65536 : length);
    if (sent > 0)
        return sent;
    errno = EAGAIN;
    return -1;
}

static int await(struct connection *c, short what)
{
    struct pollfd one = {.fd = c->fd, .events = what};
    if (poll(&one, 1, STALLED_MS) == 1)
        return 0;
    errno = ETIMEDOUT;
    return -1;
}

static int give_all(struct connection *c, const char *from, size_t length)
{
    while (length > 0) {
        ssize_t sent = give(c, from, length);
        if (sent < 0 && (errno != EAGAIN || await(c, POLLOUT) < 0))
            return -1;
        if (sent > 0) {
            from += sent;
            length -= sent;
        }
    }
    return 0;
}

static int take_exactly(struct connection *c, size_t length)
{
    while (length > 0) {
        ssize_t came = take(c, length < SPACE ? length : SPACE, 1);
        if (came == 0)
            errno = ECONNRESET;
        if (came == 0 || (came < 0 && (errno != EAGAIN || await(c, POLLIN) < 0)))
            return -1;
        if (came > 0)
            length -= came;
    }
    return 0;
}

static void make_line(size_t length)
{
    memset(line, 'x', length);
    line[length - 1] = '\n';
}

static int dial(struct connection *c)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = STALLED_MS / 1000};
    int one = 1;
    c->came = 0;
    c->ssl = NULL;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0)
        return -1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (tls.ctx != NULL) {
        c->ssl = tls.ssl_new(tls.ctx);
        setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit); /* a handshake that gets no answer fails */
        errno = EPROTO;
        if (c->ssl == NULL || tls.set_fd(c->ssl, c->fd) != 1 || tls.handshake(c->ssl) != 1)
            return -1;
    }
    return fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

static void hang_up(struct connection *c)
{
    if (c->ssl != NULL)
        tls.free(c->ssl);
    close(c->fd);
}

static int watch(struct connection *c, int index)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
}

static int open_until(int count, int touch)
{
    double began = now();
    if (count > MOST_CONNECTIONS)
        return answer("error more than %d connections", MOST_CONNECTIONS);
    make_line(64);
    while (opened < count) {
        int first = opened;
        for (; opened < count && opened < first + TOUCHED_AT_ONCE; opened++) {
            struct connection *c = &connections[opened];
            if (dial(c) < 0 || watch(c, opened) < 0)
                return failed("connect");
            if (touch && give_all(c, line, 64) < 0)
                return failed("send");
        }
        for (int i = first; touch && i < opened; i++)
            if (take_exactly(&connections[i], 64) < 0)
                return failed("receive");
    }
    return answer("ok %d %.9f", opened, now() - began);
}

static int exchange(double seconds, int active, const char *question, size_t length, size_t size)
{
    struct epoll_event events[256];
    double began = now(), until = began + seconds, time = began;
    long answered = 0;
    int waiting = active;
    if (active > opened || size < 1 || size > SPACE)
        return answer("error not so many connections, or not so long an answer");
    for (int i = 0; i < active; i++) {
        connections[i].came = 0;
        if (give_all(&connections[i], question, length) < 0)
            return failed("send");
    }
    while (waiting > 0) {
        int ready = epoll_wait(epoll, events, 256, STALLED_MS);
        if (ready == 0)
            return answer("error %d answers did not come", waiting);
        time = now();
        for (int i = 0; i < ready; i++) {
            struct connection *c = &connections[events[i].data.u32];
            ssize_t came = take(c, SPACE, 0);
            if (came == 0 || (came < 0 && errno != EAGAIN))
                return failed("receive");
            c->came += came > 0 ? came : 0;
            if (c->came < size)
                continue;
            c->came = 0;
            answered++;
            if (time >= until)
                waiting--;
            else if (give_all(c, question, length) < 0)
                return failed("send");
        }
    }
    return answer("ok %ld %.9f", answered, now() - began);
}

static int echo(double seconds, int active, size_t size)
{
    if (size < 1 || size > SPACE)
        return answer("error echo: not so long a line");
    make_line(size);
    return exchange(seconds, active, line, size, size);
}

static int give_header(long count, long size)
{
    uint64_t header[2] = {htobe64(count), htobe64(size)};
    return give_all(&connections[0], (char *)header, sizeof header);
}

static int send_lines(long count, size_t length, long size)
{
    size_t whole = length == 0 ? SPACE : SPACE / length * length;
    double began = now();
    if (opened < 1 || length > SPACE)
        return answer("error send: no connection, or too long a line");
    memset(line, 'x', SPACE);
    for (size_t end = length; length > 0 && end <= whole; end += length)
        line[end - 1] = '\n';
    if (give_header(count, size) < 0)
        return failed("send");
    for (long left = count; left > 0; left -= whole)
        if (give_all(&connections[0], line, left < (long)whole ? (size_t)left : whole) < 0)
            return failed("send");
    if (take_exactly(&connections[0], 1) < 0)
        return failed("receive");
    return answer("ok %ld %.9f", count, now() - began);
}

static int fetch(long count, long size)
{
    double began = now();
    if (opened < 1)
        return answer("error fetch: no connection");
    if (give_header(count, size) < 0 || take_exactly(&connections[0], count) < 0)
        return failed("fetch");
    return answer("ok %ld %.9f", count, now() - began);
}

static int begin_one(int index)
{
    struct connection *c = &connections[index];
    if (dial(c) < 0 || watch(c, index) < 0 || give_all(c, line, 64) < 0)
        return -1;
    return 0;
}

static int connect_again(double seconds, int at_once)
{
    struct epoll_event events[64];
    double began = now(), until = began + seconds;
    long finished = 0;
    int under_way = at_once;
    if (opened > 0 || at_once > MOST_CONNECTIONS)
        return answer("error connect: wants a process without connections");
    make_line(64);
    for (int i = 0; i < at_once; i++)
        if (begin_one(i) < 0)
            return failed("connect");
    while (under_way > 0) {
        int ready = epoll_wait(epoll, events, 64, STALLED_MS);
        if (ready == 0)
            return answer("error connect: %d did not end", under_way);
        for (int i = 0; i < ready; i++) {
            int index = events[i].data.u32;
            struct connection *c = &connections[index];
            ssize_t came = take(c, SPACE, 0);
            c->came += came > 0 ? came : 0;
            if (came > 0 || (came < 0 && errno == EAGAIN))
                continue;
            if (came < 0 || c->came != 64)
                return answer("error connect: an answer of %zu bytes, then %s", c->came, came < 0 ? strerror(errno) : "the end");
            hang_up(c);
            finished++;
            if (now() >= until)
                under_way--;
            else if (begin_one(index) < 0)
                return failed("connect");
        }
    }
    return answer("ok %ld %.9f", finished, now() - began);
}

static int drip(size_t count)
{
    double began = now();
    if (count > SPACE)
        return answer("error drip: too much");
    memset(line, 'x', count);
    for (int i = 0; i < opened; i++)
        if (give_all(&connections[i], line, count) < 0)
            return failed("drip");
    return answer("ok %d %.9f", opened, now() - began);
}

static int obey(const char *command)
{
    double seconds;
    long first, second, third;
    if (sscanf(command, "open %ld %ld", &first, &second) == 2)
        return open_until(first, second);
    if (sscanf(command, "echo %lf %ld %ld", &seconds, &first, &second) == 3)
        return echo(seconds, first, second);
    if (sscanf(command, "get %lf %ld %ld", &seconds, &first, &second) == 3)
        return exchange(seconds, first, request, sizeof request - 1, second);
    if (sscanf(command, "send %ld %ld %ld", &first, &second, &third) == 3)
        return send_lines(first, second, third);
    if (sscanf(command, "fetch %ld %ld", &first, &second) == 2)
        return fetch(first, second);
    if (sscanf(command, "connect %lf %ld", &seconds, &first) == 2)
        return connect_again(seconds, first);
    if (sscanf(command, "drip %ld", &first) == 1)
        return drip(first);
    return answer("error unknown command");
}

int main(int argc, char **argv)
{
    char command[256];
    if (argc != 4)
        return 2;
    if (atoi(argv[1]) >= 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET(atoi(argv[1]), &cores);
        sched_setaffinity(0, sizeof cores, &cores);
    }
    signal(SIGPIPE, SIG_IGN);
    port = atoi(argv[2]);
    epoll = epoll_create1(0);
    if (strcmp(argv[3], "tls") == 0 && load_tls() < 0)
        answer("error no libssl of version 1.1 or 3 to load");
    else
        answer("ok 0 0");
    while (fgets(command, sizeof command, stdin) != NULL)
        obey(command);
    return 0;
}
