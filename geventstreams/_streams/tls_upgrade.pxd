from geventstreams._core.deadline cimport deadline_after, seconds_until
cimport geventstreams._core.arguments as arguments
from geventstreams._core.clock cimport Clock
from geventstreams._core.transport cimport Transport
from geventstreams._streams.lisp cimport LispStream

cdef double NEVER
cdef Clock CLOCK
cdef int TOLD
cdef long NO_PERMIT
cdef Py_ssize_t WOULD_WAIT


cdef class UpgradableStream(LispStream):
    cdef object _tls
    cdef object _tls_options

    cdef void _init_stream(self, Transport transport, bint readable, bint writable, options) except *
