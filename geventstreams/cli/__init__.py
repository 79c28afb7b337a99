"""The command line: a file for each command, and what they share.

A command is a module with `EXAMPLES` for its help, and with `add_parser(commands)`, which sets `run`: it takes the options, and returns an
exit status or raises.
"""

# Invariants: only `__main__` prints the line of a failure, which `statuses.end_of` makes. No socket is opened and no greenlet started
# before all options are checked.
