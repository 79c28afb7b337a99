cimport geventstreams._native.greenlets as _greenlets
cimport geventstreams._native.syscalls as _system
from geventstreams._core.fork cimport ForkGeneration

cdef ForkGeneration FORK
cdef double NEVER
cdef Py_ssize_t BUSY


cdef class HubHold:
    cdef object __weakref__
    cdef bint stays_armed
    cdef object _loop
    cdef object _watcher
    cdef Py_ssize_t waiting
    cdef readonly unsigned long thread
    cdef readonly bint ended
    cdef readonly bint inherited
    cdef object _errands
    cdef object _dependents

    cdef void begin(self) except *
    cdef void end(self) except *
    cpdef bint is_here(self) noexcept
    cpdef bint may_use_loop(self) noexcept
    cpdef bint has_loop(self) except? False
    cpdef void separate(self) except *
    cpdef void run_there(self, errand) except *
    cpdef void tell_end_to(self, dependent) except *
    cpdef void thread_has_ended(self) except *


cdef class Wakeup:
    cdef readonly object hub
    cdef readonly object loop
    cdef readonly long process
    cdef readonly HubHold hold
    cdef int descriptor
    cdef int events
    cdef object watcher
    cdef readonly bint armed
    cdef readonly object waiter
    cdef bint fired
    cdef bint expired
    cdef object timer
    cdef double timer_due
    cdef double deadline
    cdef readonly list listeners

    cpdef bint wait(self, double limit) except? False
    cpdef void refuse(self) except *
    cdef bint _wait_beside(self, double limit) except? False
    cpdef void fire(self) except *
    cdef void _tell(self) except *
    cpdef void arm(self) except *
    cpdef void disarm(self) except *
    cpdef void listen(self, listener) except *
    cpdef void unlisten(self, listener) except *
    cdef int _limit(self, double limit) except -1
    cdef void _start_timer(self, double seconds) except *
    cdef void _stop_timer(self) except *
    cpdef void close(self) except *


cdef class Transport:
    cdef public bint emptied
    cdef public Py_ssize_t unsent
    cdef public long long received
    cdef public bint ready

    cpdef Py_ssize_t recv_into(self, space, Py_ssize_t start, list counts) except? -2
    cpdef Py_ssize_t send(self, octets, Py_ssize_t start, Py_ssize_t stop) except? -2
    cpdef Py_ssize_t send_pieces(self, list pieces, Py_ssize_t start) except? -2
    cpdef Py_ssize_t flush(self) except? -2
    cpdef Py_ssize_t readable(self) except? -2
    cpdef bint wait_input(self, double limit) except? False
    cpdef bint wait_output(self, double limit) except? False
    cpdef Wakeup input_wakeup(self)
    cpdef Wakeup output_wakeup(self)
    cpdef Py_ssize_t end_output(self) except? -2
    cpdef void end_input(self) except *
    cpdef Py_ssize_t discard(self) except? -2
    cpdef void wake(self) except *


cdef class SocketTransport(Transport):
    cdef int _descriptor
    cdef long _process
    cdef object _borrowed
    cdef Wakeup _input
    cdef Wakeup _output
    cdef object _address
    cdef object _peer_address
    cdef object _blocking
    cdef int _family
    cdef object _socket
    cdef object _hub
    cdef HubHold _hold

    cdef void _refuse(self) except *
    cdef Wakeup _input_wakeup(self)
    cdef Wakeup _output_wakeup(self)
