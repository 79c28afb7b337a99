"""Which of gevent's event loops the tests run on."""

import gevent

ON_LIBUV: bool = "libuv" in type(gevent.get_hub().loop).__module__
