"""Why there is no session on a board, or no room for files: by what ssh and the board said, what to do."""

from __future__ import annotations

import re

from edgec.errors import DeviceError


def no_session(host: str, said: str, late: bool) -> DeviceError:
    """Why there is no session, by what ssh said."""
    why = tail(said) or ("It did not answer in time." if late else "ssh ended without a word.")
    login = f"ssh {host}"
    if "IDENTIFICATION HAS CHANGED" in said:
        line = re.search(r"ssh-keygen -f \S+ -R \S+|Offending .* key in \S+", said)
        return DeviceError(
            f"The key of {host} is not the one that is known of it",
            f"Either the board was set up again, or another machine answers in its place. ssh says: "
            f"{line[0].strip() if line else why}",
            f"If you know that it was set up again: ssh-keygen -R HOST, then `{login}` once to accept the new key.",
        )
    if "Host key verification failed" in said or re.search("No .* host key is known", said):
        return DeviceError(
            f"The key of {host} is not known",
            why,
            f"Log in once to look at it and accept it: {login}. edgec never asks.",
        )
    if "Permission denied" in said or "Too many authentication failures" in said:
        return DeviceError(
            f"{host} refuses the login",
            f"{why} edgec never asks for a password: a key has to open the board.",
            f"Put your key there once with ssh-copy-id, or load it with ssh-add, until `{login}` works without asking.",
        )
    if "resolve hostname" in said:
        port = re.fullmatch(r"(?:ssh://)?([^:]+):(\d+)", host)
        return DeviceError(
            f"There is no host {host}",
            why,
            f"Write a port as ssh://{port[1]}:{port[2]}." if port else "Check the name, or add it to ~/.ssh/config.",
        )
    if late or re.search(r"timed out|refused|No route|unreachable|closed|reset", said, re.IGNORECASE):
        return DeviceError(
            f"{host} can't be reached",
            why,
            f"See whether the board is on, in the network, and runs sshd: `{login}` has to work without a question.",
        )
    return DeviceError(
        f"No session on {host} could be opened", why, f"Try `{login}`: it has to work without a question."
    )


def disk_full(host: str, folder: str, why: str) -> DeviceError:
    return DeviceError(
        f"The disk of {host} is full",
        f"{folder.rpartition('/')[0]}: {why}",
        f"Free some space there (`ssh {host} df -h` shows where), or log in as a user who has some.",
    )


def mib(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"


def tail(text: str) -> str:
    """The last lines of what was said."""
    return " ".join(text.strip().splitlines()[-4:])[-1000:]
