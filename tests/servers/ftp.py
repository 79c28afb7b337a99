"""ProFTPD for tests: one user with a home directory, in plain text and with AUTH TLS for commands and data."""

import grp
import pwd
from pathlib import Path

from .base import HOST, Server, exchange
from .certificates import Certificate

# ASCII transfers send files as they are: ProFTPD 1.3.8 translates line ends in memory that it has given back already, and
# once aborted a transfer (426, with no error of the system).
_CONFIGURATION = """
ModulePath /usr/lib/proftpd
LoadModule mod_tls.c
ServerType standalone
DefaultAddress {host}
SocketBindTight on
Port {port}
User {user}
Group {group}
UseIPv6 off
UseReverseDNS off
PidFile {directory}/proftpd.pid
ScoreboardFile {directory}/scoreboard
SystemLog {directory}/proftpd.log
TransferLog none
WtmpLog off
DelayTable none
DelayEngine off
MaxInstances 300
AuthPAM off
AuthOrder mod_auth_file.c
AuthUserFile {directory}/users
RequireValidShell off
AllowOverwrite on
AllowStoreRestart on
AllowRetrieveRestart on
TransferOptions IgnoreASCII
{tls}
"""
# Python's ftplib, like most clients, does not take the session of the commands up for the data.
_TLS_CONFIGURATION = """
TLSEngine on
TLSProtocol TLSv1.2 TLSv1.3
TLSOptions NoSessionReuseRequired
TLSLog {directory}/tls.log
TLSECCertificateFile {chain}
TLSECCertificateKeyFile {key}
"""
# "secret", by `openssl passwd -6 -salt test secret`.
_PASSWORD_HASH = "$6$test$rnT8UnIvMBn2IANap7HYxzu05AnQ/tmpfwbcyXA5eBDlKtxl9.Xw8kHphC9msuU1o8K.L1PdgsHMSD/KLddaP1"


class ProFTPD(Server):
    """ProFTPD on `ports["ftp"]`, with AUTH TLS there when given a certificate; passive data connections on loopback.

    `user_name` logs in with `password`; its files are in `files`, where a test puts and finds them.
    """

    name = "ProFTPD"
    program = "proftpd"
    version_option = "-v"
    run_as = "proftpd"

    user_name = "tester"
    password = "secret"

    def __init__(self, certificate: Certificate | None = None) -> None:
        super().__init__("ftp")
        self._certificate = certificate

    @property
    def files(self) -> Path:
        """The directory the client sees."""
        return self.directory / "files"

    def prepare(self) -> None:
        self.files.mkdir()
        entry = pwd.getpwnam(self.user)
        line = f"{self.user_name}:{_PASSWORD_HASH}:{entry.pw_uid}:{entry.pw_gid}::{self.files}:/bin/false\n"
        self.write("users", line).chmod(0o600)
        configuration = _CONFIGURATION.format(
            host=HOST,
            port=self.ports["ftp"],
            user=self.user,
            group=grp.getgrgid(entry.pw_gid).gr_name,
            directory=self.directory,
            tls=self._tls_lines(),
        )
        self.write("proftpd.conf", configuration)

    def command(self) -> list[str]:
        return ["--nodaemon", "--config", str(self.directory / "proftpd.conf")]

    def answers(self) -> bool:
        return exchange(self.ports["ftp"]).startswith(b"220 ")

    def _tls_lines(self) -> str:
        if self._certificate is None:
            return ""
        chain, key = self.install(self._certificate)
        return _TLS_CONFIGURATION.format(directory=self.directory, chain=chain, key=key)
