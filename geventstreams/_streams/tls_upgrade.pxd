cimport geventstreams._core.arguments as arguments
from geventstreams._core.deadline cimport deadline_after, seconds_until
from geventstreams._streams.engine cimport StreamEngine
from geventstreams._streams.lisp cimport LispStream

cdef int TOLD
cdef Py_ssize_t WOULD_WAIT


cdef class UpgradableStream(LispStream):
    pass
