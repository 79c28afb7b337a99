from geventstreams._core.clock cimport Clock

cdef Clock CLOCK
cdef double NEVER

cpdef double deadline_after(double timeout) noexcept
cpdef double seconds_until(double deadline) noexcept
