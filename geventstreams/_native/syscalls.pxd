# The C twins of syscalls.py.

cimport geventstreams._native.memory as _bytes
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.errno cimport EAGAIN, EBADF, ECONNRESET, EINTR, EIO, errno
from libc.string cimport memset, strerror
from posix.uio cimport iovec
from posix.unistd cimport close as c_close


cdef extern from "sys/socket.h" nogil:
    ssize_t c_recv "recv"(int descriptor, void *space, size_t size, int flags)
    ssize_t c_send "send"(int descriptor, const void *data, size_t size, int flags)
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    ssize_t c_sendmsg "sendmsg"(int descriptor, const msghdr *message, int flags)
    int c_shutdown "shutdown"(int descriptor, int how)
    const int MSG_DONTWAIT
    const int SHUT_WR

cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events, revents
    int poll(pollfd *asked, unsigned long size, int timeout)
    const int POLLIN

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <poll.h>
    #include <sys/ioctl.h>
    #include <sys/socket.h>
    #include <unistd.h>
    #ifdef __linux__
    #include <linux/sockios.h>
    #endif
    #ifdef GEVENTSTREAMS_BARE  /* a build for tests, without what not every system has */
    #undef MSG_NOSIGNAL
    #undef POLLRDHUP
    #undef SIOCOUTQNSD
    #endif
    #ifndef MSG_NOSIGNAL
    #define MSG_NOSIGNAL 0
    #endif
    #ifndef POLLRDHUP
    #define POLLRDHUP 0
    #endif
    static inline int geventstreams_unread(int descriptor) {
        int count = 0;
        return ioctl(descriptor, FIONREAD, &count) ? -1 : count;
    }
    static inline int geventstreams_reset_on_close(int descriptor) {
        struct linger now = {1, 0};
        return setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    static inline int geventstreams_not_yet_sent(int descriptor) {
        int count = 0;
    #ifdef SIOCOUTQNSD
        if (ioctl(descriptor, SIOCOUTQNSD, &count)) return 0;
    #endif
        return count;
    }
    /* The tuple (host, port). What `inet_ntop` and `Py_BuildValue` do with formats takes four times as long. */
    static PyObject *geventstreams_ipv4_tuple(const struct sockaddr_in *name) {
        const unsigned char *part = (const unsigned char *)&name->sin_addr;
        char text[16], *end = text;
        PyObject *tuple, *host, *port;
        int index;
        for (index = 0; index < 4; index++) {
            if (index)
                *end++ = '.';
            if (part[index] >= 100)
                *end++ = '0' + part[index] / 100;
            if (part[index] >= 10)
                *end++ = '0' + part[index] / 10 % 10;
            *end++ = '0' + part[index] % 10;
        }
        host = PyUnicode_FromStringAndSize(text, end - text);
        port = PyLong_FromLong(ntohs(name->sin_port));
        tuple = host == NULL || port == NULL ? NULL : PyTuple_Pack(2, host, port);
        Py_XDECREF(host);
        Py_XDECREF(port);
        return tuple;
    }
    static PyObject *geventstreams_ipv4_name(int descriptor) {
        struct sockaddr_in name;
        socklen_t size = sizeof(name);
        if (getsockname(descriptor, (struct sockaddr *)&name, &size))
            return PyErr_SetFromErrno(PyExc_OSError);
        return geventstreams_ipv4_tuple(&name);
    }
    static PyObject *geventstreams_accept_ipv4(int listener) {
        struct sockaddr_in name;
        socklen_t size;
        PyObject *client;
        int accepted;
        do {
            size = sizeof(name);
    #ifdef SOCK_CLOEXEC
            accepted = accept4(listener, (struct sockaddr *)&name, &size, SOCK_CLOEXEC);
    #else
            accepted = accept(listener, (struct sockaddr *)&name, &size);
    #endif
        } while (accepted < 0 && errno == EINTR);
        if (accepted < 0) {
            if (errno == EAGAIN || errno == EWOULDBLOCK)
                Py_RETURN_NONE;
            return PyErr_SetFromErrno(PyExc_OSError);
        }
    #ifndef SOCK_CLOEXEC
        fcntl(accepted, F_SETFD, FD_CLOEXEC);
    #endif
        client = Py_BuildValue("iN", accepted, geventstreams_ipv4_tuple(&name));
        if (client == NULL)
            close(accepted);
        return client;
    }
    """
    const int MSG_NOSIGNAL
    int geventstreams_unread(int descriptor) noexcept nogil
    int geventstreams_reset_on_close(int descriptor) noexcept nogil
    int not_yet_sent "geventstreams_not_yet_sent"(int descriptor) noexcept nogil
    object geventstreams_ipv4_name(int descriptor)
    object geventstreams_accept_ipv4(int listener)
    const int POLLRDHUP


cdef inline object handle_of(int descriptor, int family):
    # The C twins need the number only.
    return None


cdef inline void release(object handle) noexcept:
    pass


cdef inline Py_ssize_t _result(Py_ssize_t count) except? -2:
    # What a system call returned, or WOULD_WAIT.
    cdef int code = errno
    if count >= 0:
        return count
    if code == EAGAIN:
        return -1
    raise OSError(code, strerror(code).decode("utf-8", "replace"))


cdef inline Py_ssize_t receive(int descriptor, object handle, object space, Py_ssize_t start, list counts) except? -2:
    cdef char *place = _bytes._address(space) + start
    cdef Py_ssize_t size = _bytes.size(space) - start
    cdef Py_ssize_t count = c_recv(descriptor, place, size, MSG_DONTWAIT)
    while count < 0 and errno == EINTR:
        count = c_recv(descriptor, place, size, MSG_DONTWAIT)
    if count > 0:
        _bytes._add(counts, count)
    return _result(count)


cdef inline Py_ssize_t _send(int descriptor, const char *source, Py_ssize_t size) except? -2:
    cdef Py_ssize_t count = c_send(descriptor, source, size, MSG_DONTWAIT | MSG_NOSIGNAL)
    while count < 0 and errno == EINTR:
        count = c_send(descriptor, source, size, MSG_DONTWAIT | MSG_NOSIGNAL)
    return _result(count)


cdef inline Py_ssize_t send(int descriptor, object handle, object data, Py_ssize_t start, Py_ssize_t stop) except? -2:
    return _send(descriptor, _bytes._source(data) + start, stop - start)


cdef inline Py_ssize_t send_pieces(int descriptor, object handle, list pieces, Py_ssize_t start) except? -2:
    cdef iovec vectors[64]
    cdef msghdr message
    cdef Py_ssize_t count, index
    count = min(len(pieces), 64)
    if count == 1:  # without a message's header to be copied
        return _send(descriptor, PyBytes_AS_STRING(pieces[0]) + start, PyBytes_GET_SIZE(pieces[0]) - start)
    for index in range(count):
        vectors[index].iov_base = PyBytes_AS_STRING(pieces[index]) + start
        vectors[index].iov_len = PyBytes_GET_SIZE(pieces[index]) - start
        start = 0
    memset(&message, 0, sizeof(message))
    message.msg_iov = vectors
    message.msg_iovlen = count
    count = c_sendmsg(descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
    while count < 0 and errno == EINTR:
        count = c_sendmsg(descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
    return _result(count)


cdef inline Py_ssize_t unread(int descriptor) except? -2:
    return _result(geventstreams_unread(descriptor))


cdef inline Py_ssize_t _polled(pollfd *asked, Py_ssize_t size) except? -2:
    cdef int count = poll(asked, size, 0)
    while count < 0 and errno == EINTR:
        count = poll(asked, size, 0)
    return _result(count)


cdef inline Py_ssize_t readable(int descriptor) except? -2:
    cdef pollfd asked
    if descriptor < 0:  # which poll(2) would ignore
        return 0
    asked.fd = descriptor
    asked.events = POLLIN | POLLRDHUP
    return max(geventstreams_unread(descriptor), 0) if _polled(&asked, 1) > 0 else -1  # -1 where other code closed it


cdef inline list readable_of(list descriptors):
    cdef Py_ssize_t index, size = len(descriptors)
    cdef pollfd *asked = <pollfd *>PyMem_Malloc(size * sizeof(pollfd))
    if asked is NULL:
        raise MemoryError
    try:
        for index in range(size):
            asked[index].fd = descriptors[index]
            asked[index].events = POLLIN | POLLRDHUP
        return [index for index in range(size) if asked[index].revents] if _polled(asked, size) else []
    finally:
        PyMem_Free(asked)


cdef inline Py_ssize_t end_output(int descriptor, object handle) except? -2:
    return _result(c_shutdown(descriptor, SHUT_WR))


cdef inline Py_ssize_t reset_on_close(int descriptor, object handle) except? -2:
    return _result(geventstreams_reset_on_close(descriptor))


cdef inline int close(int descriptor) except -1:
    cdef int failed
    with nogil:  # it may take its time, with an option of the user's
        failed = c_close(descriptor)
    if failed and errno not in (EINTR, EIO, EBADF, ECONNRESET):
        _result(failed)
    return 0


cdef inline object ipv4_name(int descriptor, object handle):
    return geventstreams_ipv4_name(descriptor)


cdef inline object accept(object accepting_socket, int ipv4_descriptor):
    if ipv4_descriptor >= 0:
        return geventstreams_accept_ipv4(ipv4_descriptor)
    try:
        return accepting_socket._accept()
    except BlockingIOError:
        return None
