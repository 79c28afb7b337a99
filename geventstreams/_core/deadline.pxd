cimport geventstreams._native.syscalls as _system

cdef double NEVER

cpdef double deadline_after(double timeout) noexcept
cpdef double seconds_until(double deadline) noexcept
