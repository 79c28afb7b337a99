"""The servers that are measured: one file for each way to write them, one function for each role.

The roles are the same everywhere, `(listener, options)`, and never return:

* `echo`: gives back every line.
* `one_line`: gives back one line and closes the connection.
* `receive`, `lines`: after a `HEADER` (octets, size) so many octets come, read in pieces of `size`, or line by line;
  then ANSWER goes back.
* `send`: after a `HEADER` so many octets go out, in pieces of `size`.

Each is written as its users write it, framing lines where the role says lines.
"""
