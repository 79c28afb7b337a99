cimport geventstreams.arguments as arguments
from geventstreams.securable cimport SecurableStream


cdef class SocketStream(SecurableStream):
    cdef object _proxy
