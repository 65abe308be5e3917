"""The options of a server, and the names that requests may use."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from expandr_ir.errors import InputError, check_fields
from expandr_ir.masking import read_secret


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Options of `expandr serve`.

    Args:
        collection: what can be searched: a BEIR folder, irds:ID, pyserini:NAME, or demo; may be repeated.
        split: the judgements to mark; None takes each collection's default.
        expander: an expander that a request may name; may be repeated. None named: all of conf/expanders.
        generator: an LLM that a request may name, a name of conf/generators, a YAML file or engine:model; may be
            repeated, and the first is the default. None named: smollm2, where it is installed.
        encoder: of dense and hybrid searches; None searches by BM25 alone.
        transport: http is the page, REST, and MCP at /mcp; stdio is MCP alone, for an agent that starts this command.
        host: the address to listen at; any but this machine's own (127.0.0.1, ::1, localhost) needs a token.
        port: 0 takes a free one.
        token_env: the environment variable that holds the token, which requests send as `Authorization: Bearer TOKEN`;
            where it is not set, none is needed.
        store: the expansion store's file; None takes $EXPANDR_STORE, else the one under EXPANDR_HOME.
        searches: at once; four times as many may wait, and the others are told to come back.
        expansions: at once; as many may wait.
        timeout_s: seconds until a search or an expansion is given up.
    """

    collection: list[str] = field(default_factory=lambda: ["demo"])
    split: str | None = None
    expander: list[str] = field(default_factory=list)
    generator: list[str] = field(default_factory=list)
    encoder: str | None = None
    transport: Literal["http", "stdio"] = "http"
    host: str = "127.0.0.1"
    port: int = 8081
    token_env: str = "EXPANDR_TOKEN"  # noqa: S105 (a name)
    store: str | None = None
    searches: int = 4
    expansions: int = 2
    timeout_s: float = 120.0

    def __post_init__(self) -> None:
        check_fields(self, "port", least=0, most=65_535)
        check_fields(self, "searches", "expansions", least=1)
        check_fields(self, "timeout_s", above=0)

    def token(self) -> str:
        """The token that requests must send; "" is none.

        Raises:
            InputError: there is none, and others than this machine could ask; or it could be guessed.
        """
        token = read_secret(self.token_env)
        if not token and not is_loopback(self.host):
            raise InputError(
                f"{self.host} can be reached from elsewhere, and {self.token_env} is not set",
                expected="a token that requests must send",
                remedy=f"export {self.token_env}=$(openssl rand -hex 32), or leave --host out",
            )
        if token and not (len(token) >= SHORTEST_TOKEN and token.isascii() and token.isprintable()):
            raise InputError(
                f"the token in {self.token_env} has {len(token)} characters",
                expected=f"{SHORTEST_TOKEN} or more characters of ASCII",
                remedy=f"export {self.token_env}=$(openssl rand -hex 32)",
            )
        return token


SHORTEST_TOKEN = 16


def is_loopback(host: str) -> bool:
    """Reports an address, or the name localhost, that only this machine reaches."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def public_name(spec: str) -> str:
    """The name by which requests know an expander or generator: no folder of it, nor the ending of a YAML file."""
    engine, colon, model = spec.rpartition(":") if "/" in spec.rpartition(":")[2] else ("", "", spec)
    return f"{engine}{colon}{Path(model).name.removesuffix('.yaml').removesuffix('.yml')}"
