"""PostgreSQL for tests: a cluster of its own with one user, made for speed and not to survive a crash."""

import signal
import struct
import subprocess
from pathlib import Path
from typing import Any

from .base import HOST, Server, exchange
from .certificates import Certificate
from .programs import find_program

_PROTOCOL_3 = 196608


class PostgreSQL(Server):
    """PostgreSQL on `ports["postgresql"]`, TLS there when given a certificate; `connection` has what a client needs."""

    name = "PostgreSQL"
    program = "postgres"
    run_as = "postgres"
    # "Fast": SIGTERM would wait until all clients have gone.
    stop_signal = signal.SIGINT

    user_name = "tester"
    password = "secret"
    database = "postgres"

    def __init__(self, certificate: Certificate | None = None) -> None:
        super().__init__("postgresql")
        self._certificate = certificate
        self._tls_options: list[str] = []

    @property
    def connection(self) -> dict[str, Any]:
        """The keyword arguments `pg8000.connect` needs."""
        who = {"user": self.user_name, "password": self.password, "database": self.database}
        return {"host": HOST, "port": self.ports["postgresql"], **who}

    def prepare(self) -> None:
        if self._certificate is not None:
            chain, key = self.install(self._certificate)
            self._tls_options = ["-c", "ssl=on", "-c", f"ssl_cert_file={chain}", "-c", f"ssl_key_file={key}"]
        password = self.write("password", self.password)
        self.run(
            "initdb",
            f"--pgdata={self._data}",
            f"--username={self.user_name}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        )

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": self.ports["postgresql"],
            "unix_socket_directories": "",
            "max_connections": 300,
            "fsync": "off",
            # In its own directory, not in /dev/shm, where it would outlive a killed server.
            "dynamic_shared_memory_type": "mmap",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return ["-D", str(self._data), *options, *self._tls_options]

    def answers(self) -> bool:
        # A login is answered with "R" (what proof is wanted), or with an error as long as the database starts up.
        login = struct.pack("!I", _PROTOCOL_3) + f"user\0{self.user_name}\0\0".encode()
        return exchange(self.ports["postgresql"], struct.pack("!I", len(login) + 4) + login)[:1] == b"R"

    def clean_up(self) -> None:
        # A killed server leaves a segment of System V memory behind; key and number stand in its pid file's line 7.
        pid_file = self._data / "postmaster.pid"
        lines = pid_file.read_text().splitlines() if pid_file.exists() else []
        for line in lines[6:7]:
            _key, number = line.split()
            command = [find_program("ipcrm"), "--shmem-id", number]
            subprocess.run(command, capture_output=True, check=False)

    @property
    def _data(self) -> Path:
        return self.directory / "data"
