# The C twins of _greenlets.py.

cdef extern from *:
    """
    #include <greenlet/greenlet.h>
    static inline int geventstreams_has_greenlet(void) {
        if (_PyGreenlet_API == NULL)
            PyGreenlet_Import();
        return _PyGreenlet_API != NULL;
    }
    static inline PyObject *geventstreams_current(void) {
        return geventstreams_has_greenlet() ? (PyObject *)PyGreenlet_GetCurrent() : NULL;
    }
    static inline PyObject *geventstreams_switch(PyObject *greenlet) {
        return geventstreams_has_greenlet() ? PyGreenlet_Switch((PyGreenlet *)greenlet, NULL, NULL) : NULL;
    }
    static inline int geventstreams_has_died(PyObject *hub) {
        return geventstreams_has_greenlet() && !PyGreenlet_ACTIVE((PyGreenlet *)hub) && PyGreenlet_STARTED((PyGreenlet *)hub);
    }
    """
    bint geventstreams_has_died(object hub) noexcept
    object geventstreams_current()
    object geventstreams_switch(object greenlet)


cdef inline object current():
    return geventstreams_current()


cdef inline bint has_died(object hub) noexcept:
    return geventstreams_has_died(hub)


cdef inline int switch(object greenlet) except -1:
    geventstreams_switch(greenlet)
    return 0
