"""The servers that are measured: one file for each library and style, one function for each role.

A role is called with `(listener, options)` and never returns:

* `echo`: sends every line back.
* `one_line`: sends one line back and closes the connection.
* `receive`, `lines`: after a `HEADER` (bytes, size) so many bytes come, read in pieces of `size`, or line by line;
  then ANSWER goes back.
* `send`: after a `HEADER` so many bytes go out, in pieces of `size`.
* `relay`: passes everything on to another server.

Each is written as users of the library write it, with line framing where the role says lines.
"""
