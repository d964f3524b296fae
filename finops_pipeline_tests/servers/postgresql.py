"""A PostgreSQL server of its own on loopback: own data folder, own port, gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER, PASSWORD, DATABASE = "dagster", "p@ss/w:rd 1%", "dagster"


def postgresql_programs() -> Path | None:
    """The folder with `initdb` and `postgres`, wherever the system keeps it."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return versions[-1].parent if versions else None


@contextmanager
def postgresql_server(port: int) -> Iterator[dict[str, str]]:
    """A server that runs as long as the block; gives the environment that leads to it."""
    programs = postgresql_programs()
    assert programs is not None, "PostgreSQL is not installed"
    # It refuses to run as root, and a test's own folder is closed to other users.
    user = "postgres" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="finops-postgresql-"))
    secret = folder / "password"
    secret.write_text(PASSWORD, encoding="utf-8")
    if user:
        for path in (folder, secret):
            shutil.chown(path, user)
    data = folder / "data"
    made = [programs / "initdb", "-D", data, "-U", USER, f"--pwfile={secret}", "--no-sync"]
    log = (folder / "log").open("wb")
    try:
        subprocess.run(
            [*made, "--auth=scram-sha-256", "-E", "UTF8"], check=True, user=user, stdout=log
        )
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(folder),
            "fsync": "off",
        }
        options = [part for k, v in settings.items() for part in ("-c", f"{k}={v}")]
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *options], user=user, stdout=log, stderr=log
        )
        try:
            _create_database(port, server)
            yield {
                "FINOPS_POSTGRES_HOST": "127.0.0.1",
                "FINOPS_POSTGRES_PORT": str(port),
                "FINOPS_POSTGRES_USER": USER,
                "FINOPS_POSTGRES_PASSWORD": PASSWORD,
                "FINOPS_POSTGRES_DATABASE": DATABASE,
            }
        finally:
            server.send_signal(signal.SIGQUIT)  # at once; SIGKILL would leave its children
            server.wait(30)
    finally:
        log.close()
        shutil.rmtree(folder)


def _create_database(port: int, server: subprocess.Popen[bytes], seconds: float = 30) -> None:
    import psycopg2

    end = time.monotonic() + seconds
    while True:
        try:
            found = psycopg2.connect(
                host="127.0.0.1", port=port, user=USER, password=PASSWORD, dbname="postgres"
            )
        except psycopg2.OperationalError:
            if server.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.1)
            continue
        found.autocommit = True
        found.cursor().execute(f"CREATE DATABASE {DATABASE}")
        found.close()
        return
