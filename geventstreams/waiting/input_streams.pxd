import cython

cimport geventstreams._core.arguments as arguments
cimport geventstreams._native.interpreter as _interpreter
cimport geventstreams._native.syscalls as _system
from geventstreams._streams.buffered cimport BufferedStream, engine_of
from geventstreams._streams.engine cimport StreamEngine
from geventstreams._core.fairness cimport Fairness
from geventstreams._core.clock cimport deadline_after, seconds_until
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.hub_hold cimport HubHold
from geventstreams._core.wakeup cimport ReusableWakeup

cdef ForkGeneration FORK
cdef double NEVER, ROUND
cdef int FRESH
cdef Py_ssize_t ONE_POLL


cdef class ReadinessCallback:
    cdef object _ready_set
    cdef readonly object stream
    cdef public bint signalled


cdef class ReadySet:
    cdef object __weakref__
    cdef readonly object hub
    cdef readonly long process
    cdef readonly HubHold hold
    cdef readonly dict callbacks
    cdef public dict signals
    cdef public bint lasts
    cdef readonly list waiters
    cdef ReusableWakeup _spare
    cdef readonly Py_ssize_t active

    cpdef void signal(self, ReadinessCallback callback) except *
    @cython.locals(callback=ReadinessCallback)
    cpdef list ask(self)
    @cython.locals(callback=ReadinessCallback)
    cpdef list ask_system(self)
    @cython.locals(waiter=ReusableWakeup)
    cpdef bint wait_for_signal(self, double deadline, bint often) except? False
    cpdef void stop_timer(self) except *
    @cython.locals(waiter=ReusableWakeup)
    cpdef void wake(self) except *


cdef class RememberedList(ReadySet):
    cdef readonly bint remembered
    cdef list _in_order

    @cython.locals(index=Py_ssize_t, callback=ReadinessCallback)
    cpdef bint lists(self, list streams) except? False


cpdef object waitable_of(stream)
@cython.locals(engine=StreamEngine)
cdef void _begin(list streams, bint are_checked) except *
@cython.locals(descriptor=int)
cdef list _readable(list streams, bint were_asked)
