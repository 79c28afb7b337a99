cimport cython

cimport geventstreams._core.arguments as arguments
cimport geventstreams._native.attributes as _attributes
cimport geventstreams._native.memory as _bytes
from geventstreams._core.binary_file cimport BinaryFile
from geventstreams._core.buffers cimport InputBuffer
from geventstreams._core.fork cimport ForkGeneration

cdef ForkGeneration FORK
cdef double NEVER
cdef Py_ssize_t ENDED, WOULD_WAIT, DIRECT
cdef object ALL
cdef Py_ssize_t ALL_INPUT, A_LINE, SOME


cdef ByteSource NO_SOURCE


cdef class ByteSource:
    cdef object __weakref__
    cdef readonly InputBuffer input
    cdef public Py_ssize_t begun

    cdef void _init_source(self) except *
    cpdef void refuse(self) except *
    cdef void begin_read(self) except *
    cdef void end_read(self) except *
    cdef void look_at_clock(self) except *
    @cython.locals(count=Py_ssize_t, held=Py_ssize_t, first=bint)
    cdef Py_ssize_t fill(self, target, Py_ssize_t at, Py_ssize_t lacking) except? -2
    cdef bint await_input(self, bint first, Py_ssize_t begun, Py_ssize_t lacking) except? False
    cdef Py_ssize_t receive(self, target, Py_ssize_t at, Py_ssize_t lacking) except? -2
    cdef void put_back(self, data) except *
    cdef void raise_end(self) except *
    cdef bint was_shut_down(self) except? False


cdef class ByteReader(BinaryFile):
    # Attributes can be set, so Cython looks for an override in each call `self.f()` of a cpdef method: what is called often inside is
    # `cdef`, or called as `Class.f(self)`.
    cdef dict __dict__
    cdef InputBuffer _input
    cdef ByteSource _source
    cdef bint _is_readable, _is_writable, _takes_turns, _has_direct_input, _has_own_readline
    cdef Py_ssize_t _line_limit

    cdef void _init_reader(self, ByteSource source, bint readable, bint writable, double line_limit, bint takes_turns) except *
    cdef bint _is_closed(self) except? True
    cdef Py_ssize_t _unfinished_line(self) except? -2
    cdef Py_ssize_t _size(self, str name, value) except? -2
    cdef object _read(self, Py_ssize_t wanted)
    cdef Py_ssize_t _read_into(self, target, bint once=*) except? -2
    cdef Py_ssize_t _stranded(self) except? -2
    cpdef object read1(self, object size=*)
    cpdef bytes peek(self, object size=*)
    cpdef object readinto(self, buffer)
    @cython.locals(length=Py_ssize_t, wanted=Py_ssize_t)
    cpdef object readline(self, object size=*)
    cpdef list readlines(self, object hint=*)
    cdef Py_ssize_t _line(self, Py_ssize_t wanted, Py_ssize_t begun=*) except? -2
    cdef object _next_line(self, Py_ssize_t begun)
