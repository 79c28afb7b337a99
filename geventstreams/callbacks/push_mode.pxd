cimport geventstreams._native.syscalls as _system
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._streams.tls_upgrade cimport UpgradableStream
from geventstreams._core.transport cimport Transport

cdef ForkGeneration FORK
cdef long NO_PERMIT
cdef Py_ssize_t BLOCK
cdef Py_ssize_t SMALL
cdef Py_ssize_t ENDED
cdef Py_ssize_t WOULD_WAIT
cdef Py_ssize_t MOST_SENDS
cdef Py_ssize_t FEW
cdef Py_ssize_t MANY
cdef Py_ssize_t SMALLEST
cdef Py_ssize_t FIRST


cdef class PushedStream(UpgradableStream):
    cdef object _connection
    cdef bint queued
    cdef object _later
    cdef Py_ssize_t _later_count
    cdef bint _kept_back
    cdef bint _over
    cdef Py_ssize_t _portion
    cdef Py_ssize_t _calls_made

    # No cpdef for what is called often: a stream is of a Python class, so each call would look for a method of that.
    cdef bint is_of_this_process(self) noexcept
    cdef bint lost(self) noexcept
    cdef Py_ssize_t receive(self) except -2
    cdef Py_ssize_t receive_portion(self) except -2
    cdef int settle(self) except -1
    cdef int keep_back(self, bint full) except -1
    cdef Py_ssize_t held(self) except -2
    cdef int enqueue(self, data, Py_ssize_t count) except -1
    cdef int _keep_for_later(self, data, Py_ssize_t count) except -1
    cdef int push(self) except -1
    cdef int _has_output(self) except -1
    cdef void take_over(self, UpgradableStream other) except *
    cdef void take_queue_over(self, PushedStream other) except *
