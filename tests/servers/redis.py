"""Redis for tests: nothing on disk, no password, also over TLS."""

from .base import HOST, Server, exchange
from .certificates import Certificate


class Redis(Server):
    """Redis on `ports["redis"]` and, with a certificate, over TLS on `ports["rediss"]`."""

    name = "Redis"
    program = "redis-server"
    run_as = "redis"

    def __init__(self, certificate: Certificate | None = None) -> None:
        super().__init__("redis", *(["rediss"] if certificate else []))
        self._certificate = certificate

    def prepare(self) -> None:
        lines = [f"bind {HOST}", f"port {self.ports['redis']}", f"dir {self.directory}", 'save ""', "appendonly no"]
        if self._certificate is not None:
            chain, key = self.install(self._certificate)
            lines += [f"tls-port {self.ports['rediss']}", "tls-auth-clients no"]
            lines += [f"tls-cert-file {chain}", f"tls-key-file {key}"]
        self.write("redis.conf", "\n".join(lines) + "\n")

    def command(self) -> list[str]:
        return [str(self.directory / "redis.conf")]

    def answers(self) -> bool:
        return super().answers() and exchange(self.ports["redis"], b"PING\r\n") == b"+PONG\r\n"
