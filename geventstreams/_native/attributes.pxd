# The C twins of attributes.py.

cdef extern from *:
    """
    // CPython 3.11 calls methods fast where there is no dictionary or an empty one, but not where one may be made later: it keeps the
    // empty one, which costs 64 bytes. Later versions call fast in that case, too.
    static inline void geventstreams_forget_empty(PyObject *file) {
    #if PY_VERSION_HEX < 0x030B0000 || PY_VERSION_HEX >= 0x030C0000
        PyObject **attributes = _PyObject_GetDictPtr(file);
        if (attributes != NULL && *attributes != NULL && PyDict_CheckExact(*attributes) && PyDict_GET_SIZE(*attributes) == 0)
            Py_CLEAR(*attributes);
    #else
        (void)file;
    #endif
    }
    static inline PyObject *geventstreams_override(PyObject *file, PyObject *name) {
        PyObject **attributes = _PyObject_GetDictPtr(file);
        PyObject *value = NULL;
        if (attributes != NULL && *attributes != NULL && PyDict_CheckExact(*attributes)) {
            value = PyDict_GetItemWithError(*attributes, name);
            if (value == NULL && PyErr_Occurred())
                return NULL;
        }
        if (value == NULL)
            value = Py_None;
        Py_INCREF(value);
        return value;
    }
    """
    void geventstreams_forget_empty(object file) noexcept
    object geventstreams_override(object file, object name)


cdef inline void forget_empty(object file) noexcept:
    geventstreams_forget_empty(file)


cdef inline object override(object file, str name):
    return geventstreams_override(file, name)
