cimport cython

cimport geventstreams._native.greenlets as _greenlets
cimport geventstreams._native.memory as _bytes
cimport geventstreams._native.interpreter as _interpreter
from geventstreams._core.clock cimport Clock, seconds_until
from geventstreams._core.fair_lock cimport FairLock
from geventstreams._core.fairness cimport Fairness
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.transport cimport SocketTransport
from geventstreams._core.transport_base cimport Transport
from geventstreams._core.wakeup cimport Wakeup
from geventstreams._streams.engine cimport StreamEngine

cdef int FRESH, OPEN, WANTED, TOLD
cdef double NEVER
cdef Clock CLOCK
cdef Py_ssize_t BLOCK, SOME, WOULD_WAIT, FLUSH, WORTH
cdef long NO_PERMIT
cdef ForkGeneration FORK
cdef FairLock _FREE
cdef Fairness _RESTED


cdef class BlockingEngine(StreamEngine):
    cdef FairLock output_lock
    cdef object closer, background
    cdef Fairness fairness
    cdef long long _progress
    cdef bint _fired

    @cython.locals(wakeup=Wakeup)
    cpdef void arm_input(self) except *
    cdef Fairness _own_fairness(self)
    cdef void _put_waiting(self, data, Py_ssize_t count) except *
    cdef void _send_message(self, data, Py_ssize_t count) except *
    cdef void _adopt_rest(self) except *
    cdef FairLock _own_output_lock(self)
    cdef void _acquire_output(self) except *
    cdef void _send_or_wait(self, double limit) except *
    cdef void _refuse_if_ended(self) except *
    cpdef bint send_in_background(self) except? False
    cdef void _stop_background(self) except *
    cdef void _tell_end(self, double limit) except *
    cdef void _close(self, bint abort) except *
    cdef void _close_orderly(self, bint crowded) except *
