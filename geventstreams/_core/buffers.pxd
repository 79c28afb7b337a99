cimport cython

cimport geventstreams._native.memory as _bytes

cdef Py_ssize_t BLOCK, SMALL, _LARGE, _MANY, CALLS
cdef long NO_PERMIT
cdef BlockPool BLOCKS


@cython.final
cdef class Block:
    cdef bytearray store
    cdef object view


@cython.final
cdef class BlockPool:
    cdef readonly Py_ssize_t size, least_room
    cdef list blocks
    cdef Py_ssize_t most

    cdef Block make(self)


cdef class ByteQueue:
    cdef BlockPool pool
    cdef public bytearray store
    cdef public object view
    cdef public Py_ssize_t start, end
    cdef public Block leased
    cdef public long permit
    cdef public Py_ssize_t calls

    cdef void _init_queue(self, BlockPool pool) except *
    @cython.locals(block=Block)
    cdef int _lease(self) except -1
    @cython.locals(pool=BlockPool)
    cdef int _release(self) except -1
    cdef int _resettle(self, Py_ssize_t capacity, Py_ssize_t at) except -1
    cdef int _move_to_front(self) except -1
    cdef int _grow(self, Py_ssize_t capacity) except -1
    @cython.locals(capacity=Py_ssize_t, held=Py_ssize_t, larger=Py_ssize_t)
    cpdef void reserve(self, Py_ssize_t count) except *
    cpdef int append(self, object data, Py_ssize_t start, Py_ssize_t count) except -1


cdef class InputBuffer(ByteQueue):
    cdef public Py_ssize_t searched, portion
    cdef public long long taken
    cdef public list counts

    @cython.locals(block=Block)
    cpdef object space(self)
    cpdef Py_ssize_t absorb(self) except -1
    cpdef int settle(self) except -1
    @cython.locals(calls=Py_ssize_t)
    cpdef int count_call(self) except -1
    @cython.locals(start=Py_ssize_t)
    cdef int _advance(self, Py_ssize_t count) except -1
    @cython.locals(start=Py_ssize_t, stop=Py_ssize_t, calls=Py_ssize_t)
    cpdef bytes take(self, Py_ssize_t count)
    cpdef str take_latin1(self, Py_ssize_t count)
    cpdef int take_byte(self) except -2
    cpdef Py_ssize_t take_into(self, object target, Py_ssize_t at, Py_ssize_t stop) except -1
    cpdef bytes peek(self, Py_ssize_t count)
    cpdef int byte_at(self, Py_ssize_t index) except -2
    cpdef void skip(self, Py_ssize_t count) except *
    cpdef Py_ssize_t line_length(self) except -1
    cpdef Py_ssize_t find(self, bytes wanted, Py_ssize_t start, Py_ssize_t stop) except -2
    cpdef void put_back(self, object data) except *
    cpdef void clear(self) except *


cdef class OutputBuffer(ByteQueue):
    cdef public long long sent, boundary, first_end
    cdef public list ends

    cpdef int put(self, object data, Py_ssize_t start, Py_ssize_t count) except -1
    cdef int _put_copy(self, object data, Py_ssize_t start, Py_ssize_t count) except -1
    cdef void _note_single(self) noexcept
    cpdef int strike(self, Py_ssize_t count) except -1
    cpdef void clear(self) except *
