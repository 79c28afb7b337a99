"""MariaDB for tests: a database of its own with one user, made for speed and not to survive a crash."""

from typing import Any

from .base import HOST, Server, exchange
from .certificates import Certificate


class MariaDB(Server):
    """MariaDB on `ports["mysql"]`, with TLS there when given a certificate; `connection` has what a client needs."""

    name = "MariaDB"
    program = "mariadbd"
    run_as = "mysql"

    user_name = "tester"
    password = "secret"
    database = "tester"

    def __init__(self, certificate: Certificate | None = None) -> None:
        super().__init__("mysql")
        self._certificate = certificate
        self._tls_options: list[str] = []

    @property
    def connection(self) -> dict[str, Any]:
        """The keyword arguments `pymysql.connect` needs."""
        who = {"user": self.user_name, "password": self.password, "database": self.database}
        return {"host": HOST, "port": self.ports["mysql"], **who}

    def prepare(self) -> None:
        if self._certificate is not None:
            chain, key = self.install(self._certificate)
            self._tls_options = [f"--ssl-cert={chain}", f"--ssl-key={key}"]
        user = f"'{self.user_name}'@'%'"
        self.write(
            "init.sql",
            f"CREATE DATABASE {self.database};\n"
            f"CREATE USER {user} IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON {self.database}.* TO {user};\n",
        )
        self.run(
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={self.directory}/data",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            "--innodb-use-native-aio=0",
        )

    def command(self) -> list[str]:
        return [
            "--no-defaults",
            f"--datadir={self.directory}/data",
            f"--socket={self.directory}/mariadb.sock",
            f"--pid-file={self.directory}/mariadb.pid",
            f"--init-file={self.directory}/init.sql",
            f"--bind-address={HOST}",
            f"--port={self.ports['mysql']}",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--max-connections=300",
            "--max-allowed-packet=256M",
            "--innodb-use-native-aio=0",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-fast-shutdown=2",
            *self._tls_options,
        ]

    def answers(self) -> bool:
        # It speaks first: three bytes of length, a number, protocol version 10 and its own version.
        return exchange(self.ports["mysql"])[4:5] == b"\x0a"
