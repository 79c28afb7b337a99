from geventstreams._core.hub_hold cimport EventHandler


cdef class Transport:
    cdef public bint emptied, answers, ready
    cdef public Py_ssize_t unsent
    cdef public long long received

    cpdef Py_ssize_t recv_into(self, space, Py_ssize_t start, list counts) except? -2
    cpdef Py_ssize_t send(self, data, Py_ssize_t start, Py_ssize_t stop) except? -2
    cpdef Py_ssize_t send_pieces(self, list pieces, Py_ssize_t start) except? -2
    cpdef Py_ssize_t flush(self) except? -2
    cpdef Py_ssize_t unsent_data(self) except? -2
    cpdef Py_ssize_t readable(self) except? -2
    cpdef bint wait_input(self, double timeout) except? False
    cpdef bint watch_input(self, EventHandler handler, double timeout) except? False
    cpdef bint wait_output(self, double timeout) except? False
    cpdef object input_wakeup(self)
    cpdef object output_wakeup(self)
    cpdef Py_ssize_t end_output(self) except? -2
    cpdef void end_input(self) except *
    cpdef Py_ssize_t discard(self) except? -2
    cpdef Py_ssize_t not_yet_sent(self) except? -2
    cpdef bint ends_by_close(self) except? False
    cpdef Py_ssize_t unread(self) except? -2
    cpdef object addresses(self)
    cpdef void close(self, bint abort=*) except *
    cpdef void wake(self) except *
    cpdef int fileno(self) noexcept


cdef class LayeredTransport(Transport):
    cdef public Transport below
