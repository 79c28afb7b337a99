"""Databases: PyMySQL with MariaDB, pg8000 with PostgreSQL, redis-py with Redis."""

import contextlib
import struct
from typing import Any

import pg8000.dbapi
import pymysql
import redis
from client import STALL, Client, failing, limited, timing_out
from middle_man import HOST, LIMIT, MiddleMan
from servers import MariaDB, PostgreSQL, Redis

ROW = 200_000
IN_THE_SECOND_ROW = ROW * 3 // 2


class MySQL(Client):
    """PyMySQL."""

    errors = (pymysql.err.OperationalError,)
    server: MariaDB

    def make_server(self) -> MariaDB:
        return MariaDB(self.trust.certificate)

    @property
    def port(self) -> int:
        return self.server.ports["mysql"]

    def connection(self, port: int, **options: Any) -> Any:
        """A connection to that port."""
        return pymysql.connect(**(self.server.connection | {"port": port}), read_timeout=LIMIT, **options)

    def converse(self, number: int) -> None:
        tls = {"ssl_ca": str(self.trust.ca), "ssl_verify_identity": True} if number % 2 else {"ssl_disabled": True}
        with self.connection(self.port, **tls) as connection, connection.cursor() as cursor:
            for size in (1, 100, 5000):
                cursor.execute("SELECT seq + %s, REPEAT('x', %s) FROM seq_1_to_200", (number, size))
                assert cursor.fetchall() == tuple((number + at, "x" * size) for at in range(1, 201))

    def stall(self) -> None:
        question = f"SELECT seq, REPEAT('x', {ROW}) FROM seq_1_to_5"
        with MiddleMan(self.port) as man:
            connection = self.connection(man.port, ssl_disabled=True)
            man.hold_after(IN_THE_SECOND_ROW)
            connection._execute_command(pymysql.constants.COMMAND.COM_QUERY, question)
            file = limited(connection._rfile, LIMIT)
            packets: list[bytes] = []
            while sum(map(len, packets)) < ROW:
                packets.append(packet(file))
            head = file.read(4)
            size = int.from_bytes(head[:3], "little")
            limited(file, STALL)
            for _ in range(2):
                with timing_out():
                    file.read(size)
            man.let_go()
            limited(file, LIMIT)
            packets.append(file.read(size))
            while sum(one[:1] == b"\xfe" and len(one) < 9 for one in packets) < 2:
                packets.append(packet(file))
            rows = [one for one in packets if len(one) > ROW]
            assert rows == [b"\x01%d\xfd" % at + ROW.to_bytes(3, "little") + b"x" * ROW for at in range(1, 6)]
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                assert cursor.fetchall() == ((1,),)
                man.hold_after(IN_THE_SECOND_ROW)
                connection._read_timeout = STALL
                with failing(pymysql.err.OperationalError):
                    cursor.execute(question)
                man.let_go()

    def ask_on(self, port: int) -> None:
        with self.connection(port, ssl_disabled=True) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT REPEAT('x', {ROW}) FROM seq_1_to_1000")


def packet(file: Any) -> bytes:
    """The body of the next packet of MySQL's protocol."""
    return bytes(file.read(int.from_bytes(file.read(4)[:3], "little")))


