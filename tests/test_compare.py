"""The comparison of systems: what it trains, that it goes on where it stopped, and what it refuses."""

import importlib
import json
from typing import get_args, get_type_hints

import pytest

from smtn_keras import compare, runs
from smtn_keras.compare import SYSTEMS, CompareConfig
from smtn_keras.config import BEFORE, Config, NetworkConfig, TrainingConfig, read_config
from smtn_keras.errors import UserError
from smtn_keras.peers import PEERS
from smtn_keras.presets import parse
from smtn_keras.tables import number


@pytest.fixture
def commands(monkeypatch):
    """Commands run in this process, which saves their start; those that ran, with their arguments."""
    ran = []

    def run(command, arguments, log):
        ran.append((command, arguments))
        importlib.import_module(f"smtn_keras.{command}").main(arguments)

    monkeypatch.setattr(compare, "_run", run)
    return ran


def settings(tiny_dir, out, *networks, **more):
    flags = ("--image-size", "32", "--width", "0.05", "--batch-size", "16", "--dtype", "float32")
    return CompareConfig(networks=networks, data="tiny", data_dir=str(tiny_dir), epochs=2, out=str(out), flags=flags, **more)


def kinds():
    literals = [
        part for part in get_args(get_args(get_type_hints(NetworkConfig, include_extras=True)["kind"])[0]) if part is not type(None)
    ]
    return {kind for part in literals for kind in (get_args(part) or (part,))}


def test_every_network_is_among_the_systems():
    named = {flags.split()[1] for stages in SYSTEMS.values() for flags in stages if flags.startswith("--network")}
    assert named | {"separation"} >= kinds() >= {*PEERS, *BEFORE}
    assert "separation" in named  # end to end


@pytest.mark.parametrize("preset", get_args(get_type_hints(CompareConfig)["preset"]))
def test_every_stage_of_every_system_is_a_configuration(preset):
    wanted = CompareConfig(preset=preset, epochs=6)
    for system, stages in SYSTEMS.items():
        for stage in range(1, len(stages) + 1):
            config = parse(compare._arguments(wanted, system, stage, 3), "fit", "")
            assert (config.stage, config.training.seed, config.preset) == (stage, 3, preset)
            assert config.training.epochs == 6 // len(stages)


def test_a_comparison_trains_measures_and_reports(tiny_dir, tmp_path, commands, capsys):
    wanted = settings(tiny_dir, tmp_path, "separation_stage1")
    (last,) = compare.compare(wanted)
    reached = json.loads((last / "metrics.json").read_text())["tiny/test"]["landmarks"]["metrics"]["success_rate_average"]
    assert f"1/1 separation_stage1, seed 0: tiny success {number(reached)}, NME" in capsys.readouterr().out
    assert [command for command, _ in commands] == ["fit", "fit", "evaluate", "report"]
    config = read_config(last)
    assert (config.kind, config.stage, config.network.init, config.network.image_size) == ("separation", 2, "stage1", 32)
    assert config.run.from_run == str(tmp_path / "runs/network_hard_sharing-stage1-epochs1-seed0")
    assert "SMTN channelwise, from stage 1" in (tmp_path / "report/report.md").read_text()

    commands.clear()
    assert compare.compare(wanted) == [last]
    assert [command for command, _ in commands] == ["report"]  # nothing was left to train


def test_a_log_lies_beside_its_run_whose_name_may_have_a_dot(tiny_dir, tmp_path, monkeypatch):
    logs = []
    monkeypatch.setattr(compare, "_run", lambda command, arguments, log: logs.append(log))
    folder = compare._train(settings(tiny_dir, tmp_path, "mobilenet_v2"), "mobilenet_v2", 1, 0, None)
    compare._measure(folder, "test")
    assert "." in folder.name and logs == [folder.parent / f"{folder.name}.log"] * 2


def test_systems_share_the_run_of_their_first_stage(tiny_dir, tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(compare, "_run", lambda command, arguments, log: trained.append(arguments))
    wanted = settings(tiny_dir, tmp_path, "separation_concat", "separation_channelwise")
    stage1 = {compare._train(wanted, system, 1, 0, None) for system in wanted.systems}
    stage2 = {compare._train(wanted, system, 2, 0, *stage1) for system in wanted.systems}
    assert (len(stage1), len(stage2)) == (1, 2)


def test_a_broken_run_goes_on(tiny_dir, tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(compare, "_run", lambda command, arguments, log: trained.append(arguments))
    wanted = settings(tiny_dir, tmp_path, "mtan")
    folder = compare._train(wanted, "mtan", 1, 0, None)
    folder.mkdir(parents=True)
    assert trained.pop()[:1] == ["--data"]
    (folder / "config.json").write_text(Config(training=TrainingConfig(epochs=2)).to_json())
    runs.write_history(folder, [{"epoch": 1}])
    compare._train(wanted, "mtan", 1, 0, None)
    assert trained.pop() == ["--resume", "--run", str(folder)]
    runs.write_history(folder, [{"epoch": 1}, {"epoch": 2}])
    compare._train(wanted, "mtan", 1, 0, None)
    assert trained == []


def test_runs_of_other_settings_are_not_mixed(tmp_path, commands):
    (tmp_path / "compare.json").write_text(json.dumps({"data": "celeba", "preset": "small", "epochs": 16, "identities": None, "flags": []}))
    with pytest.raises(UserError, match="expected --data celeba, with which its runs were trained, got mtfl; name another --out"):
        compare.compare(CompareConfig(networks=("mtan",), data="mtfl", out=str(tmp_path)))
    (tmp_path / "compare.json").write_text("[]")
    with pytest.raises(UserError, match=r"compare\.json: expected the settings of a comparison, got something else"):
        compare.compare(CompareConfig(networks=("mtan",), data="mtfl", out=str(tmp_path)))
    assert commands == []


def test_a_run_that_fails_is_named_with_its_last_words(tmp_path):
    with pytest.raises(UserError, match=r"smtn_keras\.fit: expected it to end well, got exit 2 \(.*nowhere.*see .*\.log"):
        compare.compare(CompareConfig(networks=("mtan",), data="celeba", data_dir=str(tmp_path / "nowhere"), out=str(tmp_path / "out")))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--networks", "resnet"], "--networks: expected all or some of single_task, hard_sharing"),
        (["--seeds", "0"], "--seeds: expected at least 1, got 0"),
        (["--epochs", "1"], "--epochs: expected at least 2, got 1"),
        (["--image-size", "33"], "--image-size: expected a multiple of 16, got 33"),
        (["--colour", "9"], "--colour: expected a number from 0 to 0.9, got 9"),
        (["--depth", "5"], "Unrecognized options: --depth"),
    ],
)
def test_bad_flags_are_told_before_anything_is_trained(flags, sentence, tmp_path, capsys, monkeypatch, commands):
    monkeypatch.setenv("COLUMNS", "2000")
    with pytest.raises(SystemExit) as end:
        compare.main([*flags, "--out", str(tmp_path / "out")])
    assert end.value.code == 2 and sentence in capsys.readouterr().err
    assert commands == [] and not (tmp_path / "out").exists()
