"""Energy: counters are added up past their end, of the whole machine or not at all, and never estimated."""

from pathlib import Path

import pytest

from pipeline import machine
from pipeline.energy import Counter, Meter, counters


def zone(powercap: Path, place: str, name: str, microjoules: int, limit: int = 262_143_328_850) -> Path:
    folder = powercap / place
    folder.mkdir(parents=True)
    (folder / "name").write_text(name + "\n")
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder


def no_gpu() -> None:
    return None


def test_packages_and_memory_are_counted_once_each(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    zone(tmp_path, "intel-rapl:0:0", "core", 2)
    zone(tmp_path, "intel-rapl:0:1", "dram", 3)
    zone(tmp_path, "intel-rapl:1", "package-1", 4)
    zone(tmp_path, "intel-rapl:2", "psys", 5)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 6)
    assert [counter.last for counter in counters(tmp_path)] == [1, 3, 4]


def test_a_counter_goes_round_at_its_range(tmp_path):
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 9_000_000, limit=9_999_999)
    counter = Counter(folder)
    (folder / "energy_uj").write_text("1000000\n")
    assert counter.advance() == 2.0
    assert counter.advance() == 0.0


@pytest.mark.parametrize("broken", ["name", "energy_uj", "max_energy_range_uj"])
def test_energy_is_unknown_where_any_part_of_it_cannot_be_read(tmp_path, broken):
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    (zone(tmp_path, "intel-rapl:1", "package-1", 1) / broken).unlink()
    with Meter(tmp_path, no_gpu) as meter:
        pass
    assert meter.joules == {}


def test_a_counter_that_fails_on_the_way_is_dropped(tmp_path):
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    with Meter(tmp_path, no_gpu) as meter:
        (folder / "energy_uj").unlink()
    assert meter.joules == {}


def test_the_meter_adds_up_what_was_used_while_it_ran(tmp_path):
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    with Meter(tmp_path, no_gpu) as meter:
        (folder / "energy_uj").write_text("12500000")
    assert meter.joules == {"RAPL": 7.5}


def test_the_power_of_accelerators_is_integrated_over_time(tmp_path, monkeypatch):
    clock, power = iter([0.0, 10.0, 30.0]), iter([100.0, 200.0, 200.0])
    monkeypatch.setattr("pipeline.energy.time.monotonic", lambda: next(clock))
    meter = Meter(tmp_path, lambda: next(power))
    meter.sample()
    meter.sample()
    assert meter.joules == {"nvidia-smi": 10 * 150.0 + 20 * 200.0}


@pytest.mark.parametrize(("told", "watts"), [("70.5\n80.5\n", 151.0), ("[N/A]\n", None), ("", None)])
def test_the_power_of_all_cards_is_added(monkeypatch, told, watts):
    monkeypatch.setattr(machine, "_output", lambda *command: told.strip())
    assert machine.gpu_watts() == watts
