"""What the project takes from others: `python .ci/supply.py audit` asks for known vulnerabilities, `licences` writes docs/licences.md."""

import argparse
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent.parent
LOCK, LICENCES = HERE / "requirements.lock", HERE / "docs" / "licences.md"
# Known to be vulnerable: who does not say so cannot be asked.
CONTROL = "pillow==9.0.0"
# Licences that ask something of a program that merely imports the package, or forbid some of its uses.
REFUSED = re.compile(
    r"\bA?GPL|(?<!Lesser )General Public License|Affero|non-?commercial|\bNC\b|research only|proprietary|SSPL|BUSL|unknown", re.IGNORECASE
)

IN_A_FILE = {"namex": "Apache-2.0"}  # stated in the package's file LICENSE alone


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("audit", "licences"))
    if parser.parse_args(argv).what == "audit":
        return audit(locked(), pip_audit)
    if not installed_as_locked():  # another version may be under another licence
        print(
            f"error: expected the packages of {LOCK.name}, got others here; run: pip install --require-hashes -r {LOCK.name}",
            file=sys.stderr,
        )
        return 2
    table = licences(locked())
    LICENCES.write_text(page(table))
    return refuse(table)


def locked() -> dict[str, str]:
    """Version by name of the packages in requirements.lock."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", LOCK.read_text(), re.MULTILINE))


def installed_as_locked() -> bool:
    """Whether the packages of requirements.lock are installed here in their versions."""
    try:
        return all(importlib.metadata.version(name) == version for name, version in locked().items())
    except importlib.metadata.PackageNotFoundError:
        return False


def audit(packages: dict[str, str], ask: Callable[[list[str]], list[dict]]) -> int:
    """Prints the known vulnerabilities of packages; returns 1 if there are any.

    Without an answer about a package that is known to be vulnerable it says that the check was skipped, and why, and returns 0.

    Args:
        packages: version by name.
        ask: from lines `name==version` to dictionaries with `name`, and `vulns` or `skip_reason`, as pip-audit has them.
    """
    try:
        [control] = ask([CONTROL])
        if not control.get("vulns"):
            raise LookupError(control.get("skip_reason") or f"it knows nothing of {CONTROL}")
        answers = ask([f"{name}=={version}" for name, version in packages.items()])
    except (LookupError, ValueError) as error:
        print(f"audit SKIPPED, nothing is known of vulnerabilities: the advisory service cannot be asked from here ({error})")
        return 0
    found = [(answer, flaw) for answer in answers for flaw in answer.get("vulns", ())]
    for answer, flaw in found:
        repaired = ", ".join(flaw.get("fix_versions") or ()) or "no version"
        print(f"{answer['name']} {answer['version']}: {flaw['id']}, mended in {repaired}")
    unknown = [answer["name"] for answer in answers if "skip_reason" in answer]
    print(f"audit: {len(found)} known vulnerabilities in {len(answers) - len(unknown)} packages", *unknown and ["unknown:", *unknown])
    return int(bool(found))


def pip_audit(lines: list[str]) -> list[dict]:
    """pip-audit's answer about these exact versions.

    Raises:
        LookupError: it is not installed, or its service cannot be reached.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(lines))
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--requirement", file.name, "--no-deps", "--disable-pip", "--format", "json"]
        try:
            done = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired as error:
            raise LookupError(f"no answer in {error.timeout:.0f} s") from None
    if not done.stdout.strip():
        raise LookupError((done.stderr.strip().splitlines() or ["it said nothing"])[-1])
    return json.loads(done.stdout)["dependencies"]


def licences(packages: dict[str, str]) -> dict[str, str]:
    """Licence by package: of the locked ones as installed here, and of what the page takes from npm."""
    table = {}
    for name in packages:
        about = importlib.metadata.metadata(name)
        classifiers = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier", ()) if line.startswith("License :: OSI")]
        stated = (about.get("License") or "").strip().partition("\n")[0]
        table[name] = about.get("License-Expression") or "; ".join(classifiers) or stated or IN_A_FILE.get(name, "unknown")
    for path, package in json.loads((HERE / "web" / "package-lock.json").read_text())["packages"].items():
        if path and not package.get("dev"):
            table[path.removeprefix("node_modules/")] = package.get("license", "unknown")
    return table


def refuse(table: dict[str, str]) -> int:
    """Prints the packages whose licence is none for this project; returns 1 if there are any."""
    refused = {name: licence for name, licence in table.items() if REFUSED.search(licence)}
    for name, licence in refused.items():
        print(f"{name}: expected a licence that lets a program under any licence import it, got '{licence}'; take another package")
    return int(bool(refused))


def page(table: dict[str, str]) -> str:
    rows = "".join(f"| {name} | {licence} |\n" for name, licence in sorted(table.items(), key=lambda row: row[0].lower()))
    return (
        "# Licences\n\nThose of the packages in `requirements.lock`, as they state them, and of what the page takes from npm; the list is made by"
        "\n`python .ci/supply.py licences`. Wheels may hold libraries under licences of their own: that of opencv-python-headless has FFmpeg (LGPL-2.1)."
        f"\n\n| package | licence |\n|---|---|\n{rows}"
    )


if __name__ == "__main__":
    sys.exit(main())
