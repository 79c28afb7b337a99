"""Dovecot for tests: IMAP and POP3, with STARTTLS and with TLS from the start."""

import grp
import pwd

from .base import HOST, Server, exchange
from .certificates import Certificate

_CONFIGURATION = """
protocols = imap pop3
base_dir = {directory}/run
state_dir = {directory}/state
log_path = /dev/stderr
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
disable_plaintext_auth = no
mail_location = maildir:{directory}/mail/%u
mail_max_userip_connections = 0
first_valid_uid = 1
passdb {{
    driver = static
    args = password={password}
}}
userdb {{
    driver = static
    args = uid={user} gid={group} home={directory}/home/%u
}}
service anvil {{
    chroot =
}}
service imap-login {{
    chroot =
    inet_listener imap {{
        address = {host}
        port = {imap}
    }}
    inet_listener imaps {{
        address = {host}
        port = {imaps}
    }}
}}
service pop3-login {{
    chroot =
    inet_listener pop3 {{
        address = {host}
        port = {pop3}
    }}
    inet_listener pop3s {{
        address = {host}
        port = {pop3s}
    }}
}}
{tls}
"""


class Dovecot(Server):
    """Dovecot on `ports["imap"]` and `ports["pop3"]`; with a certificate STARTTLS there, TLS on `imaps` and `pop3s`.

    Every user name logs in with `password` and has an empty mailbox of its own.
    """

    name = "Dovecot"
    program = "dovecot"
    run_as = "dovecot"
    # It waits for seconds when it has just had clients, and has nothing to save.
    stop_limit = 2.0

    user_name = "tester"
    password = "secret"

    def __init__(self, certificate: Certificate | None = None) -> None:
        super().__init__("imap", "pop3", *(["imaps", "pop3s"] if certificate else []))
        self._certificate = certificate

    def prepare(self) -> None:
        for name in ("run", "state", "mail", "home"):
            (self.directory / name).mkdir()
        configuration = _CONFIGURATION.format(
            directory=self.directory,
            user=self.user,
            group=grp.getgrgid(pwd.getpwnam(self.user).pw_gid).gr_name,
            password=self.password,
            host=HOST,
            tls=self._tls_lines(),
            # Port 0: no such listener.
            **{"imaps": 0, "pop3s": 0, **self.ports},
        )
        self.write("dovecot.conf", configuration)

    def command(self) -> list[str]:
        return ["-F", "-c", str(self.directory / "dovecot.conf")]

    def answers(self) -> bool:
        greetings = (exchange(self.ports["imap"])[:4], exchange(self.ports["pop3"])[:3])
        return super().answers() and greetings == (b"* OK", b"+OK")

    def _tls_lines(self) -> str:
        if self._certificate is None:
            return "ssl = no"
        chain, key = self.install(self._certificate)
        return f"ssl = yes\nssl_cert = <{chain}\nssl_key = <{key}"
