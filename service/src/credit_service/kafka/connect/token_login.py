"""Logins with a token: aiokafka's connection, which forgets a token that its broker refuses."""

import structlog
from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator
from aiokafka.errors import SaslAuthenticationFailed

from credit_service.kafka.connect.tokens import Tokens

log = structlog.get_logger(__name__)


class TokenConnection(AIOKafkaConnection):  # type: ignore[misc]
    """A connection that notices a refused token, and drops it.

    aiokafka takes any answer of the broker for a success; the connection would then end without a reason.
    """

    _authenticator: "TokenAuthenticator | None" = None
    has_warned = False

    def authenticator_oauth(self) -> OAuthAuthenticator:
        """See aiokafka, which warns of a password that is sent in the clear, but not of a token."""
        if self._security_protocol == "SASL_PLAINTEXT" and not TokenConnection.has_warned:
            TokenConnection.has_warned = True
            log.warning("tokens are sent to Kafka in the clear", setting="CREDITS_KAFKA_SECURITY_PROTOCOL")
        self._authenticator = TokenAuthenticator(sasl_oauth_token_provider=self._sasl_oauth_token_provider)
        return self._authenticator

    async def _do_sasl_handshake(self) -> None:
        try:
            await super()._do_sasl_handshake()
        except SaslAuthenticationFailed:
            if isinstance(self._sasl_oauth_token_provider, Tokens) and self._authenticator is not None:
                self._sasl_oauth_token_provider.forget(self._authenticator.sent_token)
            raise
        finally:
            self._authenticator = None


class TokenAuthenticator(OAuthAuthenticator):  # type: ignore[misc]
    """Answers a broker's error as RFC 7628 requires, so that the broker refuses the login."""

    _has_answered = False
    sent_token = ""

    def _build_oauth_client_request(self, token: str, token_extensions: str) -> str:
        self.sent_token = token
        return str(super()._build_oauth_client_request(token, token_extensions))

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """See aiokafka."""
        if self._token_sent and payload and not self._has_answered:
            self._has_answered = True
            return b"\x01", True
        answer: tuple[bytes, bool] | None = await super().step(payload)
        return answer
