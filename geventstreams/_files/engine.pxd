cimport geventstreams._native.greenlets as _greenlets
cimport geventstreams._native.interpreter as _interpreter
cimport geventstreams._native.memory as _bytes
from geventstreams._core.buffers cimport ByteQueue, InputBuffer, OutputBuffer
from geventstreams._core.fair_lock cimport FairLock, fair_lock_between
from geventstreams._core.fork cimport ForkGeneration
from geventstreams._core.reader cimport ByteSource
from geventstreams._files.transports cimport FileTransport

cdef ForkGeneration FORK
cdef long NO_PERMIT
cdef double NEVER
cdef Py_ssize_t CALLS, WOULD_WAIT
cdef InputBuffer NO_INPUT
cdef OutputBuffer NO_OUTPUT
cdef FairLock _NO_LOCK


cdef class FileEngine(ByteSource):
    cdef readonly OutputBuffer output
    cdef readonly bint closed, detached
    cdef readonly FileTransport transport
    cdef Py_ssize_t buffering
    cdef FairLock input_lock, output_lock
    cdef long generation
    cdef bint _needs_lock
    cdef object closer, _raw, _reader, _writer
    cdef tuple _lost

    cdef void _init_engine(self, FileTransport transport, Py_ssize_t buffering, bint readable, bint writable) except *
    cdef void refuse_interrupted(self) except *
    cdef void enter_output(self) except *
    cdef void leave_output(self) except *
    cdef void _drop_inherited(self) except *
    cdef void _enter(self, ByteQueue buffer, FairLock lock, user, str ability) except *
    cdef bint _leaves_free(self, FairLock lock) except? False
    cdef void _count_calls(self, ByteQueue buffer) except *
    cdef void _let_others_run(self) except *
    cdef Py_ssize_t send(self, view, Py_ssize_t start, Py_ssize_t stop) except? -2
    cdef bint send_buffered(self) except? False
    cdef void flush(self) except *
    cdef void close(self) except *
