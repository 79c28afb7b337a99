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
    static inline int geventstreams_is_method(PyObject *method, PyObject *other) {
        return method == other || (Py_IS_TYPE(method, &PyMethodDescr_Type) && Py_IS_TYPE(other, &PyMethodDescr_Type)
                                   && ((PyMethodDescrObject *)method)->d_method == ((PyMethodDescrObject *)other)->d_method);
    }
    // The interpreter calls a method at once only where the object is of the very class that the method was made for.
    static inline int geventstreams_own_methods(PyObject *of) {
        PyTypeObject *kind = (PyTypeObject *)of;
        for (Py_ssize_t i = 1; i < PyTuple_GET_SIZE(kind->tp_mro); i++) {
            PyObject *name, *method, *own, *methods = ((PyTypeObject *)PyTuple_GET_ITEM(kind->tp_mro, i))->tp_dict;
            Py_ssize_t at = 0;
            /* NULL: `object` of CPython 3.12 and later, whose methods all begin with an underscore. */
            while (methods != NULL && PyDict_Next(methods, &at, &name, &method)) {
                if (!Py_IS_TYPE(method, &PyMethodDescr_Type) || PyUnicode_READ_CHAR(name, 0) == '_' || _PyType_Lookup(kind, name) != method)
                    continue;
                own = PyDescr_NewMethod(kind, ((PyMethodDescrObject *)method)->d_method);
                if (own == NULL || PyDict_SetItem(kind->tp_dict, name, own) < 0) {
                    Py_XDECREF(own);
                    return -1;
                }
                Py_DECREF(own);
                PyType_Modified(kind);
            }
        }
        return 0;
    }
    """
    void forget_empty "geventstreams_forget_empty"(object file) noexcept
    object override "geventstreams_override"(object file, str name)
    bint is_method "geventstreams_is_method"(object method, object other) noexcept
    int own_methods "geventstreams_own_methods"(object kind) except -1
