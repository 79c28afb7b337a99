# The C twins of memory.py.

from cpython.buffer cimport Py_buffer, PyBUF_READ, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBUF_WRITE
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.object cimport PyObject
from libc.string cimport memchr, memcpy, memmove


cdef inline Py_ssize_t find_byte(bytearray store, int byte, Py_ssize_t start, Py_ssize_t stop) noexcept:
    cdef char *base = PyByteArray_AS_STRING(store)
    cdef char *hit
    if start >= stop:
        return -1
    hit = <char *>memchr(base + start, byte, stop - start)
    return hit - base if hit is not NULL else -1


cdef extern from *:
    """
    // A list that is short for a moment keeps its memory: giving it back and asking anew costs more than all the rest.
    static inline Py_ssize_t geventstreams_take_last(PyObject *list) {
        Py_ssize_t last = PyList_GET_SIZE(list) - 1;
        PyObject *item = PyList_GET_ITEM(list, last);
        Py_ssize_t number = PyLong_AsSsize_t(item);
        Py_SET_SIZE((PyVarObject *)list, last);
        Py_DECREF(item);
        return number;
    }
    static inline int geventstreams_add(PyObject *list, Py_ssize_t number) {
        Py_ssize_t size = PyList_GET_SIZE(list);
        PyObject *item = PyLong_FromSsize_t(number);
        int failed = item == NULL;
        if (!failed && size < ((PyListObject *)list)->allocated) {
            PyList_SET_ITEM(list, size, item);
            Py_SET_SIZE((PyVarObject *)list, size + 1);
            return 0;
        }
        failed = failed || PyList_Append(list, item);
        Py_XDECREF(item);
        return failed ? -1 : 0;
    }
    // Where the bytes of a contiguous view of bytes lie: to ask for its buffer, and give it back, costs ten times as much.
    static inline char *geventstreams_address(PyObject *view) {
        if (!PyMemoryView_Check(view)) {
            PyErr_Format(PyExc_TypeError, "bytes must lie in a memoryview, not in %s", Py_TYPE(view)->tp_name);
            return NULL;
        }
        if (((PyMemoryViewObject *)view)->flags & _Py_MEMORYVIEW_RELEASED) {
            PyErr_SetString(PyExc_ValueError, "the memoryview was released");
            return NULL;
        }
        return (char *)PyMemoryView_GET_BUFFER(view)->buf;
    }
    static inline char *geventstreams_source(PyObject *data) {
        return PyBytes_CheckExact(data) ? PyBytes_AS_STRING(data) : geventstreams_address(data);
    }
    // Where the bytes of any object lie. Its buffer is asked for only where the type does not tell; it is to be released afterwards.
    static inline char *geventstreams_contents(PyObject *data, Py_buffer *buffer, int flags) {
        buffer->obj = NULL;
        if (PyMemoryView_Check(data))
            return geventstreams_address(data);
        if (PyByteArray_CheckExact(data))
            return PyByteArray_AS_STRING(data);
        if (PyBytes_CheckExact(data) && !(flags & PyBUF_WRITABLE))
            return PyBytes_AS_STRING(data);
        return PyObject_GetBuffer(data, buffer, flags) ? NULL : (char *)buffer->buf;
    }
    static inline void geventstreams_release(Py_buffer *buffer) {
        if (buffer->obj)
            PyBuffer_Release(buffer);
    }
    static inline Py_ssize_t geventstreams_find_lf(PyObject *text, Py_ssize_t start) {
        Py_ssize_t length = PyUnicode_GET_LENGTH(text);
        const char *base, *hit;
        if (PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND || start >= length)
            return PyUnicode_FindChar(text, 10, start, length, 1);
        base = PyUnicode_DATA(text);
        hit = memchr(base + start, 10, length - start);
        return hit != NULL ? hit - base : -1;
    }
    static inline int geventstreams_empty(PyObject *list) {
        Py_ssize_t left = PyList_GET_SIZE(list);
        if (((PyListObject *)list)->allocated > 8)
            return PyList_SetSlice(list, 0, left, NULL);
        while (left--) {
            PyObject *item = PyList_GET_ITEM(list, left);
            Py_SET_SIZE((PyVarObject *)list, left);
            Py_DECREF(item);
        }
        return 0;
    }
    static inline int geventstreams_is_plain(PyObject *view, int writable) {
        if (!PyMemoryView_Check(view) || ((PyMemoryViewObject *)view)->flags & _Py_MEMORYVIEW_RELEASED)
            return 0;
        const Py_buffer *buffer = PyMemoryView_GET_BUFFER(view);
        return buffer->ndim == 1 && buffer->itemsize == 1 && (buffer->strides[0] == 1 || buffer->shape[0] <= 1)
            && buffer->suboffsets == NULL && buffer->format != NULL && buffer->format[0] == 'B' && buffer->format[1] == 0
            && !(writable && buffer->readonly);
    }
    """
    bint is_plain "geventstreams_is_plain"(object view, bint writable) noexcept
    char *_address "geventstreams_address"(object view) except NULL
    char *_source "geventstreams_source"(object data) except NULL
    char *geventstreams_contents(object data, Py_buffer *buffer, int flags) except NULL
    void geventstreams_release(Py_buffer *buffer) noexcept
    Py_ssize_t take_last "geventstreams_take_last"(list counts) except? -1
    int _add "geventstreams_add"(list counts, Py_ssize_t number) except -1
    int _empty "geventstreams_empty"(list items) except -1
    Py_ssize_t find_lf "geventstreams_find_lf"(str text, Py_ssize_t start) except -2
    str cut_text "PyUnicode_Substring"(str text, Py_ssize_t start, Py_ssize_t stop)
    Py_buffer *PyMemoryView_GET_BUFFER(object view) noexcept


