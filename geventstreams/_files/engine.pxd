cimport geventstreams._native.attributes as _attributes
cimport geventstreams._native.memory as _bytes
cimport geventstreams._native.syscalls as _system
from geventstreams._core.buffers cimport OutputBuffer
from geventstreams._core.fair_lock cimport FairLock
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.reader cimport ByteReader
from geventstreams._files.transports cimport FileTransport

cdef ForkGeneration FORK
cdef long NO_PERMIT
cdef double NEVER
cdef Py_ssize_t CALLS
cdef Py_ssize_t WOULD_WAIT


cdef class FileEngine(ByteReader):
    cdef object __weakref__
    cdef readonly OutputBuffer output
    cdef object _raw
    cdef FileTransport _transport
    cdef Py_ssize_t _buffering
    cdef FairLock _input_lock
    cdef FairLock _output_lock
    cdef object _reader
    cdef object _writer
    cdef object _closer
    cdef tuple _lost
    cdef bint _closed
    cdef readonly bint between_threads
    cdef bint _needs_lock
    cdef long _generation
    cdef readonly bint _alive

    cdef void _refuse_interrupted(self) except *
    cdef void _enter_output(self) except *
    cdef void _leave_output(self) except *
    cdef void _drop_inherited(self) except *
    cdef void _acquire(self, FairLock lock) except *
    cdef void _let_others_run(self) except *
    cdef Py_ssize_t _receive_now(self, target, Py_ssize_t at, Py_ssize_t lacking) except? -2
    cdef bint _await_input(self) except? False
    cdef Py_ssize_t _send(self, view, Py_ssize_t start, Py_ssize_t stop) except? -2
    cdef bint _send_buffered(self) except? False
    cdef void _flush_buffer(self) except *
    cdef object _own_flush(self)
    cdef void _close(self) except *
    cdef void _flush_at_close(self) except *
    cdef void _drop(self) except *
