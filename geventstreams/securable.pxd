cimport geventstreams._system as _system
cimport geventstreams.arguments as arguments
from geventstreams.lisp cimport LispStream

cdef double NEVER
cdef int TOLD
cdef long NO_PASS
cdef Py_ssize_t WOULD_WAIT


cdef class SecurableStream(LispStream):
    cdef object _tls
    cdef object _terms
