"""The wires between the nodes of one job: they compare notes before anything is started, and notice when one is gone.

Rank 0 listens, the others connect to it. First each says which package versions it has, what its clock shows and
whether it sees the job's folder; a difference is one message on all of them, before a GPU is touched. Then the wires
stay open: a node that falls silent (TCP keepalive), or stops, is named, where gloo and NCCL only time out.
"""

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.launch import Place
from pipeline.machine import versions
from pipeline.stage import UserError

CLOCK = 10.0  # seconds that two clocks may differ: munge and make both go by them
SEEN = 60.0  # seconds in which a file of one node must show on another: NFS keeps what it knows of a folder so long
GREETING = 20.0  # seconds in which a node must say who it is
STOP, DONE, FAILED = b"s", b"d", b"f"


class Peers:
    """This node's wires: rank 0 has one to each of the others, the others have one, to rank 0."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.wires: dict[int, socket.socket] = {}
        self.names: dict[int, str] = {}
        self.done: dict[int, threading.Event] = {}
        self.over = False

    def meet(self, mark: Path, patience: float) -> None:
        """Waits for all nodes and compares them. mark: a file of rank 0 that every node must see. Raises UserError."""
        try:
            if self.place.rank == 0:
                self._receive_all(mark, patience)
            else:
                self._report(mark, patience)
        except OSError as error:
            raise UserError(f"node {self.place.rank}: cannot talk to the other nodes: {error}") from None

    def _receive_all(self, mark: Path, patience: float) -> None:
        place = self.place
        server = _listened(place.head, place.port, backlog=place.nodes)
        deadline, facts = time.monotonic() + patience, {}
        with server:
            _listened("", place.port + 1).close()  # the agents meet there (launch.agent_command), at every address
            while len(self.wires) < place.nodes - 1:
                server.settimeout(max(0.1, deadline - time.monotonic()))
                try:
                    wire, (address, *_) = server.accept()
                except TimeoutError:
                    missing = sorted(set(range(1, place.nodes)) - self.wires.keys())
                    raise UserError(
                        f"node 0 waited {patience:.0f} s at {place.head}:{place.port} for node(s) "
                        f"{', '.join(map(str, missing))} of {place.nodes}: they were not started, or cannot reach it."
                    ) from None
                fact = _introduced(wire, mark)
                if fact is None or fact["rank"] in self.wires:
                    wire.close()  # something else on the network that tries ports
                    continue
                facts[fact["rank"]] = fact
                self.wires[fact["rank"]], self.names[fact["rank"]] = wire, f"{fact['host']}, {address}"
        for rank, wire in self.wires.items():
            wire.settimeout(patience)
            facts[rank]["sees"] = _read(wire)
        faults = [
            f"node {rank} ({self.names[rank]}) {fault}"
            for rank in sorted(facts)
            for fault in differences(facts[rank], versions(), mark)
        ]
        for wire in self.wires.values():
            _write(wire, faults)
        self._settle(faults)

    def _report(self, mark: Path, patience: float) -> None:
        place, deadline = self.place, time.monotonic() + patience
        while True:
            try:
                wire = socket.create_connection((place.head, place.port), timeout=5)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"node {place.rank}: no answer from node 0 at {place.head}:{place.port} for {patience:.0f} s "
                        f"({error}). Was it started, and may this machine reach that port?"
                    ) from None
                time.sleep(0.5)
        self.wires[0], self.names[0] = wire, place.head
        wire.settimeout(patience)
        wanted = _read(wire)["mark"]
        _write(wire, {"rank": place.rank, "host": socket.gethostname(), "versions": versions(), "time": time.time()})
        _write(wire, sees(mark, wanted))
        self._settle(_read(wire))

    def _settle(self, faults: list[str]) -> None:
        if faults:
            raise UserError("the nodes do not fit together: " + "; ".join(faults))

    def watch(self, on_stop: Callable[[], None], on_lost: Callable[[str], None]) -> None:
        """From now on calls on_stop when another node was told to stop, on_lost with a message when one is gone."""
        for rank, wire in self.wires.items():
            _keep_alive(wire, self.place.quiet)
            self.done[rank] = threading.Event()
            threading.Thread(target=self._listen, args=(rank, wire, on_stop, on_lost), daemon=True).start()

    def _listen(
        self, rank: int, wire: socket.socket, on_stop: Callable[[], None], on_lost: Callable[[str], None]
    ) -> None:
        name = f"node {rank} ({self.names[rank]})"
        while True:
            try:
                word = wire.recv(1)
                why = f"{name} closed its wire without a word: its job or machine ended"
            except OSError:
                word, why = (
                    b"",
                    f"{name} gave no sign of life for {self.place.quiet} s: the machine or the network is gone",
                )
            if word == STOP:
                on_stop()
                continue
            self.done[rank].set()
            if word == FAILED:
                why = f"{name} failed; its own message says why"
            if word != DONE and not self.over:
                on_lost(f"{why}. The same command goes on from the last checkpoint.")
            return

    def tell(self, word: bytes) -> None:
        """Says a word to every other node; one that is gone is found by its listener."""
        for wire in self.wires.values():
            try:
                wire.sendall(word)
            except OSError:
                continue

    def part(self, word: bytes, patience: float) -> None:
        """Says how it ended, and waits until the others have too."""
        self.tell(word)
        deadline = time.monotonic() + patience
        for done in self.done.values():
            done.wait(max(0.0, deadline - time.monotonic()))
        self.over = True
        for wire in self.wires.values():
            wire.close()


def differences(fact: dict[str, Any], here: dict[str, str], mark: Path) -> list[str]:
    """In what another node differs from this one so that they cannot work together."""
    found = []
    there = fact["versions"]
    other = [f"{name} {there.get(name)} for {here[name]}" for name in here if there.get(name) != here[name]]
    if other:
        found.append(f"has other versions than node 0: {', '.join(other)}. Give both the same environment")
    if abs(fact["ahead"]) > CLOCK:
        found.append(f"has a clock that is {fact['ahead']:+.0f} s off node 0's. Set it (chrony, ntp)")
    if not fact["sees"]:
        found.append(f"does not see {mark}. Runs must lie on storage that all nodes share, under one path")
    return found


def _listened(address: str, port: int, backlog: int = 1) -> socket.socket:
    """A server on this machine. Raises UserError where there can be none."""
    try:
        return socket.create_server((address, port), backlog=backlog)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise UserError(
            f"node 0: {address or 'any address'}:{port} cannot be listened on ({reason}). Another program has the "
            f"port, or the address is not this machine's. Give another --port, or submit again: a job has its own."
        ) from None


def _introduced(wire: socket.socket, mark: Path) -> dict[str, Any] | None:
    """What a node that has connected says of itself, and how far its clock is ahead; None for what is no node."""
    wire.settimeout(GREETING)
    sent = time.time()
    try:
        _write(wire, {"mark": mark.read_text(encoding="utf-8")})
        fact = _read(wire)
        ahead = fact["time"] - (sent + time.time()) / 2
        return {key: fact[key] for key in ("rank", "host", "versions")} | {"ahead": ahead}
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None


def sees(mark: Path, wanted: str) -> bool:
    """Whether a file with this text in it shows here in time."""
    deadline = time.monotonic() + SEEN
    while time.monotonic() < deadline:
        try:
            if wanted in mark.read_text(encoding="utf-8"):
                return True
        except OSError:
            pass
        if not mark.parent.is_dir():
            return False
        time.sleep(0.2)
    return False


def _keep_alive(wire: socket.socket, quiet: int) -> None:
    wire.settimeout(None)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    probes = 4
    for name, value in (
        ("TCP_KEEPIDLE", quiet // 2),
        ("TCP_KEEPINTVL", quiet // 2 // probes),
        ("TCP_KEEPCNT", probes),
        ("TCP_USER_TIMEOUT", quiet * 1000),
    ):
        if hasattr(socket, name):  # macOS has other names
            wire.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), max(1, value))


def _write(wire: socket.socket, value: Any) -> None:
    wire.sendall(json.dumps(value).encode() + b"\n")


def _read(wire: socket.socket) -> Any:
    """One line of JSON, byte by byte, so that nothing of what follows is taken."""
    line = b""
    while not line.endswith(b"\n"):
        byte = wire.recv(1)
        if not byte or len(line) > 2**20:
            raise UserError("another node ended while the nodes compared notes; its own message says why.")
        line += byte
    return json.loads(line)
