/* What a measured process asks callgrind for: `begin` and `end` are around what is counted, `report` writes the count to a file, under a
 * label. `start` and `stop` are around all of it, because a program runs many times slower in between. Without valgrind they do nothing.
 */
#include <valgrind/callgrind.h>

void start(void)
{
    CALLGRIND_START_INSTRUMENTATION;
}

void stop(void)
{
    CALLGRIND_STOP_INSTRUMENTATION;
}

void begin(void)
{
    CALLGRIND_TOGGLE_COLLECT;
}

void end(void)
{
    CALLGRIND_TOGGLE_COLLECT;
}

void report(const char *label)
{
    CALLGRIND_DUMP_STATS_AT(label);
}
