from geventstreams._streams.tls_upgrade cimport UpgradableStream


cdef class SocketStream(UpgradableStream):
    cdef object _proxy
