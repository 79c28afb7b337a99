cimport geventstreams._native.interpreter as _interpreter
cimport geventstreams._native.memory as _bytes
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.transport_base cimport Transport
from geventstreams._streams.engine cimport StreamEngine
from geventstreams.callbacks.pump cimport Task

cdef ForkGeneration FORK
cdef long NO_PERMIT
cdef Py_ssize_t BLOCK, SMALL, SOME, MOST_SENDS, FEW, MANY, SMALLEST, FIRST
cdef int SHUT


cdef class PushedEngine(StreamEngine):
    cdef readonly Task connection
    cdef bint queued, over, _kept_back
    cdef object _later
    cdef Py_ssize_t _later_count, _portion, _calls_made

    cdef int _refuse_over(self) except -1
    cdef bint is_of_this_process(self) noexcept
    cdef Py_ssize_t receive_portion(self) except? -2
    cdef bytes cut_received(self, block, Py_ssize_t count)
    cdef int keep_back(self, bint full) except -1
    cdef int enqueue(self, data, Py_ssize_t count) except -1
    cdef int _keep_for_later(self, data, Py_ssize_t count) except -1
    cdef bint push(self) except -1
    cdef bint _has_rest(self) except -1
    cdef void disconnect(self, bint readable) except *
