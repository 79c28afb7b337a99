cimport cython

cimport geventstreams._native.memory as _bytes
cimport geventstreams._core.arguments as arguments
from geventstreams._streams.buffered cimport BufferedStream
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._streams.engine cimport StreamEngine

cdef long long NO_TAIL
cdef ForkGeneration FORK
cdef object START
cdef Py_ssize_t A_LINE, SOME


cdef class LispStream(BufferedStream):
    cdef object _element_type, _encoding
    cdef bint _is_latin, _is_binary, _is_signed
    cdef object _last_char
    cdef bytes _last_bytes
    cdef long long _last_taken

    cdef void _init_stream(self, StreamEngine engine, bint readable, bint writable, options) except *
    @cython.locals(size=Py_ssize_t, first=Py_ssize_t, last=Py_ssize_t, count=Py_ssize_t)
    cdef object _fill_space(self, target, start, end)
    cdef bint _more(self, Py_ssize_t lacking=*) except? False


cdef int _refuse_wide_items(seq) except -1