class Postgres(Client):
    """pg8000."""

    errors = (pg8000.dbapi.Error, OSError, struct.error)
    server: PostgreSQL

    def make_server(self) -> PostgreSQL:
        return PostgreSQL(self.trust.certificate)

    @property
    def port(self) -> int:
        return self.server.ports["postgresql"]

    def connection(self, port: int) -> Any:
        """A connection to that port."""
        return pg8000.dbapi.connect(**(self.server.connection | {"port": port}), timeout=LIMIT, ssl_context=False)

    def converse(self, number: int) -> None:
        connection = self.connection(self.port)
        cursor = connection.cursor()
        for size in (1, 100, 5000):
            cursor.execute("SELECT n + %s, REPEAT('x', %s) FROM generate_series(1, 200) AS n", (number, size))
            assert list(map(tuple, cursor.fetchall())) == [(number + at, "x" * size) for at in range(1, 201)]
        connection.close()

    def stall(self) -> None:
        with MiddleMan(self.port) as man:
            connection = self.connection(man.port)
            cursor = connection.cursor()
            file = limited(connection._sock, STALL)
            man.hold_after(IN_THE_SECOND_ROW)
            with failing(TimeoutError, pg8000.dbapi.InterfaceError):
                cursor.execute(f"SELECT n, REPEAT('x', {ROW}) FROM generate_series(1, 5) AS n")
            man.let_go()
            limited(file, LIMIT)
            # It had read the head of the second row. What it has asked for next is there, whole.
            rest = file.read(2 + 4 + 1 + 4 + ROW)
            assert rest == struct.pack("!hi1si", 2, 1, b"2", ROW) + b"x" * ROW
            for number in range(3, 6):
                kind, _size, columns, *first, size = struct.unpack("!1sihi1si", file.read(5 + 2 + 4 + 1 + 4))
                assert kind == b"D"
                assert columns == 2
                assert first == [1, b"%d" % number]
                assert size == ROW
                assert file.read(ROW) == b"x" * ROW
            connection.close()

    def ask_on(self, port: int) -> None:
        connection = self.connection(port)
        try:
            connection.cursor().execute(f"SELECT REPEAT('x', {ROW}) FROM generate_series(1, 1000)")
        finally:
            with contextlib.suppress(*self.errors):
                connection.close()


class RedisPy(Client):
    """redis-py, which reads by `recv`; and files that are made on its socket."""

    errors = (redis.RedisError,)
    server: Redis

    def make_server(self) -> Redis:
        return Redis(self.trust.certificate)

    @property
    def port(self) -> int:
        return self.server.ports["redis"]

    def prepare(self) -> None:
        with self.client(self.port) as client:
            client.set("large", b"x" * 50_000_000)
            client.set("page", b"y" * ROW)

    def client(self, port: int) -> redis.Redis:
        """One that does not try again."""
        return redis.Redis(HOST, port, socket_timeout=LIMIT, retry=None)

    def converse(self, number: int) -> None:
        options: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(self.trust.ca)} if number % 2 else {}
        port = self.server.ports["rediss" if number % 2 else "redis"]
        with redis.Redis(HOST, port, socket_timeout=LIMIT, **options) as client:
            for at in range(20):
                client.rpush(f"list {number}", f"item {at}")
            assert client.lrange(f"list {number}", 0, -1) == [b"item %d" % at for at in range(20)]
            client.set(f"binary {number}", bytes(range(256)) * number)
            assert client.get(f"binary {number}") == bytes(range(256)) * number

    def stall(self) -> None:
        with MiddleMan(self.port) as man:
            connection = redis.Connection(HOST, man.port, socket_timeout=LIMIT)
            connection.connect()
            connection._sock.settimeout(STALL)
            man.hold_after(ROW // 2)
            connection.send_command("GET", "page")
            with failing(redis.TimeoutError):
                connection.read_response(disconnect_on_error=False)
            man.let_go()
            connection._sock.settimeout(LIMIT)
            assert connection.read_response() == b"y" * ROW
            with connection._sock.makefile("rb") as file:
                man.hold_after(ROW // 2)
                connection.send_command("GET", "page")
                assert file.readline() == b"$%d\r\n" % ROW
                limited(file, STALL)
                for _ in range(2):
                    with timing_out():
                        file.read(ROW + 2)
                man.let_go()
                assert limited(file, LIMIT).read(ROW + 2) == b"y" * ROW + b"\r\n"
            connection.disconnect()

    def ask_on(self, port: int) -> None:
        with self.client(port) as client:
            client.get("large")
