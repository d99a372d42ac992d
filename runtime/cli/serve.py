"""`a2d serve`: bundles behind HTTP, as OpenAI's clients expect it, with a2d's own events and a page."""

from __future__ import annotations

import argparse
import secrets
import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ...engines.errors import RequestError
from ...engines.install import extra
from ...engines.paths import real_path
from ..bundle.names import located
from ..load import load_placed
from ..model import Model
from .arguments import Parser, add_placement, guarded, placement_from, tell_passed_over

if TYPE_CHECKING:
    from ..server.request.limits import Limits

__all__ = ["main"]

NEEDS = ("starlette", "uvicorn", "python_multipart")
"""Packages that only serving needs."""

SHORTEST_TOKEN = 8
MIB = 1 << 20


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    return guarded("a2d serve", lambda: _run(_parser().parse_args(argv)))


def _parser() -> Parser:
    parser = Parser(
        prog="a2d serve",
        description="Serve bundles over HTTP: OpenAI's chat completions, completions, models and files, a2d's own "
        "events at /v1/a2d/blocks, a page at /, metrics at /metrics. Each bundle is a model by its name.",
        epilog="Exit status: 1 the machine failed; 2 bad input; 130 interrupted.",
    )
    parser.add_argument(
        "bundles", nargs="+", type=located, metavar="BUNDLE", help="folder, or name of a built-in model"
    )
    where = parser.add_argument_group("address")
    where.add_argument("--host", default="127.0.0.1", help="address to listen at; default: for this machine only")
    where.add_argument("--port", type=int, default=8000, help="port to listen at; 0 takes a free one (8000)")
    where.add_argument("--unix-socket", type=Path, metavar="PATH", help="listen at a socket of the file system instead")
    where.add_argument(
        "--exit-with-parent", action="store_true", help="end when the process that started the server ends"
    )
    who = parser.add_argument_group("clients and hosts")
    who.add_argument(
        "--token",
        action="append",
        metavar="TOKEN",
        help="key that clients send; repeatable, each is a client of its own; default: a random one, printed",
    )
    who.add_argument("--token-file", type=Path, metavar="FILE", help="file with tokens, one a line")
    who.add_argument(
        "--fetch-from",
        action="append",
        default=[],
        metavar="HOST",
        help="fetch pictures by URL from this host; repeatable; default: from none",
    )
    bounds = parser.add_argument_group("load and sizes")
    bounds.add_argument("--places", type=int, default=4, metavar="N", help="answers under way at the same time (4)")
    bounds.add_argument(
        "--together",
        type=int,
        default=1,
        metavar="N",
        help="answers that share each forward; with 1 they take turns (1)",
    )
    bounds.add_argument("--queue", type=int, default=64, metavar="N", help="requests that may wait; more get 429 (64)")
    bounds.add_argument("--max-upload", type=int, default=256, metavar="MIB", help="largest file that is taken (256)")
    bounds.add_argument("--max-pixels", type=int, default=16, metavar="MEGAPIXELS", help="largest picture (16)")
    parser.add_argument("--threads", type=int, help="threads of one operator; default: all physical cores")
    add_placement(parser)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    _check_installed()
    tokens, limits = _tokens(arguments), _limits(arguments)
    from ..server.web.serving import until_stopped  # noqa: PLC0415 - the extra `serve`

    listening = _listening(arguments)
    try:
        with until_stopped(arguments.exit_with_parent):
            _serve(arguments, listening, tokens, limits)
    finally:
        listening.close()
        if arguments.unix_socket is not None:
            arguments.unix_socket.unlink(missing_ok=True)
    return 0


def _serve(arguments: argparse.Namespace, listening: socket.socket, tokens: Sequence[str], limits: Limits) -> None:
    from ..server.web.app import app_of  # noqa: PLC0415 - as above
    from ..server.web.serving import serve  # noqa: PLC0415 - as above
    from ..server.work.filmmaker import filmmakers  # noqa: PLC0415 - as above
    from ..server.work.service import Service  # noqa: PLC0415 - as above

    loaded = _loaded(arguments)
    words = {name: model for name, model in loaded.items() if model.manifest.words is not None}
    hosts = frozenset(host.lower() for host in arguments.fetch_from)
    service = Service(words, filmmakers(loaded), limits, hosts)
    try:
        _tell(arguments, loaded, listening, tokens)
        serve(app_of(service, tokens), listening)
    finally:
        service.close()


