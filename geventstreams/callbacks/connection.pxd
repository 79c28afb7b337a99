from geventstreams._core.wakeup cimport Wakeup
from geventstreams.callbacks.push_mode cimport PushedEngine
from geventstreams.callbacks.receiving cimport ReceivingConnection

cdef double NEVER
cdef object START
cdef int CLOSING_EARLY, CLOSING, FAILED, OPEN


cdef class AsyncSocket(ReceivingConnection):
    pass
