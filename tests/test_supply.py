"""What comes from others: the lock, its licences, known vulnerabilities, npm's packages and downloaded weights."""

import json
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from smtn_keras.config import NetworkConfig
from smtn_keras.errors import clean_exit

PROJECT = Path(__file__).parent.parent
supply = SimpleNamespace(**runpy.run_path(str(PROJECT / ".ci" / "supply.py")))


def test_the_lock_satisfies_the_setup(monkeypatch):
    said = {}
    monkeypatch.setitem(sys.modules, "setuptools", SimpleNamespace(setup=lambda **given: said.update(given), find_packages=lambda **_: []))
    runpy.run_path(str(PROJECT / "setup.py"))
    locked, missing = supply.locked(), []
    for line in said["install_requires"] + said["extras_require"]["test"]:
        requirement = Requirement(line)
        version = locked.get(canonicalize_name(requirement.name))
        if version is None or version not in requirement.specifier:
            missing.append(f"{line}: {version}")
    assert not missing, "requirements.lock is to be renewed as CONTRIBUTING.md says"


def test_each_file_of_the_lock_has_a_checksum_and_no_address():
    text = supply.LOCK.read_text()
    parts = re.split(r"\n(?=\S)", text.rstrip())
    assert len(parts) == len(supply.locked()) > 100
    assert [part for part in parts if not re.fullmatch(r"\S+==\S+( \\\n +--hash=sha256:[0-9a-f]{64})+", part)] == []


def test_npm_has_checksums_and_no_addresses():
    packages = json.loads((PROJECT / "web" / "package-lock.json").read_text())["packages"]
    of_others = {path: package for path, package in packages.items() if path}
    assert len(of_others) > 2
    assert [path for path, package in of_others.items() if not package.get("integrity", "").startswith("sha512-")] == []
    assert [path for path, package in of_others.items() if "resolved" in package] == []


def test_the_page_of_licences_is_that_of_the_lock():
    listed = dict(re.findall(r"^\| ([^ ]+) \| (.+) \|$", supply.LICENCES.read_text(), re.MULTILINE))
    del listed["package"]
    assert supply.refuse(listed) == 0
    assert set(listed) == set(supply.locked()) | {"@litertjs/core", "@litertjs/wasm-utils", "@mediapipe/face_detection"}
    if supply.installed_as_locked():
        assert supply.page(supply.licences(supply.locked())) == supply.LICENCES.read_text(), "run: python .ci/supply.py licences"


@pytest.mark.parametrize(
    ("licence", "refused"),
    [
        *(("GPL-3.0-or-later", 1), ("GNU General Public License v2 (GPLv2)", 1), ("AGPL-3.0", 1), ("CC-BY-NC-4.0", 1), ("unknown", 1)),
        *(("LGPL-2.1-only", 0), ("GNU Lesser General Public License v3 (LGPLv3)", 0), ("MPL-2.0 AND MIT", 0), ("MIT", 0)),
    ],
)
def test_a_licence_that_forbids_use_is_refused(capsys, licence, refused):
    assert supply.refuse({"good": "MIT", "other": licence}) == refused
    assert capsys.readouterr().out.startswith("other: expected") == bool(refused)


FLAW = {"name": "pillow", "version": "9.0.0", "vulns": [{"id": "PYSEC-2022-10", "fix_versions": ["9.0.1"]}]}


@pytest.mark.parametrize(
    ("control", "found", "code", "said"),
    [
        (FLAW, {"name": "ours", "version": "1", "vulns": []}, 0, "audit: 0 known vulnerabilities in 1 packages"),
        (FLAW, FLAW | {"name": "ours"}, 1, "ours 9.0.0: PYSEC-2022-10, mended in 9.0.1"),
        (FLAW, {"name": "ours", "skip_reason": "not found"}, 0, "audit: 0 known vulnerabilities in 0 packages unknown: ours"),
        ({"name": "pillow", "skip_reason": "not found"}, None, 0, "audit SKIPPED, .* cannot be asked from here .not found.$"),
        ({"name": "pillow", "version": "9.0.0", "vulns": []}, None, 0, "audit SKIPPED, .*it knows nothing of pillow==9.0.0.$"),
        (LookupError("no route"), None, 0, "audit SKIPPED, .* .no route.$"),
    ],
)
def test_the_audit_fails_on_what_is_known_and_says_when_nothing_can_be(capsys, control, found, code, said):
    def ask(lines):
        answer = control if lines == [supply.CONTROL] else found
        if isinstance(answer, Exception):
            raise answer
        return [answer]

    assert supply.audit({"ours": "1"}, ask) == code
    assert re.match(said, capsys.readouterr().out)


def test_without_pip_audit_it_says_so(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(LookupError, match="it said nothing"):
        supply.pip_audit(["six==1.16.0"])


@pytest.mark.parametrize("download", ["wrong", "none"])
def test_weights_that_are_not_those_published_are_refused(tmp_path, monkeypatch, capsys, download):
    from smtn_keras.networks.weights import FILES, load_imagenet

    asked = []

    def urlretrieve(address, file, *_):
        asked.append(address)
        if download == "none":
            raise URLError("no network")
        Path(file).write_bytes(b"not these weights, either")

    planted = tmp_path / "models" / FILES["vgg16"]
    planted.parent.mkdir()
    planted.write_bytes(b"not these weights")
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", urlretrieve)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    with pytest.raises(SystemExit) as end, clean_exit():
        load_imagenet(SimpleNamespace(layers=[]), ["shared"], NetworkConfig(backbone="vgg16", width=1, init="imagenet"))
    assert (end.value.code, len(asked)) == (2, 1)
    said = capsys.readouterr().err
    assert said.startswith("error: ImageNet weights: expected those of vgg16") and said.endswith("name a local copy with --weights\n")
    assert ("file hash does not match" in said) == (download == "wrong")


def test_a_download_without_a_checksum_is_not_made(monkeypatch, capsys):
    from smtn_keras.networks.weights import load_imagenet

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", lambda *_: pytest.fail("a download"))
    with pytest.raises(SystemExit) as end, clean_exit():
        load_imagenet(SimpleNamespace(layers=[]), ["shared"], NetworkConfig(backbone="mobilenet_v2", width=1, init="imagenet"))
    assert end.value.code == 2
    assert "expected --weights FILE for mobilenet_v2, got none, and Keras knows no checksum" in capsys.readouterr().err
