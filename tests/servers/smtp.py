"""Exim for tests: an SMTP server with STARTTLS and with TLS from the start, which delivers all into a directory."""

import grp
import pwd

from .base import HOST, Server, exchange
from .certificates import Certificate

_CONFIGURATION = """
primary_hostname = localhost
exim_user = {user}
exim_group = {group}
spool_directory = {directory}/spool
log_file_path = {directory}/exim-%s.log
pid_file_path = {directory}/exim.pid
local_interfaces = {host}
daemon_smtp_ports = {ports}
{tls}
host_lookup =
helo_lookup_domains =
rfc1413_hosts =
keep_environment =
smtp_accept_max = 300
smtp_connect_backlog = 512
smtp_accept_queue_per_connection = 0
message_size_limit = 200M
acl_smtp_rcpt = everybody
acl_smtp_data = everybody
begin acl
everybody:
    accept
begin routers
all:
    driver = accept
    transport = into_directory
begin transports
into_directory:
    driver = appendfile
    directory = {directory}/mail
    user = {user}
    group = {group}
begin authenticators
plain:
    driver = plaintext
    public_name = PLAIN
    server_prompts = :
    server_condition = ${{if and {{ {{eq {{$auth2}}{{{name}}}}} {{eq {{$auth3}}{{{password}}}}} }}}}
    server_set_id = $auth2
"""


class Exim(Server):
    """Exim on `ports["smtp"]`; with a certificate STARTTLS there, and TLS from the start on `ports["smtps"]`.

    It accepts every message, logs in `user_name` with `password` (AUTH PLAIN), and delivers shortly after: `messages`.
    """

    name = "Exim"
    program = "exim4"
    version_option = "-bV"
    run_as = "Debian-exim"

    user_name = "tester"
    password = "secret"

    def __init__(self, certificate: Certificate | None = None) -> None:
        super().__init__("smtp", *(["smtps"] if certificate else []))
        self._certificate = certificate

    def messages(self) -> list[bytes]:
        """The messages delivered so far, each with its header and with bare newlines."""
        return [path.read_bytes() for path in sorted((self.directory / "mail").glob("q*"))]

    def prepare(self) -> None:
        (self.directory / "spool").mkdir()
        configuration = _CONFIGURATION.format(
            user=self.user,
            group=grp.getgrgid(pwd.getpwnam(self.user).pw_gid).gr_name,
            directory=self.directory,
            host=HOST,
            ports=" : ".join(map(str, self.ports.values())),
            tls=self._tls_lines(),
            name=self.user_name,
            password=self.password,
        )
        self.write("exim.conf", configuration)

    def command(self) -> list[str]:
        return ["-C", str(self.directory / "exim.conf"), "-bdf"]

    def answers(self) -> bool:
        return super().answers() and exchange(self.ports["smtp"]).startswith(b"220 ")

    def _tls_lines(self) -> str:
        if self._certificate is None:
            return "tls_advertise_hosts ="
        chain, key = self.install(self._certificate)
        lines = ["tls_advertise_hosts = *", f"tls_certificate = {chain}", f"tls_privatekey = {key}"]
        return "\n".join([*lines, f"tls_on_connect_ports = {self.ports['smtps']}"])
