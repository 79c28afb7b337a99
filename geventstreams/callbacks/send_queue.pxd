cimport cython

from geventstreams.callbacks.push_mode cimport Connection


cdef class SendQueue:
    cdef object __weakref__
    cdef object _loop
    cdef list _connections

    cdef int add(self, Connection connection) except -1
    @cython.locals(connection=Connection)
    cpdef _send(self)
