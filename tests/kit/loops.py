"""Which of gevent's event loops the tests run on."""

import gevent

from geventstreams._core.hub_hold import stays_armed

ON_LIBUV: bool = not stays_armed(gevent.get_hub().loop)
