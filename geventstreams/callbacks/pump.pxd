cimport geventstreams._native.greenlets as _greenlets
from geventstreams._core.hub_hold cimport EventHandler, HubHold

cdef Py_ssize_t SPARE


cdef class Task(EventHandler):
    cdef object __weakref__
    cdef Pump _pump
    cdef object _greenlet, _context
    cdef bint _queued, _resting, _finished, _killed, _counted

    cdef int _serve(self) except -1
    cdef void _disarm(self) except *
    cdef void _flush(self) except *
    cdef void _wake_up(self) except *


cdef class Pump:
    cdef object __weakref__
    cdef readonly set tasks
    cdef object block, _greenlet
    cdef HubHold hold
    cdef list _ready, _batch, _spare
    cdef Py_ssize_t _next
    cdef bint _scheduled
    cdef Task _serving

    cdef int add(self, Task task) except -1
    cdef void add_later(self, Task task) except *
    cdef int settle(self, Task task) except -1
    cdef void _discount(self, Task task) except *
    cdef void _schedule(self) except *
    cdef void _leave_to(self, Task task) except *
    cdef int _serve_task(self, Task task, current) except -1


cdef Pump pump_of(hub)
