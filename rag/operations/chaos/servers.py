"""PostgreSQL and Redis of a test deployment, from the programs that are installed here."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from rag.errors import ConfigError
from rag.operations.chaos.keeper import Keeper
from rag.operations.chaos.processes import Process, free_port, listens
from rag.operations.chaos.proxy import LOOPBACK

_DEBIAN = "/usr/lib/postgresql"
_USER = "plumbline"
_PRIVATE = 0o700


def postgres(keeper: Keeper, env: Mapping[str, str]) -> tuple[Process, int, str]:
    """Makes a database; returns its server, which is not started, its port and its password.

    PostgreSQL refuses to run as root: then the system's user `postgres` or `nobody` runs it.

    Raises:
        ConfigError: PostgreSQL is not installed.
    """
    initdb, server = _program("initdb"), _program("postgres")
    folder, password = keeper.folder / "postgres", secrets.token_hex(16)
    folder.mkdir(mode=_PRIVATE)
    words = keeper.folder / "postgres.password"
    words.write_text(password)
    user = _other_user() if os.geteuid() == 0 else None
    if user is not None:
        for path in (folder, words):
            shutil.chown(path, user)
    made = subprocess.run(  # noqa: S603 - nothing in it comes from outside
        [initdb, "-D", folder, "-U", _USER, "-A", "scram-sha-256", "-E", "UTF8", "--no-sync",
         f"--pwfile={words}"],
        user=user, capture_output=True, text=True, check=False, cwd=keeper.folder,
    )  # fmt: skip
    if made.returncode:
        raise ConfigError(f"PostgreSQL makes no database: {made.stderr.strip()}")
    port = free_port()
    # fsync: processes are killed here and never the machine.
    options = {"fsync": "off", "listen_addresses": LOOPBACK, "unix_socket_directories": ""}
    arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    process = Process(
        "PostgreSQL",
        [server, "-D", str(folder), "-p", str(port), *arguments],
        env,
        keeper.folder / "postgres.log",
        keeper,
        lambda _: listens(port),
        user=user,
    )
    return process, port, password


def postgres_url(port: int, password: str) -> str:
    """Returns the URL of the database."""
    return f"postgresql://{_USER}:{password}@{LOOPBACK}:{port}/postgres"


def redis(keeper: Keeper, env: Mapping[str, str]) -> tuple[Process, int, str]:
    """Returns a Redis that stores what it has, which is not started, its port and its password.

    Raises:
        ConfigError: Redis is not installed.
    """
    folder, port, password = keeper.folder / "redis", free_port(), secrets.token_hex(16)
    folder.mkdir(mode=_PRIVATE)
    settings = folder / "redis.conf"
    settings.touch(mode=0o600)
    settings.write_text(
        f"bind {LOOPBACK}\nport {port}\ndir {folder}\nappendonly yes\nrequirepass {password}\n"
    )
    command = [_program("redis-server"), str(settings)]
    log = keeper.folder / "redis.log"
    return Process("Redis", command, env, log, keeper, lambda _: listens(port)), port, password


def redis_url(port: int, password: str) -> str:
    """Returns the URL of its first database."""
    return f"redis://:{password}@{LOOPBACK}:{port}/0"


def _program(name: str) -> str:
    """Returns the path of a program; of PostgreSQL's, Debian keeps most outside PATH."""
    versions = sorted(Path(_DEBIAN).glob("*/bin"), reverse=True)
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, versions)])
    found = shutil.which(name, path=path)
    if found is None:
        raise ConfigError(
            f"This experiment starts servers of its own, and {name!r} is not in PATH: install"
            " PostgreSQL and Redis, as with `apt-get install postgresql redis-server`."
        )
    return found


def _other_user() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)
