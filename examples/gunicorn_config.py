"""gunicorn's gevent worker with our `makefile`: gunicorn --config gunicorn_config.py wsgi_app:application.

The worker patches the standard library itself. `patch_makefile` belongs into each worker, after the fork.
"""

worker_class = "gevent"
workers = 2


def post_fork(server, worker):
    """Called by gunicorn in each new worker."""
    from geventstreams.monkey import patch_makefile  # noqa: PLC0415  # not in the master, which does not run gevent

    patch_makefile()
