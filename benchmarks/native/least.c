/* The least that a connection can cost in CPython on gevent's loop, for the contenders "least" of the bench: a module of Python.
 *
 * A greenlet for each connection; gevent's watchers, which stay armed; the C library's calls; and nothing of what streams promise: no timeout, no
 * kill, no check of a fork or of threads, no fairness, one error. What is left is what every library of this kind pays.
 *
 * A watcher's callback only notes that its connection is ready. A greenlet that has to wait switches to the next one that is ready, and to the hub
 * if there is none: one switch for each wait, not two.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <greenlet.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SPACE 8192
#define MOST_ACCEPTED 100
#define CIPHERED 65536 /* what one recv brings under TLS */
#define RECORDS 65536  /* what one SSL_write makes into records */
#define FULL_RECORD 16384
#define READ 1
#define WRITE 2

/* Reading, or writing: its watcher, made at the first wait. */
struct direction {
    PyObject *watcher;
    int is_armed, is_awaited;
};

typedef struct connection {
    PyObject_HEAD
    int fd, is_empty; /* is_empty: the last recv brought less than was asked for */
    PyGreenlet *greenlet;
    struct connection *next; /* of those that wait for their turn */
    struct direction reading, writing;
    PyObject *handle;
    char *space, *output;
    size_t start, end, size, output_length, output_size;
    PyObject *ssl_read, *ssl_write, *handshake; /* of the ssl module's own object, under TLS */
    PyObject *ssl_pending;                      /* NULL: a record is read in one call */
    PyObject *incoming, *outgoing_read;         /* of its MemoryBIOs; NULL: it has the socket */
    PyObject *incoming_write;
    int is_fed; /* bytes have come that ssl_read may have something of */
} Connection;

static PyTypeObject ConnectionType;
static PyObject *loop, *name_io, *name_start, *name_stop, *name_pending, *name_fileno, *name_read_event;
static PyObject *want_read, *want_write;
static char ciphered[CIPHERED], arrived[CIPHERED];
static PyGreenlet *hub;
static Connection *first_ready, *last_ready;
static PyObject *run_callback, *dispatcher;