cdef inline list numbers():
    return []


cdef inline Py_ssize_t size(object view) noexcept:
    return PyMemoryView_GET_BUFFER(view).len


cdef inline int put_byte(object view, Py_ssize_t index, int byte) except -1:
    _address(view)[index] = <char>byte
    return 0


cdef inline object window(object view, Py_ssize_t start, Py_ssize_t stop):
    return PyMemoryView_FromMemory(_address(view) + start, stop - start, PyBUF_WRITE)


cdef inline object part(object data, Py_ssize_t start, Py_ssize_t stop):
    cdef char *source = _source(data) + start
    if stop - start <= 1024:  # bytes and their memory are one allocation, a window is two that the collector counts
        return PyBytes_FromStringAndSize(source, stop - start)
    return PyMemoryView_FromMemory(source, stop - start, PyBUF_READ)


cdef inline bytes cut(object view, Py_ssize_t start, Py_ssize_t stop):
    return PyBytes_FromStringAndSize(<char *>PyMemoryView_GET_BUFFER(view).buf + start, stop - start)


cdef inline int copy_in(bytearray store, Py_ssize_t at, object data, Py_ssize_t start, Py_ssize_t count) except -1:
    cdef Py_buffer buffer
    cdef char *source = geventstreams_contents(data, &buffer, PyBUF_SIMPLE)
    memcpy(PyByteArray_AS_STRING(store) + at, source + start, count)
    geventstreams_release(&buffer)
    return 0


cdef inline int copy_out(bytearray store, Py_ssize_t start, object target, Py_ssize_t at, Py_ssize_t count) except -1:
    cdef Py_buffer buffer
    cdef char *place = geventstreams_contents(target, &buffer, PyBUF_WRITABLE)
    memcpy(place + at, PyByteArray_AS_STRING(store) + start, count)
    geventstreams_release(&buffer)
    return 0


cdef inline int draw(list pieces, object read) except -1:
    pieces.append(read())
    return 0


cdef inline list emptied(list items):
    _empty(items)
    return items


cdef inline void move(bytearray store, Py_ssize_t start, Py_ssize_t stop) noexcept:
    cdef char *base = PyByteArray_AS_STRING(store)
    memmove(base, base + start, stop - start)


cdef inline int grow(bytearray store, Py_ssize_t size) except -1:
    return PyByteArray_Resize(store, size)


cdef inline int byte_of(object data, Py_ssize_t index) except -1:
    cdef Py_buffer buffer
    cdef int byte = <unsigned char>geventstreams_contents(data, &buffer, PyBUF_SIMPLE)[index]
    geventstreams_release(&buffer)
    return byte


cdef inline bytes blank(Py_ssize_t size):
    return PyBytes_FromStringAndSize(NULL, size)


cdef inline object place(bytes blank):
    return PyMemoryView_FromMemory(PyBytes_AS_STRING(blank), PyBytes_GET_SIZE(blank), PyBUF_WRITE)


cdef inline bytes cut_blank(bytes blank, Py_ssize_t count):
    if count == PyBytes_GET_SIZE(blank):
        return blank
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(blank), count)
