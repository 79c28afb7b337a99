cimport geventstreams._native.attributes as _attributes
cimport geventstreams._native.syscalls as _system
from geventstreams._core.buffers cimport InputBuffer, OutputBuffer
from geventstreams._core.binary_file cimport BinaryFile
from geventstreams._files.transports cimport FileTransport
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.fair_lock cimport FairLock

cdef ForkGeneration FORK
cdef long NO_PERMIT
cdef double NEVER
cdef Py_ssize_t CALLS


cdef Py_ssize_t WOULD_WAIT


cdef class FileEngine(BinaryFile):
    cdef object __weakref__
    cdef readonly InputBuffer input
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
    cdef long _process
    cdef readonly bint _alive

    cdef void _refuse_interrupted(self) except *
    cdef void _enter_input(self) except *
    cdef void _leave_input(self) except *
    cdef void _look_at_the_clock(self) except *
    cdef void _enter_output(self) except *
    cdef void _leave_output(self) except *
    cdef void _drop_inherited(self) except *
    cdef void _take(self, FairLock turn) except *
    cdef void _let_others_run(self) except *
    cdef Py_ssize_t _fill(self, Py_ssize_t lacking) except? -2
    cdef Py_ssize_t _receive(self, target, Py_ssize_t at, Py_ssize_t most) except? -2
    cdef Py_ssize_t _receive_now(self, target, Py_ssize_t at, Py_ssize_t most) except? -2
    cdef Py_ssize_t _send(self, octets, Py_ssize_t start, Py_ssize_t stop) except? -2
    cdef bint _send_buffered(self) except? False
    cdef void _flush_buffer(self) except *
    cdef void _close(self) except *
    cdef void _flush_at_close(self) except *
    cdef void _drop(self) except *
