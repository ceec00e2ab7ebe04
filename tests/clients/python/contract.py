"""What the Python drivers share: verbs of the command line become calls of a driver's functions (../main.rs has them).

A driver module has a function for each verb that its library can do, by the verb's name with underscores; a verb without
a function is what the library lacks.
"""

import sys
import threading
import traceback

LACKS = 3
# Short ones, so that a member that was killed is missed soon.
SESSION_MS = 6000
HEARTBEAT_MS = 500


class Lacks(Exception):
    """The library has no such thing."""


def emit(*words):
    print(*words, flush=True)


def emit_record(partition, offset, key, value, *, head=()):
    emit(*head, partition, offset, (key or b"").decode(), (value or b"").decode())


def key_value(number):
    return b"k%d" % number, b"v%d" % number


class Assigned:
    """Tells the partitions whenever they are others than before."""

    def __init__(self):
        self._told = None

    def tell(self, partitions):
        partitions = sorted(partitions)
        if partitions != self._told:
            self._told = partitions
            emit("assigned", *partitions)


def leaving():
    """An event that is set when standard input ends."""
    left = threading.Event()

    def wait():
        sys.stdin.buffer.read()
        left.set()

    threading.Thread(target=wait, daemon=True).start()
    return left


# What the words after the bootstrap address are turned into, by verb.
ARGUMENTS = {
    "create": (str, int),
    "produce": (str, int, int, str, lambda word: word == "idempotent"),
    "consume": (str, int),
    "group": (str, str, str),
    "delete-records": (str, int, int),
}


def run(functions):
    """Does what the command line says, with these functions by name."""
    verb, *words = sys.argv[1:]
    try:
        function = functions.get(verb.replace("-", "_"))
        if function is None:
            raise Lacks(f"no {verb}")
        kinds = ARGUMENTS.get(verb)
        if kinds:
            words[1:] = [kind(word) for kind, word in zip(kinds, words[1:])]
        function(*words)
    except Lacks as lacks:
        emit(lacks)
        sys.exit(LACKS)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
