cimport geventstreams._native.greenlets as _greenlets
from geventstreams._core.wakeup cimport EventHandler, HubHold

cdef Py_ssize_t SPARE


cdef class Task(EventHandler):
    cdef object __weakref__
    cdef Pump pump
    cdef object greenlet
    cdef object context
    cdef bint queued
    cdef bint resting
    cdef bint finished
    cdef bint killed
    cdef bint counted

    cpdef void on_event(self) except *
    cdef void serve(self) except *
    cdef void disarm(self) except *
    cdef void flush(self) except *
    cdef void wake(self) except *
    cdef bint is_called_back(self) noexcept
    cdef void begin(self) except *
    cdef void begin_waiting(self) except *


cdef class Pump:
    cdef object __weakref__
    cdef readonly set tasks
    cdef HubHold _hold
    cdef list _ready
    cdef list _batch
    cdef Py_ssize_t _next
    cdef bint _scheduled
    cdef Task _serving
    cdef object _greenlet
    cdef list _spare

    cdef void add(self, Task task) except *
    cdef void add_later(self, Task task) except *
    cdef void settle(self, Task task) except *
    cdef void _discount(self, Task task) except *
    cdef void _schedule(self) except *
    cdef object _another(self)
    cdef void _leave_to(self, Task task) except *
    cdef void _end(self) except *
    cdef void _serve_batch(self, current) except *
    cdef void _serve_task(self, Task task, current) except *


cdef Pump pump_of(hub)