def _check_installed() -> None:
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise RequestError(f"serving needs {', '.join(missing)}: {extra('serve')}")


def _tokens(arguments: argparse.Namespace) -> list[str]:
    """The tokens that let in; a random one where none is given."""
    given = list(arguments.token or ())
    if arguments.token_file is not None:
        try:
            lines = arguments.token_file.read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(f"--token-file: {arguments.token_file} cannot be read: {error}") from error
        given += [line.strip() for line in lines if line.strip()]
        if not given:
            raise RequestError(f"--token-file: {arguments.token_file} holds no token, expected one a line")
    for token in given:
        if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
            raise RequestError(f"--token: expected {SHORTEST_TOKEN} printable ASCII characters or more, without spaces")
    return given or [secrets.token_urlsafe(24)]


def _limits(arguments: argparse.Namespace) -> Limits:
    from ..server.request.limits import Limits  # noqa: PLC0415 - as above

    asked = {"--places": arguments.places, "--together": arguments.together, "--queue": arguments.queue}
    asked |= {"--max-upload": arguments.max_upload, "--max-pixels": arguments.max_pixels}
    wrong = [f"{flag}: got {value}, expected 1 to 100000" for flag, value in asked.items() if not 1 <= value <= 100_000]
    if not 0 <= arguments.port < 1 << 16:  # the system takes one of its low 16 bits
        wrong.append(f"--port: got {arguments.port}, expected 0 to 65535")
    if wrong:
        raise RequestError("\n".join(wrong))
    return Limits(
        places=arguments.places,
        together=arguments.together,
        waiting=arguments.queue,
        upload=arguments.max_upload * MIB,
        pixels=arguments.max_pixels * 1_000_000,
    )


def _listening(arguments: argparse.Namespace) -> socket.socket:
    """The socket, had before a bundle is loaded, so that a port that is taken is told at once."""
    from ..server.web.serving import at_port, at_unix_socket  # noqa: PLC0415 - as above

    if arguments.exit_with_parent and sys.platform == "win32":
        raise RequestError("--exit-with-parent: Windows does not tell when a parent ends; end this one by a signal")
    if arguments.unix_socket is not None:
        return at_unix_socket(arguments.unix_socket)
    return at_port(arguments.host, arguments.port)


def _loaded(arguments: argparse.Namespace) -> dict[str, Model]:
    models: dict[str, Model] = {}
    for path in arguments.bundles:
        model = load_placed(path, placement_from(arguments))
        tell_passed_over("a2d serve", model)
        name = model.manifest.name
        if name in models:
            name = real_path(path).name.removesuffix(".a2d")
        if name in models:
            raise RequestError(
                f"{models[name].bundle.path} and {path} are both called {name!r}, and clients ask by name; "
                "serve one of them, or rename one's folder"
            )
        models[name] = model
    return models


def _tell(
    arguments: argparse.Namespace, models: dict[str, Model], listening: socket.socket, tokens: Sequence[str]
) -> None:
    """Say where the server is, and how it is asked. A token that somebody has given is not printed."""
    for name, model in models.items():
        film = model.manifest.film
        graph = "backbone" if film is None or model.manifest.words is not None else film.denoiser
        print(f"model {name}: {model.placement.precision}, {model.engine(graph).describe}")
    given = arguments.token or arguments.token_file
    if arguments.unix_socket is not None:
        print(f"listening at {arguments.unix_socket}")
    else:
        host, port = listening.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        print(f"page {address}/" + ("" if given else f"#token={tokens[0]}"))
        print(f"OPENAI_BASE_URL={address}/v1")
        if host not in ("127.0.0.1", "::1"):
            print(
                f"a2d serve: {host} can be reached from other machines, and nothing is encrypted: put a proxy with TLS "
                "in front",
                file=sys.stderr,
            )
    print("OPENAI_API_KEY=" + ("the token that was given" if given else tokens[0]), flush=True)
