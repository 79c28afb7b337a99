# The C twin of clock.py.

cdef extern from *:
    """
    #include <time.h>
    static double geventstreams_monotonic(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    }
    """
    double monotonic "geventstreams_monotonic"() noexcept nogil


cdef inline void shorten(object clock) noexcept:
    pass


cdef inline void lengthen(object clock) noexcept:
    pass
