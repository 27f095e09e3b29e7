"""Logins with a token: aiokafka's connection, which forgets a token that its broker refuses."""

import structlog
from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator
from aiokafka.errors import SaslAuthenticationFailed

from credit_service.kafka.connect.tokens import Tokens

log = structlog.get_logger(__name__)


class TokenConnection(AIOKafkaConnection):  # type: ignore[misc]
    """A connection that hears that its token is refused, which is not shown again then.

    aiokafka takes the broker's answer for a success, whatever it says: the connection then ends without a reason.
    """

    _asking: "TokenAuthenticator | None" = None
    has_warned = False

    def authenticator_oauth(self) -> OAuthAuthenticator:
        """See aiokafka, which warns of a password that is sent so, and not of a token."""
        if self._security_protocol == "SASL_PLAINTEXT" and not TokenConnection.has_warned:
            TokenConnection.has_warned = True
            log.warning("tokens are sent to Kafka in the clear", setting="CREDITS_KAFKA_SECURITY_PROTOCOL")
        self._asking = TokenAuthenticator(sasl_oauth_token_provider=self._sasl_oauth_token_provider)
        return self._asking

    async def _do_sasl_handshake(self) -> None:
        try:
            await super()._do_sasl_handshake()
        except SaslAuthenticationFailed:
            if isinstance(self._sasl_oauth_token_provider, Tokens) and self._asking is not None:
                self._sasl_oauth_token_provider.forget(self._asking.shown)
            raise
        finally:
            self._asking = None


class TokenAuthenticator(OAuthAuthenticator):  # type: ignore[misc]
    """Goes on as RFC 7628 wants when the broker answers with a fault, which is then told as a refusal."""

    _has_asked = False
    shown = ""

    def _build_oauth_client_request(self, token: str, token_extensions: str) -> str:
        self.shown = token
        return str(super()._build_oauth_client_request(token, token_extensions))

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """See aiokafka."""
        if self._token_sent and payload and not self._has_asked:
            self._has_asked = True
            return b"\x01", True
        answer: tuple[bytes, bool] | None = await super().step(payload)
        return answer
