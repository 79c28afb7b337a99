cimport cython

cimport geventstreams._native.clock as _clock


@cython.final
cdef class Clock:
    cdef double rate
    cdef double shift

    cpdef double now(self) noexcept
    cpdef double stop(self) noexcept
    cpdef void set(self, double now) noexcept
    cpdef void resume(self) noexcept
