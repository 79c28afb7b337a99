/* The least that a connection can cost in CPython on gevent's loop, for the contenders "least" of the bench: a module of Python.
 *
 * A greenlet for each connection; gevent's watchers, which stay armed; the C library's calls; and nothing of what streams promise: no timeout, no
 * kill, no check of a fork or of threads, no fairness, one error. What is left is what every library of this kind pays.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <greenlet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SPACE 8192
#define MOST_ACCEPTED 100
#define READ 1
#define WRITE 2

/* Reading, or writing: its watcher, made at the first wait. */
struct direction {
    PyObject *watcher;
    int is_armed, is_awaited;
};

typedef struct {
    PyObject_HEAD
    int fd, is_empty; /* is_empty: the last recv brought less than was asked for */
    PyGreenlet *greenlet;
    struct direction reading, writing;
    PyObject *handle;
    char *space, *output;
    size_t start, end, size, output_length, output_size;
} Connection;

static PyTypeObject ConnectionType;
static PyObject *loop, *name_io, *name_start, *name_stop;
static PyGreenlet *hub;

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

static PyObject *wake(Connection *self, struct direction *direction)
{
    if (direction->is_awaited) {
        PyGreenlet *greenlet = (PyGreenlet *)Py_NewRef(self->greenlet);
        PyObject *result = PyGreenlet_Switch(greenlet, NULL, NULL);
        Py_DECREF(greenlet);
        return result;
    }
    direction->is_armed = 0;
    if (tell(direction->watcher, name_stop, NULL) < 0)
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

static PyMethodDef wakers[] = {{"wake_reader", wake_reader, METH_NOARGS, NULL}, {"wake_writer", wake_writer, METH_NOARGS, NULL}};

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
    direction->is_awaited = 1;
    result = PyGreenlet_Switch(hub, NULL, NULL);
    direction->is_awaited = 0;
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
    came = receive(self, self->space + self->end, self->size - self->end);
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

/* readline() -> bytes: a line, or the rest at the end */
static PyObject *connection_readline(Connection *self, PyObject *Py_UNUSED(nothing))
{
    size_t searched = 0;
    for (;;) {
        size_t held = self->end - self->start;
        char *newline = held > searched ? memchr(self->space + self->start + searched, '\n', held - searched) : NULL;
        ssize_t came;
        if (newline != NULL)
            return take(self, newline - self->space - self->start + 1);
        searched = held;
        came = fill(self);
        if (came < 0)
            return NULL;
        if (came == 0)
            return take(self, held);
    }
}

/* read(count) -> bytes: less only at the end */
static PyObject *connection_read(Connection *self, PyObject *count)
{
    size_t wanted = PyLong_AsSize_t(count);
    if (wanted == (size_t)-1 && PyErr_Occurred())
        return NULL;
    while (self->end - self->start < wanted) {
        ssize_t came = fill(self);
        if (came < 0)
            return NULL;
        if (came == 0)
            return take(self, self->end - self->start);
    }
    return take(self, wanted);
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
        count = receive(self, view.buf, view.len);
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
    if (transmit(self, self->output, length) < 0)
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
    failed = transmit(self, view.buf, view.len);
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
            if (transmit(self, self->space + self->start, whole) < 0)
                return NULL;
            self->start += whole;
        }
    }
    if (came < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int forget_watcher(struct direction *direction)
{
    int failed = direction->is_armed && tell(direction->watcher, name_stop, NULL) < 0;
    direction->is_armed = 0;
    Py_CLEAR(direction->watcher);
    return failed ? -1 : 0;
}

static void shut(Connection *self)
{
    if (forget_watcher(&self->reading) < 0 || forget_watcher(&self->writing) < 0)
        PyErr_WriteUnraisable((PyObject *)self);
    if (self->fd >= 0)
        close(self->fd);
    self->fd = -1;
}

static void connection_dealloc(Connection *self)
{
    shut(self);
    Py_XDECREF(self->greenlet);
    Py_XDECREF(self->handle);
    PyMem_Free(self->space);
    PyMem_Free(self->output);
    PyObject_Free(self);
}

static PyMethodDef connection_methods[] = {
    {"readline", (PyCFunction)connection_readline, METH_NOARGS, NULL},
    {"read", (PyCFunction)connection_read, METH_O, NULL},
    {"readinto", (PyCFunction)connection_readinto, METH_O, NULL},
    {"write", (PyCFunction)connection_write, METH_O, NULL},
    {"flush", (PyCFunction)connection_flush, METH_NOARGS, NULL},
    {"send", (PyCFunction)connection_send, METH_O, NULL},
    {"echo", (PyCFunction)connection_echo, METH_NOARGS, NULL},
    {0},
};

static PyTypeObject ConnectionType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "least.Connection",
    .tp_basicsize = sizeof(Connection),
    .tp_dealloc = (destructor)connection_dealloc,
    .tp_methods = connection_methods,
};

