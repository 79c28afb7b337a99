cimport geventstreams._native.clock as _clock
cimport geventstreams._native.memory as _bytes
cimport geventstreams._native.interpreter as _interpreter
from geventstreams._core.fair_lock cimport FairLock
from geventstreams._core.fairness cimport Fairness
from geventstreams._core.reader cimport ByteReader

cdef int FRESH, ENDED, WOULD_WAIT
cdef double NEVER, SLICE
cdef Py_ssize_t LEAST, MOST
cdef object ALL


cdef class TextInput:
    cdef readonly bint begun
    cdef object _file, _decoder, _engine, _error
    cdef ByteReader _reader
    cdef FairLock _lock
    cdef bint _needs_lock, _any_newline, _ends_in_lf
    cdef str _text, _newline
    cdef Py_ssize_t _at, _size
    cdef bytes _undecoded
    cdef double _since
    cdef Fairness _fairness

    cdef void _enter(self) except *
    cdef str _take_in_turn(self, Py_ssize_t wanted, bint line)
    cdef bint _is_closed(self) except? True
    cdef str _take(self, Py_ssize_t wanted, bint line, bint begun=*)
    cdef Py_ssize_t _line_end(self) except -1
    cdef int _more(self, bint begun) except -2
    cdef double _let_others_run(self) except? -1
    cdef str _decode(self, bytes data)
