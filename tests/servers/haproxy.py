"""HAProxy for tests: the test gives its configuration."""

from .base import Server


class HAProxy(Server):
    """HAProxy with the configuration text of a test, which chooses the ports: `HAProxy(text, front=port)`.

    It is ready when all those ports listen. The text has `defaults`, `frontend`, `backend` or `listen` sections; a
    `global` section comes before it. `bind … ssl crt FILE` takes a certificate's `both` file; `server … send-proxy` or
    `send-proxy-v2` tells a backend the client's address.
    """

    name = "HAProxy"
    program = "haproxy"
    version_option = "-v"

    def __init__(self, configuration: str, **ports: int) -> None:
        super().__init__()
        self.ports = ports
        self._configuration = configuration

    def prepare(self) -> None:
        beginning = "global\n    log stderr format raw local0\n    maxconn 4000\n"
        self.write("haproxy.cfg", f"{beginning}{self._configuration}\n")

    def command(self) -> list[str]:
        return ["-db", "-f", str(self.directory / "haproxy.cfg")]
