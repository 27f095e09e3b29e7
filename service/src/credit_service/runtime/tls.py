"""TLS to servers: trusted CAs, the host name, and the client's certificate."""

import ssl
from pathlib import Path


class TlsFileError(ValueError):
    """A file cannot be used; `variable` is the setting that names it, the message is the reason."""

    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(reason)
        self.variable = variable


def client_context(cafile: Path | None, certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext:
    """A context that checks the server's certificate and host name; without `cafile`, by the machine's CAs.

    Raises `TlsFileError`, which names the file's setting.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cafile is not None:
        # Then no other CA is trusted.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _readable("kafka_ssl_cafile", cafile)
        try:
            context.load_verify_locations(cafile)
        except ssl.SSLError:
            raise TlsFileError("kafka_ssl_cafile", "holds no certificate in PEM form") from None
    if certfile is not None:
        _readable("kafka_ssl_certfile", certfile)
        if keyfile is not None:
            _readable("kafka_ssl_keyfile", keyfile)
        try:
            # Without this, OpenSSL would ask for a pass phrase on the terminal.
            context.load_cert_chain(certfile, keyfile, password=lambda: "")
        except (ssl.SSLError, ValueError):
            wrong = "holds no certificate in PEM form, or its key is not there, is another's, or has a pass phrase"
            raise TlsFileError("kafka_ssl_certfile", wrong) from None
    return context


def _readable(variable: str, file: Path) -> None:
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        raise TlsFileError(variable, f"cannot be read: {error.strerror}") from None
