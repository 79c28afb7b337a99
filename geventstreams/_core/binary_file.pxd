cimport geventstreams._native.attributes as _attributes


cdef class BinaryFile:
    # Attributes can be set, so Cython looks for an override in each call `self.f()` of a cpdef method: what is called often inside is
    # `cdef`, or called as `Class.f(self)`.
    cdef dict __dict__
    cdef bint _is_readable
    cdef bint _is_writable

    cdef void _refuse(self) except *
