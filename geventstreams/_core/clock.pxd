cimport cython

cimport geventstreams._native.clock as _clock

cdef double NEVER


@cython.final
cdef class Clock:
    cdef double rate, shift

    cpdef double now(self) noexcept


cdef Clock _CLOCK

cpdef double deadline_after(double timeout) noexcept
cpdef double seconds_until(double deadline) noexcept
