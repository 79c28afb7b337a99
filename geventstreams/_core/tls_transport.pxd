cimport cython

cimport geventstreams._native.memory as _bytes
from geventstreams._core.buffers cimport InputBuffer
from geventstreams._core.tls_records cimport Decrypter, RecordBuffer, Records
from geventstreams._core.transport_base cimport LayeredTransport

cdef Py_ssize_t RECORD, LARGEST_BATCH, MOST_AHEAD, LOOKS, ENDED, WOULD_WAIT


cdef class TLSTransport(LayeredTransport):
    cdef readonly bint received_close_notify, output_ended
    cdef readonly object object
    cdef object _write
    cdef RecordBuffer _cipher
    cdef Decrypter _decrypter
    cdef InputBuffer _ahead
    cdef Records _records
    cdef Py_ssize_t _batch, _written_unseen
    cdef bint _allow_truncation, _needs_input, _shaken, _closed, _sent_close_notify
    cdef tuple _end, _broken

    @cython.locals(room=Py_ssize_t)
    cdef Py_ssize_t _receive(self, space, Py_ssize_t start, list counts) except? -2
    cdef void _on_other_record(self) except *
    cdef Py_ssize_t _on_receive(self, Py_ssize_t count) except? -2
    cdef Py_ssize_t _look(self) except? -2
    cdef Py_ssize_t _look_ahead(self) except? -2
    cdef bint _holds_input(self) except -1
    @cython.locals(at=Py_ssize_t, last=Py_ssize_t, size=Py_ssize_t, has_looked=bint)
    cdef void _encrypt(self, data, Py_ssize_t start, Py_ssize_t stop) except *
    cdef void _look_for_handshake(self) except *
    cdef void _push(self) except *
    cdef bint _has_failed(self) except -1
    cdef void _answer(self) except *
