# The C twins of interpreter.py.

cdef extern from *:
    """
    static int geventstreams_refers(PyObject *reference, PyObject *thing) {
    #if PY_VERSION_HEX >= 0x030D0000
        PyObject *referent = NULL;
        int same = PyWeakref_GetRef(reference, &referent) == 1 && referent == thing;
        Py_XDECREF(referent);
        return same;
    #else
        return PyWeakref_GetObject(reference) == thing;
    #endif
    }
    """
    bint geventstreams_refers(object reference, object thing) noexcept
    unsigned long PyThread_get_thread_ident() noexcept


cdef inline bint compiled() noexcept:
    return True


cdef inline unsigned long thread_id() noexcept:
    return PyThread_get_thread_ident()


cdef inline bint refers(object reference, object thing) noexcept:
    return geventstreams_refers(reference, thing)