static Connection *make_connection(int fd, PyObject *handle)
{
    Connection *self = PyObject_New(Connection, &ConnectionType);
    if (self == NULL) {
        close(fd);
        return NULL;
    }
    memset(&self->fd, 0, sizeof *self - offsetof(Connection, fd));
    self->fd = fd;
    self->handle = Py_NewRef(handle);
    return self;
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

static int begin(int fd, PyObject *handle)
{
    Connection *connection = make_connection(fd, handle);
    PyObject *function = connection == NULL ? NULL : PyCFunction_New(&runner, (PyObject *)connection), *result = NULL;
    PyGreenlet *greenlet = function == NULL ? NULL : PyGreenlet_New(function, hub);
    if (greenlet != NULL) {
        connection->greenlet = (PyGreenlet *)Py_NewRef(greenlet);
        result = PyGreenlet_Switch(greenlet, NULL, NULL);
    }
    Py_XDECREF(greenlet);
    Py_XDECREF(function);
    Py_XDECREF(connection);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static PyObject *accept_all(PyObject *listener_and_handle, PyObject *Py_UNUSED(nothing))
{
    int listener = (int)PyLong_AsLong(PyTuple_GET_ITEM(listener_and_handle, 0)), one = 1;
    for (int i = 0; i < MOST_ACCEPTED; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            break;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (begin(fd, PyTuple_GET_ITEM(listener_and_handle, 1)) < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef accepter = {"accept_all", accept_all, METH_NOARGS, NULL};

/* serve(listener, handle) -> watcher: handle(connection) is called in a greenlet for each, as long as the watcher lives */
static PyObject *serve(PyObject *Py_UNUSED(module), PyObject *listener_and_handle)
{
    int fd;
    PyObject *handle, *callback, *watcher;
    if (!PyArg_ParseTuple(listener_and_handle, "iO", &fd, &handle))
        return NULL;
    watcher = watch(fd, READ);
    callback = watcher == NULL ? NULL : PyCFunction_New(&accepter, listener_and_handle);
    if (callback == NULL || tell(watcher, name_start, callback) < 0)
        Py_CLEAR(watcher);
    Py_XDECREF(callback);
    return watcher;
}

static PyMethodDef functions[] = {{"serve", serve, METH_VARARGS, NULL}, {0}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "least", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_least(void)
{
    PyObject *gevent = PyImport_ImportModule("gevent");
    PyGreenlet_Import();
    name_io = PyUnicode_InternFromString("io");
    name_start = PyUnicode_InternFromString("start");
    name_stop = PyUnicode_InternFromString("stop");
    if (gevent == NULL || _PyGreenlet_API == NULL || name_io == NULL || name_start == NULL || name_stop == NULL)
        return NULL;
    hub = (PyGreenlet *)PyObject_CallMethod(gevent, "get_hub", NULL);
    Py_DECREF(gevent);
    loop = hub == NULL ? NULL : PyObject_GetAttrString((PyObject *)hub, "loop");
    if (loop == NULL || PyType_Ready(&ConnectionType) < 0)
        return NULL;
    return PyModule_Create(&module);
}
