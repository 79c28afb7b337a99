/* The least a line echo server can cost on this machine: epoll, recv, memrchr, send, and nothing else.
 *
 * It prints "ready PORT" as JSON on standard output and ends with its standard input, as benchmarks/worker.py does.
 * The part of a line that came without its end is kept for each connection, so the answers are right however the bytes arrive.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_DESCRIPTORS 65536
#define SPACE 65536

static char *kept[MOST_DESCRIPTORS];
static size_t kept_length[MOST_DESCRIPTORS];
static char space[2 * SPACE];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

static int listen_somewhere(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 4096) < 0)
        die("listen");
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        die("getsockname");
    printf("{\"ready\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void forget(int fd)
{
    free(kept[fd]);
    kept[fd] = NULL;
    kept_length[fd] = 0;
    close(fd);
}

static void accept_one(int epoll, int listener)
{
    int one = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (fd >= MOST_DESCRIPTORS) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    watch(epoll, fd);
}

static void send_all(int fd, const char *from, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, from, length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return;
        if (sent > 0) {
            from += sent;
            length -= sent;
        }
    }
}

static void keep(int fd, const char *from, size_t length)
{
    free(kept[fd]);
    kept[fd] = NULL;
    kept_length[fd] = length;
    if (length > 0) {
        kept[fd] = malloc(length);
        if (kept[fd] == NULL)
            die("malloc");
        memcpy(kept[fd], from, length);
    }
}

static void echo(int fd)
{
    size_t before = kept_length[fd];
    if (before > 0)
        memcpy(space, kept[fd], before);
    ssize_t came = recv(fd, space + before, sizeof space - before, 0);
    if (came < 0 && errno == EAGAIN)
        return;
    if (came <= 0) {
        forget(fd);
        return;
    }
    size_t length = before + came;
    char *newline = memrchr(space, '\n', length);
    size_t whole = newline == NULL ? 0 : (size_t)(newline - space) + 1;
    if (length - whole > SPACE) {
        forget(fd);
        return;
    }
    send_all(fd, space, whole);
    if (before > 0 || whole < length)
        keep(fd, space + whole, length - whole);
}

int main(int argc, char **argv)
{
    struct epoll_event events[256];
    if (argc > 1 && atoi(argv[1]) >= 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET(atoi(argv[1]), &cores);
        sched_setaffinity(0, sizeof cores, &cores);
    }
    int listener = listen_somewhere();
    int epoll = epoll_create1(0);
    watch(epoll, listener);
    watch(epoll, 0);
    for (;;) {
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == 0)
                exit(0);
            else if (fd == listener)
                accept_one(epoll, listener);
            else
                echo(fd);
        }
    }
}
