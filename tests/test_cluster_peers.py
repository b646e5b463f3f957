"""Nodes that do not fit together say so before anything is started; a node that is gone is named."""

import socket
import threading
import time

import pytest

from pipeline.cluster import peers
from pipeline.cluster.node import main
from pipeline.cluster.peers import DONE, FAILED, STOP, Peers, differences
from pipeline.launch import Place
from pipeline.machine import versions
from pipeline.stage import UserError


@pytest.fixture
def port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def place(rank: int, port: int) -> Place:
    return Place(rank=rank, nodes=2, head="127.0.0.1", port=port, quiet=4)


def meet(port: int, mark, other_mark) -> tuple[list[Peers], list[str]]:
    """Two nodes in two threads; what they raise."""
    both, raised = [Peers(place(rank, port)) for rank in (0, 1)], ["", ""]

    def one(rank: int) -> None:
        try:
            both[rank].meet((mark, other_mark)[rank], 20)
        except UserError as error:
            raised[rank] = str(error)

    threads = [threading.Thread(target=one, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return both, raised


@pytest.fixture
def mark(tmp_path):
    path = tmp_path / "job.json"
    path.write_text("the claim")
    return path


def test_nodes_that_fit_meet(port, mark):
    _, raised = meet(port, mark, mark)
    assert raised == ["", ""]


def test_no_shared_storage_is_said_on_both_nodes(port, mark, tmp_path):
    _, raised = meet(port, mark, tmp_path / "elsewhere" / "job.json")
    for message in raised:
        assert "node 1 (" in message
        assert f"does not see {mark}. Runs must lie on storage that all nodes share, under one path" in message


HERE = {"python": "3.11", "torch": "2.13.0"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"versions": {**HERE, "torch": "2.12.0"}},
            "has other versions than node 0: torch 2.12.0 for 2.13.0. Give both",
        ),
        ({"ahead": 42.3}, "has a clock that is +42 s off node 0's. Set it (chrony, ntp)"),
        ({"sees": False}, "does not see"),
    ],
)
def test_what_keeps_two_nodes_apart_is_named(tmp_path, change, message):
    fact = {"versions": HERE, "ahead": 0.01, "sees": True}
    assert differences(fact, HERE, tmp_path) == []
    (found,) = differences({**fact, **change}, HERE, tmp_path)
    assert message in found


def test_versions_are_those_of_the_packages_that_change_results():
    assert {"python", "torch", "accelerate"} <= versions().keys()


def heard(both: list[Peers]) -> tuple[list[str], threading.Event]:
    """What rank 0 hears from now on."""
    lost, stopped = [], threading.Event()
    both[0].watch(stopped.set, lost.append)
    both[1].watch(lambda: None, lambda why: None)
    return lost, stopped


def test_a_stop_is_passed_on_and_a_good_end_is_no_loss(port, mark):
    both, _ = meet(port, mark, mark)
    lost, stopped = heard(both)
    both[1].tell(STOP)
    assert stopped.wait(10)
    ends = [threading.Thread(target=peer.part, args=(DONE, 10)) for peer in both]
    for thread in ends:
        thread.start()
    for thread in ends:
        thread.join(10)
    assert lost == []


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (
            lambda wire: wire.close(),
            "closed its wire without a word: its job or machine ended. The same command goes on",
        ),
        (
            lambda wire: wire.sendall(FAILED),
            "failed; its own message says why. The same command goes on from the last",
        ),
    ],
)
def test_a_node_that_is_gone_is_named(port, mark, end, message):
    both, _ = meet(port, mark, mark)
    lost: list[str] = []
    both[0].watch(lambda: None, lost.append)
    end(both[1].wires[0])
    deadline = time.monotonic() + 10
    while not lost and time.monotonic() < deadline:
        time.sleep(0.01)
    assert message in lost[0]
    assert "127.0.0.1) " in lost[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hosts", "a,b", "--rank", "2"], "--rank 2: --hosts names 2 machines, 0 to 1."),
        (["--hosts", "slurm"], "SLURM_NODEID, SLURM_LAUNCH_NODE_IPADDR not set, so srun did not start this"),
        (["--hosts", "127.0.0.1,x", "--check"], "node 0 waited 0 s at 127.0.0.1:{port} for node(s) 1 of 2"),
        (["--hosts", "127.0.0.1,x", "--rank", "1"], "node 1: no answer from node 0 at 127.0.0.1:{port} for 0 s"),
    ],
)
def test_a_node_that_cannot_take_its_place_says_why(tmp_path, capsys, monkeypatch, port, words, message):
    monkeypatch.setattr("pipeline.cluster.node.PATIENCE", 0.0)
    monkeypatch.delenv("SLURM_NODEID", raising=False)
    assert main([str(tmp_path), *words, "--port", str(port)]) == 2
    assert message.format(port=port) in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(mark, port):
    taken = pytest.raises(UserError, match=f"127.0.0.1:{port} cannot be listened on .*Another program has the port")
    with socket.create_server(("127.0.0.1", port)), taken:
        Peers(place(0, port)).meet(mark, 1)


def test_the_agents_port_is_probed_too_and_named(mark):
    """The next one, where torchrun and accelerate meet: taken at one address of the machine, it is of no use."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        second = other.getsockname()[1]
        with pytest.raises(
            UserError, match=f"node 0: any address:{second} cannot be listened on .*Give another --port"
        ):
            Peers(place(0, second - 1)).meet(mark, 1)


@pytest.mark.parametrize("words", [b"", b"GET / HTTP/1.1\n", b"[1, 2]\n", b'{"rank": 1}\n'])
def test_whatever_else_knocks_at_the_port_is_passed_over(port, mark, words):
    def knock() -> None:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port)) as wire:
                    wire.sendall(words)
                    return
            except ConnectionRefusedError:
                time.sleep(0.01)

    first, second = Peers(place(0, port)), Peers(place(1, port))
    head = threading.Thread(target=first.meet, args=(mark, 20))
    head.start()
    knock()
    second.meet(mark, 20)
    head.join(20)
    assert list(first.wires) == [1]


def test_a_node_whose_head_ends_while_notes_are_compared_says_so(port, mark):
    with socket.create_server(("127.0.0.1", port)) as server:
        threading.Thread(target=lambda: server.accept()[0].close()).start()
        with pytest.raises(UserError, match=r"another node ended while the nodes compared notes|cannot talk to the"):
            Peers(place(1, port)).meet(mark, 10)


def test_the_file_of_another_node_may_show_late(tmp_path, monkeypatch):
    late = tmp_path / "late"
    threading.Timer(0.5, late.write_text, ["the claim"]).start()
    assert peers.sees(late, "the claim")
    monkeypatch.setattr(peers, "SEEN", 0.3)
    assert not peers.sees(late, "another claim")
