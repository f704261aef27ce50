"""Where things are when nobody says: state directory, state file, configuration; for systemd, root and users.

Environment and user id come in as arguments, so daemon, command line and tests compute the same paths.
Variables that are empty, or that should be absolute and are not, count as unset (XDG Base Directory
Specification 0.8, "Environment variables"; systemd.exec(5), ``RuntimeDirectory=``). Standard library only.
"""

import os
import pwd
from collections.abc import Mapping

from sentineld.errors import ConfigError

#: Name of the state file inside its directory.
STATE_FILE_NAME = "state.json"

#: The configuration of the machine, as opposed to that of one user.
SYSTEM_CONFIG_FILE = "/etc/sentineld/sentineld.toml"

_ROOT_UID = 0


def _absolute(env: Mapping[str, str], name: str) -> str | None:
    """Return an environment variable that holds an absolute path; the first one of a colon-separated list."""
    first = env.get(name, "").split(":", 1)[0]
    return first if first.startswith("/") else None


def home_directory(env: Mapping[str, str], uid: int) -> str:
    """Return the user's home directory. Raises `ConfigError` where neither HOME nor passwd knows one."""
    home = _absolute(env, "HOME")
    if home is not None:
        return home
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        raise ConfigError(
            f"user {uid} has no home directory, so there is no default place for state and configuration",
            hint="set HOME, or give --state-dir and --config",
        ) from None


def _xdg(env: Mapping[str, str], uid: int, name: str, default: str) -> str:
    """Return the directory that an XDG variable names, or ``default`` below the home directory."""
    directory = _absolute(env, name)
    return directory if directory is not None else os.path.join(home_directory(env, uid), default)


def default_state_dir(env: Mapping[str, str], uid: int) -> str:
    """Return the directory that holds all that the daemon writes.

    ``$STATE_DIRECTORY`` (systemd) if set, else ``/var/lib/sentineld`` for root, else
    ``${XDG_STATE_HOME:-~/.local/state}/sentineld``. Raises `ConfigError` for a user without a home.
    """
    from_systemd = _absolute(env, "STATE_DIRECTORY")
    if from_systemd is not None:
        return from_systemd
    if uid == _ROOT_UID:
        return "/var/lib/sentineld"
    return os.path.join(_xdg(env, uid, "XDG_STATE_HOME", ".local/state"), "sentineld")


def default_gate_dir(state_dir: str | None, env: Mapping[str, str], uid: int) -> str:
    """Return the directory to which the gate's denials are written: beside the state directory.

    Not inside of it: the gate runs as the agents' user. Raises `ConfigError` for a user without a home.
    """
    directory = default_state_dir(env, uid) if state_dir is None else os.path.abspath(state_dir)
    return directory.rstrip("/") + "-gate"


def default_state_file(state_dir: str | None, env: Mapping[str, str], uid: int) -> str:
    """Return the path of the state file.

    Inside ``state_dir`` where one was given. Else, because readers must be able to reach it, in a runtime
    directory: ``$RUNTIME_DIRECTORY`` (systemd), ``/run/sentineld`` for root, ``$XDG_RUNTIME_DIR/sentineld``;
    without that one, in the user's default state directory. Raises `ConfigError` for a user without a home.
    """
    directory = state_dir if state_dir is not None else _absolute(env, "RUNTIME_DIRECTORY")
    if directory is None and uid == _ROOT_UID:
        directory = "/run/sentineld"
    if directory is None:
        runtime = _absolute(env, "XDG_RUNTIME_DIR")
        base = runtime if runtime is not None else _xdg(env, uid, "XDG_STATE_HOME", ".local/state")
        directory = os.path.join(base, "sentineld")
    return os.path.join(directory, STATE_FILE_NAME)


def default_config_file(env: Mapping[str, str], uid: int, *, system: str = SYSTEM_CONFIG_FILE) -> str:
    """Return the path of the configuration, whether or not it exists.

    The machine's for root, and for everybody where there is one; else
    ``${XDG_CONFIG_HOME:-~/.config}/sentineld/sentineld.toml``.
    Raises `ConfigError` for a user without a home.
    """
    if uid == _ROOT_UID or may_exist(system):
        return system
    return os.path.join(_xdg(env, uid, "XDG_CONFIG_HOME", ".config"), "sentineld", "sentineld.toml")


def may_exist(path: str) -> bool:
    """Tell whether something is at ``path``, or might be.

    Only a clear "no such file" is a no. A directory that we may not look into is a yes: a configuration that
    cannot be read must fail loudly, not be passed over for a weaker one.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return True