/* Call watcher.NAME(callback), or watcher.NAME() without one. */
static int tell(PyObject *watcher, PyObject *name, PyObject *callback)
{
    PyObject *result = callback == NULL ? PyObject_CallMethodNoArgs(watcher, name) : PyObject_CallMethodOneArg(watcher, name, callback);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static PyObject *watch(int fd, int events)
{
    PyObject *number = PyLong_FromLong(fd), *kind = PyLong_FromLong(events), *watcher = NULL;
    if (number != NULL && kind != NULL)
        watcher = PyObject_CallMethodObjArgs(loop, name_io, number, kind, NULL);
    Py_XDECREF(number);
    Py_XDECREF(kind);
    return watcher;
}

static int stop(struct direction *direction)
{
    int failed = direction->is_armed && tell(direction->watcher, name_stop, NULL) < 0;
    direction->is_armed = 0;
    return failed ? -1 : 0;
}

/* Switch to the greenlet that is ready for longest, or to the hub. */
static PyObject *switch_to_next(void)
{
    PyGreenlet *next = hub;
    PyObject *result;
    if (first_ready != NULL) {
        next = first_ready->greenlet;
        first_ready = first_ready->next;
    }
    Py_INCREF(next); /* it may end in the meantime */
    result = PyGreenlet_Switch(next, NULL, NULL);
    Py_DECREF(next);
    return result;
}

/* In the hub, after the callbacks of an iteration: the greenlets of all that are ready, of which each switches to the next. */
static PyObject *dispatch(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(nothing))
{
    while (first_ready != NULL) {
        PyObject *result = switch_to_next();
        if (result == NULL)
            return NULL;
        Py_DECREF(result);
    }
    Py_RETURN_NONE;
}

static PyMethodDef dispatching = {"dispatch", dispatch, METH_NOARGS, NULL};

static int add_ready(Connection *self)
{
    self->next = NULL;
    if (first_ready == NULL) {
        PyObject *callback;
        first_ready = last_ready = self;
        callback = PyObject_CallOneArg(run_callback, dispatcher);
        Py_XDECREF(callback);
        return callback == NULL ? -1 : 0;
    }
    last_ready->next = self;
    last_ready = self;
    return 0;
}

static PyObject *wake(Connection *self, struct direction *direction)
{
    int failed = direction->is_awaited ? add_ready(self) : stop(direction);
    direction->is_awaited = 0;
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *wake_reader(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    return wake((Connection *)self, &((Connection *)self)->reading);
}

static PyObject *wake_writer(PyObject *self, PyObject *Py_UNUSED(nothing))
{
    return wake((Connection *)self, &((Connection *)self)->writing);
}

static PyObject *deliver(PyObject *self, PyObject *nothing), *drain(PyObject *self, PyObject *nothing);

static PyMethodDef wakers[] = {
    {"wake_reader", wake_reader, METH_NOARGS, NULL},
    {"wake_writer", wake_writer, METH_NOARGS, NULL},
    {"deliver", deliver, METH_NOARGS, NULL}, /* these two for a connection with callbacks */
    {"drain", drain, METH_NOARGS, NULL},
};

static int arm(Connection *self, struct direction *direction, PyMethodDef *waker, int events)
{
    PyObject *callback;
    int failed;
    if (direction->watcher == NULL && (direction->watcher = watch(self->fd, events)) == NULL)
        return -1;
    callback = PyCFunction_New(waker, (PyObject *)self);
    if (callback == NULL)
        return -1;
    failed = tell(direction->watcher, name_start, callback);
    Py_DECREF(callback);
    direction->is_armed = !failed;
    return failed;
}

static int await(Connection *self, struct direction *direction, PyMethodDef *waker, int events)
{
    PyObject *result;
    if (!direction->is_armed && arm(self, direction, waker, events) < 0)
        return -1;
    if (self->greenlet == NULL) /* a file's, at its first wait */
        self->greenlet = PyGreenlet_GetCurrent();
    direction->is_awaited = 1;
    result = switch_to_next();
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int await_input(Connection *self)
{
    return await(self, &self->reading, &wakers[0], READ);
}

static int await_output(Connection *self)
{
    return await(self, &self->writing, &wakers[1], WRITE);
}

/* Bytes received, 0 at the end, -1 with an exception. A socket that was emptied is waited for at once. */
static ssize_t receive(Connection *self, char *to, size_t most)
{
    ssize_t came;
    for (;;) {
        if (self->is_empty && await_input(self) < 0)
            return -1;
        came = recv(self->fd, to, most, 0);
        if (came >= 0) {
            self->is_empty = (size_t)came < most;
            return came;
        }
        if (errno == ECONNRESET)
            return 0;
        if (errno != EAGAIN) {
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        self->is_empty = 1;
    }
}

static int transmit(Connection *self, const char *from, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(self->fd, from, length, MSG_NOSIGNAL);
        if (sent >= 0) {
            from += sent;
            length -= sent;
        } else if (errno != EAGAIN) {
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        } else if (await_output(self) < 0)
            return -1;
    }
    return 0;
}

/* Whether the last call has raised this, which is cleared. */
static int raised(PyObject *kind)
{
    if (!PyErr_ExceptionMatches(kind))
        return 0;
    PyErr_Clear();
    return 1;
}

/* Send what the ssl module has put into the outgoing MemoryBIO. */
static int transmit_outgoing(Connection *self)
{
    PyObject *records = PyObject_CallNoArgs(self->outgoing_read);
    int failed = records == NULL || transmit(self, PyBytes_AS_STRING(records), PyBytes_GET_SIZE(records)) < 0;
    Py_XDECREF(records);
    return failed ? -1 : 0;
}

/* Receive into the incoming MemoryBIO: 1, 0 at the end, -1 with an exception. */
static int feed(Connection *self)
{
    ssize_t came = receive(self, ciphered, CIPHERED);
    PyObject *view, *result;
    if (came <= 0)
        return (int)came;
    view = PyMemoryView_FromMemory(ciphered, came, PyBUF_READ);
    result = view == NULL ? NULL : PyObject_CallOneArg(self->incoming_write, view);
    Py_XDECREF(view);
    Py_XDECREF(result);
    self->is_fed = 1;
    return result == NULL ? -1 : 1;
}

/* Wait as the ssl module has asked for by its exception: 1, 0 at the end, -1 with an exception. */
static int await_as_told(Connection *self)
{
    if (raised(want_read)) {
        self->is_fed = 0;
        return self->incoming != NULL ? feed(self) : await_input(self) < 0 ? -1 : 1;
    }
    return raised(want_write) ? (await_output(self) < 0 ? -1 : 1) : -1;
}

/* One record's bytes, or what is asked for of it: 0 at the end, -1 with an exception, -2 if nothing whole has come. */
static ssize_t decrypt(Connection *self, char *to, size_t most)
{
    PyObject *arguments[2] = {PyLong_FromSize_t(most), PyMemoryView_FromMemory(to, most, PyBUF_WRITE)}, *result = NULL;
    ssize_t count = -1;
    if (arguments[0] != NULL && arguments[1] != NULL)
        result = PyObject_Vectorcall(self->ssl_read, arguments, 2, NULL);
    Py_XDECREF(arguments[0]);
    Py_XDECREF(arguments[1]);
    if (result == NULL)
        return raised(want_read) ? -2 : -1;
    count = PyLong_AsSsize_t(result);
    Py_DECREF(result);
    return count;
}

/* As `decrypt`; it would be known how many bytes have gone, even if a signal handler raised within one of the calls: the first byte alone decrypts
 * the record, and then `pending` tells the rest. */
static ssize_t decrypt_counted(Connection *self, char *to, size_t most)
{
    ssize_t count = decrypt(self, to, 1), rest;
    size_t left;
    PyObject *pending;
    if (count <= 0)
        return count;
    pending = PyObject_CallNoArgs(self->ssl_pending);
    if (pending == NULL)
        return -1;
    left = PyLong_AsSize_t(pending);
    Py_DECREF(pending);
    if (left > most - 1)
        left = most - 1;
    rest = left == 0 ? 0 : decrypt(self, to + 1, left);
    return rest < 0 ? rest : 1 + rest;
}

/* After a record was read: whether there may be more of it, or another one. */
static int has_more(Connection *self, size_t count, size_t asked)
{
    PyObject *pending;
    int more;
    if (count == asked || self->incoming == NULL)
        return count == asked;
    pending = PyObject_GetAttr(self->incoming, name_pending);
    more = pending == NULL ? -1 : PyObject_IsTrue(pending);
    Py_XDECREF(pending);
    return more;
}

static ssize_t receive_secure(Connection *self, char *to, size_t most)
{
    size_t total = 0;
    while (total < most) {
        ssize_t count;
        if (!self->is_fed) {
            int came;
            if (total > 0)
                break;
            came = self->incoming != NULL ? feed(self) : await_input(self) < 0 ? -1 : 1;
            if (came <= 0)
                return came;
        }
        count = (self->ssl_pending != NULL ? decrypt_counted : decrypt)(self, to + total, most - total);
        if (count == -2)
            self->is_fed = 0;
        else if (count <= 0)
            return count < 0 || total == 0 ? count : (ssize_t)total;
        else {
            int more = self->incoming == NULL && count == FULL_RECORD ? 1 : has_more(self, count, most - total);
            if (more < 0)
                return -1;
            self->is_fed = more;
            total += count;
        }
    }
    return total;
}

static int transmit_secure(Connection *self, const char *from, size_t length)
{
    while (length > 0) {
        size_t most = self->incoming != NULL && length > RECORDS ? RECORDS : length;
        PyObject *view = PyMemoryView_FromMemory((char *)from, most, PyBUF_READ);
        PyObject *result = view == NULL ? NULL : PyObject_CallOneArg(self->ssl_write, view);
        Py_XDECREF(view);
        if (result == NULL) {
            if (await_as_told(self) <= 0)
                return -1;
            continue;
        }
        most = PyLong_AsSize_t(result);
        Py_DECREF(result);
        from += most;
        length -= most;
        if (self->incoming != NULL && transmit_outgoing(self) < 0)
            return -1;
    }
    return 0;
}

static ssize_t receive_any(Connection *self, char *to, size_t most)
{
    return self->ssl_read == NULL ? receive(self, to, most) : receive_secure(self, to, most);
}

static int transmit_any(Connection *self, const char *from, size_t length)
{
    return self->ssl_read == NULL ? transmit(self, from, length) : transmit_secure(self, from, length);
}

static int grow(char **space, size_t *size, size_t needed)
{
    size_t larger = *size == 0 ? SPACE : *size;
    char *moved;
    while (larger < needed)
        larger *= 2;
    if (larger == *size)
        return 0;
    moved = PyMem_Realloc(*space, larger);
    if (moved == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *space = moved;
    *size = larger;
    return 0;
}

/* Receive more behind what is in the buffer: how many bytes, 0 at the end, -1 with an exception. */
static ssize_t fill(Connection *self)
{
    ssize_t came;
    if (self->start == self->end)
        self->start = self->end = 0;
    else if (self->end == self->size && self->start > 0) {
        memmove(self->space, self->space + self->start, self->end - self->start);
        self->end -= self->start;
        self->start = 0;
    }
    if (grow(&self->space, &self->size, self->end + 1) < 0)
        return -1;
    came = receive_any(self, self->space + self->end, self->size - self->end);
    if (came > 0)
        self->end += came;
    return came;
}

static PyObject *take(Connection *self, size_t count)
{
    PyObject *taken = PyBytes_FromStringAndSize(self->space + self->start, count);
    if (taken != NULL)
        self->start += count;
    return taken;
}

static PyObject *take_line(Connection *self, size_t limit)
{
    size_t searched = 0;
    for (;;) {
        size_t held = self->end - self->start;
        char *newline = held > searched ? memchr(self->space + self->start + searched, '\n', held - searched) : NULL;
        size_t whole = newline == NULL ? held : (size_t)(newline - self->space) - self->start + 1;
        ssize_t came;
        if (newline != NULL || whole >= limit)
            return take(self, whole < limit ? whole : limit);
        searched = held;
        came = fill(self);
        if (came < 0)
            return NULL;
        if (came == 0)
            return take(self, held);
    }
}

/* readline() -> bytes: a line, or the rest at the end */
static PyObject *connection_readline(Connection *self, PyObject *Py_UNUSED(nothing))
{
    return take_line(self, SIZE_MAX);
}

static PyObject *take_bytes(Connection *self, size_t wanted)
{
    while (self->end - self->start < wanted) {
        ssize_t came = fill(self);
        if (came < 0)
            return NULL;
        if (came == 0)
            return take(self, self->end - self->start);
    }
    return take(self, wanted);
}

/* read(count) -> bytes: less only at the end */
static PyObject *connection_read(Connection *self, PyObject *count)
{
    size_t wanted = PyLong_AsSize_t(count);
    return wanted == (size_t)-1 && PyErr_Occurred() ? NULL : take_bytes(self, wanted);
}

/* readinto(space) -> int: what is in the buffer, or else one recv */
static PyObject *connection_readinto(Connection *self, PyObject *space)
{
    Py_buffer view;
    size_t held = self->end - self->start;
    ssize_t count;
    if (PyObject_GetBuffer(space, &view, PyBUF_WRITABLE) < 0)
        return NULL;
    if (held > 0) {
        count = held < (size_t)view.len ? held : (size_t)view.len;
        memcpy(view.buf, self->space + self->start, count);
        self->start += count;
    } else
        count = receive_any(self, view.buf, view.len);
    PyBuffer_Release(&view);
    return count < 0 ? NULL : PyLong_FromSsize_t(count);
}

/* write(bytes) -> None: into the buffer */
static PyObject *connection_write(Connection *self, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    if (grow(&self->output, &self->output_size, self->output_length + view.len) < 0) {
        PyBuffer_Release(&view);
        return NULL;
    }
    memcpy(self->output + self->output_length, view.buf, view.len);
    self->output_length += view.len;
    PyBuffer_Release(&view);
    Py_RETURN_NONE;
}

/* flush() -> None */
static PyObject *connection_flush(Connection *self, PyObject *Py_UNUSED(nothing))
{
    size_t length = self->output_length;
    self->output_length = 0;
    if (transmit_any(self, self->output, length) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* send(bytes) -> None: at once, without the buffer */
static PyObject *connection_send(Connection *self, PyObject *data)
{
    Py_buffer view;
    int failed;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    failed = transmit_any(self, view.buf, view.len);
    PyBuffer_Release(&view);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

/* echo() -> None: whole lines back, until the end */
static PyObject *connection_echo(Connection *self, PyObject *Py_UNUSED(nothing))
{
    ssize_t came;
    while ((came = fill(self)) > 0) {
        char *newline = memrchr(self->space + self->start, '\n', self->end - self->start);
        if (newline != NULL) {
            size_t whole = newline - self->space - self->start + 1;
            if (transmit_any(self, self->space + self->start, whole) < 0)
                return NULL;
            self->start += whole;
        }
    }
    if (came < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *connection_fileno(Connection *self, PyObject *Py_UNUSED(nothing))
{
    return PyLong_FromLong(self->fd);
}

/* secure(ssl, incoming, outgoing, is_counted) -> None: shake hands. `ssl` is the ssl module's own object; without MemoryBIOs it has the socket. */
static PyObject *connection_secure(Connection *self, PyObject *arguments)
{
    PyObject *object, *incoming, *outgoing, *result;
    int is_counted;
    if (!PyArg_ParseTuple(arguments, "OOOp", &object, &incoming, &outgoing, &is_counted))
        return NULL;
    self->ssl_read = PyObject_GetAttrString(object, "read");
    self->ssl_write = PyObject_GetAttrString(object, "write");
    self->handshake = PyObject_GetAttrString(object, "do_handshake");
    if (is_counted)
        self->ssl_pending = PyObject_GetAttrString(object, "pending");
    if (self->ssl_read == NULL || self->ssl_write == NULL || self->handshake == NULL || (is_counted && self->ssl_pending == NULL))
        return NULL;
    if (incoming != Py_None) {
        self->incoming = Py_NewRef(incoming);
        self->incoming_write = PyObject_GetAttrString(incoming, "write");
        self->outgoing_read = PyObject_GetAttrString(outgoing, "read");
        if (self->incoming_write == NULL || self->outgoing_read == NULL)
            return NULL;
    }
    for (;;) {
        int wants, came;
        result = PyObject_CallNoArgs(self->handshake);
        wants = result == NULL && PyErr_ExceptionMatches(want_read);
        if (result == NULL && !wants && !PyErr_ExceptionMatches(want_write))
            return NULL;
        Py_XDECREF(result);
        if (self->incoming != NULL) {
            PyObject *kind, *value, *traceback;
            int failed;
            PyErr_Fetch(&kind, &value, &traceback);
            failed = transmit_outgoing(self);
            if (failed)
                return NULL;
            PyErr_Restore(kind, value, traceback);
        }
        if (result != NULL)
            Py_RETURN_NONE;
        came = await_as_told(self);
        if (came < 0)
            return NULL;
        if (came == 0) {
            PyErr_SetString(PyExc_ConnectionError, "the connection has ended");
            return NULL;
        }
    }
}

static void shut(Connection *self)
{
    if (stop(&self->reading) < 0 || stop(&self->writing) < 0)
        PyErr_WriteUnraisable(self->handle);
    Py_CLEAR(self->reading.watcher);
    Py_CLEAR(self->writing.watcher);
    if (self->fd >= 0)
        close(self->fd);
    self->fd = -1;
}

static void connection_dealloc(Connection *self)
{
    shut(self);
    Py_XDECREF(self->greenlet);
    Py_XDECREF(self->handle);
    Py_XDECREF(self->ssl_read);
    Py_XDECREF(self->ssl_write);
    Py_XDECREF(self->ssl_pending);
    Py_XDECREF(self->handshake);
    Py_XDECREF(self->incoming);
    Py_XDECREF(self->incoming_write);
    Py_XDECREF(self->outgoing_read);
    PyMem_Free(self->space);
    PyMem_Free(self->output);
    PyObject_Free(self);
}

static PyObject *connection_push(Connection *self, PyObject *data);

static PyMethodDef connection_methods[] = {
    {"readline", (PyCFunction)connection_readline, METH_NOARGS, NULL},
    {"read", (PyCFunction)connection_read, METH_O, NULL},
    {"readinto", (PyCFunction)connection_readinto, METH_O, NULL},
    {"write", (PyCFunction)connection_write, METH_O, NULL},
    {"flush", (PyCFunction)connection_flush, METH_NOARGS, NULL},
    {"send", (PyCFunction)connection_send, METH_O, NULL},
    {"echo", (PyCFunction)connection_echo, METH_NOARGS, NULL},
    {"push", (PyCFunction)connection_push, METH_O, NULL},
    {"fileno", (PyCFunction)connection_fileno, METH_NOARGS, NULL},
    {"secure", (PyCFunction)connection_secure, METH_VARARGS, NULL},
    {0},
};

static PyTypeObject ConnectionType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "least.Connection",
    .tp_basicsize = sizeof(Connection),
    .tp_dealloc = (destructor)connection_dealloc,
    .tp_methods = connection_methods,
};

static Connection *make(PyTypeObject *type, int fd, PyObject *handle)
{
    Connection *self = PyObject_New(Connection, type);
    if (self == NULL)
        return NULL;
    memset(&self->fd, 0, sizeof *self - offsetof(Connection, fd));
    self->fd = fd;
    self->handle = Py_NewRef(handle);
    return self;
}

/* Send what waits in the output; read on when all of it has gone. */
static PyObject *drain(PyObject *connection, PyObject *Py_UNUSED(nothing))
{
    Connection *self = (Connection *)connection;
    ssize_t sent = send(self->fd, self->output, self->output_length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        shut(self);
    else if (sent > 0) {
        self->output_length -= sent;
        memmove(self->output, self->output + sent, self->output_length);
        if (self->output_length == 0) {
            if (stop(&self->writing) < 0 || arm(self, &self->reading, &wakers[2], READ) < 0)
                return NULL;
        }
    }
    Py_RETURN_NONE;
}

/* push(bytes) -> None: to the system, or what it does not take into the output; then nothing is read until it has gone */
static PyObject *connection_push(Connection *self, PyObject *data)
{
    Py_buffer view;
    ssize_t sent = 0;
    PyObject *result = NULL;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    if (self->output_length == 0)
        sent = send(self->fd, view.buf, view.len, MSG_NOSIGNAL);
    if (sent == view.len)
        result = Py_NewRef(Py_None);
    else if (sent < 0 && errno != EAGAIN)
        PyErr_SetFromErrno(PyExc_OSError);
    else {
        size_t rest = view.len - (sent < 0 ? 0 : sent);
        if (grow(&self->output, &self->output_size, self->output_length + rest) == 0) {
            memcpy(self->output + self->output_length, (char *)view.buf + view.len - rest, rest);
            self->output_length += rest;
            if (stop(&self->reading) == 0 && (self->writing.is_armed || arm(self, &self->writing, &wakers[3], WRITE) == 0))
                result = Py_NewRef(Py_None);
        }
    }
    PyBuffer_Release(&view);
    return result;
}

/* Call the handler with what has arrived. */
static PyObject *deliver(PyObject *connection, PyObject *Py_UNUSED(nothing))
{
    Connection *self = (Connection *)connection;
    ssize_t came = recv(self->fd, arrived, CIPHERED, 0);
    PyObject *arguments[2] = {connection, NULL}, *result;
    if (came < 0 && errno == EAGAIN)
        Py_RETURN_NONE;
    if (came <= 0) {
        Py_INCREF(self);
        shut(self);
        Py_DECREF(self);
        Py_RETURN_NONE;
    }
    arguments[1] = PyBytes_FromStringAndSize(arrived, came);
    if (arguments[1] == NULL)
        return NULL;
    result = PyObject_Vectorcall(self->handle, arguments, 2, NULL);
    Py_DECREF(arguments[1]);
    return result;
}

/* What the greenlet of a connection runs. */
static PyObject *run(PyObject *connection, PyObject *Py_UNUSED(nothing))
{
    Connection *self = (Connection *)connection;
    PyObject *result = PyObject_CallOneArg(self->handle, connection);
    if (result == NULL)
        PyErr_WriteUnraisable(self->handle);
    Py_XDECREF(result);
    shut(self);
    Py_CLEAR(self->greenlet); /* it holds the connection */
    Py_RETURN_NONE;
}

static PyMethodDef runner = {"run", run, METH_NOARGS, NULL};

/* In a greenlet that is switched to at once, or in what spawner(function) makes of it, unless that is None. */
static int begin(int fd, PyObject *handle, PyObject *spawner)
{
    Connection *connection = make(&ConnectionType, fd, handle);
    PyObject *function = connection == NULL ? NULL : PyCFunction_New(&runner, (PyObject *)connection), *result = NULL;
    if (function != NULL && spawner != Py_None)
        result = PyObject_CallOneArg(spawner, function);
    else if (function != NULL) {
        PyGreenlet *greenlet = PyGreenlet_New(function, hub);
        if (greenlet != NULL) {
            connection->greenlet = (PyGreenlet *)Py_NewRef(greenlet);
            result = PyGreenlet_Switch(greenlet, NULL, NULL);
        }
        Py_XDECREF(greenlet);
    }
    Py_XDECREF(function);
    Py_XDECREF(connection);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* A connection with callbacks is held by its watcher. */
static int begin_pushing(int fd, PyObject *handle)
{
    Connection *connection = make(&ConnectionType, fd, handle);
    int failed = connection == NULL || arm(connection, &connection->reading, &wakers[2], READ) < 0;
    Py_XDECREF(connection);
    return failed ? -1 : 0;
}

static PyObject *accept_all(PyObject *arguments, PyObject *Py_UNUSED(nothing))
{
    int listener = (int)PyLong_AsLong(PyTuple_GET_ITEM(arguments, 0));
    PyObject *handle = PyTuple_GET_ITEM(arguments, 1);
    int is_pushing = PyTuple_GET_ITEM(arguments, 2) == Py_True;
    PyObject *spawner = PyTuple_GET_ITEM(arguments, 3);
    for (int i = 0; i < MOST_ACCEPTED; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            break;
        if ((is_pushing ? begin_pushing(fd, handle) : begin(fd, handle, spawner)) < 0)
            return NULL; /* without memory: the descriptor is lost, too */
    }
    Py_RETURN_NONE;
}

static PyMethodDef accepter = {"accept_all", accept_all, METH_NOARGS, NULL};

/* serve(listener, handle, is_pushing, spawner) -> watcher
 *
 * As long as the watcher lives handle(connection) is called in a greenlet for each, or, if it is pushing, handle(connection, bytes) without one.
 * The greenlet is greenlet's own, and switched to at once; or what spawner(function) makes, unless that is None.
 */
static PyObject *serve(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int fd;
    PyObject *handle, *is_pushing, *spawner, *callback, *watcher;
    if (!PyArg_ParseTuple(arguments, "iOOO", &fd, &handle, &is_pushing, &spawner))
        return NULL;
    watcher = watch(fd, READ);
    callback = watcher == NULL ? NULL : PyCFunction_New(&accepter, arguments);
    if (callback == NULL || tell(watcher, name_start, callback) < 0)
        Py_CLEAR(watcher);
    Py_XDECREF(callback);
    return watcher;
}

/* A file that reads from a socket of gevent, whose watcher it uses; the socket has to stay open, and one greenlet reads. */

static size_t argument(PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t value = count == 0 || arguments[0] == Py_None ? -1 : PyLong_AsSsize_t(arguments[0]);
    return value < 0 ? SIZE_MAX : (size_t)value;
}

static PyObject *file_readline(Connection *self, PyObject *const *arguments, Py_ssize_t count)
{
    size_t limit = argument(arguments, count);
    return PyErr_Occurred() ? NULL : take_line(self, limit);
}

static PyObject *file_read(Connection *self, PyObject *const *arguments, Py_ssize_t count)
{
    size_t wanted = argument(arguments, count);
    return PyErr_Occurred() ? NULL : take_bytes(self, wanted);
}

static PyObject *file_close(Connection *self, PyObject *Py_UNUSED(nothing))
{
    if (stop(&self->reading) < 0)
        return NULL;
    Py_CLEAR(self->reading.watcher);
    Py_CLEAR(self->greenlet);
    self->fd = -1;
    Py_RETURN_NONE;
}

static PyObject *file_flush(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(nothing))
{
    Py_RETURN_NONE;
}

static PyObject *file_closed(Connection *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->fd < 0);
}

static void file_dealloc(Connection *self)
{
    self->fd = -1; /* the socket's */
    connection_dealloc(self);
}

static PyMethodDef file_methods[] = {
    {"readline", (PyCFunction)(void (*)(void))file_readline, METH_FASTCALL, NULL},
    {"read", (PyCFunction)(void (*)(void))file_read, METH_FASTCALL, NULL},
    {"readinto", (PyCFunction)connection_readinto, METH_O, NULL},
    {"flush", file_flush, METH_NOARGS, NULL},
    {"close", (PyCFunction)file_close, METH_NOARGS, NULL},
    {0},
};

static PyGetSetDef file_attributes[] = {{"closed", (getter)file_closed, NULL, NULL, NULL}, {0}};

static PyTypeObject FileType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "least.File",
    .tp_basicsize = sizeof(Connection),
    .tp_dealloc = (destructor)file_dealloc,
    .tp_methods = file_methods,
    .tp_getset = file_attributes,
};

/* file(socket) -> File */
static PyObject *file(PyObject *Py_UNUSED(module), PyObject *socket)
{
    PyObject *number = PyObject_CallMethodNoArgs(socket, name_fileno), *watcher = NULL;
    Connection *self = NULL;
    if (number != NULL)
        watcher = PyObject_GetAttr(socket, name_read_event);
    if (watcher != NULL)
        self = make(&FileType, (int)PyLong_AsLong(number), socket);
    if (self != NULL)
        self->reading.watcher = Py_NewRef(watcher);
    Py_XDECREF(watcher);
    Py_XDECREF(number);
    return (PyObject *)self;
}

static PyMethodDef functions[] = {{"serve", serve, METH_VARARGS, NULL}, {"file", file, METH_O, NULL}, {0}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "least", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_least(void)
{
    PyObject *gevent = PyImport_ImportModule("gevent"), *ssl = PyImport_ImportModule("ssl");
    PyGreenlet_Import();
    name_io = PyUnicode_InternFromString("io");
    name_start = PyUnicode_InternFromString("start");
    name_stop = PyUnicode_InternFromString("stop");
    name_pending = PyUnicode_InternFromString("pending");
    name_fileno = PyUnicode_InternFromString("fileno");
    name_read_event = PyUnicode_InternFromString("_read_event");
    want_read = ssl == NULL ? NULL : PyObject_GetAttrString(ssl, "SSLWantReadError");
    want_write = ssl == NULL ? NULL : PyObject_GetAttrString(ssl, "SSLWantWriteError");
    if (gevent == NULL || PyErr_Occurred())
        return NULL;
    hub = (PyGreenlet *)PyObject_CallMethod(gevent, "get_hub", NULL);
    Py_DECREF(gevent);
    loop = hub == NULL ? NULL : PyObject_GetAttrString((PyObject *)hub, "loop");
    run_callback = loop == NULL ? NULL : PyObject_GetAttrString(loop, "run_callback");
    dispatcher = PyCFunction_New(&dispatching, NULL);
    if (run_callback == NULL || dispatcher == NULL || PyType_Ready(&ConnectionType) < 0 || PyType_Ready(&FileType) < 0)
        return NULL;
    return PyModule_Create(&module);
}
