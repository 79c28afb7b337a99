# The C twins of greenlets.py.

cdef extern from *:
    """
    #include <greenlet/greenlet.h>

    /* Classes of gevent without hooks, whose attributes cannot be changed; NULL where gevent's are not compiled. */
    static PyTypeObject *geventstreams_greenlet = NULL, *geventstreams_raw_greenlet = NULL, *geventstreams_hub = NULL;
    static PyObject *geventstreams_switch_name, *geventstreams_switch_out_name, *geventstreams_loop_name;
    static PyGetSetDef *geventstreams_loop = NULL; /* of the hub's attribute, which every wait asks for */

    static PyTypeObject *geventstreams_class(const char *module_name, const char *name, int is_fixed) {
        PyObject *module = PyImport_ImportModule(module_name), *kind;
        if (module == NULL)
            return NULL;
        kind = PyObject_GetAttrString(module, name);
        Py_DECREF(module);
        if (kind != NULL && (!PyType_Check(kind) || (is_fixed && (((PyTypeObject *)kind)->tp_flags & Py_TPFLAGS_HEAPTYPE))))
            Py_CLEAR(kind);
        return (PyTypeObject *)kind;
    }
    static int geventstreams_import_greenlet(void) {
        geventstreams_switch_name = PyUnicode_InternFromString("switch");
        geventstreams_switch_out_name = PyUnicode_InternFromString("switch_out");
        geventstreams_loop_name = PyUnicode_InternFromString("loop");
        geventstreams_greenlet = geventstreams_class("gevent", "Greenlet", 1);
        if (!PyErr_Occurred())
            geventstreams_raw_greenlet = geventstreams_class("gevent._greenlet_primitives", "TrackedRawGreenlet", 1);
        if (!PyErr_Occurred())
            geventstreams_hub = geventstreams_class("gevent.hub", "Hub", 0);
        if (geventstreams_hub != NULL) {
            PyObject *loop = _PyType_Lookup(geventstreams_hub, geventstreams_loop_name);
            if (loop != NULL && Py_IS_TYPE(loop, &PyGetSetDescr_Type))
                geventstreams_loop = ((PyGetSetDescrObject *)loop)->d_getset;
        }
        if (!PyErr_Occurred())
            PyGreenlet_Import();
        return _PyGreenlet_API != NULL;
    }
    static inline int geventstreams_has_greenlet(void) {
        return _PyGreenlet_API != NULL || geventstreams_import_greenlet();
    }
    static inline PyObject *geventstreams_current(void) {
        return geventstreams_has_greenlet() ? (PyObject *)PyGreenlet_GetCurrent() : NULL;
    }
    static inline PyObject *geventstreams_loop_of(PyObject *hub) {
        if (!geventstreams_has_greenlet())
            return NULL;
        if (Py_TYPE(hub) == geventstreams_hub && geventstreams_loop != NULL)
            return geventstreams_loop->get(hub, geventstreams_loop->closure);
        return PyObject_GetAttr(hub, geventstreams_loop_name);
    }
    static inline PyObject *geventstreams_switch(PyObject *greenlet) {
        return geventstreams_has_greenlet() ? PyGreenlet_Switch((PyGreenlet *)greenlet, NULL, NULL) : NULL;
    }
    static inline int geventstreams_has_died(PyObject *hub) {
        return geventstreams_has_greenlet() && !PyGreenlet_ACTIVE((PyGreenlet *)hub) && PyGreenlet_STARTED((PyGreenlet *)hub);
    }
    /* Whether the class of a greenlet or the greenlet itself has this hook, or may have it, as far as can be seen at once. */
    static inline int geventstreams_has_hook(PyObject *greenlet, PyObject *name) {
        PyTypeObject *kind = Py_TYPE(greenlet);
        PyObject *own;
        if (kind != geventstreams_greenlet && kind != &PyGreenlet_Type && kind != geventstreams_raw_greenlet)
            return 1;
        own = ((PyGreenlet *)greenlet)->dict; /* a gevent.Greenlet keeps its function there, and nearly always nothing else */
        return own != NULL && !(kind == geventstreams_greenlet && PyDict_GET_SIZE(own) == 1) && PyDict_Contains(own, name);
    }
    static inline int geventstreams_leaves_plainly(PyObject *greenlet, PyObject *hub) {
        return Py_TYPE(hub) == geventstreams_hub && !geventstreams_has_hook(greenlet, geventstreams_switch_out_name);
    }
    static inline int geventstreams_resumes_plainly(PyObject *greenlet) {
        return geventstreams_has_greenlet() && !geventstreams_has_hook(greenlet, geventstreams_switch_name);
    }
    /* A context that is entered already, or one that was left otherwise, is left to the greenlet's attribute. */
    static inline int geventstreams_enter_context(PyObject *greenlet, PyObject *context) {
        if (PyContext_Enter(context) == 0)
            return 0;
        PyErr_Clear();
        return PyObject_SetAttrString(greenlet, "gr_context", context);
    }
    static inline void geventstreams_leave_context(PyObject *context) {
        if (PyContext_Exit(context) < 0)
            PyErr_Clear();
    }
    """
    int enter_context "geventstreams_enter_context"(object greenlet, object context) except -1
    void leave_context "geventstreams_leave_context"(object context) noexcept
    bint has_died "geventstreams_has_died"(object hub) noexcept
    object current "geventstreams_current"()
    object loop_of "geventstreams_loop_of"(object hub)
    object geventstreams_switch(object greenlet)
    bint has_hook "geventstreams_has_hook"(object greenlet, str name) noexcept
    bint geventstreams_leaves_plainly(object greenlet, object hub) noexcept
    bint geventstreams_resumes_plainly(object greenlet)


cdef inline int leave(object greenlet, object hub) except -1:
    if geventstreams_leaves_plainly(greenlet, hub):
        geventstreams_switch(hub)
    else:
        hub.switch()
    return 0


cdef inline int resume(object greenlet) except -1:
    if geventstreams_resumes_plainly(greenlet):
        geventstreams_switch(greenlet)
    else:
        greenlet.switch()
    return 0
