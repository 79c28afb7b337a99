cimport geventstreams._native.memory as _bytes

cpdef Py_ssize_t size(str name, value) except -2
cpdef Py_ssize_t natural(str name, value) except -1
cpdef object byte_view(str name, value, str allowed=*)
cpdef object byte_space(str name, value, str allowed=*)
cpdef double seconds(str name, value, str allowed=*) except? -1
cpdef double seconds_or_zero(str name, value) except? -1
