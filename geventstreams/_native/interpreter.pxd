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
    static Py_ssize_t geventstreams_identity(PyObject *things) {
        size_t result = (size_t)PyList_GET_SIZE(things);
        for (Py_ssize_t index = 0; index < PyList_GET_SIZE(things); index++)
            result = (result ^ ((size_t)PyList_GET_ITEM(things, index) >> 4)) * (size_t)0x9E3779B97F4A7C15u;
        return (Py_ssize_t)result;
    }
    """
    Py_ssize_t identity_of "geventstreams_identity"(list things) noexcept
    bint refers "geventstreams_refers"(object reference, object thing) noexcept
    unsigned long thread_id "PyThread_get_thread_ident"() noexcept


cdef inline bint compiled() noexcept:
    return True
