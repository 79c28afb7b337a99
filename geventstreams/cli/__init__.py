"""The command line: one file for each command, and what they share.

Rules for the next editor: a command is a module with `add_parser(commands)`, which sets `run`; `run(options)` gives an
exit status or raises, and `statuses.explained` makes one line of what it raised. Only `main` prints that line. Nothing
here opens a socket or starts a greenlet before all options are known to be good.
"""
