"""`expandr serve`."""

from __future__ import annotations

import errno
import logging
import socket

from expandr_ir.collections import load_collection
from expandr_ir.errors import InputError
from expandr_ir.serve.options import ServeOptions

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 256


def serve(options: ServeOptions) -> None:
    """Answers requests until it is interrupted."""
    collections = [load_collection(spec) for spec in options.collection]
    if options.transport == "stdio":
        from expandr_ir.serve.service import Service
        from expandr_ir.serve.tools import make_tools

        service = Service(options, collections)
        service.start()
        make_tools(service).run(transport="stdio", show_banner=False)
        service.close()
        return
    token, listener = options.token(), listen(options.host, options.port)

    import uvicorn

    from expandr_ir.serve.app import create_app
    from expandr_ir.serve.service import Service

    config = uvicorn.Config(
        create_app(Service(options, collections), token),
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=5,
    )
    host = f"[{options.host}]" if ":" in options.host else options.host
    logger.info("http://%s:%d/ (Ctrl-C ends it)", host, listener.getsockname()[1])
    uvicorn.Server(config).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at the address.

    Raises:
        InputError: another program does, or this machine has no such address.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            remedy = "--port 0 takes a free one"
            raise InputError(f"port {port} of {host} is in use", expected="a free port", remedy=remedy) from error
        raise InputError(f"{host}, port {port}: {error.strerror}", expected="an address of this machine") from error
